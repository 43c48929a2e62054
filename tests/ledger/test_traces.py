"""What a chart leaves out of the ledger's rows: by their newest versions, whatever was stored before."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from adapter.clock import FixedClock
from adapter.facts.history import NEVER, Horizon
from adapter.ledger import Arrival, Ledger, QuarantineRow, database
from adapter.model import SnapshotState
from adapter.references import NO_BASES
from tests.ledger.making import FACTS, arrival, at, put_task, task, tombstone

HORIZON = Horizon(
    before=dict.fromkeys(("completed", "revoked", "fulfilled", "cancelled", "noshow"), NEVER - 1)
)
PAST = {"ServiceRequest/1", "Appointment/1"}
PRESENT = "ServiceRequest/2"


def order(id: str = "1", seq: int = 1, patients: tuple[str, ...] = ("Patient/a",), **more: Any) -> Arrival:
    body = {"status": "completed", "authoredOn": "2025-01-01T00:00:00Z", **more}
    return arrival(f"ServiceRequest/{id}", *patients, seq=seq, version=str(seq), **body)


def visit(
    id: str = "1", of: str = "1", seq: int = 1, patients: tuple[str, ...] = ("Patient/a",), **more: Any
) -> Arrival:
    body = {
        "status": "fulfilled",
        "created": "2025-01-02T00:00:00Z",
        "start": "2025-01-03T00:00:00Z",
        "end": "2025-01-03T01:00:00Z",
        "basedOn": [{"reference": f"ServiceRequest/{of}"}],
        **more,
    }
    return arrival(f"Appointment/{id}", *patients, seq=seq, version=str(seq), **body)


def store(ledger: Ledger, *arrivals: Arrival, **more: Any) -> None:
    ledger.store("ehr", arrivals, cause="resource", **more)


def read(ledger: Ledger, horizon: Horizon | None = HORIZON, patient: str = "Patient/a") -> set[str]:
    """What a chart holds, as a look reads it."""
    ledger.request("ehr", (patient,), "resource")
    requests = [r for r in ledger.due_requests("ehr", at(0)) if r.person == patient]
    reading = ledger.reading(requests, FACTS, at(0), "m1", horizon)
    (chart,) = [reading.chart(request) for request in requests]
    return set(chart.snapshots)


@pytest.fixture
def past(ledger: Ledger) -> Ledger:
    """A ledger with an order of last year, its visit, and an order of now."""
    store(ledger, order(), visit(), order("2", status="active"))
    return ledger


def test_history_is_left_out_and_stands_on_the_whole_chart(past: Ledger) -> None:
    assert read(past) == {PRESENT}
    assert read(past, None) == PAST | {PRESENT}


def test_an_order_that_lives_again_is_read_with_its_visit(past: Ledger) -> None:
    store(past, order(seq=11, status="active"))
    assert read(past) == PAST | {PRESENT}
    store(past, order(seq=21, status="revoked"))
    assert read(past) == {PRESENT}


def test_a_row_that_names_history_brings_it_back_as_long_as_it_does(past: Ledger) -> None:
    store(past, order("2", seq=11, status="active", replaces=[{"reference": "ServiceRequest/1"}]))
    assert read(past) == PAST | {PRESENT}
    store(past, order("2", seq=21, status="active"))
    assert read(past) == {PRESENT}


def test_what_a_task_is_about_is_read(past: Ledger) -> None:
    put_task(past, task(need="visit-for:ServiceRequest/1", focus="ServiceRequest/2"))
    assert read(past) == PAST | {PRESENT}


def test_what_became_unreadable_is_read_and_with_it_everything(past: Ledger) -> None:
    hidden = QuarantineRow(0, "ehr", "Appointment", "1", "2", "no-status", "x", b"{}", at(0), ("Patient/a",))
    store(past, quarantine=[hidden])
    assert read(past) == PAST | {PRESENT}
    store(past, visit(seq=11))
    assert read(past) == {PRESENT}


def test_a_deleted_resource_stands_on_the_chart_as_one(past: Ledger) -> None:
    store(past, tombstone("Appointment/1", seq=11))
    assert read(past) == {"Appointment/1", PRESENT}


def test_what_two_patients_share_is_read(ledger: Ledger) -> None:
    both = ("Patient/a", "Patient/b")
    store(ledger, order(), visit(patients=both))
    assert read(ledger) == PAST


def test_what_named_the_patient_before_is_read_with_everything(past: Ledger) -> None:
    store(past, visit("3", "9", seq=11))
    assert read(past) == {PRESENT}
    store(past, visit("3", "9", seq=21, patients=("Patient/b",)))
    assert read(past) == {PRESENT, *PAST, "Appointment/3"}
    assert read(past, patient="Patient/b") == set()


def test_a_visit_of_somebody_else_for_an_order_keeps_everything(past: Ledger) -> None:
    """A newborn's visit that stands for its mother's order."""
    store(past, visit("3", "1", seq=11, patients=("Patient/b",)))
    assert read(past) == {PRESENT, *PAST, "Appointment/3"}


def test_persons_of_several_patients_are_read_whole(past: Ledger) -> None:
    link = [{"other": {"reference": "Patient/a"}, "type": "seealso"}]
    store(
        past, arrival("Patient/b", "Patient/b", seq=11, link=link), arrival("Patient/a", "Patient/a", seq=11)
    )
    assert read(past) > PAST


def test_a_resource_seen_again_unchanged_stays_left_out(past: Ledger) -> None:
    store(
        past, replace(order(), sent_seq=31, received_seq=32), replace(visit(), sent_seq=31, received_seq=32)
    )
    assert read(past) == {PRESENT}


def test_rows_of_before_are_told_some_at_a_time(
    tmp_path: Path, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ledger of the third schema: nothing is left out of a chart until all of its rows are told."""
    third = database.migrations()[:3]
    monkeypatch.setattr(database, "migrations", lambda: third)
    old = Ledger.open(tmp_path / "l.db", clock=clock)
    with old._writing() as db:
        for made in (order(), visit(), order("2", status="active")):
            db.execute(
                "INSERT INTO snapshots VALUES (?, ?, ?, 'live', ?, '1', 'd', 'k', 'e1', 1, 1, 2, 1, 2, "
                "?, ?, ?, ?, ?, ?)",
                (
                    "ehr",
                    made.ref,
                    made.type,
                    made.status,
                    *["2026-03-02T08:00:00.000000+00:00"] * 4,
                    "Patient/a",
                    made.packed.decode(),
                ),
            )
            db.execute("INSERT INTO snapshot_patients VALUES ('ehr', 'Patient/a', ?, 1)", (made.ref,))
        db.execute("INSERT INTO patients (source, patient, person) VALUES ('ehr', 'Patient/a', 'Patient/a')")
        db.execute("UPDATE counters SET value = 9 WHERE name = 'seq'")
    old.close()
    monkeypatch.undo()
    with Ledger.open(tmp_path / "l.db", clock=clock) as ledger:
        assert ledger.check() == []
        everything = PAST | {PRESENT}
        assert read(ledger) == everything
        assert ledger.tell_traces("ehr", NO_BASES, lambda type: "e1", 2) == 2
        assert read(ledger) == everything
        assert ledger.tell_traces("ehr", NO_BASES, lambda type: "e1", 2) == 1
        assert read(ledger) == {PRESENT}
        assert ledger.tell_traces("ehr", NO_BASES, lambda type: "e1", 2) == 0
        ledger.forget_traces("ehr")
        assert read(ledger) == everything
        assert ledger.tell_traces("ehr", NO_BASES, lambda type: "e2") == 3, "all of it waits to be read again"
        assert read(ledger) == everything
        store(ledger, order(seq=11), visit(seq=11), order("2", seq=11, status="active"))
        assert read(ledger) == {PRESENT}


@pytest.mark.parametrize(
    ("state", "held"),
    [
        (SnapshotState.QUARANTINED, PAST | {PRESENT}),
        (SnapshotState.DELETED, {"Appointment/1", PRESENT}),
        (SnapshotState.ERROR, {"Appointment/1", PRESENT}),
    ],
)
def test_a_trace_that_is_told_later_is_that_of_the_state(
    ledger: Ledger, state: SnapshotState, held: set[str]
) -> None:
    gone = replace(visit(seq=11), state=state)
    store(ledger, order(), visit(), order("2", status="active"))
    store(ledger, gone)
    before = read(ledger)
    ledger.forget_traces("ehr")
    ledger.tell_traces("ehr", NO_BASES, lambda type: "e1")
    assert read(ledger) == before == held

"""Pages against what is held: what is new, who is woken, which answer counts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from adapter.fhirjson import dumps
from adapter.ledger import Ledger, QuarantineRow, WalkRow
from adapter.model import EventKind, SnapshotState
from tests.ledger.making import (
    FACTS,
    arrival,
    at,
    charts,
    event,
    look,
    persons,
    put_task,
    result,
    task,
    tombstone,
)


def test_a_new_resource_is_kept_and_wakes_whom_it_names(ledger: Ledger) -> None:
    stored = ledger.store("ehr", [arrival("Appointment/1", "Patient/a", status="booked")], cause="resource")
    assert (stored.changed, stored.same, stored.woken) == (1, 0, 1)
    kept = ledger.snapshot("ehr", "Appointment/1")
    assert kept is not None
    assert kept.body["status"] == "booked"
    assert kept.patients == ("Patient/a",)
    assert kept.first_seen == kept.changed == at(0)
    assert persons(ledger.due_requests("ehr", at(0))) == {"Patient/a"}


def test_the_same_again_writes_nothing_and_wakes_nobody(ledger: Ledger) -> None:
    page = [arrival("Appointment/1", "Patient/a", status="booked")]
    ledger.store("ehr", page, cause="resource")
    look_at = look(ledger)
    ledger.commit_looks([result(look_at)])
    stored = ledger.store("ehr", [replace(page[0], sent_seq=9, received_seq=10)], cause="resource")
    assert (stored.changed, stored.same, stored.woken) == (0, 1, 0)
    kept = ledger.snapshot("ehr", "Appointment/1")
    assert kept is not None and kept.received_seq == 2  # of the present content
    assert ledger.due_requests("ehr", at(0)) == []


def test_another_version_or_element_set_of_the_same_content_wakes_nobody(ledger: Ledger) -> None:
    ledger.store("ehr", [arrival("Appointment/1", "Patient/a", status="booked")], cause="resource")
    ledger.commit_looks([result(look(ledger))])
    touched = arrival("Appointment/1", "Patient/a", status="booked", version="2", seq=5, edition="e2")
    stored = ledger.store("ehr", [touched], cause="resource")
    assert (stored.changed, stored.same, stored.woken) == (0, 1, 0)
    kept = ledger.snapshot("ehr", "Appointment/1")
    assert kept is not None and (kept.version, kept.edition) == ("2", "e2")
    assert ledger.stale_refs("ehr", "Appointment", "e2") == []
    assert ledger.stale_refs("ehr", "Appointment", "e3") == ["Appointment/1"]


def test_what_was_read_for_somebody_wakes_when_its_poll_shows_it(ledger: Ledger) -> None:
    """An order that evidence brought between two polls becomes a focus with the second: nothing else would wake."""
    order = arrival("ServiceRequest/o1", "Patient/a", status="active")
    ledger.store("ehr", [replace(order, in_scope=False)], cause="evidence")
    ledger.commit_looks([result(look(ledger))])
    shown = replace(order, sent_seq=5, received_seq=6, walk_seq=5)
    assert ledger.store("ehr", [shown], cause="resource").changed == 1
    assert persons(ledger.due_requests("ehr", at(0))) == {"Patient/a"}


def test_the_same_version_under_another_element_set_is_kept_anew(ledger: Ledger) -> None:
    """F9: "nothing happens" needs same version, same content and same element set."""
    ledger.store("ehr", [arrival("Appointment/1", "Patient/a", status="booked")], cause="resource")
    again = arrival("Appointment/1", "Patient/a", status="booked", seq=5, edition="e2")
    ledger.store("ehr", [again], cause="resource")
    assert ledger.stale_refs("ehr", "Appointment", "e2") == []
    more = arrival("Appointment/1", "Patient/a", status="booked", basedOn=[], seq=7, edition="e3")
    assert ledger.store("ehr", [more], cause="resource").woken == 1


def test_changed_moves_only_with_the_status(ledger: Ledger) -> None:
    for seq, minutes, status, note in ((1, 0, "booked", "x"), (3, 10, "booked", "y"), (5, 20, "noshow", "y")):
        page = [arrival("Appointment/1", "Patient/a", seq=seq, minutes=minutes, status=status, note=note)]
        assert ledger.store("ehr", page, cause="resource").changed == 1
        kept = ledger.snapshot("ehr", "Appointment/1")
        assert kept is not None and kept.first_seen == at(0)
        assert kept.changed == (at(20) if status == "noshow" else at(0))


def test_an_answer_asked_for_before_the_held_one_came_does_not_count(ledger: Ledger) -> None:
    """F40: page asked for at 1, read by id from 2 to 3, the page's answer comes last, and older."""
    ledger.store(
        "ehr", [arrival("Appointment/1", "Patient/a", seq=2, version="3", status="cancelled")], cause="x"
    )
    late = arrival("Appointment/1", "Patient/a", seq=1, received=4, version="2", status="booked")
    stored = ledger.store("ehr", [late], cause="resource")
    assert stored.unsure == ("Appointment/1",)
    kept = ledger.snapshot("ehr", "Appointment/1")
    assert kept is not None and kept.body["status"] == "cancelled"
    same = replace(late, packed=dumps(kept.body), kept_digest=kept.kept_digest)
    assert ledger.store("ehr", [same], cause="resource").unsure == ()
    read = arrival("Appointment/1", "Patient/a", seq=5, version="4", status="booked")
    assert ledger.store("ehr", [read], cause="resource").changed == 1


def test_without_versions_a_later_sight_of_the_same_content_guards_too(ledger: Ledger) -> None:
    """A → B → A: the answer with B was asked for before A was seen again."""
    ledger.store("ehr", [arrival("Appointment/1", seq=1, version=None, status="a")], cause="x")
    ledger.store("ehr", [arrival("Appointment/1", seq=5, version=None, status="a")], cause="x")
    late = arrival("Appointment/1", seq=4, received=8, version=None, status="b")
    assert ledger.store("ehr", [late], cause="x").unsure == ("Appointment/1",)


def test_twice_in_one_page_is_once_or_unsure(ledger: Ledger) -> None:
    one = arrival("Appointment/1", "Patient/a", status="booked")
    other = arrival("Appointment/1", "Patient/a", status="noshow", version="2")
    stored = ledger.store("ehr", [one, one, other], cause="resource")
    assert (stored.changed, stored.same, stored.unsure) == (1, 1, ("Appointment/1",))


def test_persons_named_before_are_woken_and_still_see_it(ledger: Ledger) -> None:
    ledger.store("ehr", [arrival("ServiceRequest/1", "Patient/a", status="active")], cause="resource")
    ledger.commit_looks([result(look(ledger))])
    moved = arrival("ServiceRequest/1", "Patient/b", status="active", version="2", seq=3, moved=1)
    ledger.store("ehr", [moved], cause="resource")
    found = {chart.person: chart for chart in charts(ledger)}
    assert found.keys() == {"Patient/a", "Patient/b"}
    assert all("ServiceRequest/1" in chart.snapshots for chart in found.values())


def test_a_tombstone_keeps_its_patients(ledger: Ledger) -> None:
    ledger.store("ehr", [arrival("ServiceRequest/1", "Patient/a", status="active")], cause="resource")
    ledger.commit_looks([result(look(ledger))])
    stored = ledger.store("ehr", [tombstone("ServiceRequest/1", seq=5, minutes=9)], cause="resource")
    assert (stored.changed, stored.woken) == (1, 1)
    (chart,) = charts(ledger)
    dead = chart.snapshots["ServiceRequest/1"]
    assert dead.state is SnapshotState.DELETED
    assert dead.patients == ("Patient/a",)
    assert dead.changed == at(9)
    assert dead.body == {"resourceType": "ServiceRequest", "id": "1"}


def test_a_resource_that_names_nobody_is_kept(ledger: Ledger) -> None:
    stored = ledger.store("ehr", [arrival("Appointment/block", status="booked")], cause="resource")
    assert (stored.changed, stored.woken) == (1, 0)
    assert ledger.snapshot("ehr", "Appointment/block") is not None
    assert ledger.due_requests("ehr", at(0)) == []


def test_the_person_of_our_task_is_woken_whomever_the_task_names(ledger: Ledger) -> None:
    put_task(ledger, task())
    stored = ledger.store("ehr", [arrival("Task/b-k-1", "Patient/z", status="completed")], cause="read-back")
    assert stored.woken == 2
    (first, *_) = ledger.due_requests("ehr", at(0))
    assert first.causes == {"read-back"}
    assert persons(ledger.due_requests("ehr", at(0))) == {"Patient/a", "Patient/z"}


def test_quarantine_hides_the_row_keeps_its_body_and_heals(ledger: Ledger) -> None:
    good = arrival("Appointment/1", "Patient/a", status="booked")
    ledger.store("ehr", [good], cause="resource")
    ledger.commit_looks([result(look(ledger))])
    bad = replace(
        arrival("Appointment/1", seq=3, version="2", body={}), state=SnapshotState.QUARANTINED, kept_digest=""
    )
    row = QuarantineRow(0, "ehr", "Appointment", "1", "2", "status is no code", "status", b"{}")
    stored = ledger.store("ehr", [bad], cause="resource", quarantine=[row])
    assert (stored.changed, stored.woken) == (1, 1)
    kept = ledger.snapshot("ehr", "Appointment/1")
    assert kept is not None and kept.state is SnapshotState.QUARANTINED
    assert kept.body["status"] == "booked" and kept.patients == ("Patient/a",)
    assert [entry.reason for entry in ledger.quarantine()] == ["status is no code"]
    ledger.store("ehr", [replace(bad, sent_seq=5, received_seq=6)], cause="resource", quarantine=[row])
    assert [entry.tries for entry in ledger.quarantine()] == [2]
    older = replace(good, sent_seq=2, received_seq=7, version="1")
    assert ledger.store("ehr", [older], cause="resource").unsure == ("Appointment/1",)
    healed = replace(good, sent_seq=8, received_seq=9, version="3")
    assert ledger.store("ehr", [healed], cause="resource").changed == 1
    kept = ledger.snapshot("ehr", "Appointment/1")
    assert kept is not None and kept.state is SnapshotState.LIVE
    assert ledger.quarantine() == []


def test_an_entry_without_its_arrival_hides_the_row_too(ledger: Ledger) -> None:
    ledger.store("ehr", [arrival("Appointment/1", "Patient/a", status="booked")], cause="resource")
    ledger.commit_looks([result(look(ledger))])
    row = QuarantineRow(0, "ehr", "Appointment", "1", "2", "too deep")
    assert ledger.store("ehr", [], cause="resource", quarantine=[row]).woken == 1
    kept = ledger.snapshot("ehr", "Appointment/1")
    assert kept is not None and kept.state is SnapshotState.QUARANTINED


def test_expiry_drops_bytes_never_entries(ledger: Ledger) -> None:
    row = QuarantineRow(0, "ehr", "Appointment", "1", "2", "too deep", raw=b"{broken")
    ledger.store("ehr", [], cause="x", quarantine=[row], now=at(0))
    assert ledger.expire_quarantine(at(1)) == 1
    (kept,) = ledger.quarantine("ehr")
    assert kept.raw == b"" and kept.reason == "too deep"
    ledger.drop_quarantine(kept.id)
    assert ledger.quarantined(kept.id) is None


def test_page_and_watermark_are_stored_together_or_not(ledger: Ledger) -> None:
    page = [arrival("Appointment/1", "Patient/a", status="booked")]
    walk = WalkRow("ehr", "Appointment", watermark=at(5), place={"next": "…", "page": 2}, known_seq=7)
    with pytest.raises(RuntimeError), ledger.transaction():
        ledger.store("ehr", page, cause="resource", walk=walk)
        raise RuntimeError("killed")
    assert ledger.snapshot("ehr", "Appointment/1") is None
    assert ledger.walk("ehr", "Appointment") == WalkRow("ehr", "Appointment")
    assert ledger.requests("ehr") == []
    ledger.store("ehr", page, cause="resource", walk=walk)
    assert ledger.walk("ehr", "Appointment") == walk
    assert ledger.walks("ehr") == [walk]


def test_open_work_names_task_focus_links_and_evidence(ledger: Ledger) -> None:
    put_task(
        ledger, task(based_on=("ServiceRequest/9",), opening=("Appointment/4@3",), closing=("Encounter/2",))
    )
    put_task(ledger, task("b-done-1", focus="ServiceRequest/7"))
    ledger.append([event("b-done-1", EventKind.COMPLETED, status="completed")])
    assert ledger.open_work_refs("ehr") == {
        "Task/b-k-1",
        "ServiceRequest/1",
        "ServiceRequest/9",
        "Appointment/4",
        "Encounter/2",
    }


def test_the_focus_of_an_open_task_is_in_the_chart_wherever_it_went(ledger: Ledger) -> None:
    """A → B → C: two moves later the focus no longer names the task's patient, now or before."""
    put_task(ledger, task(based_on=("ServiceRequest/9",)))
    for seq, patient in ((1, "Patient/a"), (3, "Patient/b"), (5, "Patient/c")):
        page = [arrival("ServiceRequest/1", patient, seq=seq, version=str(seq), status="active", at=seq)]
        ledger.store("ehr", page, cause="resource")
    ledger.store("ehr", [arrival("ServiceRequest/9", "Patient/z", status="active")], cause="resource")
    ledger.store("ehr", [arrival("Task/b-k-1", "Patient/z", status="requested")], cause="resource")
    (chart,) = [c for c in charts(ledger) if c.person == "Patient/a"]
    assert chart.snapshots["ServiceRequest/1"].patients == ("Patient/c",)
    assert {"ServiceRequest/9", "Task/b-k-1"} <= chart.snapshots.keys()


def test_what_is_known_is_the_later_of_walk_and_reads_of_all_patients(ledger: Ledger) -> None:
    join = [{"type": "replaces", "other": {"reference": "Patient/b"}}]
    ledger.store("ehr", [arrival("Patient/a", "Patient/a", link=join)], cause="resource")
    ledger.save_walk(WalkRow("ehr", "Appointment", known_at=at(10), known_seq=50))
    ledger.save_walk(WalkRow("ehr", "Task", known_at=at(10), known_seq=50, bounded=True))
    ledger.save_walk(WalkRow("ehr", "Coverage", declared_none=True))
    for type in ("Appointment", "Encounter", "Task"):
        ledger.record_read("ehr", "Patient/a", type, at=at(20), seq=60, complete=True)
    (chart,) = charts(ledger)
    assert chart.patients == ("Patient/a", "Patient/b")
    assert chart.known["Appointment"].seq == 50  # b was not read
    assert chart.known["Encounter"].at is None
    assert chart.known["Coverage"].declared_none
    for type in ("Appointment", "Encounter", "Task"):
        ledger.record_read("ehr", "Patient/b", type, at=at(19), seq=55, complete=True)
    (chart,) = charts(ledger)
    assert (chart.known["Appointment"].at, chart.known["Appointment"].seq) == (at(19), 55)
    assert chart.known["Encounter"].at == at(19)
    assert not chart.known["Task"].bounded
    ledger.record_read("ehr", "Patient/b", "Encounter", at=at(30), seq=70, complete=False, reason="403")
    (chart,) = charts(ledger)
    assert (chart.known["Encounter"].blind, chart.known["Encounter"].at) == ("403", at(19))
    assert FACTS.name == chart.source.name


def test_numbers_go_on_after_a_restart_with_a_gap(ledger: Ledger) -> None:
    for _ in range(41):
        ledger.seq.next()
    ledger.store("ehr", [arrival("Appointment/1", seq=40)], cause="x")
    with Ledger.open(ledger.path, clock=ledger._clock) as again:
        assert again.seq.next() > ledger.seq.last + 1
        assert again.ledger_id == ledger.ledger_id

"""Rows are what their events say: by property, and found where they are not."""

from __future__ import annotations

import io
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapter import fhirjson
from adapter.clock import FixedClock
from adapter.ledger import EventError, Ledger, as_set, difference, fold, fold_all
from adapter.ledger.fold import FORMS, IDENTITY, to_json
from adapter.model import Event, EventKind, Priority, Task, TaskStatus
from tests.ledger.making import START, arrival, at, event, opened, put_task, task

SHORT = st.text("abcXYZ/-0123456789@ ", max_size=12)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "text": SHORT,
    "int": st.integers(0, 9),
    "bool": st.booleans(),
    "time": st.none()
    | st.integers(0, 10**7).map(lambda s: START + timedelta(seconds=s, microseconds=s % 999)),
    "texts": st.lists(SHORT, max_size=3).map(tuple),
    "set": st.frozensets(st.sampled_from(["status", "owner", "due"])),
    "status": st.sampled_from(list(TaskStatus)),
    "priority": st.sampled_from(list(Priority)),
}
CHANGEABLE = sorted(FORMS.keys() - IDENTITY)
LATER = [kind for kind in EventKind if kind is not EventKind.OPENED]


@st.composite
def histories(draw: st.DrawFn) -> list[Event]:
    tasks = [task(f"b-t{n}-{n}", f"Patient/{n % 2}") for n in range(draw(st.integers(1, 4)))]
    events = [opened(each) for each in tasks]
    for _ in range(draw(st.integers(0, 12))):
        of = draw(st.sampled_from(tasks))
        names = draw(st.lists(st.sampled_from(CHANGEABLE), max_size=5, unique=True))
        new = {name: to_json(draw(VALUES[FORMS[name]])) for name in names}
        if new.get("patient") == "":
            del new["patient"]
        events.append(event(of.id, draw(st.sampled_from(LATER)), draw(st.integers(0, 999)), **new))
    return events


@settings(max_examples=60, deadline=None)
@given(histories(), st.data())
def test_rows_are_the_fold_of_their_events(events: list[Event], data: st.DataObject) -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        Ledger.open(Path(folder) / "l.db", clock=FixedClock(START)) as ledger,
    ):
        while events:
            cut = data.draw(st.integers(1, len(events)))
            ledger.append(events[:cut])
            events = events[cut:]
        rows = {row.id: row for row in ledger.tasks()}
        assert rows == fold_all(told for id in rows for told in ledger.task_events(id))
        assert ledger.rebuild() == []
        assert {row.id for row in ledger.tasks(open_only=True)} == {i for i, r in rows.items() if r.open}


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE tasks SET owner = 'Practitioner/9'", "task b-k-1: owner is not what its events say"),
        ("UPDATE tasks SET due = NULL", "task b-k-1: due is not what its events say"),
        ("UPDATE tasks SET row_version = 9", "task b-k-1: row_version is not what its events say"),
        ("DELETE FROM tasks", "task b-k-1: events without a row"),
    ],
)
def test_rebuild_finds_and_mends_what_differs(ledger: Ledger, statement: str, said: str) -> None:
    before = put_task(ledger, task(due=at(5)))
    connection = ledger._database.connection()
    connection.execute("PRAGMA foreign_keys = OFF")
    connection.execute(statement)
    assert said in ledger.rebuild()
    assert said in ledger.rebuild(repair=True)
    assert ledger.rebuild() == []
    assert ledger.task("b-k-1") == before
    assert ledger.check() == []


def test_events_can_neither_be_changed_nor_deleted(ledger: Ledger) -> None:
    put_task(ledger, task())
    connection = ledger._database.connection()
    for statement in ("UPDATE events SET why = 'x'", "DELETE FROM events"):
        with pytest.raises(Exception, match="events are never"):
            connection.execute(statement)


def test_as_set_and_difference_make_the_task_again() -> None:
    whole = task(mine=frozenset({"due", "owner"}), steps=("due|2d",), due=at(3), started=True)
    assert fold(None, opened(whole)) == fold(None, opened(fold(None, opened(whole))))
    old, new = fold(None, opened(task())), fold(None, opened(whole))
    changed = fold(old, Event(whole.id, EventKind.REVISED, at(1), difference(old, new)))
    assert as_set(changed) == as_set(new) and changed.row_version == 2


@pytest.mark.parametrize(
    ("held", "kind", "new"),
    [
        (None, EventKind.REVISED, {}),
        (None, EventKind.OPENED, {"source": "ehr"}),
        (task(), EventKind.OPENED, as_set(task())),
        (task(), EventKind.REVISED, {"title": "Call Mrs Smith"}),
        (task(), EventKind.REVISED, {"row_version": 4}),
        (task(), EventKind.REVISED, {"key": "other"}),
        (task(), EventKind.REVISED, {"generation": 2}),
        (task(), EventKind.REVISED, {"due": "2026-03-02T08:00:00"}),
        (task(), EventKind.REVISED, {"due": 5}),
        (task(), EventKind.REVISED, {"status": "lost"}),
        (task(), EventKind.REVISED, {"started": 1}),
        (task(), EventKind.REVISED, {"notes": True}),
        (task(), EventKind.REVISED, {"steps": "due"}),
        (task(), EventKind.REVISED, {"business_status": "a note\nof two lines"}),
        (task(), EventKind.REVISED, {"business_status": "x" * 400}),
    ],
)
def test_fold_refuses_what_does_not_fit(held: Task | None, kind: EventKind, new: dict[str, Any]) -> None:
    with pytest.raises(EventError) as refused:
        fold(held, Event("b-k-1", kind, START, new))
    assert "Smith" not in str(refused.value)


def test_append_compares_where_asked(ledger: Ledger) -> None:
    assert ledger.append([opened(task())], expected={"b-k-1": 0})
    assert not ledger.append([event("b-k-1", EventKind.NOTED, turned=True)], expected={"b-k-1": 0})
    assert ledger.append([event("b-k-1", EventKind.NOTED, turned=True)], expected={"b-k-1": 1})
    assert [e.seq for e in ledger.events_after(1)] == [2]
    adopted = event("b-new-3", EventKind.ADOPTED, **as_set(task("b-new-3"), without=["id"]))
    assert ledger.append([adopted])


def test_check_names_what_is_wrong(ledger: Ledger) -> None:
    put_task(ledger, task())
    put_task(ledger, task("b-k-2"))
    ledger.store("ehr", [arrival("Appointment/1", "Patient/a")], cause="x")
    connection = ledger._database.connection()
    connection.execute("UPDATE tasks SET person = 'Patient/z' WHERE id = 'b-k-1'")
    connection.execute("UPDATE snapshots SET body = '{'")
    connection.execute("UPDATE snapshots SET received_seq = 99999")
    connection.execute("DELETE FROM snapshot_patients")
    ledger.want(["Task/b-k-1"])
    connection.execute("UPDATE outbox SET target = 'Task/gone'")
    said = "\n".join(ledger.check())
    for part in (
        "wrong person",
        "no JSON",
        "not yet given",
        "not found by their",
        "Task/gone",
        "open 2 times",
    ):
        assert part in said


def test_export_is_a_whole_ledger(ledger: Ledger, tmp_path: Path, clock: FixedClock) -> None:
    put_task(ledger, task())
    copy = tmp_path / "backup" / "copy.db"
    ledger.export(copy)
    assert copy.stat().st_mode & 0o777 == 0o600
    with Ledger.open(copy, clock=clock) as opened_copy:
        assert opened_copy.tasks() == ledger.tasks()
        assert opened_copy.ledger_id == ledger.ledger_id
    with pytest.raises(Exception, match="exists"):
        ledger.export(copy)


def test_export_json_has_every_row(ledger: Ledger) -> None:
    put_task(ledger, task())
    stream = io.BytesIO()
    number = ledger.export_json(stream)
    lines = [fhirjson.loads(line) for line in stream.getvalue().splitlines()]
    assert len(lines) == number
    assert [line["row"]["id"] for line in lines if line["table"] == "tasks"] == ["b-k-1"]
    assert {"events", "sources", "patients", "meta"} <= {line["table"] for line in lines}
    put_task(ledger, task("b-after-1"))  # the ledger goes on after it

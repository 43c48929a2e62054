from __future__ import annotations

from datetime import UTC, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from adapter.ledger import fold
from adapter.model import EventKind, Task, TaskStatus
from adapter.references import Bases
from adapter.writeback.owners import (
    TABLE,
    Owner,
    Phase,
    attempt_digest,
    deleted,
    owner_of,
    readback,
    value_digest,
)
from adapter.writeback.render import RenderContext, render_task, written_values
from adapter.writeback.versions import same_version, version_mark
from tests.writeback.bench import START, WORDS, ZONE, task

CTX = RenderContext("ns", "srckey", START, zone=ZONE)
ROW = task(seen_version="1")


def body_of(row: Task = ROW, **changes: Any) -> dict[str, Any]:
    return {**render_task(row, WORDS, CTX)[0], **changes}


def written_for(*rows: Task) -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for row in rows:
        for name, mark in written_values(body_of(row), zone=ZONE).items():
            found.setdefault(f"Task/{row.id}#{name}", set()).add(mark)
    return {key: frozenset(marks) for key, marks in found.items()}


def look(row: Task, body: dict[str, Any], version: str | None = "2", **more: Any) -> Any:
    values = {"written": written_for(row), "now": START, "zone": ZONE, **more}
    return readback(row, body, version_mark(version, body), **values)


def after(row: Task, found: Any) -> Task:
    for event in found.events:
        row = fold(row, event)
    return row


def test_table_is_whole() -> None:
    for owners in TABLE.values():
        assert set(owners) == set(Phase)
    assert owner_of(ROW, "status") is Owner.BATON
    hers = replace(ROW, mine=frozenset({"status", "due"}), started=True)
    assert owner_of(hers, "status") is Owner.PERSON and owner_of(hers, "due") is Owner.PERSON
    assert owner_of(hers, "owner") is Owner.BATON
    assert owner_of(hers, "priority") is Owner.BATON and owner_of(ROW, "notes") is Owner.PERSON


def test_a_version_that_is_known_is_no_news() -> None:
    assert look(ROW, body_of(status="completed"), "1").events == ()


def test_same_values_only_move_the_version() -> None:
    found = look(ROW, body_of())
    assert [event.kind for event in found.events] == [EventKind.CONFIRMED]
    assert after(ROW, found).seen_version == "2" and after(ROW, found).touched_at is None


@pytest.mark.parametrize(
    ("status", "started", "closed_by"),
    [
        ("accepted", True, ""),
        ("received", True, ""),
        ("ready", True, ""),
        ("in-progress", True, ""),
        ("on-hold", True, ""),
        ("draft", False, ""),
        ("completed", False, "person"),
        ("rejected", False, "person"),
        ("cancelled", False, "person"),
        ("failed", False, "person"),
    ],
)
def test_her_status(status: str, started: bool, closed_by: str) -> None:
    row = after(ROW, look(ROW, body_of(status=status)))
    assert (row.status.value, row.started, row.closed_by) == (status, started, closed_by)
    assert row.mine == frozenset({"status"}) and row.touched_at == START
    assert (row.closed_at is not None) == bool(closed_by)


def test_she_completes_what_she_started() -> None:
    row = after(ROW, look(ROW, body_of(status="in-progress")))
    row = after(row, look(row, body_of(status="completed"), "3"))
    assert row.started and row.status is TaskStatus.COMPLETED
    row = after(row, look(row, body_of(status="in-progress"), "4"))
    assert row.open and row.closed_by == "" and row.closed_at is None


def test_putting_it_back_gives_it_back() -> None:
    row = after(ROW, look(ROW, body_of(status="accepted")))
    row = after(row, look(row, body_of(), "3"))
    assert row.status is TaskStatus.REQUESTED and not row.started and row.mine == frozenset()


def test_owner_business_status_due_and_notes() -> None:
    bases = Bases("https://ehr.example/fhir")
    body = body_of(
        owner={"reference": "https://ehr.example/fhir/Practitioner/anna/_history/4"},
        businessStatus={"coding": [{"system": "urn:baton:code:business-status", "code": "submitted"}]},
        restriction={"period": {"end": "2025-12-09T09:00:00-05:00"}},
        note=[{"text": "secret"}],
    )
    found = look(ROW, body, bases=bases)
    row = after(ROW, found)
    assert row.owner == "Practitioner/anna" and row.business_status == "submitted" and row.notes == 1
    assert row.due is not None and row.due.isoformat() == "2025-12-09T14:00:00+00:00" and not row.due_is_day
    assert row.mine == frozenset({"owner", "business_status", "due"}) and not row.started
    assert "secret" not in str(found.events)


@pytest.mark.parametrize(
    ("element", "kept"),
    [
        ({"text": "Waiting for patient"}, "?"),
        ({"text": "Left message"}, "left-message"),
        ({"coding": [{"system": "urn:x", "code": "7"}]}, "urn:x|7"),
        ({"coding": [{"code": "submitted"}]}, "submitted"),
    ],
)
def test_business_status_never_keeps_free_text(element: dict[str, Any], kept: str) -> None:
    assert after(ROW, look(ROW, body_of(businessStatus=element))).business_status == kept


def test_a_name_as_owner_is_not_kept() -> None:
    row = after(ROW, look(ROW, body_of(owner={"display": "Anna Smith"})))
    assert row.owner == "?" and "owner" in row.mine
    assert look(row, body_of(owner={"display": "Anna Smith"}), "3").events[0].kind is EventKind.CONFIRMED


def test_due_removed_by_her() -> None:
    row = after(ROW, look(ROW, body_of(restriction=None)))
    assert row.due is None and "due" in row.mine


@pytest.mark.parametrize("status", [None, "finished", 7])
def test_nonsense_is_no_wish(status: Any) -> None:
    found = look(ROW, body_of(status=status))
    assert after(ROW, found).status is TaskStatus.REQUESTED and found.restored == frozenset({"status"})


def test_stale_save_once_then_hers() -> None:
    revised = replace(ROW, due=ROW.due - timedelta(days=2), priority=ROW.priority)  # type: ignore[operator]
    written = written_for(ROW, revised)
    found = look(revised, body_of(status="in-progress"), written=written)
    row = after(revised, found)
    assert found.restored == frozenset({"due"}) and row.due == revised.due
    assert row.status is TaskStatus.IN_PROGRESS and row.mine == frozenset({"status"})
    again = {**written, f"Task/{ROW.id}#due:restored": frozenset({value_digest("2025-12-05")})}
    found = look(row, body_of(status="in-progress"), "3", written=again)
    assert found.restored == frozenset() and "due" in after(row, found).mine


def test_stale_requested_does_not_reopen_at_once() -> None:
    closed = replace(ROW, status=TaskStatus.COMPLETED, closed_by="evidence")
    found = look(closed, body_of(), written=written_for(ROW, closed))
    assert found.restored == frozenset({"status"}) and after(closed, found).status is TaskStatus.COMPLETED
    reopened = look(closed, body_of(status="in-progress"), written=written_for(ROW, closed))
    assert after(closed, reopened).open


def test_lost_answer_is_ours_even_where_the_row_went_on() -> None:
    sent = replace(ROW, status=TaskStatus.COMPLETED, closed_by="evidence")
    body = body_of(sent)
    attempts = (attempt_digest(body, zone=ZONE),)
    found = look(ROW, body, attempts=attempts)
    assert found.ours and after(ROW, found).status is TaskStatus.REQUESTED
    assert look(ROW, body, attempts={f"Task/{ROW.id}": attempts}).ours
    hers = look(ROW, {**body, "note": [{"text": "x"}]}, attempts=attempts, written=written_for(ROW, sent))
    assert not hers.ours and after(ROW, hers).notes == 1 and after(ROW, hers).closed_by == ""


def test_a_version_seen_before_is_no_edit() -> None:
    row = replace(ROW, seen_version="5", status=TaskStatus.COMPLETED, closed_by="person")
    found = look(row, body_of(), "2", seen_before=True)
    assert after(row, found).status is TaskStatus.COMPLETED and found.restored == frozenset({"status"})


def test_deletion_in_its_forms() -> None:
    row = after(ROW, look(ROW, body_of(status="entered-in-error")))
    assert row.gone and row.closed_by == "deleted"
    assert after(ROW, look(ROW, body_of(identifier=[{"system": "urn:x", "value": "1"}]))).gone
    event = deleted(ROW, now=START)
    assert event.kind is EventKind.DELETED and fold(ROW, event).gone
    closed = replace(ROW, status=TaskStatus.COMPLETED, closed_by="evidence")
    assert fold(closed, deleted(closed, now=START)).closed_by == "evidence"
    assert look(fold(ROW, event), body_of(), "9").events == ()


def test_routing_by_the_ehr_starts_nothing() -> None:
    body = body_of(status="accepted", meta={"source": "urn:router#77"})
    found = look(ROW, body, system_actors={"urn:router"})
    row = after(ROW, found)
    assert row.status is TaskStatus.ACCEPTED and not row.started and row.mine == frozenset()
    assert after(ROW, look(ROW, {**body, "status": "in-progress"}, system_actors={"urn:router"})).started


def test_without_version_numbers_content_tells() -> None:
    row = after(ROW, look(ROW, body_of(status="accepted"), None))
    assert row.seen_version.startswith("#")
    assert (
        look(
            row, {**body_of(status="accepted"), "meta": {"lastUpdated": "2025-01-01T00:00:00Z"}}, None
        ).events
        == ()
    )


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "status": st.one_of(
                st.none(), st.text(max_size=5), st.sampled_from(list(TaskStatus)), st.integers()
            ),
            "owner": st.one_of(
                st.none(), st.text(), st.dictionaries(st.text(max_size=9), st.text(), max_size=2)
            ),
            "businessStatus": st.one_of(
                st.none(), st.lists(st.text()), st.fixed_dictionaries({"text": st.text()})
            ),
            "restriction": st.one_of(
                st.text(),
                st.fixed_dictionaries({"period": st.fixed_dictionaries({"end": st.text(max_size=12)})}),
            ),
            "note": st.one_of(st.text(), st.lists(st.text(), max_size=3)),
            "meta": st.one_of(st.text(), st.fixed_dictionaries({"lastUpdated": st.text()})),
            "identifier": st.one_of(st.text(), st.lists(st.text(), max_size=2)),
        },
    )
)
def test_nothing_that_a_server_sends_breaks_it(changes: dict[str, Any]) -> None:
    found = look(ROW, body_of(**changes))
    row = after(ROW, found)
    assert same_version(row.seen_version, "2")
    assert look(row, body_of(**changes), "2").events == ()


def test_times_are_utc() -> None:
    row = after(ROW, look(ROW, body_of(restriction={"period": {"end": "2025-12-09"}})))
    assert row.due is not None and row.due.tzinfo is UTC and row.due_is_day
    assert row.due.astimezone(ZONE).date().isoformat() == "2025-12-09"

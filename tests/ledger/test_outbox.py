"""One row per resource: attempts before sending, leases, unknown outcomes, parking."""

from __future__ import annotations

from dataclasses import replace

import pytest

from adapter.clock import FixedClock
from adapter.ledger import Attempt, LeaseTaken, Ledger, OutboxRow, SourceRow
from adapter.model import EventKind
from tests.ledger.making import at, charts, event, plan, put_task, task

TASK = "Task/b-k-1"


@pytest.fixture(autouse=True)
def _a_task(ledger: Ledger) -> None:
    ledger.save_source(SourceRow(name="ehr", key="k1", incarnation="i1"))
    put_task(ledger, task())
    ledger.want([TASK])


def due(ledger: Ledger, minutes: float = 0) -> list[OutboxRow]:
    return ledger.due_writes("ehr", at(minutes))


def begin(ledger: Ledger, digest: str = "d1", incarnation: str = "i1", minutes: float = 0) -> None:
    ledger.begin(
        TASK, digest=digest, values={"due": f"{digest}-due"}, at=at(minutes), incarnation=incarnation
    )


def test_the_attempt_is_known_before_the_answer(ledger: Ledger) -> None:
    begin(ledger)
    (row,) = ledger.outbox()
    assert (row.state, row.attempt, row.attempt_at, row.incarnation) == ("leased", "d1", at(0), "i1")
    ledger.request("ehr", ["Patient/a"], "read-back")
    (chart,) = charts(ledger)
    assert chart.attempts == {TASK: ("d1",)} == ledger.attempts(["b-k-1"])
    assert chart.written == {f"{TASK}#due": frozenset({"d1-due"})} == ledger.written_values(["b-k-1"])


def test_an_acknowledged_write_ends_the_row_and_confirms_the_task(ledger: Ledger) -> None:
    begin(ledger)
    ledger.done(TASK, sent=1, version="7")
    assert ledger.outbox() == [] and ledger.attempts(["b-k-1"]) == {}
    stored = ledger.task("b-k-1")
    assert stored is not None and stored.seen_version == "7"
    assert [e.kind for e in ledger.task_events("b-k-1")] == [EventKind.OPENED, EventKind.CONFIRMED]
    assert ledger.written_values(["b-k-1"]) != {}


def test_events_of_the_acknowledgement_are_stored_with_it(ledger: Ledger) -> None:
    begin(ledger)
    own = event("b-k-1", EventKind.CONFIRMED, seen_version="7")
    ledger.done(TASK, sent=1, version="7", events=[own])
    assert [e.why for e in ledger.task_events("b-k-1")] == ["open", "confirmed"]


def test_a_wish_during_the_delivery_is_not_lost(ledger: Ledger) -> None:
    """F17: generation 6 while 5 is under way."""
    begin(ledger)
    ledger.want([TASK])
    assert due(ledger) == []
    ledger.done(TASK, sent=1, version="2")
    (row,) = due(ledger)
    assert (row.state, row.wanted, row.sent) == ("due", 2, 1)
    begin(ledger, "d2")
    ledger.done(TASK, sent=2, version="3")
    assert ledger.outbox() == []


def test_one_delivery_at_a_time(ledger: Ledger) -> None:
    begin(ledger)
    with pytest.raises(LeaseTaken):
        begin(ledger, "d2")
    assert ledger.attempts(["b-k-1"]) == {TASK: ("d1",)}
    assert not ledger.drop(TASK)


def test_leases_of_another_incarnation_mean_unknown(ledger: Ledger) -> None:
    begin(ledger, incarnation="i0")
    assert due(ledger, 1) == []  # the longest request may still be under way
    (row,) = due(ledger, 3)
    assert row.state == "unknown" and row.not_before == at(2.5)
    ledger.save_source(SourceRow(name="ehr", key="k1", incarnation="i2"))
    begin(ledger, "d2", incarnation="i2", minutes=3)
    assert due(ledger, 10) == []
    assert ledger.attempts(["b-k-1"]) == {TASK: ("d1", "d2")}
    (row,) = due(ledger, 60)
    assert row.state == "unknown"  # a lease that outlived every delivery


def test_an_unknown_outcome_waits_and_keeps_its_attempt(ledger: Ledger) -> None:
    begin(ledger)
    ledger.unknown(TASK, at(3))
    ledger.want([TASK])
    assert due(ledger, 2) == []
    (row,) = due(ledger, 3)
    assert (row.state, row.wanted) == ("unknown", 2)
    ledger.later(TASK, at(5), answered=False)
    (row,) = due(ledger, 5)
    assert (row.state, row.failures) == ("unknown", 1)
    begin(ledger, "d2")
    ledger.done(TASK, sent=2, version="9")
    assert ledger.attempts(["b-k-1"]) == {TASK: ("d1",)}  # it may still land


def test_a_refused_write_is_no_attempt_and_comes_again(ledger: Ledger) -> None:
    begin(ledger)
    ledger.later(TASK, at(5), failed=False, round=True)
    assert ledger.attempts(["b-k-1"]) == {}
    assert due(ledger, 4) == []
    (row,) = due(ledger, 5)
    assert (row.state, row.failures, row.rounds) == ("due", 0, 1)


def test_parked_is_due_again_when_more_is_wanted_or_a_day_later(ledger: Ledger, clock: FixedClock) -> None:
    begin(ledger)
    ledger.park(TASK, "error invalid HAPI-0450 Task.code", "d1")
    (row,) = ledger.outbox("parked")
    assert (row.parked, row.attempt) == ("error invalid HAPI-0450 Task.code", "d1")
    assert due(ledger, 60) == []
    assert [r.state for r in due(ledger, 24 * 60)] == ["parked"]
    ledger.want([TASK])
    (row,) = due(ledger)
    assert (row.state, row.parked, row.wanted) == ("due", "", 2)
    begin(ledger)
    ledger.park(TASK, "x")
    ledger.retry(TASK)
    assert len(due(ledger)) == 1


def test_tasks_go_before_plans(ledger: Ledger) -> None:
    ledger.save_plan(plan())
    ledger.drop(TASK)
    ledger.want(["CarePlan/bp-p-1"])
    ledger.want([TASK])
    assert [row.target for row in due(ledger)] == [TASK, "CarePlan/bp-p-1"]
    ledger.begin("CarePlan/bp-p-1", digest="p", values={}, at=at(0), incarnation="i1")
    ledger.done("CarePlan/bp-p-1", sent=1, version="4")
    kept = ledger.plan("bp-p-1")
    assert kept is not None and (kept.seen_version, kept.row_version) == ("4", 2)


def test_nothing_is_wanted_of_what_the_ledger_does_not_hold(ledger: Ledger) -> None:
    ledger.want(["Task/b-none-1"])
    assert [row.target for row in ledger.outbox()] == [TASK]
    assert ledger.drop_outbox("ehr") == 1


def test_a_source_without_incarnation_takes_its_own_leases_for_its_own(ledger: Ledger) -> None:
    ledger.save_source(replace(SourceRow(name="ehr", key="k1"), incarnation=""))
    begin(ledger, incarnation="")
    assert due(ledger, 10) == []


def attempt(target: str = TASK, digest: str = "d1") -> Attempt:
    return Attempt(target, digest, {"due": f"{digest}-due"}, at(0), "i1")


def test_several_attempts_are_committed_together_and_a_taken_lease_is_left_out(ledger: Ledger) -> None:
    put_task(ledger, task("b-l-1", need="other"))
    ledger.want(["Task/b-l-1"])
    begin(ledger)
    assert ledger.begin_each([attempt(digest="d2"), attempt("Task/b-l-1")]) == {"Task/b-l-1": True}
    assert ledger.attempts(["b-k-1", "b-l-1"]) == {TASK: ("d1",), "Task/b-l-1": ("d1",)}
    assert {row.state for row in ledger.outbox()} == {"leased"}


def test_what_was_not_sent_is_due_again_and_no_attempt(ledger: Ledger) -> None:
    ledger.unsent(ledger.begin_each([attempt()]), at(1))
    assert ledger.attempts(["b-k-1"]) == {}
    assert due(ledger, 0) == []
    (row,) = due(ledger, 1)
    assert (row.state, row.failures, row.rounds, row.wanted) == ("due", 0, 0, 1)


def test_taking_back_keeps_the_same_attempt_of_before(ledger: Ledger) -> None:
    """It was sent once and no answer came: it may still land (F15)."""
    begin(ledger)
    ledger.unknown(TASK, at(3))
    begun = ledger.begin_each([attempt()])
    assert begun == {TASK: False}
    ledger.unsent(begun, at(4))
    assert ledger.attempts(["b-k-1"]) == {TASK: ("d1",)}
    assert [row.state for row in due(ledger, 4)] == ["due"]

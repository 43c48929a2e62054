"""Commits compare what was read: nothing is lost, overwritten or opened twice."""

from __future__ import annotations

import itertools
from datetime import timedelta

import pytest
from msgspec.structs import replace

from adapter.ledger import EventError, Ledger, LookResult
from adapter.model import EventKind, TaskStatus, Words
from tests.ledger.making import (
    FACTS,
    arrival,
    at,
    charts,
    event,
    look,
    opened,
    persons,
    plan,
    put_task,
    result,
    task,
)


def test_a_look_is_stored_whole(ledger: Ledger) -> None:
    chart = look(ledger)
    done = result(
        chart,
        opened(task()),
        words={"b-k-1": Words("Call", "call her", "no visit")},
        wants=frozenset({"Task/b-k-1", "CarePlan/bp-p-1"}),
        plans=(plan(),),
        next_look=at(60),
    )
    assert ledger.commit_looks([done]) == []
    stored = ledger.task("b-k-1")
    assert stored is not None and (stored.row_version, stored.status) == (1, TaskStatus.REQUESTED)
    assert ledger.words(["b-k-1", "b-none-1"]) == {"b-k-1": Words("Call", "call her", "no visit")}
    assert {row.target for row in ledger.outbox()} == {"Task/b-k-1", "CarePlan/bp-p-1"}
    assert {row.source for row in ledger.outbox()} == {"ehr"}
    assert [kept.row_version for kept in ledger.plans("ehr")] == [1]
    assert ledger.due_requests("ehr", at(59)) == []
    (request,) = ledger.due_requests("ehr", at(60))
    assert request.causes == {"due"} and request.gen > (chart.request.gen if chart.request else 0)


def test_a_wake_up_during_a_look_survives_it(ledger: Ledger) -> None:
    """F14 a: the request that came during the look is not ended by the look, whatever was deleted before."""
    first = look(ledger)
    ledger.commit_looks([result(first)])
    second = look(ledger)
    assert second.request is not None and first.request is not None
    assert second.request.gen > first.request.gen
    ledger.store("ehr", [arrival("Appointment/1", "Patient/a", status="booked")], cause="resource")
    assert ledger.commit_looks([result(second, opened(task()))]) == [second.request]
    assert ledger.task("b-k-1") is None
    assert persons(ledger.due_requests("ehr", at(0))) == {"Patient/a"}
    assert ledger.commit_looks([result(first)]) == [first.request]
    assert persons(ledger.due_requests("ehr", at(0))) == {"Patient/a"}


def test_a_row_that_moved_on_refuses_the_look(ledger: Ledger) -> None:
    """F14 b: she rejects between read and commit."""
    put_task(ledger, task())
    chart = look(ledger)
    ledger.append([event("b-k-1", EventKind.READ_BACK, status="rejected")], expected={"b-k-1": 1})
    late = result(chart, event("b-k-1", EventKind.REVISED, due=at(99).isoformat()))
    assert ledger.commit_looks([late]) == [chart.request]
    stored = ledger.task("b-k-1")
    assert stored is not None and stored.status is TaskStatus.REJECTED and stored.due is None
    again = look(ledger)
    assert [t.status for t in again.tasks] == [TaskStatus.REJECTED]
    assert ledger.commit_looks([result(again)]) == []


def test_a_task_that_turned_up_refuses_the_look(ledger: Ledger) -> None:
    chart = look(ledger)
    put_task(ledger, task("b-other-1"))
    assert ledger.commit_looks([result(chart)]) == [chart.request]


def test_a_plan_that_moved_on_refuses_the_look(ledger: Ledger) -> None:
    assert ledger.save_plan(plan())
    chart = look(ledger)
    (kept,) = chart.plans
    assert ledger.save_plan(replace(kept, gone=True))
    assert not ledger.save_plan(kept)
    assert ledger.commit_looks([result(chart)]) == [chart.request]
    chart = look(ledger)
    assert ledger.commit_looks([result(chart)]) == []
    chart = look(ledger)
    assert ledger.save_plan(plan("bp-q-1", key="q"))
    assert ledger.commit_looks([result(chart)]) == [chart.request]


def test_looks_of_an_older_edition_are_refused(ledger: Ledger) -> None:
    """F14 c."""
    assert ledger.activate("m1")
    chart = look(ledger)
    assert ledger.activate("m2") and not ledger.activate("m2")
    assert ledger.edition() == "m2"
    assert ledger.commit_looks([result(chart)]) == [chart.request]


def test_one_refused_look_leaves_the_others(ledger: Ledger) -> None:
    ledger.request("ehr", ["Patient/a", "Patient/b"], "resource")
    ours, theirs = charts(ledger)
    ledger.request("ehr", ["Patient/b"], "read-back")
    of_b = task("b-b-1", "Patient/b")
    refused = ledger.commit_looks([result(ours, opened(task())), result(theirs, opened(of_b))])
    assert persons(refused) == {"Patient/b"}
    assert ledger.task("b-k-1") is not None and ledger.task("b-b-1") is None


def test_nobody_opens_twice(ledger: Ledger) -> None:
    ledger.request("ehr", ["Patient/a", "Patient/b"], "resource")
    ours, theirs = charts(ledger)
    same = task(patient="Patient/b")
    refused = ledger.commit_looks([result(ours, opened(task())), result(theirs, opened(same))])
    assert persons(refused) == {"Patient/b"}
    chart = look(ledger, "Patient/b")
    assert ledger.commit_looks([result(chart, opened(same))]) == [chart.request]
    assert [t.patient for t in ledger.tasks()] == ["Patient/a"]


def test_two_results_of_one_person_count_once(ledger: Ledger) -> None:
    chart = look(ledger)
    refused = ledger.commit_looks([result(chart, opened(task())), result(chart, opened(task("b-z-1")))])
    assert refused == [chart.request]
    assert [t.id for t in ledger.tasks()] == ["b-k-1"]


def test_a_faulty_result_stores_nothing_of_any(ledger: Ledger) -> None:
    put_task(ledger, task("b-f-1", "Patient/c"))
    ledger.request("ehr", ["Patient/a", "Patient/b"], "resource")
    good, bad = charts(ledger)
    for faulty in (
        event("b-f-1", EventKind.REVISED, due=None),  # a task it has not read
        event("b-none-1", EventKind.REVISED, due=None),
        replace(opened(task("b-b-1", "Patient/b")), set={"id": "b-b-1"}),
    ):
        with pytest.raises(EventError):
            ledger.commit_looks([result(good, opened(task())), result(bad, faulty)])
    assert ledger.task("b-k-1") is None
    assert ledger.commit_looks([result(good, opened(task()))]) == []
    assert bad.request is not None
    ledger.failed(bad.request, at(30))
    assert ledger.due_requests("ehr", at(29)) == []
    (resting,) = ledger.due_requests("ehr", at(30))
    assert resting.failures == 1


def test_failures_count_on_and_news_ends_the_rest(ledger: Ledger) -> None:
    ledger.request("ehr", ["Patient/a"], "resource")
    (request,) = ledger.due_requests("ehr", at(0))
    ledger.failed(request, at(30))
    ledger.request("ehr", ["Patient/a"], "read-back")
    (renewed,) = ledger.due_requests("ehr", at(0))
    assert renewed.failures == 1 and renewed.causes == {"resource", "read-back"}
    ledger.failed(request, at(90))  # of an older request: nothing
    assert ledger.due_requests("ehr", at(0)) == [renewed]
    ledger.postpone(renewed, at(40))
    assert ledger.due_requests("ehr", at(0)) == []
    assert [r.failures for r in ledger.requests("ehr")] == [1]


def test_requests_come_in_order_of_cause_then_of_waiting(ledger: Ledger) -> None:
    for patient, cause in (
        ("1", "sweep"),
        ("2", "edition"),
        ("3", "resource"),
        ("4", "resource"),
        ("5", "read-back"),
    ):
        ledger.request("ehr", [f"Patient/{patient}"], cause)
    ledger.request("ehr", ["Patient/6"], "resource")
    (request,) = [r for r in ledger.requests("ehr") if r.person == "Patient/6"]
    ledger.commit_looks([LookResult(request, next_look=at(1))])
    ledger.request("ehr", ["Patient/3"], "sweep")  # renewed: keeps its place and its rank
    order = [r.person[-1] for r in ledger.due_requests("ehr", at(1))]
    assert order == ["5", "6", "3", "4", "2", "1"]
    assert [r.person[-1] for r in ledger.due_requests("ehr", at(1), limit=2)] == ["5", "6"]


def test_everyone_or_those_with_a_type_or_open_work(ledger: Ledger) -> None:
    ledger.store(
        "ehr", [arrival("Appointment/1", "Patient/a"), arrival("Coverage/1", "Patient/b")], cause="x"
    )
    put_task(ledger, task("b-c-1", "Patient/c"))
    put_task(ledger, task("b-d-1", "Patient/d", status=TaskStatus.COMPLETED))
    assert ledger.request_everyone("ehr", "edition", ["Appointment"]) == 2
    assert ledger.request_everyone("ehr", "edition") == 4


def test_two_workers_over_every_interleaving_end_as_one_after_the_other(ledger: Ledger) -> None:
    """Two looks at one person, each: ask, read, commit. One task is opened and no wake-up lost."""
    steps = ["a-read", "a-commit", "b-read", "b-commit", "wake", "reject"]
    orders = [
        order
        for order in itertools.permutations(steps)
        if order.index("a-read") < order.index("a-commit") and order.index("b-read") < order.index("b-commit")
    ]
    for number, order in enumerate(orders):
        _run(ledger, f"Patient/x{number}", f"b-x{number}-1", order)
    assert ledger.rebuild() == [] and ledger.check() == []


def _run(ledger: Ledger, patient: str, ident: str, order: tuple[str, ...]) -> None:
    ledger.request("ehr", [patient], "resource")
    read = {}
    woken_after_last_read = committed = rejected = False
    for step in order:
        worker = step[0]
        if step.endswith("read"):
            found = [r for r in ledger.requests("ehr") if r.person == patient]
            read[worker] = ledger.charts(found, FACTS, at(0), "m1")
            woken_after_last_read = False
        elif step.endswith("commit"):
            for chart in read[worker]:
                news = [] if chart.tasks else [opened(task(ident, patient))]
                committed |= ledger.commit_looks([result(chart, *news)]) == []
        elif step == "wake":
            ledger.request("ehr", [patient], "resource")
            woken_after_last_read = True
        elif ledger.task(ident):
            ledger.append([event(ident, EventKind.READ_BACK, status="rejected")])
            rejected = True
    kept = ledger.task(ident)
    assert (kept is not None) == committed
    if rejected:
        assert kept is not None and kept.status is TaskStatus.REJECTED
    waits = any(r.person == patient for r in ledger.requests("ehr"))
    assert waits or not woken_after_last_read
    assert waits or committed
    for chart in ledger.charts([r for r in ledger.requests("ehr") if r.person == patient], FACTS, at(0)):
        assert ledger.commit_looks([result(chart)]) == []


def test_looks_that_change_nothing_are_cheap(ledger: Ledger) -> None:
    patients = [f"Patient/{n}" for n in range(50)]
    ledger.request("ehr", patients, "resource")
    found = charts(ledger)
    before = ledger._database.connection().total_changes
    ledger.commit_looks([result(chart, next_look=chart.now + timedelta(hours=1)) for chart in found])
    assert ledger._database.connection().total_changes - before <= 2 * len(patients) + 1

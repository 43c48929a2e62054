"""What is missing is unknown: types that are refused, evidence that nobody reads, days of downtime."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from adapter.control import explained
from adapter.model import EVIDENCE, POLLED
from adapter.reconcile import reconciler
from tests.consistency.hospital import (
    DAY,
    HOUR,
    START,
    Hospital,
    hospital,
    order,
    patient,
    report,
    stay,
    text,
    visit,
)

READ = (*POLLED, *EVIDENCE, "Patient")


def _three_orders(town: Hospital) -> None:
    """p1 waits for a visit; p2 and p3 will wait in three business days, and p2 is booked before that."""
    for number in (1, 2, 3):
        town.ehr.put(patient(f"p{number}"))
    town.ehr.put(order("o1", "p1"))
    for number in (2, 3):
        town.ehr.put(order(f"o{number}", f"p{number}", authoredOn=text(START - HOUR)))
    town.good()
    assert set(town.open().values()) == {"schedule-referral"} and len(town.open()) == 1


def _days(town: Hospital, count: int) -> None:
    for _ in range(count * 2):
        town.sync(passing=timedelta(hours=12))


@pytest.mark.parametrize(
    ("type", "status"),
    [*((type, 403) for type in READ), ("Appointment", 500), ("Encounter", 500), ("Patient", 500)],
)
def test_f3_a_type_that_is_refused_opens_and_withdraws_nothing(
    type: str, status: int, town: Hospital
) -> None:
    """What the type would have told is told when it answers again; until then nothing rests on its silence."""
    _three_orders(town)
    town.ehr.habits.refused = {type: status}
    town.sync(passing=12 * HOUR)
    town.ehr.put(visit("v2", "p2", of="o2"))
    _days(town, 4)
    opened = {task.focus for task in town.tasks()}
    assert "ServiceRequest/o2" not in opened, "it was booked in time, and perhaps nobody could see it"
    assert not [t for t in town.tasks() if t.status == "cancelled"]
    town.ehr.habits.refused = {}
    _days(town, 1)
    open_foci = {task.focus for task in town.tasks(all=False)}
    assert open_foci == {"ServiceRequest/o1", "ServiceRequest/o3"}
    assert len(town.tasks()) == 2


def test_f3_no_task_closes_while_what_else_may_speak_of_its_need_is_unread(town: Hospital) -> None:
    """The order ends while no visit can be read, and a proposed one wants to be confirmed: nobody is to lose sight of
    it for the time of the outage, and a business day longer."""
    town.ehr.put(patient())
    town.ehr.put(order())
    town.good()
    task = town.only("schedule-referral")
    town.ehr.habits.refused = {"Appointment": 500}
    town.ehr.put(visit(of="o1", at=START + 4 * DAY, status="proposed"))
    town.ehr.edit("ServiceRequest/o1", status="completed")
    for _ in range(3):
        town.sync(passing=12 * HOUR)
    assert town.open() == {task.id: "schedule-referral"}
    told = explained(town.app, task.id)
    assert [one["says"] for one in told["now"]] == ["withdraw"] and told["waits_for"] == ["Appointment"]
    town.ehr.habits.refused = {}
    town.good(passing=HOUR)
    assert town.open() == {task.id: "schedule-referral"}, (
        "the need is the visit's now, and the task is the same"
    )
    assert town.ledger.words([task.id])[task.id].title.startswith("Confirm"), "and says so"
    told = explained(town.app, task.id)
    says = {(one["rule"], one["says"]) for one in told["now"]}
    assert says >= {("schedule-referral", "withdraw"), ("confirm-visit", "open")} and not told["waits_for"]
    town.ehr.edit("Appointment/v1", status="booked")
    town.good(passing=HOUR)
    assert [t.closed_by for t in town.tasks()] == ["evidence"]


@pytest.mark.parametrize("first", ["visit", "order"])
def test_f3_an_urgent_order_and_its_visit_in_one_pass(first: str, town: Hospital) -> None:
    both = [
        visit("v1", of="o1", at=START + HOUR),
        order(priority="stat", authoredOn=text(START)),
    ]
    town.ehr.put(patient())
    town.good()
    for resource in both if first == "visit" else reversed(both):
        town.ehr.put(resource)
    town.good()
    assert town.tasks() == []


def test_f3_a_cancelled_visit_and_its_replacement_on_different_pages(tmp_path: Path) -> None:
    with hospital(tmp_path, page_size=1) as town:
        town.ehr.put(patient())
        town.ehr.put(order(authoredOn=text(START - 10 * DAY)))
        town.ehr.put(visit("v1", of="o1"))
        town.good()
        town.clock.advance(DAY)
        town.ehr.edit("Appointment/v1", status="cancelled")
        town.clock.advance(timedelta(seconds=1))
        town.ehr.put(visit("v2", of="o1", at=START + 12 * DAY))
        _days(town, 3)
        assert town.tasks() == []


def test_f3_what_a_bound_hides_is_read_for_the_patient(tmp_path: Path) -> None:
    """``since`` hides the visit that was booked long ago: its absence has to be read, not believed."""
    with hospital(tmp_path, since=text(START - 5 * DAY)) as town:
        town.ehr.load([patient(), visit("v1", of="o1")], at=START - 20 * DAY)
        town.ehr.put(order())
        town.good()
        assert town.tasks() == []


def test_f8_evidence_that_comes_alone_closes_within_a_recheck(town: Hospital) -> None:
    """No poll shows a DiagnosticReport: a look that waits for it reads again."""
    town.ehr.put(patient())
    town.ehr.put(order())
    done = visit("v1", of="o1", at=START - 9 * DAY, status="fulfilled")
    town.ehr.put(done)
    town.good()
    assert town.only("obtain-result").open
    town.ehr.put(report())
    _days(town, 1)
    assert town.only("obtain-result").closed_by == "evidence"


def test_f8_a_stay_that_nobody_closed_holds_for_thirty_days(town: Hospital) -> None:
    town.ehr.put(patient())
    town.ehr.put(order())
    town.ehr.put(stay(period={"start": text(START - 2 * DAY)}))
    for _ in range(27):
        town.sync(passing=DAY)
    assert town.open() == {}
    for _ in range(4):
        town.sync(passing=DAY)
    assert list(town.open().values()) == ["schedule-referral"]


def test_f8_a_discharge_is_seen_though_no_poll_shows_it(town: Hospital) -> None:
    town.ehr.put(patient())
    town.ehr.put(order())
    town.ehr.put(stay(period={"start": text(START - 2 * DAY)}))
    town.sync(passing=DAY)
    assert town.open() == {}
    end = {"start": text(START - 2 * DAY), "end": text(START + DAY)}
    town.ehr.edit("Encounter/e1", status="finished", period=end)
    for _ in range(4):
        town.sync(passing=DAY)
    assert list(town.open().values()) == ["schedule-referral"]


@pytest.mark.parametrize("type", EVIDENCE)
def test_f8_a_scope_that_is_granted_is_used_within_an_interval(type: str, town: Hospital) -> None:
    town.ehr.habits.refused = {type: 403}
    town.ehr.put(patient())
    town.ehr.put(order())
    town.sync()
    blocked = not town.open()
    _days(town, 3)
    assert (not town.open()) == blocked
    town.ehr.habits.refused = {}
    town.sync(passing=timedelta(minutes=5))
    assert list(town.open().values()) == ["schedule-referral"]


def test_f8_nobody_who_waits_is_without_a_next_look(town: Hospital) -> None:
    """Open, held, unknown, or ahead of its time: each has a moment at which it is looked at again."""
    people = {
        "open": [order("o-open", "open")],
        "ahead": [order("o-ahead", "ahead", authoredOn=text(START - HOUR))],
        "held": [order("o-held", "held"), stay("e-held", "held")],
        "result": [order("o-result", "result"), visit("v", "result", of="o-result", at=START - 9 * DAY)],
        "unsure": [order("o-unsure", "unsure", status="active")],
    }
    people["result"][1]["status"] = "fulfilled"
    for who, resources in people.items():
        town.ehr.put(patient(who))
        for one in resources:
            town.ehr.put(one)
    town.good()
    for who in people:
        assert _next_look(town, who) is not None, who
    town.ehr.habits.refused = {"Encounter": 403, "Appointment": 403}
    town.ehr.put(patient("late"))
    town.ehr.put(order("o-late", "late"))
    town.sync(passing=2 * DAY)
    assert town.ledger.task is not None
    assert _next_look(town, "late") is not None
    assert not [t for t in town.tasks() if t.patient == "Patient/late"]


def _next_look(town: Hospital, who: str) -> datetime | None:
    """When somebody is looked at again, by a request or by the clock."""
    ahead = town.clock.now() + 40 * DAY
    waiting = [r for r in town.ledger.due_requests("general", ahead, 1000) if r.person == f"Patient/{who}"]
    return ahead if waiting else None


def test_f28_after_downtime_people_come_before_deadlines(town: Hospital) -> None:
    """Three weeks down; she finished one task, one order was booked: no step is taken on either."""
    for number in (1, 2, 3):
        town.ehr.put(patient(f"p{number}"))
        town.ehr.put(order(f"o{number}", f"p{number}"))
    town.good()
    first = {task.focus: task for task in town.tasks()}
    done = town.there(first["ServiceRequest/o1"])
    town.clock.advance(2 * DAY)
    town.ehr.put({**done, "status": "completed"})
    town.ehr.put(visit("v2", "p2", of="o2"))
    town.start()
    town.sync(passing=21 * DAY)
    rows = {task.focus: task for task in town.tasks()}
    assert rows["ServiceRequest/o1"].closed_by == "person" and rows["ServiceRequest/o1"].steps == ()
    assert rows["ServiceRequest/o2"].closed_by == "evidence" and rows["ServiceRequest/o2"].steps == ()
    late = rows["ServiceRequest/o3"]
    assert len(late.steps) == 2 and late.priority == "urgent", (
        "all steps past due are recorded, the last acted on"
    )
    assert len([e for e in town.ledger.task_events(late.id) if e.kind == "escalated"]) == 1


def test_f28_no_step_while_nobody_knows_what_she_did(town: Hospital) -> None:
    """Tasks cannot be read: she may have finished this one, so it does not escalate."""
    town.ehr.put(patient())
    town.ehr.put(order())
    town.good()
    done = town.there()
    town.ehr.habits.refused = {"Task": 403}
    town.ehr.put({**done, "status": "completed"})
    town.sync(passing=21 * DAY)
    assert town.only().steps == ()
    town.ehr.habits.refused = {}
    town.sync(passing=HOUR)
    assert town.only().closed_by == "person" and town.only().steps == ()


def test_f64_evidence_with_a_warning_is_no_absence(town: Hospital) -> None:
    town.ehr.put(patient())
    town.ehr.put(order())
    town.ehr.put(visit("v1", of="o1", at=START - 9 * DAY, status="fulfilled"))
    town.ehr.faults.plan("warning", type="DiagnosticReport", times=50)
    town.sync()
    assert not town.tasks("obtain-result")
    town.ehr.faults.clear()
    town.sync(passing=DAY)
    assert town.only("obtain-result").open


def test_f76_a_type_that_the_server_lacks_silences_only_the_rules_that_need_it(town: Hospital) -> None:
    town.ehr.habits.absent = frozenset({"CoverageEligibilityResponse", "CoverageEligibilityRequest"})
    town.ehr.put(patient())
    town.ehr.put(order())
    said = town.sync()
    assert list(town.open().values()) == ["schedule-referral"]
    assert said.sources[0].blind == ["CoverageEligibilityResponse"]


def test_f3_what_is_left_to_read_when_the_rounds_are_over_is_read_with_the_next_look(
    town: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answers that failed had used up the rounds of one look: her Task never came, and nothing else would wake her."""
    monkeypatch.setattr(reconciler, "ROUNDS", 1)
    town.ehr.put(patient())
    payer = {"status": "active", "beneficiary": {"reference": "Patient/p1"}, "payor": [{"display": "Payer"}]}
    town.ehr.put({"resourceType": "Coverage", "id": "c1", **payer})
    town.ehr.put(visit())
    town.ehr.put(
        {
            "resourceType": "CoverageEligibilityResponse",
            "id": "e1",
            "status": "active",
            "purpose": ["validation"],
            "outcome": "complete",
            "created": text(START - DAY),
            "patient": {"reference": "Patient/p1"},
            "request": {"display": "asked by the desk"},
            "insurer": {"display": "Payer"},
            "insurance": [{"coverage": {"reference": "Coverage/c1"}, "inforce": False}],
        }
    )
    for _ in range(6):
        town.good()
    assert list(town.open().values()) == ["verify-coverage"]
    town.ehr.clear_requests()
    town.quiet()
    assert town.ehr.sent("GET", "Encounter") == [], "nobody is asked about for ever"

"""What the language can say beyond the shipped rules: regulated clocks, marks, transitions from hospital."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from adapter.mapping.finding import Tri
from tests.mapping.making import chart, edition, find
from tests.mapping.test_evaluate import task

CLOCK = """
mapping: authorization-clock
version: 1
title: Whose clock it is
resource: ServiceRequest
applies: isOrderToAct()
care_plan: coverage
rules:
  - id: chase-decision
    need: decision:{%ref}
    onset: marked('obtain-authorization', 'submitted')
    when: status = 'active' and marked('obtain-authorization', 'submitted').exists()
    satisfied: >-
      'authorization-satisfied' in %benefits.says
      or marked('chase-decision', 'approved').exists() or marked('chase-decision', 'denied').exists()
    opens: {after: "marked('obtain-authorization', 'submitted')", clock: payer-decision, by: 10 business days}
    due: {after: opens, by: 1 business day}
    performer: authorization-specialist
    title: "Ask the payer for its decision on {code.text ?? code.coding.display ?? 'the ordered service'}"
    next: Call the payer, then set the business status to approved or denied.
    reason: "The request was sent[ on {marked('obtain-authorization', 'submitted')}] and the payer's time is up."
"""
DISCHARGE = """
mapping: discharge
version: 1
title: Home from hospital
resource: Encounter
applies: >-
  status = 'finished' and class.code in ('IMP' | 'ACUTE' | 'NONAC' | 'OBSENC')
  and hospitalization.dischargeDisposition.coding.memberOf('home-like')
onset: period.end
care_plan: transition
hold: none
rules:
  - id: discharge-call
    need: discharge-call:{%ref}
    satisfied: "%contacts.where(status = 'completed').exists() or marked('discharge-call', 'reached').exists()"
    opens: {after: period.end}
    due: {after: period.end, by: 2 business days}
    ends: {after: period.end, by: 30 days}
    performer: transition-nurse
    title: "Call the patient after the discharge[ of {period.end}]"
    next: Ask about medicines, warning signs and the follow-up visit.
    reason: "Discharged home[ on {period.end}] and nobody has called yet."
  - id: discharge-visit
    need: discharge-visit:{%ref}
    satisfied: "%later.where(status in ('booked' | 'arrived') and start <= %resource.period.end + 7 days).exists()"
    opens: [{after: period.end, by: 2 business days}, {after: "marked('discharge-call', 'reached')"}]
    due: {after: period.end, by: 5 days}
    ends: {after: period.end, by: 30 days}
    performer: transition-nurse
    title: "Book the follow-up visit after the discharge[ of {period.end}]"
    next: Book a visit within seven days of the discharge.
    reason: "Discharged home[ on {period.end}] and no visit is booked within seven days."
"""
STAY = {
    "status": "finished",
    "class": {"code": "IMP"},
    "period": {"start": "2025-11-28T10:00:00-05:00", "end": "2025-12-01T14:00:00-05:00"},
    "hospitalization": {
        "dischargeDisposition": {
            "coding": [{"system": "http://www.nubc.org/patient-discharge", "code": "01"}]
        }
    },
}
TUESDAY = "2025-12-02T09:00:00-05:00"


def test_a_discharge_asks_for_a_call_within_two_business_days(tmp_path: Path) -> None:
    made = edition(tmp_path, DISCHARGE)
    found = find(made, "discharge-call", chart(made, TUESDAY, {"Encounter/e1": STAY}), "Encounter/e1")
    assert found.opens_now(datetime.fromisoformat(TUESDAY))
    assert found.due == datetime.fromisoformat("2025-12-03T17:00:00-05:00")
    assert found.particulars.words.title == "Call the patient after the discharge of Mon 1 Dec"
    assert found.hold_policy == "none"


def test_a_call_that_was_made_closes_it(tmp_path: Path) -> None:
    made = edition(tmp_path, DISCHARGE)
    call = {"status": "completed", "sent": "2025-12-01T18:00:00-05:00"}
    given = {"Encounter/e1": STAY, "Communication/c1": call}
    found = find(made, "discharge-call", chart(made, TUESDAY, given), "Encounter/e1")
    assert (found.satisfied, found.closing) == (Tri.YES, ("Communication/c1",))


def test_a_visit_within_seven_days_closes_the_other(tmp_path: Path) -> None:
    made = edition(tmp_path, DISCHARGE)

    def visit(start: str) -> Tri:
        given: dict[str, Any] = {"Encounter/e1": STAY, "Appointment/v1": {"status": "booked", "start": start}}
        held = chart(made, "2025-12-04T09:00:00-05:00", given)
        satisfied: Tri = find(made, "discharge-visit", held, "Encounter/e1").satisfied
        return satisfied

    assert visit("2025-12-07T09:00:00-05:00") is Tri.YES
    assert (
        visit("2025-12-08T20:30:00Z") is Tri.NO
    )  # by the instant it is after 14:00-05:00, whatever the letters say


def test_a_chase_counts_from_the_mark_by_the_regulators_clock(tmp_path: Path) -> None:
    made = edition(tmp_path, CLOCK)
    medicare = {"status": "active", "type": {"coding": [{"system": "https://nahdo.org/sopt", "code": "11"}]}}
    order = {
        "status": "active",
        "authoredOn": "2026-01-05",
        "code": {"text": "MRI"},
        "insurance": [{"reference": "Coverage/c1"}],
    }
    held = chart(made, "2026-01-20T10:00:00-05:00", {"ServiceRequest/o1": order, "Coverage/c1": medicare})
    sent = datetime.fromisoformat("2026-01-06T10:00:00-05:00")
    mine = task(
        "obtain-authorization",
        "ServiceRequest/o1",
        business_status="submitted",
        mine=frozenset({"business_status"}),
        touched_at=sent,
    )
    found = find(made, "chase-decision", replace(held, tasks=(mine,)), "ServiceRequest/o1")
    assert found.opens == datetime.fromisoformat("2026-01-13T10:00:00-05:00")
    assert found.particulars.words.reason == "The request was sent on Tue 6 Jan and the payer's time is up."
    silent = find(made, "chase-decision", held, "ServiceRequest/o1")
    assert silent.when is Tri.NO

"""Every expression of Baton's first rules: native, with elements that exist, and evaluated on a loaded resource."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from adapter.facts.times import at
from adapter.mapping.fhirpath import (
    Env,
    Expression,
    FunctionSpec,
    Value,
    check_elements,
    compile_expression,
    split_coalesce,
)
from tests.mapping.fhirpath.making import NEW_YORK, known, open_on

SETTLED = "status in ('booked' | 'arrived' | 'checked-in' | 'fulfilled')"
SUBMITTED = "marked('obtain-authorization', 'submitted')"
KINDS = "kind() in ('referral' | 'imaging' | 'procedure')"

FELL_THROUGH = "status = 'noshow' or (status = 'cancelled' and cancelledBy() = 'provider')"
NOT_IN_FORCE = "status = 'active' and %answer.inforce = false and (%coming.exists() or %orders.exists())"
AUTHORIZED = (
    "('authorization-satisfied' in %benefits.says or 'authorization-not-needed' in %benefits.says)\n"
    "and ('authorization-needed' in %benefits.says).not()"
)

EXPRESSIONS: Mapping[str, tuple[str, ...]] = {
    "Appointment": (
        "start ?? created",
        "%orders.ref ?? %ref",
        "status in %unconfirmed",
        SETTLED,
        "start",
        "start.empty()",
        "created",
        "requestedPeriod",
        "serviceType.text ?? serviceType.coding.display ?? 'visit'",
        FELL_THROUGH,
        "%later.exists()",
        "status = 'noshow'",
        "status = 'cancelled'",
        "%changed",
        "%practitioner.ref",
        "%day",
        "iif(status = 'noshow', 'The patient did not come', 'The clinic cancelled')",
    ),
    "ServiceRequest": (
        "isOrderToAct()",
        "authoredOn",
        f"status = 'active' and {KINDS}",
        f"%visits.where({SETTLED}).exists()",
        "priority in ('stat' | 'asap' | 'urgent')",
        "occurrence",
        "%visits.changed",
        "priority = 'urgent'",
        "priority = 'asap'",
        "priority = 'stat'",
        "code.text ?? code.coding.display ?? 'the ordered visit'",
        "reasonCode.text ?? reasonCode.coding.display",
        "%took_place.end",
        f"status in ('active' | 'completed') and {KINDS} and %took_place.exists()",
        "%results.where(status in ('final' | 'amended' | 'corrected')).exists()\n"
        "or %documents.where(status = 'current').exists()\n"
        "or (status = 'completed' and completedMeans() = 'performed')",
        "kind() = 'imaging'",
        "status = 'active' and 'authorization-needed' in %benefits.says",
        AUTHORIZED,
        "%benefits.created",
        "%coming.start",
        "status = 'active' and 'excluded' in %benefits.says",
        "'covered' in %benefits.says and ('excluded' in %benefits.says).not()",
        SUBMITTED,
        f"status = 'active' and {SUBMITTED}.exists()",
        "'authorization-satisfied' in %benefits.says\n"
        "or marked('chase-decision', 'approved').exists() or marked('chase-decision', 'denied').exists()",
    ),
    "Coverage": (
        "%coming.start ?? %answer.created",
        NOT_IN_FORCE,
        "%answer.inforce = true",
        "%answer.created",
        "%orders.empty()",
        "%coming.empty()",
        "period.end",
        "status = 'active' and %attempt.outcome in ('error' | 'queued') and %coming.exists()",
        "%attempt.outcome in ('complete' | 'partial')",
        "%attempt.created",
    ),
    "Encounter": (
        "status = 'finished' and class.code in ('IMP' | 'ACUTE' | 'NONAC' | 'OBSENC')\n"
        "and hospitalization.dischargeDisposition.coding.memberOf('home-like')",
        "period.end",
        "%contacts.where(status = 'completed').exists() or marked('discharge-call', 'reached').exists()",
        f"%later.where({SETTLED} and start <= %resource.period.end + 7 days).exists()",
        "marked('discharge-call', 'reached')",
    ),
}
FLAT = [
    (type, part) for type, texts in EXPRESSIONS.items() for text in texts for part in split_coalesce(text)
]
FACTS = frozenset(
    (
        *("ref", "patient", "changed", "first_seen", "day", "practitioner", "orders", "visits", "coming"),
        *("took_place", "later", "results", "documents", "contacts", "answer", "attempt", "benefits"),
        "unconfirmed",
    )
)


def _says(*items: Any) -> Any:
    return lambda given, args: known(*items)


FUNCTIONS = {
    "kind": FunctionSpec("kind", 0, 0, _says("referral"), on_focus=True),
    "cancelledBy": FunctionSpec("cancelledBy", 0, 0, _says(), on_focus=True),
    "completedMeans": FunctionSpec("completedMeans", 0, 0, _says("performed"), on_focus=True),
    "isOrderToAct": FunctionSpec("isOrderToAct", 0, 0, _says(True), frozenset({"Encounter"}), on_focus=True),
    "memberOf": FunctionSpec("memberOf", 1, 1, lambda given, args: known(bool(given.items))),
    "marked": FunctionSpec("marked", 2, 2, _says(), on_focus=True),
}
LATER = at(datetime(2025, 12, 5, 15, tzinfo=UTC))
RESOURCES: Mapping[str, Mapping[str, Any]] = {
    "Appointment": {
        "resourceType": "Appointment",
        "status": "noshow",
        "start": "2025-12-01T10:00:00-05:00",
        "serviceType": [{"coding": [{"display": "Cardiology"}]}],
    },
    "ServiceRequest": {
        "resourceType": "ServiceRequest",
        "status": "active",
        "authoredOn": "2025-11-20",
        "priority": "urgent",
        "occurrenceDateTime": "2025-12-20",
        "code": {"text": "MRI of the knee"},
    },
    "Coverage": {"resourceType": "Coverage", "status": "active", "period": {"end": "2026-12-31"}},
    "Encounter": {
        "resourceType": "Encounter",
        "status": "finished",
        "class": {"code": "IMP"},
        "period": {"end": "2025-12-01T17:00:00-05:00"},
        "hospitalization": {"dischargeDisposition": {"coding": [{"code": "home"}]}},
    },
}


def _compiled(text: str) -> Expression:
    return compile_expression(text, functions=FUNCTIONS, variables=FACTS)


@pytest.mark.parametrize(("type_name", "text"), FLAT)
def test_each_compiles_natively_and_names_only_elements_that_exist(type_name: str, text: str) -> None:
    expression = _compiled(text)
    assert expression.native
    assert check_elements(expression, type_name) == []
    assert not expression.compares_raw_reference


@pytest.mark.parametrize(("type_name", "text"), FLAT)
def test_each_evaluates_with_every_fact_empty_full_and_open(type_name: str, text: str) -> None:
    record = {"ref": "X/1", "status": "booked", "start": LATER, "end": LATER, "changed": LATER, "created": LATER,
              "says": "covered", "inforce": False, "outcome": "error"}  # fmt: skip
    expression = _compiled(text)
    for value in (known(), known(record), open_on("Appointment"), open_on("Appointment", record)):
        variables = dict.fromkeys(FACTS - {"unconfirmed"}, value) | {"unconfirmed": ["proposed", "pending"]}
        found = expression.evaluate(Env(RESOURCES[type_name], variables, zone=NEW_YORK))
        assert isinstance(found, Value)
        assert found.gaps <= {"Appointment", "?"}


def _told(type_name: str, text: str, **facts: Any) -> Value:
    return _compiled(text).evaluate(Env(RESOURCES[type_name], facts, zone=NEW_YORK))


def test_a_referral_is_answered_by_a_booked_visit_only() -> None:
    text = f"%visits.where({SETTLED}).exists()"
    assert _told("ServiceRequest", text, visits=known({"status": "booked"})).truth is True
    assert _told("ServiceRequest", text, visits=known({"status": "noshow"})).truth is False
    assert _told("ServiceRequest", text, visits=open_on("Appointment", {"status": "booked"})).truth is True
    waits = _told("ServiceRequest", text, visits=open_on("Appointment", {"status": "noshow"}))
    assert waits.truth is None and waits.missing == {"Appointment"}


def test_a_coverage_without_an_answer_is_neither_in_force_nor_not() -> None:
    text = NOT_IN_FORCE
    some, none = known({"ref": "Appointment/1"}), known()
    denied, silent = known({"inforce": False}), known({})
    assert _told("Coverage", text, answer=denied, coming=some, orders=none).truth is True
    assert _told("Coverage", text, answer=denied, coming=none, orders=none).truth is False
    assert _told("Coverage", text, answer=none, coming=some, orders=none) == Value([])
    assert _told("Coverage", text, answer=silent, coming=some, orders=none).truth is None
    waits = _told("Coverage", text, answer=denied, coming=open_on("Appointment"), orders=none)
    assert waits == open_on("Appointment")


def test_an_unmapped_reason_makes_a_cancelled_visit_unknown_and_a_noshow_yes() -> None:
    assert _told("Appointment", FELL_THROUGH).truth is True
    gone = Env({**RESOURCES["Appointment"], "status": "cancelled"})
    assert _compiled(FELL_THROUGH).evaluate(gone) == Value([])


def test_authorization_is_satisfied_unless_it_is_needed_too() -> None:
    def told(*says: str, gaps: str = "") -> bool | None:
        return _told("ServiceRequest", AUTHORIZED, benefits=open_on(gaps, *({"says": s} for s in says))).truth

    assert told("authorization-satisfied") is True
    assert told("authorization-satisfied", "authorization-needed") is False
    assert told("covered") is False
    assert told("authorization-satisfied", gaps="Claim") is None
    assert told("authorization-satisfied", "authorization-needed", gaps="Claim") is False

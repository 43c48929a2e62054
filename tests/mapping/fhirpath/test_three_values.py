"""The table "Three values" of the mapping language, line by line."""

from __future__ import annotations

from typing import Any

import pytest

from adapter.mapping.fhirpath import EvaluationError, Value
from tests.mapping.fhirpath.making import evaluate, known, open_on

UNKNOWN = Value([])
YES, NO = known(True), known(False)
BOOKED, CANCELLED = (
    {"status": "booked", "ref": "Appointment/1"},
    {"status": "cancelled", "ref": "Appointment/2"},
)
NAMELESS = {"ref": "Appointment/3"}


@pytest.mark.parametrize(
    "text",
    [
        "status = 'active'",
        "status != 'active'",
        "status in ('active' | 'completed')",
        "status in %words",
        "(status = 'active').not()",
        "status > 'a'",
        "status ~ 'active'",
        "status = 'active' and true",
        "status = 'active' or false",
        "(status = 'active').exists()",
        "(status = 'active').empty()",
        "%answer.inforce = false",
        "period.end <= %resource.period.end + 7 days",
        "code.all(text = 'x' and status = 'y')",
    ],
)
def test_an_absent_element_is_unknown_and_needs_nothing_read(text: str) -> None:
    found = evaluate(text, {"code": [{"text": "x"}]}, words=["active"], answer=known())
    assert found.truth is None
    assert found.missing == frozenset()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("status = 'active' and false", NO),
        ("status = 'active' or true", YES),
        ("status.exists()", NO),
        ("status.empty()", YES),
        ("'a' in %none", NO),
        ("%none.exists()", NO),
        ("%none.empty()", YES),
        ("%none.all(status = 'x')", YES),
        ("%none.count() = 0", YES),
    ],
)
def test_a_known_emptiness_is_an_answer(text: str, expected: Value) -> None:
    assert evaluate(text, {}, none=known()) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("%visits.exists()", YES),
        ("%visits.empty()", NO),
        ("%visits.where(status = 'booked').exists()", YES),
        ("%visits.exists(status = 'booked')", YES),
        ("%visits.where(status = 'arrived').exists()", open_on("Appointment")),
        ("%visits.where(status = 'arrived').empty()", open_on("Appointment")),
        ("%visits.where(status = 'arrived').exists().not()", open_on("Appointment")),
        ("'booked' in %visits.status", YES),
        ("'arrived' in %visits.status", open_on("Appointment")),
        ("%visits.status contains 'booked'", YES),
        ("('booked' in %visits.status).not()", NO),
        ("%visits.all(status = 'booked')", open_on("Appointment")),
        ("%visits.count()", open_on("Appointment")),
        ("%visits.count() = 2", open_on("Appointment")),
        ("%visits.status = 'booked'", open_on("Appointment")),
        ("%visits.status != 'booked'", open_on("Appointment")),
        ("%visits.first().status in ('booked' | 'arrived')", open_on("Appointment")),
        ("%visits.isDistinct()", open_on("Appointment")),
        ("%visits.status.first().upper()", open_on("Appointment")),
        (
            "%visits.where(status = 'arrived').exists() and %orders.exists()",
            open_on("Appointment ServiceRequest"),
        ),
        ("%visits.where(status = 'arrived').exists() and status = 'x'", NO),
        ("%visits.where(status = 'arrived').exists() or status = 'active'", YES),
        ("status = 'active' implies %orders.exists()", open_on("ServiceRequest")),
        ("iif(%orders.exists(), 'a', 'b')", open_on("ServiceRequest")),
        ("%visits.where(status = 'booked').ref", open_on("Appointment", "Appointment/1")),
        (
            "%visits.ref | %orders.ref",
            open_on("Appointment ServiceRequest", "Appointment/1", "Appointment/2"),
        ),
        ("%visits.ref.exclude(%orders.ref)", open_on("Appointment ServiceRequest")),
        ("%visits.ref.subsetOf('Appointment/1' | 'Appointment/2')", open_on("Appointment")),
    ],
)
def test_an_open_collection_waits_only_for_what_is_absent(text: str, expected: Value) -> None:
    visits, orders = open_on("Appointment", BOOKED, CANCELLED), open_on("ServiceRequest")
    assert evaluate(text, {"status": "active"}, visits=visits, orders=orders) == expected


def test_a_condition_that_is_unknown_for_one_item_opens_the_rest() -> None:
    found = evaluate("%visits.where(status = 'booked')", visits=known(BOOKED, NAMELESS))
    assert found == Value([BOOKED], frozenset({"?"}))
    assert found.missing == frozenset()
    assert evaluate("%visits.where(status = 'booked').exists()", visits=known(BOOKED, NAMELESS)) == YES
    left = evaluate("%visits.where(status = 'booked').exists()", visits=known(CANCELLED, NAMELESS))
    assert left.truth is None and left.missing == frozenset()


def test_a_condition_that_waits_for_a_type_hands_it_inwards() -> None:
    found = evaluate(
        "%visits.where(ref in %later.ref).exists()",
        visits=known(BOOKED),
        later=open_on("Appointment Encounter"),
    )
    assert found == open_on("Appointment Encounter")


def test_all_with_an_unknown_item_is_unknown_and_with_a_counterexample_no() -> None:
    assert evaluate("%visits.all(status = 'booked')", visits=known(BOOKED, NAMELESS)).truth is None
    assert evaluate("%visits.all(status = 'booked')", visits=known(NAMELESS, CANCELLED)) == NO


def test_status_unknown_counts_as_absent() -> None:
    assert evaluate("status = 'unknown'", {"status": "unknown"}) == UNKNOWN
    assert evaluate("status.exists()", {"status": "unknown"}) == NO
    assert (
        evaluate("%visits.where(status != 'booked').exists()", visits=known({"status": "unknown"})).truth
        is None
    )
    assert evaluate("outcome = 'unknown'", {"outcome": "unknown"}) == YES


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("%x in ('a' | 'b')", ["a", "b"]),
        ("%x and true", [True, False]),
        ("%x and true", ["secret"]),
        ("(%x).not()", ["secret"]),
        ("%x > 3", ["a"]),
        ("%x.single()", [1, 2]),
        ("%x + 1", ["a"]),
        ("%x.upper()", [3]),
        ("iif(%x, 1, 2)", ["a"]),
        ("%missing.exists()", []),
        ("%x.matches('(')", ["a"]),
    ],
)
def test_errors_are_raised_and_hold_no_value(text: str, values: list[Any]) -> None:
    with pytest.raises(EvaluationError) as caught:
        evaluate(text, x=values)
    assert "secret" not in str(caught.value)


def test_variables_are_asked_for_once_and_only_if_needed() -> None:
    asked: list[str] = []

    def visits() -> Value:
        asked.append("visits")
        return known(BOOKED)

    text = "status = 'no' and %visits.exists()"
    assert evaluate(text, {"status": "yes"}, visits=visits) == NO
    assert asked == []
    assert evaluate("%visits.exists() and %visits.status = 'booked'", visits=visits) == YES
    assert asked == ["visits"]


def test_no_answer_can_change_a_constant() -> None:
    first = evaluate("true")
    first.items.append("spoilt")
    assert evaluate("true") == YES


def test_a_fallback_is_unknown_where_a_variable_is_open() -> None:
    assert evaluate("%n.sum() = 3", n=[1, 2]) == YES
    assert evaluate("%n.sum() = 3", n=open_on("Claim", 1, 2)) == open_on("Claim")
    with pytest.raises(EvaluationError):
        evaluate("%n.sum() = 3", n=[{"a": 1}, 2])

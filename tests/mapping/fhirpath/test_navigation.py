"""Paths, choices and types on FHIR JSON, in rule mode."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from adapter.mapping.fhirpath import EvaluationError
from tests.mapping.fhirpath.making import evaluate

ORDER = {
    "resourceType": "ServiceRequest",
    "id": "1",
    "status": "active",
    "occurrencePeriod": {"start": "2025-12-01", "end": "2025-12-09"},
    "code": {"text": "MRI", "coding": [{"code": "a", "display": "A"}, {"code": "b"}]},
    "quantityQuantity": {"value": Decimal("2.50"), "code": "mg"},
    "authoredOn": "2025-11-01",
    "_authoredOn": {"extension": [{"url": "urn:x", "valueCode": "late"}]},
    "extension": [{"url": "urn:y", "valueBoolean": False}],
    "note": [{"text": "one"}, {"text": None}],
    "contained": [{"resourceType": "Patient", "id": "p", "active": True}],
}


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("code.coding.display", ["A"]),
        ("code.coding.code", ["a", "b"]),
        ("code.coding[1].code", ["b"]),
        ("code.coding[7].code", []),
        ("ServiceRequest.status", ["active"]),
        ("Appointment.status", []),
        ("occurrence.start", ["2025-12-01"]),
        ("occurrence", [{"start": "2025-12-01", "end": "2025-12-09"}]),
        ("occurrence is Period", [True]),
        ("occurrence.ofType(Timing)", []),
        ("occurrence.ofType(Period).end", ["2025-12-09"]),
        ("(occurrence as dateTime).exists()", [False]),
        ("quantity > 2 'mg'", [True]),
        ("quantity = 0.0025 'g'", [True]),
        ("authoredOn.extension('urn:x').value", ["late"]),
        ("extension('urn:y').value = false", [True]),
        ("note.text", ["one"]),
        ("contained.ofType(Patient).active", [True]),
        ("code.descendants().where($this = 'b')", ["b"]),
        ("status.hasValue()", [True]),
        ("asNeeded.exists()", [False]),
        ("code.coding.select(code & '-' & display)", ["a-A", "b-"]),
        ("code.coding.select($index)", [0, 1]),
        ("code.coding.where($index = 1).code", ["b"]),
        ("code.coding.code.aggregate($total & $this, '')", ["ab"]),
        ("code.coding.code.combine('b').distinct().count()", [2]),
        ("code.coding.sort(-code).code", ["b", "a"]),
        ("code.coding.repeat(code)", ["a", "b"]),
        ("nonsense.deeper", []),
    ],
)
def test_paths(text: str, items: list[Any]) -> None:
    assert evaluate(text, ORDER).items == items


def test_types_of_a_facts_record_are_not_known() -> None:
    with pytest.raises(EvaluationError):
        evaluate("%visits.ofType(Appointment)", visits=[{"ref": "Appointment/1"}])


def test_decimals_keep_their_digits() -> None:
    assert str(evaluate("quantity.value", ORDER).items[0]) == "2.50"
    assert evaluate("quantity.value.toString()", ORDER).items == ["2.50"]


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("%a.where($index = 1).b.where($index = 0).c", ["y"]),
        ("%a.select(b.where(c = 'x').count() + $index)", [1, 1]),
        ("%a.b[$index].c", []),
    ],
)
def test_the_index_is_that_of_the_innermost_loop(text: str, items: list[Any]) -> None:
    data = [{"b": [{"c": "x"}, {"c": "z"}]}, {"b": [{"c": "y"}]}]
    assert evaluate(text, a=data).items == items

"""Links: every form in which one resource names another, families of orders, and each visit used once."""

from __future__ import annotations

import random
from typing import Any

import pytest

from adapter.facts.links import Links
from adapter.model import Snapshot, SnapshotState
from tests.facts.making import BASES, facts, order, refs, snap, stay, visit

REQUISITION = {"system": "urn:req", "value": "77"}
PLACER = {"type": {"coding": [{"code": "PLAC"}]}, "system": "urn:placer", "value": "5"}
UUID = "urn:uuid:0c3151bd-1cbf-4d64-b04d-cd9187a4c6e0"


def result(id: str = "r", **more: Any) -> dict[str, Any]:
    return {"resourceType": "DiagnosticReport", "id": id, "status": "final",
            "subject": {"reference": "Patient/p"}, **more}  # fmt: skip


def document(id: str = "d", **context: Any) -> dict[str, Any]:
    return {"resourceType": "DocumentReference", "id": id, "status": "current",
            "subject": {"reference": "Patient/p"}, "context": context}  # fmt: skip


def links(*bodies: dict[str, Any]) -> Links:
    by_type: dict[str, list[Snapshot]] = {}
    for snapshot in sorted(map(snap, bodies), key=lambda one: one.ref):
        by_type.setdefault(snapshot.type, []).append(snapshot)
    return Links(by_type, BASES)


@pytest.mark.parametrize("naming", [
    {"basedOn": [{"reference": "ServiceRequest/o"}]},
    {"basedOn": {"reference": "ServiceRequest/o"}},
    {"basedOn": [{"reference": "ServiceRequest/o/_history/7"}]},
    {"basedOn": [{"reference": "https://ehr.example/fhir/ServiceRequest/o"}]},
    {"basedOn": [{"reference": "http://EHR-internal:8080/fhir/ServiceRequest/o/_history/1"}]},
    {"basedOn": [{"reference": UUID}]},
    {"basedOn": [{"identifier": {"system": "urn:placer", "value": "5"}}]},
    {"basedOn": [{"identifier": {"system": "urn:other", "value": "9"}, "type": "ServiceRequest"}]},
    {"supportingInformation": [{"reference": "ServiceRequest/o"}, {"reference": "DocumentReference/x"}]},
    {"reasonReference": [{"reference": "ServiceRequest/o"}]},
    {"identifier": [REQUISITION]},
    {"identifier": [{"system": "urn:placer", "value": "5"}]},
])  # fmt: skip
def test_every_way_to_name_the_order(naming: dict[str, Any]) -> None:
    ordered = order(requisition=REQUISITION, identifier=[
        PLACER, {"system": "urn:ietf:rfc:3986", "value": UUID},
        {"system": "urn:other", "value": "9"}])  # fmt: skip
    found = links(ordered, visit(**naming))
    assert found.of_order("ServiceRequest/o", "Appointment") == ["Appointment/v"]
    assert found.orders_of("Appointment/v") == ["ServiceRequest/o"]
    assert {link.strength for link in found.links} == {"explicit"}


@pytest.mark.parametrize("naming", [
    {"basedOn": [{"reference": "https://other/fhir/ServiceRequest/o"}]},
    {"basedOn": [{"reference": "#o"}]},
    {"basedOn": [{"reference": "Procedure/o"}]},
    {"basedOn": [{"identifier": {"value": "5"}}]},
    {"basedOn": [{"display": "o"}]},
    {"basedOn": "ServiceRequest"},
    {"identifier": [{"value": "77"}]},
    {"identifier": [{"system": "urn:req", "value": "78"}]},
    {"identifier": [{"system": "urn:visit-number", "value": "1"}]},
])  # fmt: skip
def test_what_names_no_order_of_ours(naming: dict[str, Any]) -> None:
    typed = {"type": {"coding": [{"code": "VN"}]}, "system": "urn:visit-number", "value": "1"}
    found = links(order(requisition=REQUISITION, identifier=[PLACER, typed]), visit(**naming))
    assert found.of_order("ServiceRequest/o", "Appointment") == []


def test_a_uuid_that_a_server_made_its_id() -> None:
    bare = UUID.removeprefix("urn:uuid:")
    found = links(order(bare), visit(basedOn=[{"reference": UUID}]))
    assert found.of_order(f"ServiceRequest/{bare}", "Appointment") == ["Appointment/v"]


def test_an_identifier_that_two_orders_share_names_neither() -> None:
    twice = [order(id, identifier=[PLACER]) for id in ("a", "b")]
    named = visit(basedOn=[{"identifier": {"system": "urn:placer", "value": "5"}}])
    assert links(*twice, named).orders_of("Appointment/v") == []


def test_through_the_encounter() -> None:
    seen = stay(basedOn=[{"reference": "ServiceRequest/o"}], appointment=[{"reference": "Appointment/v"}])
    found = links(order(), visit(), seen)
    assert found.of_order("ServiceRequest/o", "Appointment") == ["Appointment/v"]
    assert found.of_order("ServiceRequest/o", "Encounter") == ["Encounter/e"]
    back = links(order(), visit(basedOn=[{"reference": "ServiceRequest/o"}]),
                 stay(appointment={"reference": "Appointment/v"}))  # fmt: skip
    assert back.of_order("ServiceRequest/o", "Encounter") == ["Encounter/e"]
    assert back.encounters_of("Appointment/v") == ["Encounter/e"]


def test_results_and_documents_by_name_and_by_encounter() -> None:
    seen = stay(basedOn=[{"reference": "ServiceRequest/o"}])
    at = {"reference": "Encounter/e"}
    found = links(
        order(), order("other"), seen,
        result("named", basedOn=[{"reference": "ServiceRequest/o"}]),
        result("there", encounter=at),
        result("foreign", encounter=at, basedOn=[{"reference": "ServiceRequest/other"}]),
        document("named", related=[{"reference": "ServiceRequest/o"}]),
        document("there", encounter=[at]),
        document("foreign", encounter=[at], related=[{"reference": "ServiceRequest/other"}]),
        document("odd", encounter=at, related="x"),
    )  # fmt: skip
    assert found.of_order("ServiceRequest/o", "DiagnosticReport") == [
        "DiagnosticReport/named", "DiagnosticReport/there"]  # fmt: skip
    assert found.of_order("ServiceRequest/o", "DocumentReference") == [
        "DocumentReference/named", "DocumentReference/odd", "DocumentReference/there"]  # fmt: skip
    assert found.of_encounter("Encounter/e", "DiagnosticReport") == [
        "DiagnosticReport/foreign", "DiagnosticReport/there"]  # fmt: skip


def test_children_fulfil_their_parent_and_are_shown_as_it() -> None:
    child = order("child", basedOn={"reference": "ServiceRequest/o"})
    found = links(order(), child, visit(basedOn=[{"reference": "ServiceRequest/child"}]))
    assert found.of_order("ServiceRequest/o", "Appointment") == ["Appointment/v"]
    assert found.orders_of("Appointment/v") == ["ServiceRequest/o"]
    assert found.of_order("ServiceRequest/child", "Appointment") == ["Appointment/v"]
    parents_own = links(order(), child, visit(basedOn=[{"reference": "ServiceRequest/o"}]))
    assert parents_own.of_order("ServiceRequest/child", "Appointment") == []


def test_an_order_inherits_what_it_replaces() -> None:
    new = order("new", replaces=[{"reference": "ServiceRequest/o"}])
    found = links(order(status="revoked"), new, visit(basedOn=[{"reference": "ServiceRequest/o"}]))
    assert found.of_order("ServiceRequest/new", "Appointment") == ["Appointment/v"]
    assert found.orders_of("Appointment/v") == ["ServiceRequest/new"]
    assert found.replaced("ServiceRequest/new") == ["ServiceRequest/o"]


def test_circles_end() -> None:
    a = order("a", basedOn=[{"reference": "ServiceRequest/b"}], replaces=[{"reference": "ServiceRequest/a"}])
    b = order("b", basedOn=[{"reference": "ServiceRequest/a"}])
    found = links(a, b, visit(basedOn=[{"reference": "ServiceRequest/a"}]))
    assert found.of_order("ServiceRequest/b", "Appointment") == ["Appointment/v"]
    assert found.orders_of("Appointment/v")


def test_a_visit_is_used_once_by_number_whatever_the_order_of_rows() -> None:
    bodies = [
        order("late", authoredOn="2025-11-02", identifier=[PLACER]),
        order("early", authoredOn="2025-11-01", identifier=[PLACER]),
        order("undated", identifier=[PLACER]),
        visit(identifier=[{"system": "urn:placer", "value": "5"}]),
    ]
    for seed in range(10):
        random.Random(seed).shuffle(bodies)
        assert links(*bodies).orders_of("Appointment/v") == ["ServiceRequest/early"]


def test_a_visit_serves_several_by_requisition_or_by_name() -> None:
    both = [order(id, requisition=REQUISITION) for id in ("a", "b")]
    assert links(*both, visit(identifier=[REQUISITION])).orders_of("Appointment/v") == [
        "ServiceRequest/a", "ServiceRequest/b"]  # fmt: skip
    named = visit(basedOn=[{"reference": "ServiceRequest/a"}, {"reference": "ServiceRequest/b"}])
    assert len(links(order("a"), order("b"), named).orders_of("Appointment/v")) == 2
    one = visit(basedOn=[{"reference": "ServiceRequest/b"}], identifier=[REQUISITION])
    assert links(*both, one).orders_of("Appointment/v") == ["ServiceRequest/b"]


def test_tombstones_and_other_persons_are_not_linked() -> None:
    named = {"basedOn": [{"reference": "ServiceRequest/o"}]}
    moved = visit("moved", identifier=[{"system": "urn:requisition", "value": "1"}])
    moved["participant"][0]["actor"]["reference"] = "Patient/somebody-else"
    found = facts(
        order(), visit(**named), moved, snap(visit("gone", **named), state=SnapshotState.DELETED),
        snap(visit("wrong", **named), state=SnapshotState.ERROR),
    )  # fmt: skip
    assert refs(found, "visits", "ServiceRequest/o") == ["Appointment/v"]


def test_a_visit_of_somebody_else_that_names_the_order_stands_for_it() -> None:
    """A newborn's visit for its mother's order; it is no focus of hers."""
    child = visit("child", basedOn=[{"reference": "ServiceRequest/o"}])
    child["participant"][0]["actor"]["reference"] = "Patient/child"
    found = facts(order(), child)
    assert refs(found, "visits", "ServiceRequest/o") == ["Appointment/child"]
    assert found.focuses("Appointment") == []


def test_an_order_on_no_chart_is_shown_and_a_tombstone_is_not() -> None:
    named = visit(basedOn=[{"reference": "ServiceRequest/o"}])
    assert refs(facts(named), "orders", "Appointment/v") == ["ServiceRequest/o"]
    assert refs(facts(named, snap(order(), state=SnapshotState.ERROR)), "orders", "Appointment/v") == []

"""Local codes: value sets, code maps, standards; what nothing maps is counted and unknown."""

from __future__ import annotations

from typing import Any

import pytest

from adapter.facts.codes import Codebook
from adapter.model import Json
from tests.facts.making import ACT, order, stay, visit

SNOMED = "http://snomed.info/sct"
CANCELLED = "http://terminology.hl7.org/CodeSystem/appointment-cancellation-reason"


def concept(code: str, system: str = "local") -> dict[str, Any]:
    return {"coding": [{"system": system, "code": code}]}


class Sets:
    """Value sets of "system|code" texts."""

    def __init__(self, **sets: set[str]) -> None:
        self._sets = sets

    def member(self, valueset: str, coding: Json) -> bool:
        key = f"{coding.get('system')}|{coding.get('code')}"
        return key in self._sets.get(valueset.replace("-", "_"), set())


def test_the_kind_of_an_order() -> None:
    book = Codebook(
        Sets(referral={"local|REF"}), {"order-kind": {"local|XR": "imaging", "local|OT": "therapy"}}
    )
    assert book.kind(order(category=[concept("REF")])) == "referral"
    assert book.kind(order(category=[concept("XR")])) == "imaging"
    assert book.kind(order(code=concept("OT"))) == "therapy"
    assert book.kind(order(category=[concept("?")], code=concept("XR"))) == "imaging"
    assert book.kind(order(category=[concept("REF")], code=concept("XR"))) == "referral"
    assert book.kind(order(category=[concept("363679005", SNOMED)])) == "imaging"
    assert book.kind(order(category=[concept("REF"), concept("XR")])) == "imaging"  # in a fixed order
    assert book.category_kind(order(code=concept("XR"))) is None


def test_what_is_not_mapped_is_counted_and_unknown() -> None:
    book = Codebook()
    assert book.kind(order(category=[concept("a")], code=concept("b"))) is None
    assert book.kind(order()) is None
    assert book.unmapped == {("order-kind", "local|a"), ("order-kind", "local|b")}
    assert book.setting(stay(**{"class": {"system": "local", "code": "W"}})) is None
    assert book.cancelled_by(visit(status="cancelled", cancelationReason=concept("x"))) is None
    assert {("setting", "local|W"), ("cancelled-by", "local|x")} <= book.unmapped


def test_a_source_lays_its_own_map_over() -> None:
    book = Codebook(maps={"order-kind": {"local|X": "imaging", "local|Y": "procedure"}})
    own = book.at({"order-kind": {"local|X": "referral"}, "setting": {"local|W": "inpatient"}})
    assert own.kind(order(code=concept("X"))) == "referral"
    assert own.kind(order(code=concept("Y"))) == "procedure"
    assert own.setting(stay(**{"class": {"system": "local", "code": "W"}})) == "inpatient"
    assert book.kind(order(code=concept("X"))) == "imaging"
    own.kind(order(code=concept("Z")))
    assert ("order-kind", "local|Z") in book.unmapped


def test_a_source_can_say_otherwise_than_the_standard() -> None:
    book = Codebook().at({"order-kind": {f"{SNOMED}|363679005": "procedure"}})
    assert book.kind(order(category=[concept("363679005", SNOMED)])) == "procedure"


@pytest.mark.parametrize(("reason", "who"), [
    (concept("pat", CANCELLED), "patient"),
    (concept("pat-cpp", CANCELLED), "patient"),
    (concept("prov-pers", CANCELLED), "provider"),
    (concept("maint", CANCELLED), "provider"),
    (concept("oth-weath", CANCELLED), None),
    (concept("pat"), None),
    (concept("sick"), "provider"),
    (concept("moved"), "patient"),
    ({"text": "provider ill"}, None),
    (None, None),
    ("odd", None),
])  # fmt: skip
def test_who_cancelled(reason: Any, who: str | None) -> None:
    book = Codebook(Sets(cancelled_by_provider={"local|sick"}), {"cancelled-by": {"local|moved": "patient"}})
    assert book.cancelled_by(visit(status="cancelled", cancelationReason=reason)) == who


@pytest.mark.parametrize(("element", "setting"), [
    ({"system": ACT, "code": "IMP"}, "inpatient"),
    ({"system": ACT, "code": "OBSENC"}, "inpatient"),
    ({"system": ACT, "code": "EMER"}, "emergency"),
    ({"system": ACT, "code": "AMB"}, "ambulatory"),
    ({"code": "IMP"}, "inpatient"),
    ({"system": "local", "code": "IMP"}, None),
    ({"coding": [{"system": ACT, "code": "VR"}]}, "virtual"),
    ([{"coding": [{"system": ACT, "code": "ACUTE"}]}], "inpatient"),
    ({}, None),
    (None, None),
])  # fmt: skip
def test_the_setting_of_an_encounter(element: Any, setting: str | None) -> None:
    assert Codebook().setting({**stay(), "class": element}) == setting


def test_orders_that_ask_for_nothing() -> None:
    book = Codebook(Sets(no_order_to_act={"local|DNR"}), {"order-kind": {"local|NURSE": "ignore"}})
    assert book.ignored(order(code=concept("DNR")))
    assert book.ignored(order(category=[concept("NURSE")]))
    assert book.ignored(order(code=concept("304253006", SNOMED)))
    assert not book.ignored(order(code=concept("X")))
    assert book.kind(order(category=[concept("NURSE")])) is None


def test_a_class_of_benefit_may_speak_of_several_kinds() -> None:
    book = Codebook(maps={"benefit-class": {"b|4": "imaging procedure"}})
    assert book.benefit_kinds([concept("4", "b")]) == {"imaging", "procedure"}
    assert book.benefit_kinds(concept("5", "b")) == frozenset()
    assert ("benefit-class", "b|5") in book.unmapped

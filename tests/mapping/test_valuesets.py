"""Value sets: codes, prefixes, ranges, and the shipped ones."""

from __future__ import annotations

import pytest

from adapter.mapping.valuesets import read_valueset
from adapter.mapping.yaml_lines import parse
from tests.mapping.making import shipped

CPT = "http://www.ama-assn.org/go/cpt"
CANCELLED = "http://terminology.hl7.org/CodeSystem/appointment-cancellation-reason"


@pytest.mark.parametrize(
    ("name", "system", "code", "belongs"),
    [
        ("imaging", CPT, "70551", True),
        ("imaging", CPT, "99213", False),
        ("imaging", CPT, "7055", False),
        ("imaging", "http://other", "70551", False),
        ("laboratory", CPT, "0005U", True),
        ("procedure", CPT, "36415", False),
        ("cancelled-by-provider", CANCELLED, "prov-pers", True),
        ("cancelled-by-provider", CANCELLED, "maint", True),
        ("cancelled-by-patient", CANCELLED, "pat-crs", True),
        ("cancelled-by-patient", CANCELLED, "prov-pers", False),
        ("home-like", "http://www.nubc.org/patient-discharge", "01", True),
        ("home-like", "http://www.nubc.org/patient-discharge", "1", False),
        ("inpatient", "", "IMP", True),
        ("nothing", "", "IMP", False),
    ],
)
def test_membership(name: str, system: str, code: str, belongs: bool) -> None:
    assert shipped().valuesets.member(name, {"system": system, "code": code}) is belongs


def test_membership_of_concepts_and_bare_codes() -> None:
    sets = shipped().valuesets
    concept = {"coding": [{"system": "x", "code": "y"}, {"system": CPT, "code": "70551"}]}
    assert sets.member_of([concept], "imaging") is True
    assert sets.member_of([{"text": "MRI"}], "imaging") is None
    assert sets.member_of([], "imaging") is None
    assert sets.member_of(["IMP"], "inpatient") is True
    assert sets.member_of(["AMB"], "inpatient") is False


def test_prefixes_hold_what_begins_so() -> None:
    text = "valueset: x\ntitle: x\ninclude:\n  - {system: any, prefixes: ['C50.*']}\n"
    _, (part,), faults = read_valueset(parse(text, "x"))
    assert not faults
    assert part.holds("http://hl7.org/fhir/sid/icd-10-cm", "C50.911")
    assert not part.holds("", "C51.0")


@pytest.mark.parametrize("wrong", ["ranges: [10-9]", "ranges: [1-100]", "prefixes: [C50]", "codes: []"])
def test_a_wrong_value_set_is_a_fault(wrong: str) -> None:
    text = f"valueset: x\ntitle: x\ninclude:\n  - {{system: any, {wrong}}}\n"
    _, _, faults = read_valueset(parse(text, "x"))
    assert faults
    assert faults[0].line == 4

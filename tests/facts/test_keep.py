"""Keeping: what is trimmed, what wakes, what is refused, on real and on random resources."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapter import fhirjson
from adapter.facts.keep import BASE_ELEMENTS, REASONS, Keeper, Unreadable
from adapter.model import SnapshotState
from adapter.references import Bases
from tests.facts.making import BASES, answer, order, patient, visit

CORPUS = Path(os.environ.get("FHIR_CORPUS", Path(__file__).parents[3] / "shared" / "corpus"))
POLLED = ("Appointment", "ServiceRequest", "CoverageEligibilityResponse")

keeper = Keeper(
    {"ServiceRequest": frozenset({"reasonCode", "code"})}, full_types=frozenset({"Task"}), bases=BASES
)


def refused(resource: Any, **more: Any) -> str:
    with pytest.raises(Unreadable) as caught:
        keeper.keep(resource, **more)
    assert caught.value.reason in REASONS
    return caught.value.reason


def test_keeps_what_facts_and_rules_name_and_drops_the_rest() -> None:
    body = order(
        reasonCode=[{"text": "knee"}],
        note=[{"text": "call his sister"}],
        text={"div": "<div/>"},
        occurrencePeriod={"start": "2025-12-12"},
        contained=[patient("x")],
        meta={
            "versionId": "3",
            "lastUpdated": "2025-12-01T10:00:00Z",
            "security": [{"code": "R"}],
            "source": "#a",
        },
    )
    kept = keeper.keep(body, b"raw")
    assert set(kept.body) == {
        "resourceType", "id", "status", "intent", "subject", "reasonCode", "occurrencePeriod", "meta",
    }  # fmt: skip
    assert kept.body["meta"] == {"security": [{"code": "R"}]}
    assert kept.version == "3"
    assert kept.last_updated is not None and kept.last_updated.hour == 10
    assert kept.patients == ("Patient/p",)
    assert kept.state is SnapshotState.LIVE


def test_what_a_payer_pays_is_nobodys_business_here() -> None:
    """Of an answer is kept what it says of authorization and exclusion, not the benefits and their amounts."""
    money = {"benefit": [{"type": {"text": "copay"}, "allowedMoney": {"value": 20, "currency": "USD"}}]}
    item = {"category": {"coding": [{"code": "30"}]}, "excluded": False, "authorizationRequired": True}
    said = {"coverage": {"reference": "Coverage/c"}, "inforce": True}
    whole = answer("1", insurance=[{**said, "item": [{**item, **money}], "benefitPeriod": {"start": "2025"}}])
    assert keeper.keep(whole).body["insurance"] == [{**said, "item": [item]}]
    dearer = answer("1", insurance=[{**said, "item": [item], "benefitPeriod": {"start": "2026"}}])
    assert keeper.keep(whole).kept_digest == keeper.keep(dearer).kept_digest  # and its changes wake nobody
    named = Keeper({"CoverageEligibilityResponse": frozenset({"insurance"})}, bases=BASES)
    assert named.keep(whole).body["insurance"] == whole["insurance"]  # a rule that names it has the whole


def test_names_of_people_are_not_kept() -> None:
    amy = {"reference": "Patient/p", "display": "Amy Shaw"}
    named = visit(participant=[{"actor": amy, "status": "accepted"}, {"actor": {"display": "Fred"}}])
    kept = keeper.keep(named)
    assert "Amy" not in json.dumps(kept.body) and "Fred" not in json.dumps(kept.body)
    person = patient(
        name=[{"family": "Shaw"}], telecom=[{}], address=[{}], identifier=[{"value": "1"}], active=True
    )
    assert keeper.keep(person).body == {"resourceType": "Patient", "id": "p", "active": True}
    greedy = Keeper({"Patient": frozenset({"name", "identifier"})}, bases=BASES)
    assert set(greedy.keep(person).body) == {"resourceType", "id", "active", "identifier"}


def test_the_words_of_codes_are_kept() -> None:
    coded = order(code={"coding": [{"system": "s", "code": "1", "display": "MRI knee"}], "text": "MRI"})
    assert keeper.keep(coded).body["code"] == coded["code"]


def test_only_the_coverage_information_extension_is_kept() -> None:
    crd = {
        "url": "http://hl7.org/fhir/us/davinci-crd/StructureDefinition/ext-coverage-information",
        "extension": [],
    }
    kept = keeper.keep(order(extension=[{"url": "http://other"}, crd]))
    assert kept.body["extension"] == [crd]
    assert "extension" not in keeper.keep(order(extension=[{"url": "http://other"}])).body


def test_noise_changes_only_the_digest_of_the_whole() -> None:
    plain, noisy = (
        order(),
        order(text={"div": "new"}, meta={"versionId": "9", "source": "#x"}, note=[{"text": "n"}]),
    )
    first, second = keeper.keep(plain), keeper.keep(noisy)
    assert first.kept_digest == second.kept_digest
    assert first.digest != second.digest
    assert keeper.keep(order(status="revoked")).kept_digest != first.kept_digest


def test_own_tasks_are_kept_whole_and_wake_by_all_but_meta_and_narrative() -> None:
    task = {
        "resourceType": "Task",
        "id": "b-1",
        "status": "requested",
        "note": [{"text": "x"}],
        "meta": {"tag": []},
    }
    kept = keeper.keep(task)
    assert kept.body == task
    assert (
        keeper.keep({**task, "text": {"div": "y"}, "meta": {"versionId": "2"}}).kept_digest
        == kept.kept_digest
    )
    assert keeper.keep({**task, "note": []}).kept_digest != kept.kept_digest


def test_a_full_store_wakes_as_a_trimmed_one() -> None:
    full = Keeper({}, full_types=frozenset({"ServiceRequest"}), bases=BASES)
    one, other = full.keep(order(note=[{"text": "a"}])), full.keep(order(note=[{"text": "b"}]))
    assert one.body["note"] == [{"text": "a"}]
    assert one.kept_digest == other.kept_digest


def test_the_edition_follows_the_elements_and_the_addresses() -> None:
    same = Keeper(
        {"ServiceRequest": frozenset({"code", "reasonCode"})}, full_types=frozenset({"Task"}), bases=BASES
    )
    assert same.edition == keeper.edition
    assert Keeper({}, full_types=frozenset({"Task"}), bases=BASES).edition != keeper.edition
    moved = Keeper({"ServiceRequest": frozenset({"code", "reasonCode"})}, full_types=frozenset({"Task"}),
                   bases=Bases("https://other"))  # fmt: skip
    assert moved.edition != keeper.edition
    assert Keeper({}, bases=BASES).edition_of("Appointment") == keeper.edition_of("Appointment")


def test_a_contained_coverage_is_kept_where_it_is_named() -> None:
    body = answer("1", inforce=True, on="#c1", contained=[
        {"resourceType": "Coverage", "id": "c1", "status": "active", "subscriber": {"display": "Amy"}},
        {"resourceType": "Coverage", "id": "c2"},
        patient("x"),
    ])  # fmt: skip
    assert keeper.keep(body).body["contained"] == [
        {"resourceType": "Coverage", "id": "c1", "status": "active"}
    ]


@pytest.mark.parametrize("body", [
    answer("1", insurer={"identifier": "plain"}),
    answer("1", outcome=None),
    {k: v for k, v in answer("1").items() if k != "insurance"},
    order(basedOn={"reference": "ServiceRequest/x"}),
    order(priority=["odd"], code="text"),
    order(subject={"reference": "Group/g"}),
    order(subject={"display": "Jane Doe"}, status="completed"),
    visit(start="yesterday"),
    visit(participant=[]),
    visit(participant=[{"actor": {"reference": "Practitioner/x"}}]),
    visit(participant=[{"actor": {"display": "Fred"}}]),
    visit(participant=[{}]),
    visit(participant="odd"),
    order(id="x" * 88),
    {"resourceType": "Observation", "id": "1"},
])  # fmt: skip
def test_what_a_person_can_make_sense_of_is_kept(body: dict[str, Any]) -> None:
    assert keeper.keep(body).state is SnapshotState.LIVE


@pytest.mark.parametrize(("reason", "resource"), [
    ("not-a-resource", []),
    ("not-a-resource", None),
    ("not-a-resource", {"id": "1"}),
    ("not-a-resource", {"resourceType": 5, "id": "1"}),
    ("no-id", {"resourceType": "Appointment", "status": "booked"}),
    ("no-id", order(id="a/b")),
    ("no-id", order(id="")),
    ("no-status", order(status=None)),
    ("no-status", order(status="")),
    ("no-status", visit(status=5)),  # type: ignore[arg-type]
    ("no-status", answer("1", status=" x ")),
    ("no-patient", {k: v for k, v in order().items() if k != "subject"}),
    ("no-patient", {k: v for k, v in answer("1").items() if k != "patient"}),
    ("patient-unaddressed", order(subject={"display": "Jane Doe"})),
    ("patient-by-identifier", order(subject={"identifier": {"system": "urn:mrn", "value": "1"}})),
    ("patient-unaddressed", order(subject={"identifier": {"value": "1"}})),
    ("patient-elsewhere", order(subject={"reference": "https://other/fhir/Patient/5"})),
    ("patient-elsewhere", order(subject={"reference": "urn:uuid:1"})),
    ("patient-elsewhere", order(subject={"reference": "http://[x/Patient/1"})),
    ("too-deep", order(code={"text": "\ud800"})),
    ("patient-contained", order(subject={"reference": "#p1"}, contained=[patient("p1")])),
    ("patient-elsewhere", visit(participant=[{"actor": {"reference": "https://other/fhir/Patient/5"}}])),
    ("patient-by-identifier",
     visit(participant=[{"actor": {"type": "Patient", "identifier": {"system": "s", "value": "v"}}}])),
])  # fmt: skip
def test_what_is_refused_says_why(reason: str, resource: Any) -> None:
    assert refused(resource) == reason


def test_another_type_than_asked_for_is_refused() -> None:
    assert refused(order(), type="Appointment") == "wrong-type"
    assert keeper.keep(order(), type="ServiceRequest").type == "ServiceRequest"


def test_entered_in_error_is_a_tombstone_whatever_else_is_missing() -> None:
    kept = keeper.keep({"resourceType": "ServiceRequest", "id": "1", "status": "entered-in-error"})
    assert kept.state is SnapshotState.ERROR
    assert kept.patients == ()


def test_own_addresses_are_ours_and_others_are_not() -> None:
    aliased = order(subject={"reference": "http://ehr-internal:8080/fhir/Patient/p/_history/4"})
    assert keeper.keep(aliased).patients == ("Patient/p",)
    assert keeper.keep(aliased).body["subject"] == aliased["subject"]  # as received


_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
_elements = sorted(
    {name for names in BASE_ELEMENTS.values() for name in names} | {"meta", "contained", "extension"}
)
_reference = st.fixed_dictionaries({"reference": st.text(max_size=12) | st.sampled_from(
    ["Patient/1", "http://[bad", "#p", "urn:uuid:1", "https://ehr.example/fhir/Patient/2"])})  # fmt: skip
_resource = st.builds(
    lambda type, parts, status: {"resourceType": type, "id": "1", "status": status, **parts},
    st.sampled_from(sorted(BASE_ELEMENTS)),
    st.dictionaries(
        st.sampled_from(_elements), _json | _reference | st.lists(_reference, max_size=2), max_size=8
    ),
    st.sampled_from(["active", "booked", "entered-in-error"]) | _json,
)


@settings(max_examples=300, deadline=None)
@given(_json | _resource)
def test_nothing_but_unreadable_is_raised(value: Any) -> None:
    for read in (keeper, Keeper({}, full_types=frozenset(BASE_ELEMENTS), bases=BASES)):
        try:
            kept = read.keep(value)
        except Unreadable as error:
            assert error.reason in REASONS
        else:
            assert kept.body["id"] == kept.id
            fhirjson.dumps(kept.body)


def test_depth_ends_as_unreadable() -> None:
    deep: Any = "x"
    for _ in range(3000):
        deep = {"a": deep}
    assert refused(order(code=deep)) == "too-deep"


def _resources(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        if isinstance(value.get("resourceType"), str):
            yield value
        for part in value.values():
            yield from _resources(part)
    elif isinstance(value, list):
        for part in value:
            yield from _resources(part)


def _corpus() -> Iterator[tuple[Path, dict[str, Any]]]:
    other_versions = ("stu3", "dstu2", "r5", "malformed")
    for path in sorted(CORPUS.rglob("*.json")):
        if any(word in str(path.relative_to(CORPUS)) for word in other_versions):
            continue
        try:
            page = fhirjson.loads(path.read_bytes())
        except fhirjson.NotJson:
            continue
        for found in _resources(page):
            if found["resourceType"] in POLLED and found.get("id"):
                yield path, found


@pytest.mark.corpus
def test_real_resources_are_kept_or_refused_with_a_good_reason() -> None:
    if not CORPUS.is_dir():
        pytest.skip(f"no corpus at {CORPUS}")
    counts: Counter[tuple[str, str]] = Counter()
    for path, resource in _corpus():
        try:
            kept = keeper.keep(resource)
        except Unreadable as error:
            counts[(resource["resourceType"], error.reason)] += 1
            assert _agrees(resource, error.reason), (path.name, error.reason)
        else:
            counts[(resource["resourceType"], "kept")] += 1
            assert (
                kept.patients
                or resource["resourceType"] == "Appointment"
                or "Patient/" not in json.dumps(resource.get("subject") or resource.get("patient"))
            )
    print(dict(counts))
    for type in POLLED:
        assert counts[(type, "kept")] >= {"CoverageEligibilityResponse": 10}.get(type, 20)


def _agrees(resource: dict[str, Any], reason: str) -> bool:
    """A second, plainer reading of why a resource names no patient that can be addressed."""
    if resource["resourceType"] == "Appointment":
        actors = [p.get("actor") or {} for p in resource.get("participant", [])]
    else:
        actors = [resource.get("subject") or resource.get("patient") or {}]
    texts = [actor.get("reference", "") for actor in actors]
    return {
        "patient-elsewhere": any(text.startswith(("urn:", "http")) for text in texts),
        "patient-contained": any(text.startswith("#") for text in texts),
        "patient-unaddressed": all(not text for text in texts) and any("display" in a for a in actors),
        "patient-by-identifier": all(not text for text in texts) and any("identifier" in a for a in actors),
        "no-patient": not any(actors),
        "no-status": not isinstance(resource.get("status"), str),
    }.get(reason, False)

"""Editions: what is refused, where the fault is said to be, and what a cut file does."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from adapter.errors import Fault, MappingError
from adapter.mapping.check import parameter_faults
from adapter.mapping.loader import load, mapping_paths
from adapter.mapping.schema import json_schema
from adapter.mapping.yaml_lines import YamlFault, parse
from tests.mapping.making import CODES, HEAD, MAPPINGS, edition, shipped


def faults(folder: Path, text: str) -> tuple[Fault, ...]:
    with pytest.raises(MappingError) as caught:
        edition(folder, text)
    return tuple(caught.value.faults)


def test_the_shipped_edition_has_all_first_rules() -> None:
    made = shipped()
    assert {rule.id for rule in made.rules} == {
        "confirm-visit",
        "rebook-visit",
        "schedule-referral",
        "obtain-result",
        "verify-coverage",
        "repeat-eligibility-check",
        "obtain-authorization",
        "review-exclusion",
    }
    assert made.notes == ()
    assert made.hash == load(MAPPINGS, codes=CODES).hash


def test_rules_know_the_types_that_they_read() -> None:
    made = shipped()
    result = made.rule("obtain-result")
    assert result is not None
    assert {"DiagnosticReport", "DocumentReference", "Encounter", "Appointment"} <= result.types
    assert {rule.id for rule in made.touched_by("DiagnosticReport")} == {"obtain-result", "schedule-referral"}
    assert made.elements["ServiceRequest"] >= {"status", "code", "occurrence", "reasonCode"}
    assert "start" not in made.elements["ServiceRequest"]


def test_the_schema_on_file_is_the_present_one() -> None:
    held = json.loads((MAPPINGS / "schema" / "mapping.schema.json").read_text("utf-8"))
    assert held == json.loads(json.dumps(json_schema()))


def test_a_content_that_changes_changes_the_hash(tmp_path: Path) -> None:
    first = edition(tmp_path, HEAD)
    assert edition(tmp_path, HEAD + "# a comment\n").hash == first.hash
    assert edition(tmp_path, HEAD.replace("Do the thing", "Do that thing")).hash != first.hash


def test_rule_elements_override_those_of_the_file(tmp_path: Path) -> None:
    made = edition(tmp_path, HEAD + "    when: status = 'active'\n    performer: nurse\n    code: other\n")
    assert (made.rules[0].performer, made.rules[0].code, made.rules[0].hold) == (
        "nurse",
        "other",
        "in-hospital",
    )


BROKEN: dict[str, tuple[str, int, str, str]] = {
    # name: (text, line, said, remedy)
    "misspelt key": (HEAD.replace("satisfied:", "satisfed:"), 9, "unknown key", "'satisfied'"),
    "misspelt element": (HEAD + "    when: statsu = 'active'\n", 14, "no element 'statsu'", "R4"),
    "not fhirpath": (HEAD + "    when: status == 'active'\n", 14, "does not fit", "one ="),
    "unknown variable": (HEAD + '    when: "%vists.exists()"\n', 14, "vists", ""),
    "unknown function": (HEAD + "    when: kindly() = 'referral'\n", 14, "kindly", ""),
    "unknown value set": (
        HEAD + "    when: code.memberOf('nothing')\n",
        14,
        "no value set 'nothing'",
        "home-like",
    ),
    "the clock": (HEAD + "    when: authoredOn < now()\n", 14, "now", ""),
    "raw reference": (HEAD + "    when: subject.reference = 'Patient/1'\n", 14, "references", "ref"),
    "no duration": (HEAD + "    due: {after: opens, by: 3 fortnights}\n", 14, "no duration", "business days"),
    "no role": (HEAD.replace("performer: scheduler\n", ""), 11, "no 'performer'", "role"),
    "unquoted brace": (HEAD.replace('"trial:{%ref}"', "{%ref}"), 10, "no YAML", "quote it"),
    "unquoted percent": (HEAD + "    when: %visits.exists()\n", 14, "no YAML", "quote it"),
    "list for text": (HEAD.replace("Do the thing", "[Do] it"), 13, "no YAML", "quote it"),
    "flow list for text": (HEAD.replace("Do the thing", "[Do]"), 13, "list or a mapping", "quote it"),
    "twice the same key": (HEAD + "    title: Do it again\n", 14, "given twice", "keep one"),
    "an alias": (HEAD.replace("scheduler", "&x scheduler"), 6, "anchor", "quote"),
    "no judgement": (HEAD.replace("It is to be done.", "She refuses it."), 8, "judges", "whose fault"),
    "no verb": (HEAD.replace("Do the thing", "The thing"), 13, "what to do", "verb"),
    "no full stop": (HEAD.replace("It is to be done.", "It is to be done"), 8, "full stop", "add"),
    "code in words": (HEAD.replace("Do the thing", '"Do it ({code.coding.code})"'), 13, "code", "display"),
    "a reserved parameter": (HEAD + "    parameters: {visits: 3}\n", 14, "name of a fact", "another"),
    "a bound in when": (HEAD + "    when: authoredOn + 3 days < authoredOn\n", 14, "bound in time", "opens"),
    "a duration in when": (
        HEAD + "    parameters: {lead: 3 days}\n    when: authoredOn > %lead\n",
        15,
        "is a duration",
        "by:",
    ),
    "both edges": (HEAD + "    due: {after: opens, before: onset}\n", 14, "not both", ""),
    "opens of itself": (HEAD + "    opens: {after: opens}\n", 14, "not yet known", "onset"),
    "no such clock": (
        HEAD + "    due: {after: onset, clock: none, by: 1d}\n",
        14,
        "no clock",
        "payer-decision",
    ),
    "no such type": (HEAD.replace("ServiceRequest", "Servicerequest"), 5, "no resource type", "spell"),
    "a fact of another focus": (HEAD + '    when: "%later.exists()"\n', 14, "says nothing", "Appointment"),
    "a field that records have not": (
        HEAD + '    when: "%visits.begin.exists()"\n',
        14,
        "no 'begin'",
        "known here",
    ),
    "a choice as JSON writes it": (
        HEAD + "    when: occurrencePeriod.exists()\n",
        14,
        "no element",
        "'occurrence'",
    ),
    "a need about nothing": (HEAD.replace("trial:{%ref}", "trial"), 10, "what it is about", "{%ref}"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_says_where_what_and_what_to_do(tmp_path: Path, name: str) -> None:
    text, line, said, remedy = BROKEN[name]
    found = [fault for fault in faults(tmp_path, text) if said in fault.message or said in fault.remedy]
    assert found, faults(tmp_path, text)
    assert found[0].file == "trial.yaml"
    assert found[0].line == line
    assert found[0].column > 0
    assert remedy in found[0].remedy


def test_all_faults_come_at_once(tmp_path: Path) -> None:
    text = (
        HEAD.replace("Do the thing", "The thing")
        + "    when: statsu = 'a'\n    due: {after: opens, by: soon}\n"
    )
    assert len(faults(tmp_path, text)) == 3


def test_the_column_points_into_the_expression(tmp_path: Path) -> None:
    (found,) = faults(tmp_path, HEAD + "    when: status = 'active' and statsu = 'x'\n")
    assert (found.line, found.column) == (14, 11 + len("status = 'active' and "))


def test_a_fault_in_a_folded_text_has_its_own_line(tmp_path: Path) -> None:
    text = HEAD + "    when: >-\n      status = 'active'\n      and statsu = 'x'\n"
    (found,) = faults(tmp_path, text)
    assert (found.line, found.column) == (16, 11)


def test_two_rules_of_one_need_want_ranks(tmp_path: Path) -> None:
    second = "  - id: other\n    title: Do the other thing\n"
    found = faults(tmp_path, HEAD + second)
    assert len(found) == 2
    assert all("rank" in fault.message for fault in found)
    same = faults(tmp_path, HEAD + "    rank: 1\n" + second + "    rank: 1\n")
    assert "rank 1" in same[0].message
    assert edition(tmp_path, HEAD + "    rank: 1\n" + second + "    rank: 2\n")


def test_a_rule_has_one_name_over_all_files(tmp_path: Path) -> None:
    shutil.copytree(MAPPINGS, tmp_path / "m")
    (tmp_path / "m" / "more.yaml").write_text(HEAD.replace("id: trial", "id: rebook-visit"), "utf-8")
    with pytest.raises(MappingError) as caught:
        load(tmp_path / "m")
    assert "scheduling.yaml" in str(caught.value.faults[0])


SHIPPED = [
    *mapping_paths(MAPPINGS),
    MAPPINGS / "clocks.yaml",
    *sorted((MAPPINGS / "valuesets").glob("*.yaml")),
]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_file_cut_anywhere_is_refused_or_the_same(tmp_path: Path, path: Path) -> None:
    folder = tmp_path / "mappings"
    shutil.copytree(MAPPINGS, folder)
    copy = folder / path.relative_to(MAPPINGS)
    text = path.read_text("utf-8")
    step = max(1, len(text) // (15 if path.parent == MAPPINGS else 4))
    for length in {*range(0, len(text), step), *range(len(text) - 6, len(text)), 1, 2, 3, 4}:
        copy.write_text(text[:length], "utf-8")
        try:
            made = load(folder, codes=CODES)
        except MappingError:
            continue
        assert made.hash == shipped().hash, f"cut at {length}"


def test_no_cut_point_of_a_framed_file_parses(tmp_path: Path) -> None:
    text = (MAPPINGS / "referral.yaml").read_text("utf-8")
    for length in range(3, len(text) - 4):
        with pytest.raises(YamlFault):
            parse(text[:length], "referral.yaml")


def test_an_unframed_file_is_noted(tmp_path: Path) -> None:
    assert "trial.yaml" in edition(tmp_path, HEAD).notes[0]


def test_yaml_has_no_surprises() -> None:
    told: Any = parse("a: 0123\nb: 17:00\nc: yes\nd: 12\ne: true\nf:\ng: 2025-12-01\n", "x").value
    assert told == {"a": "0123", "b": "17:00", "c": "yes", "d": 12, "e": True, "f": None, "g": "2025-12-01"}


@pytest.mark.parametrize(
    "text", ["", "# nothing\n", "a: !!python/object x\n", "? [a]\n: b\n", "a: [\n" * 60, "\x00"]
)
def test_odd_yaml_is_a_fault_and_no_crash(text: str) -> None:
    with pytest.raises(YamlFault):
        parse(text, "x")


def test_a_folder_without_mappings_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MappingError):
        load(tmp_path)
    with pytest.raises(MappingError):
        load(tmp_path / "none")


def test_parameters_of_a_source_are_checked() -> None:
    said = list(
        parameter_faults(
            shipped(),
            {
                "referral": {"lead": "10 business days", "led": "1 day", "settle": [1]},
                "nothing": {},
                "scheduling": {"unconfirmed": ["proposed", "pending", "waitlist"]},
            },
        )
    )
    assert len(said) == 3


def test_code_maps_belong_to_sources(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(
        'map: order-kind\ntitle: x\nsource: epic\ncodes: {"urn:x|1": referral}\n', "utf-8"
    )
    assert load(MAPPINGS, codes=tmp_path).codes["epic"] == {"order-kind": {"urn:x|1": "referral"}}
    (tmp_path / "x.yaml").write_text("map: order-kind\ntitle: x\ncodes: {X1: referral}\n", "utf-8")
    with pytest.raises(MappingError):
        load(MAPPINGS, codes=tmp_path)

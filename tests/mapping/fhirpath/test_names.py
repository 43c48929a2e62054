"""What an expression says about itself: variables, paths, places, and elements that R4 does not have."""

from __future__ import annotations

import pytest

from adapter.mapping.fhirpath import (
    Env,
    ExpressionError,
    FunctionSpec,
    Value,
    check_elements,
    compile_expression,
    model,
    split_coalesce,
)
from tests.mapping.fhirpath.making import evaluate, known, open_on


def test_an_expression_knows_what_it_names() -> None:
    found = compile_expression(
        "status = 'active' and code.coding.where(system = %sys).display.exists()\n"
        "  and %visits.where(status in ('a' | 'b') and start <= %resource.period.end).exists()"
    )
    assert found.variables == {"sys", "visits"}
    assert {"where", "exists"} == found.functions
    assert found.roots == {"status", "code", "period"}
    assert found.paths == (
        ("", ("status",)),
        ("", ("code",)),
        ("", ("code", "coding")),
        ("", ("code", "coding", "system")),
        ("sys", ()),
        ("", ("code", "coding", "display")),
        ("visits", ()),
        ("visits", ("status",)),
        ("visits", ("start",)),
        ("", ("period",)),
        ("", ("period", "end")),
    )
    assert found.place("%visits") == (2, 7)
    assert found.place(("", ("code", "coding", "system"))) == (1, 41)
    assert found.place("exists()") == (1, 64)
    assert (found.line, found.column) == (2, 3)
    assert found.native


def test_constants_of_fhir_are_no_variables() -> None:
    found = compile_expression("%ucum = %`vs-x` and %context.status = 'a'", variables=frozenset())
    assert found.variables == frozenset()
    assert evaluate("%`ext-a-b`").items == ["http://hl7.org/fhir/StructureDefinition/a-b"]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("subject.reference = 'Patient/1'", (1, 19)),
        ("'Patient/1' in participant.actor.reference", (1, 13)),
        ("status = 'a' and %orders.where(subject.reference = %ref).exists()", (1, 50)),
        ("%orders.ref = %ref", None),
        ("subject.reference.exists()", None),
    ],
)
def test_comparing_the_text_of_a_reference_is_seen(text: str, place: tuple[int, int] | None) -> None:
    found = compile_expression(text)
    assert found.raw_reference == place
    assert found.compares_raw_reference is (place is not None)


@pytest.mark.parametrize(
    ("text", "type_name", "said"),
    [
        ("sttatus = 'active'", "ServiceRequest", "perhaps status"),
        ("period.edn", "Encounter", "perhaps end"),
        ("code.codding.display", "ServiceRequest", "perhaps coding"),
        ("participant.where(actr.exists())", "Appointment", "perhaps actor"),
        ("occurrenceDateTime", "ServiceRequest", "perhaps occurrence"),
        ("occurrence.strat", "ServiceRequest", "perhaps start"),
        ("%resource.priorty", "ServiceRequest", "perhaps priority"),
        ("hospitalization.dischargeDispo", "Encounter", "perhaps dischargeDisposition"),
        ("Appointment.status", "ServiceRequest", "the focus is a ServiceRequest"),
        ("start", "ServiceRequest", "has no element 'start'"),
        ("status.code", "ServiceRequest", "code has no element 'code'"),
    ],
)
def test_elements_that_r4_does_not_have_are_named(text: str, type_name: str, said: str) -> None:
    faults = check_elements(compile_expression(text), type_name)
    assert len(faults) == 1 and isinstance(faults[0], ExpressionError)
    assert said in str(faults[0])


@pytest.mark.parametrize(
    ("text", "type_name"),
    [
        ("occurrence.start | occurrence.event", "ServiceRequest"),
        ("subject.identifier.value", "ServiceRequest"),
        ("extension.value.coding.code", "Coverage"),
        ("contained.status", "ServiceRequest"),
        ("meta.tag.code | id | language", "Appointment"),
        ("%visits.nonsense", "Appointment"),
        ("item.item.linkId", "Questionnaire"),
        ("class.code", "Encounter"),
        ("participant.actor.display | participant.id", "Appointment"),
        ("`status`.first()", "Appointment"),
        ("DomainResource.text", "Appointment"),
    ],
)
def test_elements_that_r4_has_pass(text: str, type_name: str) -> None:
    assert check_elements(compile_expression(text), type_name) == []


def test_elements_of_a_variable_can_be_checked_too() -> None:
    found = compile_expression("%patient.nam.given and status")
    assert [fault.line for fault in check_elements(found, "Patient", variable="patient")] == [1]


@pytest.mark.parametrize(
    "type_name",
    ["ServiceRequest", "Appointment", "Coverage", "CoverageEligibilityResponse", "Encounter", "Task", "CarePlan",
     "DiagnosticReport", "DocumentReference", "Patient", "Communication"],
)  # fmt: skip
def test_the_tables_agree_with_the_models_of_fhir_resources(type_name: str) -> None:
    from fhir.resources.R4B import get_fhir_model_class

    fields = set(get_fhir_model_class(type_name).elements_sequence())
    written = {
        key for name in model.elements(type_name) for key in (model.choices(type_name, name) or {name: ""})
    }
    assert fields == written


MARKED = FunctionSpec("marked", 2, 2, lambda focus, args: Value([focus.items, args[0].items]), on_focus=True)
MEMBER = FunctionSpec(
    "memberOf",
    1,
    1,
    lambda given, args: open_on("ValueSet") if given.open else known(args[0].items[0] in given.items),
)
OWN = {"marked": MARKED, "memberOf": MEMBER}


def test_functions_that_baton_adds() -> None:
    resource = {"code": ["a", "b"]}
    assert evaluate("code.memberOf('b')", resource, OWN).truth is True
    assert evaluate("code.memberOf('c').not()", resource, OWN).truth is True
    assert evaluate("%x.memberOf('c')", resource, OWN, x=open_on("Claim")) == open_on("ValueSet")
    assert evaluate("marked('m', 'n')", resource, OWN).items == [[resource], ["m"]]
    assert evaluate("%x.where(%resource.marked('m', 'n').exists())", resource, OWN, x=[1]).items == [1]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("code.marked('m', 'n')", "write %resource.marked"),
        ("code.where(marked('m', 'n').exists())", "write %resource.marked"),
        ("marked('m')", "takes 2 arguments, not 1"),
        ("marked('m', 'n').sum() > 1", "does not go together"),
    ],
)
def test_functions_of_the_focus_stand_where_nothing_else_could_be_meant(text: str, said: str) -> None:
    with pytest.raises(ExpressionError, match=said):
        compile_expression(text, functions=OWN)


def test_the_environment_may_replace_a_function() -> None:
    found = compile_expression("marked('m', 'n')", functions=OWN)
    env = Env({}, {}, {"marked": lambda focus, args: known("mine")})
    assert found.evaluate(env).items == ["mine"]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("start ?? created", ["start", "created"]),
        ("a", ["a"]),
        ("a??b ?? 'c ?? d'", ["a", "b", "'c ?? d'"]),
        ("iif(a ?? b, 1, 2) ?? {}", ["iif(a ?? b, 1, 2)", "{}"]),
        (r"'it\'s ??' ?? b", [r"'it\'s ??'", "b"]),
        ("`a??b` ?? c", ["`a??b`", "c"]),
        ("a /* ?? */ ?? b", ["a /* ?? */", "b"]),
        ("a // ?? b", ["a // ?? b"]),
        ("a ?? ", ["a", ""]),
    ],
)
def test_alternatives_are_split_outside_quotes_and_brackets(text: str, parts: list[str]) -> None:
    assert split_coalesce(text) == parts

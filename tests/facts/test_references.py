"""Finding the patients of a resource: the short way finds what parsing every reference finds."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from adapter.references import parse_reference, patient_elements, patients_of
from tests.facts.making import BASES

TEXTS = st.sampled_from(
    [
        "Patient/a",
        "Patient/b/_history/2",
        "Practitioner/Patient",
        "Group/Patient/a",
        "https://elsewhere.example/fhir/Patient/a",
        f"{BASES.urls[0]}/Patient/c",
        f"{BASES.urls[0]}/Location/c",
        "#Patient/a",
        "urn:uuid:Patient/a",
        "",
        7,
        None,
    ]
)
ELEMENTS = st.one_of(
    st.fixed_dictionaries(
        {}, optional={"reference": TEXTS, "type": st.just("Patient"), "display": st.just("x")}
    ),
    TEXTS,
)


@given(st.lists(ELEMENTS, max_size=4), st.sampled_from(["Appointment", "ServiceRequest", "Coverage", "Flag"]))
def test_only_what_may_be_a_patient_is_parsed(elements: list[Any], type: str) -> None:
    resource: dict[str, Any] = {"resourceType": type, "id": "1"}
    if type == "Appointment":
        resource["participant"] = [{"actor": element} for element in elements]
    elif elements:
        resource |= {"subject": elements[0], "beneficiary": elements[-1]}
    parsed = [parse_reference(element, BASES).local for element in patient_elements(resource)]
    named = dict.fromkeys(local for local in parsed if local.startswith("Patient/"))
    assert patients_of(resource, BASES) == tuple(named)

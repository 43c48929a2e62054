"""$validate, as far as the models of fhir.resources go: required elements, cardinalities, unknown elements,
types.
"""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from adapter import fhirjson
from adapter.sandbox.elements import Json
from adapter.sandbox.parameters import TYPES
from adapter.sandbox.refusal import Refusal

# The codes that Baton writes and that the models, which check no code systems, would let pass.
_TASK_STATUS = """draft requested received accepted rejected ready cancelled in-progress on-hold failed
    completed entered-in-error"""
_TASK_INTENT = """unknown proposal plan order original-order reflex-order filler-order instance-order
    option"""
_PLAN_STATUS = "draft active on-hold revoked completed entered-in-error unknown"
_CODES: dict[str, dict[str, str]] = {
    "Task": {"status": _TASK_STATUS, "intent": _TASK_INTENT, "priority": "routine urgent asap stat"},
    "CarePlan": {"status": _PLAN_STATUS, "intent": "proposal plan order option"},
}


def validate(resource: Json) -> dict[str, Any]:
    """An OperationOutcome: an ``error`` issue for each fault, else one ``information``. The answer's status
    is 200.
    """
    issues = issues_of(resource)
    if not issues:
        text = "No issues detected during validation"
        issues = [{"severity": "information", "code": "informational", "diagnostics": text}]
    return {"resourceType": "OperationOutcome", "issue": issues}


def refuse_invalid(resource: Json) -> None:
    """Refuse what $validate finds wrong.

    Raises:
        Refusal: 422 with the first fault.
    """
    issues = issues_of(resource)
    if issues:
        raise Refusal(422, issues[0]["diagnostics"], code=issues[0]["code"])


def issues_of(resource: Json) -> list[dict[str, Any]]:
    """The faults of a resource as OperationOutcome issues; none where it is valid."""
    from fhir.resources.R4B import get_fhir_model_class  # half a second to load, so only on demand

    kind = str(resource.get("resourceType"))
    if kind not in TYPES:
        return [_issue("structure", f"Unknown resource type {kind}", kind)]
    try:
        get_fhir_model_class(kind).model_validate_json(fhirjson.dumps(resource))
    except ValidationError as error:
        return [_fault(kind, fault) for fault in error.errors(include_input=False, include_url=False)]
    return _code_faults(kind, resource)


def _fault(kind: str, fault: Any) -> dict[str, Any]:
    place = ".".join([kind, *(str(part) for part in fault["loc"])])
    code = "required" if "missing" in fault["type"] or "required" in fault["msg"] else "structure"
    return _issue(code, f"{place}: {fault['msg']}", place)


def _code_faults(kind: str, resource: Json) -> list[dict[str, Any]]:
    return [
        _issue("code-invalid", f"{kind}.{name}: the value is not in the required value set", f"{kind}.{name}")
        for name, codes in _CODES.get(kind, {}).items()
        if name in resource and resource[name] not in codes.split()
    ]


def _issue(code: str, text: str, place: str) -> dict[str, Any]:
    return {"severity": "error", "code": code, "diagnostics": text, "expression": [place]}

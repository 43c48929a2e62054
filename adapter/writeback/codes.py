"""The systems and codes that Baton's own resources carry, and the identifiers made of them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

Json = Mapping[str, Any]

TASK_CODES = "urn:baton:code:task"
ROLES = "urn:baton:code:role"
BUSINESS_STATUS = "urn:baton:code:business-status"
INPUTS = "urn:baton:code:input"
CARE_PLAN = "urn:baton:code:care-plan"
STATUS_REASON = "urn:baton:code:status-reason"
WRITER_CODES = "urn:baton:code:writer"
WRITERS = "urn:baton:writer"
TAG = "urn:baton:tag"
GROUP_TAG = "urn:baton:tag:group"
REFERENCES = "urn:baton:reference"
ACT_REASON = "http://terminology.hl7.org/CodeSystem/v3-ActReason"
CONFIDENTIALITY = "http://terminology.hl7.org/CodeSystem/v3-Confidentiality"

OWN_TAG: Json = {"system": TAG, "code": "baton"}
TEST_LABEL: Json = {"system": ACT_REASON, "code": "HTEST"}

#: What a person may say about the state of work (WORKFLOW 1.19); other codes are kept as "system|code".
BUSINESS_STATUSES = frozenset(
    {
        "left-message",
        "waiting-patient",
        "waiting-payer",
        "waiting-records",
        "waiting-clinician",
        "submitted",
        "approved",
        "denied",
        "reached",
        "visit-booked",
        "visit-done",
        "report-received",
        "patient-declined",
        "unable-to-reach",
        "no-longer-needed",
    }
)


def task_system(namespace: str) -> str:
    """The system of a Task's own identifier, "<key>-<generation>"."""
    return f"urn:baton:{namespace}:task"


def need_system(namespace: str) -> str:
    """The system of the identifier that all generations of a need share."""
    return f"urn:baton:{namespace}:need"


def plan_system(namespace: str) -> str:
    """The system of a CarePlan's identifier, "<key>-<episode>"."""
    return f"urn:baton:{namespace}:plan"


def device_id(namespace: str) -> str:
    """The id of the Device that marks who writes under a namespace."""
    return "baton-" + hashlib.sha256(namespace.encode()).hexdigest()[:16]


def codings(element: Any) -> list[Json]:
    """The codings of a CodeableConcept; [] for anything that is none."""
    found = element.get("coding") if isinstance(element, Mapping) else None
    return [one for one in found if isinstance(one, Mapping)] if isinstance(found, list) else []


def code_in(element: Any, system: str) -> str:
    """The code that a CodeableConcept has in ``system``; "" for none."""
    found = (one.get("code") for one in codings(element) if one.get("system") == system)
    return next((code for code in found if isinstance(code, str)), "")

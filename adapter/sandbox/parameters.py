"""The types that the sandbox stores and the search parameters that it knows, as R4 defines them.

A parameter is a kind and the paths of the elements that it looks at. ``/metadata`` lists exactly this table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Kind = Literal["token", "reference", "date", "string"]


@dataclass(frozen=True, slots=True)
class Parameter:
    """One search parameter: its kind, the paths it reads, and the one target type where R4 names one."""

    kind: Kind
    paths: tuple[str, ...]
    target: str = ""


def _token(*paths: str) -> Parameter:
    return Parameter("token", paths)


def _date(*paths: str) -> Parameter:
    return Parameter("date", paths)


def _to(*paths: str, target: str = "") -> Parameter:
    return Parameter("reference", paths, target)


def _text(*paths: str) -> Parameter:
    return Parameter("string", paths)


def _patient(path: str) -> Parameter:
    return _to(path, target="Patient")


COMMON: Mapping[str, Parameter] = {
    "_id": _token("id"),
    "_lastUpdated": _date("meta.lastUpdated"),
    "_tag": _token("meta.tag"),
    "_security": _token("meta.security"),
    "_profile": _token("meta.profile"),
    "_source": _token("meta.source"),
}

_IDENTIFIER = {"identifier": _token("identifier")}
_STATUS = {**_IDENTIFIER, "status": _token("status")}
_SUBJECT = {**_STATUS, "subject": _to("subject"), "patient": _patient("subject")}
_PERSON = {
    **_IDENTIFIER,
    "active": _token("active"),
    "family": _text("name.family"),
    "given": _text("name.given"),
    "name": _text("name.family", "name.given", "name.text", "name.prefix"),
}

TYPES: Mapping[str, Mapping[str, Parameter]] = {
    "Patient": {
        **_PERSON,
        "birthdate": _date("birthDate"),
        "gender": _token("gender"),
        "link": _to("link.other"),
        "organization": _to("managingOrganization"),
        "general-practitioner": _to("generalPractitioner"),
    },
    "Practitioner": _PERSON,
    "PractitionerRole": {
        **_IDENTIFIER,
        "practitioner": _to("practitioner"),
        "organization": _to("organization"),
        "location": _to("location"),
    },
    "RelatedPerson": {**_PERSON, "patient": _patient("patient")},
    "Organization": {**_IDENTIFIER, "active": _token("active"), "name": _text("name")},
    "Location": {**_STATUS, "name": _text("name")},
    "HealthcareService": {**_IDENTIFIER, "name": _text("name")},
    "CareTeam": _SUBJECT,
    "Group": _IDENTIFIER,
    "Device": {
        **_STATUS,
        "type": _token("type"),
        "device-name": _text("deviceName.name"),
        "patient": _patient("patient"),
    },
    "Appointment": {
        **_STATUS,
        "actor": _to("participant.actor"),
        "patient": _patient("participant.actor"),
        "practitioner": _to("participant.actor", target="Practitioner"),
        "location": _to("participant.actor", target="Location"),
        "part-status": _token("participant.status"),
        "date": _date("start"),
        "based-on": _to("basedOn"),
        "service-type": _token("serviceType"),
        "service-category": _token("serviceCategory"),
        "specialty": _token("specialty"),
        "appointment-type": _token("appointmentType"),
        "reason-code": _token("reasonCode"),
        "slot": _to("slot"),
    },
    "ServiceRequest": {
        **_SUBJECT,
        "intent": _token("intent"),
        "code": _token("code"),
        "category": _token("category"),
        "priority": _token("priority"),
        "encounter": _to("encounter"),
        "authored": _date("authoredOn"),
        "occurrence": _date("occurrenceDateTime", "occurrencePeriod", "occurrenceTiming"),
        "based-on": _to("basedOn"),
        "replaces": _to("replaces"),
        "requester": _to("requester"),
        "performer": _to("performer"),
        "requisition": _token("requisition"),
    },
    "Task": {
        **_STATUS,
        "subject": _to("for"),
        "patient": _patient("for"),
        "intent": _token("intent"),
        "code": _token("code"),
        "priority": _token("priority"),
        "focus": _to("focus"),
        "based-on": _to("basedOn"),
        "part-of": _to("partOf"),
        "owner": _to("owner"),
        "requester": _to("requester"),
        "performer": _token("performerType"),
        "encounter": _to("encounter"),
        "business-status": _token("businessStatus"),
        "group-identifier": _token("groupIdentifier"),
        "authored-on": _date("authoredOn"),
        "modified": _date("lastModified"),
        "period": _date("executionPeriod"),
    },
    "CarePlan": {
        **_SUBJECT,
        "intent": _token("intent"),
        "category": _token("category"),
        "date": _date("period"),
        "encounter": _to("encounter"),
        "based-on": _to("basedOn"),
        "part-of": _to("partOf"),
        "replaces": _to("replaces"),
        "activity-reference": _to("activity.reference"),
        "care-team": _to("careTeam"),
    },
    "Coverage": {
        **_STATUS,
        "beneficiary": _to("beneficiary"),
        "patient": _patient("beneficiary"),
        "subscriber": _to("subscriber"),
        "payor": _to("payor"),
        "policy-holder": _to("policyHolder"),
        "type": _token("type"),
    },
    "CoverageEligibilityRequest": {
        **_STATUS,
        "patient": _patient("patient"),
        "created": _date("created"),
        "provider": _to("provider"),
    },
    "CoverageEligibilityResponse": {
        **_STATUS,
        "patient": _patient("patient"),
        "created": _date("created"),
        "outcome": _token("outcome"),
        "request": _to("request"),
        "insurer": _to("insurer"),
        "requestor": _to("requestor"),
        "disposition": _text("disposition"),
    },
    "ClaimResponse": {**_STATUS, "patient": _patient("patient"), "request": _to("request")},
    "Encounter": {
        **_SUBJECT,
        "class": _token("class"),
        "date": _date("period"),
        "type": _token("type"),
        "appointment": _to("appointment"),
        "based-on": _to("basedOn"),
        "part-of": _to("partOf"),
        "location": _to("location.location"),
        "service-provider": _to("serviceProvider"),
    },
    "DiagnosticReport": {
        **_SUBJECT,
        "based-on": _to("basedOn"),
        "code": _token("code"),
        "category": _token("category"),
        "date": _date("effectiveDateTime", "effectivePeriod"),
        "issued": _date("issued"),
        "encounter": _to("encounter"),
    },
    "DocumentReference": {
        **_SUBJECT,
        "related": _to("context.related"),
        "encounter": _to("context.encounter"),
        "date": _date("date"),
        "period": _date("context.period"),
        "type": _token("type"),
        "category": _token("category"),
    },
    "Flag": {**_SUBJECT, "date": _date("period"), "encounter": _to("encounter")},
    "Communication": {
        **_SUBJECT,
        "based-on": _to("basedOn"),
        "part-of": _to("partOf"),
        "category": _token("category"),
        "encounter": _to("encounter"),
        "recipient": _to("recipient"),
        "sender": _to("sender"),
        "sent": _date("sent"),
        "received": _date("received"),
    },
    "Procedure": {
        **_SUBJECT,
        "based-on": _to("basedOn"),
        "code": _token("code"),
        "date": _date("performedDateTime", "performedPeriod"),
        "encounter": _to("encounter"),
    },
    "Observation": {**_SUBJECT, "based-on": _to("basedOn"), "code": _token("code")},
    "Condition": {
        **_IDENTIFIER,
        "subject": _to("subject"),
        "patient": _patient("subject"),
        "code": _token("code"),
        "clinical-status": _token("clinicalStatus"),
    },
    "Provenance": {"target": _to("target"), "recorded": _date("recorded")},
    "AuditEvent": {"date": _date("recorded")},
    "Basic": {**_IDENTIFIER, "subject": _to("subject"), "code": _token("code")},
}


def parameter(kind: str, name: str) -> Parameter | None:
    """The parameter of that name for a type, without its modifier; None where there is none."""
    return TYPES.get(kind, {}).get(name) or COMMON.get(name)

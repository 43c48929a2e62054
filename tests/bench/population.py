"""A synthetic population as an EHR would serve it: orders, visits and payers' answers of some thousand patients.

Every patient has the same amount of history and, for three in four, one thing that wants a person's work. The
resources are as large as real ones (about 1.3 to 2.5 kB: narrative, identifiers, displays). All of it follows from
the patient's number, so that the server and whoever checks can make it independently.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

Resource = dict[str, Any]

SNOMED = "http://snomed.info/sct"
_KINDS = (  # code, words, category: three referrals, two images, a procedure, two tests
    ("183519002", "Cardiology referral", "3457005"),
    ("77477000", "CT of the chest", "363679005"),
    ("26604007", "Complete blood count", "108252007"),
    ("183521007", "Dermatology referral", "3457005"),
    ("113091000", "MRI of the knee", "363679005"),
    ("73761001", "Colonoscopy", "387713003"),
    ("306170007", "Physiotherapy referral", "3457005"),
    ("271737000", "Anaemia screening", "108252007"),
)
ORDERS, VISITS, ANSWERS = 6, 7, 4  # of one patient; every third patient has one answer less
_STORIES = 20


def ident(kind: str, number: int, place: int = 0) -> str:
    """A stable id of 36 letters, as servers draw them."""
    text = hashlib.md5(f"{kind}-{number}-{place}".encode(), usedforsecurity=False).hexdigest()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def patients_for(resources: int) -> int:
    """How many patients bear about so many resources of the polled types."""
    return round(resources * 3 / (3 * (ORDERS + VISITS + ANSWERS) - 1))


def population(patients: int, now: datetime) -> Iterator[Resource]:
    """All resources: each patient's Patient, orders, visits and answers."""
    for number in range(patients):
        yield from of_patient(number, now)


def of_patient(number: int, now: datetime) -> list[Resource]:
    """One patient's resources. Story ``number % 20`` says what is open."""
    made = [_patient(number)]
    made += [_order(number, place, now) for place in range(ORDERS)]
    made += [_visit(number, place, now) for place in range(VISITS)]
    made += [_answer(number, place, now) for place in range(ANSWERS - (number % 3 == 0))]
    return made


def changed(number: int, now: datetime) -> Resource:
    """The resource of a patient that changes in the measurement of changes, as it is afterwards."""
    turn = number % 5
    if turn == 0:  # the newest visit was cancelled by the clinic
        visit = _visit(number, VISITS - 1, now)
        reason = {"coding": [{"system": _CANCELLED, "code": "prov"}]}
        return {**visit, "status": "cancelled", "cancelationReason": reason}
    if turn == 1:  # ... or moved
        start = now + timedelta(days=16, minutes=15 * (number % 20))
        return {
            **_visit(number, VISITS - 1, now),
            "start": _z(start),
            "end": _z(start + timedelta(minutes=30)),
        }
    if turn == 2:  # ... or booked at last, or the patient has come
        visit = _visit(number, VISITS - 1, now)
        return {**visit, "status": "booked" if visit["status"] == "pending" else "arrived"}
    if turn == 3:  # an order came to its end
        return {**_order(number, ORDERS - 1, now), "status": "completed"}
    return {**_order(number, ORDERS - 1, now), "priority": "urgent"}


# What is made --------------------------------------------------------------------------------------------------

_CANCELLED = "http://terminology.hl7.org/CodeSystem/appointment-cancellation-reason"
_HOSPITAL = "https://fhir.hospital.example"


def _meta(kind: str, number: int, place: int) -> dict[str, Any]:
    return {
        "versionId": "1",
        "lastUpdated": "",  # the server's
        "source": f"#{ident(kind, number, place)[:16]}",
        "profile": [f"http://hl7.org/fhir/us/core/StructureDefinition/us-core-{kind.lower()}"],
    }


def _narrative(*rows: tuple[str, str]) -> dict[str, str]:
    table = "".join(f"<tr><td>{name}</td><td>{value}</td></tr>" for name, value in rows)
    return {
        "status": "generated",
        "div": f'<div xmlns="http://www.w3.org/1999/xhtml"><table><tbody>{table}</tbody></table></div>',
    }


def _identifiers(kind: str, number: int, place: int) -> list[dict[str, Any]]:
    return [
        {
            "use": "official",
            "type": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "VN"}]},
            "system": f"{_HOSPITAL}/{kind.lower()}-number",
            "value": f"{kind[:2].upper()}{number:06}{place:02}",
        },
    ]


def _to(kind: str, number: int, place: int = 0, display: str = "") -> dict[str, str]:
    return {"reference": f"{kind}/{ident(kind, number, place)}", **({"display": display} if display else {})}


def _who(number: int) -> dict[str, str]:
    return _to("Patient", number, display=f"Sandbox, Patient {number:05}")


def _doctor(number: int) -> dict[str, str]:
    return _to("Practitioner", number % 200, display=f"Dr. Sandbox {number % 200:03}")


def _z(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def _past(now: datetime, number: int, place: int) -> datetime:
    """When history of that place happened: 60 to 700 days ago, on the hour."""
    days = 60 + (number * 37 + place * 101) % 640
    return (now - timedelta(days=days)).replace(hour=9 + place % 8, minute=0, second=0, microsecond=0)


def _patient(number: int) -> Resource:
    return {
        "resourceType": "Patient",
        "id": ident("Patient", number),
        "meta": _meta("Patient", number, 0),
        "text": _narrative(("Name", f"Patient {number:05} Sandbox"), ("Born", "1961-04-02")),
        "identifier": _identifiers("Patient", number, 0),
        "active": True,
        "name": [{"use": "official", "family": "Sandbox", "given": ["Patient", f"{number:05}"]}],
        "telecom": [{"system": "phone", "value": f"+1-555-{number:07}", "use": "home"}],
        "gender": "female" if number % 2 else "male",
        "birthDate": f"19{40 + number % 60}-0{1 + number % 9}-1{number % 10}",
        "address": [{"line": [f"{number} Main Street"], "city": "Springfield", "postalCode": "00000"}],
    }


def _order(number: int, place: int, now: datetime) -> Resource:
    code, words, category = _KINDS[(number + place) % len(_KINDS)]
    newest = place == ORDERS - 1
    open_order = newest and number % _STORIES in (0, 1, 2, 3, 4, 5)
    if newest:
        code, words, category = _KINDS[(0, 1, 3, 4, 5, 6)[number % 6]]
    authored = now - timedelta(days=9 + number % 4, hours=number % 7) if newest else _past(now, number, place)
    return {
        "resourceType": "ServiceRequest",
        "id": ident("ServiceRequest", number, place),
        "meta": _meta("ServiceRequest", number, place),
        "text": _narrative(("Order", words), ("Patient", f"{number:05}"), ("Authored", _z(authored))),
        "identifier": _identifiers("ServiceRequest", number, place),
        "status": "active" if open_order or newest else "completed",
        "intent": "order",
        "priority": "routine",
        "category": [{"coding": [{"system": SNOMED, "code": category, "display": words.split()[-1]}]}],
        "code": {"coding": [{"system": SNOMED, "code": code, "display": words}], "text": words},
        "subject": _who(number),
        "authoredOn": _z(authored),
        "requester": _doctor(number + place),
        "performer": [_doctor(number + place + 7)],
        "reasonCode": [
            {"coding": [{"system": SNOMED, "code": "29857009"}], "text": "Chest pain on exertion"}
        ],
        "insurance": [_to("Coverage", number)],
        "note": [
            {"text": "The patient prefers mornings. Please call before noon; the interpreter is arranged."}
        ],
    }


def _visit(number: int, place: int, now: datetime) -> Resource:
    status, start, order = _visit_story(number, place, now)
    _, words, _ = _KINDS[(number + place) % len(_KINDS)]
    reason = {"coding": [{"system": _CANCELLED, "code": "prov", "display": "Provider"}]}
    return {
        "resourceType": "Appointment",
        "id": ident("Appointment", number, place),
        "meta": _meta("Appointment", number, place),
        "identifier": _identifiers("Appointment", number, place),
        "status": status,
        **({"cancelationReason": reason} if status == "cancelled" else {}),
        "serviceType": [{"coding": [{"system": SNOMED, "code": "11429006"}], "text": words}],
        "appointmentType": {"coding": [{"system": f"{_HOSPITAL}/visit-type", "code": "FOLLOWUP"}]},
        "description": f"{words}: consultation",
        "start": _z(start),
        "end": _z(start + timedelta(minutes=30)),
        "created": _z(min(start, now) - timedelta(days=20)),
        "comment": "Bring the insurance card and the list of medication.",
        **({"basedOn": [order]} if order else {}),
        "participant": [
            {"actor": _who(number), "required": "required", "status": "accepted"},
            {"actor": _doctor(number + place), "required": "required", "status": "accepted"},
            {"actor": _to("Location", number % 40, display="Clinic room"), "status": "accepted"},
        ],
    }


def _visit_story(number: int, place: int, now: datetime) -> tuple[str, datetime, dict[str, str] | None]:
    """Status, start and order of a visit: all but the newest are history, each of an order that is done."""
    if place < VISITS - 2:
        order = _to("ServiceRequest", number, place)
        status = "cancelled" if (number + place) % 11 == 0 else "fulfilled"
        return status, _past(now, number, place) + timedelta(days=14), order
    story = number % _STORIES
    newest_order = _to("ServiceRequest", number, ORDERS - 1)
    if place == VISITS - 2:
        return "fulfilled", now - timedelta(days=40 + number % 30), None
    ahead = now + timedelta(days=5 + number % 6, hours=2)
    if story in (0, 1, 2):  # an order without a visit; the newest visit is about something else
        return "booked", ahead, None
    if story in (3, 4, 5):
        return "pending", ahead, newest_order
    if story in (6, 7):
        return "noshow", now - timedelta(days=6), newest_order
    if story in (8, 9):
        return "cancelled", now + timedelta(days=4), newest_order
    if story in (10, 11):
        return "fulfilled", now - timedelta(days=9 + number % 3), newest_order
    return "booked", ahead, newest_order


def _answer(number: int, place: int, now: datetime) -> Resource:
    created = now - timedelta(days=4 + number % 5) if place == 0 else _past(now, number, place)
    wants = place == 0 and number % _STORIES in (12, 13, 14)
    code, words, _ = _KINDS[(0, 1, 3, 4, 5, 6)[number % 6]]
    return {
        "resourceType": "CoverageEligibilityResponse",
        "id": ident("CoverageEligibilityResponse", number, place),
        "meta": _meta("CoverageEligibilityResponse", number, place),
        "text": _narrative(("Payer", "Sandbox Health Plan"), ("Patient", f"{number:05}"), ("Said", words)),
        "identifier": _identifiers("CoverageEligibilityResponse", number, place),
        "status": "active",
        "purpose": ["validation", "benefits"],
        "patient": _who(number),
        "created": _z(created),
        "requestor": _doctor(number),
        "request": _to("CoverageEligibilityRequest", number, place),
        "outcome": "complete",
        "disposition": "Policy is currently in-force.",
        "insurer": _to("Organization", 1, display="Sandbox Health Plan"),
        "insurance": [
            {
                "coverage": _to("Coverage", number),
                "inforce": True,
                "item": [
                    {
                        "productOrService": {"coding": [{"system": SNOMED, "code": code, "display": words}]},
                        "excluded": False,
                        "authorizationRequired": wants,
                        "benefit": _benefit("benefit", 500 + number % 50),
                    },
                    {
                        "category": {
                            "coding": [{"system": _BENEFIT, "code": "30", "display": "Health Plan"}]
                        },
                        "benefit": _benefit("deductible", 1000),
                    },
                    {
                        "category": {"coding": [{"system": _BENEFIT, "code": "69", "display": "Maternity"}]},
                        "benefit": _benefit("copay-percent", 20),
                    },
                ],
            }
        ],
    }


_BENEFIT = "http://terminology.hl7.org/CodeSystem/ex-benefitcategory"


def _benefit(kind: str, value: int) -> list[dict[str, Any]]:
    system = "http://terminology.hl7.org/CodeSystem/benefit-type"
    return [
        {
            "type": {"coding": [{"system": system, "code": kind}]},
            "allowedMoney": {"value": value, "currency": "USD"},
        }
    ]


Change = Callable[[int, datetime], Resource]

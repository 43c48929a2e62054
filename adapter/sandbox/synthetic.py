"""Builders of synthetic resources: valid R4, marked as test data, with ids and tags of one run."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date, datetime, time, timedelta, tzinfo
from random import Random
from typing import Any

HTEST = {"system": "http://terminology.hl7.org/CodeSystem/v3-ActReason", "code": "HTEST"}
RUN_SYSTEM = "urn:baton:run"
SNOMED = "http://snomed.info/sct"
CANCELLED_BY = "http://terminology.hl7.org/CodeSystem/appointment-cancellation-reason"
ENCOUNTER_CLASS = "http://terminology.hl7.org/CodeSystem/v3-ActCode"
SERVICE = "urn:baton:sandbox:service"

Resource = dict[str, Any]

# What is ordered: a SNOMED CT code, the words for it, and the category (referral, imaging, surgery, lab).
ORDERS = {
    "cardiology": ("183519002", "Cardiology referral", "3457005"),
    "dermatology": ("183521007", "Dermatology referral", "3457005"),
    "physiotherapy": ("306170007", "Physiotherapy referral", "3457005"),
    "ct": ("77477000", "CT of the chest", "363679005"),
    "mri": ("113091000", "MRI of the knee", "363679005"),
    "mammography": ("71651007", "Mammography", "363679005"),
    "colonoscopy": ("73761001", "Colonoscopy", "387713003"),
    "blood-count": ("26604007", "Complete blood count", "108252007"),
}

_GIVEN = """Ada Ben Cleo Dan Eva Finn Gus Hana Ivo June Kai Lena Max Nora Otto Pia Quin Rosa Sam Tess Uma Vik
Wim Xena Yara"""
_RUN = re.compile(r"^[A-Za-z0-9\-.]{1,48}$")


class Builder:
    """Makes the resources of one run around one instant.

    Days are counted from today in ``zone`` and moved off weekends: days ahead nearer to today, days past
    farther from it, so that what is to be seen within a span stays within it.

    Raises:
        ValueError: where ``run`` cannot be part of an id, or ``now`` has no zone.
    """

    def __init__(self, now: datetime, zone: tzinfo, run: str, seed: int) -> None:
        if not _RUN.match(run):
            raise ValueError("a run id holds 1 to 48 letters, digits, '-' or '.'")
        if now.tzinfo is None:
            raise ValueError("the cohort needs a time with a zone")
        self.now = now.astimezone(zone)
        self.zone = zone
        self.run = run
        self.random = Random(seed)  # noqa: S311 - names and hours, not secrets
        self.given = self.random.sample(_GIVEN.split(), 25)

    # --- times

    def day(self, days: int) -> date:
        """The weekday ``days`` from today, moved as the class says."""
        found = self.now.date() + timedelta(days=days)
        while found.weekday() >= 5:
            found -= timedelta(days=1)
        return found

    def at(self, days: int, hour: int, minute: int = 0) -> str:
        """A time on that weekday, with the zone's offset."""
        return datetime.combine(self.day(days), time(hour, minute), tzinfo=self.zone).isoformat()

    def ago(self, hours: float) -> str:
        """A time some hours before now, to the second."""
        return (self.now - timedelta(hours=hours)).replace(microsecond=0).isoformat()

    # --- identity

    def id(self, name: str) -> str:
        """The id of this run's resource of that name."""
        return f"{self.run}-{name}"

    def to(self, kind: str, name: str) -> dict[str, str]:
        """A reference to this run's resource of that name."""
        return {"reference": f"{kind}/{self.id(name)}"}

    def make(self, kind: str, name: str, /, **elements: Any) -> Resource:
        """A resource with the run's id, tag and the test label. None leaves an element out; ``class_`` is
        class.
        """
        meta = {"security": [HTEST], "tag": [{"system": RUN_SYSTEM, "code": self.run}]}
        known = {key.rstrip("_"): value for key, value in elements.items() if value is not None}
        return {"resourceType": kind, "id": self.id(name), "meta": meta, **known}

    # --- the house

    def house(self) -> list[Resource]:
        """Two organizations, two locations and three practitioners."""
        clinic = self.make("Organization", "clinic", active=True, name="Sandbox Clinic (test)")
        payer = self.make("Organization", "payer", active=True, name="Sandbox Health Plan (test)")
        places = [
            self.make("Location", f"room{n}", status="active", name=f"Sandbox room {n} (test)")
            for n in (1, 2)
        ]
        doctors = [
            self.make("Practitioner", f"dr{n}", active=True, name=[{"family": "Sandbox", "given": [given]}])
            for n, given in enumerate(("Alma", "Bruno", "Carla"), start=1)
        ]
        return [clinic, payer, *places, *doctors]

    def patient(self, number: int, **more: Any) -> Resource:
        """A patient whose family name says that this is nobody."""
        born = date(1940, 1, 1) + timedelta(days=self.random.randrange(22000))
        elements: dict[str, Any] = {
            "identifier": [{"system": "urn:baton:sandbox:mrn", "value": self.id(f"p{number:02}")}],
            "active": True,
            "name": [{"use": "official", "family": "Sandbox", "given": [self.given[number - 1]]}],
            "gender": self.random.choice(("female", "male")),
            "birthDate": born.isoformat(),
        }
        return self.make("Patient", f"p{number:02}", **{**elements, **more})

    # --- visits

    def visit(
        self,
        name: str,
        number: int,
        status: str,
        *,
        days: int | None,
        service: str = "cardiology",
        doctor: int = 1,
        order: str = "",
        cancelled_by: str = "",
        created_days: int = -20,
    ) -> Resource:
        """An Appointment of patient ``number``; without ``days`` it has no time (proposed only: app-3)."""
        hour = self.random.randrange(9, 16)
        reason = {"coding": [{"system": CANCELLED_BY, "code": cancelled_by}]} if cancelled_by else None
        return self.make(
            "Appointment",
            name,
            status=status,
            cancelationReason=reason,
            serviceType=[self.service(service)],
            start=self.at(days, hour) if days is not None else None,
            end=self.at(days, hour, 30) if days is not None else None,
            created=self.at(created_days, 9),
            basedOn=[self.to("ServiceRequest", order)] if order else None,
            participant=self._participants(number, doctor, status),
        )

    def _participants(self, number: int, doctor: int, status: str) -> list[dict[str, Any]]:
        said = "needs-action" if status in ("proposed", "pending") else "accepted"
        return [
            {"actor": self.to("Patient", f"p{number:02}"), "required": "required", "status": said},
            {"actor": self.to("Practitioner", f"dr{doctor}"), "required": "required", "status": "accepted"},
            {
                "actor": self.to("Location", f"room{1 + doctor % 2}"),
                "required": "required",
                "status": "accepted",
            },
        ]

    def service(self, name: str) -> dict[str, Any]:
        """A visit's serviceType."""
        words = f"{name.replace('-', ' ').capitalize()} visit"
        return {"coding": [{"system": SERVICE, "code": name}], "text": words}

    def meeting(self) -> Resource:
        """A block in a practitioner's calendar: no patient, by right."""
        who = {"actor": self.to("Practitioner", "dr1"), "status": "accepted"}
        start, end = self.at(3, 8), self.at(3, 8, 45)
        return self.make("Appointment", "meeting", status="booked", start=start, end=end, participant=[who])

    def encounter(self, name: str, number: int, kind: str, status: str, **more: Any) -> Resource:
        """An Encounter; ``kind`` is its class: IMP or AMB."""
        subject = self.to("Patient", f"p{number:02}")
        coding = {"system": ENCOUNTER_CLASS, "code": kind}
        return self.make("Encounter", name, status=status, class_=coding, subject=subject, **more)

    # --- orders

    def order(self, name: str, number: int, what: str, *, authored: str, **more: Any) -> Resource:
        """A ServiceRequest, active and routine unless said otherwise."""
        _, words, category = ORDERS[what]
        elements: dict[str, Any] = {
            "status": "active",
            "intent": "order",
            "priority": "routine",
            "category": [{"coding": [{"system": SNOMED, "code": category}]}],
            "code": {"coding": [self.code(what)], "text": words},
            "subject": self.to("Patient", f"p{number:02}"),
            "authoredOn": authored,
            "requester": self.to("Practitioner", "dr2"),
        }
        return self.make("ServiceRequest", name, **{**elements, **more})

    def code(self, what: str) -> dict[str, str]:
        """What is ordered, as a coding."""
        return {"system": SNOMED, "code": ORDERS[what][0]}

    def report(self, name: str, number: int, order: str, what: str, *, status: str, days: int) -> Resource:
        """A DiagnosticReport on an order."""
        return self.make(
            "DiagnosticReport",
            name,
            basedOn=[self.to("ServiceRequest", order)],
            status=status,
            code={"coding": [self.code(what)], "text": ORDERS[what][1]},
            subject=self.to("Patient", f"p{number:02}"),
            effectiveDateTime=self.at(days, 10),
            issued=self.at(days, 15),
        )

    # --- coverage

    def coverage(self, number: int) -> Resource:
        """A Coverage by the sandbox's payer, since the beginning of last year."""
        start = date(self.now.year - 1, 1, 1).isoformat()
        who = self.to("Patient", f"p{number:02}")
        return self.make(
            "Coverage",
            f"c{number:02}",
            status="active",
            subscriberId=f"SANDBOX-{number:04}",
            beneficiary=who,
            period={"start": start},
            payor=[self.to("Organization", "payer")],
        )

    def check(self, name: str, number: int, *, days: int, outcome: str, **more: Any) -> Sequence[Resource]:
        """An eligibility request and its answer. ``more`` holds ``inforce``, ``items`` or ``error`` of the
        answer.
        """
        who, payer = self.to("Patient", f"p{number:02}"), self.to("Organization", "payer")
        coverage = self.to("Coverage", f"c{number:02}")
        shared: dict[str, Any] = {
            "status": "active",
            "purpose": ["benefits"],
            "patient": who,
            "insurer": payer,
        }
        request = self.make(
            "CoverageEligibilityRequest",
            f"{name}q",
            **shared,
            created=self.at(days, 8),
            insurance=[{"focal": True, "coverage": coverage}],
        )
        answer = self.make(
            "CoverageEligibilityResponse",
            name,
            **shared,
            created=self.at(days, 9),
            request=self.to("CoverageEligibilityRequest", f"{name}q"),
            outcome=outcome,
            insurance=[self._insurance(coverage, more)],
            error=[{"code": {"text": more["error"]}}] if "error" in more else None,
        )
        return request, answer

    def _insurance(self, coverage: dict[str, str], more: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {"coverage": coverage}
        if "inforce" in more:
            found["inforce"] = more["inforce"]
        if "items" in more:
            found["item"] = more["items"]
        return found

    def item(self, what: str, **said: bool) -> dict[str, Any]:
        """What an answer says of one service (category XOR productOrService: ces-1)."""
        return {"productOrService": {"coding": [self.code(what)]}, **said}

"""Charts for tests, in a few words."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from adapter.facts.codes import Codebook
from adapter.facts.facts import Facts
from adapter.model import Chart, Known, Snapshot, SnapshotState, SourceFacts, Task
from adapter.references import Bases, patients_of

BASES = Bases("https://ehr.example/fhir", ["http://ehr-internal:8080/fhir"])
ZONE = ZoneInfo("America/New_York")
NOW = datetime(2025, 12, 10, 15, 0, tzinfo=UTC)  # a Wednesday, 10:00 in the clinic
ACT = "http://terminology.hl7.org/CodeSystem/v3-ActCode"


def snap(body: Mapping[str, Any], *, state: SnapshotState = SnapshotState.LIVE, **more: Any) -> Snapshot:
    """A snapshot of a body, first seen and read an hour ago unless said otherwise."""
    seen = NOW - timedelta(hours=1)
    values: dict[str, Any] = {
        "first_seen": seen,
        "changed": seen,
        "received_at": seen,
        "patients": patients_of(body, BASES),
        **more,
    }
    return Snapshot("ehr", body["resourceType"], body["id"], state, dict(body), **values)


def patient(id: str = "p", **more: Any) -> dict[str, Any]:
    return {"resourceType": "Patient", "id": id, **more}


def order(id: str = "o", **more: Any) -> dict[str, Any]:
    return {
        "resourceType": "ServiceRequest",
        "id": id,
        "status": "active",
        "intent": "order",
        "subject": {"reference": "Patient/p"},
        **more,
    }


def visit(
    id: str = "v", status: str = "booked", *, actors: tuple[str, ...] = (), **more: Any
) -> dict[str, Any]:
    people = [{"actor": {"reference": ref}, "status": "accepted"} for ref in ("Patient/p", *actors)]
    return {"resourceType": "Appointment", "id": id, "status": status, "participant": people, **more}


def stay(id: str = "e", status: str = "finished", code: str = "AMB", **more: Any) -> dict[str, Any]:
    return {
        "resourceType": "Encounter",
        "id": id,
        "status": status,
        "class": {"system": ACT, "code": code},
        "subject": {"reference": "Patient/p"},
        **more,
    }


def coverage(id: str = "c", status: str = "active", **more: Any) -> dict[str, Any]:
    return {
        "resourceType": "Coverage",
        "id": id,
        "status": status,
        "beneficiary": {"reference": "Patient/p"},
        **more,
    }


def answer(
    id: str,
    *,
    inforce: bool | None = None,
    on: str = "Coverage/c",
    outcome: str | None = "complete",
    **more: Any,
) -> dict[str, Any]:
    """A CoverageEligibilityResponse; ``on=""`` names no Coverage."""
    insurance: dict[str, Any] = {"coverage": {"reference": on}} if on else {}
    if inforce is not None:
        insurance["inforce"] = inforce
    body = {
        "resourceType": "CoverageEligibilityResponse",
        "id": id,
        "status": "active",
        "patient": {"reference": "Patient/p"},
        **more,
    }
    if outcome is not None:
        body["outcome"] = outcome
    if insurance and "insurance" not in body:
        body["insurance"] = [insurance]
    return body


def chart(
    *held: Mapping[str, Any] | Snapshot, patients: tuple[str, ...] = ("Patient/p",), **more: Any
) -> Chart:
    """A chart of one person with everything known now."""
    snapshots = [item if isinstance(item, Snapshot) else snap(item) for item in held]
    source: dict[str, Any] = {"name": "ehr", "key": "k", "zone": ZONE, **more.pop("source", {})}
    known = more.pop("known", {"Patient": Known(at=NOW, seq=1)})
    tasks: tuple[Task, ...] = more.pop("tasks", ())
    return Chart(
        source=SourceFacts(**source),
        person=patients[0],
        patients=patients,
        snapshots={s.ref: s for s in snapshots},
        known=known,
        tasks=tasks,
        plans=(),
        now=more.pop("now", NOW),
    )


def facts(*held: Mapping[str, Any] | Snapshot, codebook: Codebook | None = None, **more: Any) -> Facts:
    return Facts(chart(*held, **more), BASES, codebook or Codebook())


def refs(found: Facts, name: str, ref: str) -> list[str]:
    """The refs of a fact's records for the resource that ``ref`` names."""
    return [record["ref"] for record in found.fact(name, found.chart.snapshots[ref]).records]

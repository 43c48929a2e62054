"""Small makers for what the ledger takes in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from adapter import fhirjson
from adapter.facts.history import trace_of
from adapter.ledger import Arrival, Ledger, LookResult, as_set
from adapter.model import Chart, Event, EventKind, Plan, Request, SnapshotState, SourceFacts, Task
from adapter.references import NO_BASES

START = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
FACTS = SourceFacts(name="ehr", key="k1", zone=ZoneInfo("Europe/Berlin"))


def at(minutes: float) -> datetime:
    return START + timedelta(minutes=minutes)


def arrival(
    ref: str,
    *patients: str,
    seq: int = 1,
    version: str | None = "1",
    state: SnapshotState = SnapshotState.LIVE,
    minutes: float = 0,
    edition: str = "e1",
    received: int | None = None,
    body: Mapping[str, Any] | None = None,
    **elements: Any,
) -> Arrival:
    """An answer: ``seq`` is the number of its request, the next one that of its answer."""
    kind, _, ident = ref.partition("/")
    content = dict(body) if body is not None else {"resourceType": kind, "id": ident, **elements}
    return Arrival(
        type=kind,
        id=ident,
        state=state,
        status=content.get("status"),
        packed=fhirjson.dumps(content) if content else b"",
        version=version,
        last_updated=at(minutes),
        digest=fhirjson.digest([content, version]),
        kept_digest=fhirjson.digest(content),
        edition=edition,
        patients=patients,
        date=at(minutes),
        sent_seq=seq,
        received_seq=received if received is not None else seq + 1,
        walk_seq=seq,
        trace=trace_of(kind, content, NO_BASES),
    )


def tombstone(ref: str, *, seq: int, minutes: float = 0) -> Arrival:
    return replace(
        arrival(ref, seq=seq, minutes=minutes, version=None, body={}),
        state=SnapshotState.DELETED,
        digest="",
        kept_digest="",
    )


def task(ident: str = "b-k-1", patient: str = "Patient/a", **values: Any) -> Task:
    key, _, generation = ident.removeprefix("b-").rpartition("-")
    fixed: dict[str, Any] = {
        "id": ident,
        "source": "ehr",
        "patient": patient,
        "key": key,
        "generation": int(generation),
        "mapping": "referral",
        "mapping_version": 1,
        "rule": "schedule-referral",
        "code": "schedule-referral",
        "need": "visit of ServiceRequest/1",
        "focus": "ServiceRequest/1",
        "opened_at": START,
    }
    return Task(**{**fixed, **values})


def opened(of: Task, minutes: float = 0) -> Event:
    return Event(task=of.id, kind=EventKind.OPENED, at=at(minutes), set=as_set(of), why="open")


def event(ident: str, kind: EventKind, minutes: float = 0, **values: Any) -> Event:
    return Event(task=ident, kind=kind, at=at(minutes), set=values, why=kind.value)


def plan(ident: str = "bp-p-1", patient: str = "Patient/a", **values: Any) -> Plan:
    fixed: dict[str, Any] = {
        "id": ident,
        "source": "ehr",
        "patient": patient,
        "key": "p",
        "programme": "referral",
    }
    return Plan(**{**fixed, **values})


def look(ledger: Ledger, patient: str = "Patient/a", cause: str = "resource", minutes: float = 0) -> Chart:
    """Ask for a look, and what it would read."""
    ledger.request("ehr", (patient,), cause)
    (chart,) = [c for c in charts(ledger, minutes) if patient in c.patients]
    return chart


def charts(ledger: Ledger, minutes: float = 0) -> list[Chart]:
    return ledger.charts(ledger.due_requests("ehr", at(minutes)), FACTS, at(minutes), "m1")


def result(chart: Chart, *events: Event, **values: Any) -> LookResult:
    assert chart.request is not None
    return LookResult(
        request=chart.request,
        expected={t.id: t.row_version for t in chart.tasks},
        plan_versions={p.id: p.row_version for p in chart.plans},
        events=events,
        edition=chart.edition,
        **values,
    )


def put_task(ledger: Ledger, of: Task) -> Task:
    ledger.append([opened(of)])
    stored = ledger.task(of.id)
    assert stored is not None
    return stored


def persons(requests: list[Request]) -> set[str]:
    return {request.person for request in requests}

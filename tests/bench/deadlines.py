"""Deadlines: 200,000 open tasks in the ledger, and how late the escalation of those that fall due stands in it.

25,000 patients with eight orders each, all without a visit: each order is a task with ``opens``, ``due`` and its
steps. 240 more are stat orders whose four hours run out one by one while the clock is watched. The loop does what a
service does between passes: it looks at whoever's time has come. A deadline acts only on what is known since its
moment, so each look first reads orders and visits of its patient from a server. Late is the time from the due moment
to the moment at which the committed escalation can be read.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from adapter.clock import SystemClock
from adapter.facts.keep import Keeper
from adapter.fhir import FhirClient
from adapter.ledger import Ledger, SourceRow, WalkRow
from adapter.mapping.loader import load
from adapter.mapping.rules import Edition
from adapter.model import EVIDENCE, POLLED, EventKind, SourceFacts
from adapter.polling import Budget, Evidence, PatientReader, PollingContext
from adapter.polling.intake import Sight, arrival_of
from adapter.reconcile.reconciler import Reconciler
from adapter.settings import packaged
from tests.bench.pages import serving
from tests.bench.population import ident

TASKS, PER_PATIENT = 200_000, 8
WATCHED, SPREAD_S = 240, 30.0
TICK_S = 0.2
SERVED = (
    18 * WATCHED
)  # resources of a server that knows the Patients of the watched orders: those are read again
RUN_OUT = timedelta(hours=4)  # of a stat order, by its rule
SOURCE = "general"


def measure(scale: float) -> dict[str, Any]:
    """``deadlines``: open tasks, and the greatest lateness."""
    patients = int(TASKS * scale) // PER_PATIENT
    with tempfile.TemporaryDirectory(prefix="baton-bench-") as name, serving(SERVED) as pages:
        ledger = Ledger.open(Path(name) / "ledger.db", clock=SystemClock(), create=True)
        client = FhirClient(pages.base_url, clock=SystemClock(), seq=ledger.seq)
        try:
            return {"deadlines": _measured(ledger, client, patients)}
        finally:
            client.close()
            ledger.close()


def _measured(ledger: Ledger, client: FhirClient, patients: int) -> dict[str, Any]:
    begun = time.perf_counter()
    first_due, looking = _filled(ledger, client, patients)
    filled = time.perf_counter() - begun
    open_tasks = len(ledger.tasks(SOURCE, open_only=True))
    late = sorted(_watched(ledger, looking, first_due))
    return {
        "open": open_tasks,
        "lateness_s": round(late[-1], 3),
        "median_s": round(late[len(late) // 2], 3),
        "acted": len(late),
        "filled_in_s": round(filled, 1),
    }


def _filled(ledger: Ledger, client: FhirClient, patients: int) -> tuple[datetime, Reconciler]:
    """Store patients and orders, and look until every task stands. The first watched deadline lies ahead."""
    codes = packaged("config") / "codes"
    edition = load(packaged("mappings"), codes=codes)
    now = datetime.now(UTC) - 2 * RUN_OUT
    ledger.save_source(SourceRow(name=SOURCE, key="bench", live_from=now))
    ledger.activate("bench")
    keeper = Keeper(edition.elements, bases=client.bases)
    looking = _reconciler(ledger, client, keeper, edition, now)
    _known(ledger, now)
    _take(ledger, keeper, (r for n in range(patients) for r in _of_patient(n, now)), now)
    looking.run(now)
    watched = min(WATCHED, patients)
    first_due = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=10 + 0.15 * watched)
    for place in range(watched):  # each is noticed four hours before it falls due
        noticed = first_due + timedelta(seconds=SPREAD_S * place / watched) - RUN_OUT
        _known(ledger, noticed)
        _store(ledger, keeper, [_order(place, PER_PATIENT, noticed, "stat")], noticed)
        _known(ledger, noticed + timedelta(seconds=1))
        looking.run(noticed)
    return first_due, looking


def _reconciler(
    ledger: Ledger, client: FhirClient, keeper: Keeper, edition: Edition, now: datetime
) -> Reconciler:
    facts = SourceFacts(name=SOURCE, key="bench", zone=UTC, live_from=now)
    clock = SystemClock()
    context = PollingContext(SOURCE, client, ledger, keeper, clock, Budget(0, clock))
    evidence = Evidence(context, PatientReader(context))

    def read(persons: Sequence[str], types: frozenset[str]) -> frozenset[str]:
        reports = [evidence.read_for(person, type) for person in persons for type in sorted(types)]
        return frozenset(report.type for report in reports if report.complete)

    return Reconciler(
        ledger,
        edition,
        facts,
        "bench",
        bases=client.bases,
        read_back=lambda _task, _chart: (),
        evidence=read,
    )


def _known(ledger: Ledger, now: datetime) -> None:
    """All types walked up to now; evidence declared none."""
    for type in POLLED:
        ledger.save_walk(WalkRow(SOURCE, type, known_at=now, known_seq=ledger.seq.next()))
    for type in EVIDENCE:
        ledger.save_walk(WalkRow(SOURCE, type, declared_none=True))


def _take(ledger: Ledger, keeper: Keeper, resources: Iterator[dict[str, Any]], now: datetime) -> None:
    page: list[dict[str, Any]] = []
    for resource in resources:
        page.append(resource)
        if len(page) == 500:
            _store(ledger, keeper, page, now)
            page = []
    _store(ledger, keeper, page, now)


def _store(ledger: Ledger, keeper: Keeper, page: list[dict[str, Any]], now: datetime) -> None:
    sent = ledger.seq.next()
    sight = Sight(now - timedelta(seconds=1), sent, ledger.seq.next(), sent)
    arrivals = [arrival_of(keeper.keep(resource), sight, keeper) for resource in page]
    ledger.store(SOURCE, arrivals, cause="load")


def _of_patient(number: int, now: datetime) -> Iterator[dict[str, Any]]:
    yield {"resourceType": "Patient", "id": ident("Patient", number), "active": True}
    for place in range(PER_PATIENT):
        authored = now - timedelta(days=8 + (number + place) % 20, minutes=number % 1440)
        yield _order(number, place, authored, "routine")


def _order(number: int, place: int, authored: datetime, priority: str) -> dict[str, Any]:
    return {
        "resourceType": "ServiceRequest",
        "id": ident("ServiceRequest", number, place),
        "status": "active",
        "intent": "order",
        "priority": priority,
        "category": [{"coding": [{"system": "http://snomed.info/sct", "code": "3457005"}]}],
        "code": {"text": "Cardiology referral"},
        "subject": {"reference": f"Patient/{ident('Patient', number)}"},
        "authoredOn": authored.isoformat(timespec="milliseconds"),
    }


def _watched(ledger: Ledger, looking: Reconciler, first_due: datetime) -> list[float]:
    """Look as a service does, until all watched deadlines have acted; the seconds by which each was late."""
    late: list[float] = []
    seen = max((event.seq for event in _tail(ledger, 0)), default=0)
    end = first_due + timedelta(seconds=SPREAD_S + 30)
    due = {task.id: task.due for task in ledger.tasks(SOURCE, open_only=True) if task.priority == "stat"}
    while len(late) < len(due) and datetime.now(UTC) < end:
        looking.run(datetime.now(UTC))
        at = datetime.now(UTC)
        for event in _tail(ledger, seen):
            seen = event.seq
            moment = due.get(event.task)
            if event.kind is EventKind.ESCALATED and moment is not None:
                late.append((at - moment).total_seconds())
        time.sleep(TICK_S)
    if len(late) < len(due) or not due:
        raise RuntimeError(f"{len(late)} of {len(due)} deadlines acted")
    return late


def _tail(ledger: Ledger, seen: int) -> list[Any]:
    found: list[Any] = []
    while page := ledger.events_after(found[-1].seq if found else seen, 10_000):
        found += page
    return found

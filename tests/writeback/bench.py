"""A sandbox EHR, a ledger and a delivery on one clock; and a look that only reads back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from msgspec import structs

from adapter.clock import FixedClock
from adapter.facts.keep import Keeper
from adapter.fhir import FhirClient, Limits
from adapter.ledger import Ledger, SourceRow, as_set, difference
from adapter.model import Event, EventKind, Plan, SnapshotState, SourceFacts, Task, TaskStatus, Words
from adapter.sandbox import Habits, Sandbox
from adapter.writeback.adopt import AdoptReport, adopt
from adapter.writeback.deliver import Delivery, DeliverySettings, Report
from adapter.writeback.identity import WriterContext, claim
from adapter.writeback.owners import deleted, readback
from adapter.writeback.versions import version_mark

START = datetime(2025, 11, 28, 12, tzinfo=UTC)
DUE = datetime(2025, 12, 5, 22, tzinfo=UTC)
ZONE = ZoneInfo("America/New_York")
OPENED: list[FhirClient | Ledger] = []  # closed after each test
NAMESPACE = "abcd1234"
WORDS = Words("Schedule cardiology visit", "Call the patient & book.", "Ordered <on Monday> and not booked.")


def task(key: str = "k1", generation: int = 1, **more: Any) -> Task:
    values: dict[str, Any] = {
        "id": f"b-{key}-{generation}",
        "source": "ehr",
        "patient": "Patient/p1",
        "key": key,
        "generation": generation,
        "mapping": "referral",
        "mapping_version": 1,
        "rule": "schedule-referral",
        "code": "schedule-referral",
        "need": "visit-for:ServiceRequest/s1",
        "focus": "ServiceRequest/s1",
        "programme": "referral",
        "opened_at": START,
        "opens": START,
        "onset": START - timedelta(days=3),
        "due": DUE,
        "due_is_day": True,
        "performer": "referral-coordinator",
        "opening": ("ServiceRequest/s1@1",),
        "renews": "00ff",
    }
    return Task(**{**values, **more})


@dataclass
class Bench:
    """One EHR and one Baton."""

    server: Sandbox
    clock: FixedClock
    ledger: Ledger
    client: FhirClient
    writer: WriterContext
    settings: DeliverySettings
    delivery: Delivery = field(init=False)

    def __post_init__(self) -> None:
        self.renew()

    def renew(self, **settings: Any) -> None:
        self.settings = replace(self.settings, **settings)
        keeper = Keeper({}, full_types=frozenset({"Task"}), bases=self.client.bases)
        self.delivery = Delivery(self.client, self.ledger, self.writer, self.settings, keeper)

    def open(self, row: Task, words: Words = WORDS, *, plan: bool = False) -> Task:
        self.ledger.append([Event(row.id, EventKind.OPENED, START, as_set(row), "opened")])
        from adapter.ledger.tasks import save_words

        with self.ledger._writing() as db:
            save_words(db, {row.id: words})
        if plan:
            self.ledger.save_plan(Plan("bp-q1-1", "ehr", row.patient, "q1", row.programme, started=START))
        self.ledger.want([f"Task/{row.id}"])
        return row

    def revise(self, id: str, **changes: Any) -> Task:
        old = self.row(id)
        event = Event(
            id, EventKind.REVISED, self.clock.now(), difference(old, structs.replace(old, **changes))
        )
        assert self.ledger.append([event])
        self.ledger.want([f"Task/{id}"])
        return self.row(id)

    def row(self, id: str = "b-k1-1") -> Task:
        found = self.ledger.task(id)
        assert found is not None
        return found

    def there(self, ref: str = "Task/b-k1-1") -> dict[str, Any]:
        found = self.server.get(ref)
        assert found is not None
        return found

    def versions(self, ref: str = "Task/b-k1-1") -> int:
        return len(self.server.versions(ref))

    def run(self, **more: Any) -> Report:
        return self.delivery.run(self.clock.now(), **more)

    def look(self) -> int:
        """What the reconciler does with the read-back part of a look; how many events."""
        count = 0
        for request in self.ledger.due_requests("ehr", self.clock.now()):
            chart = self.ledger.charts([request], self.settings.source, self.clock.now())[0]
            events: list[Event] = []
            for row in chart.tasks:
                events += self._read_back(row, chart.snapshots, chart.written, chart.attempts)
            self.ledger.append(events)
            self.ledger.want([f"Task/{event.task}" for event in events])
            count += len(events)
            self.ledger.postpone(request, self.clock.now() + timedelta(days=999))
        return count

    def _read_back(
        self, row: Task, snapshots: Mapping[str, Any], written: Any, attempts: Any
    ) -> tuple[Event, ...]:
        held = snapshots.get(f"Task/{row.id}")
        if held is None or row.gone:
            return ()
        if held.state is SnapshotState.DELETED:
            return (deleted(row, now=self.clock.now()),)
        found = readback(
            row,
            held.body,
            version_mark(held.version, held.body, held.last_updated),
            written=written,
            attempts=attempts,
            now=self.clock.now(),
            bases=self.client.bases,
            zone=ZONE,
        )
        return found.events

    def settle(self, rounds: int = 6) -> None:
        """Deliver and look until nothing is left."""
        for _ in range(rounds):
            self.run()
            self.look()
        assert not self.ledger.outbox()

    def adopt(self) -> AdoptReport:
        return adopt(self.writer, self.client, self.ledger, now=self.clock.now(), zone=ZONE)


def facts(**more: Any) -> SourceFacts:
    return SourceFacts(name="ehr", key="srckey", zone=ZONE, **more)


def client_for(server: Sandbox, ledger: Ledger, clock: FixedClock) -> FhirClient:
    made = FhirClient(server.base_url, clock=clock, seq=ledger.seq, limits=Limits(retries=1))
    OPENED.append(made)
    return made


def new_ledger(path: Path, clock: FixedClock, key: str = "srckey") -> Ledger:
    ledger = Ledger.open(path, clock=clock)
    OPENED.append(ledger)
    if ledger.source("ehr") is None:
        ledger.save_source(SourceRow(name="ehr", key=key, environment="test"))
    return ledger


def seed(server: Sandbox) -> None:
    server.put({"resourceType": "Patient", "id": "p1", "identifier": [{"system": "urn:mrn", "value": "7"}]})
    server.put(
        {
            "resourceType": "ServiceRequest",
            "id": "s1",
            "status": "active",
            "intent": "order",
            "subject": {"reference": "Patient/p1"},
        }
    )
    server.put({"resourceType": "Practitioner", "id": "anna"})
    server.put({"resourceType": "CareTeam", "id": "desk", "status": "active"})


def made_bench(path: Path, server: Sandbox, clock: FixedClock, **settings: Any) -> Bench:
    ledger = new_ledger(path / "ledger.db", clock)
    client = client_for(server, ledger, clock)
    writer = claim("ehr", client, ledger, namespace=NAMESPACE, environment="test", now=clock.now())
    bench = Bench(server, clock, ledger, client, writer, DeliverySettings(facts(), **settings))
    bench.adopt()
    return bench


__all__ = ["DUE", "START", "WORDS", "ZONE", "Bench", "Habits", "TaskStatus", "made_bench", "seed", "task"]

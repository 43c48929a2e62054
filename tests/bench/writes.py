"""Task PUTs against HAPI: plain httpx of the same bodies on one connection, and Baton's delivery of as many Tasks.

HAPI gets quicker as it warms up, so both take turns in rounds, after some rounds that are not counted. The bodies of
the plain side are those that Baton wrote, under ids and identifiers of their own. Baton's side is all that it does: the
look at what stands there, the attempt in the ledger before each write, and the confirmation after it.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import orjson

from adapter.clock import SystemClock
from adapter.facts.keep import Keeper
from adapter.fhir import FhirClient
from adapter.ledger import Ledger, SourceRow, as_set
from adapter.ledger.tasks import save_words
from adapter.model import Event, EventKind, SourceFacts, Task, Words
from adapter.writeback.adopt import adopt
from adapter.writeback.deliver import Delivery, DeliverySettings
from adapter.writeback.identity import claim
from tests.servers.hapi import HapiServer, missing_tools

TASKS, ROUNDS, WARM_UP = 600, 6, 2
SOURCE, NAMESPACE, TOKEN = "general", "bench", "bench-token"
WORDS = Words(
    "Schedule Cardiology referral", "Call the patient and book the visit.", "Ordered and no visit is booked."
)


def measure(scale: float) -> dict[str, Any]:
    """``writes``: Tasks per second of both, and their ratio."""
    if reason := missing_tools():
        return {"writes": {"skipped": reason}}
    number = max(20, int(TASKS * scale) // ROUNDS)
    with (
        tempfile.TemporaryDirectory(prefix="baton-bench-") as name,
        _on_any_core(HapiServer(heap="1g")) as server,
    ):
        ledger = Ledger.open(Path(name) / "ledger.db", clock=SystemClock(), create=True)
        client = FhirClient(server.base_url, clock=SystemClock(), seq=ledger.seq)
        with httpx.Client(base_url=server.base_url, trust_env=False) as plain:
            _seed(plain, number)
            side = _Baton(ledger, client, number)
            try:
                return {"writes": _compared(plain, side)}
            finally:
                client.close()
                ledger.close()


@contextmanager
def _on_any_core(server: HapiServer) -> Iterator[HapiServer]:
    """The server is not what is measured: it may run where it wants."""
    own = os.sched_getaffinity(0)
    os.sched_setaffinity(0, range(os.cpu_count() or 1))
    try:
        server.start()
    finally:
        os.sched_setaffinity(0, own)
    try:
        yield server
    finally:
        server.stop()


def _seed(plain: httpx.Client, number: int) -> None:
    """The patients and orders that the Tasks are about: HAPI enforces references."""
    for place in range(number):
        patient = {"resourceType": "Patient", "id": f"p{place}", "active": True}
        order = {
            "resourceType": "ServiceRequest",
            "id": f"s{place}",
            "status": "active",
            "intent": "order",
            "subject": {"reference": f"Patient/p{place}"},
        }
        for resource in (patient, order):
            _put(plain, resource)


def _put(plain: httpx.Client, resource: dict[str, Any]) -> None:
    path = f"/{resource['resourceType']}/{resource['id']}"
    answer = plain.put(
        path, content=orjson.dumps(resource), headers={"Content-Type": "application/fhir+json"}
    )
    answer.raise_for_status()


class _Baton:
    """The side that delivers from a ledger."""

    def __init__(self, ledger: Ledger, client: FhirClient, number: int) -> None:
        self.ledger, self.number = ledger, number
        now = datetime.now(UTC)
        ledger.save_source(SourceRow(name=SOURCE, key="bench", environment="test"))
        writer = claim(SOURCE, client, ledger, namespace=NAMESPACE, environment="test", now=now)
        if writer.adopt:
            adopt(writer, client, ledger, now=now, zone=UTC)
        keeper = Keeper({}, full_types=frozenset({"Task"}), bases=client.bases)
        facts = SourceFacts(name=SOURCE, key="bench", zone=UTC)
        self._delivery = Delivery(client, ledger, writer, DeliverySettings(facts), keeper)

    def open(self, turn: int) -> list[str]:
        """Tasks in the ledger that wait to be written, as a look leaves them; their ids."""
        now = datetime.now(UTC)
        rows = [_task(turn, place, now) for place in range(self.number)]
        self.ledger.append([Event(row.id, EventKind.OPENED, now, as_set(row), "open") for row in rows])
        with self.ledger._writing() as db:
            save_words(db, {row.id: WORDS for row in rows})
        self.ledger.want([f"Task/{row.id}" for row in rows])
        return [row.id for row in rows]

    def run(self) -> int:
        """Deliver all that waits; how many Tasks were written."""
        report = self._delivery.run(datetime.now(UTC))
        if report.errors or self.ledger.outbox():
            raise RuntimeError(f"not everything was written: {report.errors[:2]}")
        return report.written["Task"]


def _task(turn: int, place: int, now: datetime) -> Task:
    key = f"k{turn}x{place}"
    return Task(
        id=f"b-{key}-1",
        source=SOURCE,
        patient=f"Patient/p{place}",
        key=key,
        generation=1,
        mapping="referral",
        mapping_version=1,
        rule="schedule-referral",
        code="schedule-referral",
        need=f"visit-for:{turn}:ServiceRequest/s{place}",
        focus=f"ServiceRequest/s{place}",
        opened_at=now,
        opens=now,
        onset=now,
        due=now,
        performer="referral-coordinator",
        opening=(f"ServiceRequest/s{place}@1",),
    )


def _compared(plain: httpx.Client, side: _Baton) -> dict[str, Any]:
    seconds = {"raw": 0.0, "baton": 0.0}
    for turn in range(WARM_UP + ROUNDS):
        ids = side.open(turn)
        begun = time.perf_counter()
        written = side.run()
        baton = time.perf_counter() - begun
        assert written == len(ids)
        bodies = list(_copies(plain, ids))
        begun = time.perf_counter()
        for body in bodies:
            _put(plain, body)
        raw = time.perf_counter() - begun
        if turn >= WARM_UP:
            seconds["raw"] += raw
            seconds["baton"] += baton
    number = ROUNDS * side.number
    return {
        "raw_per_s": round(number / seconds["raw"], 1),
        "baton_per_s": round(number / seconds["baton"], 1),
        "ratio": round(seconds["raw"] / seconds["baton"], 3),
        "tasks": number,
    }


def _copies(plain: httpx.Client, ids: list[str]) -> Iterator[dict[str, Any]]:
    """What Baton wrote, as another system would write it: the same body under another id and identifiers."""
    for id in ids:
        body = orjson.loads(plain.get(f"/Task/{id}").content)
        body.pop("meta", None)
        body["id"] = f"raw-{id}"
        for identifier in body.get("identifier", ()):
            identifier["system"] = "urn:bench:raw"
        yield body

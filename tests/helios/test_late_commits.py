"""Writers on PostgreSQL, whose rows bear a time before they can be seen: no poll misses one, and a sweep proves it.

Helios stamps each entry of a transaction when it is processed and shows all of them at the commit, seconds later. A
poller without overlap loses most of them; that control is measured here, too, and healed by the sweep.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from adapter.clock import SystemClock
from adapter.facts.keep import Keeper
from adapter.fhir import FhirClient, Limits
from adapter.ledger import Ledger, SourceRow
from adapter.model import SnapshotState
from adapter.polling import Budget, Poller, PollingContext
from adapter.polling.sweep import Sweep
from tests.servers.helios import HeliosServer

pytestmark = [pytest.mark.server, pytest.mark.helios]

SINGLES, BATCHES, BATCH = 40, 3, 60
WRITERS = 3
TYPE = "ServiceRequest"


class Writers:
    """Threads that write orders as fast as the server takes them: single PUTs, and whole transactions."""

    def __init__(self, server: HeliosServer, tenant: str) -> None:
        self._server, self._tenant = server, tenant
        self.written = SINGLES * WRITERS + BATCHES * BATCH * WRITERS
        self.faults: list[str] = []
        jobs = [self._single, self._transactions]
        self._threads = [
            threading.Thread(target=self._guarded, args=(job, f"{job.__name__.strip('_')}{n}"))
            for n in range(WRITERS)
            for job in jobs
        ]

    @property
    def busy(self) -> bool:
        return any(thread.is_alive() for thread in self._threads)

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        for thread in self._threads:
            thread.join()
        assert self.faults == []

    def _guarded(self, job: Any, name: str) -> None:
        headers = {"X-Tenant-ID": self._tenant, "Content-Type": "application/fhir+json"}
        with httpx.Client(
            base_url=self._server.base_url, headers=headers, timeout=60, trust_env=False
        ) as http:
            try:
                job(http, name)
            except Exception as fault:  # told in the main thread
                self.faults.append(f"{name}: {fault!r}")

    def _single(self, http: httpx.Client, name: str) -> None:
        for n in range(SINGLES):
            assert http.put(f"/{TYPE}/{name}-{n}", json=_order(f"{name}-{n}")).status_code == 201

    def _transactions(self, http: httpx.Client, name: str) -> None:
        for turn in range(BATCHES):
            orders = [_order(f"{name}-{turn}-{n}") for n in range(BATCH)]
            entries = [
                {"resource": o, "request": {"method": "PUT", "url": f"{TYPE}/{o['id']}"}} for o in orders
            ]
            bundle = {"resourceType": "Bundle", "type": "transaction", "entry": entries}
            assert http.post("/", json=bundle).status_code == 200


def _order(id: str) -> dict[str, Any]:
    subject = {"reference": "Patient/p"}
    return {"resourceType": TYPE, "id": id, "status": "active", "intent": "order", "subject": subject}


@contextmanager
def _polling(server: HeliosServer, tenant: str, folder: Path, overlap_s: float) -> Iterator[PollingContext]:
    clock = SystemClock()
    with Ledger.open(folder / "ledger.db", clock=clock) as ledger:
        ledger.save_source(SourceRow(name="ehr", key="k", base_url=server.base_url))
        client = FhirClient(
            server.base_url,
            headers={"X-Tenant-ID": tenant},
            limits=Limits(retries=0),
            clock=clock,
            seq=ledger.seq,
        )
        with client:
            keeper = Keeper({}, bases=client.bases)
            budget = Budget(0, clock)
            yield PollingContext(
                "ehr", client, ledger, keeper, clock, budget, namespace="n", page_size=50, overlap_s=overlap_s
            )


def _polled_under_writers(server: HeliosServer, tenant: str, context: PollingContext) -> Writers:
    writers = Writers(server, tenant)
    poller = Poller(context)
    poller.poll(TYPE)
    writers.start()
    while writers.busy:
        result = poller.poll(TYPE)
        assert result.complete, result.errors
    writers.join()
    poller.poll(TYPE)
    return writers


def _held(context: PollingContext) -> int:
    return sum(one.state is SnapshotState.LIVE for one in context.ledger.inventory("ehr", TYPE))


@pytest.mark.slow
@pytest.mark.parametrize("overlap_s", [150.0, 30.0])
def test_no_poll_misses_a_late_commit(
    helios_postgres: HeliosServer, tmp_path: Path, overlap_s: float
) -> None:
    tenant = uuid.uuid4().hex
    with _polling(helios_postgres, tenant, tmp_path, overlap_s) as context:
        writers = _polled_under_writers(helios_postgres, tenant, context)
        assert _held(context) == writers.written
        report = Sweep(context, TYPE).run()
        assert (report.missed, report.listed) == (0, writers.written)


@pytest.mark.slow
def test_without_overlap_rows_are_missed_and_the_sweep_finds_each(
    helios_postgres: HeliosServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from adapter.polling import walk

    # Baton raises its overlap by itself when a row comes late: here it must not.
    monkeypatch.setattr(walk, "raised", lambda overlap_s, lateness: overlap_s)
    tenant = uuid.uuid4().hex
    with _polling(helios_postgres, tenant, tmp_path, 0.0) as context:
        context = replace(context, overlap_s=0.0)
        writers = _polled_under_writers(helios_postgres, tenant, context)
        missed = writers.written - _held(context)
        assert missed > 0, "the server showed no late commit: this control proves nothing"
        report = Sweep(context, TYPE).run()
        assert report.why.get("never seen") == missed
        assert _held(context) == writers.written
        assert Sweep(context, TYPE).run().missed == 0


def test_nothing_is_missed_while_writers_go_on(helios_postgres: HeliosServer, tmp_path: Path) -> None:
    tenant = uuid.uuid4().hex
    with _polling(helios_postgres, tenant, tmp_path, 30.0) as context:
        writers = Writers(helios_postgres, tenant)
        Poller(context).poll(TYPE)
        writers.start()
        while writers.busy:
            Poller(context).poll(TYPE)
            assert Sweep(context, TYPE).run().missed == 0
        writers.join()

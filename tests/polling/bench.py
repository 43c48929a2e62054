"""One EHR, one ledger and a poller on one clock; a client that can be killed or disturbed between pages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from adapter.clock import FixedClock
from adapter.facts.keep import Keeper
from adapter.fhir import Answer, Capability, FhirClient, Limits, Page
from adapter.ledger import Ledger, SourceRow
from adapter.model import POLLED, SnapshotState
from adapter.polling import Budget, Poller, PollingContext, PollResult
from adapter.sandbox import Habits, Sandbox

START = datetime(2026, 3, 2, 12, tzinfo=UTC)
NAMESPACE = "n1"


class Killed(BaseException):
    """The process died here."""


class Disturbed(FhirClient):
    """The real client, with something happening before each request for a page."""

    before: Callable[[int], None] | None = None
    asked = 0

    def search(self, type: str, params: Any) -> Page:
        self._tick()
        return super().search(type, params)

    def follow(self, url: str) -> Page:
        self._tick()
        return super().follow(url)

    def read(self, type: str, id: str) -> Answer:
        return super().read(type, id)

    def _tick(self) -> None:
        self.asked += 1
        if self.before is not None:
            self.before(self.asked)


def order(id: str = "o1", patient: str = "p1", **more: Any) -> dict[str, Any]:
    return {
        "resourceType": "ServiceRequest",
        "id": id,
        "status": "active",
        "intent": "order",
        "subject": {"reference": f"Patient/{patient}"},
        **more,
    }


def visit(id: str = "v1", patient: str = "p1", **more: Any) -> dict[str, Any]:
    actor = {"actor": {"reference": f"Patient/{patient}"}, "status": "accepted"}
    return {"resourceType": "Appointment", "id": id, "status": "booked", "participant": [actor], **more}


def patient(id: str = "p1", **more: Any) -> dict[str, Any]:
    return {"resourceType": "Patient", "id": id, **more}


@dataclass
class Bench:
    """What a test of polling needs."""

    server: Sandbox
    clock: FixedClock
    folder: Path
    page_size: int = 10
    more: dict[str, Any] = field(default_factory=dict)
    ledger: Ledger = field(init=False)
    client: Disturbed = field(init=False)
    context: PollingContext = field(init=False)
    poller: Poller = field(init=False)

    def __post_init__(self) -> None:
        self.open()

    def open(self, name: str = "ledger.db", **more: Any) -> None:
        """Start anew, on the same ledger or another one."""
        self.close()
        self.ledger = Ledger.open(self.folder / name, clock=self.clock)
        if self.ledger.source("ehr") is None:
            self.ledger.save_source(SourceRow(name="ehr", key="k1", base_url=self.server.base_url))
        self.client = Disturbed(
            self.server.base_url,
            name="ehr",
            limits=more.pop("limits", Limits(retries=0)),
            clock=self.clock,
            seq=self.ledger.seq,
        )
        self.more = {**self.more, **more}
        self._build()

    def _build(self) -> None:
        values: dict[str, Any] = {
            "source": "ehr",
            "client": self.client,
            "ledger": self.ledger,
            "keeper": Keeper({}, full_types=frozenset({"Task"}), bases=self.client.bases),
            "clock": self.clock,
            "budget": Budget(0, self.clock),
            "namespace": NAMESPACE,
            "capability": Capability(self.client.capability()),
            "page_size": self.page_size,
            **self.more,
        }
        self.context = PollingContext(**values)
        self.poller = Poller(self.context)

    def change(self, **more: Any) -> None:
        self.context = replace(self.context, **more)
        self.poller = Poller(self.context)

    def close(self) -> None:
        if hasattr(self, "client"):
            self.client.close()
            self.ledger.close()

    def poll(self, type: str = "ServiceRequest") -> PollResult:
        return self.poller.poll(type)

    def good(self, type: str = "ServiceRequest") -> PollResult:
        """A poll that has to be complete."""
        result = self.poll(type)
        assert result.complete, result.errors
        return result

    def tick(self, seconds: float = 300) -> None:
        self.clock.advance(timedelta(seconds=seconds))

    def quiet(self, type: str = "ServiceRequest") -> PollResult:
        """One more poll, after everything has settled."""
        self.client.before = None
        self.tick(600)
        return self.good(type)

    def same_as_server(self, *types: str) -> None:
        """What is held alive is what is alive there, version by version."""
        for type in types or ("ServiceRequest",):
            there = {f"{type}/{one['id']}": one["meta"]["versionId"] for one in self.server.all(type)}
            held = {
                one.ref: one.version
                for one in self.ledger.inventory("ehr", type)
                if one.state is SnapshotState.LIVE
            }
            assert held == there

    def causes(self) -> dict[str, frozenset[str]]:
        return {request.person: request.causes for request in self.ledger.requests("ehr")}

    def settle_requests(self) -> None:
        """Nobody waits for a look any more."""
        from adapter.ledger import LookResult

        requests = self.ledger.requests("ehr")
        edition = self.ledger.edition()
        assert not self.ledger.commit_looks([LookResult(request, edition=edition) for request in requests])


def sandbox(clock: FixedClock, **habits: Any) -> Sandbox:
    return Sandbox(clock=clock, habits=Habits(**habits))


TYPES = (*POLLED, "Task")

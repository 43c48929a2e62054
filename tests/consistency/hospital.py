"""A hospital on one clock: a sandbox EHR, a Baton that can be started anew, and what people do there.

Nothing here sleeps: the clock stands still until a test moves it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from adapter.app import App, SyncReport, load_edition
from adapter.clock import FixedClock
from adapter.ledger import Ledger
from adapter.mapping.rules import Edition
from adapter.model import Task
from adapter.sandbox import Habits, Sandbox
from adapter.settings import Settings, parse_settings

START = datetime(2026, 3, 2, 15, 0, tzinfo=UTC)  # a Monday afternoon
REFERRAL = {"coding": [{"system": "http://snomed.info/sct", "code": "3457005"}]}
DAY, HOUR = timedelta(days=1), timedelta(hours=1)


def text(at: datetime) -> str:
    """A time as the EHR writes it."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def patient(id: str = "p1", **more: Any) -> dict[str, Any]:
    return {"resourceType": "Patient", "id": id, "active": True, **more}


def order(id: str = "o1", who: str = "p1", **more: Any) -> dict[str, Any]:
    """A referral of ten days ago without a visit: a task, if nothing else is known."""
    return {
        "resourceType": "ServiceRequest",
        "id": id,
        "status": "active",
        "intent": "order",
        "category": [REFERRAL],
        "code": {"text": "Cardiology"},
        "subject": {"reference": f"Patient/{who}"},
        "authoredOn": text(START - 10 * DAY),
        **more,
    }


def visit(id: str = "v1", who: str = "p1", of: str = "", **more: Any) -> dict[str, Any]:
    """A booked visit in ten days; ``of`` names the order that it fulfils."""
    start = more.pop("at", START + 10 * DAY)
    based = {"basedOn": [{"reference": f"ServiceRequest/{of}"}]} if of else {}
    return {
        "resourceType": "Appointment",
        "id": id,
        "status": "booked",
        "created": text(START),
        "start": text(start),
        "end": text(start + HOUR),
        "participant": [{"actor": {"reference": f"Patient/{who}"}, "status": "accepted"}],
        **based,
        **more,
    }


def report(id: str = "r1", who: str = "p1", of: str = "o1", **more: Any) -> dict[str, Any]:
    return {
        "resourceType": "DiagnosticReport",
        "id": id,
        "status": "final",
        "code": {"text": "Report"},
        "subject": {"reference": f"Patient/{who}"},
        "basedOn": [{"reference": f"ServiceRequest/{of}"}],
        **more,
    }


def stay(id: str = "e1", who: str = "p1", **more: Any) -> dict[str, Any]:
    system = "http://terminology.hl7.org/CodeSystem/v3-ActCode"
    return {
        "resourceType": "Encounter",
        "id": id,
        "status": "in-progress",
        "class": {"system": system, "code": "IMP"},
        "subject": {"reference": f"Patient/{who}"},
        **more,
    }


@lru_cache(maxsize=8)
def _edition(folder: str, stamp: int) -> Edition:
    return load_edition(parse_settings(_text({}, {"mappings": folder} if folder else {}), Path("baton.yaml")))


def edition(folder: Path | None = None) -> Edition:
    """The shipped mappings, read once; or those of a folder that a test has edited."""
    stamp = sum(f.stat().st_mtime_ns for f in folder.glob("*.yaml")) if folder else 0
    return _edition(str(folder or ""), stamp)


def _text(source: Mapping[str, Any], top: Mapping[str, Any]) -> str:
    one = {"name": "general", "base_url": "http://127.0.0.1:1/fhir", "write_back": True, **source}
    return yaml.safe_dump({"namespace": "n1", "ledger": "ledger.db", "sources": [one], **top})


@dataclass
class Hospital:
    """The EHR (``ehr``), the clock, and the Baton (``app``) of the ledger that was opened last."""

    folder: Path
    ehr: Sandbox
    clock: FixedClock
    source: dict[str, Any] = field(default_factory=dict)
    top: dict[str, Any] = field(default_factory=dict)
    ledger_name: str = "ledger.db"
    mappings: Path | None = None
    app: App = field(init=False)

    def __post_init__(self) -> None:
        self.start()

    def settings(self) -> Settings:
        source = {"base_url": self.ehr.base_url, **self.source}
        top = {**self.top, "ledger": str(self.folder / self.ledger_name)}
        return parse_settings(_text(source, top), self.folder / "baton.yaml")

    def start(self, ledger: str = "", **source: Any) -> None:
        """Start Baton (anew): on the same ledger, or on another file; ``source`` changes its settings."""
        self.stop()
        self.ledger_name = ledger or self.ledger_name
        self.source |= source
        settings = self.settings()
        opened = Ledger.open(settings.ledger, clock=self.clock)
        self.app = App(settings, opened, edition(self.mappings), self.clock)

    def stop(self) -> None:
        if hasattr(self, "app"):
            self.app.close()

    @property
    def ledger(self) -> Ledger:
        return self.app.ledger

    # --- time and passes

    def sync(self, *, passing: timedelta = timedelta(seconds=2), **options: Any) -> SyncReport:
        """One pass, a moment later."""
        self.clock.advance(passing)
        return self.app.sync(**options)

    def good(self, **options: Any) -> SyncReport:
        """A pass that needs nobody."""
        report = self.sync(**options)
        assert not [e for s in report.sources for e in s.errors], report.sources
        return report

    def at(self, when: datetime) -> SyncReport:
        """A pass at a time that lies ahead."""
        assert when > self.clock.now()
        return self.sync(passing=when - self.clock.now())

    def quiet(self) -> None:
        """A pass more writes and changes nothing."""
        report = self.sync()
        assert not report.tasks, report.tasks
        assert not any(report.writes[kind] for kind in ("Task", "CarePlan")), report.writes

    # --- what there is

    def tasks(self, code: str = "", *, all: bool = True) -> list[Task]:
        """The ledger's rows, open and closed, the oldest first."""
        found = self.ledger.tasks("general", open_only=not all)
        return sorted((t for t in found if code in ("", t.code)), key=lambda t: (t.opened_at, t.id))

    def open(self) -> dict[str, str]:
        """Open tasks: id → code."""
        return {task.id: task.code for task in self.tasks(all=False)}

    def only(self, code: str = "") -> Task:
        """The one task that there is."""
        (task,) = self.tasks(code)
        return task

    def there(self, task: Task | None = None) -> dict[str, Any]:
        """A Task as the EHR has it."""
        found = self.ehr.get(f"Task/{(task or self.only()).id}")
        assert found is not None
        return found

    def versions_of(self, task: Task) -> int:
        """How many versions of a Task the EHR holds."""
        return len(self.ehr.versions(f"Task/{task.id}"))

    def written(self) -> int:
        """How many writes of Tasks and plans the EHR has seen."""
        return len([r for r in self.ehr.sent("PUT") if r.type in ("Task", "CarePlan")])


@contextmanager
def hospital(folder: Path, *, habits: Habits | None = None, **source: Any) -> Iterator[Hospital]:
    """A hospital that has opened; its live_from lies a month back, so that its orders count."""
    clock = FixedClock(START)
    with Sandbox(clock=clock, habits=habits or Habits()) as ehr:
        made = Hospital(folder, ehr, clock, source={"live_from": text(START - 30 * DAY)[:10], **source})
        try:
            yield made
        finally:
            made.stop()

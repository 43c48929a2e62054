"""Baton in the simulated clinic: the real engine, every pass of it, on the clinic's own server and clock.

Nothing of Baton is left out but the network: walks, evidence, looks, the ledger, writing and reading back run as
they do in service, four passes on a working day.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any

import yaml

from adapter.app import App, SyncReport
from adapter.fhir import FhirClient
from adapter.ledger import SourceRow
from adapter.reconcile.reconciler import FLAPPING
from adapter.settings import load, packaged
from tests.clinic.coordinators import HOURS, Coordinators
from tests.clinic.days import ZONE, Days
from tests.clinic.ehr import BASE
from tests.clinic.hospital import Hospital
from tests.clinic.volumes import Volumes

PASSES = (8.1, 11.0, 14.0, 17.3)
_BOUNDS = re.compile(r"^ *(?:max_age|(?:urgent_)?lookback):[^\n]*\n", re.MULTILINE)
_LONG_AGO = "2000-01-01"

Told = Callable[[str], None]


@dataclass(slots=True)
class Outcome:
    """What came of it.

    ``first`` are the tasks of the first sync, ``rest`` those opened afterwards, ``unbounded`` those of a first sync
    without bounds. ``held`` are needs that wait for somebody's word at the end (one that came back for the fourth time
    in a month). ``idle`` counts the task changes and writes of one more pass at the very end, when nothing is new.
    """

    hospital: Hospital
    days: Days
    live_days: int
    first: list[dict[str, Any]] = field(default_factory=list)
    rest: list[dict[str, Any]] = field(default_factory=list)
    unbounded: list[dict[str, Any]] = field(default_factory=list)
    open_at_end: int = 0
    held: int = 0
    idle: int = 0

    def by_day(self, code: str = "") -> list[int]:
        """Tasks opened on each live day, of one code or all, without those of the first sync."""
        found = [0] * self.live_days
        for task in self.rest:
            if code in ("", task["code"]):
                found[self.days.number(_day(task["opened_at"]))] += 1
        return found

    @property
    def codes(self) -> list[str]:
        """All task codes that occurred."""
        return sorted({task["code"] for task in (*self.first, *self.rest, *self.unbounded)})


def simulate(
    folder: Path,
    *,
    patients: int,
    live_days: int,
    history: int = 500,
    seed: int = 1,
    volumes: Volumes | None = None,
    unbounded: bool = True,
    told: Told = lambda _: None,
) -> Outcome:
    """Two years without Baton, then ``live_days`` with it.

    Args:
        folder: for ledgers and configurations.
        patients: of the clinic; its numbers a day go with them.
        history: working days before Baton comes.
        unbounded: whether the first sync is also made by the same rules without bounds, in a ledger of its own.
        told: hears how far it is.
    """
    days = Days(history, live_days)
    hospital = Hospital(volumes or Volumes(), patients, days, seed)
    outcome = Outcome(hospital, days, live_days)
    _to(hospital, history, PASSES[0])
    told(
        f"history: {sum(hospital.ehr.count(kind) for kind in ('Appointment', 'ServiceRequest'))} orders, visits"
    )
    if unbounded:
        with baton(folder / "unbounded", hospital, bounds=False) as app:
            _pass(app)
            outcome.unbounded = app.task_rows(all=True)
        told(f"first sync without bounds: {len(outcome.unbounded)} tasks")
    with baton(folder / "live", hospital) as app:
        _pass(app)
        outcome.first = app.task_rows(all=True)
        told(f"first sync: {len(outcome.first)} tasks")
        first = {task["id"] for task in outcome.first}
        coordinators = Coordinators(hospital)
        for day in range(history, history + live_days):
            opened = _a_day(app, hospital, coordinators, day)
            told(f"day {day - history + 1}: {opened} tasks opened")
        idle = _pass(app)
        outcome.idle = idle.tasks.total() + idle.writes["Task"] + idle.writes["CarePlan"]
        rows = app.task_rows(all=True)
        outcome.first = [task for task in rows if task["id"] in first]
        outcome.rest = [task for task in rows if task["id"] not in first]
        outcome.open_at_end = len(app.task_rows())
        outcome.held = len(app.ledger.holds())
    return outcome


@contextmanager
def baton(folder: Path, hospital: Hospital, *, bounds: bool = True) -> Iterator[App]:
    """A Baton of its own at the hospital; without ``bounds``: nothing is too old to open a task, none is written."""
    folder.mkdir(parents=True)
    source: dict[str, Any] = {
        "name": "clinic",
        "base_url": BASE,
        "timezone": "America/New_York",
        "write_back": bounds,
        "page_size": 200,
        "limits": {"calls_per_minute": 0},
    }
    whole: dict[str, Any] = {"namespace": "clinic", "ledger": str(folder / "ledger.db"), "sources": [source]}
    if not bounds:
        source["live_from"] = _LONG_AGO
        whole["mappings"] = str(without_bounds(folder / "mappings"))
    config = folder / "baton.yaml"
    config.write_text(yaml.safe_dump(whole), encoding="utf-8")
    with App.open(load(config), clock=hospital.ehr.clock) as app:
        # Drawn anew by each ledger otherwise, and whose turn comes when after go-live hangs on it.
        app.ledger.save_source(SourceRow(name="clinic", key=f"{hospital.seed:08x}"))
        engine = app.engine("clinic")
        engine.client.close()
        engine.client = FhirClient(
            BASE, name="clinic", clock=hospital.ehr.clock, seq=app.ledger.seq, transport=hospital.ehr
        )
        yield app


def without_bounds(folder: Path) -> Path:
    """A copy of the mappings in which no rule has ``max_age`` or ``lookback``."""
    shutil.copytree(packaged("mappings"), folder)
    for file in folder.glob("*.yaml"):
        file.write_text(_BOUNDS.sub("", file.read_text(encoding="utf-8")), encoding="utf-8")
    return folder


def _a_day(app: App, hospital: Hospital, coordinators: Coordinators, day: int) -> int:
    """A working day: people work, Baton passes; how many tasks were opened."""
    days = hospital.days
    for hour in HOURS:
        hospital.at(days.at(day, hour), coordinators.work)
    opened = 0
    for hour in PASSES if day > days.history else PASSES[1:]:
        _to(hospital, day, hour)
        opened += _pass(app).tasks["opened"]
    return opened


def _to(hospital: Hospital, day: int, hour: float) -> None:
    hospital.run_until(hospital.days.at(day, hour))
    hospital.ehr.clock.set(hospital.now)


def _pass(app: App) -> SyncReport:
    """One pass, which must have succeeded whole."""
    report = app.sync()
    faults = [error for source in report.sources for error in source.errors]
    held = app.ledger.holds()
    waiting = report.waiting - len(held) + sum(hold.cause != FLAPPING for hold in held)
    if faults or report.failed or waiting:
        raise RuntimeError(f"a pass failed: {faults[:3]}, {report.failed} looks, {waiting} waiting")
    return report


def _day(opened: str) -> date:
    return datetime.fromisoformat(opened).astimezone(ZONE).date()

"""How a Baton is doing, from its ledger alone: per source what is behind, what waits, and what needs a person."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from adapter.connection import sweep_of
from adapter.fhirjson import loads
from adapter.ledger import Ledger, SourceRow, WalkRow
from adapter.mapping.rules import Edition
from adapter.model import POLLED
from adapter.notes import PAUSED_RULES, PAUSED_SINCE, SERVICE, beat
from adapter.settings import Settings, SourceSettings

MOST_INTERVALS = 3  # a type not walked for so many of its intervals is behind (F3)
PAUSED_TOO_LONG = timedelta(days=1)
# After so many, the rests between the tries of one write come to more than an hour (task_delivery, deliver.backoff).
STUCK_ROUNDS, STUCK_FAILURES = 10, 8
SILENT_AFTER = timedelta(minutes=1)  # a running service beats every few seconds


@dataclass(slots=True)
class SourceStatus:
    """One source. ``lag_s`` is how long ago the last good poll of its most belated type began.

    ``looks`` and ``writes`` wait to be done; ``parked``, ``quarantined`` and ``held`` wait for a person, and so do
    the ``stuck`` ones of ``writes``: tried for more than an hour. ``needs`` says in sentences what a person has to do.
    """

    name: str
    state: str = "never synced"
    last_good_poll: datetime | None = None
    lag_s: float | None = None
    looks: int = 0
    writes: int = 0
    parked: int = 0
    stuck: int = 0
    quarantined: int = 0
    held: int = 0
    open_tasks: int = 0
    overdue: int = 0
    paused: bool = False
    sweeps: list[str] = field(default_factory=list)
    types: dict[str, str] = field(default_factory=dict)
    needs: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """The object that ``status --json`` prints."""
        found = {name: getattr(self, name) for name in self.__slots__}
        found["backlog"] = self.looks + self.writes
        found["last_good_poll"] = self.last_good_poll.isoformat() if self.last_good_poll else None
        return found


@dataclass(slots=True)
class Status:
    """The whole Baton: ``service`` is a sentence about the running service."""

    service: str
    sources: list[SourceStatus]
    paused_rules: tuple[str, ...] = ()
    needs: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0, or 3 where something needs a person."""
        return 3 if self.needs or any(source.needs for source in self.sources) else 0

    def as_json(self) -> dict[str, Any]:
        """The object that ``status --json`` prints."""
        return {
            "service": self.service,
            "sources": [source.as_json() for source in self.sources],
            "paused_rules": list(self.paused_rules),
            "needs": self.needs,
        }


def status(settings: Settings, ledger: Ledger, now: datetime, edition: Edition | None = None) -> Status:
    """How every source is doing. ``edition`` names the rules that a blind type silences."""
    service, needs = _service(ledger, now)
    paused = ledger.note(PAUSED_RULES)
    return Status(
        service,
        [_source(source, ledger, now, edition) for source in settings.sources],
        tuple(loads(paused)) if paused else (),
        needs,
    )


def _service(ledger: Ledger, now: datetime) -> tuple[str, list[str]]:
    text = ledger.note(SERVICE)
    if not text:
        return "no service has run on this ledger", []
    said = loads(text)
    ago = now - datetime.fromisoformat(said["at"])
    if not said["running"]:
        return f"stopped {_span(ago)} ago", []
    if ago > SILENT_AFTER:
        return f"not running: its last heartbeat was {_span(ago)} ago", [
            "the service ended without being stopped → look at its log, and start it: baton run"
        ]
    return f"running (process {said['pid']})", []


def _source(source: SourceSettings, ledger: Ledger, now: datetime, edition: Edition | None) -> SourceStatus:
    made = SourceStatus(source.name)
    row = ledger.source(source.name)
    if row is None:
        return made
    made.state = _state(ledger, source.name)
    _polls(made, source, ledger, now, edition)
    _counts(made, ledger, now)
    _sweeps(made, ledger)
    _needs(made, row, ledger, now)
    return made


def _state(ledger: Ledger, source: str) -> str:
    text = ledger.note(beat(source))
    return str(loads(text)["state"]) if text else "synced by hand"


def _polls(
    made: SourceStatus, source: SourceSettings, ledger: Ledger, now: datetime, edition: Edition | None
) -> None:
    walks = {walk.type: walk for walk in ledger.walks(source.name)}
    good: list[datetime] = []
    for type in (*POLLED, "Task"):
        walk = walks.get(type)
        if type in source.types or walk is None or walk.declared_none:
            continue
        made.types[type] = _said(walk, now)
        if walk.blind:
            made.needs.append(f"{type} cannot be read ({walk.blind}){_silenced(type, edition)} → baton check")
            continue
        if walk.known_at is not None:
            good.append(walk.known_at)
        if walk.known_at is None or now - walk.known_at > MOST_INTERVALS * source.every(type):
            since = f"for {_span(now - walk.known_at)}" if walk.known_at else "yet"
            made.needs.append(f"{type} was not polled completely {since}{_silenced(type, edition)}")
    for type in sorted(set(ledger.refused_reads(source.name)) - made.types.keys() - source.types.keys()):
        made.needs.append(f"{type} cannot be read{_silenced(type, edition)} → baton check")
    made.last_good_poll = min(good, default=None)
    made.lag_s = round((now - made.last_good_poll).total_seconds(), 1) if made.last_good_poll else None


def _said(walk: WalkRow, now: datetime) -> str:
    if walk.blind:
        return f"cannot be read ({walk.blind})"
    return f"{_span(now - walk.known_at)} ago" if walk.known_at else "not yet"


def _silenced(type: str, edition: Edition | None) -> str:
    rules = [rule.id for rule in edition.touched_by(type)] if edition else []
    return f", which silences {', '.join(rules)}" if rules else ""


def _counts(made: SourceStatus, ledger: Ledger, now: datetime) -> None:
    made.looks = len(ledger.due_requests(made.name, now, 10_000_000))
    waiting = [row for row in ledger.outbox() if row.source == made.name]
    made.parked = sum(row.state == "parked" for row in waiting)
    made.writes = len(waiting) - made.parked
    made.stuck = sum(
        row.state != "parked" and (row.rounds >= STUCK_ROUNDS or row.failures >= STUCK_FAILURES)
        for row in waiting
    )
    made.quarantined = len(ledger.quarantine(made.name))
    made.held = sum(hold.source == made.name for hold in ledger.holds())
    tasks = ledger.tasks(made.name, open_only=True)
    made.open_tasks = len(tasks)
    made.overdue = sum(task.due is not None and task.due < now for task in tasks)


def _sweeps(made: SourceStatus, ledger: Ledger) -> None:
    for type in (*POLLED, "Task"):
        said = sweep_of(ledger, made.name, type)
        if said:
            made.sweeps.append(str(said["said"]))


def _needs(made: SourceStatus, row: SourceRow, ledger: Ledger, now: datetime) -> None:
    made.paused = row.paused
    if row.suspect:
        made.needs.append(f"nothing is written: {row.suspect} → if that is so: baton sync --take-over")
    if made.state.startswith("stopped"):
        made.needs.append(made.state)
    if row.paused:
        since = ledger.note(PAUSED_SINCE + made.name)
        if since and now - datetime.fromisoformat(since) > PAUSED_TOO_LONG:
            made.needs.append("writing has been paused for more than a day → baton resume")
    made.needs += _waiting(
        (made.quarantined, "could not be read → baton quarantine list"),
        (made.parked, "were refused by the EHR → baton outbox list"),
        (made.stuck, "were tried for more than an hour and do not get through → baton outbox list"),
        (made.held, "floods are held → baton hold list"),
    )


def _waiting(*found: tuple[int, str]) -> Iterable[str]:
    return [f"{number} {what}" for number, what in found if number]


def _span(span: timedelta) -> str:
    seconds = max(0, round(span.total_seconds()))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"

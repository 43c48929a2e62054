"""Who owns which element of a Task, and what a person changed in the EHR: pure.

People own the status once they have touched it, owner, notes, business status, and a due date that they
moved; Baton owns the rest. A value is a person's only if Baton never wrote it to that element of that Task:
an earlier value of Baton's that comes back is a screen's stale save, and goes out again once (CONSISTENCY
F13). Before an element is compared, the ledger's row is the base: a difference to it is always somebody
else's (F2).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, tzinfo
from enum import StrEnum
from typing import Any

from adapter.fhirjson import digest
from adapter.model import Event, EventKind, Json, Task, TaskStatus
from adapter.references import NO_BASES, Bases, parse_reference
from adapter.writeback.codes import BUSINESS_STATUS, BUSINESS_STATUSES, codings
from adapter.writeback.versions import same_version

#: Elements that a person may own, by the name under which ``Task.mine`` and written values know them.
PERSONAL = ("status", "owner", "business_status", "due")
#: A value that is there but cannot be kept in the ledger: a name, a free text.
UNSAID = "?"
#: How a stale save is named in an event's ``why``; delivery counts the restoring by it.
STALE = "stale save:"
#: How the return of an older version is named in an event's ``why``: the server went back, nobody edited (F18).
SEEN_BEFORE = "a version seen before"
_STATUSES = frozenset(status.value for status in TaskStatus)
_DAY = re.compile(r"^\d{4}-\d{2}-\d{2}$")


class Phase(StrEnum):
    """How far a person has gone with a task."""

    UNTOUCHED = "untouched"
    TOUCHED = "touched"
    STARTED = "started"


class Owner(StrEnum):
    """Who decides what stands in an element."""

    BATON = "baton"
    PERSON = "person"


_B, _P = Owner.BATON, Owner.PERSON
#: element → owner while never touched, touched, started. Elements not named are Baton's where Baton writes
#: them,
#: and nobody's of ours where it does not: those are kept as they were read.
TABLE: Mapping[str, Mapping[Phase, Owner]] = {
    "status": {Phase.UNTOUCHED: _B, Phase.TOUCHED: _P, Phase.STARTED: _P},
    "owner": {Phase.UNTOUCHED: _B, Phase.TOUCHED: _P, Phase.STARTED: _P},
    "due": {Phase.UNTOUCHED: _B, Phase.TOUCHED: _P, Phase.STARTED: _P},
    "business_status": {Phase.UNTOUCHED: _P, Phase.TOUCHED: _P, Phase.STARTED: _P},
    "notes": {Phase.UNTOUCHED: _P, Phase.TOUCHED: _P, Phase.STARTED: _P},
    "priority": {Phase.UNTOUCHED: _B, Phase.TOUCHED: _B, Phase.STARTED: _B},
    "title": {Phase.UNTOUCHED: _B, Phase.TOUCHED: _B, Phase.STARTED: _B},
}


def phase(task: Task, element: str) -> Phase:
    """How far a person has gone with one element of a task."""
    if element in task.mine:
        return Phase.STARTED if task.started else Phase.TOUCHED
    return Phase.UNTOUCHED


def owner_of(task: Task, element: str) -> Owner:
    """Who decides what stands in ``element`` of this task now."""
    return TABLE.get(element, TABLE["title"])[phase(task, element)]


@dataclass(frozen=True, slots=True)
class ReadBack:
    """What a version of the EHR's Task means for the ledger's row.

    ``events`` to commit (none where the version is known already); after them the row has taken the version
    in. ``restored`` names elements in which an old value of Baton's came back: Baton's present one goes out
    again. ``ours`` is true where the version is a write of Baton's whose answer was lost. Wherever there are
    events and not ``ours``, wish for a write of the Task: the delivery compares, and sends only what differs.
    """

    events: tuple[Event, ...] = ()
    restored: frozenset[str] = frozenset()
    ours: bool = False


NOTHING = ReadBack()


def readback(
    task: Task,
    body: Json,
    mark: str,
    *,
    written: Mapping[str, frozenset[str]],
    attempts: Sequence[str] | Mapping[str, Sequence[str]] = (),
    now: datetime,
    system_actors: Collection[str] = (),
    bases: Bases = NO_BASES,
    zone: tzinfo = UTC,
    seen_before: bool = False,
) -> ReadBack:
    """What a person changed in the EHR's Task since the version that the row has taken in.

    Args:
        task: the ledger's row.
        body: the whole Task as the EHR has it (meta may be missing).
        mark: which version that is, as :func:`adapter.writeback.versions.version_mark` has it.
        written: "Task/id#element" → digests of all that Baton ever wrote there.
        attempts: digests of writes whose answer was lost: of this task, or as a chart has them, by "Task/id".
        now: the source's time.
        system_actors: references (or meta.source) that route work: what they set starts no task (F66).
        bases: the source's own URLs.
        zone: in which a due day is a day.
        seen_before: the row took that version in before the present one: the server went back, no edit (F18).
    """
    if task.gone or same_version(mark, task.seen_version):
        return NOTHING
    if body.get("status") == TaskStatus.ENTERED_IN_ERROR or not _still_ours(task, body):
        return ReadBack((deleted(task, now=now, version=mark, why=_why_gone(body)),))
    lost = attempts.get(f"Task/{task.id}", ()) if isinstance(attempts, Mapping) else attempts
    if attempt_digest(body, bases, zone) in lost:
        return ReadBack((confirmed(task, mark, now=now, why="own write, answer lost"),), ours=True)
    if seen_before:
        return ReadBack(
            (confirmed(task, mark, now=now, why=SEEN_BEFORE),),
            _differing(task, body, bases, zone),
        )
    return _compared(task, body, mark, _Look(written, now, frozenset(system_actors), bases, zone))


def deleted(task: Task, *, now: datetime, version: str = "", why: str = "deleted in the EHR") -> Event:
    """The event of a person's deletion (410, a DELETE in the history, entered-in-error): it stays deleted."""
    values: dict[str, Any] = {"gone": True}
    if task.open:
        values |= {"closed_by": "deleted", "closed_at": now.isoformat(), "touched_at": now.isoformat()}
    if version:
        values["seen_version"] = version
    return Event(task=task.id, kind=EventKind.DELETED, at=now, set=values, why=why)


def confirmed(task: Task, version: str, *, now: datetime, why: str = "acknowledged", **more: Any) -> Event:
    """The event of a version that is Baton's own, or says what the row says."""
    return Event(
        task=task.id, kind=EventKind.CONFIRMED, at=now, set={"seen_version": version, **more}, why=why
    )


def values_of(body: Json, bases: Bases = NO_BASES, zone: tzinfo = UTC) -> dict[str, str]:
    """The values of the elements that people may own, in one form each."""
    return {
        "status": _text(body.get("status")),
        "owner": _owner(body.get("owner"), bases),
        "business_status": _business_status(body.get("businessStatus")),
        "due": _due(due_text(body), zone),
    }


def row_values(task: Task, zone: tzinfo = UTC) -> dict[str, str]:
    """The same values as the ledger's row has them."""
    return {
        "status": task.status.value,
        "owner": task.owner,
        "business_status": task.business_status,
        "due": due_value(task.due, task.due_is_day, zone),
    }


def due_value(due: datetime | None, is_day: bool, zone: tzinfo) -> str:
    """A due time as a day of the zone ("2025-12-05") or an instant in UTC; "" for none."""
    if due is None:
        return ""
    if is_day:
        return due.astimezone(zone).date().isoformat()
    return due.astimezone(UTC).isoformat(timespec="seconds")


def due_text(body: Json) -> str:
    """Where R4 keeps the due date: restriction.period.end (R5 calls it requestedPeriod)."""
    restriction = body.get("restriction")
    period = restriction.get("period") if isinstance(restriction, Mapping) else None
    return _text(period.get("end")) if isinstance(period, Mapping) else ""


def value_digest(value: str) -> str:
    """The digest under which a written value is remembered."""
    return digest(value.encode())


def attempt_digest(body: Json, bases: Bases = NO_BASES, zone: tzinfo = UTC) -> str:
    """What a write is known by when its answer was lost: values, dates, and how many notes stood beside."""
    restriction = body.get("restriction")
    period = restriction.get("period") if isinstance(restriction, Mapping) else None
    start = _text(period.get("start")) if isinstance(period, Mapping) else ""
    return digest(
        {
            **values_of(body, bases, zone),
            "priority": _text(body.get("priority")),
            "start": _due(start, zone),
            "notes": _notes(body),
        }
    )


def parse_time(text: str, zone: tzinfo = UTC) -> tuple[datetime, bool] | None:
    """A date or dateTime as (instant, is a day); a day is its last second in ``zone``. None for nonsense."""
    try:
        if _DAY.match(text):
            at = datetime.combine(date.fromisoformat(text), time(23, 59, 59), zone)
            return at.astimezone(UTC), True
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (found if found.tzinfo else found.replace(tzinfo=zone)).astimezone(UTC), False


# ---- inside ----


@dataclass(frozen=True, slots=True)
class _Look:
    written: Mapping[str, frozenset[str]]
    now: datetime
    system_actors: frozenset[str]
    bases: Bases
    zone: tzinfo

    def was_ours(self, task: Task, element: str, value: str) -> bool:
        """Whether this is a value of Baton's that has not been restored before."""
        mark, key = value_digest(value), f"Task/{task.id}#{element}"
        if element in task.mine or mark not in self.written.get(key, ()):
            return False
        return mark not in self.written.get(f"{key}:restored", ())


def _compared(task: Task, body: Json, mark: str, look: _Look) -> ReadBack:
    theirs, ours = values_of(body, look.bases, look.zone), row_values(task, look.zone)
    different = [name for name in PERSONAL if theirs[name] != ours[name]]
    stale = frozenset(
        name for name in different if look.was_ours(task, name, theirs[name]) or _nonsense(name, theirs[name])
    )
    changed = [name for name in different if name not in stale]
    values: dict[str, Any] = {"seen_version": mark}
    for name in changed:
        values |= _CHANGES[name](task, body, theirs[name], look)
    notes = _notes(body)
    if notes != task.notes:
        values["notes"] = notes
    why = f"{STALE} {', '.join(sorted(stale))}" if stale else ""
    if not changed and notes == task.notes:
        return ReadBack((confirmed(task, mark, now=look.now, why=why or "same values"),), stale)
    values |= _touch(task, body, changed, values, look)
    event = Event(
        task=task.id, kind=EventKind.READ_BACK, at=look.now, set=values, why=why or "changed in the EHR"
    )
    return ReadBack((event,), stale)


def _nonsense(element: str, value: str) -> bool:
    """A status that is absent or no code of R4, a due date that is no date: no wish that can be followed."""
    return (element == "status" and value not in _STATUSES) or (element == "due" and value == UNSAID)


def _touch(task: Task, body: Json, changed: Sequence[str], values: Json, look: _Look) -> dict[str, Any]:
    """What follows from a person's touch: since when, what is hers now, whether she has started."""
    if _by_system(body, look) and set(changed) <= {"status", "owner"}:
        return {}  # routing by the EHR is a fact, but nobody's work (F66)
    mine = set(task.mine) | set(changed)
    status = TaskStatus(values.get("status", task.status))
    if "status" in changed and status is TaskStatus.REQUESTED and not task.status.closed:
        mine.discard("status")  # she put it back as it was: nobody has it
    result: dict[str, Any] = {"touched_at": _touched_at(body, look.now).isoformat()}
    if mine != task.mine:
        result["mine"] = sorted(mine)
    if "status" in changed:
        started = status.started or status is TaskStatus.ON_HOLD or (task.started and status.closed)
        result["started"] = started
    return result


def _by_system(body: Json, look: _Look) -> bool:
    if not look.system_actors:
        return False
    meta = body.get("meta")
    source = _text(meta.get("source")).partition("#")[0] if isinstance(meta, Mapping) else ""
    owner = _owner(body.get("owner"), look.bases)
    return bool({source, owner} & look.system_actors) and body.get("status") != TaskStatus.IN_PROGRESS


def _status_change(task: Task, body: Json, value: str, look: _Look) -> dict[str, Any]:
    status = TaskStatus(value)
    result: dict[str, Any] = {"status": status.value}
    if status.closed and not task.status.closed:
        result |= {"closed_by": "person", "closed_at": look.now.isoformat()}
    elif status.closed:
        result["closed_by"] = "person"
    elif task.status.closed:
        result |= {"closed_by": "", "closed_at": None}
    if task.held_status:
        result["held_status"] = ""
    return result


def _owner_change(task: Task, body: Json, value: str, look: _Look) -> dict[str, Any]:
    return {"owner": value if len(value) <= 300 else UNSAID}


def _business_change(task: Task, body: Json, value: str, look: _Look) -> dict[str, Any]:
    return {"business_status": value if len(value) <= 300 else UNSAID}


def _due_change(task: Task, body: Json, value: str, look: _Look) -> dict[str, Any]:
    found = parse_time(due_text(body), look.zone)
    if found is None:
        return {"due": None, "due_is_day": False}
    return {"due": found[0].isoformat(), "due_is_day": found[1]}


_CHANGES = {
    "status": _status_change,
    "owner": _owner_change,
    "business_status": _business_change,
    "due": _due_change,
}


def _differing(task: Task, body: Json, bases: Bases, zone: tzinfo) -> frozenset[str]:
    theirs, ours = values_of(body, bases, zone), row_values(task, zone)
    return frozenset(name for name in PERSONAL if theirs[name] != ours[name])


def _still_ours(task: Task, body: Json) -> bool:
    """Whether the Task still carries its identifier: one without it was taken from Baton on purpose."""
    own = f"{task.key}-{task.generation}"
    found = body.get("identifier")
    return any(
        isinstance(one, Mapping) and one.get("value") == own and _text(one.get("system")).endswith(":task")
        for one in (found if isinstance(found, list) else ())
    )


def _why_gone(body: Json) -> str:
    if body.get("status") == TaskStatus.ENTERED_IN_ERROR:
        return "entered in error"
    return "no longer carries our identifier"


def _touched_at(body: Json, now: datetime) -> datetime:
    meta = body.get("meta")
    found = parse_time(_text(meta.get("lastUpdated")) if isinstance(meta, Mapping) else "")
    return min(found[0], now) if found else now


def _owner(element: Any, bases: Bases) -> str:
    if not isinstance(element, Mapping) or not element:
        return ""
    return parse_reference(element, bases).key() or UNSAID


def _business_status(element: Any) -> str:
    if not isinstance(element, Mapping) or not element:
        return ""
    for coding in codings(element):
        code, system = _text(coding.get("code")), _text(coding.get("system"))
        if code:
            return code if system in (BUSINESS_STATUS, "") else f"{system}|{code}"
    plain = re.sub(r"[^a-z]+", "-", _text(element.get("text")).lower()).strip("-")
    return plain if plain in BUSINESS_STATUSES else UNSAID


def _due(text: str, zone: tzinfo) -> str:
    found = parse_time(text, zone)
    if found is None:
        return UNSAID if text else ""
    return due_value(found[0], found[1], zone)


def _notes(body: Json) -> int:
    found = body.get("note")
    return len(found) if isinstance(found, list) else 0


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""

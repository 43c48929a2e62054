"""Events into task rows: pure, and the only way in which a task row comes about.

An event's ``set`` holds the new values of Task fields in JSON form (see :data:`FORMS`); folding applies them
and counts the row's version. What an event's kind means is in what it sets, nothing is implied by it, save
that OPENED and ADOPTED make the row. So the rows can be made again from the events at any time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from itertools import compress
from operator import attrgetter, ne
from typing import Any

from msgspec import structs

from adapter.errors import LedgerError
from adapter.model import Event, EventKind, Json, Priority, Task, TaskStatus

#: The JSON form of each Task field: "text", "int", "bool", "time" (ISO 8601 or null), "texts" (a list), "set"
#: (a sorted list), "status", "priority".
FORMS: Mapping[str, str] = {
    "id": "text",
    "source": "text",
    "patient": "text",
    "key": "text",
    "generation": "int",
    "mapping": "text",
    "mapping_version": "int",
    "rule": "text",
    "code": "text",
    "need": "text",
    "focus": "text",
    "programme": "text",
    "status": "status",
    "priority": "priority",
    "opened_at": "time",
    "opens": "time",
    "due": "time",
    "due_is_day": "bool",
    "ends": "time",
    "onset": "time",
    "performer": "text",
    "owner": "text",
    "business_status": "text",
    "steps": "texts",
    "mine": "set",
    "started": "bool",
    "touched_at": "time",
    "mark": "text",
    "marked_at": "time",
    "hold": "text",
    "held_status": "text",
    "group": "text",
    "follows": "text",
    "based_on": "texts",
    "opening": "texts",
    "closing": "texts",
    "closed_at": "time",
    "closed_by": "text",
    "renews": "text",
    "turned": "bool",
    "notes": "int",
    "seen_version": "text",
    "gone": "bool",
}
REQUIRED = frozenset(f.name for f in structs.fields(Task) if f.required and f.name in FORMS)
_values = attrgetter(*FORMS)
IDENTITY = frozenset({"id", "key", "generation"})  # never changed by a later event; a source may be renamed
_LONGEST = 300  # codes, ids and references are short; a text of the EHR is not


class EventError(LedgerError):
    """An event that the ledger refuses: an unknown field, a value of the wrong form, no task for it."""


def fold(task: Task | None, event: Event) -> Task:
    """The row after ``event``.

    Raises:
        EventError: where the event does not fit the row. The message holds field names only.
    """
    if task is None:
        return _made(event)
    if event.kind is EventKind.OPENED:
        raise EventError(f"{task.id} was opened before")
    if event.task != task.id:
        raise EventError(f"an event of another task for {task.id}")
    new = read_set(event.set)
    moved = sorted(name for name in IDENTITY & new.keys() if new[name] != getattr(task, name))
    if moved:
        raise EventError(f"{task.id}: {', '.join(moved)} never changes")
    return structs.replace(task, **new, row_version=task.row_version + 1)


def fold_all(events: Iterable[Event]) -> dict[str, Task]:
    """The rows of all tasks, from their events in order."""
    rows: dict[str, Task] = {}
    for event in events:
        rows[event.task] = fold(rows.get(event.task), event)
    return rows


def _made(event: Event) -> Task:
    if event.kind not in (EventKind.OPENED, EventKind.ADOPTED):
        raise EventError(f"{event.kind.value} for a task that the ledger does not hold")
    new = {"id": event.task, **read_set(event.set)}
    missing = sorted(REQUIRED - new.keys())
    if missing:
        raise EventError(f"{event.kind.value} without {', '.join(missing)}")
    if new["id"] != event.task:
        raise EventError(f"{event.kind.value} names two tasks")
    return Task(**new, row_version=1)


def read_set(values: Json) -> dict[str, Any]:
    """The Task values that an event's ``set`` says.

    Raises:
        EventError: for an unknown field or a value that is not of the field's form.
    """
    found = {}
    for name, value in values.items():
        reader = _READER_OF.get(name)
        if reader is None:
            raise EventError(
                f"a task has no field {name!r}" if len(name) < 40 else "a task has no such field"
            )
        try:
            found[name] = reader(value)
        except (TypeError, ValueError):
            raise EventError(f"the task field {name} is no {FORMS[name]}") from None
    return found


def as_set(task: Task, *, without: Iterable[str] = ()) -> dict[str, Any]:
    """A whole task in the JSON form of an event's ``set``: what an OPENED event of it says."""
    values = dict(zip(FORMS, _values(task), strict=True))
    for name in _WRITTEN:
        values[name] = to_json(values[name])
    for name in without:
        values.pop(name, None)
    return values


def difference(old: Task, new: Task) -> dict[str, Any]:
    """What an event has to set so that ``old`` becomes ``new``."""
    before, after = _values(old), _values(new)
    differ = compress(zip(FORMS, after, strict=True), map(ne, before, after))
    return {name: to_json(value) for name, value in differ}


def to_json(value: Any) -> Any:
    """The JSON form of a Task field's value."""
    if isinstance(value, datetime):
        return time_text(value)
    if isinstance(value, frozenset):
        return sorted(value)
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, TaskStatus | Priority):
        return value.value
    return value


def time_text(at: datetime) -> str:
    """A time as the ledger stores it: UTC, six decimals, so that the order of texts is that of times."""
    if at.tzinfo is None:
        raise ValueError("a time without a zone")
    return (at if at.tzinfo is UTC else at.astimezone(UTC)).isoformat(timespec="microseconds")


@lru_cache(maxsize=8192)  # rows of one page share their times, and each is read in every look
def read_time(text: str) -> datetime:
    """The time that :func:`time_text` wrote (or any ISO 8601 time with a zone)."""
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError("a time without a zone")
    return at.astimezone(UTC)


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > _LONGEST or "\n" in value:
        raise ValueError
    return str(value)


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError
    return value


def _time(value: Any) -> datetime | None:
    return None if value is None else read_time(value)


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list | tuple):
        raise ValueError
    return tuple(_text(item) for item in value)


def _set(value: Any) -> frozenset[str]:
    return frozenset(_texts(sorted(value) if isinstance(value, frozenset | set) else value))


_WRITTEN = tuple(name for name, form in FORMS.items() if form not in ("text", "int", "bool"))
"""Fields whose values are not the same in JSON."""
_READERS: Mapping[str, Any] = {
    "text": _text,
    "int": _whole,
    "bool": _flag,
    "time": _time,
    "texts": _texts,
    "set": _set,
    "status": TaskStatus,
    "priority": Priority,
}
_READER_OF: Mapping[str, Any] = {name: _READERS[form] for name, form in FORMS.items()}

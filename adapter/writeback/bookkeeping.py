"""What a Task carries of its ledger row in ``input``, so that a lost row can be made again: pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, tzinfo
from typing import Any

from adapter.fhirjson import NotJson, dumps, loads
from adapter.model import WITHDRAWING, Json, Task
from adapter.writeback import codes
from adapter.writeback.owners import PERSONAL, row_values, value_digest

#: Who may close a task for Baton; a person's closing needs no mark.
CLOSERS = frozenset({"evidence", "contrary", "clock", "command", "patient"})
MARK_LENGTH = 8


def bookkeeping(task: Task, zone: tzinfo, owner: str, held: Json) -> str:
    """The text of the input "ledger": ids, codes and times only.

    "w" holds the first digits of the digests of Baton's own values: a new ledger can tell hers from ours by
    them. Of an element that she owns by now the former mark stays, so that her edit alone causes no write.
    """
    more: dict[str, Any] = {
        "programme": task.programme,
        "focus": task.focus,
        "for": task.patient,
        "ends": task.ends.astimezone(UTC).isoformat() if task.ends else "",
        "steps": list(task.steps),
        "mark": "" if task.mark == WITHDRAWING else task.mark,
        "hold": task.hold,
        "held": task.held_status,
        "closed": task.closed_by if task.closed_by in CLOSERS else "",
        "opening": list(task.opening),
        "closing": list(task.closing),
    }
    kept = {name: value for name, value in more.items() if value not in ("", [])}
    return dumps({**kept, "w": _marks(task, zone, owner, held)}).decode()


def _marks(task: Task, zone: tzinfo, owner: str, held: Json) -> dict[str, str]:
    values = {**row_values(task, zone), "owner": owner}
    former = held.get("w")
    before = former if isinstance(former, Mapping) else {}
    ours = {name: mark_of(value) for name, value in values.items() if name not in task.mine}
    hers = {name: str(before[name]) for name in PERSONAL if name in task.mine and name in before}
    return dict(sorted({**hers, **ours}.items()))


def mark_of(value: str) -> str:
    """The short digest of a value of Baton's."""
    return value_digest(value)[:MARK_LENGTH]


def bookkeeping_in(body: Json | None) -> Json:
    """What the input "ledger" of a Task says; {} where there is none or it cannot be read."""
    text = input_value(body or {}, "ledger")
    try:
        found = loads(text) if isinstance(text, str) else {}
    except NotJson:
        return {}
    return found if isinstance(found, Mapping) else {}


def inputs(body: Json, code: str, element: str = "input") -> Iterator[Any]:
    """The values of Baton's inputs (or outputs) of one kind."""
    entries = body.get(element)
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, Mapping) and codes.code_in(entry.get("type"), codes.INPUTS) == code:
            yield next((part for name, part in entry.items() if name.startswith("value")), None)


def input_value(body: Json, code: str) -> Any:
    """The first value of one kind; None for none."""
    return next(inputs(body, code), None)

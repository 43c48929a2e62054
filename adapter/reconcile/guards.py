"""Floods: what Baton itself causes is counted before the first change is stored; only that cause waits. Pure.

An edited mapping or configuration, a first load and a sweep are Baton's doing; a doctor who falls ill is the
hospital's day, and its twenty tasks are real work (CONSISTENCY F12, F19).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from adapter.model import EventKind, Request, Task
from adapter.reconcile.changes import Decision

LIMIT = 200
OWN_CAUSES = frozenset({"edition", "sweep"})
_COUNTED = {EventKind.OPENED: "open", EventKind.WITHDRAWN: "withdraw"}


@dataclass(frozen=True, slots=True)
class Flood:
    """More changes of one rule in one direction than the limit, all by one cause of Baton's own."""

    cause: str
    rule: str
    direction: str
    tasks: tuple[str, ...]
    persons: frozenset[str]


def caused_by_baton(request: Request) -> str:
    """The cause of Baton's own that alone asked for a look; "" where the hospital's day did, or a person."""
    causes = {cause.partition(":")[0] for cause in request.causes}
    return min(causes) if causes and causes <= OWN_CAUSES else ""


def floods(
    decisions: Iterable[tuple[Request, Decision, Mapping[str, Task]]], *, limit: int = LIMIT
) -> list[Flood]:
    """The floods among the decisions of one cause, counted over the whole cause."""
    counted: dict[tuple[str, str, str], list[tuple[str, str]]] = defaultdict(list)
    for request, decision, rows in decisions:
        cause = caused_by_baton(request)
        if not cause:
            continue
        for event in decision.events:
            direction = _COUNTED.get(event.kind)
            if direction:
                counted[cause, rows[event.task].rule, direction].append((event.task, request.person))
    return [
        Flood(cause, rule, direction, tuple(t for t, _ in found), frozenset(p for _, p in found))
        for (cause, rule, direction), found in sorted(counted.items())
        if len(found) > limit
    ]

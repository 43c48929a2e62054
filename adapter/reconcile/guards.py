"""Floods: what Baton itself causes is counted before the first change is stored; only that cause waits. Pure.

An edited mapping or configuration, a first load and a sweep are Baton's doing; a doctor who falls ill is the
hospital's day, and its twenty tasks are real work (CONSISTENCY F12, F19).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from adapter.model import WITHDRAWING, Event, EventKind, Request, Task
from adapter.reconcile.changes import Decision

LIMIT = 200
OWN_CAUSES = frozenset({"edition", "sweep"})
FOLLOWING = frozenset({"evidence", "unread"})  # what a look for another cause brought about


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
    causes = request.kinds - FOLLOWING
    return min(causes) if causes and causes <= OWN_CAUSES else ""


@dataclass(frozen=True, slots=True)
class Counted:
    """One change that counts: by whose cause, of which rule, in which direction, which task, for whom."""

    cause: str
    rule: str
    direction: str
    task: str
    person: str


def counted(request: Request, decision: Decision, rows: Mapping[str, Task]) -> list[Counted]:
    """The openings and withdrawals of one decision, where Baton alone caused the look."""
    cause = caused_by_baton(request)
    if not cause:
        return []
    return [
        Counted(cause, rows[event.task].rule, direction, event.task, request.person)
        for event in decision.events
        if (direction := direction_of(event))
    ]


def direction_of(event: Event) -> str:
    """The direction of an event that counts, else "": what waits for its withdrawal counts as withdrawn."""
    if event.kind is EventKind.OPENED:
        return "open"
    withdrawn = event.kind is EventKind.WITHDRAWN or event.set.get("mark") == WITHDRAWING
    return "withdraw" if withdrawn else ""


def floods(changes: Iterable[Counted], *, limit: int | None = None) -> list[Flood]:
    """The floods among all changes of a cause: counted over the whole cause, never page by page (F12)."""
    groups: dict[tuple[str, str, str], list[Counted]] = defaultdict(list)
    for change in changes:
        groups[change.cause, change.rule, change.direction].append(change)
    most = LIMIT if limit is None else limit
    return [
        Flood(*key, tuple(one.task for one in found), frozenset(one.person for one in found))
        for key, found in sorted(groups.items())
        if len(found) > most
    ]

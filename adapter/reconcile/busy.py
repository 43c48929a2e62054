"""A day of the hospital's that nobody has seen the like of: what goes beyond it waits for a person. Pure.

A vendor's upgrade that codes visits anew, an interface that sends a month again, a job that marks three thousand old
visits as missed: none of it is Baton's doing, and none of it may fill a coordinator's list. Openings and withdrawals
are counted by rule and day; beyond the larger of :data:`UPPER` and five times the busiest day so far they wait, except
what is stat (CONSISTENCY F12).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from msgspec.structs import replace

from adapter.fhirjson import NotJson, dumps, loads
from adapter.model import EventKind, Priority, Task
from adapter.reconcile.changes import Decision
from adapter.reconcile.guards import direction_of

UPPER = 200
TIMES = 5

Key = tuple[str, str]
"""Rule and direction."""


@dataclass(slots=True)
class BusyDay:
    """The changes of one day so far, and of the busiest one before it, by rule and direction."""

    day: str
    counts: Counter[Key] = field(default_factory=Counter)
    busiest: dict[Key, int] = field(default_factory=dict)

    @classmethod
    def read(cls, text: str, day: str) -> BusyDay:
        """What :meth:`written` has kept, as of ``day``: of a day that is over its counts may be the busiest."""
        try:
            held = loads(text) if text else {}
        except NotJson:
            held = {}
        held = held if isinstance(held, Mapping) else {}
        counts, busiest = Counter(_numbers(held.get("counts"))), _numbers(held.get("busiest"))
        if held.get("day") == day:
            return cls(day, counts, busiest)
        return cls(
            day, Counter(), {key: max(counts[key], busiest.get(key, 0)) for key in {*counts, *busiest}}
        )

    def written(self) -> str:
        """As text for the ledger: rules' names and numbers only."""
        whole = {"day": self.day, "counts": _texts(self.counts), "busiest": _texts(self.busiest)}
        return dumps(whole).decode()

    def is_full(self, key: Key) -> bool:
        """Whether one more would be too many."""
        return self.counts[key] >= max(UPPER, TIMES * self.busiest.get(key, 0))


def beyond(
    day: BusyDay,
    decision: Decision,
    rows: Mapping[str, Task],
    *,
    held: Collection[str],
    free: Collection[str],
) -> dict[str, Key]:
    """The tasks of a decision whose opening or withdrawal is beyond the day; the others are counted.

    ``rows`` are the tasks as the decision leaves them, ``held`` those that wait for a person already, ``free`` those
    that a person has let go, or that were counted before.
    """
    found: dict[str, Key] = {}
    for event in decision.events:
        direction = direction_of(event)
        if not direction or event.task in free:
            continue
        task = rows[event.task]
        key = (task.rule, direction)
        if task.priority is not Priority.STAT and (event.task in held or day.is_full(key)):
            found[event.task] = key
        else:
            day.counts[key] += 1
    return found


def without(
    decision: Decision, tasks: Collection[str], rows: Mapping[str, Task], *, again: datetime
) -> Decision:
    """The decision without opening or withdrawing some tasks, and without the care plans of those not opened.

    What a person did to a task that is not withdrawn for now stays in it. The person is looked at ``again`` by then:
    should the hold not have been written down before a crash, nobody is forgotten.
    """
    opened = {e.task for e in decision.events if e.kind is EventKind.OPENED and e.task in tasks}
    programmes = {rows[task].programme for task in opened} - {""}
    waiting = {plan.id for plan in decision.plans if plan.programme in programmes}
    left_out = {*(f"Task/{task}" for task in opened), *(f"CarePlan/{plan}" for plan in waiting)}
    return replace(
        decision,
        events=tuple(
            event
            for event in decision.events
            if event.task not in opened and not (event.task in tasks and direction_of(event))
        ),
        words={task: words for task, words in decision.words.items() if task not in opened},
        wants=frozenset(decision.wants - left_out),
        plans=tuple(plan for plan in decision.plans if plan.id not in waiting),
        next_look=min(decision.next_look or again, again),
    )


def _numbers(held: object) -> dict[Key, int]:
    found: dict[Key, int] = {}
    for name, number in held.items() if isinstance(held, Mapping) else ():
        rule, _, direction = str(name).rpartition(":")
        if isinstance(number, int):
            found[rule, direction] = number
    return found


def _texts(counts: Mapping[Key, int]) -> dict[str, int]:
    return {f"{rule}:{direction}": number for (rule, direction), number in sorted(counts.items())}

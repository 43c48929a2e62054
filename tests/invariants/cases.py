"""The cases of one coordinator over a year: what the hospital and she do, drawn from a seed.

A case is an order with what becomes of it, or a visit to which nobody came. Nothing here knows Baton.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import Any

from adapter.sandbox import Sandbox
from tests.consistency.hospital import HOUR, patient, text, visit
from tests.consistency.hospital import order as an_order
from tests.invariants import wall

PRIORITIES = ("routine",) * 6 + ("urgent", "urgent", "asap", "stat")


@dataclass
class Case:
    """One need. What she did with its Task stands in ``started``, ``done``, ``moved`` (to when, at what time)."""

    number: int
    kind: str  # "order" or "noshow"
    begins: datetime
    priority: str = "routine"
    start: datetime | None = None
    missed: datetime | None = None
    booked: datetime | None = None
    revoked: datetime | None = None
    started: datetime | None = None
    done: datetime | None = None
    moved: tuple[datetime, datetime] | None = None
    acts: list[tuple[datetime, Callable[[Sandbox, Case], None]]] = field(default_factory=list)

    @property
    def who(self) -> str:
        return f"p{self.number}"

    @property
    def focus(self) -> str:
        return f"ServiceRequest/o{self.number}" if self.kind == "order" else f"Appointment/n{self.number}"


def drawn(seed: int, start: datetime, days: int, cases: int) -> list[Case]:
    """So many cases at a time, for so many days: a case lasts about twenty days."""
    random = Random(seed)
    found = []
    for number in range(max(1, cases * days // 20)):
        at = start + timedelta(minutes=random.randrange(days * 24 * 60))
        found.append(_order(random, number, at) if random.random() < 0.8 else _noshow(random, number, at))
    return found


def _order(random: Random, number: int, at: datetime) -> Case:
    case = Case(number, "order", at, random.choice(PRIORITIES))
    body = an_order(f"o{number}", case.who, authoredOn=text(at), priority=case.priority)
    case.acts.append((at, lambda ehr, _: _put(ehr, patient(case.who), body)))
    fate = random.random()
    end = at + timedelta(minutes=random.randrange(30 * 24 * 60))
    if fate < 0.6:
        case.booked = end
        booked = visit(f"v{number}", case.who, of=f"o{number}", at=end + timedelta(days=400))
        case.acts.append((end, lambda ehr, _: _put(ehr, booked)))
    elif fate < 0.7:
        case.revoked = end
        case.acts.append((end, lambda ehr, _: _put(ehr, {**body, "status": "revoked"})))
    elif fate < 0.85:
        case.acts.append((end, _she_finishes))
    if random.random() < 0.15 and case.revoked is None:
        case.acts.append((at + timedelta(minutes=random.randrange(20 * 24 * 60)), _she_starts))
    elif random.random() < 0.1:
        later = wall.closing_of(at + timedelta(days=random.randrange(20, 40)))
        case.acts.append((at + timedelta(days=8), lambda ehr, one: _she_moves(ehr, one, later)))
    return case


def _noshow(random: Random, number: int, at: datetime) -> Case:
    case = Case(
        number,
        "noshow",
        at,
        start=at + 50 * HOUR,
        missed=at + timedelta(hours=51, minutes=random.randrange(900)),
    )
    assert case.start is not None and case.missed is not None
    kind = [{"text": "Cardiology", "coding": [{"system": "urn:kinds", "code": f"k{number}"}]}]
    body = visit(f"n{number}", case.who, at=case.start, created=text(at), serviceType=kind)
    case.acts.append((at, lambda ehr, _: _put(ehr, patient(case.who), body)))
    case.acts.append((case.missed, lambda ehr, _: _put(ehr, {**body, "status": "noshow"})))
    if random.random() < 0.8:
        case.booked = case.missed + timedelta(minutes=random.randrange(15 * 24 * 60))
        when = case.booked
        again = visit(
            f"a{number}", case.who, at=when + timedelta(days=400), created=text(when), serviceType=kind
        )
        case.acts.append((when, lambda ehr, _: _put(ehr, again)))
    return case


def _put(ehr: Sandbox, *resources: dict[str, Any]) -> None:
    for resource in resources:
        ehr.put(resource)


def _open_task(ehr: Sandbox, case: Case) -> dict[str, Any] | None:
    """The Task on her list for this case, if there is one now."""
    for ref in list(ehr.core.store.referrers(case.focus)):
        found = ehr.get(ref) if ref.startswith("Task/") else None
        if found and found["status"] in ("requested", "in-progress"):
            return found
    return None


def _she_finishes(ehr: Sandbox, case: Case) -> None:
    if task := _open_task(ehr, case):
        ehr.put({**task, "status": "completed"})
        case.done = ehr.core.now()


def _she_starts(ehr: Sandbox, case: Case) -> None:
    if task := _open_task(ehr, case):
        ehr.put({**task, "status": "in-progress", "owner": {"reference": "Practitioner/anna"}})
        case.started = ehr.core.now()


def _she_moves(ehr: Sandbox, case: Case, later: datetime) -> None:
    if task := _open_task(ehr, case):
        period = {**task["restriction"].get("period", {}), "end": text(later)}
        ehr.put({**task, "restriction": {"period": period}})
        case.moved = (ehr.core.now(), later)


def in_order(cases: list[Case]) -> Iterator[tuple[datetime, Case, Callable[[Sandbox, Case], None]]]:
    """All that happens, by time."""
    every = [(at, case.number, case, act) for case in cases for at, act in case.acts]
    for at, _, case, act in sorted(every, key=lambda one: (one[0], one[1])):
        yield at, case, act

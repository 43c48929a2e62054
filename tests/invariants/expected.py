"""What should have become of a case, told by the rule's numbers and a wall calendar: no code of the product.

Referrals open three business days after the order, at once where they are hurried; they fall due ten business days
after that (urgent two, asap one, stat four hours), and the lead is told three business days later. A visit to which
nobody came opens the next business morning, falls due three business days later, and is raised three after that.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from tests.invariants import wall
from tests.invariants.cases import Case

_DAYS = {"routine": 10, "urgent": 2, "asap": 1}
_STEPS = {"order": (0, 3), "noshow": (3,)}


@dataclass
class Fate:
    """When each thing was to happen, as passes: None where it was not."""

    opened: datetime | None = None
    due: datetime | None = None
    steps: list[tuple[datetime, int]] = field(default_factory=list)
    closed: datetime | None = None
    by: str = ""


def fate(case: Case, passes: Sequence[datetime]) -> Fate:
    """What the passes that came through should have made of a case."""
    found = Fate()
    first_seen: datetime | None = None
    taken: set[datetime] = set()
    marked: datetime | None = None
    for now in passes:
        if case.begins > now:
            continue
        first_seen = first_seen or now
        ended, why = _end(case, now)
        if found.opened is None:
            if ended:
                return found
            if max(_opens(case), case.missed or case.begins) <= now:
                found.opened, found.due = now, _due(case, first_seen, now)
            continue
        if case.done is not None and case.done <= now:
            found.closed, found.by = now, "person"
            return found
        if ended:
            if not _has_started(case, now):
                found.closed, found.by = now, why
                return found
            marked = marked or now
            if now >= wall.add_days(max(marked, case.started or marked), 2):
                found.closed, found.by = now, why
                return found
            continue
        steps = [at for at in _steps(case, found, now) if at <= now and at not in taken]
        if steps:
            taken |= set(steps)
            found.steps.append((now, len(steps)))
    return found


def _end(case: Case, now: datetime) -> tuple[bool, str]:
    if case.booked is not None and case.booked <= now:
        return True, "evidence"
    if case.revoked is not None and case.revoked <= now:
        return True, "contrary"
    return False, ""


def _has_started(case: Case, now: datetime) -> bool:
    return case.started is not None and case.started <= now


def _opens(case: Case) -> datetime:
    """When the rule lets it open."""
    if case.kind == "noshow":
        assert case.start is not None
        return wall.morning_after(case.start)
    return case.begins if case.priority != "routine" else wall.add_days(case.begins, 3)


def _due(case: Case, first_seen: datetime, opened: datetime) -> datetime:
    """Counted from the opening, or from the first sight of the order where Baton was not there in time."""
    since = max(_opens(case), first_seen)
    if case.priority == "stat":
        return since + timedelta(hours=4)
    days = 3 if case.kind == "noshow" else _DAYS[case.priority]
    return max(wall.closing_of(wall.add_days(since, days)), wall.end_of_day(opened))


def _steps(case: Case, found: Fate, now: datetime) -> Iterator[datetime]:
    """The moments of the steps, by the due date that stands now."""
    assert found.due is not None
    due = found.due
    if case.moved is not None and case.moved[0] <= now:
        due = case.moved[1]
    for days in _STEPS[case.kind]:
        yield wall.add_days(due, days) if days else due

"""When a need opens, is due and ends: lists of moments, on the source's calendar.

A moment is a condition, an anchor and a distance. ``opens`` and ``ends`` are the latest of those that apply, ``due``
is the earliest. Nothing here is stored: moments are computed anew at every look.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from operator import attrgetter

from msgspec import Struct

from adapter.facts.times import When, last_instant
from adapter.mapping.durations import Duration
from adapter.mapping.fhirpath import Value
from adapter.mapping.finding import Tri
from adapter.mapping.rules import ClockRow, Edge, Moment
from adapter.mapping.scope import Scope
from adapter.mapping.values import NO_TYPES, NOTHING, span_of


class Mark(Struct, frozen=True):
    """One moment, come out. ``counts_days``: it is a day for people. ``in_hours``: it was told in hours."""

    at: datetime
    counts_days: bool = False
    in_hours: bool = False


class Outcome(Struct, frozen=True):
    """What a step or a list of steps says: a mark; or nothing; or unknown, because of gaps."""

    mark: Mark | None = None
    known: bool = True
    gaps: frozenset[str] = NOTHING

    @property
    def at(self) -> datetime | None:
        """The instant, where there is one."""
        return self.mark.at if self.mark else None


_BY_TIME = attrgetter("at")
ABSENT = Outcome()
"""A step that does not apply, or a list that says nothing."""

UNKNOWN = Outcome(known=False)
"""What is not known, and no reading would settle it."""


class Timing(Struct, frozen=True):
    """What the moments of one rule share.

    ``words`` are the instants that steps may name: onset, opens, due. ``opened`` is when the task was opened, or
    would be now; it dates the clock row and floors the due time. ``settled`` is true where it was opened.
    """

    scope: Scope
    words: Mapping[str, datetime | None]
    opened: datetime
    settled: bool = False


def latest(steps: Sequence[Moment], timing: Timing, *, whole_days: bool = False) -> Outcome:
    """The latest of the steps that apply; unknown where any step is. ``whole_days``: a day lasts until its end."""
    marks, known, gaps = _come_out(steps, timing, whole_days)
    return Outcome(max(marks, key=_BY_TIME, default=None), known, gaps)


def opening(steps: Sequence[Moment], timing: Timing) -> Outcome:
    """When a need opens: the latest step, the onset where there are none. A list without a value is unknown."""
    onset = timing.words.get("onset")
    if not steps:
        return Outcome(Mark(onset), True) if onset else Outcome(known=False)
    found = latest(steps, timing)
    if found.mark is None:
        return Outcome(None, False, found.gaps)
    mark = found.mark
    if mark.counts_days:
        mark = Mark(timing.scope.calendar.forward(mark.at), True)
    return Outcome(mark, found.known, found.gaps)


def due(steps: Sequence[Moment], timing: Timing) -> Outcome:
    """Until when: the earliest of the known steps, each not before the end of the business day of opening."""
    marks, known, gaps = _come_out(steps, timing, False)
    due_marks = [_due_mark(mark, timing) for mark in marks]
    return Outcome(min(due_marks, key=_BY_TIME, default=None), known, gaps)


def _come_out(
    steps: Sequence[Moment], timing: Timing, whole_days: bool
) -> tuple[list[Mark], bool, frozenset[str]]:
    """The marks of the steps that apply; whether all of them are known, and the gaps of those that are not."""
    marks, known, gaps = [], True, NOTHING
    for step in steps:
        outcome = _step(step, timing, whole_days)
        if outcome.mark is not None:
            marks.append(outcome.mark)
        if not outcome.known:
            known, gaps = False, gaps | outcome.gaps
    return marks, known, gaps


def stands_by_itself(steps: Sequence[Moment], timing: Timing) -> bool:
    """Whether a due date hangs, or may hang, on anything but the opening: a visit ahead waits for nobody."""
    others = (_step(step, timing, False) for step in steps if step.word != "opens")
    return any(outcome.mark is not None or not outcome.known for outcome in others)


def _due_mark(mark: Mark, timing: Timing) -> Mark:
    calendar = timing.scope.calendar
    at = calendar.last_closing(mark.at) if mark.counts_days else mark.at
    if not mark.in_hours:
        at = max(at, calendar.end_of_business_day(timing.opened))
    return Mark(at, mark.counts_days, mark.in_hours)


def instant_of(value: Value, scope: Scope) -> datetime | None:
    """The latest instant among values, days taken as ``after`` takes them; for onsets."""
    return max([at for at, _ in _edges(value, scope, Edge.AFTER, False)], default=None)


def _step(step: Moment, timing: Timing, whole_days: bool) -> Outcome:
    scope = timing.scope
    if step.condition is not None:
        asked = scope.verdict(step.condition)
        if asked.tri is Tri.UNKNOWN and asked.gaps:
            return Outcome(None, False, asked.gaps)
        if (asked.tri is Tri.YES) is step.negated:
            return ABSENT
    by, until = _distance(step, timing)
    if until is not None and not timing.settled:
        scope.seen.looks.append(until)
    if step.word:
        return _from_word(step, by, timing)
    assert step.anchor is not None
    value = scope.first(step.anchor)
    if _undecided(value, scope):
        return Outcome(None, False, value.gaps)
    found = [_move(at, by, step.edge, day, scope) for at, day in _edges(value, scope, step.edge, whole_days)]
    if not found:
        return ABSENT
    pick = max if step.edge is Edge.AFTER else min
    return Outcome(pick(found, key=_BY_TIME))


def _undecided(value: Value, scope: Scope) -> bool:
    """Whether an anchor waits for a reading. What was found counts where only types that nobody can read miss."""
    if not value.gaps:
        return False
    if not value.items or value.gaps & NO_TYPES:
        return True
    return any(not scope.known(gap).blind for gap in value.gaps)


def _from_word(step: Moment, by: Duration | None, timing: Timing) -> Outcome:
    at = timing.words.get(step.word)
    if at is None:
        return Outcome(None, False)
    if step.word == "opens":
        at = max(at, timing.scope.focus.first_seen or at)  # from first notice, else tasks are born overdue
    return Outcome(_move(at, by, step.edge, False, timing.scope))


def _distance(step: Moment, timing: Timing) -> tuple[Duration | None, datetime | None]:
    """How far from the anchor, and until when that holds if nothing is opened before."""
    fallback = timing.scope.duration(step.by) if step.by is not None else None
    if not step.clock:
        return fallback, None
    calendar = timing.scope.calendar
    today = calendar.local(timing.opened).date()
    turns = [calendar.day_start(row.since) for row in step.clock if row.since > today]
    turns += [calendar.day_end(row.until) for row in step.clock if row.until and row.until >= today]
    row = next((row for row in step.clock if _fits(row, timing, today)), None)
    return (row.by if row else fallback), min(turns, default=None)


def _fits(row: ClockRow, timing: Timing, today: date) -> bool:
    if row.since > today or (row.until is not None and row.until < today):
        return False
    return row.condition is None or timing.scope.verdict(row.condition).tri is Tri.YES


def _move(at: datetime, by: Duration | None, edge: Edge, day: bool, scope: Scope) -> Mark:
    if by is None:
        return Mark(at, day, False)
    calendar = scope.calendar
    moved = calendar.after(at, by) if edge is Edge.AFTER else calendar.before(at, by)
    return Mark(moved, by.unit.counts_days, not by.unit.counts_days)


def _edges(value: Value, scope: Scope, edge: Edge, whole_days: bool) -> Iterator[tuple[datetime, bool]]:
    """The instants of an anchor's values at one edge, and whether each was but a day."""
    for item in value.items:
        span = span_of(item, scope.zone)
        when = None if span is None else span.end if edge is Edge.AFTER else span.start
        if when is not None:
            yield _edge(when, scope, edge, whole_days), when.day_only


def _edge(when: When, scope: Scope, edge: Edge, whole_days: bool) -> datetime:
    if not when.day_only:
        return when.instant
    end = last_instant(when, scope.zone)
    if whole_days:
        return end
    if edge is Edge.BEFORE:
        return scope.calendar.opening(scope.calendar.local(when.instant).date())
    seen = scope.focus.first_seen
    return seen if seen is not None and when.instant <= seen < end else end

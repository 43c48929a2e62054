"""How old a need may be: the onset before which none opens, by a rule's ``max_age`` and by go-live.

The same for every focus of a rule that hurries alike, so a run of looks works each of them out once.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from adapter.mapping.calendar import calendar_of
from adapter.mapping.durations import Duration, Unit, parse_duration
from adapter.mapping.rules import Rule, Span
from adapter.model import Priority, Snapshot, SourceFacts

LOOKBACK = Duration(14, Unit.DAYS)
HURRIED = frozenset({Priority.URGENT, Priority.ASAP, Priority.STAT})
_EVER = datetime.min.replace(tzinfo=UTC)
_PRIORITIES = {priority.value: priority for priority in Priority}
_HURRIED_CODES = frozenset(priority.value for priority in HURRIED)


def priority_of(focus: Snapshot) -> Priority:
    """The priority that a focus names; routine where it names none that is known."""
    code = focus.body.get("priority")
    return _PRIORITIES.get(code, Priority.ROUTINE) if isinstance(code, str) else Priority.ROUTINE


def hurries(focus: Snapshot) -> bool:
    """Whether the priority of a focus is one of :data:`HURRIED`."""
    code = focus.body.get("priority")
    return type(code) is str and code in _HURRIED_CODES


def duration(span: Span, rule: Rule, source: SourceFacts) -> Duration:
    """A duration of a rule, with a parameter's override by the source."""
    if isinstance(span, Duration):
        return span
    override = source.parameters.get(rule.mapping, {}).get(span.name)
    return (parse_duration(override) if isinstance(override, str) else None) or span.default


class Ages:
    """The bounds of one source at one moment.

    ``not_refused`` remembers what :mod:`adapter.mapping.screens` works out once for a source: of some rules those
    that do not refuse a status, and whether the needs of the others name their focus.
    """

    __slots__ = ("_bounds", "_old", "not_refused", "now", "source")

    def __init__(self, source: SourceFacts, now: datetime) -> None:
        self.source = source
        self.now = now
        self._bounds: dict[tuple[Rule, bool], tuple[tuple[str, datetime], ...]] = {}
        self._old: dict[tuple[Rule, bool], datetime] = {}
        self.not_refused: dict[tuple[tuple[Rule, ...], str], tuple[tuple[Rule, ...], bool]] = {}

    def bounds(self, rule: Rule, focus: Snapshot) -> tuple[tuple[str, datetime], ...]:
        """The moments before which an onset is too old, each with its reason: ``max_age``, ``live_from``."""
        key = (rule, hurries(focus))
        held = self._bounds.get(key)
        if held is None:
            held = self._bounds[key] = tuple(self._computed(*key))
        return held

    def old_before(self, rule: Rule, focus: Snapshot) -> datetime:
        """The onset before which a need of a rule is too old to open, for whatever reason."""
        key = (rule, hurries(focus))
        held = self._old.get(key)
        if held is None:
            found = [bound for _, bound in self.bounds(rule, focus)]
            held = self._old[key] = max(found, default=_EVER)
        return held

    def goes_back_to(self, rule: Rule) -> datetime | None:
        """The onset before which a rule opens nothing of any priority; None where it goes back for ever."""
        found = [[bound for _, bound in self._computed(rule, hurried)] for hurried in (False, True)]
        return min(map(max, found)) if all(found) else None

    def _computed(self, rule: Rule, hurried: bool) -> Iterator[tuple[str, datetime]]:
        calendar, source = calendar_of(self.source), self.source
        max_age = duration(rule.max_age, rule, source) if rule.max_age else None
        if max_age:
            yield "max_age", calendar.before(self.now, max_age)
        live_from = source.live_since(rule.id)
        said = (rule.urgent_lookback if hurried else None) or rule.lookback
        lookback = duration(said, rule, source) if said else max_age or LOOKBACK
        if live_from:
            yield "live_from", calendar.before(live_from, lookback)


_last: list[Ages] = []


def ages_of(source: SourceFacts, now: datetime) -> Ages:
    """The bounds of a source at a moment; a run of looks asks for the same ones, so the last answer is kept."""
    for held in _last:
        if held.source is source and held.now == now:
            return held
    made = Ages(source, now)
    _last[:] = [made]
    return made

"""Values between expressions and the engine: verdicts, first-of chains, and times of every form."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Any, NamedTuple

from adapter.facts.times import Span, When, at, parse_period, parse_timing, parse_when
from adapter.mapping.fhirpath import Expression, Value
from adapter.mapping.finding import Tri

ERROR = "!"
"""A gap that stands for an expression that failed. No reading settles it."""

DISPUTED = "~"
"""A gap by facts that contradict each other or cannot be read. No reading settles it, either."""

ABSENT = frozenset({"?"})
"""The gap by which expressions tell that an element of a loaded resource is absent."""

NO_TYPES = frozenset({ERROR, DISPUTED})
"""Gaps that are no types."""

NOTHING: frozenset[str] = frozenset()


class Verdict(NamedTuple):
    """A truth value, and the gaps because of which it is unknown."""

    tri: Tri
    gaps: frozenset[str] = NOTHING


ALWAYS = Verdict(Tri.YES)
NEVER = Verdict(Tri.NO)
UNKNOWN = Verdict(Tri.UNKNOWN)
"""Unknown, and no reading would settle it."""


@dataclass(frozen=True, slots=True)
class Chain:
    """``a ?? b``: the expressions in order; the first that is not empty counts."""

    text: str
    parts: tuple[Expression, ...]


def verdict(value: Value) -> Verdict | None:
    """The truth of a collection; None where it is not one boolean."""
    if not value.items:
        return Verdict(Tri.UNKNOWN, value.gaps) if value.gaps else UNKNOWN
    if len(value.items) == 1 and isinstance(value.items[0], bool):
        return ALWAYS if value.items[0] else NEVER
    return None


def both(verdicts: Iterable[Verdict]) -> Verdict:
    """Kleene's and. The gaps of an unknown are those of all unknown parts, but none where one part is unknown for
    good: then no reading makes the whole a yes."""
    parts = list(verdicts)
    tri = Tri.all(part.tri for part in parts)
    unknown = [part.gaps for part in parts if part.tri is Tri.UNKNOWN]
    if tri is not Tri.UNKNOWN:
        return Verdict(tri)
    return Verdict(tri, frozenset().union(*unknown) if all(unknown) else NOTHING)


def span_of(item: Any, zone: tzinfo) -> Span | None:
    """Start and end of a date, dateTime, instant, Period or Timing; None where it is none of them."""
    when = when_of(item, zone)
    if when is not None:
        return Span(when, when)
    if not isinstance(item, Mapping):
        return None
    if "event" in item or "repeat" in item:
        return parse_timing(item, zone)
    if "start" in item or "end" in item:
        return _period(item, zone)
    return None


def when_of(item: Any, zone: tzinfo) -> When | None:
    """One time in whatever form it comes."""
    if isinstance(item, When):
        return item
    if isinstance(item, datetime):
        return at(item if item.tzinfo else item.replace(tzinfo=zone))
    if isinstance(item, str):
        return parse_when(item, zone)
    return None


def _period(item: Mapping[str, Any], zone: tzinfo) -> Span:
    if isinstance(item.get("start"), When) or isinstance(item.get("end"), When):
        return Span(when_of(item.get("start"), zone), when_of(item.get("end"), zone))
    return parse_period(item, zone)


def records_in(items: Iterable[Any]) -> Iterator[Mapping[str, Any]]:
    """The records among items."""
    return (item for item in items if type(item) is dict or isinstance(item, Mapping))

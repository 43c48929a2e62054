"""Reading a resource's elements: values at a path, references, FHIR times as spans.

The sandbox keeps its own small versions of these. It shares no code with the client that it tests, so that
one mistake cannot hide on both sides.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

Json = Mapping[str, Any]

_RELATIVE = re.compile(r"^([A-Z][A-Za-z]+)/([A-Za-z0-9\-.]{1,64})(/_history/[^/]+)?$")
_TIME = re.compile(
    r"^(\d{4})(?:-(\d\d)(?:-(\d\d)(?:T(\d\d):(\d\d)(?::(\d\d)(?:\.(\d+))?)?(Z|[+\- ]\d\d:?\d\d)?)?)?)?$"
)
EVER = datetime.max.replace(tzinfo=UTC)
NEVER = datetime.min.replace(tzinfo=UTC)

Span = tuple[datetime, datetime]


def values_at(value: Any, path: str) -> list[Any]:
    """All values at a dotted path ("participant.actor"); lists on the way are entered."""
    found = [value]
    for name in path.split("."):
        found = [part for item in found for part in _members(item, name)]
    return found


def _members(item: Any, name: str) -> list[Any]:
    part = item.get(name) if isinstance(item, Mapping) else None
    if part is None:
        return []
    return list(part) if isinstance(part, list) else [part]


def reference_texts(value: Any) -> Iterator[str]:
    """Every ``reference`` text below a value, contained resources included."""
    if isinstance(value, Mapping):
        text = value.get("reference")
        if isinstance(text, str):
            yield text
        for part in value.values():
            yield from reference_texts(part)
    elif isinstance(value, list):
        for part in value:
            yield from reference_texts(part)


def with_references(value: Any, change: Mapping[str, str]) -> Any:
    """A copy of a value in which each reference text found in ``change`` is replaced."""
    if isinstance(value, Mapping):
        copied = {name: with_references(part, change) for name, part in value.items()}
        text = copied.get("reference")
        if isinstance(text, str) and text in change:
            copied["reference"] = change[text]
        return copied
    if isinstance(value, list):
        return [with_references(part, change) for part in value]
    return value


def local_name(text: str) -> str:
    """The "Type/id" that a relative reference names, without its version; "" where it is none."""
    found = _RELATIVE.match(text)
    return f"{found[1]}/{found[2]}" if found else ""


def names_of(resource: Json) -> frozenset[str]:
    """The local "Type/id" names that a resource points to."""
    return frozenset(name for text in reference_texts(resource) if (name := local_name(text)))


def identifier_keys(resource: Json) -> Iterator[str]:
    """Each identifier of a resource as "system|value" (the system may be empty)."""
    for identifier in values_at(resource, "identifier"):
        if isinstance(identifier, Mapping) and identifier.get("value"):
            yield f"{identifier.get('system', '')}|{identifier['value']}"


def span(text: Any) -> Span | None:
    """The first instant and the first one after of a FHIR date, dateTime or instant; None where it is none.

    A value without a zone is taken as UTC. Digits after the millisecond are cut, as HAPI does.
    """
    found = _TIME.match(text) if isinstance(text, str) else None
    if not found:
        return None
    try:
        return _span(found)
    except ValueError:
        return None


def _span(found: re.Match[str]) -> Span:
    year, month, day, hour, minute, second = (int(part) if part else None for part in found.groups()[:6])
    if month is None:
        assert year is not None
        return datetime(year, 1, 1, tzinfo=UTC), datetime(year + 1, 1, 1, tzinfo=UTC)
    assert year is not None
    if day is None:
        first = datetime(year, month, 1, tzinfo=UTC)
        return first, first + timedelta(days=calendar.monthrange(year, month)[1])
    if hour is None:
        first = datetime(year, month, day, tzinfo=UTC)
        return first, first + timedelta(days=1)
    fraction = (found[7] or "")[:3]
    first = datetime(year, month, day, hour, minute or 0, second or 0, tzinfo=UTC) - _offset(found[8])
    if second is None:
        return first, first + timedelta(minutes=1)
    first += timedelta(milliseconds=int(fraction.ljust(3, "0"))) if fraction else timedelta(0)
    return first, first + (timedelta(milliseconds=1) if fraction else timedelta(seconds=1))


def _offset(zone: str | None) -> timedelta:
    if not zone or zone == "Z":
        return timedelta(0)
    size = timedelta(hours=int(zone[1:3]), minutes=int(zone[-2:]))
    return -size if zone[0] == "-" else size  # a bare "+" arrives from a URL as a blank


def spans_in(value: Any) -> Iterator[Span]:
    """The spans that a date, Period or Timing covers; an open end of a Period reaches for ever."""
    if isinstance(value, str):
        found = span(value)
        if found:
            yield found
    elif isinstance(value, Mapping) and ("start" in value or "end" in value):
        first, last = span(value.get("start")), span(value.get("end"))
        yield (first[0] if first else NEVER), (last[1] if last else EVER)
    elif isinstance(value, Mapping):
        for event in values_at(value, "event") + values_at(value, "repeat.boundsPeriod"):
            yield from spans_in(event)


def instant_text(at: datetime) -> str:
    """A UTC instant with three decimals, as HAPI writes ``meta.lastUpdated``."""
    at = at.astimezone(UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}+00:00"


def to_the_millisecond(at: datetime) -> datetime:
    """An instant without what a server does not keep."""
    at = at.astimezone(UTC)
    return at.replace(microsecond=at.microsecond // 1000 * 1000)

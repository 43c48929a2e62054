"""Times as FHIR writes them, typed: a day is not an instant, and a naive time belongs to the source's zone.

FHIRPath on bare JSON compares times by letter, so that 14:30Z comes before 10:00-05:00. Whatever leaves
the facts is therefore a :class:`When`, never a text. Nonsense gives None: an unreadable time is an
absent one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Any

from msgspec import Struct

_FORM = re.compile(
    r"(?P<year>\d{4})(?:-(?P<month>\d\d)(?:-(?P<day>\d\d)"
    r"(?:T(?P<hour>\d\d):(?P<minute>\d\d)(?::(?P<second>\d\d)(?:\.(?P<part>\d+))?)?"
    r"(?P<zone>Z|[+-]\d\d:\d\d)?)?)?)?",
    re.ASCII,
)


class When(Struct, frozen=True):
    """One FHIR date, dateTime or instant.

    ``instant`` is UTC: of a day (month, year) the moment at which it begins in the source's zone.
    ``day_only`` is true where no time of day was given. ``text`` is as received.
    """

    instant: datetime
    day_only: bool = False
    text: str = ""


class Span(Struct, frozen=True):
    """A Period: either end may be open."""

    start: When | None = None
    end: When | None = None


def parse_when(value: Any, zone: tzinfo) -> When | None:
    """The time that a FHIR text says; None where it is absent or nonsense.

    "2025" and "2025-12" are days of their first day for ordering; :func:`last_instant` knows how far
    they reach. 24:00 and leap seconds are taken as the next moment, as some senders write them.
    """
    if type(value) is not str:
        return None
    return _parsed(value, zone) if len(value) <= _LONGEST else _read(value, zone)


_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{3}|\.\d{6})?Z", re.ASCII)
_LONGEST = 64  # letters of a text that is worth remembering


def parse_stamp(value: Any) -> datetime | None:
    """The instant that a server stamped on a resource; None where it is absent or nonsense.

    As :func:`parse_when`, but not remembered: every resource bears another one.
    """
    if type(value) is not str:
        return None
    if _INSTANT.fullmatch(value):
        try:
            return datetime.fromisoformat(value)
        except ValueError:
            pass  # 24:00, a leap second
    when = _read(value, UTC)
    return when.instant if when else None


@lru_cache(maxsize=16_384)  # the same times are asked for over and over, by facts, links, rules and words
def _parsed(text: str, zone: tzinfo) -> When | None:
    return _read(text, zone)


def _read(text: str, zone: tzinfo) -> When | None:
    text = text.strip()
    if text[-1:] == "Z" and _INSTANT.fullmatch(
        text
    ):  # what servers stamp: the parser of the language reads it
        try:
            return When(datetime.fromisoformat(text), False, text)
        except ValueError:
            pass  # 24:00, a leap second
    found = _FORM.fullmatch(text)
    if found is None:
        return None
    try:
        return _typed(found, zone, text)
    except (ValueError, OverflowError):
        return None


def _typed(found: re.Match[str], zone: tzinfo, text: str) -> When:
    day = datetime(int(found["year"]), int(found["month"] or 1), int(found["day"] or 1), tzinfo=zone)
    if found["hour"] is None:
        return When(day.astimezone(UTC), True, text)
    if int(found["hour"]) > 24 or int(found["minute"]) > 59 or int(found["second"] or 0) > 60:
        raise ValueError
    said = _offset(found["zone"])
    clock = timedelta(
        hours=int(found["hour"]),
        minutes=int(found["minute"]),
        seconds=int(found["second"] or 0),
        microseconds=int((found["part"] or "0")[:6].ljust(6, "0")),
    )
    local = day.replace(tzinfo=None) + clock
    if said is None:
        return When(local.replace(tzinfo=zone).astimezone(UTC), False, text)
    return When(local.replace(tzinfo=UTC) - said, False, text)


def _offset(text: str | None) -> timedelta | None:
    if text is None:
        return None
    if text == "Z":
        return timedelta(0)
    hours, minutes = int(text[1:3]), int(text[4:6])
    if hours > 14 or minutes > 59:
        raise ValueError
    return timedelta(hours=hours, minutes=minutes) * (-1 if text[0] == "-" else 1)


@lru_cache(maxsize=8192)  # when a row changed: asked for by every record of it
def at(instant: datetime) -> When:
    """A stored instant as a :class:`When`."""
    utc = instant.astimezone(UTC)
    return When(utc, False, utc.isoformat().replace("+00:00", "Z"))


def local_day(when: When, zone: tzinfo) -> When:
    """The day on which a time falls in ``zone``."""
    local = when.instant.astimezone(zone)
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    return When(midnight.astimezone(UTC), True, local.date().isoformat())


def last_instant(when: When, zone: tzinfo) -> datetime:
    """The end of what was said, in UTC: of a day (month, year) the moment at which the next one begins."""
    if not when.day_only:
        return when.instant
    first = when.instant.astimezone(zone)
    try:
        return _next(first, len(when.text)).astimezone(UTC)
    except (ValueError, OverflowError):
        return when.instant


def _next(first: datetime, letters: int) -> datetime:
    if letters == len("yyyy"):
        return first.replace(year=first.year + 1)
    if letters == len("yyyy-mm"):
        month = first.month % 12 + 1
        return first.replace(year=first.year + (month == 1), month=month)
    return first + timedelta(days=1)  # wall-clock arithmetic: a day of 23 hours is one day


def parse_period(element: Any, zone: tzinfo) -> Span:
    """The two ends of a Period; an absent or nonsensical one is open."""
    if not isinstance(element, Mapping):
        return Span()
    return Span(parse_when(element.get("start"), zone), parse_when(element.get("end"), zone))


def parse_timing(element: Any, zone: tzinfo) -> Span:
    """A Timing's first event, else its bounds."""
    if not isinstance(element, Mapping):
        return Span()
    events = element.get("event")
    times = [parse_when(event, zone) for event in events] if isinstance(events, list) else []
    known = [time for time in times if time is not None]
    if known:
        first = min(known, key=lambda time: time.instant)
        return Span(first, first)
    repeat = element.get("repeat")
    return parse_period(repeat.get("boundsPeriod"), zone) if isinstance(repeat, Mapping) else Span()

"""Dates and times as FHIRPath knows them: as precise as they were written, and compared as instants.

Two ways of comparing stand side by side. :func:`compare_standard` follows FHIRPath to the letter: unit by unit,
empty where one side says less than the other. :func:`compare_in_zone` is that of rules: what has no zone takes
the source's, each value is the span of time that it covers, and the order is known wherever the spans decide it.
"""

from __future__ import annotations

import re
from calendar import monthrange
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from decimal import Decimal
from functools import lru_cache
from typing import Any

_DATE = r"(?P<year>\d{4})(?:-(?P<month>\d\d)(?:-(?P<day>\d\d))?)?"
_CLOCK = r"(?P<hour>\d\d)(?::(?P<minute>\d\d)(?::(?P<second>\d\d)(?:\.(?P<part>\d+))?)?)?"
_ZONE = r"(?P<zone>Z|[+-]\d\d:\d\d)?"
_DATETIME = re.compile(rf"{_DATE}(?P<t>T(?:{_CLOCK}{_ZONE})?)?", re.ASCII)
_TIME = re.compile(_CLOCK, re.ASCII)

YEAR, MONTH, DAY, HOUR, MINUTE, SECOND = 1, 2, 3, 4, 5, 6
_SMALLEST = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Moment:
    """A Date, a DateTime or a Time (``kind``), known to ``len(parts)`` units.

    ``parts`` is (year, month, day, hour, minute, microseconds of the minute), or for a Time (hour, minute,
    microseconds of the minute). Seconds and their fractions are one precision, as FHIRPath has it; ``digits`` is
    the length of the fraction as written. ``offset`` is in minutes, None where no zone was given.
    """

    kind: str
    parts: tuple[int, ...]
    offset: int | None = None
    digits: int = 0

    @staticmethod
    def literal(text: str) -> Moment | None:
        """What stands after ``@``; None where it is no date or time. A Time has no zone."""
        return Moment.time(text[1:]) if text.startswith("T") else Moment.of(text)

    @staticmethod
    @lru_cache(maxsize=8192)
    def of(text: str) -> Moment | None:
        """A FHIR date, dateTime or instant; None where the text is none."""
        found = _DATETIME.fullmatch(text)
        if found is None:
            return None
        said = [found[name] for name in ("year", "month", "day", "hour", "minute") if found[name] is not None]
        parts = [int(text) for text in said]
        if found["second"] is not None:
            parts.append(_micro(found["second"], found["part"]))
        zone = _offset(found["zone"])
        if zone == "" or not _exists(parts):
            return None
        kind = "DateTime" if found["t"] else "Date"
        return Moment(kind, tuple(parts), zone, len(found["part"] or ""))

    @staticmethod
    def time(text: str) -> Moment | None:
        """A FHIR time ("14:30"); None where the text is none."""
        found = _TIME.fullmatch(text)
        if found is None:
            return None
        parts = [int(found[name]) for name in ("hour", "minute") if found[name] is not None]
        if found["second"] is not None:
            parts.append(_micro(found["second"], found["part"]))
        if not _exists([2000, 1, 1, *parts]):
            return None
        return Moment("Time", tuple(parts), None, len(found["part"] or ""))

    @staticmethod
    def at(instant: datetime) -> Moment:
        """A Python datetime; a naive one has no zone."""
        shift = instant.utcoffset()
        micro = instant.second * 1_000_000 + instant.microsecond
        parts = (instant.year, instant.month, instant.day, instant.hour, instant.minute, micro)
        offset = None if shift is None else round(shift.total_seconds() / 60)
        return Moment("DateTime", parts, offset, 6 if instant.microsecond else 0)

    @staticmethod
    def on(day: date) -> Moment:
        """A Python date."""
        return Moment("Date", (day.year, day.month, day.day))

    @property
    def precision(self) -> int:
        """:data:`YEAR` … :data:`SECOND`; a Time starts at :data:`HOUR`."""
        return len(self.parts) + (3 if self.kind == "Time" else 0)

    def as_kind(self, kind: str) -> Moment:
        """The date of a DateTime, or a Date as a DateTime."""
        if kind == "Date":
            return Moment("Date", self.parts[:3])
        return Moment(kind, self.parts, self.offset, self.digits)

    def first(self, zone: tzinfo) -> datetime:
        """The first instant that this may mean, in UTC."""
        year, month, day, hour, minute, micro = self.parts + (0, 1, 1, 0, 0, 0)[len(self.parts) :]
        naive = datetime(year, month, day, hour, minute) + timedelta(microseconds=micro)  # noqa: DTZ001
        if self.offset is not None:
            return (naive - timedelta(minutes=self.offset)).replace(tzinfo=UTC)
        return naive.replace(tzinfo=zone).astimezone(UTC)

    def last(self, zone: tzinfo) -> datetime:
        """The last instant that this may mean, in UTC: of a day, the one before midnight."""
        if self.precision == SECOND:
            return self.first(zone)
        return self.plus(1, _UNIT_OF[self.precision]).first(zone) - _SMALLEST

    def plus(self, count: int, unit: str) -> Moment:
        """Later by so many units (``year`` … ``millisecond``), never more precise than before.

        A unit finer than the value counts in the value's own: ``@2014 + 24 months`` is ``@2016``. Days and weeks
        keep the time of day, months the day where the month has it.

        Raises:
            OverflowError: beyond the years 1 to 9999.
        """
        if self.kind == "Time":
            return self._plus_time(count, unit)
        if unit in ("year", "month"):
            return self._plus_months(count * 12 if unit == "year" else count)
        if self.precision <= MONTH:
            days = _whole(count * _SECONDS[unit], 86_400)
            return self._plus_months(_whole(days, 365) * 12 if self.precision == YEAR else _whole(days, 30))
        return self._plus_span(count, unit)

    def _plus_months(self, months: int) -> Moment:
        if self.precision == YEAR:
            months = _whole(months, 12) * 12
        year, month = divmod(
            self.parts[0] * 12 + (self.parts[1] if self.precision > YEAR else 1) - 1 + months, 12
        )
        if not 1 <= year <= 9999:
            raise OverflowError("beyond the years that a date can say")
        moved = (year, month + 1)
        if self.precision >= DAY:
            moved = (*moved, min(self.parts[2], monthrange(year, month + 1)[1]))  # type: ignore[assignment]
        return self._with(moved[: self.precision] + self.parts[3:])

    def _plus_span(self, count: int, unit: str) -> Moment:
        parts = self.parts + (0, 0, 0)[len(self.parts) - 3 :]
        start = datetime(*parts[:5]) + timedelta(microseconds=parts[5])  # type: ignore[arg-type] # noqa: DTZ001
        size = Decimal(_SECONDS[_UNIT_OF[self.precision]]) if self.precision < SECOND else Decimal("0.000001")
        steps = int(count * _SECONDS[unit] / size)
        moved = start + timedelta(microseconds=int(steps * size * 1_000_000))
        micro = moved.second * 1_000_000 + moved.microsecond
        whole = (moved.year, moved.month, moved.day, moved.hour, moved.minute, micro)
        digits = max(self.digits, 3) if unit == "millisecond" else self.digits
        return Moment(self.kind, whole[: self.precision], self.offset, digits)

    def _plus_time(self, count: int, unit: str) -> Moment:
        day = Moment("DateTime", (2000, 1, 1, *self.parts), None, self.digits).plus(count, unit)
        return Moment("Time", day.parts[3:], None, day.digits)

    def _with(self, parts: tuple[int, ...]) -> Moment:
        return Moment(self.kind, parts, self.offset, self.digits)

    def __str__(self) -> str:
        if self.kind == "Time":
            return self._clock(self.parts)
        text = "-".join(f"{part:0{4 if place == 0 else 2}d}" for place, part in enumerate(self.parts[:3]))
        if self.kind == "DateTime" and len(self.parts) > 3:
            text += "T" + self._clock(self.parts[3:]) + _zone_text(self.offset)
        return text

    def _clock(self, parts: tuple[int, ...]) -> str:
        text = ":".join(f"{part:02d}" for part in parts[:2])
        if len(parts) < 3:
            return text
        second, micro = divmod(parts[2], 1_000_000)
        fraction = f".{micro:06d}"[: self.digits + 1] if self.digits else ""
        return f"{text}:{second:02d}{fraction}"


_UNIT_OF = {YEAR: "year", MONTH: "month", DAY: "day", HOUR: "hour", MINUTE: "minute", SECOND: "second"}
_SECONDS = {
    "week": Decimal(604_800),
    "day": Decimal(86_400),
    "hour": Decimal(3_600),
    "minute": Decimal(60),
    "second": Decimal(1),
    "millisecond": Decimal("0.001"),
}


def compare_standard(left: Moment, right: Moment) -> int | None:
    """-1, 0 or 1 as FHIRPath compares; None where one says less than the other, or only one has a zone."""
    if left.offset is not None and right.offset is not None:
        left, right = _in_utc(left), _in_utc(right)
    elif (left.offset is None) != (right.offset is None) and min(left.precision, right.precision) > DAY:
        return None
    for mine, other in zip(left.parts, right.parts, strict=False):
        if mine != other:
            return -1 if mine < other else 1
    return 0 if len(left.parts) == len(right.parts) else None


def compare_in_zone(left: Moment, right: Moment, zone: tzinfo) -> tuple[int, int]:
    """The least and the greatest that a comparison can give, each -1, 0 or 1: (0, 1) is "equal or later".

    Values of one precision are points: a day equals the same day. A day and an instant within it give (-1, 1).
    """
    if left.kind == "Time" or right.kind == "Time":
        decided = compare_standard(left, right)
        return (-1, 1) if decided is None else (decided, decided)
    if left.precision == right.precision:
        sign = _sign(left.first(zone), right.first(zone))
        return sign, sign
    return (
        _sign(left.first(zone), right.last(zone)),
        _sign(left.last(zone), right.first(zone)),
    )


def moment_of(value: Any, *, texts: bool) -> Moment | None:
    """The Moment that a value is: a Moment, a datetime, a date, anything with ``instant`` and ``day_only``.

    With ``texts``, also a string that is a FHIR date, dateTime or instant as a whole.
    """
    if type(value) is str:
        return Moment.of(value) if texts and value[:4].isdigit() else None
    if isinstance(value, Moment):
        return value
    if isinstance(value, datetime):
        return Moment.at(value)
    if isinstance(value, date):
        return Moment.on(value)
    return _fact(value) if hasattr(value, "instant") else None


def _fact(value: Any) -> Moment | None:
    """A fact's time. One without a time of day says by its text which day, month or year it means."""
    text = getattr(value, "text", "")
    if getattr(value, "day_only", False):
        return Moment.of(text) if text else Moment.on(value.instant.date())
    said = Moment.of(text) if text else None
    return said if said is not None and said.offset is not None else Moment.at(value.instant)


def _sign(left: datetime, right: datetime) -> int:
    return (left > right) - (left < right)


def _in_utc(moment: Moment) -> Moment:
    if not moment.offset or moment.precision <= DAY:
        return moment
    shifted = Moment(moment.kind, moment.parts, 0, moment.digits)
    return shifted.plus(-moment.offset, "minute") if moment.precision > HOUR else shifted


def _micro(second: str, part: str | None) -> int:
    return int(second) * 1_000_000 + int((part or "0")[:6].ljust(6, "0"))


def _offset(text: str | None) -> Any:
    """Minutes, None where there is no zone, "" where it is none of this world."""
    if text is None:
        return None
    if text == "Z":
        return 0
    hours, minutes = int(text[1:3]), int(text[4:6])
    if hours > 14 or minutes > 59:
        return ""
    return (hours * 60 + minutes) * (-1 if text[0] == "-" else 1)


def _exists(parts: list[int]) -> bool:
    """Whether the calendar has such a day; 24:00 and the leap second are moments of the next unit."""
    padded = (parts + [0, 1, 1, 0, 0, 0][len(parts) :])[:6]
    try:
        datetime(*padded[:3])  # type: ignore[arg-type] # noqa: DTZ001
    except (ValueError, TypeError):
        return False
    hour, minute, micro = padded[3:]
    return hour <= 24 and minute <= 59 and micro < 61_000_000 and (hour < 24 or minute == 0 == micro)


def _zone_text(offset: int | None) -> str:
    if offset is None:
        return ""
    if offset == 0:
        return "Z"
    hours, minutes = divmod(abs(offset), 60)
    return f"{'-' if offset < 0 else '+'}{hours:02d}:{minutes:02d}"


def _whole(count: Any, size: int) -> int:
    """How many whole sizes, towards zero."""
    return int(count / size)

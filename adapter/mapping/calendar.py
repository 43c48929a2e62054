"""A source's calendar: its zone, its opening hours, its holidays, and arithmetic on them.

Hours are added in UTC, days in local dates; a local time that comes twice means the earlier, one that never comes
the later (CONSISTENCY F60). Business time runs only within opening hours: what lies outside them counts from the
next opening (to the past: from the last closing), so that adding never turns order around.
"""

from __future__ import annotations

import calendar as months
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import lru_cache
from typing import Any

import holidays

from adapter.mapping.durations import Duration, Unit
from adapter.model import SourceFacts
from adapter.once import remember

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_FIRST, _LAST = 1900, 9000  # beyond: a sentinel such as 9999-12-31, taken as it stands
_DAY = timedelta(days=1)
_MOST_MOVES = 10_000


@dataclass(frozen=True)
class Calendar:
    """When a source's people work.

    ``days`` are weekdays (Monday is 0). ``country`` and ``subdivision`` name public holidays ("US", "CA");
    ``closed`` and ``open_anyway`` are single days. ``morning`` is the time at which a business morning begins
    to count: the lists of the day before are settled by then.
    """

    zone: tzinfo
    opens: time = time(8)
    closes: time = time(17)
    morning: time = time(10)
    days: frozenset[int] = frozenset(range(5))
    country: str = ""
    subdivision: str = ""
    closed: frozenset[date] = frozenset()
    open_anyway: frozenset[date] = frozenset()
    _years: dict[int, frozenset[date]] = field(default_factory=dict, init=False, repr=False, compare=False)
    _moved: dict[tuple[datetime, int, Unit, int], datetime] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    _ends: dict[datetime, datetime] = field(default_factory=dict, init=False, repr=False, compare=False)
    _last: dict[datetime, datetime] = field(default_factory=dict, init=False, repr=False, compare=False)
    _openings: dict[date, datetime] = field(default_factory=dict, init=False, repr=False, compare=False)
    _closings: dict[date, datetime] = field(default_factory=dict, init=False, repr=False, compare=False)
    _open: dict[date, bool] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.days or not self.days <= set(range(7)):
            raise ValueError("a calendar needs at least one open weekday, named mon to sun")
        if not self.opens < self.closes:
            raise ValueError("a calendar's closing time comes after its opening time")
        self._holidays(2025)  # an unknown country is a fault now, not at the first due date

    def is_open(self, day: date) -> bool:
        """Whether people work on a day."""
        held = self._open.get(day)
        return remember(self._open, day, self._is_open(day), _MOST_MOVES) if held is None else held

    def _is_open(self, day: date) -> bool:
        if day in self.open_anyway:
            return True
        return day.weekday() in self.days and day not in self.closed and day not in self._holidays(day.year)

    def local(self, instant: datetime) -> datetime:
        """An instant on the wall clock of the source."""
        return instant.astimezone(self.zone)

    def at(self, day: date, clock: time) -> datetime:
        """A local time of a day, in UTC: the earlier of two, the later of none."""
        return datetime.combine(day, clock, self.zone).astimezone(UTC)

    def day_start(self, day: date) -> datetime:
        """The first moment of a day."""
        return self.at(day, time())

    def day_end(self, day: date) -> datetime:
        """The first moment of the day after."""
        return self.at(day + _DAY, time())

    def opening(self, day: date) -> datetime:
        """The opening time of a day, whether or not it is an open one."""
        held = self._openings.get(day)
        return remember(self._openings, day, self.at(day, self.opens), _MOST_MOVES) if held is None else held

    def closing(self, day: date) -> datetime:
        """The closing time of a day, whether or not it is an open one."""
        held = self._closings.get(day)
        return remember(self._closings, day, self.at(day, self.closes), _MOST_MOVES) if held is None else held

    def next_open(self, day: date) -> date:
        """The first open day after ``day``."""
        return self._walk(day, 1)

    def last_open(self, day: date) -> date:
        """The last open day before ``day``."""
        return self._walk(day, -1)

    def after(self, instant: datetime, by: Duration) -> datetime:
        """``instant`` plus ``by``."""
        return self._shift(instant, by, 1)

    def before(self, instant: datetime, by: Duration) -> datetime:
        """``instant`` less ``by``."""
        return self._shift(instant, by, -1)

    def forward(self, instant: datetime) -> datetime:
        """``instant``, or the opening of the next open day where it falls on a closed one."""
        day = self.local(instant).date()
        return instant if _far(instant) or self.is_open(day) else self.opening(self.next_open(day))

    def end_of_business_day(self, instant: datetime) -> datetime:
        """When the business day in which ``instant`` falls closes; from closing time on that is the next one's."""
        held = self._ends.get(instant)
        if held is None:
            held = remember(self._ends, instant, self._end_of_business_day(instant), _MOST_MOVES)
        return held

    def last_closing(self, instant: datetime) -> datetime:
        """The closing of ``instant``'s day, or of the last open day before it where it falls on a closed one."""
        held = self._last.get(instant)
        if held is None:
            held = remember(self._last, instant, self._last_closing(instant), _MOST_MOVES)
        return held

    def _last_closing(self, instant: datetime) -> datetime:
        if _far(instant):
            return instant
        day = self.local(instant).date()
        return self.closing(day if self.is_open(day) else self.last_open(day))

    def _end_of_business_day(self, instant: datetime) -> datetime:
        if _far(instant):
            return instant
        day = self.local(instant).date()
        still_open = self.is_open(day) and instant < self.closing(day)
        return self.closing(day if still_open else self.next_open(day))

    def _shift(self, instant: datetime, by: Duration, sign: int) -> datetime:
        """Remembered: the looks of one pass move the same moments (now, go-live) for every rule and person."""
        if instant.tzinfo is not UTC:
            instant = instant.astimezone(UTC)
        key = (instant, by.count, by.unit, sign)
        held = self._moved.get(key)
        if held is None:
            held = remember(self._moved, key, self._shifted(instant, by, sign), _MOST_MOVES)
        return held

    def _shifted(self, instant: datetime, by: Duration, sign: int) -> datetime:
        if _far(instant):
            return instant
        match by.unit:
            case Unit.MINUTES:
                return instant + sign * timedelta(minutes=by.count)
            case Unit.HOURS:
                return instant + sign * timedelta(hours=by.count)
            case Unit.DAYS | Unit.WEEKS:
                return self._days(instant, sign * by.count * (7 if by.unit is Unit.WEEKS else 1))
            case Unit.MONTHS:
                return self._months(instant, sign * by.count)
            case Unit.BUSINESS_HOURS:
                return self._business_hours(instant, by.count, sign)
            case Unit.BUSINESS_DAYS:
                return self._business_days(instant, by.count, sign)
        return self._mornings(instant, by.count, sign)

    def _days(self, instant: datetime, count: int) -> datetime:
        local = self.local(instant)
        return self.at(_clamped(local.date(), count), local.time())

    def _months(self, instant: datetime, count: int) -> datetime:
        local = self.local(instant)
        number = local.year * 12 + local.month - 1 + count
        year, month = divmod(number, 12)
        day = min(local.day, months.monthrange(year, month + 1)[1])
        return self.at(date(year, month + 1, day), local.time())

    def _within(self, instant: datetime, sign: int) -> datetime:
        """The nearest business moment at or after (before) ``instant``."""
        day = self.local(instant).date()
        if self.is_open(day):
            opening, closing = self.opening(day), self.closing(day)
            if sign > 0 and instant <= closing:
                return max(instant, opening)
            if sign < 0 and instant >= opening:
                return min(instant, closing)
        return self.opening(self.next_open(day)) if sign > 0 else self.closing(self.last_open(day))

    def _business_days(self, instant: datetime, count: int, sign: int) -> datetime:
        local = self.local(self._within(instant, sign))
        day = local.date()
        for _ in range(count):
            day = self._walk(day, sign)
        return self.at(day, local.time())

    def _business_hours(self, instant: datetime, count: int, sign: int) -> datetime:
        left, place = timedelta(hours=count), self._within(instant, sign)
        while True:
            day = self.local(place).date()
            room = self.closing(day) - place if sign > 0 else place - self.opening(day)
            if left <= room:
                return place + sign * left
            left -= room
            day = self._walk(day, sign)
            place = self.opening(day) if sign > 0 else self.closing(day)

    def _mornings(self, instant: datetime, count: int, sign: int) -> datetime:
        day = self.local(instant).date()
        for _ in range(count):
            day = self._walk(day, sign)
        return self.at(day, self.morning) if count else instant

    def _walk(self, day: date, step: int) -> date:
        for _ in range(400):
            day += step * _DAY
            if self.is_open(day):
                return day
        return day  # a calendar closed for a year is a mistake that must not hang a look

    def _holidays(self, year: int) -> frozenset[date]:
        if not self.country:
            return frozenset()
        found = self._years.get(year)
        if found is None:
            found = frozenset(_public_holidays(self.country, self.subdivision, year))
            self._years[year] = found
        return found


def _public_holidays(country: str, subdivision: str, year: int) -> list[date]:
    try:
        return list(holidays.country_holidays(country, subdiv=subdivision or None, years=year, expand=False))
    except (NotImplementedError, KeyError):
        where = f"{country}-{subdivision}" if subdivision else country
        raise ValueError(f"no public holidays are known for {where}") from None


def _far(instant: datetime) -> bool:
    return not _FIRST < instant.year < _LAST


def _clamped(day: date, count: int) -> date:
    return day + timedelta(days=max(-200_000, min(200_000, count)))


HOLIDAYS_VERSION = str(getattr(holidays, "__version__", ""))


def calendar_of(source: SourceFacts) -> Calendar:
    """The calendar of a source, built once for each set of settings."""
    settings = source.calendar
    if not settings:
        return _plain(source.zone)
    return _configured(source.zone, tuple(sorted((name, _frozen(value)) for name, value in settings.items())))


def build_calendar(zone: tzinfo, settings: Mapping[str, Any]) -> Calendar:
    """A calendar from a source's settings.

    ``{opens: "08:00", closes: "17:00", morning: "10:00", days: [mon, tue], holidays: US, subdivision: CA,
    closed: ["2025-12-26"], open: ["2025-12-27"]}``, all optional.

    Raises:
        ValueError: with a sentence that names the setting.
    """
    unknown = set(settings) - {
        "opens",
        "closes",
        "morning",
        "days",
        "holidays",
        "subdivision",
        "closed",
        "open",
    }
    if unknown:
        raise ValueError(f"a calendar has no setting {min(unknown)!r}")
    return Calendar(
        zone,
        opens=_time(settings, "opens", time(8)),
        closes=_time(settings, "closes", time(17)),
        morning=_time(settings, "morning", time(10)),
        days=_weekdays(settings.get("days", WEEKDAYS[:5])),
        country=str(settings.get("holidays") or ""),
        subdivision=str(settings.get("subdivision") or ""),
        closed=_dates(settings.get("closed", ())),
        open_anyway=_dates(settings.get("open", ())),
    )


@lru_cache(maxsize=64)
def _plain(zone: tzinfo) -> Calendar:
    return Calendar(zone)


@lru_cache(maxsize=64)
def _configured(zone: tzinfo, settings: tuple[tuple[str, Any], ...]) -> Calendar:
    return build_calendar(zone, dict(settings))


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list | set | frozenset) else value


def _time(settings: Mapping[str, Any], name: str, default: time) -> time:
    value = settings.get(name, default)
    if isinstance(value, time):
        return value
    try:
        return time.fromisoformat(str(value))
    except ValueError:
        raise ValueError(f"{name} is no time of day such as 08:00") from None


def _weekdays(names: Any) -> frozenset[int]:
    try:
        return frozenset(WEEKDAYS.index(str(name).lower()[:3]) for name in names)
    except ValueError:
        raise ValueError("days are named mon, tue, wed, thu, fri, sat, sun") from None


def _dates(values: Any) -> frozenset[date]:
    try:
        return frozenset(v if isinstance(v, date) else date.fromisoformat(str(v)) for v in values)
    except ValueError:
        raise ValueError("closed and open hold days such as 2025-12-26") from None

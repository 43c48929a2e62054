"""A wall calendar of the United States, made by hand: business days and hours as people count them.

It shares no code with the product and no list of holidays; what it knows is what a coordinator has on her wall.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

NEW_YORK = ZoneInfo("America/New_York")
OPENS, CLOSES, MORNING = time(8), time(17), time(10)
DAY = timedelta(days=1)


@lru_cache(maxsize=16)
def holidays(year: int) -> frozenset[date]:
    """The eleven federal holidays, and the weekday on which each is kept."""
    fixed = [date(year, 1, 1), date(year, 6, 19), date(year, 7, 4), date(year, 11, 11), date(year, 12, 25)]
    fixed.append(date(year + 1, 1, 1))  # kept on 31 December where it falls on a Saturday
    moving = [
        _nth(year, 1, 0, 3),
        _nth(year, 2, 0, 3),
        _last_monday(year, 5),
        _nth(year, 9, 0, 1),
        _nth(year, 10, 0, 2),
        _nth(year, 11, 3, 4),
    ]
    kept = [day - DAY if day.weekday() == 5 else day + DAY if day.weekday() == 6 else day for day in fixed]
    return frozenset(day for day in (*fixed, *kept, *moving) if day.year == year)


def _nth(year: int, month: int, weekday: int, n: int) -> date:
    first = date(year, month, 1)
    return first + DAY * ((weekday - first.weekday()) % 7 + 7 * (n - 1))


def _last_monday(year: int, month: int) -> date:
    last = date(year, month + 1, 1) - DAY
    return last - DAY * last.weekday()


def works(day: date) -> bool:
    return day.weekday() < 5 and day not in holidays(day.year)


def on(day: date, clock: time) -> datetime:
    return datetime.combine(day, clock, NEW_YORK).astimezone(UTC)


def local(at: datetime) -> datetime:
    return at.astimezone(NEW_YORK)


def next_day(day: date) -> date:
    day += DAY
    while not works(day):
        day += DAY
    return day


def day_before(day: date) -> date:
    day -= DAY
    while not works(day):
        day -= DAY
    return day


def begin(at: datetime) -> datetime:
    """The moment from which business time counts."""
    day = local(at).date()
    if works(day) and at <= on(day, CLOSES):
        return max(at, on(day, OPENS))
    return on(next_day(day), OPENS)


def add_days(at: datetime, count: int) -> datetime:
    """So many business days later, at the same time on the wall."""
    clock = local(begin(at))
    day = clock.date()
    for _ in range(count):
        day = next_day(day)
    return on(day, clock.time())


def add_hours(at: datetime, count: int) -> datetime:
    """So many hours of work later, minute by minute."""
    at, left = begin(at), count * 60
    while left:
        at = begin(at)
        day = local(at).date()
        step = min(left, int((on(day, CLOSES) - at).total_seconds() // 60))
        if step == 0:
            at = on(next_day(day), OPENS)
        else:
            at, left = at + timedelta(minutes=step), left - step
    return at


def morning_after(at: datetime) -> datetime:
    """The next business morning, when the lists of the day before are settled."""
    return on(next_day(local(at).date()), MORNING)


def closing_of(at: datetime) -> datetime:
    """The closing of that day, or of the last open one before it."""
    day = local(at).date()
    return on(day if works(day) else day_before(day), CLOSES)


def end_of_day(at: datetime) -> datetime:
    """When the business day that counts at that moment closes."""
    day = local(at).date()
    return on(day if works(day) and at < on(day, CLOSES) else next_day(day), CLOSES)

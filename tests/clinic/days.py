"""Working days of the simulated clinic by number, and the moments in them."""

from __future__ import annotations

from bisect import bisect_right
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

ZONE = ZoneInfo("America/New_York")
LIVE = date(2026, 3, 2)  # a Monday


class Days:
    """Day 0 begins the history; day ``history`` is the first one with Baton."""

    def __init__(self, history: int, live: int, after: int = 200) -> None:
        self.history, self.live = history, live
        self._dates = [_working(LIVE, number) for number in range(-history, live + after)]
        self._midnights = [datetime.combine(day, time(), ZONE).astimezone(UTC) for day in self._dates]

    @property
    def last(self) -> int:
        """The number of the last day that there is, far after the end of the simulation."""
        return len(self._dates) - 1

    def at(self, day: int, hour: float) -> datetime:
        """A moment by the clinic's own clock: ``hour`` 13.5 is half past one."""
        return self._midnights[min(day, self.last)] + timedelta(hours=hour)

    def date(self, day: int) -> date:
        """The date of a working day."""
        return self._dates[day]

    def of(self, at: datetime) -> int:
        """The working day in or after which a moment lies."""
        return bisect_right(self._midnights, at) - 1

    def number(self, day: date) -> int:
        """The number of the working day on or before a date, from the first with Baton."""
        return bisect_right(self._dates, day) - 1 - self.history


def _working(start: date, number: int) -> date:
    weeks, rest = divmod(number, 5)
    return start + timedelta(weeks=weeks, days=rest)


def text(at: datetime) -> str:
    """An instant as FHIR writes it."""
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")

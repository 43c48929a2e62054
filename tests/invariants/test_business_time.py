"""The product's business time against a calendar made by hand, over years with leap days and changes of the clock."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapter.mapping.calendar import Calendar
from adapter.mapping.durations import Duration, Unit
from tests.invariants import wall

US = Calendar(wall.NEW_YORK, country="US")
MINUTES = 5 * 366 * 24 * 60
instants = st.integers(0, MINUTES).map(lambda m: datetime(2024, 1, 1, tzinfo=UTC) + timedelta(minutes=m))
CHANGES = [
    date(2024, 3, 10),
    date(2024, 11, 3),
    date(2028, 2, 29),
    date(2026, 3, 8),
    date(2026, 11, 1),
    date(2027, 1, 1),
]
near_changes = st.builds(
    lambda day, minutes: datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(minutes=minutes),
    st.sampled_from(CHANGES),
    st.integers(-4 * 24 * 60, 4 * 24 * 60),
)


@settings(max_examples=300)
@given(instants | near_changes, st.integers(0, 25))
def test_days_and_hours_as_the_calendar_on_the_wall_counts_them(at: datetime, count: int) -> None:
    assert US.after(at, Duration(count, Unit.BUSINESS_DAYS)) == wall.add_days(at, count)
    assert US.after(at, Duration(count, Unit.BUSINESS_HOURS)) == wall.add_hours(at, count)
    assert US.last_closing(at) == wall.closing_of(at)
    assert US.end_of_business_day(at) == wall.end_of_day(at)
    if count:
        assert US.after(at, Duration(1, Unit.BUSINESS_MORNINGS)) == wall.morning_after(at)


@pytest.mark.parametrize("year", range(2024, 2031))
def test_the_holidays_on_the_wall_are_those_of_the_calendar(year: int) -> None:
    days = [
        date(year, 1, 1) + timedelta(days=n)
        for n in range(366)
        if (date(year, 1, 1) + timedelta(days=n)).year == year
    ]
    assert [day for day in days if US.is_open(day) != wall.works(day)] == []


@pytest.mark.parametrize(
    ("start", "unit", "count", "end"),
    [
        ("2026-03-06T16:00", Unit.BUSINESS_HOURS, 2, "2026-03-09T09:00"),  # the night that lacks an hour
        ("2026-10-30T16:00", Unit.BUSINESS_HOURS, 2, "2026-11-02T09:00"),  # the night that has one more
        ("2026-10-31T22:00", Unit.HOURS, 4, "2026-11-01T01:00"),  # the second 01:00
        ("2026-03-07T22:00", Unit.HOURS, 4, "2026-03-08T03:00"),
        ("2028-02-28T10:00", Unit.BUSINESS_DAYS, 2, "2028-03-01T10:00"),  # over a leap day
        ("2028-02-29T10:00", Unit.MONTHS, 12, "2029-02-28T10:00"),
        ("2026-12-24T10:00", Unit.BUSINESS_DAYS, 5, "2027-01-04T10:00"),  # Christmas, a weekend, New Year
        ("2026-07-02T16:00", Unit.BUSINESS_HOURS, 2, "2026-07-06T09:00"),  # the Fourth is kept on the third
    ],
)
def test_named_days(start: str, unit: Unit, count: int, end: str) -> None:
    begun = datetime.fromisoformat(start).replace(tzinfo=wall.NEW_YORK)
    found = US.after(begun, Duration(count, unit)).astimezone(wall.NEW_YORK)
    assert found.strftime("%Y-%m-%dT%H:%M") == end

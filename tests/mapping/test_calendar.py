"""Business time, days and hours, across changes of the clock."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.mapping.calendar import Calendar, build_calendar, calendar_of
from adapter.mapping.durations import Duration, Unit, parse_duration
from adapter.model import SourceFacts

NEW_YORK = ZoneInfo("America/New_York")
PLAIN = Calendar(NEW_YORK)
US = Calendar(NEW_YORK, country="US")
BUSINESS = [Unit.BUSINESS_DAYS, Unit.BUSINESS_HOURS, Unit.BUSINESS_MORNINGS]
MINUTES = 10 * 366 * 24 * 60
instants = st.integers(0, MINUTES).map(lambda m: datetime(2020, 1, 1, tzinfo=UTC) + timedelta(minutes=m))


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=NEW_YORK)


def days(count: int) -> Duration:
    return Duration(count, Unit.BUSINESS_DAYS)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("30m", "30 minutes"),
        ("4h", "4 hours"),
        ("0h", "0 hours"),
        ("2d", "2 days"),
        ("14 days", "14 days"),
        ("1 business day", "1 business days"),
        ("1 business morning", "1 business mornings"),
        ("4 business hours", "4 business hours"),
        ("2 months", "2 months"),
        ("3 weeks", "3 weeks"),
    ],
)
def test_durations_are_read(text: str, said: str) -> None:
    assert str(parse_duration(text)) == said


@pytest.mark.parametrize(
    "text", ["", "3", "days", "-2 days", "1.5 hours", "3 business weeks", "3 mornings", "3 fortnights"]
)
def test_nonsense_is_no_duration(text: str) -> None:
    assert parse_duration(text) is None


@pytest.mark.parametrize(
    ("start", "count", "end"),
    [
        ("2025-12-01T10:00", 1, "2025-12-02T10:00"),
        ("2025-12-05T10:00", 1, "2025-12-08T10:00"),
        ("2025-12-06T10:00", 1, "2025-12-09T08:00"),  # Saturday counts from Monday's opening
        ("2025-12-05T20:00", 1, "2025-12-09T08:00"),  # Friday night, too
        ("2025-12-01T06:00", 2, "2025-12-03T08:00"),
        ("2024-02-28T10:00", 1, "2024-02-29T10:00"),
        ("2025-03-07T10:00", 1, "2025-03-10T10:00"),  # the clock goes forward on Sunday
        ("2025-12-01T10:00", 0, "2025-12-01T10:00"),
    ],
)
def test_business_days_are_added(start: str, count: int, end: str) -> None:
    assert PLAIN.after(at(start), days(count)) == at(end)


@pytest.mark.parametrize(
    ("start", "count", "end"),
    [
        ("2025-12-11T14:00", 2, "2025-12-09T14:00"),
        ("2025-12-08T14:00", 1, "2025-12-05T14:00"),
        ("2025-12-06T14:00", 1, "2025-12-04T17:00"),  # Saturday counts from Friday's closing
        ("2025-12-08T07:00", 1, "2025-12-04T17:00"),
    ],
)
def test_business_days_are_subtracted(start: str, count: int, end: str) -> None:
    assert PLAIN.before(at(start), days(count)) == at(end)


def test_holidays_are_closed() -> None:
    assert US.after(at("2025-11-26T10:00"), days(1)) == at("2025-11-28T10:00")
    assert not US.is_open(date(2025, 12, 25))
    assert PLAIN.is_open(date(2025, 12, 25))


def test_business_hours_run_within_opening_hours() -> None:
    four = Duration(4, Unit.BUSINESS_HOURS)
    assert PLAIN.after(at("2025-12-01T15:00"), four) == at("2025-12-02T10:00")
    assert PLAIN.after(at("2025-12-05T15:00"), four) == at("2025-12-08T10:00")
    assert PLAIN.before(at("2025-12-08T10:00"), four) == at("2025-12-05T15:00")
    assert PLAIN.after(at("2025-12-01T08:00"), Duration(9, Unit.BUSINESS_HOURS)) == at("2025-12-01T17:00")


def test_a_business_morning_is_the_next_one() -> None:
    one = Duration(1, Unit.BUSINESS_MORNINGS)
    assert PLAIN.after(at("2025-12-01T08:30"), one) == at("2025-12-02T10:00")
    assert PLAIN.after(at("2025-12-05T14:00"), one) == at("2025-12-08T10:00")


def test_hours_pass_in_utc_and_days_in_local_dates() -> None:
    before_change = at("2025-11-01T23:30")
    assert PLAIN.after(before_change, Duration(4, Unit.HOURS)) - before_change == timedelta(hours=4)
    assert PLAIN.after(before_change, Duration(1, Unit.DAYS)) - before_change == timedelta(hours=25)


def test_a_time_that_comes_twice_is_the_earlier_and_a_missing_one_the_later() -> None:
    twice = PLAIN.after(at("2025-11-01T01:30"), Duration(1, Unit.DAYS))
    assert twice == datetime(2025, 11, 2, 5, 30, tzinfo=UTC)
    missing = PLAIN.after(at("2025-03-08T02:30"), Duration(1, Unit.DAYS))
    assert missing.astimezone(NEW_YORK).strftime("%H:%M") == "03:30"


def test_months_end_with_the_month() -> None:
    assert PLAIN.after(at("2024-01-31T10:00"), Duration(1, Unit.MONTHS)) == at("2024-02-29T10:00")
    assert PLAIN.before(at("2025-03-31T10:00"), Duration(1, Unit.MONTHS)) == at("2025-02-28T10:00")


def test_closed_days_move_due_back_and_opens_forward() -> None:
    assert PLAIN.last_closing(at("2025-12-06T10:00")) == at("2025-12-05T17:00")
    assert PLAIN.forward(at("2025-12-06T10:00")) == at("2025-12-08T08:00")
    assert PLAIN.end_of_business_day(at("2025-12-06T10:00")) == at("2025-12-08T17:00")
    assert PLAIN.end_of_business_day(at("2025-12-01T07:00")) == at("2025-12-01T17:00")
    assert PLAIN.end_of_business_day(at("2025-12-01T17:00")) == at("2025-12-02T17:00")


def test_a_sentinel_stays_what_it_is() -> None:
    far = datetime(9999, 12, 31, tzinfo=UTC)
    for unit in Unit:
        assert PLAIN.after(far, Duration(3, unit)) == far


@given(instants, instants, st.integers(0, 30), st.sampled_from(BUSINESS))
def test_business_time_keeps_order(one: datetime, other: datetime, count: int, unit: Unit) -> None:
    first, second = sorted((one, other))
    by = Duration(count, unit)
    assert US.after(first, by) <= US.after(second, by)
    assert US.before(first, by) <= US.before(second, by)


@given(instants, st.integers(1, 30), st.sampled_from(BUSINESS))
def test_after_is_later_and_before_earlier(start: datetime, count: int, unit: Unit) -> None:
    by = Duration(count, unit)
    assert US.after(start, by) > start
    assert US.before(start, by) < start
    assert US.is_open(US.local(US.after(start, by)).date())


@given(instants, st.integers(0, 20))
def test_more_days_are_later(start: datetime, count: int) -> None:
    assert US.after(start, days(count)) < US.after(start, days(count + 1))


def test_a_source_may_set_its_hours() -> None:
    source = SourceFacts(
        "s",
        "k",
        NEW_YORK,
        calendar={"opens": "07:00", "closes": "19:00", "days": ["sat", "sun"], "closed": ["2025-12-06"]},
    )
    calendar = calendar_of(source)
    assert calendar is calendar_of(source)
    assert calendar.next_open(date(2025, 12, 1)) == date(2025, 12, 7)
    assert calendar.opening(date(2025, 12, 7)) == at("2025-12-07T07:00")


@pytest.mark.parametrize(
    "settings",
    [
        {"opens": "8"},
        {"days": []},
        {"days": ["noday"]},
        {"holidays": "XX"},
        {"opens": "18:00"},
        {"hours": 3},
        {"closed": ["x"]},
    ],
)
def test_a_wrong_calendar_is_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"."):
        build_calendar(NEW_YORK, settings)

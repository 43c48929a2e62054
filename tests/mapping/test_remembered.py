"""What the calendar and the renewal remember equals what they work out anew."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from adapter.mapping.calendar import build_calendar
from adapter.mapping.durations import Duration, Unit
from adapter.mapping.renewal import _is_named

CALENDAR = build_calendar(ZoneInfo("America/New_York"), {"holidays": "US"})
MOMENTS = st.datetimes(
    timezones=st.just(UTC)
)  # fmt: skip


@given(MOMENTS, st.integers(0, 30), st.sampled_from(Unit), st.sampled_from([1, -1]))
def test_a_moment_is_moved_the_same_way_every_time(at: datetime, count: int, unit: Unit, sign: int) -> None:
    by = Duration(count, unit)
    move = CALENDAR.after if sign > 0 else CALENDAR.before
    assert move(at, by) == move(at, by) == CALENDAR._shifted(at, by, sign)


def test_two_calendars_share_nothing() -> None:
    at, day = datetime(2026, 3, 6, 15, tzinfo=UTC), Duration(1, Unit.BUSINESS_DAYS)
    everyday = build_calendar(UTC, {"days": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]})
    assert build_calendar(UTC, {}).after(at, day) != everyday.after(at, day)


def test_an_element_names_its_choices_and_no_other_word() -> None:
    elements = frozenset({"occurrence", "status"})
    for _ in range(2):
        assert _is_named("occurrencePeriod", elements) and _is_named("status", elements)
        assert not _is_named("occurrences", elements) and not _is_named("statusReason2", frozenset({"x"}))

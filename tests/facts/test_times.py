"""Times: zones, days, partial dates, nonsense."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.facts.times import (
    Span,
    last_instant,
    local_day,
    parse_period,
    parse_stamp,
    parse_timing,
    parse_when,
)

NEW_YORK = ZoneInfo("America/New_York")


@pytest.mark.parametrize(("text", "instant", "day_only"), [
    ("2025-12-10T14:30:00Z", "2025-12-10T14:30:00+00:00", False),
    ("2025-12-10T10:00:00-05:00", "2025-12-10T15:00:00+00:00", False),
    ("2025-12-10T10:00:00.1239999+05:30", "2025-12-10T04:30:00.123999+00:00", False),
    ("2025-12-10T10:00:00", "2025-12-10T15:00:00+00:00", False),
    ("2025-07-10T10:00", "2025-07-10T14:00:00+00:00", False),
    ("2025-12-10T24:00:00Z", "2025-12-11T00:00:00+00:00", False),
    ("2025-12-31T23:59:60Z", "2026-01-01T00:00:00+00:00", False),
    ("2025-12-10", "2025-12-10T05:00:00+00:00", True),
    ("2025-12", "2025-12-01T05:00:00+00:00", True),
    ("2025", "2025-01-01T05:00:00+00:00", True),
    (" 2025-12-10 ", "2025-12-10T05:00:00+00:00", True),
])  # fmt: skip
def test_reads_every_form(text: str, instant: str, day_only: bool) -> None:
    when = parse_when(text, NEW_YORK)
    assert when is not None
    assert when.instant == datetime.fromisoformat(instant)
    assert when.instant.utcoffset() == UTC.utcoffset(None)
    assert when.day_only is day_only
    assert when.text == text.strip()


@pytest.mark.parametrize("nonsense", [
    "", "yesterday", "2025-13-01", "2025-02-30", "2025-12-10T25:00:00Z", "2025-12-10T10:61:00Z", "0000",
    "2025-12-10T10:00:00+15:00", "9999-12-31T23:00:00-05:00", "10.12.2025", 20251210, None, [],
    {"start": 1}, True, "2025-1-1", "٢٠٢٥",
])  # fmt: skip
def test_nonsense_is_absent(nonsense: object) -> None:
    assert parse_when(nonsense, NEW_YORK) is None


@given(
    st.text(max_size=30) | st.from_regex(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d([+-]\d\d:\d\d|Z)", fullmatch=True)
)
def test_never_raises(text: str) -> None:
    when = parse_when(text, NEW_YORK)
    assert when is None or last_instant(when, NEW_YORK) >= when.instant


STAMPS = st.from_regex(
    r"20\d\d-[01]\d-[0-3]\dT[0-2]\d:[0-6]\d(:[0-6]\d(\.\d{1,7})?)?(Z|[+-]\d\d:\d\d)?", fullmatch=True
)


@given(st.one_of(STAMPS, st.text(max_size=30), st.none(), st.integers(), st.just("2025-12-31T24:00:00Z")))
def test_a_stamp_is_read_as_any_time_is(value: object) -> None:
    when = parse_when(value, UTC)
    assert parse_stamp(value) == (when.instant if when else None)


@pytest.mark.parametrize(("text", "end"), [
    ("2025-12-10", "2025-12-11T05:00:00+00:00"),
    ("2025-03-09", "2025-03-10T04:00:00+00:00"),  # a day of 23 hours
    ("2025-12", "2026-01-01T05:00:00+00:00"),
    ("2025", "2026-01-01T05:00:00+00:00"),
    ("2025-12-10T10:00:00Z", "2025-12-10T10:00:00+00:00"),
])  # fmt: skip
def test_a_day_reaches_to_the_next(text: str, end: str) -> None:
    when = parse_when(text, NEW_YORK)
    assert when is not None
    assert last_instant(when, NEW_YORK) == datetime.fromisoformat(end)


def test_the_local_day_of_a_late_evening() -> None:
    when = parse_when("2025-12-11T02:00:00Z", NEW_YORK)
    assert when is not None
    assert local_day(when, NEW_YORK).text == "2025-12-10"


def test_periods_and_timings_may_be_open_or_nonsense() -> None:
    period = parse_period({"start": "2025-12-10", "end": "never"}, NEW_YORK)
    assert period.start is not None and period.end is None
    assert parse_period("odd", NEW_YORK) == Span()
    events = parse_timing({"event": ["2025-12-12", "x", "2025-12-10"]}, NEW_YORK)
    assert events.start is not None and events.start.text == "2025-12-10"
    bounds = parse_timing({"repeat": {"boundsPeriod": {"start": "2025-11"}}}, NEW_YORK)
    assert bounds.start is not None and bounds.start.text == "2025-11"
    assert parse_timing({"repeat": 3}, NEW_YORK) == Span()

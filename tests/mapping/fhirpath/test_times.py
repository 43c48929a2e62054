"""Dates and times: typed, in zones, unknown only where what was written leaves it open."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.facts.times import at, parse_when
from adapter.mapping.fhirpath import EvaluationError
from adapter.mapping.fhirpath.temporal import Moment, compare_in_zone, compare_standard
from tests.mapping.fhirpath.making import NEW_YORK, evaluate

# 2025-12-05T15:00Z, in the forms in which a time may come
SAME = [
    "2025-12-05T15:00:00Z",
    "2025-12-05T10:00:00-05:00",
    "2025-12-05T10:00:00",  # without a zone: New York
    "2025-12-05T15:00:00.000Z",
    datetime(2025, 12, 5, 15, tzinfo=UTC),
    datetime(2025, 12, 5, 10, tzinfo=NEW_YORK),
    at(datetime(2025, 12, 5, 15, tzinfo=UTC)),
    parse_when("2025-12-05T10:00:00", NEW_YORK),
]


@pytest.mark.parametrize("left", SAME)
@pytest.mark.parametrize("right", SAME)
def test_one_instant_in_every_form_is_one_instant(left: Any, right: Any) -> None:
    for text, expected in [("%a = %b", True), ("%a <= %b", True), ("%a < %b", False), ("%a in %b", True)]:
        assert evaluate(text, a=left, b=right).truth is expected, text
    assert evaluate("%a < %b + 1 minute", a=left, b=right).truth is True


def test_instants_compare_as_instants_not_as_letters() -> None:
    texts = {"a": "2025-12-05T14:30:00Z", "b": "2025-12-05T10:00:00-05:00"}
    assert evaluate("%a <= %b", **texts).truth is True
    assert evaluate("%a > %b", **texts).truth is False


@pytest.mark.parametrize(
    ("left", "op", "right", "told"),
    [
        ("2025-12-05", "<", "2025-12-06T00:00:00-05:00", True),
        ("2025-12-05", "<", "2025-12-05T12:00:00-05:00", None),
        ("2025-12-05", "=", "2025-12-05T12:00:00-05:00", None),
        ("2025-12-05", "=", "2025-12-06T12:00:00-05:00", False),
        ("2025-12-05", "<=", "2025-12-05T23:59:59.999999-05:00", True),
        ("2025-12-05", ">=", "2025-12-05T00:00:00-05:00", True),
        ("2025-12-05", ">", "2025-12-05T04:59:59Z", True),  # still the fourth in New York
        ("2025-12-05", "=", "2025-12-05", True),
        ("2025-12-05", "<=", "2025-12-05", True),
        ("2025-12", "<", "2026-01-01", True),
        ("2025-12", "<", "2025-12-31", None),
        ("2025", "<", "2026-01", True),
    ],
)
def test_a_day_against_an_instant_is_unknown_unless_the_day_decides(
    left: str, op: str, right: str, told: bool | None
) -> None:
    assert evaluate(f"%a {op} %b", a=left, b=right).truth is told
    typed = {"a": parse_when(left, NEW_YORK), "b": parse_when(right, NEW_YORK)}
    assert evaluate(f"%a {op} %b", **typed).truth is told
    assert (
        evaluate(f"%a {op} @{right}", a=date.fromisoformat(left) if len(left) == 10 else left).truth is told
    )


def test_only_whole_texts_are_times() -> None:
    assert evaluate("%a = '2106-3'", a=["2106-3"]).truth is True
    assert evaluate("%a = %b", a="1234", b="1234-05").truth is False
    assert evaluate("%a < %b", a="b", b="c").truth is True
    with pytest.raises(EvaluationError):
        evaluate("%a < %b", a="soon", b=datetime(2025, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("%end + 7 days", "2025-11-05T10:00:00-04:00"),
        ("%end - 1 week", "2025-10-22T10:00:00-04:00"),
        ("%end + 36 hours", "2025-10-30T22:00:00-04:00"),
        ("@2024-01-31 + 1 month", "2024-02-29"),
        ("@2024-02-29 + 1 year", "2025-02-28"),
        ("@2014 + 24 months", "2016"),
        ("@2025-12-31 + 1 'd'", "2026-01-01"),
        ("@T23:30 + 1 hour", "00:30"),
        ("%day + 7 days", "2025-12-08"),
    ],
)
def test_arithmetic_gives_a_text_that_says_as_much_as_its_start(text: str, expected: str) -> None:
    found = evaluate(text, end="2025-10-29T10:00:00-04:00", day=parse_when("2025-12-01", NEW_YORK))
    assert found.items == [expected]


def test_arithmetic_refuses_what_is_no_span_of_time() -> None:
    for text in ("@2025-12-05 + 7", "@2025-12-05 + 1 'mo'", "@2025-12-05 - 1 'cm'", "1 - 'a'"):
        with pytest.raises(EvaluationError):
            evaluate(text)


def test_a_deadline_after_the_discharge() -> None:
    text = "%later.where(status = 'booked' and start <= %resource.period.end + 7 days).exists()"
    stay = {"resourceType": "Encounter", "period": {"end": "2025-12-01T17:00:00-05:00"}}

    def visit(start: str) -> list[dict[str, Any]]:
        return [{"status": "booked", "start": parse_when(start, NEW_YORK)}]

    assert evaluate(text, stay, later=visit("2025-12-08T22:00:00Z")).truth is True
    assert evaluate(text, stay, later=visit("2025-12-08T22:00:01Z")).truth is False
    assert evaluate(text, stay, later=visit("2025-12-08")).truth is None
    assert evaluate(text, {"period": {}}, later=visit("2025-12-08")).truth is None


INSTANTS = st.datetimes(datetime(1990, 1, 1), datetime(2050, 1, 1)).map(  # noqa: DTZ001
    lambda naive: naive.replace(microsecond=0, tzinfo=UTC)
)


@given(INSTANTS, INSTANTS)
def test_comparing_moments_is_comparing_instants(left: datetime, right: datetime) -> None:
    sign = (left > right) - (left < right)
    mine, other = Moment.at(left), Moment.at(right.astimezone(NEW_YORK))
    assert compare_in_zone(mine, other, UTC) == (sign, sign)
    assert compare_standard(mine, other) == sign


@given(INSTANTS, st.integers(-500, 500))
def test_a_moment_read_back_from_its_text_is_the_same(instant: datetime, days: int) -> None:
    moved = Moment.at(instant).plus(days, "day")
    assert Moment.of(str(moved)) == moved
    assert moved.first(UTC) == instant + timedelta(days=days)


@pytest.mark.parametrize(
    "text",
    ["2025-02-30", "2025-13", "25-01-01", "2025-01-01T25:00Z", "2025-01-01T10:00+15:00", "soon", "10:00", ""],
)
def test_nonsense_is_no_time(text: str) -> None:
    assert Moment.of(text) is None

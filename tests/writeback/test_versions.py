"""A version is its number with its stamp: a number that is given anew is another version (F18)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.model import Event, EventKind
from adapter.writeback.versions import number_in, same_version, taken_before, version_mark

AT = datetime(2026, 3, 2, 12, tzinfo=UTC)


def body(version: Any = "3", stamp: Any = "2026-03-02T12:00:00.123Z", **more: Any) -> dict[str, Any]:
    return {"resourceType": "Task", "meta": {"versionId": version, "lastUpdated": stamp}, **more}


def test_number_and_stamp() -> None:
    assert version_mark("3", body()) == "3@2026-03-02T12:00:00.123+00:00"
    assert version_mark("3", {}, AT) == "3@2026-03-02T12:00:00.000+00:00"
    assert version_mark("3", {}) == "3"
    assert version_mark(None, body()).startswith("#")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("3@2026-03-02T12:00:00.123+00:00", "3@2026-03-02T12:00:00.123+00:00", True),
        ("3@2026-03-02T12:00:00.900+00:00", "3@2026-03-02T12:00:00.000+00:00", True),  # cut to seconds
        ("3@2026-03-02T12:00:00.000+00:00", "3@2026-03-02T12:00:09.000+00:00", False),  # given anew
        ("3@2026-03-02T12:00:00.000+00:00", "4@2026-03-02T12:00:00.000+00:00", False),
        (
            "3@2026-03-02T12:00:00.000+00:00",
            "3",
            True,
        ),  # taken in by an older Baton, or an answer without meta
        ("a@b", "a@b", True),
        ("a@b", "a@c", False),
        ("", "3", False),
    ],
)
def test_same_version(one: str, other: str, same: bool) -> None:
    assert same_version(one, other) is same_version(other, one) is same


def test_what_was_taken_in_before() -> None:
    def took(mark: str) -> Event:
        return Event("b-k-1", EventKind.CONFIRMED, AT, {"seen_version": mark}, "acknowledged")

    events = [took(version_mark(str(n), {}, AT + timedelta(minutes=n))) for n in (1, 2, 3)]
    assert taken_before(version_mark("2", {}, AT + timedelta(minutes=2)), events)
    assert not taken_before(version_mark("2", {}, AT + timedelta(minutes=9)), events)
    assert not taken_before(version_mark("4", {}, AT + timedelta(minutes=9)), events)


@given(st.text(), st.one_of(st.text(), st.integers(), st.datetimes().map(lambda at: at.isoformat())))
def test_whatever_a_server_says_a_version_is_itself(version: str, stamp: Any) -> None:
    said = body(version, stamp)
    mark = version_mark(number_in(said), said)
    assert mark and same_version(mark, mark)

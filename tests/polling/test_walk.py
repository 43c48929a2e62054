"""The arithmetic of walks, without a server."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from adapter.polling.walk import (
    EARLIEST,
    SMALLEST,
    Order,
    Place,
    Query,
    Window,
    at_end,
    cap_of,
    instant,
    late_by,
    plan,
    query_digest,
    raised,
)

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
times = st.integers(0, 10**6).map(lambda s: EARLIEST + timedelta(seconds=s))


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def test_one_page_proves_no_order() -> None:
    order = Order(cap=NOW)
    assert order.page([at(-50), at(-40)]) is None
    assert order.page([at(-30)]) == at(-40)
    assert order.page([at(-35)]) is None
    assert order.page([at(-10), at(-5)]) is None


def test_newest_first_never_moves_the_watermark_even_with_one_row_a_page() -> None:
    order = Order(cap=NOW)
    assert [order.page([at(-n)]) for n in (10, 20, 30)] == [None, None, None]


def test_rows_edited_during_the_walk_are_passed_over() -> None:
    order = Order(cap=NOW)
    order.page([at(-50), at(100), at(-40)])
    assert order.page([at(-30)]) == at(-40)


def test_rows_without_stamps_end_the_order() -> None:
    order = Order(cap=NOW)
    order.page([at(-50), None])
    assert order.page([at(-30)]) is None


@given(st.lists(st.lists(times, min_size=1, max_size=4), max_size=8))
def test_nothing_older_than_a_safe_mark_is_still_to_come_if_the_rest_is_in_order(
    pages: list[list[datetime]],
) -> None:
    order = Order(cap=EARLIEST + timedelta(days=400))
    seen: list[datetime] = []
    for page in pages:
        safe = order.page(page)
        if safe is not None:
            assert seen + page == sorted(seen + page)
            assert safe <= min(page)
        seen += page


def test_the_end_is_the_lesser_of_the_newest_row_and_the_cap() -> None:
    cap = cap_of(NOW, 150)
    assert at_end(None, at(-500), cap, pass_newest=False) == at(-500)
    assert at_end(None, at(-20), cap, pass_newest=False) == cap
    assert at_end(None, at(-500), cap, pass_newest=True) == cap
    assert at_end(None, None, cap, pass_newest=True) is None
    assert at_end(at(-300), at(-500), cap, pass_newest=False) == at(-300)
    assert at_end(at(-100), at(-20), cap, pass_newest=False) == cap  # the overlap was raised: it goes back


def test_lateness_raises_the_overlap_to_twice_itself_and_at_most_an_hour() -> None:
    late = late_by(NOW, at(-200))
    assert late == timedelta(seconds=200)
    assert raised(150, late) == 400
    assert raised(150, timedelta(seconds=10)) == 150
    assert raised(150, timedelta(days=1)) == 3600
    assert late_by(None, at(-200)) == late_by(NOW, None) == late_by(NOW, at(5)) == timedelta(0)


@given(times, st.integers(2, 10**9))
def test_halves_join_without_a_gap_and_end(lo: datetime, milliseconds: int) -> None:
    window = Window(lo, lo + timedelta(milliseconds=milliseconds))
    steps = 0
    while (halves := window.halves(NOW)) is not None:
        assert halves[0].lo == window.lo
        assert halves[0].hi == halves[1].lo
        assert halves[1].hi == window.hi
        window = halves[steps % 2]
        steps += 1
    assert window.lo is not None
    assert window.hi is not None
    assert window.hi - window.lo <= SMALLEST
    assert steps < 45


def test_an_open_window_is_halved_at_what_stands_for_its_end() -> None:
    low, high = Window(at(-100), None).halves(NOW) or (None, None)
    assert low == Window(at(-100), at(-50))
    assert high == Window(at(-50), None)
    assert (Window(None, None).halves(NOW) or [Window()])[0].lo is None


def test_a_plan_begins_and_ends_open_and_is_cut_at_known_gaps() -> None:
    place = Place(gaps=[(at(-60), at(-59))])
    windows = plan(at(-100), NOW, place, 50)
    assert [(w.lo, w.hi, w.hard) for w in windows] == [
        (at(-100), at(-60), False),
        (at(-60), at(-59), True),
        (at(-59), None, False),
    ]
    assert plan(None, NOW, Place(), 50) == [Window(None, None, 50)]
    assert plan(at(-10), NOW, place, 50) == [Window(at(-10), None, 50)]


def test_a_place_comes_back_as_it_was_kept() -> None:
    place = Place(deletes=at(-5), span_s=12.5, gaps=[(at(-60), at(-59))])
    assert Place.read(place.written()) == place
    assert Place().written() is None
    assert Place.read(None) == Place()


def test_a_watermark_belongs_to_its_question() -> None:
    one = query_digest("last-updated", [("status", "active")], None)
    assert one != query_digest("last-updated", [("status", "draft")], None)
    assert one != query_digest("history", [("status", "active")], None)
    assert one != query_digest("last-updated", [("status", "active")], NOW)
    assert Query.read(str(Query(one, "e1"))) == Query(one, "e1")


def test_instants_go_out_with_milliseconds_and_z() -> None:
    assert instant(NOW + timedelta(microseconds=123_999)) == "2026-03-02T12:00:00.123Z"

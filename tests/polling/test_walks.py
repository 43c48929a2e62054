"""Walks on a sandbox with the habits of real servers (F1, F40, F42, F43, F74)."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from adapter.clock import FixedClock
from adapter.sandbox import Sandbox
from tests.polling.bench import START, Bench, Killed, order, sandbox


def load(server: Sandbox, clock: FixedClock, number: int, *, apart: float = 60) -> None:
    """Orders stamped one after the other, the last of them an hour ago."""
    for place in range(number):
        at = clock.now() - timedelta(hours=1, seconds=apart * (number - place))
        server.put(order(f"o{place:03d}", f"p{place:03d}"), at=at)


def test_a_first_load_brings_everything_and_dates_itself_by_its_beginning(bench: Bench) -> None:
    load(bench.server, bench.clock, 35)
    bench.client.before = lambda n: bench.tick(60)
    result = bench.good()
    assert (result.received, result.changed, result.pages) == (35, 35, 4)
    row = bench.ledger.walk("ehr", "ServiceRequest")
    assert row.known_at == START + timedelta(seconds=60)
    assert row.watermark == START - timedelta(hours=1, seconds=60)  # the newest row stored
    bench.same_as_server()


def test_the_query_asks_from_the_watermark_with_milliseconds_sorted_and_uncached(bench: Bench) -> None:
    load(bench.server, bench.clock, 3)
    bench.good()
    bench.server.clear_requests()
    bench.good()
    asked = bench.server.sent("GET", "ServiceRequest")[0]
    assert "_lastUpdated=ge2026-03-02T10:59:00.000Z" in asked.query
    assert "_sort=_lastUpdated%2C_id" in asked.query
    assert "_count=10" in asked.query
    assert "no-cache" in asked.headers["cache-control"]


def test_a_second_poll_changes_nothing_and_wakes_nobody(bench: Bench) -> None:
    load(bench.server, bench.clock, 25)
    bench.good()
    bench.settle_requests()
    result = bench.good()
    assert result.changed == 0
    assert not bench.causes()


def test_edits_during_a_walk_longer_than_the_overlap_are_not_lost(bench: Bench) -> None:
    """F1 (a): rows already read are edited while later pages come."""
    load(bench.server, bench.clock, 60)

    def edit(number: int) -> None:
        bench.tick(400)
        if 1 < number < 7:
            bench.server.edit(f"ServiceRequest/o{number - 2:03d}", status="revoked")
            bench.server.edit(f"ServiceRequest/o{58 - number:03d}", status="on-hold")

    bench.client.before = edit
    bench.good()
    bench.quiet()
    bench.same_as_server()


HABITS: list[dict[str, Any]] = [
    {},
    {"newest_first": True},
    {"ignore_sort": True},
    {"repeat_entries": True},
    {"reorder_entries": True},
    {"no_version_id": True},
    {"no_last_updated": True},
]


@pytest.mark.parametrize("habits", HABITS, ids=lambda h: next(iter(h), "plain"))
def test_killed_after_every_page_and_started_again_it_ends_as_a_fresh_ledger(
    habits: dict[str, Any], tmp_path: Path
) -> None:
    """F1 (b) and (c): a row in place bears a new stamp, the order is no order, the process dies."""
    for dies_before in range(2, 6):
        clock = FixedClock(START)
        with sandbox(clock, **habits) as server, closing(Bench(server, clock, tmp_path)) as bench:
            load(server, clock, 45)
            bench.open(f"{dies_before}.db")

            def disturb(number: int, bench: Bench = bench, dies: int = dies_before) -> None:
                bench.tick(200)
                bench.server.edit(f"ServiceRequest/o{(number * 17) % 45:03d}", priority="urgent", note=[])
                if number == dies:
                    raise Killed

            bench.client.before = disturb
            with pytest.raises(Killed):
                bench.poll()
            bench.open(f"{dies_before}.db")
            bench.good()
            bench.quiet()
            held = contents(bench)
            bench.open(f"{dies_before}-fresh.db")
            bench.good()
            assert held == contents(bench)
            assert len(held) == 45


def contents(bench: Bench) -> dict[str, tuple[str, str]]:
    held = bench.ledger.inventory("ehr", "ServiceRequest")
    return {one.ref: (one.state.value, one.kept_digest) for one in held}


def test_in_order_a_killed_walk_goes_on_where_it_was(bench: Bench) -> None:
    load(bench.server, bench.clock, 45)

    def die(number: int) -> None:
        if number == 4:
            raise Killed

    bench.client.before = die
    with pytest.raises(Killed):
        bench.poll()
    bench.open()
    assert bench.good().received < 45


def test_out_of_order_the_watermark_does_not_move_before_the_end(bench: Bench) -> None:
    bench.server.habits.newest_first = True
    load(bench.server, bench.clock, 45)

    def die(number: int) -> None:
        if number == 4:
            raise Killed

    bench.client.before = die
    with pytest.raises(Killed):
        bench.poll()
    assert bench.ledger.walk("ehr", "ServiceRequest").watermark is None


def test_an_expired_search_goes_on_from_how_far_it_came(bench: Bench) -> None:
    load(bench.server, bench.clock, 60)
    bench.server.habits.page_life = timedelta(seconds=100)
    bench.client.before = lambda n: bench.tick(40)
    result = bench.good()
    assert result.received < 3 * 60
    bench.quiet()
    bench.same_as_server()


def test_an_expired_search_without_order_is_halved_until_it_comes_through(bench: Bench) -> None:
    load(bench.server, bench.clock, 60)
    bench.server.habits.newest_first = True
    bench.server.habits.page_life = timedelta(seconds=100)
    bench.client.before = lambda n: bench.tick(40)
    bench.good()
    bench.quiet()
    bench.same_as_server()


def test_a_closed_window_moves_the_watermark_no_further_than_the_overlap_allows(bench: Bench) -> None:
    load(bench.server, bench.clock, 20)
    for number in range(15):
        bench.server.put(order(f"recent{number}"), at=bench.clock.now() - timedelta(seconds=100 - 6 * number))
    bench.server.habits.next_loops = True  # so that every window is closed by halving, up to now
    marks = []
    bench.client.before = lambda n: marks.append(bench.ledger.walk("ehr", "ServiceRequest").watermark)
    bench.good()
    cap = START - timedelta(seconds=150)
    assert len([mark for mark in marks if mark is not None]) > 2
    assert all(mark <= cap for mark in marks if mark is not None)


def test_pages_that_go_in_circles_are_read_in_shorter_windows(bench: Bench) -> None:
    """F74: a next link that leads to the first page again."""
    load(bench.server, bench.clock, 30)
    bench.server.habits.next_loops = True
    bench.good()
    bench.same_as_server()


def test_a_long_walk_is_cut_at_how_far_it_came(bench: Bench) -> None:
    load(bench.server, bench.clock, 95)
    bench.change(long_pages=3)
    bench.good()
    asked = [r for r in bench.server.sent("GET", "ServiceRequest") if "_lastUpdated=ge" in r.query]
    assert len(asked) >= 2
    bench.same_as_server()


def test_many_rows_of_one_instant_are_not_read_for_ever(bench: Bench) -> None:
    """F43: after a bulk import all rows bear one stamp."""
    at = bench.clock.now() - timedelta(hours=1)
    bench.server.load([order(f"o{n}", f"p{n}") for n in range(40)], at=at)
    bench.good()
    result = bench.quiet()
    assert result.received == 0
    bench.server.put(order("late", "p1"))
    assert bench.quiet().received == 1
    bench.same_as_server()


def test_a_row_that_commits_late_is_caught_by_the_overlap(bench: Bench) -> None:
    load(bench.server, bench.clock, 3)
    bench.good()
    bench.server.habits.late_commit = timedelta(seconds=100)
    bench.server.put(order("slow"))
    bench.server.habits.late_commit = timedelta(0)
    bench.tick(50)
    bench.server.put(order("quick"))
    bench.tick(1)
    bench.good()
    assert bench.ledger.snapshot("ehr", "ServiceRequest/slow") is None
    bench.tick(100)
    bench.good()
    bench.same_as_server()


def test_a_row_that_came_late_raises_the_overlap_to_twice_its_lateness(bench: Bench) -> None:
    """F42: stamped 120 s before the walk that should have shown it."""
    load(bench.server, bench.clock, 3)
    bench.good()
    bench.tick(1000)
    bench.server.put(order("quick"))
    bench.good()
    bench.tick(200)
    bench.good()
    known = bench.ledger.walk("ehr", "ServiceRequest").known_at
    assert known is not None
    bench.server.put(order("slow"), at=known - timedelta(seconds=120))
    result = bench.quiet()
    assert bench.ledger.walk("ehr", "ServiceRequest").overlap_s == 240
    assert any("120 s late" in note for note in result.notes)
    bench.same_as_server()


def test_an_answer_that_was_overtaken_is_read_by_id(bench: Bench) -> None:
    """F40: a page was asked for first and answered last; by the numbers nobody can say which is newer."""
    from adapter.polling import Reader

    bench.server.put(order("o1"))
    bench.good()
    reader, plain = Reader(bench.context), bench.client.search

    def overtaken(type: str, params: Any) -> Any:
        asked = bench.ledger.seq.next()
        bench.server.edit("ServiceRequest/o1", status="on-hold")
        reader.store(reader.look("ServiceRequest/o1").taken, "resource")
        bench.server.edit("ServiceRequest/o1", status="revoked")
        return replace(plain(type, params), sent_seq=asked)

    bench.client.search = overtaken  # type: ignore[method-assign]
    bench.poll()
    snapshot = bench.ledger.snapshot("ehr", "ServiceRequest/o1")
    assert snapshot is not None
    assert snapshot.body["status"] == "revoked"


def test_another_question_starts_anew_and_other_elements_keep_what_is_known(bench: Bench) -> None:
    from adapter.facts.keep import Keeper

    load(bench.server, bench.clock, 12)
    bench.good()
    before = bench.ledger.walk("ehr", "ServiceRequest")
    keeper = Keeper(
        {"ServiceRequest": frozenset({"note"})}, full_types=frozenset({"Task"}), bases=bench.client.bases
    )
    bench.change(keeper=keeper)
    bench.client.before = kill_at(bench, 2)
    with pytest.raises(Killed):
        bench.poll()
    assert bench.ledger.walk("ehr", "ServiceRequest").known_at == before.known_at
    bench.client.before = None
    assert bench.good().received >= 12
    bench.change(search={"ServiceRequest": (("status", "active"),)})
    bench.client.asked = 0
    bench.client.before = kill_at(bench, 2)
    with pytest.raises(Killed):
        bench.poll()
    row = bench.ledger.walk("ehr", "ServiceRequest")
    assert (row.known_at, row.bounded) == (None, True)


def kill_at(bench: Bench, number: int) -> Any:
    start = bench.client.asked

    def die(asked: int) -> None:
        if asked - start == number:
            raise Killed

    return die

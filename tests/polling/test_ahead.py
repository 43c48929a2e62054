"""The next page is asked for while the present one is stored, and nothing else about a walk is different."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest

from adapter.errors import NotFhir, ServerUnavailable
from adapter.fhir import Page
from adapter.polling import walker
from adapter.polling.ahead import Ahead
from tests.polling.bench import START, Bench, Killed, order

PAGE = Page((), None, None, 1, 2)
LATE_S = 10.0


def orders(bench: Bench, number: int = 35) -> None:
    for place in range(number):
        at = START - timedelta(days=1) + timedelta(seconds=place)
        bench.server.put(order(f"o{place:03}"), at=at)


@pytest.mark.parametrize("paging", ["token", "offset"])
def test_the_next_page_is_asked_for_while_one_is_stored(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, paging: str
) -> None:
    orders(bench)
    bench.server.habits.offset_links = paging == "offset"
    asked = [threading.Event() for _ in range(99)]
    bench.client.before = lambda number: asked[number - 1].set()
    store, stored = bench.ledger.store, [0]

    def stored_late(*given: Any, **more: Any) -> Any:
        stored[0] += 1
        if stored[0] < 4:  # of four pages the last one has none behind it
            assert asked[stored[0]].wait(LATE_S), "the next page was not asked for"
        return store(*given, **more)

    monkeypatch.setattr(bench.ledger, "store", stored_late)
    result = bench.good()
    assert (result.pages, result.changed) == (4, 35)
    assert bench.client.asked == 4, "no page was asked for twice"


@pytest.mark.parametrize("fault", [ServerUnavailable("down"), Killed()])
def test_a_fault_that_comes_early_is_raised_when_the_page_before_it_is_stored(
    bench: Bench, fault: BaseException
) -> None:
    orders(bench)

    def fail(number: int) -> None:
        if number == 3:
            raise fault

    bench.client.before = fail
    if isinstance(fault, Killed):
        with pytest.raises(Killed):
            bench.poll()
    else:
        assert not bench.poll().complete
    assert len(bench.ledger.inventory("ehr", "ServiceRequest")) == 20
    bench.client.before = None
    assert bench.good().changed == 15


@pytest.mark.parametrize(
    ("paging", "of_three"), [("token", 30), ("offset", 28)]
)  # asked anew: one row comes twice
def test_pages_that_come_at_once_are_stored_together(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, paging: str, of_three: int
) -> None:
    orders(bench, 55)
    bench.server.habits.offset_links = paging == "offset"
    monkeypatch.setattr(walker, "_SOON_S", LATE_S)
    monkeypatch.setattr(walker, "_ROWS_TOGETHER", 30)
    transaction, held = bench.ledger.transaction, list[int]()

    @contextmanager
    def counted(*, durable: bool = True) -> Iterator[None]:
        with transaction(durable=durable):
            yield
        held.append(len(bench.ledger.inventory("ehr", "ServiceRequest")))

    monkeypatch.setattr(bench.ledger, "transaction", counted)
    result = bench.good()
    assert (result.pages, result.changed) == (6, 55)
    assert held == [of_three, 55]


def test_a_kill_takes_all_pages_of_a_transaction_and_their_place(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    orders(bench)
    monkeypatch.setattr(walker, "_SOON_S", LATE_S)
    store, stored = bench.ledger.store, [0]

    def killed(*given: Any, **more: Any) -> Any:
        stored[0] += 1
        if stored[0] == 3:
            raise Killed
        return store(*given, **more)

    monkeypatch.setattr(bench.ledger, "store", killed)
    with pytest.raises(Killed):
        bench.poll()
    assert not bench.ledger.inventory("ehr", "ServiceRequest")
    assert bench.ledger.walk("ehr", "ServiceRequest").watermark is None
    monkeypatch.undo()
    assert bench.good().changed == 35


def test_a_page_that_keeps_us_waiting_lets_those_before_it_be_stored(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    orders(bench)
    first = threading.Event()
    bench.client.before = lambda number: number == 3 and assert_stored(first)
    store = bench.ledger.store

    def told(*given: Any, **more: Any) -> Any:
        try:
            return store(*given, **more)
        finally:
            first.set()

    monkeypatch.setattr(bench.ledger, "store", told)
    assert bench.good().changed == 35


def assert_stored(first: threading.Event) -> None:
    assert first.wait(LATE_S), "nothing was stored while a page was under way"


def test_no_thread_outlives_its_walk(bench: Bench) -> None:
    orders(bench)
    bench.good()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ahead")]


def test_what_was_not_asked_for_ahead_is_asked_for_now() -> None:
    ahead, made = Ahead(), []

    def request(name: str) -> Page:
        made.append(name)
        if name == "bad":
            raise NotFhir("no page")
        return PAGE

    try:
        assert ahead.answer("a", lambda: request("a")) is PAGE
        ahead.ask("bad", lambda: request("bad"))
        assert ahead.answer("b", lambda: request("b")) is PAGE, "a fault of what nobody wants is nobody's"
        ahead.ask("bad", lambda: request("bad"))
        ahead.ask("bad", lambda: request("bad"))
        with pytest.raises(NotFhir):
            ahead.answer("bad", lambda: request("bad"))
        assert ahead.answer("bad", lambda: PAGE) is PAGE, "an answer is given once"
        assert made == ["a", "bad", "b", "bad"]
    finally:
        ahead.close()

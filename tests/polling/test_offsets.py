"""Next links that count rows: a row updated while pages are read moves the rest, and none may be passed over."""

from __future__ import annotations

import pytest

from adapter.sandbox import Sandbox
from tests.polling.bench import Bench, order, patient


def _many(bench: Bench, number: int = 40) -> None:
    bench.server.put(patient())
    for n in range(number):
        bench.server.put(order(f"o{n:02}"))
        bench.tick(1)
    bench.tick(3600)


@pytest.mark.parametrize("at", range(2, 6))
def test_a_row_updated_between_two_pages_hides_no_other(bench: Bench, server: Sandbox, at: int) -> None:
    server.habits.offset_links = True
    _many(bench)

    def between(asked: int) -> None:
        if asked == at:
            server.put(order("o00", status="on-hold"))

    bench.client.before = between
    bench.good()
    bench.quiet()
    bench.same_as_server()


def test_rows_of_one_instant_are_read_by_number(bench: Bench, server: Sandbox) -> None:
    server.habits.offset_links = True
    server.put(patient())
    for n in range(25):
        server.put(order(f"o{n:02}"))
    bench.tick(3600)
    bench.good()
    bench.same_as_server()


def test_a_server_without_order_is_read_by_number(bench: Bench, server: Sandbox) -> None:
    server.habits.offset_links = True
    server.habits.newest_first = True
    _many(bench)
    bench.good()
    bench.same_as_server()

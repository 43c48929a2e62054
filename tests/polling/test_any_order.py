"""Whatever happens while pages are read: after one quiet poll the ledger holds what the server holds."""

from __future__ import annotations

import tempfile
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapter.clock import FixedClock
from tests.polling.bench import START, Bench, Killed, order, sandbox

ROWS = 14

habits = st.fixed_dictionaries(
    {},
    optional={
        "newest_first": st.booleans(),
        "ignore_sort": st.booleans(),
        "repeat_entries": st.booleans(),
        "reorder_entries": st.booleans(),
        "opaque_versions": st.booleans(),
        "page_life": st.just(timedelta(seconds=500)),
        "search_cache": st.just(timedelta(seconds=60)),
        "late_commit": st.sampled_from([timedelta(seconds=20), timedelta(seconds=100)]),
    },
)
action = st.one_of(
    st.tuples(st.just("edit"), st.integers(0, ROWS - 1)),
    st.tuples(st.just("touch"), st.integers(0, ROWS - 1)),
    st.tuples(st.just("delete"), st.integers(0, ROWS - 1)),
    st.tuples(st.just("new"), st.integers(ROWS, 2 * ROWS)),
    st.tuples(st.just("back"), st.integers(0, ROWS - 1)),
    st.tuples(st.just("wait"), st.sampled_from([1, 30, 200, 900])),
    st.tuples(st.just("repeat"), st.just(0)),
    st.tuples(st.just("kill"), st.just(0)),
)


def act(bench: Bench, kind: str, value: int) -> None:
    server, ref = bench.server, f"ServiceRequest/o{value}"
    match kind:
        case "edit" if server.get(ref):
            server.edit(ref, status="revoked" if len(server.versions(ref)) % 2 else "active")
        case "touch" if server.get(ref):
            server.edit(ref)
        case "delete" if server.get(ref):
            server.delete(ref)
        case "new":
            server.put(order(f"o{value}", f"p{value}"))
        case "back" if server.get(ref):  # stamped a little before it becomes visible (HAPI)
            server.habits.updated_back = timedelta(seconds=12)
            server.edit(ref, priority="urgent")
            server.habits.updated_back = timedelta(0)
        case "wait":
            bench.tick(value)
        case "repeat":
            server.faults.plan("repeat")
        case "kill":
            raise Killed


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(habits, st.lists(st.tuples(st.integers(0, 3), action), max_size=25), st.integers(2, 6))
def test_any_edits_in_any_order_end_as_the_server_stands(
    behaviour: dict[str, Any], script: list[tuple[int, tuple[str, int]]], page_size: int
) -> None:
    clock = FixedClock(START)
    waiting = list(script)
    with tempfile.TemporaryDirectory() as folder, sandbox(clock, **behaviour) as server:
        for number in range(ROWS):
            server.put(
                order(f"o{number}", f"p{number}"), at=START - timedelta(hours=2, minutes=ROWS - number)
            )
        clock.advance(timedelta(seconds=200))
        with closing(Bench(server, clock, Path(folder), page_size=page_size)) as bench:
            while waiting:
                _poll_under(bench, waiting)
            server.habits.late_commit = timedelta(0)
            bench.tick(200)
            bench.quiet()
            bench.same_as_server()


def _poll_under(bench: Bench, waiting: list[tuple[int, tuple[str, int]]]) -> None:
    """One poll; before each page a few of the waiting actions happen."""
    first = len(waiting)

    def disturb(asked: int) -> None:
        for _ in range(waiting[0][0] if waiting else 0):
            if waiting:
                act(bench, *waiting.pop(0)[1])

    bench.client.before = disturb
    try:
        bench.poll()
    except Killed:
        bench.open()
    bench.client.before = None
    if len(waiting) == first:
        act_outside(bench, waiting)


def act_outside(bench: Bench, waiting: list[tuple[int, tuple[str, int]]]) -> None:
    kind, value = waiting.pop(0)[1]
    if kind != "kill":
        act(bench, kind, value)

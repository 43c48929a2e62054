"""The full sweep: what no poll would ever bring is found, healed and counted; what a poll will bring is not."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from adapter.clock import FixedClock
from adapter.model import SnapshotState
from adapter.polling.sweep import Sweep, SweepReport
from adapter.sandbox import Sandbox
from tests.polling.bench import START, Bench, order, patient, sandbox


def _loaded(bench: Bench, number: int = 25) -> None:
    bench.server.put(patient())
    for n in range(number):
        bench.server.put(order(f"o{n}"))
        bench.tick(1)
    bench.tick(3600)
    bench.server.put(order("newest"))
    bench.tick(3600)
    bench.good()


def _swept(bench: Bench, type: str = "ServiceRequest") -> SweepReport:
    return Sweep(bench.context, type).run()


def test_nothing_is_missed_where_nothing_was_hidden(bench: Bench) -> None:
    _loaded(bench)
    report = _swept(bench)
    assert (report.missed, report.listed, report.complete) == (0, 26, True)
    assert report.sentence() == "ServiceRequest: 0 missed of 26"


def test_a_hidden_update_and_a_late_create_are_found_and_healed(bench: Bench, server: Sandbox) -> None:
    _loaded(bench)
    server.habits.updated_back = timedelta(hours=3)  # stamped before the watermark
    server.put(order("o3", status="revoked"))
    server.put(order("late"))
    server.habits.updated_back = timedelta(0)
    bench.tick(600)
    assert bench.good().changed == 0  # no poll sees them
    report = _swept(bench)
    assert (report.missed, report.listed) == (2, 27)
    assert report.why == {"never seen": 1, "held in another version": 1}
    bench.same_as_server()
    late = bench.ledger.snapshot("ehr", "ServiceRequest/late")
    assert late is not None and late.in_scope
    assert _swept(bench).missed == 0


def test_a_deletion_that_left_no_trace_is_found(bench: Bench, server: Sandbox) -> None:
    bench.change(capability=None)  # no history is known of
    _loaded(bench)
    server.delete("ServiceRequest/o5")
    bench.tick(600)
    bench.good()
    report = _swept(bench)
    assert (report.gone, report.missed) == (1, 0)
    held = bench.ledger.snapshot("ehr", "ServiceRequest/o5")
    assert held is not None and held.state is SnapshotState.DELETED


def test_what_the_next_poll_brings_is_not_called_missed(bench: Bench, server: Sandbox) -> None:
    _loaded(bench)
    bench.tick(600)
    server.put(order("o1", status="on-hold"))
    server.put(order("fresh"))
    report = _swept(bench)
    assert (report.missed, report.complete) == (0, True)


@given(writes=st.lists(st.integers(min_value=0, max_value=30), max_size=12))
@settings(max_examples=15, deadline=None)
def test_nothing_is_missed_under_writers(writes: list[int], tmp_path_factory: object) -> None:
    folder: Path = tmp_path_factory.mktemp("sweep")  # type: ignore[attr-defined]
    clock = FixedClock(START)
    with sandbox(clock) as server:
        bench = Bench(server, clock, folder)
        try:
            _loaded(bench)
            bench.change(page_size=5)
            steps = Sweep(bench.context, "ServiceRequest")
            pending = list(writes)
            for _ in steps.steps():
                if pending:
                    server.put(order(f"o{pending.pop()}", status="on-hold"))
                    bench.tick(1)
            assert steps.report.missed == 0
            bench.quiet()
            bench.same_as_server()
        finally:
            bench.close()


def test_a_list_that_may_be_cut_buries_nobody(bench: Bench, server: Sandbox) -> None:
    _loaded(bench)
    server.habits.empty_search = frozenset({"ServiceRequest"})
    server.habits.search_warning = "more results may exist"
    report = _swept(bench)
    assert (report.gone, report.complete) == (0, False)
    server.habits.search_warning = ""
    report = _swept(bench)  # an empty search with data behind it: each one is asked for by id
    assert (report.gone, report.missed) == (0, 0)
    bench.same_as_server()


def test_versions_that_nobody_tells_are_compared_by_stamp(bench: Bench, server: Sandbox) -> None:
    server.habits.no_version_id = True
    _loaded(bench)
    assert _swept(bench).missed == 0
    server.habits.updated_back = timedelta(hours=3)
    server.put(order("o3", status="revoked"))
    bench.tick(600)
    report = _swept(bench)
    assert report.missed == 1


def test_own_tasks_that_were_lost_are_named_and_not_buried(bench: Bench, server: Sandbox) -> None:
    task = {
        "resourceType": "Task",
        "id": "b-1",
        "identifier": [{"system": "urn:baton:n1:task", "value": "b-1"}],
        "status": "requested",
        "intent": "order",
        "for": {"reference": "Patient/p1"},
    }
    server.put(patient())
    without = server.snapshot()
    server.put(task)
    bench.tick(3600)
    bench.good("Task")
    server.restore(without)
    report = _swept(bench, "Task")
    assert (report.lost, report.gone) == (("Task/b-1",), 0)


def test_the_reason_for_an_incomplete_sweep_is_told() -> None:
    report = SweepReport("ServiceRequest", warned=True)
    assert "may not be all" in report.sentence()

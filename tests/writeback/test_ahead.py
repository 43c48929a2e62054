"""Many Tasks at once: what stands there is read ahead, and means what it means when it is read in turn."""

from __future__ import annotations

from dataclasses import replace

from adapter.model import TaskStatus
from adapter.writeback import ahead, codes
from tests.writeback.bench import NAMESPACE, Bench, task

MANY = [f"k{n}" for n in range(1, 9)]


def open_many(bench: Bench) -> None:
    for key in MANY:
        bench.open(task(key, need=f"visit-for:{key}"))


def test_every_task_of_many_is_written_once(bench: Bench) -> None:
    open_many(bench)
    bench.server.clear_requests()
    report = bench.run()
    assert report.errors == [] and report.written["Task"] == len(MANY)
    assert {bench.versions(f"Task/b-{key}-1") for key in MANY} == {1}
    asked = [(one.method, one.path) for one in bench.server.requests]
    for key in MANY:  # each write is preceded by a read of its id
        path = f"Task/b-{key}-1"
        read = next(n for n, (method, at) in enumerate(asked) if method == "GET" and at.endswith(path))
        put = next(n for n, (method, at) in enumerate(asked) if method == "PUT" and at.endswith(path))
        assert read < put
    searches = [one for one in bench.server.requests if one.method == "GET" and "identifier" in one.query]
    assert len(searches) == 1, "the needs of all are searched for in one list"


def test_a_second_writers_task_of_the_same_need_is_adopted_and_not_doubled(bench: Bench) -> None:
    bench.open(task("k3", need="visit-for:k3"))
    bench.run()
    there = bench.there("Task/b-k3-1")
    identifiers = [
        {"system": codes.need_system(NAMESPACE), "value": "k5"},
        {"system": codes.task_system(NAMESPACE), "value": "k5-2"},
    ]
    bench.server.put({**there, "id": "b-k5-2", "identifier": identifiers, "meta": {}})
    for key in MANY:
        if key != "k3":
            bench.open(task(key, need=f"visit-for:{key}"))
    bench.run()
    assert bench.server.get("Task/b-k5-1") is None, "one need, one Task"
    assert bench.ledger.task("b-k5-2") is not None
    assert bench.server.get("Task/b-k6-1") is not None


def test_a_task_that_a_person_deleted_is_not_made_again_among_many(bench: Bench) -> None:
    open_many(bench)
    bench.server.put({**bench_body(bench), "id": "b-k4-1"})
    bench.server.delete("Task/b-k4-1")
    report = bench.run()
    assert report.deleted == 1
    assert bench.server.get("Task/b-k4-1") is None
    assert bench.row("b-k4-1").gone


def bench_body(bench: Bench) -> dict[str, object]:
    return {"resourceType": "Task", "id": "x", "status": "requested", "intent": "order"}


def test_a_row_that_moved_on_since_is_read_anew(bench: Bench) -> None:
    sender = bench.delivery._sender
    row = bench.open(task())
    system = codes.need_system(NAMESPACE)
    with ahead.ReadAhead(sender, system, [row]) as reading:
        moved = replace(row, status=TaskStatus.ON_HOLD, row_version=row.row_version + 1)
        bench.server.clear_requests()
        assert reading.found(moved).answer is None
        assert bench.server.requests

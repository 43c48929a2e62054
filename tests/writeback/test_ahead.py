"""Many Tasks at once: what stands there is read ahead, and means what it means when it is read in turn."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from msgspec import structs

from adapter.errors import Rejected, ServerUnavailable
from adapter.fhirjson import loads
from adapter.model import TaskStatus
from adapter.writeback import ahead, codes
from tests.writeback.bench import NAMESPACE, Bench, task

MANY = [f"k{n}" for n in range(1, 9)]
MORE = [f"k{n}" for n in range(1, ahead.BATCH + ahead.MANY + 1)]


def open_many(bench: Bench, keys: list[str] = MANY) -> None:
    for key in keys:
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
        moved = structs.replace(row, status=TaskStatus.ON_HOLD, row_version=row.row_version + 1)
        bench.server.clear_requests()
        assert reading.found(moved).answer is None
        assert bench.server.requests


# ---- more of them: their reads go as batches ----


def asked(bench: Bench) -> list[tuple[str, str]]:
    """What was read and written, in order: ("GET" or "PUT", id); what a batch asks for is read."""
    found = []
    for one in bench.server.requests:
        kind, _, id = one.path.strip("/").rpartition("/")
        if one.method == "POST":
            found += [("GET", e["request"]["url"].removeprefix("Task/")) for e in loads(one.body)["entry"]]
        elif kind.endswith("Task"):
            found.append((one.method, id))
    return found


def batches(bench: Bench) -> int:
    return sum(1 for one in bench.server.requests if one.method == "POST")


def singles(bench: Bench) -> int:
    return sum(1 for one in bench.server.requests if one.method == "GET" and "Task/" in one.path)


def test_more_are_read_in_batches_and_each_before_its_write(bench: Bench) -> None:
    open_many(bench, MORE)
    bench.server.clear_requests()
    report = bench.run()
    assert report.errors == [] and report.written["Task"] == len(MORE)
    order = asked(bench)
    for key in MORE:
        assert order.index(("GET", f"b-{key}-1")) < order.index(("PUT", f"b-{key}-1"))
        assert bench.versions(f"Task/b-{key}-1") == 1
    assert (batches(bench), singles(bench)) == (2, 0)


def mixed(bench: Bench) -> None:
    """Tasks in every state that a read tells apart: to be made, changed, hers, deleted, lost, taken over."""
    open_many(bench, MORE[:6])
    bench.run()
    for number, key in enumerate(MORE[:6]):
        id = f"b-{key}-1"
        bench.revise(id, priority=bench.row(id).priority.__class__.URGENT)
        if number == 1:
            bench.server.put({**bench.there(f"Task/{id}"), "status": "in-progress"})
        if number == 2:
            bench.server.delete(f"Task/{id}")
    open_many(bench, MORE[6:])
    bench.server.put({**bench_body(bench), "id": f"b-{MORE[7]}-1"})
    bench.server.delete(f"Task/b-{MORE[7]}-1")
    bench.server.put({**bench_body(bench), "id": f"b-{MORE[8]}-1"})


def ended(bench: Bench) -> tuple[Any, ...]:
    """Each row and each Task, as they ended."""
    ids = [f"b-{key}-1" for key in MORE]
    there = [bench.server.get(f"Task/{id}") for id in ids]
    stamped = ("meta", "lastModified")
    bodies = [{k: v for k, v in (one or {}).items() if k not in stamped} for one in there]
    rows = [
        (row.status, row.gone, row.mine, row.seen_version.partition("@")[0]) for row in map(bench.row, ids)
    ]
    return bodies, rows, [bench.versions(f"Task/{id}") for id in ids], len(bench.ledger.outbox())


def test_batches_end_as_single_reads_do(bench: Bench, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from adapter.sandbox import Sandbox
    from tests.writeback.bench import made_bench, seed

    mixed(bench)
    bench.server.clear_requests()
    batched = bench.run()
    assert batches(bench) >= 1
    with Sandbox(clock=bench.clock) as server:
        seed(server)
        (tmp_path / "other").mkdir()
        other = made_bench(tmp_path / "other", server, bench.clock)
        mixed(other)
        monkeypatch.setattr(ahead, "MANY", 10_000)
        other.server.clear_requests()
        single = other.run()
        assert batches(other) == 0
        assert ended(bench) == ended(other)
        assert replace(batched, errors=[]) == replace(single, errors=[])


def test_a_server_that_takes_no_batch_is_asked_one_by_one_from_then_on(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[int] = []

    def refused(type: str, ids: Any) -> Any:
        tried.append(len(ids))
        raise Rejected("no batch", source="ehr")

    monkeypatch.setattr(bench.client, "read_each", refused)
    open_many(bench, MORE)
    bench.server.clear_requests()
    assert bench.run().written["Task"] == len(MORE)
    open_many(bench, [f"n{key}" for key in MORE])
    assert bench.run().written["Task"] == len(MORE)
    assert tried == [ahead.BATCH]
    assert singles(bench) == 2 * len(MORE)


def test_a_batch_that_fails_is_no_fault_and_the_next_round_tries_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failed(type: str, ids: Any) -> Any:
        raise ServerUnavailable("not now", source="ehr")

    open_many(bench, MORE)
    with monkeypatch.context() as patched:
        patched.setattr(bench.client, "read_each", failed)
        report = bench.run()
    assert report.errors == [] and report.written["Task"] == len(MORE)
    open_many(bench, [f"n{key}" for key in MORE])
    bench.server.clear_requests()
    bench.run()
    assert batches(bench) == 2


def test_what_is_new_is_read_singly_where_no_if_match_guards_it(bench: Bench) -> None:
    bench.renew(only_if_absent=False)
    open_many(bench, MORE)
    bench.server.clear_requests()
    assert bench.run().written["Task"] == len(MORE)
    assert (batches(bench), singles(bench)) == (0, len(MORE))


def test_a_server_on_which_if_match_0_creates_nothing_is_read_singly_once_that_is_known(bench: Bench) -> None:
    bench.server.habits.if_match_on_missing = "refuse"
    bench.server.habits.stale_status = 412
    open_many(bench, MORE)
    bench.server.clear_requests()
    assert bench.run().written["Task"] == len(MORE)
    order = asked(bench)
    assert batches(bench) == 1
    for number, key in enumerate(MORE):  # right before its plain PUT, a read of its own
        id = f"b-{key}-1"
        read = [place for place, one in enumerate(order) if one == ("GET", id)]
        last = max(place for place, one in enumerate(order) if one == ("PUT", id))
        assert len(read) == (2 if number < ahead.BATCH else 1)
        assert read[-1] < last
        assert bench.versions(f"Task/{id}") == 1


def test_what_a_batch_read_some_time_ago_is_read_again(bench: Bench) -> None:
    rows = [bench.open(task(key, need=f"visit-for:{key}")) for key in MORE[: ahead.MANY]]
    with ahead.ReadAhead(bench.delivery._sender, codes.need_system(NAMESPACE), rows) as reading:
        assert reading.found(rows[0]).answer is None
        bench.server.put({**bench_body(bench), "id": rows[1].id})
        bench.clock.advance(timedelta(seconds=ahead.FRESH_S + 1))
        assert reading.found(rows[1]).answer is not None


def test_a_dry_run_sends_nothing_but_get(bench: Bench) -> None:
    open_many(bench, MORE)
    bench.server.clear_requests()
    bench.run(dry_run=True)
    assert {one.method for one in bench.server.requests} == {"GET"}

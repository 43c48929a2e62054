"""One write on its way while the next is prepared: never two, none after a refusal, and none left behind."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from adapter.errors import RetryableError
from adapter.fhir import Answer
from adapter.writeback.sending import Sender, Write
from adapter.writeback.task_delivery import TaskDelivery
from tests.writeback.bench import Bench, task

MANY = [f"k{n}" for n in range(1, 9)]


def open_many(bench: Bench) -> None:
    for key in MANY:
        bench.open(task(key, need=f"visit-for:{key}"))


@pytest.fixture
def puts(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Write], None]], list[str]]:
    """Let something happen in each write on its way; the targets in their order."""

    def watch(during: Callable[[Write], None]) -> list[str]:
        sent: list[str] = []
        plain = Sender.put

        def put(self: Sender, write: Write) -> Answer:
            sent.append(write.target)
            during(write)
            return plain(self, write)

        monkeypatch.setattr(Sender, "put", put)
        return sent

    return watch


def test_never_are_two_writes_on_their_way(bench: Bench, puts: Any) -> None:
    alone = threading.Lock()
    overlaps = []

    def during(write: Write) -> None:
        overlaps.append(not alone.acquire(blocking=False))
        alone.release()

    open_many(bench)
    sent = puts(during)
    assert bench.run().written["Task"] == len(MANY)
    assert len(set(sent)) == len(sent) == len(MANY) and not any(overlaps)


def test_the_next_one_is_prepared_while_a_write_is_on_its_way(
    bench: Bench, puts: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = {key: threading.Event() for key in MANY}
    plain = TaskDelivery._rendered

    def rendered(self: TaskDelivery, *args: Any) -> dict[str, Any]:
        prepared[self.row.target.removeprefix("Task/b-").removesuffix("-1")].set()
        return plain(self, *args)

    monkeypatch.setattr(TaskDelivery, "_rendered", rendered)
    came: list[bool] = []

    def during(write: Write) -> None:
        following = MANY[len(came) + 1 : len(came) + 2]
        came.append(all(prepared[key].wait(10) for key in following))

    open_many(bench)
    puts(during)
    assert bench.run().written["Task"] == len(MANY)
    assert came == [True] * len(MANY)


def test_a_refusal_ends_the_round_before_the_next_is_sent(bench: Bench, puts: Any) -> None:
    open_many(bench)
    sent = puts(lambda write: None)
    bench.server.habits.refused = {"Task": 403}
    bench.server.habits.forbidden = frozenset()
    report = bench.run()
    assert report.refused and len(sent) <= 1
    bench.server.habits.refused = {}
    bench.delivery._sender.refused.clear()
    assert bench.run().written["Task"] == len(MANY)
    assert {bench.versions(f"Task/b-{key}-1") for key in MANY} == {1}


def test_what_is_on_its_way_when_the_service_stops_is_taken_in(
    bench: Bench, puts: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stop(BaseException):
        """The service was told to stop."""

    open_many(bench)
    sent = puts(lambda write: None)

    def sleep(seconds: float) -> None:
        if len(sent) == 2:
            raise Stop

    monkeypatch.setattr(bench.client.clock, "sleep", sleep, raising=False)
    with pytest.raises(Stop):
        bench.run()
    written = [key for key in MANY if bench.server.get(f"Task/b-{key}-1")]
    assert [key for key in MANY if bench.row(f"b-{key}-1").seen_version] == written
    monkeypatch.undo()
    bench.run()
    assert {bench.versions(f"Task/b-{key}-1") for key in MANY} == {1}


def test_one_lost_answer_among_many_is_found_again(bench: Bench, puts: Any) -> None:
    def during(write: Write) -> None:
        if write.target == "Task/b-k3-1" and not lost:
            lost.append(write.target)
            raise RetryableError("the connection was lost", source="ehr")

    lost: list[str] = []
    open_many(bench)
    puts(during)
    report = bench.run()
    assert report.failed == 1 and report.written["Task"] == len(MANY) - 1
    bench.clock.advance(timedelta(hours=2))
    bench.run()
    assert {bench.versions(f"Task/b-{key}-1") for key in MANY} == {1}

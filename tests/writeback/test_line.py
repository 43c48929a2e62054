"""Writes on their way while the next is prepared: two at most, one after a fault, none left behind.

The attempts of some are committed together before the first of them is sent; what is not sent is taken back.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from adapter.errors import RateLimited, RetryableError
from adapter.fhir import Answer
from adapter.writeback.deliver import GROUP, LINE
from adapter.writeback.identity import claim
from adapter.writeback.sending import Sender, Write
from adapter.writeback.task_delivery import TaskDelivery
from tests.writeback.bench import Bench, task

MANY = [f"k{n}" for n in range(1, 9)]


def open_many(bench: Bench) -> None:
    for key in MANY:
        bench.open(task(key, need=f"visit-for:{key}"))


def _nothing(write: Write) -> None:
    """Let a write go by."""


@pytest.fixture
def puts(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Let something happen in each write on its way, and after it; the targets in their order."""

    def watch(during: Callable[[Write], Any], after: Callable[[Write], None] = _nothing) -> list[str]:
        sent: list[str] = []
        plain = Sender.put

        def put(self: Sender, write: Write) -> Answer:
            sent.append(write.target)
            during(write)
            try:
                return plain(self, write)
            finally:
                after(write)

        monkeypatch.setattr(Sender, "put", put)
        return sent

    return watch


class Line:
    """How many writes are on their way at once; one may wait there until another has begun, or time is up."""

    def __init__(self) -> None:
        self.most: list[int] = []
        self._on_their_way: list[str] = []
        self._changed = threading.Condition()

    def begin(self, target: str, *, wait_for: int = 0, seconds: float = 10.0) -> bool:
        with self._changed:
            assert target not in self._on_their_way
            self._on_their_way.append(target)
            self.most.append(len(self._on_their_way))
            self._changed.notify_all()
            return self._changed.wait_for(lambda: len(self._on_their_way) >= wait_for, seconds)

    def end(self, target: str) -> None:
        with self._changed:
            self._on_their_way.remove(target)


def test_two_writes_are_on_their_way_once_one_has_gone_well(bench: Bench, puts: Any) -> None:
    line = Line()
    open_many(bench)
    sent = puts(
        lambda write: line.begin(write.target, wait_for=2 if len(sent) == 3 else 0),
        after=lambda write: line.end(write.target),
    )
    assert bench.run().written["Task"] == len(MANY)
    assert len(set(sent)) == len(sent) == len(MANY)
    assert line.most[0] == 1 and max(line.most) == LINE == 2


def test_nothing_is_sent_beside_the_first_write(bench: Bench, puts: Any) -> None:
    line = Line()
    beside: list[bool] = []

    def during(write: Write) -> None:  # wait a little for a second one, which must not come
        beside.append(line.begin(write.target, wait_for=0 if beside else 2, seconds=0.3))

    open_many(bench)
    puts(during, after=lambda write: line.end(write.target))
    assert bench.run().written["Task"] == len(MANY)
    assert beside == [False] + [True] * (len(MANY) - 1)


def test_after_a_fault_one_at_a_time_again(bench: Bench, puts: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def during(write: Write) -> None:
        if write.target == "Task/b-k3-1":
            raise RetryableError("the connection was lost", source="ehr")

    open_many(bench)
    seen: dict[str, int] = {}
    plain = type(bench.delivery)._take_in

    def take_in(self: Any, begun: Any, round: Any) -> bool:
        goes_on = plain(self, begun, round)
        seen[begun.row.target] = round.line
        return goes_on

    monkeypatch.setattr(type(bench.delivery), "_take_in", take_in)
    sent = puts(during)
    report = bench.run()
    assert report.failed == 1 and report.written["Task"] == len(MANY) - 1 and len(sent) == len(MANY)
    assert seen["Task/b-k3-1"] == 1
    assert seen["Task/b-k8-1"] == LINE


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
        if len(sent) >= 2:  # a thread that is slow to begin may have counted two at once
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


def test_every_attempt_is_committed_before_it_is_sent(bench: Bench, puts: Any) -> None:
    """Read by another connection, as the next start would after a kill (F15, F17)."""
    known: list[tuple[str, str]] = []

    def during(write: Write) -> None:
        row = bench.ledger.outbox_row(write.target)
        assert row is not None
        known.append((row.state, row.attempt))
        assert write.digest in bench.ledger.attempts([write.target.removeprefix("Task/")])[write.target]

    open_many(bench)
    puts(during)
    assert bench.run().errors == []
    assert [state for state, _ in known] == ["leased"] * len(MANY)


def test_one_commit_holds_the_attempts_of_some(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    plain = type(bench.ledger).begin_each

    def begin_each(self: Any, attempts: Any) -> dict[str, bool]:
        sizes.append(len(list(attempts)))
        return plain(self, attempts)

    monkeypatch.setattr(type(bench.ledger), "begin_each", begin_each)
    open_many(bench)
    bench.run()
    assert sizes == [GROUP] * (len(MANY) // GROUP)


def test_what_a_fault_keeps_from_being_sent_is_taken_back(bench: Bench, puts: Any) -> None:
    def during(write: Write) -> None:
        raise RateLimited("too soon", retry_after=5.0, source="ehr")

    open_many(bench)
    sent = puts(during)
    bench.run()
    assert len(sent) == 1
    rows = {row.target: row for row in bench.ledger.outbox()}
    assert {row.state for row in rows.values()} == {"due"} and len(rows) == len(MANY)
    assert bench.ledger.attempts([f"b-{key}-1" for key in MANY]) == {}
    unsent = [row for target, row in rows.items() if target not in sent]
    assert {row.failures for row in unsent} == {0}
    assert len(bench.ledger.due_writes("ehr", bench.clock.now())) == len(unsent)


def test_killed_between_the_commit_and_the_sending(
    bench: Bench, puts: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is taken back by who is killed: the next start waits as long as a write may be under way."""
    open_many(bench)
    sent = puts(lambda write: None)

    class Killed(BaseException):
        """kill -9: none of the ends below runs."""

    def put(self: Any, begun: Any, round: Any) -> None:
        raise Killed

    with monkeypatch.context() as dying:
        dying.setattr(type(bench.delivery), "_put", put)
        dying.setattr(type(bench.delivery), "_finish", lambda self, round: False)
        with pytest.raises(Killed):
            bench.run()
    assert sent == []
    assert [row.state for row in bench.ledger.outbox()].count("leased") == GROUP
    bench.writer = claim(
        "ehr", bench.client, bench.ledger, namespace="abcd1234", environment="test", now=bench.clock.now()
    )
    bench.renew()
    bench.run()
    assert len(sent) == len(MANY) - GROUP
    bench.clock.advance(timedelta(seconds=200))
    bench.run()
    assert {bench.versions(f"Task/b-{key}-1") for key in MANY} == {1}
    assert len(set(sent)) == len(sent) == len(MANY) and bench.ledger.outbox() == []

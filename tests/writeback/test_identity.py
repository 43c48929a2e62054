from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from adapter.clock import FixedClock
from adapter.errors import OutcomeUnknown, Unsafe
from adapter.ledger import Ledger, as_set
from adapter.model import EventKind, Priority, TaskStatus
from adapter.sandbox import Sandbox
from adapter.writeback.adopt import adopt
from adapter.writeback.deliver import Delivery, DeliverySettings
from adapter.writeback.identity import claim, draw_namespace, mark_of_device, writers
from tests.writeback.bench import (
    NAMESPACE,
    OPENED,
    ZONE,
    Bench,
    client_for,
    facts,
    made_bench,
    new_ledger,
    task,
)


def _claim(ledger: Ledger, server: Sandbox, clock: FixedClock, **more: Any) -> Any:
    client = client_for(server, ledger, clock)
    values = {"namespace": NAMESPACE, "environment": "test", "now": clock.now(), **more}
    return client, claim("ehr", client, ledger, **values)


def _mark(server: Sandbox) -> Any:
    return mark_of_device(server.all("Device")[0])


def test_first_start_writes_the_mark(bench: Bench) -> None:
    mark = _mark(bench.server)
    row = bench.ledger.source("ehr")
    assert row is not None
    assert mark.ledger == bench.ledger.ledger_id and mark.epoch == row.epoch == 1
    assert mark.incarnation == row.incarnation and row.pending == ""
    assert mark.source == "srckey" and mark.environment == "test"
    assert row.adopted
    assert [one.namespace for one in writers(bench.client)] == [NAMESPACE]


def test_a_restart_goes_on(bench: Bench, clock: FixedClock) -> None:
    _, writer = _claim(bench.ledger, bench.server, clock)
    assert writer.epoch == 2 and not writer.adopt


def test_a_kill_between_mark_and_confirmation_goes_on(bench: Bench, clock: FixedClock) -> None:
    keep = bench.ledger.save_source
    calls: list[Any] = []

    def save(row: Any) -> None:
        calls.append(row)
        if len(calls) == 2:
            raise KeyboardInterrupt
        keep(row)

    bench.ledger.save_source = save  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        _claim(bench.ledger, bench.server, clock)
    bench.ledger.save_source = keep  # type: ignore[method-assign]
    _, writer = _claim(bench.ledger, bench.server, clock)
    assert not writer.adopt


def test_lost_answer_of_the_mark(bench: Bench, clock: FixedClock) -> None:
    bench.server.faults.plan("lost-response", method="PUT", type="Device")
    _, writer = _claim(bench.ledger, bench.server, clock)
    assert _mark(bench.server).incarnation == writer.incarnation


def test_a_mark_that_is_delivered_late_is_no_other_baton(bench: Bench, clock: FixedClock) -> None:
    """A gateway lets the first start's mark through between the second's read and its write (F15)."""
    bench.server.faults.plan("late", method="PUT", type="Device", requests=2)
    with pytest.raises(OutcomeUnknown):
        _claim(bench.ledger, bench.server, clock)
    _, writer = _claim(bench.ledger, bench.server, clock)
    assert _mark(bench.server).incarnation == writer.incarnation
    assert len(bench.server.versions("Device/" + bench.server.all("Device")[0]["id"])) == 3
    writer.verify()


def test_a_mark_that_is_delivered_after_two_more_starts_is_no_other_baton(
    bench: Bench, clock: FixedClock
) -> None:
    bench.server.faults.plan("late", method="PUT", type="Device")
    bench.server.faults.plan("drop", method="PUT", type="Device")
    for _ in range(2):
        with pytest.raises(OutcomeUnknown):
            _claim(bench.ledger, bench.server, clock)
    assert bench.server.deliver_late() == 1
    _, writer = _claim(bench.ledger, bench.server, clock)
    writer.verify()
    row = bench.ledger.source("ehr")
    assert row is not None and row.pending == "" and not writer.adopt


def test_a_mark_that_a_gateway_sends_twice_is_no_other_baton(bench: Bench, clock: FixedClock) -> None:
    bench.server.faults.plan("lost-response", method="PUT", type="Device")
    send = bench.client.update
    client = client_for(bench.server, bench.ledger, clock)

    def twice(resource: Any, *, version: str) -> Any:
        with pytest.raises(OutcomeUnknown):
            send(resource, version=version)
        return send(resource, version=version)  # the gateway repeats it, and hands on the second answer

    client.update = twice  # type: ignore[method-assign]
    writer = claim("ehr", client, bench.ledger, namespace=NAMESPACE, environment="test", now=clock.now())
    assert _mark(bench.server).incarnation == writer.incarnation


def test_second_ledger_is_refused_then_adopts(bench: Bench, tmp_path: Path, clock: FixedClock) -> None:
    bench.open(task(), plan=True)
    bench.open(task(key="k2"))
    bench.open(task(key="k3"))
    bench.settle()
    bench.server.edit("Task/b-k2-1", status="in-progress", owner={"reference": "Practitioner/anna"})
    bench.revise(
        "b-k3-1", status=TaskStatus.COMPLETED, closed_by="evidence", closing=("ServiceRequest/s1@9",)
    )
    bench.settle()
    second = new_ledger(tmp_path / "second.db", clock, key="otherkey")
    with pytest.raises(Unsafe, match="another ledger"):
        _claim(second, bench.server, clock)
    client, writer = _claim(second, bench.server, clock, take_over=True)
    assert writer.adopt
    settings = DeliverySettings(facts())
    with pytest.raises(Unsafe, match="adopt"):
        Delivery(client, second, writer, settings).run(clock.now())
    report = adopt(writer, client, second, now=clock.now(), zone=ZONE)
    assert (report.tasks, report.plans, report.copies) == (3, 1, [])
    k1, k2, k3 = (second.task(f"b-{key}-1") for key in ("k1", "k2", "k3"))
    assert k1 is not None and k2 is not None and k3 is not None
    first = bench.row("b-k1-1")
    assert {k: v for k, v in as_set(k1).items() if k not in ("due", "touched_at")} == {
        k: v for k, v in as_set(first).items() if k not in ("due", "touched_at")
    }
    assert k1.due is not None and k1.due.astimezone(ZONE).date() == first.due.astimezone(ZONE).date()  # type: ignore[union-attr]
    assert k2.mine == frozenset({"status", "owner"}) and k2.started and k2.owner == "Practitioner/anna"
    assert k3.closed_by == "evidence" and k3.closing == ("ServiceRequest/s1@9",)
    assert second.plan("bp-q1-1").programme == "referral"  # type: ignore[union-attr]
    with pytest.raises(Unsafe):
        bench.ledger.want(["Task/b-k1-1"])
        bench.run()
    second.want(["Task/b-k1-1", "CarePlan/bp-q1-1"])
    assert Delivery(client, second, writer, settings).run(clock.now()).written == {"Task": 0, "CarePlan": 0}
    clock.advance(timedelta(minutes=3))
    before = bench.versions()
    quiet = Delivery(client, second, writer, settings).run(clock.now())
    assert quiet.errors == [] and quiet.unchanged == 2
    assert bench.versions() == before


def test_an_older_copy_is_refused_then_adopts_without_reviving(
    bench: Bench, tmp_path: Path, clock: FixedClock
) -> None:
    bench.open(task())
    bench.settle()
    bench.ledger.export(tmp_path / "old.db")
    _claim(bench.ledger, bench.server, clock)
    bench.writer.incarnation = _mark(bench.server).incarnation
    bench.revise("b-k1-1", status=TaskStatus.COMPLETED, closed_by="evidence")
    bench.open(task(key="k2"))
    bench.settle()
    bench.server.edit("Task/b-k2-1", status="completed")
    old = Ledger.open(tmp_path / "old.db", clock=clock)
    OPENED.append(old)
    old.want(["Task/b-k1-1"])
    with pytest.raises(Unsafe, match="older"):
        _claim(old, bench.server, clock)
    client, writer = _claim(old, bench.server, clock, take_over=True)
    assert old.outbox() == []
    adopt(writer, client, old, now=clock.now(), zone=ZONE)
    k1, k2 = old.task("b-k1-1"), old.task("b-k2-1")
    assert k1 is not None and k1.status is TaskStatus.COMPLETED and k1.closed_by == "evidence"
    assert k2 is not None and k2.status is TaskStatus.COMPLETED and k2.closed_by == "person"
    assert old.rebuild() == []


def test_a_take_over_forgets_no_wish(bench: Bench, clock: FixedClock) -> None:
    """The outbox is dropped: what was opened or ended and not sent by then is wished for again."""
    bench.open(task())
    bench.open(task("k2", need="visit-for:k2"))
    bench.settle()
    backup = bench.server.snapshot()
    _claim(bench.ledger, bench.server, clock)
    bench.open(task("k3", need="visit-for:k3"))
    bench.revise("b-k2-1", status=TaskStatus.COMPLETED, closed_by="evidence", closed_at=clock.now())
    bench.server.restore(backup)
    client, writer = _claim(bench.ledger, bench.server, clock, take_over=True)
    assert bench.ledger.outbox() == []
    adopt(writer, client, bench.ledger, now=clock.now(), zone=ZONE)
    clock.advance(timedelta(minutes=3))
    Delivery(client, bench.ledger, writer, DeliverySettings(facts())).run(clock.now())
    assert bench.there("Task/b-k3-1")["status"] == "requested"
    assert bench.there("Task/b-k2-1")["status"] == "completed"
    assert bench.versions("Task/b-k1-1") == 1, "what stands as it should is not written"


def test_restored_ehr_is_refused(bench: Bench, clock: FixedClock) -> None:
    backup = bench.server.snapshot()
    _claim(bench.ledger, bench.server, clock)
    bench.server.restore(backup)
    with pytest.raises(Unsafe, match="restored"):
        _claim(bench.ledger, bench.server, clock)
    bench.server.delete(f"Device/{bench.server.all('Device')[0]['id']}")
    _claim(bench.ledger, bench.server, clock)
    assert len(bench.server.all("Device")) == 1, "a deleted mark is made again"


def test_a_mark_that_was_lost_is_refused(bench: Bench, server: Sandbox, clock: FixedClock) -> None:
    with Sandbox(clock=clock) as empty:
        client = client_for(empty, bench.ledger, clock)
        with pytest.raises(Unsafe, match="lost"):
            claim("ehr", client, bench.ledger, namespace=NAMESPACE, environment="test", now=clock.now())


def test_environment_must_agree_even_when_taking_over(bench: Bench, clock: FixedClock) -> None:
    with pytest.raises(Unsafe, match="test"):
        _claim(bench.ledger, bench.server, clock, environment="production", take_over=True)


def test_one_ehr_is_one_source(bench: Bench, clock: FixedClock) -> None:
    from adapter.ledger import SourceRow

    bench.ledger.save_source(SourceRow(name="again", key="k-again", environment="test"))
    client = client_for(bench.server, bench.ledger, clock)
    with pytest.raises(Unsafe, match="same EHR"):
        claim("again", client, bench.ledger, namespace=NAMESPACE, environment="test", now=clock.now())


def test_a_drawn_namespace_is_refused_beside_another_baton(
    bench: Bench, tmp_path: Path, clock: FixedClock
) -> None:
    second = new_ledger(tmp_path / "second.db", clock)
    drawn = draw_namespace(second)
    assert drawn == draw_namespace(second) and len(drawn) == 16
    with pytest.raises(Unsafe, match="no namespace"):
        _claim(second, bench.server, clock, namespace=drawn, drawn=True)
    assert len(bench.server.all("Device")) == 1


def test_deleted_while_the_ledger_was_away(bench: Bench, clock: FixedClock) -> None:
    bench.open(task())
    bench.settle()
    bench.server.delete("Task/b-k1-1")
    bench.writer.adopt = True
    report = bench.adopt()
    assert report.gone == 1 and bench.row().gone
    assert bench.ledger.task_events("b-k1-1")[-1].kind is EventKind.DELETED


def test_copies_are_reported(bench: Bench) -> None:
    bench.open(task())
    bench.settle()
    copy = bench.server.duplicate("Task/b-k1-1")
    assert bench.adopt().copies == [f"Task/{copy['id']}"]


def test_adoption_reads_all_pages(bench: Bench, tmp_path: Path, clock: FixedClock) -> None:
    for number in range(230):
        bench.open(task(key=f"m{number}", priority=Priority.ROUTINE))
    bench.run()
    other = new_ledger(tmp_path / "other.db", clock)
    client, writer = _claim(other, bench.server, clock, take_over=True)
    assert adopt(writer, client, other, now=clock.now(), zone=ZONE).tasks == 230


def test_a_ledger_lost_and_made_again_ends_the_same(
    server: Sandbox, tmp_path: Path, clock: FixedClock
) -> None:
    first = made_bench(tmp_path / "one", server, clock)
    first.open(task())
    first.settle()
    first.ledger.close()
    shutil.rmtree(tmp_path / "one")
    fresh = new_ledger(tmp_path / "two.db", clock)
    client, writer = _claim(fresh, server, clock, take_over=True)
    adopt(writer, client, fresh, now=clock.now(), zone=ZONE)
    again = fresh.task("b-k1-1")
    assert again is not None and again.mine == frozenset() and again.need == "visit-for:ServiceRequest/s1"
    clock.advance(timedelta(minutes=3))
    fresh.want(["Task/b-k1-1"])
    Delivery(client, fresh, writer, DeliverySettings(facts())).run(clock.now())
    assert len(server.versions("Task/b-k1-1")) == 1

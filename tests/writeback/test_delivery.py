from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from adapter.clock import FixedClock
from adapter.errors import Unsafe
from adapter.model import EventKind, Priority, TaskStatus
from adapter.references import Bases
from adapter.sandbox import Sandbox
from adapter.writeback.identity import claim
from adapter.writeback.owners import PERSONAL, row_values, values_of
from tests.writeback.bench import ZONE, Bench, facts, made_bench, task

REF = "Task/b-k1-1"


def test_create_then_nothing(bench: Bench) -> None:
    bench.open(task(), plan=True)
    report = bench.run()
    assert report.errors == [] and report.lost == []
    assert report.written == {"Task": 1, "CarePlan": 1}
    assert bench.there()["code"]["text"] == "Schedule cardiology visit, by Fri 5 Dec"
    assert bench.row().seen_version.startswith("1@")
    assert bench.ledger.outbox() == []
    assert bench.there("CarePlan/bp-q1-1")["activity"] == [{"reference": {"reference": REF}}]
    assert bench.there()["groupIdentifier"]["value"] == "q1-1"
    bench.look()
    bench.ledger.want([REF, "CarePlan/bp-q1-1"])
    again = bench.run()
    assert again.written == {"Task": 0, "CarePlan": 0} and again.unchanged == 2
    assert bench.versions() == 1 and bench.versions("CarePlan/bp-q1-1") == 1


def test_every_write_is_preceded_by_a_read_and_is_guarded(bench: Bench) -> None:
    bench.open(task())
    bench.server.clear_requests()
    bench.run()
    asked = [(one.method, one.type) for one in bench.server.requests]
    assert asked.index(("GET", "Task")) < asked.index(("PUT", "Task"))
    assert ("GET", "Device") in asked
    bench.revise("b-k1-1", priority=Priority.URGENT)
    bench.run()
    put = bench.server.sent("PUT", "Task")[-1]
    assert put.headers["if-match"] == 'W/"1"'
    assert bench.there()["priority"] == "urgent"


def test_opened_and_closed_before_sending_sends_nothing(bench: Bench) -> None:
    bench.open(task())
    bench.revise("b-k1-1", status=TaskStatus.CANCELLED, closed_by="contrary")
    bench.server.clear_requests()
    bench.run()
    assert bench.server.sent(kind="Task") == []
    assert bench.ledger.outbox() == []


EDITS: dict[str, dict[str, Any]] = {
    "status": {"status": "in-progress"},
    "owner": {"owner": {"reference": "Practitioner/anna"}},
    "business_status": {"businessStatus": {"text": "left message"}},
    "due": {"restriction": {"period": {"end": "2025-12-09"}}},
    "notes": {"note": [{"text": "Called her sister."}]},
    "closed": {"status": "completed", "note": [{"text": "Done."}]},
    "foreign": {"extension": [{"url": "https://ehr.example/x", "valueDecimal": 1.50}]},
}


@pytest.mark.parametrize("element", EDITS)
def test_an_edit_between_read_and_put_outlives_two_revisions(bench: Bench, element: str) -> None:
    bench.open(task())
    bench.settle()
    bench.revise("b-k1-1", priority=Priority.URGENT)
    original = bench.client.update
    once = [True]

    def update(resource: Any, *, version: str) -> Any:
        if once.pop() if once else False:
            bench.server.edit(REF, **EDITS[element])
        return original(resource, version=version)

    bench.client.update = update  # type: ignore[method-assign]
    report = bench.run()
    assert report.read_back == 1 and report.written["Task"] == 0
    bench.look()
    bench.run()
    for priority in (Priority.ASAP, Priority.STAT):
        bench.revise("b-k1-1", priority=priority)
        bench.settle()
        body = bench.there()
        assert body["priority"] == priority.value
        for name, value in EDITS[element].items():
            if name == "restriction":
                assert body["restriction"]["period"]["end"] == "2025-12-09"
            else:
                assert body[name] == value
        bases = Bases(bench.server.base_url)
        assert values_of(body, bases, ZONE) == row_values(bench.row(), ZONE)
    if element == "due":
        assert bench.there()["code"]["text"].endswith("by Tue 9 Dec")
    if element == "status":
        assert bench.row().started and "status" in bench.row().mine
    if element == "closed":
        assert bench.row().closed_by == "person" and bench.row().notes == 1


def test_a_version_not_taken_in_is_never_overwritten(bench: Bench) -> None:
    bench.open(task())
    bench.settle()
    bench.server.edit(REF, status="completed")
    bench.revise("b-k1-1", priority=Priority.URGENT)
    report = bench.run()
    assert report.read_back == 1
    assert bench.there()["status"] == "completed" and bench.versions() == 2
    assert bench.look() == 1
    bench.settle()
    assert bench.there()["status"] == "completed"
    assert bench.row().status is TaskStatus.COMPLETED and bench.row().closed_by == "person"


def test_stale_save_is_restored_once_and_then_hers(bench: Bench) -> None:
    bench.open(task())
    bench.settle()
    bench.revise("b-k1-1", due=task().due - timedelta(days=2))  # type: ignore[operator]
    bench.settle()
    assert bench.there()["restriction"]["period"]["end"] == "2025-12-03"
    bench.server.save_stale(REF, "1", status="in-progress")
    bench.ledger.want([REF])
    bench.settle()
    assert bench.there()["restriction"]["period"]["end"] == "2025-12-03", "restored"
    assert bench.there()["status"] == "in-progress", "her change is kept"
    assert bench.row().mine == frozenset({"status"})
    bench.server.save_stale(REF, "1", status="in-progress")
    bench.ledger.want([REF])
    bench.settle()
    assert bench.there()["restriction"]["period"]["end"] == "2025-12-05"
    assert "due" in bench.row().mine


def test_stale_statuses_409_and_412(tmp_path: Path, server: Sandbox, clock: FixedClock) -> None:
    bench = made_bench(tmp_path, server, clock)
    for number, status in enumerate((409, 412)):
        server.habits.stale_status = status  # type: ignore[assignment]
        row = bench.open(task(key=f"n{number}"))
        bench.settle()
        bench.revise(row.id, priority=Priority.URGENT)
        original = bench.client.update
        calls = [1]

        def update(resource: Any, *, version: str, o: Any = original, c: Any = calls, r: Any = row) -> Any:
            if c and c.pop():
                server.edit(f"Task/{r.id}", businessStatus={"text": "submitted"})
            return o(resource, version=version)

        bench.client.update = update  # type: ignore[method-assign]
        bench.settle()
        assert bench.row(row.id).business_status == "submitted"
        assert server.get(f"Task/{row.id}")["priority"] == "urgent"  # type: ignore[index]
        bench.client.update = original  # type: ignore[method-assign]


def test_helios_creates_by_plain_put(tmp_path: Path, server: Sandbox, clock: FixedClock) -> None:
    server.habits.if_match_on_missing = "refuse"
    server.habits.stale_status = 412
    bench = made_bench(tmp_path, server, clock)
    bench.open(task(), plan=True)
    report = bench.run()
    assert report.written == {"Task": 1, "CarePlan": 1}, report.errors


def test_deleted_by_a_person_stays_away(bench: Bench) -> None:
    bench.open(task(), plan=True)
    bench.settle()
    bench.server.edit("CarePlan/bp-q1-1", activity=None)
    bench.server.delete(REF)
    bench.revise("b-k1-1", priority=Priority.URGENT)
    bench.settle()
    assert bench.server.get(REF) is None
    assert bench.row().gone and bench.row().closed_by == "deleted"
    bench.ledger.want([REF, "CarePlan/bp-q1-1"])
    bench.settle()
    assert bench.server.get(REF) is None
    assert "activity" not in bench.there("CarePlan/bp-q1-1")


def test_entered_in_error_and_a_taken_identifier_count_as_deletion(bench: Bench) -> None:
    bench.open(task())
    bench.open(task(key="k2"))
    bench.settle()
    bench.server.edit(REF, status="entered-in-error")
    bench.server.edit("Task/b-k2-1", identifier=None)
    bench.ledger.want([REF, "Task/b-k2-1"])
    bench.settle()
    assert bench.row().gone and bench.row("b-k2-1").gone


@pytest.mark.parametrize("closing", [False, True])
def test_lost_answer_is_ours(bench: Bench, clock: FixedClock, closing: bool) -> None:
    bench.open(task())
    if closing:
        bench.settle()
        bench.revise(
            "b-k1-1", status=TaskStatus.COMPLETED, closed_by="evidence", closing=("ServiceRequest/s1@2",)
        )
    bench.server.faults.plan("lost-response", method="PUT", type="Task")
    report = bench.run()
    assert report.unknown == 1
    versions = bench.versions()
    bench.server.clear_requests()
    assert bench.run().written["Task"] == 0
    assert bench.server.sent("PUT", "Task") == [], "nothing is sent before the longest request time is over"
    clock.advance(timedelta(seconds=151))
    bench.revise("b-k1-1", priority=Priority.URGENT)
    assert bench.run().read_back == 0, "known by the attempt: no look has to come first"
    bench.settle()
    kinds = [event.kind for event in bench.ledger.task_events("b-k1-1")]
    assert EventKind.READ_BACK not in kinds
    assert bench.row().mine == frozenset()
    assert bench.versions() == versions + 1
    assert bench.there()["priority"] == "urgent"
    assert bench.there()["status"] == bench.row().status.value


def test_late_write_does_not_take_her_work_back(bench: Bench, clock: FixedClock) -> None:
    bench.open(task())
    bench.server.faults.plan("late", method="PUT", type="Task", seconds=100)
    assert bench.run().unknown == 1
    clock.advance(timedelta(seconds=60))
    assert bench.run().written["Task"] == 0
    clock.advance(timedelta(seconds=60))
    bench.client.capability()  # what was late has arrived by now
    assert bench.versions() == 1
    bench.server.edit(REF, status="completed", note=[{"text": "done"}])
    clock.advance(timedelta(seconds=60))
    bench.settle()
    assert bench.there()["status"] == "completed"
    assert bench.row().status is TaskStatus.COMPLETED and bench.row().closed_by == "person"


def test_refused_content_is_parked_and_tried_again_when_it_changes(bench: Bench) -> None:
    bench.open(task())
    bench.server.faults.plan("status", status=422, method="PUT", type="Task")
    report = bench.run()
    assert report.parked == 1
    assert [row.state for row in bench.ledger.outbox()] == ["parked"]
    assert bench.run().written["Task"] == 0
    bench.revise("b-k1-1", priority=Priority.URGENT)
    assert bench.run().written["Task"] == 1


def test_refused_access_parks_nothing_and_ends_the_round(bench: Bench) -> None:
    bench.open(task())
    bench.open(task(key="k2"))
    bench.server.faults.plan("status", status=403, method="PUT", type="Task")
    report = bench.run()
    assert report.refused and report.parked == 0 and report.written["Task"] == 0
    assert {row.state for row in bench.ledger.outbox()} == {"due"}
    assert bench.run().written["Task"] == 2


def test_rate_limit_waits(bench: Bench, clock: FixedClock) -> None:
    bench.open(task())
    bench.server.faults.plan("rate-limit", method="PUT", type="Task", times=5, retry_after="30")
    report = bench.run()
    assert report.written["Task"] == 0 and report.parked == 0
    bench.server.faults.clear()
    clock.advance(timedelta(seconds=200))
    assert bench.run().written["Task"] == 1


def test_deleted_focus_is_looked_at_and_nothing_sent(bench: Bench) -> None:
    bench.open(task())
    bench.server.delete("ServiceRequest/s1")
    report = bench.run()
    assert report.written["Task"] == 0 and report.read_back == 1
    assert bench.server.get(REF) is None
    stone = bench.ledger.snapshot("ehr", "ServiceRequest/s1")
    assert stone is not None and stone.state.value == "deleted"
    assert bench.ledger.due_requests("ehr", bench.clock.now())


def test_a_closed_task_of_a_deleted_focus_can_still_be_written(bench: Bench) -> None:
    bench.server.habits.enforce_references_on_delete = False
    bench.open(task())
    bench.settle()
    bench.server.delete("ServiceRequest/s1")
    bench.revise("b-k1-1", status=TaskStatus.CANCELLED, closed_by="contrary")
    for _ in range(4):
        bench.run()
        bench.look()
    body = bench.there()
    assert body["status"] == "cancelled"
    assert body["focus"]["identifier"]["value"] == "ServiceRequest/s1" and "reference" not in body["focus"]


def test_evidence_that_is_gone_becomes_logical(bench: Bench) -> None:
    bench.open(task(opening=("ServiceRequest/s1@1", "Appointment/nowhere@2")))
    report = bench.run()
    assert report.written["Task"] == 1, report.errors
    values = [one.get("valueReference") for one in bench.there()["input"] if "valueReference" in one]
    assert {"reference": "ServiceRequest/s1"} in values
    assert any(one.get("identifier", {}).get("value") == "Appointment/nowhere" for one in values)


def test_a_kind_that_the_server_lacks_becomes_logical(
    tmp_path: Path, server: Sandbox, clock: FixedClock
) -> None:
    server.habits.absent = frozenset({"Coverage"})
    bench = made_bench(tmp_path, server, clock)
    bench.open(task(focus="Coverage/c1", based_on=("ServiceRequest/s1",)))
    report = bench.run()
    assert report.written["Task"] == 1, report.errors
    focus = bench.there()["focus"]
    assert focus["type"] == "Coverage" and focus["identifier"]["value"] == "Coverage/c1"
    assert bench.there()["basedOn"] == [{"reference": "ServiceRequest/s1"}]


def test_a_lossy_server_is_not_written_over_and_over(bench: Bench) -> None:
    bench.server.habits.truncate_at = 12
    bench.open(task())
    report = bench.run()
    assert report.lost
    bench.look()
    for _ in range(4):
        bench.server.touch_all("Task")
        bench.ledger.want([REF])
        bench.settle()
    assert bench.versions() == 5, "one write, four touches"


def test_the_third_rewrite_is_the_last(bench: Bench) -> None:
    bench.open(task())
    bench.settle()
    reports = []
    for _ in range(6):
        bench.server.edit(REF, description="Hers.")
        bench.ledger.want([REF])
        bench.run()
        bench.look()
        reports.append(bench.run())
    assert bench.there()["description"] == "Hers."
    assert sum(report.written["Task"] for report in reports) == 3
    assert any("again and again" in error for error in reports[-1].errors)


def test_acknowledged_and_lost_is_written_again_once(bench: Bench) -> None:
    backup = bench.server.snapshot()
    bench.open(task())
    bench.settle()
    bench.server.restore(backup)
    bench.revise("b-k1-1", priority=Priority.URGENT)
    assert bench.run().written["Task"] == 1
    assert bench.there()["priority"] == "urgent"
    bench.server.restore(backup)
    bench.revise("b-k1-1", priority=Priority.STAT)
    assert bench.run().parked == 1


def test_a_plan_does_not_wait_for_a_task_that_the_server_lost(bench: Bench) -> None:
    """A lost write is no deletion: the Task is written again at once, and the plan links it (F18)."""
    backup = bench.server.snapshot()
    bench.open(task(), plan=True)
    bench.settle()
    bench.server.restore(backup)
    bench.ledger.want(["CarePlan/bp-q1-1"])
    first = bench.run()
    assert first.parked == 0 and first.written["CarePlan"] == 1, first.errors
    bench.settle()
    assert bench.there()["status"] == "requested" and not bench.row().gone
    assert bench.there("CarePlan/bp-q1-1")["activity"] == [{"reference": {"reference": REF}}]


def test_404_without_an_outcome_says_nothing(bench: Bench) -> None:
    bench.open(task())
    bench.settle()
    bench.revise("b-k1-1", priority=Priority.URGENT)
    bench.server.habits.missing = "html"
    report = bench.run()
    assert report.written["Task"] == 0 and report.parked == 0
    assert not bench.row().gone


def test_found_although_the_ledger_does_not_know_it(bench: Bench) -> None:
    bench.open(task())
    bench.settle()
    body = bench.there()
    bench.server.put(
        {
            **body,
            "id": "b-k9-1",
            "identifier": [{"system": "urn:baton:abcd1234:task", "value": "k9-1"}],
            "status": "completed",
        }
    )
    bench.open(task(key="k9"))
    report = bench.run()
    assert report.read_back == 1 and report.written["Task"] == 0
    bench.look()
    bench.settle()
    assert bench.row("b-k9-1").status is TaskStatus.COMPLETED
    assert bench.there("Task/b-k9-1")["status"] == "completed"


def test_a_copy_is_reported_and_not_touched(bench: Bench) -> None:
    bench.open(task())
    bench.settle()
    copy = bench.server.duplicate(REF)
    bench.server.edit(f"Task/{copy['id']}", status="completed")
    bench.revise("b-k1-1", priority=Priority.URGENT)
    bench.settle()
    assert bench.there()["status"] == "requested" and bench.there()["priority"] == "urgent"
    assert bench.there(f"Task/{copy['id']}")["status"] == "completed"


def test_dry_run_sends_and_stores_nothing(bench: Bench) -> None:
    bench.open(task())
    bench.server.clear_requests()
    report = bench.run(dry_run=True)
    assert [one.method for one in bench.server.requests if one.method != "GET"] == []
    assert report.differences and "Schedule cardiology visit" in report.differences[0]
    assert bench.ledger.outbox()[0].state == "due"
    bench.settle()
    bench.revise("b-k1-1", priority=Priority.URGENT)
    said = bench.run(dry_run=True).differences
    assert "priority: routine → urgent" in said[0]


def test_plan_ended_by_a_person_is_not_written_again(bench: Bench) -> None:
    bench.open(task(), plan=True)
    bench.settle()
    bench.server.edit("CarePlan/bp-q1-1", status="revoked", title="Stopped")
    bench.ledger.want(["CarePlan/bp-q1-1"])
    bench.run()
    plan = bench.ledger.plan("bp-q1-1")
    assert plan is not None and plan.gone
    bench.ledger.want(["CarePlan/bp-q1-1"])
    bench.run()
    assert bench.there("CarePlan/bp-q1-1")["status"] == "revoked"


def test_plan_keeps_what_clinicians_add(bench: Bench) -> None:
    bench.open(task(), plan=True)
    bench.settle()
    plan = bench.there("CarePlan/bp-q1-1")
    hers = {"detail": {"status": "not-started", "description": "Walk daily"}}
    div = plan["text"]["div"].replace("</div></div>", "</div><p>Mine.</p></div>")
    bench.server.edit(
        "CarePlan/bp-q1-1",
        title="Hers",
        activity=[hers, *plan["activity"]],
        text={"status": "additional", "div": div},
    )
    bench.open(task(key="k2", priority=Priority.STAT))
    bench.settle()
    after = bench.there("CarePlan/bp-q1-1")
    assert after["title"] == "Hers" and after["activity"][0] == hers and len(after["activity"]) == 3
    assert "<p>Mine.</p>" in after["text"]["div"] and after["text"]["status"] == "additional"
    assert after["text"]["div"].count('class="baton"') == 1
    assert after["text"]["div"].count("<li>") == 2


def test_owner_by_role_stands_and_is_ours(tmp_path: Path, server: Sandbox, clock: FixedClock) -> None:
    bench = made_bench(tmp_path, server, clock)
    bench.settings = replace(bench.settings, source=facts(roles={"referral-coordinator": "CareTeam/desk"}))
    bench.renew()
    bench.open(task())
    bench.settle()
    assert bench.there()["owner"] == {"reference": "CareTeam/desk"}
    assert bench.row().owner == "CareTeam/desk" and bench.row().mine == frozenset()
    server.edit(REF, owner={"reference": "Practitioner/anna"})
    bench.ledger.want([REF])
    bench.settle()
    assert bench.row().owner == "Practitioner/anna"
    assert bench.there()["owner"] == {"reference": "Practitioner/anna"}


def test_without_a_mark_nothing_is_created(tmp_path: Path, server: Sandbox, clock: FixedClock) -> None:
    server.habits.forbidden = frozenset({("Device", "update"), ("Device", "create")})
    made = made_bench(tmp_path, server, clock)
    assert not made.writer.fenced
    made.open(task())
    report = made.run()
    assert report.parked == 1 and server.get(REF) is None


def test_person_owned_values_equal_the_row_after_every_put(bench: Bench) -> None:
    bench.open(task())
    bench.settle()
    seen: list[dict[str, Any]] = []
    original = bench.client.update

    def update(resource: Any, *, version: str) -> Any:
        row = bench.row()
        bases, mine = Bases(bench.server.base_url), row.mine
        theirs, ours = values_of(resource, bases, ZONE), row_values(row, ZONE)
        assert {n: theirs[n] for n in PERSONAL if n in mine} == {n: ours[n] for n in PERSONAL if n in mine}
        seen.append(resource)
        return original(resource, version=version)

    bench.client.update = update  # type: ignore[method-assign]
    steps: list[dict[str, Any]] = [
        {"status": "accepted"},
        {"owner": {"display": "Anna"}},
        {"businessStatus": {"coding": [{"system": "urn:x", "code": "7"}]}},
        {"restriction": {"period": {"end": "2025-12-20T10:00:00-05:00"}, "repetitions": 2}},
        {"status": "on-hold"},
        {"status": "requested"},
    ]
    for number, step in enumerate(steps):
        bench.server.edit(REF, **step)
        bench.revise("b-k1-1", priority=Priority.URGENT if number % 2 else Priority.ASAP)
        bench.settle()
    assert len(seen) == len(steps)
    assert bench.there()["restriction"]["repetitions"] == 2
    assert bench.row().mine == frozenset({"owner", "business_status", "due"})


def test_a_second_start_stops_the_first(bench: Bench, tmp_path: Path) -> None:
    bench.open(task())
    claim("ehr", bench.client, bench.ledger, namespace="abcd1234", environment="test", now=bench.clock.now())
    with pytest.raises(Unsafe):
        bench.run()
    assert bench.server.get(REF) is None


def test_an_unknown_generation_is_adopted_before_the_next(bench: Bench) -> None:
    bench.open(task())
    bench.settle()
    body = bench.there()
    new = [{"system": "urn:baton:abcd1234:task", "value": "k1-3"}, body["identifier"][1]]
    bench.server.put({**body, "id": "b-k1-3", "identifier": new, "status": "completed"})
    bench.open(task(generation=2))
    report = bench.run()
    assert report.read_back == 1 and bench.server.get("Task/b-k1-2") is None
    assert bench.row("b-k1-3").status is TaskStatus.COMPLETED
    assert bench.ledger.due_requests("ehr", bench.clock.now())


def test_without_version_numbers_her_work_is_read_and_nothing_is_overwritten(
    tmp_path: Path, server: Sandbox, clock: FixedClock
) -> None:
    server.habits.no_version_id = True
    bench = made_bench(tmp_path, server, clock)
    bench.open(task())
    bench.settle()
    server.edit(REF, status="in-progress")
    bench.ledger.want([REF])
    bench.settle()
    assert bench.row().started
    bench.revise("b-k1-1", priority=Priority.URGENT)
    assert bench.run().parked == 1, "nothing guards an update here"
    assert "no-version" in bench.ledger.outbox()[0].parked
    assert bench.there()["priority"] == "routine"


def test_opaque_versions(tmp_path: Path, server: Sandbox, clock: FixedClock) -> None:
    server.habits.opaque_versions = True
    server.habits.identical_put_makes_version = True
    bench = made_bench(tmp_path, server, clock)
    bench.open(task())
    bench.settle()
    server.edit(REF, businessStatus={"text": "submitted"})
    bench.revise("b-k1-1", priority=Priority.URGENT)
    bench.settle()
    assert bench.there()["priority"] == "urgent" and bench.row().business_status == "submitted"
    assert bench.versions() == 3


def test_unreadable_is_kept_apart_and_not_overwritten(bench: Bench) -> None:
    bench.open(task())
    bench.settle()
    bench.server.edit(REF, status=None)
    bench.revise("b-k1-1", priority=Priority.URGENT)
    bench.run()
    assert [row.res_id for row in bench.ledger.quarantine("ehr")] == ["b-k1-1"]
    assert bench.versions() == 2


def test_other_systems_and_rounding_are_not_a_person(bench: Bench) -> None:
    bench.open(task(due_is_day=False))
    original = bench.client.put_new

    def rounded(resource: Any, *, only_if_absent: bool) -> Any:
        cut = {**resource, "restriction": {"period": {"end": "2025-12-05"}}}
        return original(cut, only_if_absent=only_if_absent)

    bench.client.put_new = rounded  # type: ignore[method-assign]
    assert bench.run().lost
    bench.client.put_new = original  # type: ignore[method-assign]
    bench.server.touch_all("Task")
    bench.ledger.want([REF])
    bench.settle()
    assert bench.row().mine == frozenset() and not bench.row().due_is_day
    assert bench.versions() == 2


def test_forbidden_device_is_no_fence(tmp_path: Path, server: Sandbox, clock: FixedClock) -> None:
    server.habits.refused = {"Device": 403}
    made = made_bench(tmp_path, server, clock)
    assert not made.writer.fenced
    server.habits.refused = {}
    server.habits.absent = frozenset({"Device"})
    again = made_bench(tmp_path / "again", server, clock)
    assert not again.writer.fenced


def test_killed_between_answer_and_commit(bench: Bench, clock: FixedClock) -> None:
    bench.open(task())
    bench.settle()
    for status in (TaskStatus.ON_HOLD, TaskStatus.REQUESTED, TaskStatus.CANCELLED):
        bench.revise("b-k1-1", status=status, closed_by="contrary" if status.closed else "")
        dying = mock.patch.object(bench.ledger, "done", side_effect=KeyboardInterrupt)
        with dying, pytest.raises(KeyboardInterrupt):
            bench.run()
        bench.writer = claim(
            "ehr", bench.client, bench.ledger, namespace="abcd1234", environment="test", now=clock.now()
        )
        bench.renew()
        bench.run()
        clock.advance(timedelta(seconds=200))
        bench.settle()
        assert bench.row().status is status and bench.row().mine == frozenset()
        assert bench.there()["status"] == status.value

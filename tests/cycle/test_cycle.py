"""The whole cycle on the sandbox and on real HAPI alike: seed, sync, edit as a coordinator, sync, reconcile."""

from __future__ import annotations

from datetime import UTC
from pathlib import Path
from typing import Any

import pytest

from adapter.fhir import FhirClient
from adapter.sandbox.cohort import booking, expected, interesting
from tests.conftest import TOKEN, FhirServer
from tests.cycle.world import RUN_TAG, World


@pytest.fixture
def world(fhir_server: FhirServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("BATON_TEST_TOKEN", TOKEN)
    made = World.made(fhir_server, tmp_path)
    made.configure()
    return made


def open_task(world: World, code: str) -> dict[str, Any]:
    return next(row for row in world.tasks(all=False) if row["code"] == code)


def quiet(world: World) -> None:
    """A further pass writes nothing and changes no task."""
    report = world.sync()
    assert [s.errors for s in report.sources] == [[]]
    assert (report.writes["Task"], report.writes["CarePlan"], sum(report.tasks.values())) == (0, 0, 0)


def test_from_seeds_to_tasks_and_back(world: World) -> None:
    resources = world.seed()
    first = world.sync()
    assert [s.errors for s in first.sources] == [[]]
    wanted = {patient: set(codes) for patient, codes in expected(world.run).items() if codes}
    assert world.by_patient() == wanted

    rows, tasks, plans = world.tasks(), world.written(), world.written("CarePlan")
    assert {row["id"] for row in rows} == set(tasks)
    assert first.writes["Task"] == len(tasks) and first.writes["CarePlan"] == len(plans)
    standing = {
        activity["reference"]["reference"] for plan in plans.values() for activity in plan.get("activity", [])
    }
    assert {f"Task/{id}" for id in tasks} <= standing, "every open Task stands in its patient's CarePlan"
    assert_valid(world, [*tasks.values(), *plans.values()])
    quiet(world)

    # A coordinator finishes one task with a note; the hospital books a visit for an order.
    story = interesting(resources)
    done = next(r for r in rows if r["focus"] == story.finish and r["code"] == story.finish_rule)
    world.edit(f"Task/{done['id']}", status="completed", note=[{"text": "Called, all settled."}])
    booked = next(r for r in rows if r["focus"] == story.book and r["code"] == story.book_rule)
    world.server.put(booking(world.clock.now(), UTC, run=world.run))
    second = world.sync()
    assert second.tasks["completed"] == 1
    after = {row["id"]: row for row in world.tasks()}
    assert (after[done["id"]]["status"], after[done["id"]]["closed_by"]) == ("completed", "person")
    assert (after[booked["id"]]["status"], after[booked["id"]]["closed_by"]) == ("completed", "evidence")
    tasks = world.written()
    assert tasks[done["id"]]["status"] == "completed"
    assert [note["text"] for note in tasks[done["id"]]["note"]] == ["Called, all settled."]
    assert tasks[booked["id"]]["status"] == "completed" and tasks[booked["id"]]["output"]
    assert_valid(world, [*tasks.values(), *world.written("CarePlan").values()])
    quiet(world)
    assert len(world.written()) == len(rows), "finished work is not made again"


def test_what_a_coordinator_sets_is_kept(world: World) -> None:
    world.seed()
    world.sync()
    row = open_task(world, "schedule-referral")
    ref = f"Task/{row['id']}"
    practitioner = next(
        e["resource"]["id"]
        for e in world.server.ehr.get("Practitioner", params={"_tag": f"{RUN_TAG}|{world.run}"}).json()[
            "entry"
        ]
    )
    hers = {
        "status": "in-progress",
        "owner": {"reference": f"Practitioner/{practitioner}"},
        "note": [{"text": "Left a message."}],
        "businessStatus": {"coding": [{"system": "urn:baton:code:business-status", "code": "left-message"}]},
        "restriction": {"period": {"start": "2026-01-05T09:00:00Z", "end": "2031-05-06T15:00:00Z"}},
    }
    world.edit(ref, **hers)
    world.sync()
    (mine,) = [r for r in world.tasks() if r["id"] == row["id"]]
    assert mine["status"] == "in-progress" and mine["owner"] == f"Practitioner/{practitioner}"
    assert mine["business_status"] == "left-message" and mine["due"].startswith("2031-05-06T15:00")
    for words in ("Urgent referral one", "Urgent referral two"):  # two further revisions of ours
        world.edit(row["focus"], code={"text": words})
        report = world.sync()
        assert report.writes["Task"] >= 1
        kept = world.server.get(ref)
        assert words in kept["code"]["text"]
        assert kept["status"] == "in-progress"
        assert kept["owner"]["reference"] == f"Practitioner/{practitioner}"
        assert kept["note"][0]["text"] == "Left a message."
        assert kept["businessStatus"]["coding"][0]["code"] == "left-message"
        assert kept["restriction"]["period"]["end"].startswith("2031-05-06")
    # A visit is booked for the order: the started task is marked, and never closed under her hands.
    world.edit(row["focus"], status="revoked")
    world.sync()
    assert world.server.get(ref)["status"] == "in-progress"
    quiet(world)


def test_a_deleted_task_stays_away(world: World) -> None:
    world.seed()
    world.sync()
    row = open_task(world, "confirm-visit")
    for plan in world.written("CarePlan").values():
        if any(row["id"] in str(a) for a in plan.get("activity", [])):
            left = [a for a in plan["activity"] if row["id"] not in str(a)]
            world.edit(f"CarePlan/{plan['id']}", activity=left or None)
    answer = world.server.ehr.delete(f"Task/{row['id']}")
    assert answer.status_code in (200, 204), answer.text
    for _ in range(3):
        world.sync()
    assert row["id"] not in world.written()
    (mine,) = [r for r in world.tasks() if r["need"] == row["need"]]
    assert mine["closed_by"] == "deleted"
    quiet(world)


def test_an_order_with_a_closed_task_can_be_deleted(world: World) -> None:
    world.seed()
    world.sync()
    order = next(r for r in world.tasks(all=False) if r["code"] == "obtain-authorization")["focus"]
    tasks = [r for r in world.tasks(all=False) if r["focus"] == order]
    for row in tasks:
        world.edit(f"Task/{row['id']}", status="completed")
    world.sync()
    children = _pointing_at(world, order)
    for ref in children:
        assert world.server.ehr.delete(ref).status_code in (200, 204)
    answer = world.server.ehr.delete(order)
    assert answer.status_code in (200, 204), answer.text


def test_purge_leaves_what_was_there_before(world: World) -> None:
    def counts() -> dict[str, int]:
        found = {}
        for type in ("Patient", "Appointment", "ServiceRequest", "Task", "CarePlan", "Device", "Coverage"):
            query = {"_summary": "count", "_total": "accurate"}
            answer = world.server.ehr.get(type, params=query, headers={"Cache-Control": "no-cache"})
            found[type] = answer.json()["total"]
        return found

    before = counts()
    world.seed()
    world.sync()
    assert counts() != before
    with world.app() as app:
        assert app.purge("general", world.run)["Task"] >= 8
    assert counts() == before


def test_a_second_ledger_is_refused_and_a_take_over_adopts(world: World) -> None:
    from adapter.errors import Unsafe

    world.seed()
    world.sync()
    before = world.written()
    finished = next(iter(before))
    world.edit(f"Task/{finished}", status="completed")
    (world.folder / "ledger.db").rename(world.folder / "lost.db")
    with pytest.raises(Unsafe, match="take-over"):
        world.sync()
    assert world.written().keys() == before.keys()
    world.sync(take_over=True)
    assert {r["id"] for r in world.tasks()} == set(before), "adopted, not made again"
    assert world.written()[finished]["status"] == "completed"
    assert world.written().keys() == before.keys()


def test_a_dry_run_says_what_it_would_write_and_writes_nothing(world: World) -> None:
    world.seed()
    report = world.sync(dry_run=True)
    assert len(report.differences) >= 8
    assert world.written() == {}
    assert world.tasks() == []
    assert world.sync().writes["Task"] >= 8


def assert_valid(world: World, resources: list[dict[str, Any]]) -> None:
    """The server's own validator finds no error."""
    for resource in resources:
        answer = world.server.ehr.post(f"{resource['resourceType']}/$validate", json=resource)
        issues = answer.json().get("issue", [])
        errors = [i for i in issues if i["severity"] in ("error", "fatal")]
        assert not errors, f"{resource['resourceType']}/{resource['id']}: {errors}"


def _pointing_at(world: World, ref: str) -> list[str]:
    """The hospital's own resources that point to an order, deepest first."""
    found = []
    for type, parameter in (("Appointment", "based-on"), ("ServiceRequest", "based-on")):
        answer = world.server.ehr.get(type, params={parameter: ref}, headers={"Cache-Control": "no-cache"})
        found += [f"{type}/{e['resource']['id']}" for e in answer.json().get("entry", [])]
    return found


@pytest.mark.parametrize(
    "hers",
    [
        {"status": "in-progress"},
        {"owner": {"display": "Ms Example"}},
        {"note": [{"text": "He asks for a morning."}]},
        {"businessStatus": {"text": "waiting"}},
        {"restriction": {"period": {"end": "2031-05-06"}}},
    ],
    ids=["status", "owner", "note", "business-status", "due"],
)
def test_an_edit_between_our_read_and_our_write_is_kept(
    world: World, monkeypatch: pytest.MonkeyPatch, hers: dict[str, Any]
) -> None:
    world.seed()
    world.sync()
    row = open_task(world, "schedule-referral")
    ref = f"Task/{row['id']}"
    send, edited = FhirClient.update, []

    def update(client: FhirClient, resource: Any, *, version: str) -> Any:
        if f"{resource['resourceType']}/{resource['id']}" == ref and not edited:
            edited.append(version)
            world.edit(ref, **hers)  # she saves while our PUT is on its way
        return send(client, resource, version=version)

    monkeypatch.setattr(FhirClient, "update", update)
    for words in ("Referral, first wording", "Referral, second wording", "Referral, third wording"):
        world.edit(row["focus"], code={"text": words})
        world.sync()
        kept = world.server.get(ref)
        assert words in kept["code"]["text"]
        for name, value in hers.items():
            if name == "note":
                assert [note["text"] for note in kept["note"]] == [value[0]["text"]]
            elif name == "restriction":
                assert kept[name]["period"]["end"] == value["period"]["end"]
            else:
                assert kept[name] == value
    assert edited, "the edit was made in time"
    quiet(world)

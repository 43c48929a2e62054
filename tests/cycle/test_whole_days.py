"""A sick doctor's day, a merge of two charts and a death, from the EHR's edit to what stands in the EHR afterwards."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import TOKEN, FhirServer
from tests.cycle.world import RUN_TAG, World

VISITS = 20


@pytest.fixture
def world(fhir_server: FhirServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("BATON_TEST_TOKEN", TOKEN)
    made = World.made(fhir_server, tmp_path)
    made.configure(parameters={"scheduling": {"settle": "0h"}})
    return made


def _business_day(weeks: int) -> datetime:
    """Ten in the morning of a Wednesday so many weeks from now."""
    today = datetime.now(UTC).date()
    return datetime.combine(today + timedelta(days=2 - today.weekday() + 7 * weeks), time(10), UTC)


def _tagged(world: World, resource: dict[str, Any]) -> dict[str, Any]:
    meta = {"tag": [{"system": RUN_TAG, "code": world.run}]}
    return world.server.put({**resource, "id": f"{world.run}-{resource['id']}", "meta": meta})


def _patient(world: World, id: str, **more: Any) -> str:
    _tagged(world, {"resourceType": "Patient", "id": id, "active": True, **more})
    return f"Patient/{world.run}-{id}"


def _visit(world: World, id: str, patient: str, doctor: str, at: datetime, **more: Any) -> dict[str, Any]:
    people = [{"actor": {"reference": who}, "status": "accepted"} for who in (patient, doctor)]
    return _tagged(
        world,
        {
            "resourceType": "Appointment",
            "id": id,
            "status": "booked",
            "start": at.isoformat(),
            "end": (at + timedelta(minutes=30)).isoformat(),
            "participant": people,
            **more,
        },
    )


def _doctor(world: World) -> str:
    _tagged(world, {"resourceType": "Practitioner", "id": "doc"})
    return f"Practitioner/{world.run}-doc"


def test_a_sick_doctors_day_makes_a_task_for_each_visit_in_one_group(world: World) -> None:
    doctor, day = _doctor(world), _business_day(3)
    visits = [
        _visit(world, f"v{n}", _patient(world, f"p{n}"), doctor, day + timedelta(minutes=15 * n))
        for n in range(VISITS)
    ]
    assert world.sync().tasks["opened"] == 0
    for visit in visits:
        reason = {
            "system": "http://terminology.hl7.org/CodeSystem/appointment-cancellation-reason",
            "code": "prov",
        }
        world.edit(f"Appointment/{visit['id']}", status="cancelled", cancelationReason={"coding": [reason]})
    report = world.sync()
    assert (report.holds, report.exit_code) == ([], 0)
    tasks = list(world.written().values())
    assert [task["code"]["coding"][0]["code"] for task in tasks] == ["rebook-visit"] * VISITS
    assert len({task["for"]["reference"] for task in tasks}) == VISITS
    tags = [{tag["code"] for tag in task["meta"]["tag"] if "group" in tag["system"]} for task in tasks]
    assert all(len(own) == 1 for own in tags) and len(set.union(*tags)) == 1
    assert world.sync().writes["Task"] == 0


def test_a_merge_moves_open_work_to_the_survivor(world: World) -> None:
    doctor = _doctor(world)
    gone, left = _patient(world, "old"), _patient(world, "new")
    _visit(world, "v", gone, doctor, _soon(), status="pending", created=datetime.now(UTC).isoformat())
    world.sync()
    [task] = world.written().values()
    assert task["for"]["reference"] == gone
    world.an_hour_passes()
    world.edit(gone, active=False, link=[{"other": {"reference": left}, "type": "replaced-by"}])
    world.sync()
    world.sync()
    [moved] = world.written().values()
    assert (moved["id"], moved["for"]["reference"], moved["status"]) == (task["id"], left, "requested")
    assert world.sync().writes["Task"] == 0


def test_a_death_stops_open_work_at_once_and_nothing_opens_after_it(world: World) -> None:
    doctor = _doctor(world)
    person = _patient(world, "p")
    _visit(world, "v", person, doctor, _soon(), status="pending", created=datetime.now(UTC).isoformat())
    world.sync()
    [task] = world.written().values()
    assert task["status"] == "requested"
    world.an_hour_passes()
    world.edit(person, deceasedBoolean=True)
    _visit(world, "w", person, doctor, _soon(), status="pending", created=datetime.now(UTC).isoformat())
    world.sync()
    world.sync()
    [after] = world.written().values()
    assert (after["id"], after["status"]) == (task["id"], "on-hold")  # withdrawn when it has held for hours


def _soon() -> datetime:
    """Three days ahead: a visit to confirm by now."""
    return (datetime.now(UTC) + timedelta(days=3)).replace(microsecond=0)

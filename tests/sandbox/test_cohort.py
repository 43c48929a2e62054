"""The demo's cohort: complete, marked, valid, and the same for the same input."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.sandbox import Sandbox
from adapter.sandbox.cohort import STORIES, booking, cohort, expected, interesting
from adapter.sandbox.elements import names_of
from adapter.sandbox.validating import issues_of
from tests.conftest import TOKEN
from tests.sandbox.conftest import NOW, Json

if TYPE_CHECKING:
    from tests.servers.hapi import HapiServer

ZONE = ZoneInfo("America/New_York")


@pytest.fixture(scope="module")
def people() -> list[Json]:
    return cohort(NOW, ZONE, run="r1")


def test_twenty_five_patients_and_every_rule(people: list[Json]) -> None:
    assert Counter(r["resourceType"] for r in people)["Patient"] == 25 == len(STORIES)
    rules = Counter(rule for story in STORIES for rule in story.opens | story.settling)
    assert set(rules) == {
        "confirm-visit",
        "rebook-visit",
        "schedule-referral",
        "obtain-result",
        "verify-coverage",
        "repeat-eligibility-check",
        "obtain-authorization",
        "review-exclusion",
    }
    assert sum(not story.opens | story.settling for story in STORIES) >= 8
    assert expected("r1")["Patient/r1-p08"] == {"schedule-referral"}


def test_everything_is_marked_as_test_data(people: list[Json]) -> None:
    for resource in people:
        assert {"system": "urn:baton:run", "code": "r1"} in resource["meta"]["tag"]
        assert resource["meta"]["security"][0]["code"] == "HTEST"
        assert resource["id"].startswith("r1-") and len(resource["id"]) <= 64
        if resource["resourceType"] == "Patient":
            assert resource["name"][0]["family"] == "Sandbox"


def test_each_resource_comes_after_what_it_refers_to(people: list[Json]) -> None:
    seen: set[str] = set()
    for resource in people:
        assert names_of(resource) <= seen, resource["id"]
        seen.add(f"{resource['resourceType']}/{resource['id']}")
    assert len(seen) == len(people)


def test_it_is_valid(people: list[Json]) -> None:
    assert [issue for resource in people for issue in issues_of(resource)] == []
    for visit in (r for r in people if r["resourceType"] == "Appointment"):
        assert ("start" in visit) == ("end" in visit)  # app-2
        assert "start" in visit or visit["status"] == "proposed"  # app-3
        assert "cancelationReason" not in visit or visit["status"] == "cancelled"  # app-4, as HAPI reads it


def test_the_server_takes_it_with_references_enforced(
    server: Sandbox, ehr: httpx.Client, people: list[Json]
) -> None:
    for resource in people:
        answer = ehr.put(f"/{resource['resourceType']}/{resource['id']}", json=resource)
        assert answer.status_code == 201, answer.text
    assert ehr.get("/Patient?_tag=urn:baton:run|r1&_summary=count").json()["total"] == 25
    visit = booking(NOW, ZONE, run="r1")
    assert ehr.put(f"/Appointment/{visit['id']}", json=visit).status_code == 201


@pytest.mark.server
def test_hapi_takes_it_and_finds_no_error(hapi: HapiServer) -> None:
    people = cohort(NOW, ZONE, run="cohort-test")
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/fhir+json"}
    with httpx.Client(base_url=hapi.base_url, headers=headers, timeout=60, trust_env=False) as ehr:
        for resource in [*people, booking(NOW, ZONE, run="cohort-test")]:
            answer = ehr.put(f"/{resource['resourceType']}/{resource['id']}", json=resource)
            assert answer.status_code in (200, 201), answer.text
            found = ehr.post(f"/{resource['resourceType']}/$validate", json=resource).json()["issue"]
            assert [issue for issue in found if issue["severity"] in ("error", "fatal")] == []


def test_same_input_same_cohort_and_a_seed_changes_only_the_dressing() -> None:
    one = cohort(NOW, ZONE, run="r1", seed=3)
    assert json.dumps(one) == json.dumps(cohort(NOW, ZONE, run="r1", seed=3))
    other = cohort(NOW, ZONE, run="r1", seed=4)
    assert one != other
    assert [(r["id"], r.get("status")) for r in one] == [(r["id"], r.get("status")) for r in other]


def test_the_demo_story(people: list[Json]) -> None:
    story = interesting(people)
    by_ref = {f"{r['resourceType']}/{r['id']}": r for r in people}
    assert by_ref[story.book]["subject"]["reference"] == story.book_patient
    assert story.finish in by_ref and story.run == "r1"
    visit = booking(NOW, ZONE, run=story.run)
    assert visit["basedOn"] == [{"reference": story.book}] and visit["status"] == "booked"
    assert {"reference": story.book_patient} in [part["actor"] for part in visit["participant"]]
    with pytest.raises(ValueError, match="no sandbox cohort"):
        interesting([])


@pytest.mark.parametrize("run", ["", "a/b", "x" * 49, "a b"])
def test_a_run_that_cannot_be_part_of_an_id(run: str) -> None:
    with pytest.raises(ValueError, match="run id"):
        cohort(NOW, ZONE, run=run)


@given(st.integers(0, 400), st.integers(0, 23), st.sampled_from(["America/New_York", "Asia/Tokyo", "UTC"]))
def test_times_hold_on_every_day_of_the_year(days: int, hour: int, zone: str) -> None:
    now = datetime(2026, 1, 1, hour, 30, tzinfo=UTC) + timedelta(days=days)
    by_id = {r["id"].removeprefix("x-"): r for r in cohort(now, ZoneInfo(zone), run="x")}

    def start(name: str) -> timedelta:
        return datetime.fromisoformat(by_id[name]["start"]) - now

    assert timedelta(days=2) < start("v01") <= timedelta(days=7)  # confirm_lead
    assert timedelta(days=-14) < start("v04") < timedelta(days=-6)  # lookback, and a business morning since
    assert timedelta(days=-14) < start("v17") < timedelta(days=-8)
    assert timedelta(days=3) < start("v19") < timedelta(days=14)  # horizon
    assert start("v21") < timedelta(days=14)
    assert start("v06") > timedelta(0)
    for resource in by_id.values():
        for name in ("authoredOn", "created"):
            if name in resource:
                assert datetime.fromisoformat(resource[name]) <= now

"""Helios with its stricter settings: every resource validated, every write bound to a version, every request signed in.

What Baton writes must pass the validator; where it may not write or not sign in, it says so, makes nothing up and
loses nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC
from pathlib import Path

import httpx
import pytest

from adapter.report import SyncReport
from adapter.sandbox.cohort import booking, cohort, expected
from tests.conftest import FhirServer
from tests.cycle.world import World
from tests.servers.helios import HeliosServer
from tests.servers.smart_tokens import TokenSigner

# The shared server's fixture knows when to skip.
pytestmark = [pytest.mark.server, pytest.mark.helios, pytest.mark.usefixtures("helios")]

ALL = "system/*.cruds"
UNASKED = "nobody-asks"


@contextmanager
def helios_with(switches: Mapping[str, str], folder: Path, token: str = "") -> Iterator[World]:
    """A Helios with settings of its own, a Baton on it, and people who sign in by ``token``."""
    headers = {"Content-Type": "application/fhir+json", "Authorization": f"Bearer {token or UNASKED}"}
    with (
        HeliosServer(switches=switches) as server,
        httpx.Client(base_url=f"{server.base_url}/", headers=headers, timeout=60.0, trust_env=False) as ehr,
    ):
        world = World.made(FhirServer("helios", server.base_url, token, ehr), folder)
        world.configure()
        yield world


@pytest.fixture(scope="module")
def issuer() -> Iterator[TokenSigner]:
    with TokenSigner() as made:
        yield made


def wanted(world: World) -> dict[str, set[str]]:
    return {patient: set(codes) for patient, codes in expected(world.run).items() if codes}


def errors(report: SyncReport) -> list[str]:
    return [error for source in report.sources for error in source.errors]


def test_what_is_written_passes_an_enforced_validation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BATON_TEST_TOKEN", UNASKED)
    with helios_with({"HFS_VALIDATION_MODE": "enforce"}, tmp_path) as world:
        broken = {"resourceType": "Task", "id": "broken", "status": "requested"}
        assert world.server.ehr.put("Task/broken", json=broken).status_code == 422, "it validates"
        world.seed()
        first = world.sync()
        assert (errors(first), first.writes["parked"]) == ([], 0)
        assert world.by_patient() == wanted(world)
        assert len(world.written()) == first.writes["Task"] == len(world.tasks())
        rows = world.tasks(all=False)
        started = next(row for row in rows if row["code"] == "schedule-referral")
        done = next(row for row in rows if row["id"] != started["id"])
        world.edit(f"Task/{done['id']}", status="completed", note=[{"text": "Settled."}])
        world.edit(f"Task/{started['id']}", status="in-progress", owner={"display": "Ms Example"})
        world.edit(started["focus"], code={"text": "Referral, reworded"})
        world.server.put(booking(world.clock.now(), UTC, run=world.run))
        second = world.sync()
        assert (errors(second), second.writes["parked"]) == ([], 0)
        assert second.writes["Task"] > 0
        assert world.written()[done["id"]]["status"] == "completed"
        assert world.written()[started["id"]]["owner"] == {"display": "Ms Example"}


def test_where_no_put_creates_nothing_is_made_and_all_of_it_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HFS_REQUIRE_IF_MATCH: a PUT has to name a version, so none can create; the work still stands in the ledger."""
    monkeypatch.setenv("BATON_TEST_TOKEN", UNASKED)
    with helios_with({"HFS_REQUIRE_IF_MATCH": "true"}, tmp_path) as world:
        put_all_at_once(world)
        report = world.sync()
        assert report.exit_code == 3
        assert report.writes["parked"] == sum(report.tasks.values()) > 0
        assert all(
            "creating is refused" in error and "baton outbox retry" in error for error in errors(report)
        )
        assert world.by_patient() == wanted(world)
        assert world.written() == {} and world.written("CarePlan") == {}
        again = world.sync()
        assert (errors(again), again.writes["parked"], sum(again.tasks.values())) == ([], 0, 0)


def put_all_at_once(world: World) -> None:
    """As a transaction, which asks for no version."""
    resources = cohort(world.clock.now(), UTC, run=world.run)
    entries = [
        {"resource": one, "request": {"method": "PUT", "url": f"{one['resourceType']}/{one['id']}"}}
        for one in resources
    ]
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": entries}
    assert world.server.ehr.post("", json=bundle).status_code == 200


def test_what_a_sign_in_may_not_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, issuer: TokenSigner
) -> None:
    def sync(token: str) -> SyncReport:
        monkeypatch.setenv("BATON_TEST_TOKEN", token)
        report = world.sync()
        assert token not in " ".join(errors(report))
        return report

    with helios_with(issuer.switches, tmp_path, issuer.token(ALL)) as world:
        world.seed()
        for useless in (issuer.token(ALL, lives_s=-600), issuer.token(ALL, audience="urn:other"), "garbage"):
            report = sync(useless)
            assert report.exit_code == 1
            assert ["401" in error and "token" in error for error in errors(report)] == [True]
            assert world.tasks() == []

        # May read only: all of the work is known, and none of it is written.
        report = sync(issuer.token("system/*.rs"))
        assert report.exit_code == 3 and "forbidden" in errors(report)[0]
        assert world.by_patient() == wanted(world)
        assert world.written() == {}

        # The sign-in is mended, and a person says so.
        with world.app() as app:
            for row in app.ledger.outbox("parked"):
                app.ledger.retry(row.target)
        report = sync(issuer.token(ALL))
        assert (errors(report), report.exit_code) == ([], 0)
        assert world.written().keys() == {row["id"] for row in world.tasks()}


def test_a_type_that_may_not_be_read_is_blind_and_opens_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, issuer: TokenSigner
) -> None:
    types = (
        "Patient",
        "ServiceRequest",
        "CoverageEligibilityResponse",
        "Coverage",
        "Task",
        "CarePlan",
        "Device",
    )
    monkeypatch.setenv("BATON_TEST_TOKEN", issuer.token(" ".join(f"system/{type}.cruds" for type in types)))
    with helios_with(issuer.switches, tmp_path, issuer.token(ALL)) as world:
        world.seed()
        report = world.sync()
        assert report.exit_code == 3
        assert any("Appointment" in error and "403" in error for error in errors(report))
        of_visits = {"confirm-visit", "rebook-visit", "schedule-referral", "schedule-order"}
        opened = {row["code"] for row in world.tasks()}
        assert not opened & of_visits, "visits are unknown, so nothing says that one is lacking"
        monkeypatch.setenv("BATON_TEST_TOKEN", issuer.token(ALL))
        assert world.sync().exit_code == 0
        assert world.by_patient() == wanted(world)

"""A source that is renamed, or that moves: the same needs and Tasks, or a clear refusal."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapter.errors import Unsafe
from adapter.ledger import Ledger
from adapter.sandbox import Sandbox
from tests.conftest import FhirServer, person_at
from tests.cycle.world import World


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("BATON_TEST_TOKEN", "none")
    with Sandbox() as sandbox, person_at(sandbox.base_url) as ehr:
        made = World.made(FhirServer("sandbox", sandbox.base_url.rstrip("/"), "", ehr), tmp_path)
        made.configure()
        made.seed()
        made.sync()
        yield made


def test_a_renamed_source_keeps_its_tasks(world: World) -> None:
    before = {row["id"] for row in world.tasks()}
    world.configure(name="renamed", was="general")
    report = world.sync()
    assert (report.writes["Task"], report.tasks["opened"]) == (0, 0)
    assert {row["id"] for row in world.tasks()} == before
    assert {row["source"] for row in world.tasks()} == {"renamed"}
    with world.app() as app:
        assert app.ledger.rebuild() == []


def test_a_new_address_needs_a_person_and_the_same_resources(world: World) -> None:
    before = set(world.written())
    same = world.server.base_url.replace("127.0.0.1", "localhost")
    world.configure(base_url=same)
    with pytest.raises(Unsafe, match="moved: true"):
        world.sync()
    with Sandbox() as empty:
        world.configure(base_url=empty.base_url, moved=True)
        with pytest.raises(Unsafe, match="another EHR"):
            world.sync()
    world.configure(base_url=same, moved=True)
    report = world.sync()
    assert report.writes["Task"] == 0
    assert set(world.written()) == before


def test_an_older_ledger_is_noticed_and_taken_over_without_harm(world: World) -> None:
    with world.app() as app:
        app.ledger.export(world.folder / "yesterday.db")
    finished = sorted(world.written())[0]
    world.edit(f"Task/{finished}", status="completed")
    world.sync()
    gone = sorted(world.written())[1]
    for plan in world.written("CarePlan").values():
        if gone in str(plan.get("activity")):
            world.edit(f"CarePlan/{plan['id']}", activity=None)
    assert world.server.ehr.delete(f"Task/{gone}").status_code in (200, 204)
    world.sync()
    left = set(world.written())
    for name in ("ledger.db", "ledger.db-wal", "ledger.db-shm"):
        (world.folder / name).unlink(missing_ok=True)
    (world.folder / "yesterday.db").rename(world.folder / "ledger.db")
    with pytest.raises(Unsafe, match="older than the EHR"):
        world.sync()
    world.sync(take_over=True)
    world.sync()
    assert set(world.written()) == left, "nothing twice, and what a person deleted stays away"
    assert world.written()[finished]["status"] == "completed"


def test_two_batons_on_one_ledger_are_refused(world: World) -> None:
    from adapter.errors import LedgerLocked

    with world.app() as first, first.ledger.lock("sync"), world.app() as second:
        assert isinstance(second.ledger, Ledger)
        with pytest.raises(LedgerLocked):
            second.sync()

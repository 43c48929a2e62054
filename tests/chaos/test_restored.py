"""An EHR that was put back to a backup: Baton stops, a person lets it go on, and nothing that people did is undone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from adapter.errors import Unsafe
from adapter.sandbox import Habits, Sandbox
from adapter.sandbox.core import MachineClock
from tests.chaos.proxy import Proxy
from tests.chaos.story import notes, orders, sets_status
from tests.chaos.ward import Ward
from tests.conftest import TOKEN, person_at


class Clock(MachineClock):
    """The server's clock, which a test moves on: a restore takes its time."""

    ahead = timedelta(0)

    def now(self) -> datetime:
        return super().now() + self.ahead


@dataclass
class Hospital:
    """A ward on a sandbox that can be put back."""

    sandbox: Sandbox
    clock: Clock
    ward: Ward

    def put_back(self, backup: object) -> None:
        self.sandbox.restore(backup)  # type: ignore[arg-type]
        self.clock.ahead += timedelta(seconds=40)

    def goes_on(self) -> None:
        """Stopped as documented; a person agrees; then until quiet."""
        with pytest.raises(Unsafe, match="restored"):
            self.ward.sync()
        self.ward.sync(take_over=True)
        self.ward.quiet()


@pytest.fixture
def hospital(tmp_path: Path) -> Iterator[Hospital]:
    clock = Clock()
    with (
        Sandbox(clock=clock, habits=Habits(token=TOKEN)) as sandbox,
        person_at(sandbox.base_url) as ehr,
        Proxy(sandbox.base_url) as proxy,
    ):
        ward = Ward.made(ehr, proxy, tmp_path, "restored")
        ward.sync()
        yield Hospital(sandbox, clock, ward)


def test_what_people_finished_stays_finished(hospital: Hospital) -> None:
    ward, backup = hospital.ward, hospital.sandbox.snapshot()
    assert sets_status("p17", "completed")(ward)
    ward.sync()
    hospital.put_back(backup)
    assert (ward.task_of("p17") or {})["status"] == "requested"
    hospital.goes_on()
    assert (ward.task_of("p17") or {})["status"] == "completed"
    with ward.app() as app:
        rows = [row for row in app.task_rows(all=True) if row["patient"].endswith("p17")]
    assert [(row["status"], row["closed_by"]) for row in rows] == [("completed", "person")]


def test_a_task_that_is_lost_with_the_restore_is_written_again(hospital: Hospital) -> None:
    ward = hospital.ward
    orders("p05", "n05", "cardiology")(ward)
    backup = hospital.sandbox.snapshot()
    ward.sync()
    assert ward.has_task("p05")
    hospital.put_back(backup)
    assert not ward.has_task("p05")
    hospital.goes_on()
    assert (ward.task_of("p05") or {})["status"] == "requested"
    ward.check()
    assert all(
        a["reference"]["reference"] for plan in ward.written("CarePlan").values() for a in plan["activity"]
    )


@pytest.mark.parametrize("same_number", [True, False])
def test_an_edit_under_a_number_that_was_used_before_is_an_edit(
    hospital: Hospital, same_number: bool
) -> None:
    ward = hospital.ward
    backup = hospital.sandbox.snapshot()
    assert sets_status("p17", "completed")(ward)
    ward.hers.clear()  # the EHR loses it, and she sees that
    ward.sync()
    known = (ward.task_of("p17") or {})["meta"]["versionId"]
    hospital.put_back(backup)
    assert sets_status("p17", "in-progress")(ward)
    while same_number and int(ward.hers[-1].version) < int(known):
        assert notes("p17", "called again")(ward)
    assert (ward.hers[-1].version == known) is same_number
    hospital.goes_on()
    assert (ward.task_of("p17") or {})["status"] == "in-progress"
    ward.check()


def test_writing_goes_on_once_a_person_has_agreed(hospital: Hospital) -> None:
    """The newest rows are older than the ledger knows, the mark is untouched: no write until somebody says go."""
    ward, backup = hospital.ward, hospital.sandbox.snapshot()
    orders("p05", "n05", "cardiology")(ward)
    orders("p16", "n16", "physiotherapy")(ward)
    ward.sync()
    device = next(iter(hospital.sandbox.all("Device")))
    hospital.put_back(backup)
    hospital.sandbox.put(device)
    stopped = ward.sync()
    assert any("may have been restored" in error for error in stopped.sources[0].errors)
    assert stopped.writes["Task"] == 0
    going = ward.sync(take_over=True)
    assert not any("may have been restored" in error for error in going.sources[0].errors)
    ward.quiet()
    assert not ward.has_task("p03") or sets_status("p03", "rejected")(ward)
    ward.quiet()
    ward.check_hers()

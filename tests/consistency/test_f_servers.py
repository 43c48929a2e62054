"""What servers do wrong: hidden updates, restored backups, lost searches, copies, lossy and slow writes."""

from __future__ import annotations

import copy
import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from adapter.errors import Unsafe
from adapter.sandbox import Habits
from adapter.sandbox.store import State
from tests.consistency.hospital import DAY, HOUR, START, Hospital, hospital, order, patient, text, visit


@pytest.fixture
def waiting(town: Hospital) -> Hospital:
    """One order waits for its visit, and its Task stands in the EHR."""
    town.ehr.put(patient())
    town.ehr.put(order())
    town.good()
    return town


def test_f7_an_update_that_no_poll_shows_reaches_open_work_next_day(waiting: Hospital) -> None:
    """Revoked with an older stamp than the poll asks from; no sweep runs."""
    town = waiting
    town.clock.advance(HOUR)
    town.ehr.put(order("o-newest", status="draft"))
    town.sync(passing=HOUR)
    town.ehr.habits.updated_back = 20 * DAY
    town.ehr.edit("ServiceRequest/o1", status="revoked")
    town.ehr.habits.updated_back = timedelta(0)
    town.sync(passing=HOUR)
    assert town.only().open
    town.sync(passing=DAY)
    assert town.only().closed_by == "contrary"


def test_f7_the_sweep_compares_versions(waiting: Hospital) -> None:
    """The same with a booked visit that nothing hangs on: the ids and their number agree."""
    town = waiting
    town.ehr.put(visit("v9"))
    town.clock.advance(HOUR)
    town.ehr.put(visit("v-newest"))
    town.sync(passing=HOUR)
    town.ehr.habits.updated_back = 20 * DAY
    town.ehr.edit("Appointment/v9", status="noshow", start="2026-02-27T09:00:00Z")
    town.ehr.habits.updated_back = timedelta(0)
    town.sync(passing=HOUR)
    assert len(town.tasks()) == 1
    said = town.sync(passing=DAY, sweep=True).sources[0].swept
    assert [line for line in said if line.startswith("Appointment: 1 missed of 2")], said
    town.sync(passing=3 * HOUR)
    assert {task.code for task in town.tasks()} == {"schedule-referral", "rebook-visit"}


@pytest.mark.parametrize("deep", [1, 3])
def test_f16_every_older_copy_of_the_ledger_ends_in_the_same_ehr(deep: int, town: Hospital) -> None:
    """Copies of a day's ledger; the one of ``deep`` hours ago is put back and takes over."""
    for number in range(1, 5):
        town.ehr.put(patient(f"p{number}"))
        town.ehr.put(order(f"o{number}", f"p{number}"))
        town.sync(passing=HOUR)
        town.stop()
        shutil.copy(town.folder / "ledger.db", town.folder / f"copy{number}.db")
        town.start()
        if number > 1:
            town.ehr.edit(f"Task/{_of(town, number - 1)}", status="completed")
    town.sync(passing=HOUR)
    gone = _of(town, 4)
    town.ehr.delete(f"CarePlan/{town.ehr.all('CarePlan')[-1]['id']}")
    town.ehr.delete(f"Task/{gone}")
    town.sync(passing=HOUR)
    before = {t["id"]: t["status"] for t in town.ehr.all("Task")}
    town.start(f"copy{4 - deep}.db")
    with pytest.raises(Unsafe):
        town.sync()
    town.sync(take_over=True, passing=HOUR)
    for _ in range(3):
        town.sync(passing=HOUR)
    assert {t["id"]: t["status"] for t in town.ehr.all("Task")} == before
    assert town.ehr.get(f"Task/{gone}") is None, "what she deleted stays deleted"


def _of(town: Hospital, number: int) -> str:
    return next(t.id for t in town.tasks() if t.focus == f"ServiceRequest/o{number}")


def test_f18_a_restored_ehr_stops_writing_until_a_person_says_go(waiting: Hospital) -> None:
    town = waiting
    backup = town.ehr.snapshot()
    town.sync(passing=DAY)
    town.ehr.put(patient("p2"))
    town.ehr.put(order("o2", "p2"))
    town.good()
    assert len(town.ehr.all("Task")) == 2
    town.ehr.restore(backup)
    writes = town.written()
    for _ in range(2):
        with pytest.raises(Unsafe):
            town.sync(passing=HOUR)
    assert town.written() == writes
    assert all(task.open and not task.gone for task in town.tasks()), "nobody deleted anything"


def test_f18_rows_that_fell_back_stop_writing(waiting: Hospital) -> None:
    """Only the resources were put back, Baton's mark was not: the newest rows known are gone."""
    town = waiting
    town.clock.advance(DAY)
    town.ehr.put(order("o2"))
    town.ehr.put(order("o3"))
    town.good()
    writes = town.written()
    town.ehr.restore(_without(town.ehr.snapshot(), "ServiceRequest/o2", "ServiceRequest/o3"))
    town.ehr.put(patient("p3"))
    town.ehr.put(visit("v3", "p3", status="pending", at=START + 3 * DAY))
    for _ in range(2):
        assert town.sync(passing=HOUR).sources[0].failed
    assert town.written() == writes
    assert len(town.open()) >= 2, "and nothing was withdrawn"


@pytest.mark.parametrize("dress", ["html", "empty", "outcome"])
def test_f18_when_everything_is_404_nothing_was_deleted(dress: str, waiting: Hospital) -> None:
    town = waiting
    town.ehr.habits.missing = dress  # type: ignore[assignment]
    for _ in range(3):
        town.sync(passing=DAY)
    assert town.only().open and not town.only().gone
    town.ehr.habits.missing = ""
    town.sync(passing=HOUR)
    town.quiet()
    assert len(town.ehr.all("Task")) == 1 and town.only().open


def test_f18_a_lost_write_is_written_again_and_no_person_deleted_it(waiting: Hospital) -> None:
    """HAPI was killed and lost half a second: the Task is 404, its order stands."""
    town = waiting
    state = town.ehr.snapshot()
    lost = town.only()
    town.ehr.restore(_without(state, f"Task/{lost.id}", f"CarePlan/{town.ehr.all('CarePlan')[0]['id']}"))
    town.sync(passing=DAY)
    town.sync(passing=HOUR)
    assert town.there(lost)["status"] == "requested" and town.only().open


def test_f18_a_lost_write_of_the_newest_task_is_no_deletion(waiting: Hospital) -> None:
    """It is the one that each walk has to bring back; the others are still there."""
    town = waiting
    for number in range(2, 5):
        town.ehr.put(patient(f"p{number}"))
        town.ehr.put(order(f"o{number}", f"p{number}"))
        town.sync(passing=HOUR)
    town.good()
    newest = town.tasks()[-1]
    assert town.ledger.walk("general", "Task").anchor_ref == f"Task/{newest.id}"
    naming = [f"CarePlan/{p['id']}" for p in town.ehr.all("CarePlan") if newest.id in str(p["activity"])]
    town.ehr.restore(_without(town.ehr.snapshot(), f"Task/{newest.id}", *naming))
    town.sync(passing=HOUR)
    town.sync(passing=HOUR)
    assert town.there(newest)["status"] == "requested"
    assert all(task.open for task in town.tasks())


def test_f18_an_edit_that_was_lost_and_made_again_under_its_number_holds_up_no_write(
    waiting: Hospital,
) -> None:
    """Number and content are those that the ledger holds, the stamp is another: what is read has to enter."""
    town, task = waiting, waiting.only()
    before = town.ehr.snapshot()
    town.ehr.edit(f"Task/{task.id}", status="in-progress")
    town.good(passing=HOUR)
    hers = town.there(task)["meta"]
    town.ehr.restore(_fell_back(town.ehr.snapshot(), before, f"Task/{task.id}"))
    town.clock.advance(HOUR)
    town.ehr.edit(f"Task/{task.id}", status="in-progress")
    again = town.there(task)["meta"]
    assert again["versionId"] == hers["versionId"] and again["lastUpdated"] != hers["lastUpdated"]
    town.ehr.edit("ServiceRequest/o1", priority="urgent")
    town.sync(passing=HOUR)
    town.quiet()
    assert town.ledger.outbox() == []
    assert town.there(task)["priority"] == town.only().priority.value == "urgent"
    assert town.there(task)["status"] == "in-progress"


def _without(state: State, *refs: str) -> State:
    left = copy.deepcopy(state)
    for ref in refs:
        left.chains.pop(ref, None)
    return left


def _fell_back(state: State, former: State, ref: str) -> State:
    """A state in which one resource has lost its last versions."""
    left = copy.deepcopy(state)
    left.chains[ref] = copy.deepcopy(former.chains[ref])
    return left


def test_f32_a_resource_that_leaves_the_filter_is_followed(tmp_path: Path) -> None:
    """Helios drops tags that a PUT does not repeat: the poll does not show the revoked order any more."""
    tag = {"tag": [{"system": "urn:run", "code": "r1"}]}
    search = {t: "_tag=urn:run|r1" for t in ("ServiceRequest", "Appointment", "CoverageEligibilityResponse")}
    habits = Habits(tags="dropped")
    with hospital(tmp_path, habits=habits, search=search) as town:
        town.ehr.put(patient())
        town.ehr.put(order(meta=tag))
        town.good()
        town.clock.advance(HOUR)
        town.ehr.put(order("o-newest", status="draft", meta=tag))  # the newest row is asked for by itself
        town.good()
        town.ehr.put(order(status="revoked"))
        town.sync(passing=HOUR)
        town.sync(passing=DAY)
        assert town.only().closed_by == "contrary"


def test_f32_a_held_row_is_stored_though_its_stamp_lies_before_since(tmp_path: Path) -> None:
    """The server ignores the window and stamps the revocation before ``since``: it is held, so it counts."""
    habits = Habits(no_last_updated_search=True, unknown_parameter="ignore")
    with hospital(tmp_path, habits=habits, since=text(START - 5 * DAY)) as town:
        town.ehr.put(patient())
        town.ehr.put(order())
        town.good()
        town.clock.advance(HOUR)
        town.ehr.put(order("o-newest", status="draft"))
        town.good()
        town.ehr.habits.updated_back = 20 * DAY
        town.ehr.edit("ServiceRequest/o1", status="revoked")
        town.sync(passing=HOUR)
        assert town.only().closed_by == "contrary"


def test_f33_a_search_that_does_not_show_our_tasks_loses_no_edit(waiting: Hospital) -> None:
    """Hers is not the newest Task known, so that nothing but the daily reading asks for it."""
    town, first = waiting, waiting.only()
    town.ehr.put(patient("p2"))
    town.ehr.put(order("o2", "p2"))
    town.sync(passing=HOUR)
    town.sync(passing=HOUR)
    town.ehr.habits.empty_search = frozenset({"Task"})
    town.ehr.edit(f"Task/{first.id}", status="completed")
    town.sync(passing=DAY)
    town.sync(passing=DAY)
    assert [t.closed_by for t in town.tasks() if t.id == first.id] == ["person"]


def test_f34_a_copy_of_our_task_is_neither_touched_nor_read(waiting: Hospital) -> None:
    town = waiting
    twin = town.ehr.duplicate(f"Task/{town.only().id}")
    town.ehr.edit(f"Task/{twin['id']}", status="completed")
    versions = len(town.ehr.versions(f"Task/{twin['id']}"))
    town.sync(passing=DAY)
    assert town.only().open
    town.ehr.edit("ServiceRequest/o1", status="revoked")
    town.sync(passing=HOUR)
    assert town.there()["status"] == "cancelled"
    assert len(town.ehr.versions(f"Task/{twin['id']}")) == versions


@pytest.mark.parametrize(
    "habits",
    [
        {"truncate_at": 10},
        {"whole_days": True},
        {"append_notes": True},
        {"identical_put_makes_version": True},
        {"opaque_versions": True},
        {"no_last_updated": True},
        {"routed_status": "received"},
        {"tags": "dropped"},
        {"cut_versioned_references": False, "relative_own_references": False},
    ],
    ids=lambda habits: next(iter(habits)),
)
def test_f29_whatever_the_server_makes_of_a_write_it_is_written_once(
    habits: dict[str, object], tmp_path: Path
) -> None:
    with hospital(tmp_path, habits=Habits(**habits)) as town:  # type: ignore[arg-type]
        town.ehr.put(patient())
        town.ehr.put(order())
        town.good()
        for _ in range(3):
            town.sync(passing=HOUR)
        town.ehr.clear_requests()
        town.ehr.edit(f"Task/{town.only().id}", note=[{"text": "a"}])
        for _ in range(4):
            town.sync(passing=HOUR)
        assert town.written() == 0, "her note is no reason to send again what the server has made of ours"
        town.quiet()


def test_f37_a_task_entered_in_error_is_deleted(waiting: Hospital) -> None:
    town = waiting
    town.ehr.edit(f"Task/{town.only().id}", status="entered-in-error")
    for _ in range(3):
        town.sync(passing=2 * DAY)
    assert len(town.tasks()) == 1 and town.only().gone
    assert town.there()["status"] == "entered-in-error"


def test_f59_a_due_date_that_she_moves_brings_its_steps_with_it(waiting: Hospital) -> None:
    """Escalated once; she moves the date; past the new one it escalates again, once."""
    town = waiting
    town.at(START + 20 * DAY)
    first = town.only()
    assert len(first.steps) == 2
    period = {"start": "2026-02-25T14:00:00Z", "end": "2026-04-10T16:00:00Z"}
    town.ehr.edit(f"Task/{first.id}", restriction={"period": period})
    town.sync(passing=HOUR)
    for _ in range(5):
        town.sync(passing=6 * DAY)
    assert len(town.only().steps) == 4
    kinds = [e.kind.value for e in town.ledger.task_events(first.id)]
    assert kinds.count("escalated") == 2 or kinds.count("escalated") == 3

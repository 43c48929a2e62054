"""What stays silent, what comes back, and what the clock alone may do."""

from __future__ import annotations

from datetime import UTC, timedelta
from pathlib import Path

import pytest

from adapter.sandbox.cohort import cohort
from tests.consistency.hospital import DAY, HOUR, START, Hospital, hospital, order, patient, text, visit


@pytest.fixture
def rejected(town: Hospital) -> Hospital:
    """She has rejected the one task that there is, and Baton knows it."""
    town.ehr.put(patient())
    town.ehr.put(order())
    town.good()
    town.ehr.edit(f"Task/{town.only().id}", status="rejected")
    town.good()
    assert town.only().status == "rejected"
    return town


def test_f4_a_touch_brings_nothing_back(rejected: Hospital) -> None:
    """New versions with the same values, a note, another title, a recheck: no news."""
    rejected.ehr.touch_all()
    rejected.sync(passing=2 * DAY)
    rejected.ehr.edit("ServiceRequest/o1", note=[{"text": "called twice"}], code={"text": "Heart clinic"})
    rejected.sync(passing=2 * DAY)
    rejected.start()
    rejected.sync(passing=2 * DAY)
    assert rejected.only().status == "rejected"


def test_f4_a_new_ledger_leaves_silent_what_a_person_silenced(rejected: Hospital) -> None:
    rejected.start("anew.db")
    rejected.sync(take_over=True, passing=timedelta(minutes=3))
    rejected.sync(passing=timedelta(minutes=3))
    rejected.ehr.touch_all()
    rejected.sync(passing=2 * DAY)
    assert [task.status.value for task in rejected.tasks()] == ["rejected"]


def test_f4_other_values_bring_one_new_task_that_names_the_old(rejected: Hospital) -> None:
    first = rejected.only()
    rejected.ehr.edit("ServiceRequest/o1", status="revoked")
    rejected.sync(passing=DAY)
    assert rejected.only() == first or rejected.only().turned
    rejected.ehr.edit("ServiceRequest/o1", status="active")
    for _ in range(3):
        rejected.sync(passing=2 * DAY)
    (second,) = [task for task in rejected.tasks() if task.id != first.id]
    assert (second.generation, second.follows) == (2, first.id)


def test_f5_the_clock_alone_withdraws_nothing(tmp_path: Path) -> None:
    """The stories of the cohort for 400 days in which nobody does anything: only what ends by rule ends."""
    with hospital(tmp_path, environment="test") as town:
        town.ehr.load(cohort(town.clock.now(), UTC, run="w"))
        town.good()
        before = set(town.open())
        assert len(before) > 8
        for _ in range(25):
            town.sync(passing=16 * DAY)
        ended = {task.code for task in town.tasks() if not task.open}
        assert ended <= {"confirm-visit", "verify-coverage", "repeat-eligibility-check"}, (
            "these end with the visit"
        )
        assert len(before & set(town.open())) > 8


def test_f5_a_visit_moved_to_and_fro_has_one_task(town: Hospital) -> None:
    """Its opening comes to lie ahead again: the task stands, and waits with another date."""
    town.ehr.put(patient())
    town.ehr.put(visit("v1", status="pending", at=START + 5 * DAY))
    town.good()
    first = town.only("confirm-visit")
    for days in (40, 6, 30, 5):
        at = START + days * DAY
        town.ehr.edit("Appointment/v1", start=text(at), end=text(at + HOUR))
        town.sync(passing=HOUR)
        assert town.only().id == first.id and town.only().open
    assert town.versions_of(first) <= 6


def test_f25_a_mark_never_takes_the_place_of_what_she_set(town: Hospital) -> None:
    """Her business status stays while the need goes and comes; the mark goes when the need is back."""
    town.ehr.put(patient())
    town.ehr.put(order())
    town.good()
    task = town.only()
    hers = {"coding": [{"code": "left-message"}], "text": "left message"}
    town.ehr.edit(f"Task/{task.id}", status="in-progress", businessStatus=hers)
    town.good()
    town.ehr.edit("ServiceRequest/o1", status="on-hold")
    town.ehr.put(visit("v1", of="o1"))
    town.good()
    assert town.only().mark == "evidence"
    assert town.there()["businessStatus"] == hers and town.there()["status"] == "in-progress"
    assert "statusReason" in town.there()
    town.ehr.edit("Appointment/v1", status="cancelled")
    town.sync(passing=DAY)
    town.sync(passing=DAY)
    assert town.only().mark == "" and town.only().open
    assert town.there()["businessStatus"] == hers and "statusReason" not in town.there()


def test_f25_what_she_did_last_counts_before_a_marked_task_closes_itself(town: Hospital) -> None:
    """Two business days after the mark nobody can read Tasks: perhaps she works on it right now."""
    town.ehr.put(patient())
    town.ehr.put(order())
    town.good()
    town.ehr.edit(f"Task/{town.only().id}", status="in-progress")
    town.good()
    town.ehr.put(visit("v1", of="o1"))
    town.good()
    town.ehr.habits.refused = {"Task": 403}
    town.ehr.edit(f"Task/{town.only().id}", note=[{"text": "spoke to her"}])
    town.sync(passing=4 * DAY)
    assert town.only().open
    town.ehr.habits.refused = {}
    town.sync(passing=HOUR)
    town.sync(passing=4 * DAY)
    assert town.only().closed_by == "evidence"


def test_f30_a_visit_that_comes_and_goes_makes_no_task_each_time(town: Hospital) -> None:
    """Booked, cancelled, booked within a business day: the need returns once, a business day after its end."""
    town.ehr.put(patient())
    town.ehr.put(order())
    town.good()
    for number in range(4):
        town.ehr.put(visit("v1", of="o1"))
        town.sync(passing=HOUR)
        town.ehr.edit("Appointment/v1", status="cancelled", cancelationReason=None)
        town.sync(passing=HOUR)
        assert len(town.tasks("schedule-referral")) == 1, number
    town.sync(passing=3 * DAY)
    assert [t.generation for t in town.tasks("schedule-referral")] == [1, 2]


def test_f30_the_fourth_within_a_month_waits_for_a_person(town: Hospital) -> None:
    town.ehr.put(patient())
    town.ehr.put(order())
    town.good()

    def comes_and_goes() -> None:
        town.ehr.put(visit("v1", of="o1", at=START + 60 * DAY))
        town.sync(passing=HOUR)
        town.ehr.edit("Appointment/v1", status="cancelled")
        town.sync(passing=3 * DAY)
        town.sync(passing=DAY)

    for _ in range(4):
        comes_and_goes()
    assert [t.generation for t in town.tasks()] == [1, 2, 3]
    (held,) = town.ledger.holds()
    assert (held.cause, held.rule, held.count) == ("flapping", "schedule-referral", 1)
    town.start()
    assert town.sync(passing=DAY).exit_code == 3
    town.app.release_hold(held.id)
    town.sync(passing=HOUR)
    assert [t.generation for t in town.tasks()] == [1, 2, 3, 4]
    comes_and_goes()
    assert len(town.tasks()) == 4 and len(town.ledger.holds()) == 1, "the next one waits, too"


def test_f39_a_death_that_is_undone_lets_work_open_that_waited(town: Hospital) -> None:
    """She had no open work, so nobody read her again: the order that waits for its day asks anew."""
    town.ehr.put(patient(deceasedBoolean=True))
    town.ehr.put(order(authoredOn=text(START - HOUR)))
    town.good()
    town.ehr.edit("Patient/p1", deceasedBoolean=None)
    for _ in range(6):
        town.sync(passing=DAY)
    assert list(town.open().values()) == ["schedule-referral"]


def test_f39_a_death_by_mistake_is_undone_with_her_notes(town: Hospital) -> None:
    town.ehr.put(patient())
    town.ehr.put(order())
    town.good()
    task = town.only()
    town.ehr.edit(f"Task/{task.id}", note=[{"text": "prefers mornings"}])
    town.good()
    town.ehr.edit("Patient/p1", deceasedBoolean=True)
    town.sync(passing=2 * HOUR)
    assert town.there()["status"] == "on-hold"
    town.ehr.edit("Patient/p1", deceasedBoolean=None)
    town.sync(passing=2 * HOUR)
    assert town.only().status == "requested" and town.only().id == task.id
    assert town.there()["status"] == "requested" and len(town.there()["note"]) == 1

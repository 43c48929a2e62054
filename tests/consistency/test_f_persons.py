"""Whose task is it: merges, changes of patient, newborns, patients known by an identifier alone."""

from __future__ import annotations

import pytest

from tests.consistency.hospital import DAY, HOUR, START, Hospital, order, patient, visit

OTHER = {"reference": "Patient/p2"}


def settled(town: Hospital) -> list[tuple[str, str]]:
    """Open tasks by patient and focus, after two more days."""
    for _ in range(3):
        town.sync(passing=DAY)
    return sorted((task.patient, task.focus) for task in town.tasks(all=False))


@pytest.mark.parametrize("silently", [False, True])
@pytest.mark.parametrize("repoint", [(), ("ServiceRequest",), ("ServiceRequest", "Appointment", "Task")])
def test_f11_a_merge_moves_the_task_and_opens_none(
    repoint: tuple[str, ...], silently: bool, town: Hospital
) -> None:
    """One order waits, one is booked; whatever moves over, with or without a new version: the same two needs."""
    for who in ("p1", "p2"):
        town.ehr.put(patient(who))
    town.ehr.put(order("o1", "p1"))
    town.ehr.put(order("o2", "p1"))
    town.ehr.put(visit("v2", "p1", of="o2"))
    town.good()
    first = town.only()
    town.ehr.merge("Patient/p1", "Patient/p2", repoint=repoint, silently=silently)
    assert settled(town) == [("Patient/p2", "ServiceRequest/o1")]
    assert town.only().id == first.id
    assert town.there()["for"] == OTHER


def test_f11_a_chain_of_merges_and_its_undoing(town: Hospital) -> None:
    """A into B into C between two polls, then C is parted again: the task is whose the order is."""
    for who in ("a", "b", "c"):
        town.ehr.put(patient(who))
    town.ehr.put(order("o1", "a"))
    town.good()
    town.ehr.merge("Patient/a", "Patient/b", repoint=("ServiceRequest",))
    town.ehr.merge("Patient/b", "Patient/c", repoint=("ServiceRequest",))
    assert settled(town) == [("Patient/c", "ServiceRequest/o1")]
    assert len(town.tasks()) == 1
    town.ehr.put(patient("b"))
    town.ehr.put(patient("c"))
    town.ehr.put(patient("a"))
    town.ehr.put(order("o1", "a"))
    assert settled(town) == [("Patient/a", "ServiceRequest/o1")]
    assert len([t for t in town.tasks() if t.open]) == 1


def test_f11_two_that_wait_for_one_thing_are_one_after_a_merge(town: Hospital) -> None:
    for who in ("p1", "p2"):
        town.ehr.put(patient(who))
        town.ehr.put(order(f"o-{who}", who))
    town.good()
    before = {task.id for task in town.tasks()}
    town.ehr.merge("Patient/p1", "Patient/p2", repoint=("ServiceRequest",))
    assert settled(town) == [("Patient/p2", "ServiceRequest/o-p1"), ("Patient/p2", "ServiceRequest/o-p2")]
    assert {task.id for task in town.tasks()} == before, "each order's need keeps its task"


def test_f11_an_order_that_becomes_another_patients(town: Hospital) -> None:
    """It closes there and opens here, with a key that stays apart."""
    for who in ("p1", "p2"):
        town.ehr.put(patient(who))
    town.ehr.put(order())
    town.good()
    town.ehr.edit("ServiceRequest/o1", subject=OTHER)
    assert settled(town) == [("Patient/p2", "ServiceRequest/o1")]
    closed = [task for task in town.tasks() if not task.open]
    assert [(t.patient, t.closed_by) for t in closed] == [("Patient/p1", "contrary")]
    written = [town.ehr.get(f"Task/{task.id}") for task in town.tasks()]
    assert {(t["for"]["reference"], t["status"]) for t in written if t} == {
        ("Patient/p1", "cancelled"),
        ("Patient/p2", "requested"),
    }


def test_f11_a_participant_that_is_removed_and_put_back(town: Hospital) -> None:
    town.ehr.put(patient())
    town.ehr.put(visit("v1", status="pending", at=START + 5 * DAY))
    town.good()
    people = town.ehr.get("Appointment/v1")
    assert people is not None and town.only("confirm-visit").open
    town.ehr.edit("Appointment/v1", participant=[{"status": "accepted", "actor": {"display": "nobody"}}])
    town.sync(passing=HOUR)
    assert not town.only().open
    town.ehr.edit("Appointment/v1", participant=people["participant"])
    town.sync(passing=HOUR)
    town.sync(passing=DAY + HOUR)
    assert [(t.generation, t.open) for t in town.tasks()] == [(1, False), (2, True)]


def test_f11_the_newborns_visit_closes_the_mothers_task(town: Hospital) -> None:
    """The visit names the child and stands for the mother's order: its coming wakes the mother."""
    for who in ("mother", "child"):
        town.ehr.put(patient(who))
    town.ehr.put(order("o1", "mother"))
    town.good()
    town.ehr.put(visit("v1", "child", of="o1"))
    town.good()
    assert town.only().closed_by == "evidence"
    town.ehr.edit("Appointment/v1", status="cancelled")
    town.sync(passing=HOUR)
    town.sync(passing=3 * DAY)
    assert [t.open for t in town.tasks("schedule-referral")] == [False, True]


def test_f47_an_identifier_without_a_system_is_nobodys(town: Hospital) -> None:
    town.ehr.put(patient("p1", identifier=[{"value": "77"}]))
    town.ehr.put(order("o0", "p1"))
    town.ehr.put(order("o1", subject={"identifier": {"value": "77"}}))
    town.good()
    assert [task.focus for task in town.tasks()] == ["ServiceRequest/o0"]

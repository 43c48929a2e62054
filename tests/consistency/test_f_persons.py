"""Whose task is it: merges, changes of patient, newborns, patients known by an identifier alone."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from urllib.parse import unquote

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


@pytest.mark.parametrize("parted", ["p1", "p2"])
def test_f11_patients_who_are_parted_are_parted_here_too(parted: str, town: Hospital) -> None:
    """Whichever of them says that they were one, and though no poll shows a Patient."""
    for who in ("p1", "p2"):
        town.ehr.put(patient(who))
    town.ehr.put(order("o1", "p1"))
    town.ehr.put(order("o2", "p2"))
    joined = {"p1": ("p2", "replaced-by"), "p2": ("p1", "replaces")}
    other, how = joined[parted]
    town.ehr.edit(f"Patient/{parted}", link=[{"other": {"reference": f"Patient/{other}"}, "type": how}])
    town.good()
    assert len({task.patient for task in town.tasks()}) == 1
    town.ehr.edit(f"Patient/{parted}", link=None)
    assert settled(town) == [("Patient/p1", "ServiceRequest/o1"), ("Patient/p2", "ServiceRequest/o2")]


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


# --- F47: patients who are named by an identifier alone

MRN = {"system": "urn:mrn", "value": "77"}


def contained() -> dict[str, Any]:
    inner = {"resourceType": "Patient", "id": "p", "identifier": [MRN, {"value": "5"}]}
    return {"subject": {"reference": "#p"}, "contained": [inner]}


def foci(town: Hospital) -> dict[str, str]:
    """Open tasks: focus → patient."""
    return {task.focus: task.patient for task in town.tasks(all=False)}


def reasons(town: Hospital) -> dict[str, str]:
    """What is set aside, with its reason."""
    return {f"{row.type}/{row.res_id}": row.reason for row in town.ledger.quarantine("general")}


@pytest.mark.parametrize(
    "named", [{"subject": {"identifier": MRN}}, contained()], ids=["logical", "contained"]
)
def test_f47_who_is_named_by_an_identifier_is_searched_for(named: dict[str, Any], town: Hospital) -> None:
    """The order came before the Patient, whom no poll and no other resource shows."""
    town.ehr.put(order("o1", **named))
    town.sync()
    assert list(reasons(town)) == ["ServiceRequest/o1"] and town.tasks() == []
    town.ehr.put(patient("p1", identifier=[{"system": "urn:other", "value": "77"}]))
    town.ehr.put(patient("p2", identifier=[MRN]))
    town.sync(passing=3 * HOUR)
    assert foci(town) == {"ServiceRequest/o1": "Patient/p2"}
    assert reasons(town) == {}
    assert town.there()["for"] == OTHER


def test_f47_a_patient_who_is_read_takes_what_has_waited_for_him(town: Hospital) -> None:
    """In the transaction that stores him: no other look comes."""
    town.ehr.habits.empty_search = frozenset({"Patient"})
    town.ehr.put(patient("p1", identifier=[MRN]))
    town.ehr.put(order("o1", subject={"identifier": MRN}))
    town.sync()
    assert town.tasks() == []
    town.ehr.put(order("o2", "p1"))
    town.sync()
    assert foci(town) == {"ServiceRequest/o1": "Patient/p1", "ServiceRequest/o2": "Patient/p1"}


def test_f47_an_identifier_of_two_patients_links_nobody_and_says_so(town: Hospital) -> None:
    for who in ("p1", "p2"):
        town.ehr.put(patient(who, identifier=[MRN]))
    town.ehr.put(order("o1", subject={"identifier": MRN}))
    town.ehr.put(order("o2", "p2"))
    for _ in range(3):
        town.sync(passing=DAY)
    assert foci(town) == {"ServiceRequest/o2": "Patient/p2"}
    assert reasons(town) == {"ServiceRequest/o1": "patient-by-identifier-of-several"}
    town.ehr.edit("Patient/p1", identifier=[{"system": "urn:mrn", "value": "78"}])
    town.sync(passing=DAY + HOUR)
    assert foci(town)["ServiceRequest/o1"] == "Patient/p2"
    assert reasons(town) == {}


def test_f47_two_patients_of_one_person_are_no_two(town: Hospital) -> None:
    """After a merge both bear the number; once they are parted, nobody knows whose the order is, and nothing ends."""
    for who in ("p1", "p2"):
        town.ehr.put(patient(who, identifier=[MRN]))
        town.ehr.put(order(f"o-{who}", who))
    town.ehr.put(order("o1", subject={"identifier": MRN}))
    town.ehr.merge("Patient/p1", "Patient/p2")
    town.sync()
    assert set(foci(town)) == {"ServiceRequest/o-p1", "ServiceRequest/o-p2", "ServiceRequest/o1"}
    for who in ("p1", "p2"):
        town.ehr.edit(f"Patient/{who}", link=None, active=True)
    for _ in range(3):
        town.sync(passing=DAY)
    assert reasons(town) == {"ServiceRequest/o1": "patient-by-identifier-of-several"}
    assert "ServiceRequest/o1" in foci(town), "unknown changes nothing"


def test_f47_a_visit_by_identifier_closes_the_task_of_its_patient(town: Hospital) -> None:
    """And one that is taken away from him closes nothing and opens nothing: nobody knows."""
    town.ehr.put(patient("p1", identifier=[MRN]))
    town.ehr.put(order("o1", "p1"))
    town.good()
    actor = {"type": "Patient", "identifier": MRN}
    town.ehr.put(visit("v1", of="o1", participant=[{"actor": actor, "status": "accepted"}]))
    town.good()
    assert town.only("schedule-referral").closed_by == "evidence"
    town.ehr.edit("Patient/p1", identifier=None)
    for _ in range(3):
        town.sync(passing=DAY)
    assert [task.open for task in town.tasks("schedule-referral")] == [False]


def test_f47_an_order_that_is_read_again_stays_whose_it_is(town: Hospital) -> None:
    """By the daily reread, a sweep, and a write that its server refuses because of it."""
    town.ehr.put(patient("p1", identifier=[MRN]))
    town.ehr.put(order("o1", subject={"identifier": MRN}))
    town.good()
    first = town.only()
    town.ehr.edit("ServiceRequest/o1", priority="urgent")
    for _ in range(3):
        town.sync(passing=DAY, sweep=True)
    assert foci(town) == {"ServiceRequest/o1": "Patient/p1"} and town.only().id == first.id
    town.ehr.edit("ServiceRequest/o1", status="revoked")
    town.sync(passing=timedelta(hours=1))
    assert town.only().closed_by == "contrary"


def test_f47_who_is_nowhere_is_asked_for_ever_less_often(town: Hospital) -> None:
    town.ehr.put(order("o1", subject={"identifier": MRN}))
    for _ in range(48):
        town.sync(passing=HOUR)
    asked = [
        unquote(r.query) for r in town.ehr.sent("GET") if r.type == "Patient" and "identifier" in r.query
    ]
    assert 4 <= len(asked) <= 8
    assert all("identifier=urn:mrn|77&" in f"{query}&" for query in asked)

"""Guards: nobody is called for the dead, for another, or in hospital; and not on old knowledge."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from adapter.facts.patient import PatientGuard, guard
from adapter.model import Known, SnapshotState
from tests.facts.making import BASES, NOW, chart, patient, snap, stay

A, B, C = "Patient/a", "Patient/b", "Patient/c"


def link(type: str, other: str) -> list[dict[str, Any]]:
    return [{"type": type, "other": {"reference": other}}]


def judged(*held: Any, cause: datetime | None = None, **more: Any) -> PatientGuard:
    return guard(chart(*held, **more), BASES, cause=cause)


def test_an_ordinary_patient() -> None:
    found = judged(patient(active=True, deceasedBoolean=False))
    assert (found.state, found.blocks, found.withdraw, found.hold, found.survivor) == (
        "alive",
        "",
        "",
        "",
        "",
    )
    assert found.missing == frozenset()


@pytest.mark.parametrize("body", [
    patient(deceasedBoolean=True), patient(deceasedDateTime="2025-12-01"),
    patient(deceasedDateTime="unreadable"),
])  # fmt: skip
def test_the_dead(body: dict[str, Any]) -> None:
    found = judged(body)
    assert (found.state, found.blocks, found.withdraw) == ("deceased", "deceased", "deceased")


def test_death_needs_no_fresh_reading() -> None:
    found = judged(patient(deceasedBoolean=True), known={}, now=NOW + timedelta(days=90))
    assert found.withdraw == "deceased"


def test_inactive_and_test_patients_open_nothing() -> None:
    assert judged(patient(active=False)).blocks == "inactive"
    labels = [{"security": [{"code": "HTEST"}]}, {"tag": [{"system": "x", "code": "HTEST"}]}]
    for meta in labels:
        assert judged(patient(meta=meta)).blocks == "test"
        assert judged(patient(meta=meta), source={"environment": "test"}).blocks == ""


def test_opted_out() -> None:
    flag = {"resourceType": "Flag", "id": "f", "subject": {"reference": "Patient/p"}}
    found = guard(chart(patient(), flag), BASES, opted_out=lambda s: s.type == "Flag")
    assert found.blocks == "opted-out"


def test_a_merge_names_the_survivor_from_either_side() -> None:
    merged = [patient("a", active=False, link=link("replaced-by", B)), patient("b", active=True)]
    assert judged(*merged, patients=(A, B)).survivor == B
    assert judged(*merged, patients=(A, B)).blocks == ""
    said_by_b = [patient("a", active=False), patient("b", link=link("replaces", A))]
    assert judged(*said_by_b, patients=(A, B)).survivor == B
    chain = [
        patient("a", link=link("replaced-by", B)),
        patient("b", link=link("replaced-by", C)),
        patient("c"),
    ]
    assert judged(*chain, patients=(A, B, C)).survivor == C


def test_a_survivor_that_is_not_here_has_to_be_read() -> None:
    found = judged(patient("a", link=link("replaced-by", B)), patients=(A,))
    assert (found.blocks, found.survivor, found.missing) == ("unknown", B, frozenset({"Patient"}))


def test_see_also_and_circles() -> None:
    seealso = [patient("a", link=link("seealso", B)), patient("b")]
    assert judged(*seealso, patients=(A, B)).survivor == ""
    circle = [patient("a", link=link("replaced-by", B)), patient("b", link=link("replaced-by", A))]
    assert judged(*circle, patients=(A, B)).blocks == "merge-cycle"
    assert judged(patient("a", link=[{"type": "replaced-by"}, "odd"]), patients=(A,)).blocks == ""


def test_who_died_in_a_merged_chart() -> None:
    dead = patient("a", deceasedBoolean=True, link=link("replaced-by", B))
    assert judged(dead, patient("b"), patients=(A, B)).state == "deceased"
    assert judged(dead, patient("b", deceasedBoolean=False), patients=(A, B)).state == "alive"


def test_nothing_opens_without_a_fresh_patient() -> None:
    old = snap(patient(), received_at=NOW - timedelta(days=3))
    found = judged(old, known={})
    assert (found.state, found.blocks, found.missing) == ("unknown", "unknown", frozenset({"Patient"}))
    assert judged(old, known={}, cause=NOW - timedelta(days=4)).blocks == ""
    assert judged(old, known={}, cause=NOW - timedelta(days=2)).blocks == "unknown"
    assert judged(old, known={"Patient": Known(at=NOW - timedelta(minutes=59))}).blocks == ""
    assert judged().missing == frozenset({"Patient"})


def test_a_patient_that_cannot_be_read_or_is_gone() -> None:
    assert judged(snap(patient(), state=SnapshotState.QUARANTINED)).blocks == "unknown"
    assert judged(snap(patient(), state=SnapshotState.DELETED)).blocks == "deleted"


@pytest.mark.parametrize("code", ["IMP", "ACUTE", "NONAC", "OBSENC", "EMER"])
def test_in_hospital_now(code: str) -> None:
    inside = stay(status="in-progress", code=code, period={"start": "2025-12-08T10:00:00Z"})
    found = judged(patient(), inside)
    assert found.hold == "in-hospital"
    assert found.hold_until == datetime(2026, 1, 7, 10, tzinfo=UTC)
    assert found.next_look == NOW + timedelta(days=1)
    assert found.blocks == ""


@pytest.mark.parametrize("encounter", [
    stay(status="in-progress", code="AMB", period={"start": "2025-12-10"}),
    stay(status="planned", code="IMP", period={"start": "2025-12-09"}),
    stay(status="cancelled", code="IMP", period={"start": "2025-12-09"}),
    stay(status="in-progress", code="IMP", period={"start": "2025-11-01"}),
    stay(status="in-progress", code="IMP", period={"start": "2025-12-01", "end": "2025-12-09T10:00:00Z"}),
    stay(status="in-progress", code="IMP", period={"start": "2025-12-20"}),
    {**stay(status="in-progress"), "class": "odd"},
])  # fmt: skip
def test_not_in_hospital(encounter: dict[str, Any]) -> None:
    assert judged(patient(), encounter).hold == ""


def test_a_stay_without_a_start_counts_from_its_first_sight() -> None:
    inside = snap(stay(status="in-progress", code="IMP"), first_seen=NOW - timedelta(days=29))
    assert judged(patient(), inside).hold_until == NOW + timedelta(days=1)
    old = snap(stay(status="in-progress", code="IMP"), first_seen=NOW - timedelta(days=31))
    assert judged(patient(), old).hold == ""


def test_the_discharge_is_told() -> None:
    home = stay(code="IMP", period={"start": "2025-12-01", "end": "2025-12-09T20:00:00Z"})
    found = judged(patient(), home)
    assert (found.hold, found.discharged) == ("", datetime(2025, 12, 9, 20, tzinfo=UTC))
    long_ago = stay(code="IMP", period={"start": "2025-10-01", "end": "2025-10-09"})
    assert judged(patient(), long_ago).discharged is None
    unsaid = snap(stay(code="IMP"), changed=NOW - timedelta(hours=5))
    assert judged(patient(), unsaid).discharged == NOW - timedelta(hours=5)


def test_unread_encounters_are_wanted_and_block_nothing() -> None:
    fresh, old = Known(at=NOW), Known(at=NOW - timedelta(days=2))
    for known, wants in ((None, {"Encounter"}), (old, {"Encounter"}), (fresh, set()),
                         (Known(blind="403"), set()), (Known(declared_none=True), set())):  # fmt: skip
        found = judged(patient(), known={"Patient": fresh, **({"Encounter": known} if known else {})})
        assert found.wants == wants
        assert found.blocks == ""


def test_every_patient_of_a_person_has_to_be_fresh() -> None:
    old = snap(patient("b"), received_at=NOW - timedelta(days=3))
    assert judged(patient("a", link=link("seealso", B)), old, patients=(A, B), known={}).blocks == "unknown"


LISTED = {"source": {"opt_out_patients": frozenset({"urn:mrn|77"})}}
FLAG_CODE = "urn:flags|no-outreach"
FLAGGED = {"source": {"opt_out_flags": frozenset({FLAG_CODE})}}
FLAGS_READ = {"known": {"Patient": Known(at=NOW, seq=1), "Flag": Known(at=NOW, seq=1)}}


def _flag(status: str = "active", code: str = "no-outreach") -> dict[str, object]:
    return {
        "resourceType": "Flag",
        "id": "f",
        "status": status,
        "code": {"coding": [{"system": "urn:flags", "code": code}]},
        "subject": {"reference": "Patient/p"},
    }


def test_the_opt_out_list_knows_a_patient_by_identifier_or_reference() -> None:
    listed = patient(identifier=[{"system": "urn:mrn", "value": "77"}])
    assert guard(chart(listed, **LISTED), BASES).blocks == "opted-out"
    assert guard(chart(patient(identifier=[{"value": "77"}]), **LISTED), BASES).blocks == ""
    by_ref = {"source": {"opt_out_patients": frozenset({"Patient/p"})}}
    assert guard(chart(patient(), **by_ref), BASES).blocks == "opted-out"
    assert guard(chart(patient(), **LISTED), BASES).blocks == ""


def test_an_active_flag_opts_out_and_an_ended_or_other_one_does_not() -> None:
    assert guard(chart(patient(), _flag(), **FLAGGED, **FLAGS_READ), BASES).blocks == "opted-out"
    for other in (_flag("inactive"), _flag(code="falls-risk")):
        assert guard(chart(patient(), other, **FLAGGED, **FLAGS_READ), BASES).blocks == ""


def test_flags_that_were_not_read_leave_it_open_whether_she_opted_out() -> None:
    found = guard(chart(patient(), **FLAGGED), BASES)
    assert (found.state, found.missing) == ("unknown", frozenset({"Flag"}))

"""Linked Patients are one person; links come and go."""

from __future__ import annotations

from typing import Any

from adapter.ledger import Ledger, LookResult
from adapter.model import Request
from tests.ledger.making import arrival, at, charts, persons, plan, put_task, result, task


def patient(ident: str, *others: str, seq: int = 1, kind: str = "replaced-by") -> Any:
    links = [{"type": kind, "other": {"reference": f"Patient/{other}"}} for other in others]
    return arrival(f"Patient/{ident}", f"Patient/{ident}", seq=seq, version=str(seq), link=links)


def store(ledger: Ledger, *pages: Any) -> int:
    return sum(ledger.store("ehr", [page], cause="link").woken for page in pages)


def settle(ledger: Ledger) -> None:
    ledger.commit_looks([result(chart) for chart in charts(ledger)])
    assert ledger.due_requests("ehr", at(0)) == []


def test_a_link_joins_and_the_first_seen_stays_the_name(ledger: Ledger) -> None:
    store(ledger, patient("b"), patient("a"))
    put_task(ledger, task("b-x-1", "Patient/a"))
    settle(ledger)
    assert store(ledger, patient("a", "b", seq=5)) == 1
    (chart,) = charts(ledger)
    assert chart.person == "Patient/b"
    assert chart.patients == ("Patient/b", "Patient/a")
    assert [t.id for t in chart.tasks] == ["b-x-1"]
    assert {"Patient/a", "Patient/b"} <= chart.snapshots.keys()
    assert ledger.check() == []


def test_unlinking_parts_them_and_wakes_both(ledger: Ledger) -> None:
    store(ledger, patient("b"), patient("a", "b", seq=3))
    put_task(ledger, task("b-x-1", "Patient/a"))
    put_task(ledger, task("b-y-1", "Patient/b"))
    settle(ledger)
    assert store(ledger, patient("a", seq=7)) == 2
    found = {chart.person: [t.id for t in chart.tasks] for chart in charts(ledger)}
    assert found == {"Patient/a": ["b-x-1"], "Patient/b": ["b-y-1"]}
    assert ledger.check() == []


def test_whoever_is_joined_or_parted_is_asked_for_by_a_cause_of_its_own(ledger: Ledger) -> None:
    """A need that ends with a merge may be taken back with it (F19)."""
    for page in (patient("b"), patient("a")):
        ledger.store("ehr", [page], cause="resource")
    assert {frozenset(r.causes) for r in ledger.requests("ehr")} == {frozenset({"resource"})}
    settle(ledger)
    ledger.store("ehr", [patient("b", "a", seq=7)], cause="resource")
    assert [r.causes for r in ledger.requests("ehr")] == [{"resource", "link"}]


def test_requests_and_next_looks_move_to_the_name_that_stays(ledger: Ledger) -> None:
    store(ledger, patient("b"), patient("a"))
    requests = {r.person: r for r in ledger.due_requests("ehr", at(0))}
    ledger.commit_looks([LookResult(requests["Patient/a"], next_look=at(5))])
    ledger.request("ehr", ["Patient/a"], "edition")
    ledger.commit_looks([result(c) for c in charts(ledger) if c.person == "Patient/b"])
    store(ledger, patient("b", "a", seq=7))
    (request,) = ledger.requests("ehr")
    assert request.person == "Patient/b"
    assert request.causes == {"edition", "link", "due"}
    assert ledger.next_looks("ehr") == {}


def test_chain_cycle_and_the_other_direction_are_one_person(ledger: Ledger) -> None:
    store(ledger, patient("a", "b"), patient("b", "c"), patient("c", "a"))
    store(ledger, patient("d", "c", kind="replaces"))
    (chart,) = charts(ledger)
    assert set(chart.patients) == {f"Patient/{x}" for x in "abcd"}
    store(ledger, patient("b", seq=9))  # a–c still holds b's side: c → a, and a → b
    (chart,) = charts(ledger)
    assert len(chart.patients) == 4
    store(ledger, patient("a", seq=9))  # b has lost its last link
    assert persons(ledger.due_requests("ehr", at(0))) == {"Patient/a", "Patient/b"}


def test_refer_foreign_and_self_links_join_nobody(ledger: Ledger) -> None:
    store(ledger, patient("a", "b", kind="refer"), patient("c", "c"))
    foreign = {"type": "seealso", "other": {"reference": "https://other.example/fhir/Patient/a"}}
    own = {"type": "seealso", "other": {"reference": "https://ehr.example/fhir/Patient/a"}}
    store(ledger, arrival("Patient/f", "Patient/f", link=[foreign]))
    store(ledger, arrival("Patient/o", "Patient/o", link=[own]))
    groups = {chart.person: set(chart.patients) for chart in charts(ledger)}
    assert groups["Patient/a"] == {"Patient/a", "Patient/o"}
    assert groups["Patient/c"] == {"Patient/c"}
    assert groups["Patient/f"] == {"Patient/f"}


def test_more_than_ten_are_held_and_nobody_of_them_is_looked_at(ledger: Ledger) -> None:
    many = [f"p{n}" for n in range(10)]
    store(ledger, patient("x", *many[:9]))
    assert ledger.holds() == []
    settle(ledger)
    store(ledger, patient("x", *many, seq=5))
    (hold,) = ledger.holds()
    assert (hold.cause, hold.count) == ("person-too-large", 11)
    assert ledger.due_requests("ehr", at(0)) == []
    assert len(ledger.requests("ehr")) >= 1
    store(ledger, patient("x", *many[:9], seq=9))
    assert ledger.holds() == []
    assert "Patient/x" in persons(ledger.due_requests("ehr", at(0)))
    assert "Patient/p9" in persons(ledger.due_requests("ehr", at(0)))


def test_a_released_hold_lets_its_persons_be_looked_at(ledger: Ledger) -> None:
    store(ledger, patient("x", *[f"p{n}" for n in range(10)]))
    (hold,) = ledger.holds()
    ledger.commit_looks([LookResult(r) for r in ledger.requests("ehr")])
    released = ledger.release_hold(hold.id)
    assert released.released_at is not None
    assert len(ledger.due_requests("ehr", at(0))) == 11
    assert ledger.holds() == [] and len(ledger.holds(all=True)) == 1


def test_plans_move_with_their_patient(ledger: Ledger) -> None:
    store(ledger, patient("b"), patient("a"))
    assert ledger.save_plan(plan(patient="Patient/a"))
    store(ledger, patient("a", "b", seq=5))
    (chart,) = charts(ledger)
    assert [p.id for p in chart.plans] == ["bp-p-1"]


def test_a_patient_never_seen_is_his_own_person(ledger: Ledger) -> None:
    ledger.request("ehr", ["Patient/new"], "command")
    (request,) = ledger.due_requests("ehr", at(0))
    assert isinstance(request, Request) and request.person == "Patient/new"
    (chart,) = charts(ledger)
    assert chart.patients == ("Patient/new",)

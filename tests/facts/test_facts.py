"""Facts: what the rules see, of each kind of focus; three values; typed times."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapter.facts.codes import Codebook
from adapter.facts.facts import FACT_TYPE_OF_FOCUS, FACT_TYPES, FUNCTION_TYPES, UNSURE, Facts, Told
from adapter.facts.keep import BASE_EDITION
from adapter.facts.times import When
from adapter.model import Snapshot, SnapshotState, Task
from tests.facts.making import NOW, answer, coverage, facts, order, patient, refs, snap, stay, visit

ORDER, V, E, C = "ServiceRequest/o", "Appointment/v", "Encounter/e", "Coverage/c"
ON = {"basedOn": [{"reference": ORDER}]}
TOMORROW, YESTERDAY = "2025-12-11T15:00:00Z", "2025-12-09T15:00:00Z"
IMAGING = Codebook(maps={"order-kind": {"l|MR": "imaging", "l|REF": "referral"}})


def only(found: Facts, name: str, ref: str) -> Any:
    records = found.fact(name, found.chart.snapshots[ref]).records
    assert len(records) == 1
    return records[0]


def test_visits_are_typed_and_sorted() -> None:
    found = facts(
        order(),
        visit("b", start="2025-12-12T10:00:00-05:00", end="2025-12-12T11:00:00-05:00", **ON),
        visit("c", **ON),
        visit("a", "noshow", start="2025-12-12T14:30:00Z", **ON),  # before b, though not by letter
    )
    fact = found.fact("visits", found.chart.snapshots[ORDER])
    assert [r["ref"] for r in fact.records] == ["Appointment/a", "Appointment/b", "Appointment/c"]
    assert fact.types == {"Appointment", "ServiceRequest"}
    assert fact.gaps == frozenset()
    first = fact.records[0]
    assert first["status"] == "noshow"
    assert first["start"] == When(datetime(2025, 12, 12, 14, 30, tzinfo=UTC), False, "2025-12-12T14:30:00Z")
    assert isinstance(first["changed"], When)
    assert "start" not in fact.records[2] and "end" not in first


def test_an_unknown_status_is_absent() -> None:
    found = facts(order(), visit(status="unknown", **ON))
    assert "status" not in only(found, "visits", ORDER)


def test_coming_is_what_lies_ahead_and_says_when_that_ends() -> None:
    found = facts(
        order(),
        *(visit(s, s, start=TOMORROW, **ON) for s in ("booked", "proposed", "cancelled", "noshow")),
        visit("past", start=YESTERDAY, **ON),
        visit("undated", **ON),
    )
    fact = found.fact("coming", found.chart.snapshots[ORDER])
    assert [r["ref"] for r in fact.records] == ["Appointment/booked", "Appointment/proposed"]
    assert fact.until == datetime(2025, 12, 11, 15, tzinfo=UTC)
    later = facts(order(), visit(start=TOMORROW, **ON), now=datetime(2025, 12, 11, 15, tzinfo=UTC))
    assert refs(later, "coming", ORDER) == []


def test_coming_on_a_coverage() -> None:
    ahead = {"start": TOMORROW}
    found = facts(
        coverage(), coverage("c2"), order(), order("o2", insurance=[{"reference": "Coverage/c2"}]),
        visit("any", **ahead), visit("named", **ahead, supportingInformation=[{"reference": "Coverage/c2"}]),
        visit("ordered", **ahead, basedOn=[{"reference": "ServiceRequest/o2"}]),
    )  # fmt: skip
    assert refs(found, "coming", C) == ["Appointment/any"]
    assert refs(found, "coming", "Coverage/c2") == [
        "Appointment/any",
        "Appointment/named",
        "Appointment/ordered",
    ]


def test_took_place_by_encounter_or_by_visit_but_once() -> None:
    period = {"start": YESTERDAY, "end": "2025-12-09T16:00:00Z"}
    by_stay = facts(order(), visit(status="fulfilled", **ON),
                    stay(appointment=[{"reference": V}], period=period))  # fmt: skip
    record = only(by_stay, "took_place", ORDER)
    assert (record["ref"], record["end"].text) == (E, "2025-12-09T16:00:00Z")
    by_visit = facts(order(), visit(status="arrived", start=YESTERDAY, end="2025-12-09T15:30:00Z", **ON))
    assert only(by_visit, "took_place", ORDER)["end"].text == "2025-12-09T15:30:00Z"
    assert only(by_visit, "took_place", V)["ref"] == V
    planned = facts(order(), visit(status="booked", start=YESTERDAY, **ON), stay(status="planned", **ON))
    fact = planned.fact("took_place", planned.chart.snapshots[ORDER])
    assert fact.records == ()
    assert fact.types == {"Appointment", "Encounter", "ServiceRequest"}


def test_what_is_over_always_has_an_end() -> None:
    met = facts(order(), snap(visit(status="fulfilled", **ON), changed=NOW - timedelta(days=1)))
    assert only(met, "took_place", ORDER)["end"].instant == NOW - timedelta(days=1)
    begun = facts(order(), stay(period={"start": YESTERDAY}, **ON))
    assert only(begun, "took_place", ORDER)["end"].text == YESTERDAY
    of_visit = facts(order(), visit(end=TOMORROW, **ON), stay(appointment=[{"reference": V}]))
    assert only(of_visit, "took_place", ORDER)["end"].text == TOMORROW
    going_on = facts(order(), stay(status="in-progress", period={"start": YESTERDAY}, **ON))
    assert "end" not in only(going_on, "took_place", ORDER)


CANCELLED = datetime(2025, 12, 9, 15, tzinfo=UTC)  # Tuesday
DR = ("Practitioner/dr",)


def later(*others: dict[str, Any] | Snapshot, status: str = "cancelled", **focus: Any) -> list[str]:
    missed = snap(visit(status=status, **{"created": "2025-11-01", "actors": DR, **focus}), changed=CANCELLED,
                  first_seen=CANCELLED - timedelta(days=30))  # fmt: skip
    return refs(facts(missed, *others), "later", V)


def made(id: str, created: str, **more: Any) -> dict[str, Any]:
    return visit(id, created=created, **{"actors": DR, "start": TOMORROW, **more})


def test_later_is_made_since_up_to_a_business_day_before() -> None:
    assert later(made("after", "2025-12-10T09:00:00Z")) == ["Appointment/after"]
    assert later(made("just-before", "2025-12-08T16:00:00Z")) == ["Appointment/just-before"]
    assert later(made("day", "2025-12-08")) == ["Appointment/day"]
    assert later(made("long-before", "2025-12-05T16:00:00Z")) == []
    assert later(snap({k: v for k, v in made("seen", "").items() if k != "created"}, first_seen=NOW)) == [
        "Appointment/seen"]  # fmt: skip
    assert later(made("whatever", "2025-12-10", status="noshow")) == ["Appointment/whatever"]
    assert later(snap(made("wrong", "2025-12-10"), state=SnapshotState.ERROR)) == []


def test_a_business_day_before_monday_is_friday() -> None:
    monday = datetime(2025, 12, 8, 15, tzinfo=UTC)
    missed = snap(visit(status="cancelled", created="2025-11-01", actors=DR), changed=monday)
    assert refs(facts(missed, made("friday", "2025-12-05T15:30:00Z")), "later", V) == ["Appointment/friday"]
    assert refs(facts(missed, made("friday", "2025-12-05T14:30:00Z")), "later", V) == []


def test_the_calendar_of_the_source_is_used() -> None:
    chart = facts(snap(visit(status="cancelled", created="2025-11-01", actors=DR), changed=CANCELLED),
                  made("early", "2025-12-03")).chart  # fmt: skip
    found = Facts(chart, facts().bases, Codebook(), business_day_before=lambda at: at - timedelta(days=10))
    assert refs(found, "later", V) == ["Appointment/early"]


@pytest.mark.parametrize(("focus", "other", "same"), [
    ({"actors": ("Location/l",)}, {"actors": ("Location/l", "Practitioner/x")}, True),
    ({"actors": DR}, {"actors": ("Practitioner/x",)}, False),
    ({"actors": (), "serviceType": [{"coding": [{"system": "s", "code": "1"}]}]},
     {"actors": (), "serviceType": [{"coding": [{"system": "s", "code": "1"}]}]}, True),
    ({"actors": (), "serviceType": [{"coding": [{"system": "s", "code": "1"}]}]},
     {"actors": (), "serviceType": [{"coding": [{"system": "t", "code": "1"}]}]}, False),
    ({"actors": (), "serviceType": [{"text": "Eye exam"}]},
     {"actors": (), "serviceType": [{"text": "eye exam "}]}, True),
    ({"actors": (), **ON}, {"actors": (), **ON}, True),
    ({"actors": ()}, {"actors": ()}, False),
])  # fmt: skip
def test_later_is_for_the_same_thing(focus: dict[str, Any], other: dict[str, Any], same: bool) -> None:
    assert bool(later(made("n", "2025-12-10", **other), **focus)) is same


def test_two_cancelled_visits_do_not_stand_for_each_other() -> None:
    both = [snap(made(id, "2025-12-08", status="cancelled"), changed=CANCELLED) for id in ("a", "b")]
    found = facts(*both)
    stands = [refs(found, "later", f"Appointment/{id}") for id in ("a", "b")]
    assert stands == [["Appointment/b"], []]


def test_after_a_noshow_only_a_later_start_will_do() -> None:
    missed = {"status": "noshow", "start": "2025-12-09T14:00:00Z"}
    assert later(made("before", "2025-12-08T16:00:00Z", start="2025-12-08T20:00:00Z"), **missed) == []
    assert later(made("after", "2025-12-08T16:00:00Z"), **missed) == ["Appointment/after"]


def test_later_of_a_stay_starts_after_its_end() -> None:
    home = stay(code="IMP", period={"end": "2025-12-09T20:00:00Z"})
    found = facts(home, visit("before", start=YESTERDAY), visit("after", start=TOMORROW), visit("undated"))
    fact = found.fact("later", found.chart.snapshots[E])
    assert [r["ref"] for r in fact.records] == ["Appointment/after"]
    assert fact.types == {"Appointment"}


def test_orders_of_a_visit_and_on_a_coverage() -> None:
    found = facts(
        coverage(), order(), order("revoked", status="revoked"), order("plan", intent="plan"),
        order("elsewhere", insurance=[{"reference": "Coverage/c2"}]), visit(**ON),
    )  # fmt: skip
    assert refs(found, "orders", V) == [ORDER]
    fact = found.fact("orders", found.chart.snapshots[C])
    assert [r["ref"] for r in fact.records] == [ORDER]
    assert fact.gaps == frozenset()
    ward = facts(coverage(), order(encounter={"reference": E}))
    assert ward.fact("orders", ward.chart.snapshots[C]).gaps == {"Encounter"}


def test_results_documents_and_contacts() -> None:
    me = {"subject": {"reference": "Patient/p"}}
    home = stay(code="IMP", period={"end": "2025-12-09T20:00:00Z"}, **ON)
    report = {"resourceType": "DiagnosticReport", "id": "r", "status": "final", "issued": TOMORROW, **me,
              "encounter": {"reference": E}}  # fmt: skip
    letter = {"resourceType": "DocumentReference", "id": "d", "status": "current", **me,
              "context": {"related": [{"reference": ORDER}]}}  # fmt: skip
    done = {"resourceType": "Communication", "status": "completed", **me}
    calls = [{**done, "id": id, **more} for id, more in (
        ("after", {"sent": TOMORROW}),
        ("named", {"received": TOMORROW, "encounter": {"reference": E}}),
        ("other", {"sent": TOMORROW, "encounter": {"reference": "Encounter/x"}}),
        ("before", {"sent": YESTERDAY}),
    )]  # fmt: skip
    found = facts(order(), home, report, letter, *calls)
    assert only(found, "results", ORDER)["issued"].text == TOMORROW
    assert refs(found, "results", E) == ["DiagnosticReport/r"]
    assert refs(found, "documents", ORDER) == ["DocumentReference/d"]
    assert refs(found, "contacts", E) == ["Communication/after", "Communication/named"]
    assert found.fact("contacts", found.chart.snapshots[E]).types == {"Communication"}


def test_the_focus_itself() -> None:
    held = snap(visit(start="2025-12-12T02:00:00Z", actors=("PractitionerRole/z", *DR)),
                changed=NOW, first_seen=NOW - timedelta(days=2))  # fmt: skip
    found = facts(patient(birthDate="1980-01-01"), held)
    assert only(found, "day", V) == When(datetime(2025, 12, 11, 5, tzinfo=UTC), True, "2025-12-11")
    assert only(found, "changed", V).instant == NOW
    assert only(found, "first_seen", V).instant == NOW - timedelta(days=2)
    assert only(found, "patient", V)["birthDate"] == "1980-01-01"
    assert refs(found, "practitioner", V) == ["Practitioner/dr", "PractitionerRole/z"]
    assert facts(held).fact("patient", held).types == {"Patient"}


def test_the_coverage_of_an_order_and_of_itself() -> None:
    held = coverage(period={"end": "2025-12-31"})
    found = facts(held, order(insurance=[{"reference": C}]), answer("1"))
    for ref in (C, ORDER, "CoverageEligibilityResponse/1"):
        assert only(found, "coverage", ref)["period"] == {"end": "2025-12-31"}


# Functions


def act(*held: Any, **ordered: Any) -> Told:
    found = facts(order(**ordered), *held, codebook=IMAGING)
    return found.isOrderToAct(found.chart.snapshots[ORDER])


@pytest.mark.parametrize("ordered", [
    {}, {"intent": "original-order"}, {"doNotPerform": False}, {"basedOn": [{"reference": "CarePlan/x"}]},
    {"encounter": "odd"},
])  # fmt: skip
def test_an_order_to_act(ordered: dict[str, Any]) -> None:
    assert act(**ordered) == Told(True)


@pytest.mark.parametrize("ordered", [
    {"intent": "plan"}, {"intent": "instance-order"}, {"doNotPerform": True},
    {"subject": {"reference": "Group/g"}},
    {"basedOn": [{"reference": "ServiceRequest/parent"}]},
    {"code": {"coding": [{"system": "http://snomed.info/sct", "code": "304253006"}]}},
    {"category": [{"coding": [
        {"system": "http://hl7.org/fhir/us/core/CodeSystem/us-core-category", "code": "PMO"}]}]},
])  # fmt: skip
def test_no_order_to_act(ordered: dict[str, Any]) -> None:
    held = snap(order(**ordered), patients=("Patient/p",))
    assert facts(held, codebook=IMAGING).isOrderToAct(held) == Told(False)


def test_the_setting_decides_and_has_to_be_read() -> None:
    at = {"encounter": {"reference": E}}
    assert act(**at) == Told(None, frozenset({"Encounter"}))
    assert act(stay(code="IMP"), **at) == Told(False)
    assert act(stay(code="EMER"), **at) == Told(False)
    assert act(stay(code="AMB"), **at) == Told(True)
    local = stay(**{"class": {"system": "l", "code": "W"}})
    assert act(local, **at) == Told(None)
    assert act(local, category=[{"coding": [{"system": "l", "code": "REF"}]}], **at) == Told(True)
    assert act(intent=None) == Told(None)
    assert act(intent="plan", **at) == Told(False)  # contrary facts need no reading


def test_kind_cancelled_by_and_completed() -> None:
    found = facts(order(code={"coding": [{"system": "l", "code": "MR"}]}), visit(status="cancelled"),
                  codebook=IMAGING, source={"completed_means": "performed"})  # fmt: skip
    assert found.kind(found.chart.snapshots[ORDER]) == Told("imaging")
    assert found.cancelledBy(found.chart.snapshots[V]) == Told(None)
    assert found.completedMeans() == Told("performed")
    assert facts().completedMeans() == Told("unknown")


def test_the_codes_of_the_source_count() -> None:
    found = facts(order(code={"coding": [{"system": "l", "code": "Q"}]}),
                  source={"codes": {"order-kind": {"l|Q": "procedure"}}})  # fmt: skip
    assert found.kind(found.chart.snapshots[ORDER]) == Told("procedure")


def task(generation: int = 1, focus: str = ORDER, **more: Any) -> Task:
    values = {
        "business_status": "submitted",
        "mine": frozenset({"business_status"}),
        "touched_at": NOW - timedelta(hours=generation),
        "opened_at": NOW - timedelta(days=10 - generation),
        **more,
    }
    return Task(f"b-k-{generation}", "ehr", "Patient/p", "k", generation, "m", 1, "r", "obtain-authorization",
                "n", focus, **values)  # fmt: skip


def marked(*tasks: Task, held: tuple[Any, ...] = ()) -> list[datetime]:
    found = facts(order(), *held, tasks=tasks)
    fact = found.marked("obtain-authorization", "submitted", found.chart.snapshots[ORDER])
    return [when.instant for when in fact.records]


def test_marked_by_a_person_on_our_newest_task() -> None:
    assert marked(task()) == [NOW - timedelta(hours=1)]
    assert marked() == []
    assert marked(task(mine=frozenset())) == []
    assert marked(task(business_status="gathering")) == []
    assert marked(task(focus="ServiceRequest/x")) == []
    assert marked(task(1), task(2, business_status="gathering")) == []
    assert marked(task(1, business_status=""), task(2)) == [NOW - timedelta(hours=2)]
    unknown = facts(order(), tasks=(task(touched_at=None),))
    assert unknown.marked("obtain-authorization", "submitted", unknown.chart.snapshots[ORDER]).gaps == {
        UNSURE
    }


def test_a_mark_is_inherited_by_the_order_that_replaces() -> None:
    new = order("new", replaces=[{"reference": ORDER}])
    found = facts(order(status="revoked"), new, tasks=(task(),))
    assert found.marked(
        "obtain-authorization", "submitted", found.chart.snapshots["ServiceRequest/new"]
    ).records


# What is open, and the frame


def test_a_quarantined_visit_opens_every_fact_about_visits() -> None:
    found = facts(order(), snap(visit(**ON), state=SnapshotState.QUARANTINED))
    fact = found.fact("visits", found.chart.snapshots[ORDER])
    assert (fact.records, fact.gaps) == ((), {UNSURE})
    assert found.fact("answer", snap(coverage())).gaps == frozenset()


def test_a_row_of_an_older_base_edition_is_a_gap_of_its_type() -> None:
    for edition, gaps in (("00000000.abc", {"Appointment"}), (f"{BASE_EDITION}.abc", set()), ("", set())):
        found = facts(order(), snap(visit(**ON), edition=edition))
        assert found.fact("visits", found.chart.snapshots[ORDER]).gaps == gaps


def test_focuses_are_live_in_scope_and_of_this_person() -> None:
    other = order("other", subject={"reference": "Patient/x"})
    found = facts(order("b"), order("a"), other, snap(order("hidden"), in_scope=False),
                  snap(order("gone"), state=SnapshotState.DELETED),
                  snap(order("torn"), state=SnapshotState.QUARANTINED))  # fmt: skip
    assert [s.ref for s in found.focuses("ServiceRequest")] == ["ServiceRequest/a", "ServiceRequest/b"]


def test_the_facts_of_a_merged_person_are_one() -> None:
    old = visit(**ON)
    old["participant"][0]["actor"]["reference"] = "Patient/old"
    found = facts(order(), old, patients=("Patient/p", "Patient/old"))
    assert refs(found, "visits", ORDER) == [V]


def test_every_fact_answers_for_every_focus_within_its_types() -> None:
    held = [patient(), order(), visit(), stay(), coverage(), answer("1")]
    found = facts(*held)
    for name, types in FACT_TYPES.items():
        for snapshot in found.chart.snapshots.values():
            fact = found.fact(name, snapshot)
            assert fact.types <= types
            assert found.fact(name, snapshot) is fact  # once
            if snapshot.type not in FACT_TYPE_OF_FOCUS.get(name, {snapshot.type}):
                assert fact.records == ()
    with pytest.raises(KeyError):
        found.fact("vists", found.chart.snapshots[ORDER])
    assert set(FUNCTION_TYPES) == {"kind", "cancelledBy", "completedMeans", "isOrderToAct", "marked"}


_odd = st.recursive(
    st.none() | st.booleans() | st.sampled_from(["ServiceRequest/o", "2025-12-10", "active", "x"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["reference", "coding", "code", "start", "actor", "item", "url"]), inner
        )
    ),
    max_leaves=6,
)
_names = sorted(
    {"basedOn", "replaces", "identifier", "participant", "insurance", "period", "class", "code", "category"}
    | {"extension", "created", "start", "encounter", "context", "appointment", "link", "requisition"}
    | {"contained", "serviceType", "occurrenceTiming", "request", "meta"}
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from(_names), _odd, max_size=4), min_size=6, max_size=6))
def test_no_shape_of_content_raises(parts: list[dict[str, Any]]) -> None:
    plain = [patient("p"), order(), visit(), stay(), coverage(), answer("1")]
    held = [snap({**body, **part}, patients=("Patient/p",)) for body, part in zip(plain, parts, strict=True)]
    found = facts(*held)
    assert found.guard.state
    for snapshot in held:
        for name in FACT_TYPES:
            found.fact(name, snapshot)
    found.isOrderToAct(held[1])
    found.kind(held[1])
    found.cancelledBy(held[2])

"""Eligibility: the newest answer that speaks, the last attempt, and what is said of one order."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from adapter.facts.codes import Codebook
from adapter.facts.facts import UNSURE, Fact
from adapter.facts.keep import Keeper, Unreadable
from adapter.model import Known, Snapshot, SnapshotState
from tests.facts.making import BASES, answer, coverage, facts, order, snap, visit

MORNING, NOON, EVENING = (f"2025-12-10T{hour}:00:00-05:00" for hour in ("09", "12", "18"))
CODE = {"coding": [{"system": "cpt", "code": "73721"}]}
OTHER_CODE = {"coding": [{"system": "cpt", "code": "99999"}]}
CLASS = {"coding": [{"system": "benefit", "code": "62"}]}
BOOK = Codebook(maps={"benefit-class": {"benefit|62": "imaging"}, "order-kind": {"cpt|73721": "imaging"}})


def updated(body: dict[str, Any], hour: int) -> Snapshot:
    return snap(body, last_updated=datetime(2025, 12, 10, hour, tzinfo=UTC))


def about(name: str, *held: Any, on: str = "Coverage/c", **more: Any) -> Fact:
    """A fact; what is kept of the resources says the same as the whole ones."""
    found, trimmed = (facts(coverage(), *bodies, **more) for bodies in (held, map(kept, held)))
    fact = found.fact(name, found.chart.snapshots[on])
    assert trimmed.fact(name, trimmed.chart.snapshots[on]) == fact
    return fact


def kept(held: Any) -> Any:
    """A resource as the ledger holds it; what could never be stored stays as it is."""
    body = held.body if isinstance(held, Snapshot) else held
    try:
        trimmed = KEEPER.keep(body).body
    except Unreadable:
        return held
    return structs.replace(held, body=trimmed) if isinstance(held, Snapshot) else trimmed


KEEPER = Keeper({}, bases=BASES)


def inforce(*held: Any) -> object:
    fact = about("answer", *held)
    if UNSURE in fact.gaps:
        assert fact.records == ()
        return UNSURE
    return fact.records[0]["inforce"] if fact.records else None


def test_the_newest_answer_that_speaks() -> None:
    bad, good = answer("1", inforce=False, created=MORNING), answer("2", inforce=True, created=NOON)
    assert inforce(bad) is False
    assert inforce(bad, good) is True
    fact = about("answer", bad, good)
    record = fact.records[0]
    assert record["ref"] == "CoverageEligibilityResponse/2"
    assert record["created"].text == NOON
    assert fact.types == {"CoverageEligibilityResponse"}


@pytest.mark.parametrize("silent", [
    answer("9", outcome="queued", inforce=True, created=EVENING),
    answer("9", outcome="error", created=EVENING),
    answer("9", outcome="error", on="", created=EVENING),
    answer("9", created=EVENING),  # other purposes: it does not say
    answer("9", inforce=True, created=EVENING, status="cancelled"),
    answer("9", inforce=True, created=EVENING, status="draft"),
    answer("9", inforce=True, created=EVENING, on="Coverage/other"),
    answer("9", inforce=True, created=EVENING, on="https://other/fhir/Coverage/c"),
    answer("9", outcome="complete", created=EVENING, insurance="odd"),
])  # fmt: skip
def test_what_supersedes_nothing(silent: dict[str, Any]) -> None:
    assert inforce(answer("1", inforce=False, created=MORNING), silent) is False


def test_an_answer_without_outcome_speaks_all_the_same() -> None:
    assert inforce(answer("1", inforce=False, outcome=None, created=MORNING)) is False


def test_days_are_compared_as_days() -> None:
    day = "2025-12-10"
    bad, good = answer("1", inforce=False, created=day), answer("2", inforce=True, created=EVENING)
    assert inforce(bad, good) == UNSURE
    assert inforce(updated(bad, 15), updated(good, 14)) is False
    assert inforce(updated(bad, 14), updated(good, 15)) is True
    assert inforce(bad, answer("2", inforce=False, created=day)) is False
    assert inforce(bad, answer("2", inforce=True, created="2025-12")) == UNSURE
    # 22:00 in New York is the next day in UTC, and still the same day at the source
    assert inforce(bad, answer("2", inforce=True, created="2025-12-11T03:00:00Z")) == UNSURE


def test_without_created_the_last_update_decides() -> None:
    bad, good = answer("1", inforce=False), answer("2", inforce=True)
    assert inforce(updated(bad, 1), updated(good, 2)) is True
    assert inforce(bad, good) == UNSURE


def test_a_circle_of_times_is_a_tie() -> None:
    """09:00 < 12:00 by created; a bare day lies between them by lastUpdated, the other way round."""
    nine = updated(answer("1", inforce=True, created=MORNING), 20)
    noon = updated(answer("2", inforce=False, created=NOON), 16)
    day = updated(answer("3", inforce=True, created="2025-12-10"), 18)
    for held in itertools.permutations((nine, noon, day)):
        assert inforce(*held) == UNSURE


_SPOKEN = st.builds(
    lambda inforce, created, hour, outcome, on: (inforce, created, hour, outcome, on),
    st.sampled_from([True, False, None]),
    st.sampled_from([MORNING, NOON, "2025-12-10", "2025-12-09", "2025-12", None, "odd"]),
    st.sampled_from([10, 14, 18, None]),
    st.sampled_from(["complete", "partial", "queued", "error"]),
    st.sampled_from(["Coverage/c", ""]),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(_SPOKEN, min_size=1, max_size=4), st.data())
def test_no_permutation_of_arrival_changes_the_answer(
    spoken: list[tuple[bool | None, str | None, int | None, str, str]], data: st.DataObject
) -> None:
    held = []
    for number, (in_force, created, hour, outcome, on) in enumerate(spoken):
        body = answer(str(number), inforce=in_force, outcome=outcome, on=on, created=created)
        held.append(
            snap(body, last_updated=None if hour is None else datetime(2025, 12, 10, hour, tzinfo=UTC))
        )
    wanted = [(name, about(name, *held)) for name in ("answer", "attempt")]
    for again in itertools.permutations(held):
        arrived = [
            snap(s.body, last_updated=s.last_updated, sent_seq=n, received_seq=n) for n, s in enumerate(again)
        ]
        for name, fact in wanted:
            found = about(name, *arrived)
            assert (found.gaps, found.types) == (fact.gaps, fact.types)
            assert [r["ref"] for r in found.records] == [r["ref"] for r in fact.records]


def test_the_named_case_bad_good_error_queued_other_purpose() -> None:
    day = "2025-12-10"
    held = [
        updated(answer("bad", inforce=False, created=day), 9),
        updated(answer("good", inforce=True, created=day), 11),
        updated(answer("error", outcome="error", created=day), 12),
        updated(answer("queued", outcome="queued", created=day), 13),
        updated(answer("benefits", created=day), 14),
    ]
    for again in itertools.permutations(held):
        assert inforce(*again) is True


def test_the_last_attempt_of_any_outcome() -> None:
    held = [answer("1", inforce=True, created=MORNING), answer("2", outcome="error", created=NOON)]
    record = about("attempt", *held).records[0]
    assert (record["ref"], record["outcome"]) == ("CoverageEligibilityResponse/2", "error")
    assert (
        about("attempt", *held, answer("3", outcome="queued", created=EVENING)).records[0]["outcome"]
        == "queued"
    )
    same_day = [answer("1", created="2025-12-10"), answer("2", outcome="error", created="2025-12-10")]
    assert about("attempt", *same_day).gaps == {UNSURE}


def test_an_error_without_a_coverage() -> None:
    nameless = answer(
        "e", outcome="error", on="", created=NOON, request={"reference": "CoverageEligibilityRequest/q"}
    )
    only = about("attempt", nameless)
    assert only.records[0]["outcome"] == "error"
    assert only.types == {"CoverageEligibilityResponse", "Coverage"}
    two = facts(coverage(), coverage("c2"), nameless)
    assert two.fact("attempt", two.chart.snapshots["Coverage/c"]).records == ()
    assert two.eligibility.unattached == ("CoverageEligibilityResponse/e",)
    sibling = answer("s", on="Coverage/c2", request={"reference": "CoverageEligibilityRequest/q/_history/1"},
                     created=MORNING)  # fmt: skip
    by_request = facts(coverage(), coverage("c2"), nameless, sibling)
    assert (
        by_request.fact("attempt", by_request.chart.snapshots["Coverage/c2"]).records[0]["outcome"] == "error"
    )
    assert by_request.fact("attempt", by_request.chart.snapshots["Coverage/c"]).records == ()
    assert by_request.eligibility.unattached == ()


@pytest.mark.parametrize("other", [
    coverage("c2", status="cancelled"),
    coverage("c2", period={"end": "2024-12-31"}),
    snap(coverage("c2"), state=SnapshotState.DELETED),
])  # fmt: skip
def test_the_only_live_coverage_is_meant(other: Any) -> None:
    assert about("attempt", other, answer("e", outcome="error", on="", created=NOON)).records


def test_a_quarantined_answer_makes_all_unknown() -> None:
    torn = snap(answer("2", inforce=True), state=SnapshotState.QUARANTINED)
    assert about("answer", answer("1", inforce=False, created=MORNING), torn).gaps == {UNSURE}


def test_contained_and_logical_coverages() -> None:
    card = {"system": "urn:card", "value": "12345"}
    held = coverage(identifier=[card])
    copy = {"resourceType": "Coverage", "id": "c1", "status": "active", "identifier": [card]}
    contained = answer("1", inforce=False, on="#c1", contained=[copy], created=MORNING)
    found = facts(held, contained)
    assert found.fact("answer", found.chart.snapshots["Coverage/c"]).records[0]["inforce"] is False
    logical = answer("1", created=MORNING, insurance=[{"coverage": {"identifier": card}, "inforce": False}])
    found = facts(held, logical)
    assert found.fact("answer", found.chart.snapshots["Coverage/c"]).records[0]["inforce"] is False
    stranger = answer("1", inforce=False, on="#c1", created=MORNING,
                      contained=[{**copy, "identifier": [{"system": "urn:card", "value": "9"}]}])  # fmt: skip
    found = facts(held, stranger)
    assert found.fact("answer", found.chart.snapshots["Coverage/c"]).records == ()


# What is said of one order


def items(id: str, *said: dict[str, Any], on: str = "Coverage/c", **more: Any) -> dict[str, Any]:
    insurance = [{"coverage": {"reference": on}, "inforce": True, "item": list(said)}]
    return answer(id, insurance=insurance, **{"created": MORNING, **more})


def crd(**parts: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "coverage": {"valueReference": {"reference": "Coverage/c"}},
        "date": {"valueDate": "2025-12-10"},
        **{name.replace("_", "-"): {"valueCode": value} for name, value in parts.items()},
    }
    return {
        "url": "http://hl7.org/fhir/us/davinci-crd/StructureDefinition/ext-coverage-information",
        "extension": [{"url": name, **value} for name, value in values.items()],
    }


def says(*held: Any, ordered: dict[str, Any] | None = None) -> list[str]:
    fact = about("benefits", ordered or order(code=CODE), *held, on="ServiceRequest/o", codebook=BOOK)
    return [UNSURE] if UNSURE in fact.gaps else sorted(r["says"] for r in fact.records)


def test_items_by_code_and_by_class() -> None:
    exact = {"productOrService": CODE, "authorizationRequired": True, "excluded": False}
    assert says(items("1", exact)) == ["authorization-needed", "covered"]
    assert says(items("1", {"category": CLASS, "authorizationRequired": False})) == [
        "authorization-not-needed"
    ]
    assert says(items("1", {"category": CLASS, "excluded": True})) == ["excluded"]
    assert (
        says(items("1", {"productOrService": OTHER_CODE, "category": CLASS, "authorizationRequired": True}))
        == []
    )
    assert (
        says(items("1", {"category": {"coding": [{"system": "benefit", "code": "35"}]}, "excluded": True}))
        == []
    )
    # what speaks of the code silences what speaks of its class
    both = items("1", exact, {"category": CLASS, "authorizationRequired": False})
    assert says(both) == ["authorization-needed", "covered"]


def test_absent_booleans_say_nothing() -> None:
    assert says(items("1", {"productOrService": CODE})) == []
    assert says(items("1", {"productOrService": CODE, "authorizationRequired": "yes", "excluded": 1})) == []


def test_the_record_names_coverage_and_time() -> None:
    held = (order(code=CODE), items("1", {"productOrService": CODE, "excluded": True}))
    fact = about("benefits", *held, on="ServiceRequest/o", codebook=BOOK)
    record = fact.records[0]
    assert (record["coverage"], record["created"].text, record["ref"]) == (
        "Coverage/c", MORNING, "CoverageEligibilityResponse/1")  # fmt: skip


def test_the_newest_statement_of_each_kind_counts() -> None:
    needed = {"productOrService": CODE, "authorizationRequired": True, "excluded": False}
    recheck = items("2", {"productOrService": CODE, "authorizationRequired": False}, created=NOON)
    assert says(items("1", needed), recheck) == ["authorization-not-needed", "covered"]
    assert says(items("1", needed), items("2", needed, outcome="error", created=NOON)) == [
        "authorization-needed", "covered"]  # fmt: skip
    tie = items("2", {"productOrService": CODE, "authorizationRequired": False}, created="2025-12-10")
    assert says(items("1", needed, created="2025-12-10"), tie) == [UNSURE]


def test_items_that_disagree_within_one_answer() -> None:
    split = [{"productOrService": CODE, "authorizationRequired": required} for required in (True, False)]
    assert says(items("1", *split)) == [UNSURE]


def test_an_authorization_number_satisfies_and_a_recheck_of_the_plan_does_not_undo_it() -> None:
    needed = {"productOrService": CODE, "authorizationRequired": True}
    given_ = items("2", needed, preAuthRef="PA-1", created=NOON)
    assert says(items("1", needed), given_) == ["authorization-satisfied"]
    assert says(given_, items("3", needed, created=EVENING)) == ["authorization-satisfied"]


def test_crd_on_the_order_and_on_its_visit() -> None:
    def told(**parts: Any) -> list[str]:
        return says(ordered=order(code=CODE, extension=[crd(**parts)]))

    assert told(covered="covered", pa_needed="auth-needed") == ["authorization-needed", "covered"]
    assert told(covered="not-covered", pa_needed="no-auth") == ["authorization-not-needed", "excluded"]
    assert told(covered="conditional", pa_needed="indeterminate") == ["conditional"]
    assert told(covered="indeterminate") == []
    assert told(pa_needed="auth-needed", satisfied_pa_id="PA-1") == ["authorization-satisfied"]
    carried = visit(basedOn=[{"reference": "ServiceRequest/o"}], extension=[crd(pa_needed="satisfied")])
    assert says(carried) == ["authorization-satisfied"]
    assert says({**carried, "status": "cancelled"}) == []


def test_crd_for_two_billing_codes_is_no_contradiction() -> None:
    def line(code: str, needed: str) -> dict[str, Any]:
        told = crd(pa_needed=needed)
        told["extension"].append({"url": "billingCode", "valueCoding": {"system": "cpt", "code": code}})
        return told

    both = order(code=CODE, extension=[line("1", "no-auth"), line("2", "auth-needed")])
    assert says(ordered=both) == ["authorization-needed", "authorization-not-needed"]
    clash = order(code=CODE, extension=[line("1", "no-auth"), line("1", "auth-needed")])
    assert says(ordered=clash) == [UNSURE]


def test_only_live_coverages_speak() -> None:
    needed = items("1", {"productOrService": CODE, "authorizationRequired": True})
    assert says(needed) == ["authorization-needed"]
    for held in (coverage(status="cancelled"), snap(coverage(), state=SnapshotState.DELETED)):
        assert says(needed, held) == []
    ended = {"coverage": {"reference": "Coverage/c"}, "inforce": False,
             "item": [{"productOrService": CODE, "authorizationRequired": True}]}  # fmt: skip
    assert says(answer("1", insurance=[ended], created=MORNING)) == []


def test_an_order_that_names_its_coverage_hears_only_that() -> None:
    needed = items("1", {"productOrService": CODE, "authorizationRequired": True})
    elsewhere = order(code=CODE, insurance=[{"reference": "Coverage/c2"}])
    assert says(needed, coverage("c2"), ordered=elsewhere) == []


def test_a_coverage_that_was_not_read_is_wanted() -> None:
    needed = items("1", {"productOrService": CODE, "authorizationRequired": True}, on="Coverage/far")
    held = (order(code=CODE), needed)
    fact = about("benefits", *held, on="ServiceRequest/o", codebook=BOOK)
    assert (fact.records, fact.gaps) == ((), {"Coverage"})
    none = about("benefits", *held, on="ServiceRequest/o", codebook=BOOK,
                 known={"Coverage": Known(declared_none=True)})  # fmt: skip
    assert [r["says"] for r in none.records] == ["authorization-needed"]
    assert none.gaps == frozenset()


def test_two_answers_with_copies_of_one_coverage_supersede_each_other() -> None:
    copy = [{"resourceType": "Coverage", "id": "x", "status": "active",
             "identifier": [{"system": "urn:card", "value": "7"}]}]  # fmt: skip
    first = items("1", {"productOrService": CODE, "authorizationRequired": True}, on="#x", contained=copy)
    second = items("2", {"productOrService": CODE, "authorizationRequired": False}, on="#x", contained=copy,
                   created=NOON)  # fmt: skip
    assert says(first, second) == ["authorization-not-needed"]


def test_periods_cover_their_last_day() -> None:
    found = facts(coverage(period={"start": "2025-01-01", "end": "2025-12-31"}),
                  visit("in", start="2025-12-31T15:00:00Z"), visit("out", start="2026-01-02T15:00:00Z"),
                  now=datetime(2025, 12, 10, tzinfo=UTC) + timedelta(hours=1))  # fmt: skip
    coming = found.fact("coming", found.chart.snapshots["Coverage/c"])
    assert [r["ref"] for r in coming.records] == ["Appointment/in"]

"""One rule, one focus: three values, freshness, dates, silence, and when to look again."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs
from msgspec.structs import replace

from adapter.mapping.finding import Tri
from adapter.model import Chart, Priority, SnapshotState, Task
from tests.mapping.making import HEAD, HOUR, REFERRAL, at, chart, edition, find, known, order, shipped

NOW = "2025-12-08T10:00:00-05:00"
OPENS = datetime(2025, 12, 4, 15, tzinfo=UTC)
ORDER = {"ServiceRequest/o1": order()}
VISIT = {
    "status": "fulfilled",
    "created": "2025-11-12T10:00:00-05:00",
    "start": "2025-12-01T14:00:00-05:00",
    "end": "2025-12-01T14:30:00-05:00",
    "basedOn": [{"reference": "ServiceRequest/o1"}],
}


def judged(given: dict[str, Any], rule: str = "schedule-referral", now: str = NOW, **more: Any) -> Any:
    made = shipped()
    return find(made, rule, chart(made, now, given, **more), "ServiceRequest/o1")


def task(rule: str, focus: str, **more: Any) -> Task:
    return Task(
        id="b-k-1",
        source="scenario",
        patient="Patient/p1",
        key="k",
        generation=1,
        mapping="referral",
        mapping_version=1,
        rule=rule,
        code=rule,
        need=more.pop("need", f"visit-for:{focus}"),
        focus=focus,
        **more,
    )


def on_trial(
    folder: Path, text: str, now: str = NOW, given: dict[str, Any] | None = None, **more: Any
) -> Any:
    made = edition(folder, HEAD + text)
    return find(made, "trial", chart(made, now, given or ORDER, **more), "ServiceRequest/o1")


# Three values


@pytest.mark.parametrize(
    ("when", "tri"),
    [
        ("status = 'active'", Tri.YES),
        ("status = 'draft'", Tri.NO),
        ("priority = 'stat'", Tri.UNKNOWN),  # absent
        ("priority = 'stat' or status = 'active'", Tri.YES),
        ("priority = 'stat' and status = 'draft'", Tri.NO),
        ("code.coding.code = 'x'", Tri.UNKNOWN),
        ('"%visits.empty()"', Tri.YES),
        ('"%visits.exists().not()"', Tri.YES),
    ],
)
def test_conditions(tmp_path: Path, when: str, tri: Tri) -> None:
    found = on_trial(tmp_path, f"    when: {when}\n", declared_none=["Appointment"])
    assert (found.when, found.missing, found.errors) == (tri, frozenset(), ())


def test_an_unread_type_is_unknown_and_named() -> None:
    found = judged(ORDER, unknown=["Appointment"])
    assert (found.when, found.satisfied) == (Tri.YES, Tri.UNKNOWN)
    assert found.missing == {"Appointment"}


def test_what_is_found_counts_at_once() -> None:
    booked = {**VISIT, "status": "booked"}
    found = judged({**ORDER, "Appointment/v1": booked}, unknown=["Appointment"])
    assert found.satisfied is Tri.YES
    assert found.closing == ("Appointment/v1",)
    assert found.missing == frozenset()


def test_a_declared_none_type_is_empty_and_known() -> None:
    assert judged(ORDER, declared_none=["Appointment"]).satisfied is Tri.NO


def test_an_error_is_unknown_and_told_without_values(tmp_path: Path) -> None:
    given = {"ServiceRequest/o1": order(note=[{"text": "secret"}, {"text": "secret"}])}
    found = on_trial(tmp_path, "    when: note.text > 'secret'\n", given=given)
    assert found.when is not Tri.YES
    assert found.missing == frozenset()
    assert found.errors == ("trial/trial: note.text > 'secret'",)


def test_a_condition_that_is_no_truth_value_is_an_error(tmp_path: Path) -> None:
    found = on_trial(tmp_path, "    when: status\n")
    assert found.when is Tri.UNKNOWN
    assert found.errors


def test_nothing_is_read_where_no_reading_helps(tmp_path: Path) -> None:
    text = "    applies: priority = 'stat'\n    when: \"%visits.exists()\"\n"
    found = on_trial(tmp_path, text, unknown=["Appointment"])
    assert (found.when, found.missing) == (Tri.UNKNOWN, frozenset())


def test_a_blind_type_is_never_asked_for() -> None:
    made = shipped()
    blind = known(chart(made, NOW, ORDER), "Appointment", blind="403")
    found = find(made, "schedule-referral", blind, "ServiceRequest/o1")
    assert (found.satisfied, found.missing) == (Tri.UNKNOWN, frozenset())
    assert found.blind == {"Appointment"}


def test_status_unknown_counts_as_absent() -> None:
    assert judged({"ServiceRequest/o1": order(status="unknown")}).when is Tri.UNKNOWN


def test_an_order_on_hold_is_judged_as_active() -> None:
    found = judged({"ServiceRequest/o1": order(status="on-hold")})
    assert (found.when, found.on_hold) == (Tri.YES, True)


@pytest.mark.parametrize(
    ("state", "when"),
    [
        (SnapshotState.DELETED, Tri.NO),
        (SnapshotState.ERROR, Tri.NO),
        (SnapshotState.QUARANTINED, Tri.UNKNOWN),
    ],
)
def test_tombstones_and_quarantine(state: SnapshotState, when: Tri) -> None:
    made = shipped()
    held = chart(made, NOW, ORDER)
    focus = structs.replace(held.snapshots["ServiceRequest/o1"], state=state)
    held = replace(held, snapshots={**held.snapshots, focus.ref: focus})
    assert find(made, "schedule-referral", held, focus.ref).when is when


# Freshness


def fresh(**changes: Any) -> Tri:
    made = shipped()
    held = known(chart(made, NOW, ORDER), "Appointment", **changes)
    satisfied: Tri = find(made, "schedule-referral", held, "ServiceRequest/o1").satisfied
    return satisfied


def test_absence_has_to_be_known_since_the_focus_came_and_since_it_acts() -> None:
    assert fresh(at=OPENS) is Tri.NO
    assert fresh(at=OPENS - HOUR) is Tri.UNKNOWN
    assert fresh(seq=2) is Tri.UNKNOWN
    assert fresh(at=None) is Tri.UNKNOWN
    assert fresh(bounded=True) is Tri.UNKNOWN


def test_before_it_opens_only_the_arrival_of_the_focus_counts() -> None:
    made = shipped()
    held = chart(made, "2025-12-03T10:00:00-05:00", ORDER)
    received = held.snapshots["ServiceRequest/o1"].received_at
    assert received is not None
    early = find(made, "schedule-referral", known(held, "Appointment", at=received), "ServiceRequest/o1")
    assert (early.satisfied, early.opens, early.next_look) == (Tri.NO, OPENS, OPENS)
    assert (
        find(
            made, "schedule-referral", known(held, "Appointment", at=received - HOUR), "ServiceRequest/o1"
        ).satisfied
        is Tri.UNKNOWN
    )


def test_the_walk_that_brought_the_focus_counts_for_its_own_type() -> None:
    made = shipped()
    given = {"Appointment/v1": {"status": "noshow", "start": "2025-12-01T14:00:00-05:00"}}
    held = chart(made, NOW, given)
    focus = structs.replace(
        held.snapshots["Appointment/v1"], received_seq=40, walk_seq=30, received_at=held.now
    )
    held = replace(held, snapshots={**held.snapshots, focus.ref: focus})
    begun = held.now - timedelta(minutes=3)
    same = known(held, "Appointment", at=begun, seq=30)
    assert find(made, "rebook-visit", same, focus.ref).satisfied is Tri.NO
    older = known(held, "Appointment", at=begun, seq=29)
    assert find(made, "rebook-visit", older, focus.ref).satisfied is Tri.UNKNOWN


def test_evidence_to_act_on_is_not_old() -> None:
    made = shipped()
    held = chart(made, "2025-12-08T15:00:00-05:00", {**ORDER, "Appointment/v1": VISIT})
    found = find(made, "obtain-result", held, "ServiceRequest/o1")
    assert found.opens_now(held.now)
    assert found.next_look == held.now + HOUR
    later = find(made, "obtain-result", at(held, held.now + HOUR), "ServiceRequest/o1")
    assert later.satisfied is Tri.UNKNOWN
    assert later.missing >= {"DiagnosticReport", "DocumentReference"}


def test_an_open_task_is_not_withdrawn_on_an_old_reading() -> None:
    made = shipped()
    held = chart(made, NOW, {**ORDER, "Appointment/v1": {**VISIT, "status": "cancelled"}})
    mine = task(
        "obtain-result", "ServiceRequest/o1", need="result-of:ServiceRequest/o1", opened_at=held.now - HOUR
    )
    held = replace(held, tasks=(mine,))
    assert find(made, "obtain-result", held, "ServiceRequest/o1").when is Tri.NO
    old = known(held, "Encounter", at=held.now - 2 * HOUR)
    found = find(made, "obtain-result", old, "ServiceRequest/o1")
    assert found.when is Tri.UNKNOWN
    assert "Encounter" in found.missing


# Dates


def test_a_step_with_an_absent_condition_does_not_apply_and_unless_does() -> None:
    found = judged(ORDER)
    assert found.opens == OPENS
    assert found.due == datetime(2025, 12, 18, 22, tzinfo=UTC)
    assert found.due_is_day


def test_a_visit_that_fell_through_settles_first() -> None:
    given = {
        **ORDER,
        "Appointment/v1": {**VISIT, "status": "cancelled", "_changed": "2025-12-08T09:00:00-05:00"},
    }
    found = judged(given)
    assert found.opens == datetime(2025, 12, 8, 18, tzinfo=UTC)
    assert found.next_look == found.opens


def test_opens_without_a_value_is_unknown(tmp_path: Path) -> None:
    found = on_trial(tmp_path, "    opens: {after: occurrence}\n")
    assert not found.opens_known
    assert found.missing == frozenset()


def test_no_opens_is_the_onset_and_no_onset_is_the_first_sight(tmp_path: Path) -> None:
    given = {"ServiceRequest/o1": order(_seen="2025-12-02T09:00:00-05:00")}
    found = on_trial(tmp_path, "", given=given)
    assert found.opens == found.onset == datetime(2025, 12, 2, 14, tzinfo=UTC)
    assert on_trial(tmp_path, "    onset: authoredOn\n", given=given).onset == datetime(
        2025, 12, 1, 15, tzinfo=UTC
    )


@pytest.mark.parametrize(
    ("anchor", "opens"),
    [
        ("{after: occurrence}", "2025-12-04T00:00"),
        ("{before: occurrence}", "2025-12-03T08:00"),
        ("{before: occurrence, by: 1 day}", "2025-12-02T08:00"),
    ],
)
def test_a_day_opens_in_the_morning_and_lasts_to_its_end(tmp_path: Path, anchor: str, opens: str) -> None:
    given = {"ServiceRequest/o1": order(occurrenceDateTime="2025-12-03")}
    found = on_trial(tmp_path, f"    opens: {anchor}\n", given=given)
    assert found.opens == datetime.fromisoformat(opens + "-05:00")


@pytest.mark.parametrize(
    ("element", "after", "before"),
    [
        (
            {"occurrencePeriod": {"start": "2025-12-02T09:00:00Z", "end": "2025-12-03T09:00:00Z"}},
            "2025-12-03T09:00:00+00:00",
            "2025-12-02T09:00:00+00:00",
        ),
        (
            {"occurrenceTiming": {"event": ["2025-12-04T09:00:00Z", "2025-12-02T09:00:00Z"]}},
            "2025-12-02T09:00:00+00:00",
            "2025-12-02T09:00:00+00:00",
        ),
        (
            {"occurrenceTiming": {"repeat": {"boundsPeriod": {"start": "2025-12-02T09:00:00Z"}}}},
            None,
            "2025-12-02T09:00:00+00:00",
        ),
    ],
)
def test_periods_and_timings(tmp_path: Path, element: dict[str, Any], after: str | None, before: str) -> None:
    given = {"ServiceRequest/o1": order(**element)}
    opened = on_trial(tmp_path, "    opens: {after: occurrence}\n", given=given).opens
    assert (opened.isoformat() if opened else None) == after
    assert on_trial(tmp_path, "    opens: {before: occurrence}\n", given=given).opens.isoformat() == before


def test_once_ends_has_passed_when_is_no(tmp_path: Path) -> None:
    text = "    ends: {after: occurrence}\n"
    given = {"ServiceRequest/o1": order(occurrenceDateTime="2025-12-08")}
    found = on_trial(tmp_path, text, given=given)
    assert (found.when, found.ended, found.next_look) == (
        Tri.YES,
        False,
        datetime(2025, 12, 9, 5, tzinfo=UTC),
    )
    over = on_trial(tmp_path, text, given=given, now="2025-12-09T00:00:00-05:00")
    assert (over.when, over.ended) == (Tri.NO, True)


def test_no_task_is_born_overdue() -> None:
    soon = {**VISIT, "status": "proposed", "start": "2025-12-09T09:00:00-05:00"}
    made = shipped()
    held = chart(made, NOW, {"Appointment/v1": soon})
    found = find(made, "confirm-visit", held, "Appointment/v1")
    assert found.due == datetime(2025, 12, 8, 22, tzinfo=UTC)  # the end of today, not last Friday
    mine = task(
        "confirm-visit", "Appointment/v1", need="visit-for:Appointment/v1", opened_at=held.now - 72 * HOUR
    )
    opened = find(made, "confirm-visit", replace(held, tasks=(mine,)), "Appointment/v1")
    assert opened.due == datetime(2025, 12, 5, 22, tzinfo=UTC)


def test_bounds_only_mark_as_old() -> None:
    old = judged({"ServiceRequest/o1": order(authoredOn="2025-05-01")})
    assert (old.when, old.old, old.too_old_reason) == (Tri.YES, True, "max_age")
    before = judged(ORDER, source={"live_from": "2026-12-08T00:00:00-05:00"})
    assert (before.old, before.too_old_reason) == (True, "live_from")
    assert not judged(ORDER, source={"live_from": "2025-12-08T00:00:00-05:00"}).old


def test_what_waited_at_go_live_opens_evenly_over_the_days_after_it() -> None:
    made = shipped()
    source = {"live_from": "2025-12-08T00:00:00-05:00", "live_over": 10}
    one = chart(made, NOW, ORDER, source=source)
    charts = [replace(one, person=f"Patient/{number}") for number in range(600)]
    found = Counter(find(made, "schedule-referral", of, "ServiceRequest/o1").opens for of in charts)
    days = sorted(at for at in found if at is not None)
    assert [day.date().isoformat() for day in days] == [
        "2025-12-04",  # the tenth who need not wait
        *(f"2025-12-{day:02}" for day in (9, 10, 11, 12, 15, 16, 17, 18, 19)),
    ]
    assert max(found.values()) < 2 * min(found.values())


def test_a_turn_moves_no_task_that_is_open_already() -> None:
    made = shipped()
    source = {"live_from": "2025-12-08T00:00:00-05:00", "live_over": 10}
    one = replace(chart(made, NOW, ORDER, source=source), person="Patient/p1")
    assert find(made, "schedule-referral", one, "ServiceRequest/o1").opens > one.now
    open_one = replace(one, tasks=(task("schedule-referral", "ServiceRequest/o1", opened_at=OPENS),))
    assert find(made, "schedule-referral", open_one, "ServiceRequest/o1").opens == OPENS


def test_a_source_switches_rules_and_lists() -> None:
    made = shipped()
    visit = {
        "status": "waitlist",
        "created": "2025-11-20T10:00:00-05:00",
        "start": "2025-12-11T14:00:00-05:00",
    }
    more = {"parameters": {"scheduling": {"unconfirmed": ["proposed", "waitlist"]}}}
    plain = chart(made, NOW, {"Appointment/v1": visit})
    assert find(made, "confirm-visit", plain, "Appointment/v1").when is Tri.NO
    wider = chart(made, NOW, {"Appointment/v1": visit}, source=more)
    assert find(made, "confirm-visit", wider, "Appointment/v1").when is Tri.YES
    rule = made.rule("confirm-visit")
    assert rule is not None
    assert not rule.active_at(replace(plain.source, disabled=frozenset({"confirm-visit"})))


def test_a_source_overrides_parameters() -> None:
    found = judged(ORDER, source={"parameters": {"referral": {"open_after": "1 business day"}}})
    assert found.opens == datetime(2025, 12, 2, 15, tzinfo=UTC)


def test_steps_are_known_by_offset_and_effect(tmp_path: Path) -> None:
    due = "    due: {after: opens, by: 1 business day}\n"
    one = on_trial(tmp_path, due + "    escalate: [{by: 3 business days, tell: lead}]\n")
    two = on_trial(tmp_path, due + "    escalate: [{priority: urgent}, {by: 3 business days, tell: lead}]\n")
    assert one.steps[0].id == two.steps[1].id
    assert two.steps[0].at == two.due
    assert two.steps[0].priority is Priority.URGENT
    assert [step.at for step in two.steps] == sorted(step.at for step in two.steps)


def test_a_clock_has_dated_rows_and_a_fallback(tmp_path: Path) -> None:
    text = "    due: {after: onset, clock: payer-decision, by: 10 business days}\n"
    medicaid = {"status": "active", "type": {"coding": [{"system": "https://nahdo.org/sopt", "code": "21"}]}}
    given = {"ServiceRequest/o1": order(insurance=[{"reference": "Coverage/c1"}]), "Coverage/c1": medicaid}
    old = on_trial(tmp_path, text, given=given)
    assert old.due == datetime(2025, 12, 15, 22, tzinfo=UTC)
    assert old.next_look is not None
    assert old.next_look <= datetime(2026, 1, 1, 5, tzinfo=UTC)
    new = on_trial(tmp_path, text, now="2026-01-02T10:00:00-05:00", given=given)
    assert new.due == datetime(2026, 1, 2, 22, tzinfo=UTC)  # 8 December has passed: the end of today
    private = {**given, "Coverage/c1": {"status": "active"}}
    assert on_trial(tmp_path, text, given=private).due == datetime(2025, 12, 15, 22, tzinfo=UTC)


# Words, evidence, silence


def test_words_and_evidence_stand_with_open_needs() -> None:
    found = judged({**ORDER, "Appointment/v1": VISIT}, "obtain-result", "2025-12-08T15:00:00-05:00")
    assert found.particulars.opening == ("ServiceRequest/o1", "Appointment/v1")
    assert found.particulars.words.reason == "The visit took place on Mon 1 Dec and no report has arrived."


def test_priority_comes_from_the_focus() -> None:
    found = judged({"ServiceRequest/o1": order(priority="asap")})
    assert (found.priority, found.urgent) == (Priority.ASAP, True)
    assert judged(ORDER).urgent is False


def renewed(given: dict[str, Any], change: Any = None) -> str | None:
    made = shipped()
    held: Chart = chart(made, NOW, given)
    held = replace(held, tasks=(task("schedule-referral", "ServiceRequest/o1"),))
    held = change(held) if change else held
    digest: str | None = find(made, "schedule-referral", held, "ServiceRequest/o1").particulars.renews
    return digest


def test_silence_hangs_on_values() -> None:
    base = renewed(ORDER)
    assert base is not None
    touched = order(
        category=[{**REFERRAL, "text": "new words"}], code={"text": "x"}, _changed="2025-12-05T09:00:00-05:00"
    )
    assert renewed({"ServiceRequest/o1": touched}) == base
    assert renewed({"ServiceRequest/o1": order(priority="urgent")}) != base
    assert renewed({**ORDER, "Appointment/v1": {**VISIT, "status": "cancelled"}}) != base
    assert renewed(ORDER, lambda c: known(c, "Appointment", at=None)) is None


def test_a_visit_that_passes_wakes_nobody() -> None:
    made = shipped()
    answer = {
        "status": "active",
        "outcome": "complete",
        "created": "2025-12-01",
        "insurance": [{"coverage": {"reference": "Coverage/c1"}, "inforce": False}],
    }
    visits = {
        f"Appointment/v{day}": {"status": "booked", "start": f"2025-12-{day}T14:00:00-05:00"}
        for day in (10, 20)
    }
    given = {"Coverage/c1": {"status": "active"}, "CoverageEligibilityResponse/e1": answer, **visits}
    mine = task("verify-coverage", "Coverage/c1", need="coverage:Coverage/c1")
    before = replace(chart(made, "2025-12-09T10:00:00-05:00", given), tasks=(mine,))
    after = replace(chart(made, "2025-12-12T10:00:00-05:00", given), tasks=(mine,))
    digests = {
        find(made, "verify-coverage", held, "Coverage/c1").particulars.renews for held in (before, after)
    }
    assert len(digests) == 1
    assert None not in digests


def test_a_visit_that_is_coming_asks_for_a_look_at_its_start() -> None:
    made = shipped()
    answer = {
        "status": "active",
        "outcome": "complete",
        "created": "2025-12-01",
        "insurance": [{"coverage": {"reference": "Coverage/c1"}, "inforce": False}],
    }
    visit = {"status": "booked", "start": "2025-12-08T11:00:00-05:00"}
    given = {
        "Coverage/c1": {"status": "active"},
        "CoverageEligibilityResponse/e1": answer,
        "Appointment/v1": visit,
    }
    held = chart(made, NOW, given)
    found = find(made, "verify-coverage", held, "Coverage/c1")
    assert found.when is Tri.YES
    assert found.next_look == datetime(2025, 12, 8, 16, tzinfo=UTC)
    assert find(made, "verify-coverage", at(held, found.next_look), "Coverage/c1").when is Tri.NO


def test_the_need_is_unknown_with_several_orders() -> None:
    made = shipped()
    given = {
        "ServiceRequest/o1": order(),
        "ServiceRequest/o2": order(),
        "Appointment/v1": {
            **VISIT,
            "status": "proposed",
            "start": "2025-12-11T14:00:00-05:00",
            "basedOn": [{"reference": "ServiceRequest/o1"}, {"reference": "ServiceRequest/o2"}],
        },
    }
    found = find(made, "confirm-visit", chart(made, NOW, given), "Appointment/v1")
    assert (found.need, found.opens_known) == (None, False)

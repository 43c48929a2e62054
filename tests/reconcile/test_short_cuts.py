"""A look takes short cuts past history; what it decides is what a look without them would decide."""

from __future__ import annotations

import dataclasses
import gc
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from adapter.facts.facts import Facts
from adapter.ledger.fold import fold
from adapter.mapping.calendar import calendar_of
from adapter.mapping.evaluate import evaluate, judge_for_look
from adapter.mapping.finding import Finding, Tri
from adapter.mapping.moments import instant_of
from adapter.mapping.rules import Rule
from adapter.mapping.scope import Freshness, Scope, Seen
from adapter.mapping.screens import Screens
from adapter.mapping.template import Filled, canonical
from adapter.model import Chart, Known, Snapshot, SnapshotState, SourceFacts, Task, TaskStatus
from adapter.reconcile.changes import Deciding, Decision
from adapter.reconcile.needs import needs_of
from adapter.reconcile.reconciler import findings_of, look, speakers_of
from adapter.references import NO_BASES, patients_of
from tests.mapping.making import shipped

NOW = datetime(2026, 3, 4, 15, 0, tzinfo=UTC)  # a Wednesday
PATIENT = "Patient/p"
POLLED = ("ServiceRequest", "Appointment", "CoverageEligibilityResponse")
EVIDENCE = ("Encounter", "DiagnosticReport", "DocumentReference", "Coverage")
SNOMED = "http://snomed.info/sct"
KINDS = ("3457005", "363679005", "108252007", "387713003", "nonsense")
RULES = {rule.id: rule for rule in shipped().rules}

days = st.integers(-700, 60)
ids = st.sampled_from("abc")


def at(day: int) -> str:
    return (NOW + timedelta(days=day)).isoformat()


@st.composite
def orders(draw: st.DrawFn) -> dict[str, Any]:
    statuses = ("active", "completed", "revoked", "on-hold", "unknown", "draft")
    return {
        "resourceType": "ServiceRequest",
        "id": draw(ids),
        "status": draw(st.sampled_from(statuses)),
        "intent": draw(st.sampled_from(("order", "plan"))),
        "priority": draw(st.sampled_from(("routine", "urgent", "stat"))),
        "category": [{"coding": [{"system": SNOMED, "code": draw(st.sampled_from(KINDS))}]}],
        "code": draw(st.sampled_from(({"text": "A test"}, {"coding": [{"system": SNOMED, "code": "1"}]}))),
        "subject": {"reference": PATIENT},
        **draw(st.fixed_dictionaries({}, optional={"authoredOn": days.map(at), "extension": told})),
    }


# What a payer says on the order or visit itself.
told = st.sampled_from(("auth-needed", "no-auth", "satisfied")).map(
    lambda says: [
        {
            "url": "http://hl7.org/fhir/us/davinci-crd/StructureDefinition/ext-coverage-information",
            "extension": [
                {"url": "pa-needed", "valueCode": says},
                {"url": "covered", "valueCode": "not-covered"},
            ],
        }
    ]
)


@st.composite
def visits(draw: st.DrawFn) -> dict[str, Any]:
    statuses = ("proposed", "pending", "booked", "fulfilled", "cancelled", "noshow", "unknown", "arrived")
    start = draw(days)
    reason = {"coding": [{"system": CANCELLED, "code": draw(st.sampled_from(("prov", "pat")))}]}
    named = draw(st.sampled_from((None, "a", "b")))
    return {
        "resourceType": "Appointment",
        "id": draw(ids),
        "status": draw(st.sampled_from(statuses)),
        "cancelationReason": reason,
        "created": at(start - 20),
        "serviceType": [{"text": draw(st.sampled_from(("one", "two")))}],
        "participant": [{"actor": {"reference": PATIENT}, "status": "accepted"}],
        **({"start": at(start), "end": at(start)} if draw(st.booleans()) else {}),
        **draw(st.sampled_from(({}, {}, {"extension": draw(told)}))),
        **({"basedOn": [{"reference": f"ServiceRequest/{named}"}]} if named else {}),
    }


UNREADABLE = "_unreadable"  # the newest version of a resource cannot be read
CANCELLED = "http://terminology.hl7.org/CodeSystem/appointment-cancellation-reason"


@st.composite
def answers(draw: st.DrawFn) -> dict[str, Any]:
    item = {
        "productOrService": {"coding": [{"system": SNOMED, "code": "1"}]},
        **draw(st.fixed_dictionaries({}, optional={"excluded": st.booleans()})),
        **draw(st.fixed_dictionaries({}, optional={"authorizationRequired": st.booleans()})),
    }
    coverage = draw(st.sampled_from("ccd"))  # one of them has not been read
    return {
        "resourceType": "CoverageEligibilityResponse",
        "id": draw(ids),
        "status": "active",
        "outcome": draw(st.sampled_from(("complete", "error"))),
        "patient": {"reference": PATIENT},
        "created": at(draw(st.sampled_from((-90, -3, -1)))),
        "insurance": [
            {
                "coverage": {"reference": f"Coverage/{coverage}"},
                "inforce": draw(st.booleans()),
                "item": [item],
            }
        ],
        **draw(st.sampled_from(({}, {}, {"preAuthRef": ["A-1"]}, {UNREADABLE: True}))),
    }


@st.composite
def stays(draw: st.DrawFn) -> dict[str, Any]:
    start = draw(st.integers(-90, 0))
    return {
        "resourceType": "Encounter",
        "id": draw(ids),
        "status": draw(st.sampled_from(("finished", "in-progress"))),
        "class": {"code": draw(st.sampled_from(("AMB", "IMP")))},
        "subject": {"reference": PATIENT},
        "period": {"start": at(start), "end": at(start)},
        "basedOn": [{"reference": f"ServiceRequest/{draw(ids)}"}],
    }


bodies = st.lists(st.one_of(orders(), visits(), answers(), stays()), max_size=9)
ALL_KNOWN = dict.fromkeys((*POLLED, *EVIDENCE), 2)
knowledge = st.fixed_dictionaries({type: st.integers(0, 3) for type in (*POLLED, *EVIDENCE)})


def chart_of(
    found: list[dict[str, Any]], known: dict[str, int], tasks: tuple[Task, ...], now: datetime
) -> Chart:
    coverage = {
        "resourceType": "Coverage",
        "id": "c",
        "status": "active",
        "beneficiary": {"reference": PATIENT},
    }
    given = [{"resourceType": "Patient", "id": "p", "active": True}, coverage, *found]
    held = {snapshot.ref: snapshot for snapshot in map(_snapshot, given)}
    source = SourceFacts(name="s", key="k", zone=UTC, live_from=NOW - timedelta(days=1))
    levels = {
        0: Known(),
        1: Known(at=NOW - timedelta(hours=3), seq=5),  # before the rows came
        2: Known(at=now, seq=50),
        3: Known(declared_none=True),
    }
    told = {type: levels[level] for type, level in known.items()}
    told["Patient"] = Known(at=now, seq=50)
    return Chart(source, PATIENT, (PATIENT,), held, told, tasks, (), now)


def _snapshot(body: dict[str, Any]) -> Snapshot:
    return Snapshot(
        "s",
        body["resourceType"],
        body["id"],
        SnapshotState.QUARANTINED if UNREADABLE in body else SnapshotState.LIVE,
        body,
        version="1",
        first_seen=NOW - timedelta(hours=2),
        changed=NOW - timedelta(hours=2),
        received_at=NOW - timedelta(hours=2),
        sent_seq=9,
        received_seq=10,
        walk_seq=9,
        patients=patients_of(body),
    )


def whole(chart: Chart) -> Decision:
    """What is decided where every rule is worked out for every focus."""
    facts = Facts(chart, NO_BASES, shipped().codebook)
    ids = frozenset(rule.id for rule in shipped().rules)
    needs = needs_of(findings_of(shipped(), chart, NO_BASES), chart)
    calendar = calendar_of(chart.source)
    deciding = Deciding(
        chart,
        needs,
        facts.guard,
        calendar,
        lambda _task, _chart: (),
        rules=ids,
        speakers=speakers_of(shipped(), chart),
    )
    return deciding.decide()


def tasks_after(decision: Decision, before: tuple[Task, ...]) -> tuple[Task, ...]:
    rows = {task.id: task for task in before}
    for event in decision.events:
        rows[event.task] = fold(rows.get(event.task), event)
    return tuple(rows[id] for id in sorted(rows))


def _based(*orders: str) -> dict[str, Any]:
    return {"basedOn": [{"reference": f"ServiceRequest/{order}"} for order in orders]}


# What becomes of a resource on which a task stands already.
moves = st.lists(
    st.tuples(
        st.integers(0, 8),
        st.sampled_from(
            (
                {"status": "active"},
                {"status": "completed"},
                {"status": "cancelled"},
                {"status": "noshow"},
                {"status": "fulfilled"},
                {"status": "booked"},
                {"category": [{"coding": [{"system": SNOMED, "code": KINDS[2]}]}]},
                {"created": at(-20), "start": None},
                _based("a"),
                _based("b"),
                _based("a", "b"),
                {"basedOn": None},
            )
        ),
    ),
    max_size=6,
)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(bodies, moves, bodies, knowledge, st.integers(0, 20), st.booleans())
def test_a_look_decides_as_one_without_short_cuts(
    first: list[Any],
    moved: list[tuple[int, dict[str, Any]]],
    then: list[Any],
    known: dict[str, int],
    days_on: int,
    finished: bool,
) -> None:
    seen = look(chart_of(first, dict.fromkeys(known, 2), (), NOW), shipped(), _nothing, NO_BASES)
    tasks = tasks_after(seen.decision, ())
    if finished and tasks:  # one of them is done by a person: it has to stay silent
        tasks = (
            replace(tasks[0], status=TaskStatus.COMPLETED, closed_by="person", closed_at=NOW),
            *tasks[1:],
        )
    after, later = edited(first, moved), NOW + timedelta(days=days_on)
    for held, now in ((first, NOW), (then, later), (after, NOW), (after, later)):
        chart = chart_of(held, known, tasks, now)
        short, full = look(chart, shipped(), _nothing, NO_BASES).decision, whole(chart)
        assert short.events == full.events
        assert short.words == full.words
        assert short.wants == full.wants
        assert short.plans == full.plans


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(bodies, moves, st.one_of(st.just(ALL_KNOWN), knowledge), st.integers(0, 20 * 24), st.integers(0, 99))
def test_between_a_look_and_the_next_one_nothing_is_to_be_done(
    first: list[Any], moved: list[tuple[int, dict[str, Any]]], known: dict[str, int], hours: int, share: int
) -> None:
    """Whoever is not looked at by news is by time: at the first moment at which that changes anything."""
    opened = look(chart_of(first, dict.fromkeys(known, 2), (), NOW), shipped(), _nothing, NO_BASES)
    now = NOW + timedelta(hours=hours)
    held = edited(first, moved)
    chart = chart_of(held, known, tasks_after(opened.decision, ()), now)
    decision = look(chart, shipped(), _nothing, NO_BASES).decision
    assume(not decision.missing)  # what is read for it brings the next look
    tasks = tasks_after(decision, chart.tasks)
    span = (decision.next_look or now + timedelta(days=60)) - now
    between = now + span * share / 100
    later = chart_of(held, known, tasks, between)
    assert whole(later).events == (), (between, decision.next_look)


def edited(first: list[Any], moved: list[tuple[int, dict[str, Any]]]) -> list[dict[str, Any]]:
    """The resources as they are after what became of them."""
    found = [dict(body) for body in first]
    for place, change in moved if found else ():
        found[place % len(found)].update(change)
    return [{name: value for name, value in body.items() if value is not None} for body in found]


def _nothing(_task: Task, _chart: Chart) -> tuple[()]:
    return ()


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(bodies, knowledge)
def test_what_is_passed_over_is_no_or_too_old(found: list[Any], known: dict[str, int]) -> None:
    chart = chart_of(found, known, (), NOW)
    facts = Facts(chart, NO_BASES, shipped().codebook)
    screens = Screens(facts, RULES)
    for rule in shipped().rules:
        for focus in facts.focuses(rule.resource):
            full = evaluate(rule, focus, facts, now=NOW)
            if screens.refuses(rule, focus):
                assert full.when is Tri.NO
            if judge_for_look(rule, focus, facts, now=NOW, screens=screens) is None:
                assert full.when is Tri.NO or _is_too_old(full)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(bodies, knowledge)
def test_what_the_focus_alone_says_is_what_the_expressions_say(
    found: list[Any], known: dict[str, int]
) -> None:
    """Need, onset and ``applies``, where a look reads them off the focus."""
    facts = Facts(chart_of(found, known, (), NOW), NO_BASES, shipped().codebook)
    screens = Screens(facts, RULES)
    for rule in shipped().rules:
        for focus in facts.focuses(rule.resource):
            scope = Scope(rule, focus, facts, screens.calendar, Freshness(focus, NOW), Seen())
            if need := screens.need(rule, focus):
                assert canonical(rule.need, scope.first, NO_BASES) == Filled(need)
            onset = screens.onset(rule, focus)
            if onset is not None and rule.onset is not None:
                said = scope.first(rule.onset)
                assert instant_of(said, scope) == onset
                assert not said.gaps
            whole = scope.verdict(rule.applies)
            assert screens.applies(rule, focus, lambda told=whole: told) == whole


def test_needs_and_onsets_of_orders_are_read_off_the_focus() -> None:
    """Else the test above compares nothing."""
    facts = Facts(chart_of([_order("a", authoredOn=at(-10))], {}, (), NOW), NO_BASES, shipped().codebook)
    screens, focus = Screens(facts, RULES), facts.focuses("ServiceRequest")[0]
    rules = [rule for rule in shipped().rules if rule.resource == "ServiceRequest"]
    assert [screens.need(rule, focus) for rule in rules if rule.id == "schedule-referral"] == [
        "visit-for:ServiceRequest/a"
    ]
    assert any(screens.onset(rule, focus) for rule in rules)


def test_an_order_that_cannot_be_told_fails_its_own_rules_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def trips(_facts: Facts, _order: Snapshot) -> Any:
        raise TypeError("odd data")

    monkeypatch.setattr(Facts, "isOrderToAct", trips)
    chart = chart_of([_order("a", authoredOn=at(-10))], {}, (), NOW)
    seen = look(chart, shipped(), _nothing, NO_BASES)
    assert {error.partition(":")[0] for error in seen.errors} >= {"referral/schedule-referral"}


SAYS = ("covered", "excluded", "conditional", "authorization-needed", "authorization-satisfied")


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.one_of(orders(), visits(), answers(), answers()), max_size=7))
def test_what_no_payer_can_have_said_is_in_no_benefit(found: list[dict[str, Any]]) -> None:
    facts = Facts(chart_of(found, {}, (), NOW), NO_BASES, shipped().codebook)
    for order in facts.focuses("ServiceRequest"):
        for says in SAYS:
            if facts.never_said(says, order):
                benefits = facts.fact("benefits", order)
                assert says not in [record["says"] for record in benefits.records]
                assert not benefits.gaps


def test_where_answers_contradict_each_other_nothing_is_certain() -> None:
    """What one of two says is unknown, and so is that neither says a third thing."""
    code = {"coding": [{"system": SNOMED, "code": "1"}]}
    answers = [
        {
            "resourceType": "CoverageEligibilityResponse",
            "id": f"r{excluded}",
            "status": "active",
            "outcome": "complete",
            "patient": {"reference": PATIENT},
            "created": at(-3),
            "insurance": [
                {
                    "coverage": {"reference": "Coverage/c"},
                    "item": [{"productOrService": code, "excluded": excluded}],
                }
            ],
        }
        for excluded in (True, False)
    ]
    order = _order("a", code=code)
    for spoken, certain in ((answers[:1], True), (answers, False)):
        facts = Facts(chart_of([order, *spoken], {}, (), NOW), NO_BASES, shipped().codebook)
        focus = facts.chart.snapshots["ServiceRequest/a"]
        assert facts.never_said("conditional", focus) is certain


def _is_too_old(full: Finding) -> bool:
    """Told as old, or settled by what satisfies it: in neither case does anything open."""
    return full.old or full.satisfied is Tri.YES or full.ended


def _order(id: str, **more: Any) -> dict[str, Any]:
    return {
        "resourceType": "ServiceRequest",
        "id": id,
        "status": "active",
        "intent": "order",
        "category": [{"coding": [{"system": SNOMED, "code": KINDS[0]}]}],
        "subject": {"reference": PATIENT},
        **more,
    }


def test_a_task_whose_need_is_renamed_by_a_link_is_not_withdrawn_while_another_rule_is_unsure() -> None:
    """Confirm a visit; it gets its order and is cancelled by the clinic: whether another one stands is not known."""
    asked = _visit("b", "proposed", at(9), created=at(-20))
    opened = look(
        chart_of([asked], ALL_KNOWN, (), NOW + timedelta(days=5)),
        shipped(),
        _nothing,
        NO_BASES,
    )
    tasks = tasks_after(opened.decision, ())
    assert [(task.rule, task.need) for task in tasks] == [("confirm-visit", "visit-for:Appointment/b")]
    reason = {"coding": [{"system": CANCELLED, "code": "prov"}]}
    fallen = {**asked, "status": "cancelled", "cancelationReason": reason, "start": None, **_based("a")}
    laboratory = _order("a", category=[{"coding": [{"system": SNOMED, "code": KINDS[2]}]}])
    held = [laboratory, {name: value for name, value in fallen.items() if value is not None}]
    chart = chart_of(held, dict.fromkeys((*POLLED, *EVIDENCE), 0), tasks, NOW)
    assert look(chart, shipped(), _nothing, NO_BASES).decision.events == ()
    known = chart_of(held, ALL_KNOWN, tasks, NOW)
    assert [event.kind.value for event in look(known, shipped(), _nothing, NO_BASES).decision.events] != []


@pytest.mark.parametrize("status", ["on-hold", "active"])
@pytest.mark.parametrize("authored", [-9, -300])
def test_nobody_is_called_about_a_visit_whose_order_is_on_hold(status: str, authored: int) -> None:
    """Not though the order itself is old, or was done by a stay, and so asks for nothing more."""
    stay = {
        "resourceType": "Encounter",
        "id": "a",
        "status": "finished",
        "class": {"code": "AMB"},
        "subject": {"reference": PATIENT},
        "period": {"start": at(-14), "end": at(-14)},
        **_based("a"),
    }
    fallen = _visit("a", "cancelled", at(-4), created=at(-24), **_based("a"))
    reason = {"cancelationReason": {"coding": [{"system": CANCELLED, "code": "prov"}]}}
    held = [_order("a", status=status, authoredOn=at(authored)), {**fallen, **reason}]
    known = dict.fromkeys((*POLLED, *EVIDENCE), 3)
    for more in ([], [stay]):
        chart = chart_of([*held, *more], known, (), NOW + timedelta(days=2))
        opened = [e.set["rule"] for e in look(chart, shipped(), _nothing, NO_BASES).decision.events]
        assert ("rebook-visit" in opened) is (status == "active")


@pytest.mark.parametrize("status", ["on-hold", "active"])
def test_a_plan_on_hold_holds_its_visit_from_the_first_look_on(status: str) -> None:
    """Its own rules refuse a plan: else the visit's task would open, and be held by the look after."""
    plan = _order("a", status=status, intent="plan", authoredOn=at(-9))
    asked = _visit("a", "proposed", at(5), created=at(-1), **_based("a"))
    opened = look(chart_of([plan, asked], ALL_KNOWN, (), NOW), shipped(), _nothing, NO_BASES).decision
    assert [e.set["rule"] for e in opened.events] == (["confirm-visit"] if status == "active" else [])


def test_a_task_asks_by_the_need_as_its_rule_words_it_now() -> None:
    schedule, result = RULES["schedule-referral"], RULES["obtain-result"]
    task = _task(schedule, "ServiceRequest/a", "visit-for:ServiceRequest/a")
    facts = Facts(chart_of([_order("a")], {}, (task,), NOW), NO_BASES, shipped().codebook)
    focus = facts.focuses("ServiceRequest")[0]
    assert Screens(facts, RULES).asked(result, focus) is False
    edited = dataclasses.replace(schedule, need=result.need)
    assert Screens(facts, {**RULES, schedule.id: edited}).asked(result, focus) is True
    worded = dataclasses.replace(schedule, need=schedule.title)
    assert Screens(facts, {**RULES, schedule.id: worded}).asked(result, focus) is True
    assert Screens(facts).asked(result, focus) is True
    gone = [_order("a", status="revoked"), _order("b", status="revoked")]
    over = Facts(chart_of(gone, {}, (task,), NOW), NO_BASES, shipped().codebook)
    own, (focus, other) = (schedule, result), over.focuses("ServiceRequest")
    assert list(Screens(over, RULES).worth(own, focus)) == [schedule]
    assert list(Screens(over, {**RULES, schedule.id: edited}).worth(own, focus)) == [schedule, result]
    assert list(Screens(over, RULES).worth(own, other)) == []
    assert list(Screens(over, {**RULES, schedule.id: worded}).worth(own, other)) == [schedule, result]


def _task(rule: Rule, focus: str, need: str) -> Task:
    return Task(
        id="b-k-1",
        source="s",
        patient=PATIENT,
        key="k",
        generation=1,
        mapping=rule.mapping,
        mapping_version=1,
        rule=rule.id,
        code=rule.code,
        need=need,
        focus=focus,
        opened_at=NOW - timedelta(days=4),
        opens=NOW - timedelta(days=4),
    )


@pytest.mark.parametrize("asked", [True, False])
def test_what_another_visit_of_the_order_says_of_its_task_is_told(asked: bool) -> None:
    """Done already, so nothing opens: but where a task stands on the order by another visit, it is what closes it."""
    rebook = RULES["rebook-visit"]
    missed = _visit("b", "noshow", at(-5), created=at(-30), **_based("a"))
    later = _visit("c", "booked", at(9), created=at(-1), **_based("a"))
    need = "visit-for:ServiceRequest/a" if asked else "visit-for:ServiceRequest/b"
    task = _task(rebook, "Appointment/gone", need)
    held = [_order("a"), missed, later]
    facts = Facts(chart_of(held, ALL_KNOWN, (task,), NOW), NO_BASES, shipped().codebook)
    focus = next(found for found in facts.focuses("Appointment") if found.id == "b")
    found = judge_for_look(rebook, focus, facts, now=NOW, screens=Screens(facts, RULES))
    assert (found is not None) is asked
    assert found is None or found.satisfied is Tri.YES


def _visit(id: str, status: str, start: str, **more: Any) -> dict[str, Any]:
    return {
        "resourceType": "Appointment",
        "id": id,
        "status": status,
        "start": start,
        "participant": [{"actor": {"reference": PATIENT}, "status": "accepted"}],
        **more,
    }


def test_an_urgent_order_is_not_too_old_because_a_routine_one_was_judged_before() -> None:
    """Before go-live a routine order counts for thirty days, an urgent one for ninety: each by its own priority."""
    routine = _order("a", authoredOn=at(-60))
    urgent = _order("b", authoredOn=at(-60), priority="urgent")
    chart = chart_of([routine, urgent], ALL_KNOWN, (), NOW)
    seen = look(chart, shipped(), _nothing, NO_BASES)
    assert [event.set["focus"] for event in seen.decision.events] == ["ServiceRequest/b"]


def test_what_a_source_calls_unconfirmed_is_judged_there() -> None:
    visit = {
        "resourceType": "Appointment",
        "id": "v",
        "status": "waitlist",
        "start": at(5),
        "participant": [{"actor": {"reference": PATIENT}, "status": "accepted"}],
    }
    chart = chart_of([visit], ALL_KNOWN, (), NOW)
    source = replace(chart.source, parameters={"scheduling": {"unconfirmed": ["pending", "waitlist"]}})
    for own, expected in ((chart.source, []), (source, ["confirm-visit"])):
        here = replace(chart, source=own)
        focus = here.snapshots["Appointment/v"]
        screens = Screens(Facts(here, NO_BASES, shipped().codebook), RULES)
        assert [rule.id for rule in screens.worth(shipped().rules_for("Appointment"), focus)] == expected
        events = look(here, shipped(), _nothing, NO_BASES).decision.events
        assert [event.set["rule"] for event in events] == expected


@pytest.mark.parametrize(("known", "refused"), [(2, True), (1, False), (0, False)])
def test_a_missing_fact_refuses_only_where_its_absence_is_known(known: int, refused: bool) -> None:
    chart = chart_of([_order("a", authoredOn=at(-10))], dict.fromkeys((*POLLED, *EVIDENCE), known), (), NOW)
    screens = Screens(Facts(chart, NO_BASES, shipped().codebook), RULES)
    focus = chart.snapshots["ServiceRequest/a"]
    for id in ("obtain-result", "review-exclusion", "obtain-authorization"):
        rule = shipped().rule(id)
        assert rule is not None
        assert screens.refuses(rule, focus) is refused


def test_a_visit_that_fell_through_long_ago_is_too_old_at_a_glance() -> None:
    """``start`` is one of several elements in some types: what stands under its plain name is certain all the same."""
    visit = {
        "resourceType": "Appointment",
        "id": "v",
        "status": "noshow",
        "start": at(-90),
        "participant": [{"actor": {"reference": PATIENT}, "status": "accepted"}],
    }
    rule = shipped().rule("rebook-visit")
    assert rule is not None
    for body, certain in ((visit, True), ({**visit, "start": None, "startDate": at(-90)}, False)):
        chart = chart_of([body], ALL_KNOWN, (), NOW)
        screens = Screens(Facts(chart, NO_BASES, shipped().codebook), RULES)
        assert screens.is_too_old(rule, chart.snapshots["Appointment/v"]) is certain


@pytest.mark.parametrize("status", ["completed", "revoked", "draft"])
def test_an_order_that_is_over_is_refused_without_a_fact(status: str) -> None:
    body = {
        "resourceType": "ServiceRequest",
        "id": "a",
        "status": status,
        "intent": "order",
        "subject": {"reference": PATIENT},
    }
    chart = chart_of([body], {}, (), NOW)
    screens = Screens(Facts(chart, NO_BASES, shipped().codebook), RULES)
    rule = shipped().rule("schedule-referral")
    assert rule is not None
    assert screens.refuses(rule, chart.snapshots["ServiceRequest/a"])


@pytest.mark.parametrize("status", ["on-hold", "unknown", None, ["completed"]])
def test_a_status_that_is_judged_otherwise_takes_the_whole_way(status: Any) -> None:
    body = {
        "resourceType": "ServiceRequest",
        "id": "a",
        "status": status,
        "intent": "order",
        "subject": {"reference": PATIENT},
    }
    chart = chart_of([{k: v for k, v in body.items() if v is not None}], {}, (), NOW)
    screens = Screens(Facts(chart, NO_BASES, shipped().codebook), RULES)
    rule = shipped().rule("schedule-referral")
    assert rule is not None
    focus = chart.snapshots["ServiceRequest/a"]
    assert (
        not screens.refuses(rule, focus)
        or evaluate(rule, focus, Facts(chart, NO_BASES, shipped().codebook), now=NOW).when is Tri.NO
    )


def test_a_look_leaves_no_cycle_behind() -> None:
    """Charts die with their last reference: while looks run, the collector comes by rarely."""
    body = {
        "resourceType": "ServiceRequest",
        "id": "a",
        "status": "active",
        "intent": "order",
        "category": [{"coding": [{"system": SNOMED, "code": KINDS[0]}]}],
        "subject": {"reference": PATIENT},
        "authoredOn": at(-10),
    }
    chart = chart_of([body], ALL_KNOWN, (), NOW)
    look(chart, shipped(), _nothing, NO_BASES)  # what is made once and kept
    gc.collect()
    enabled, _ = gc.isenabled(), gc.disable()
    try:
        assert look(chart, shipped(), _nothing, NO_BASES).decision.events
        assert gc.collect() == 0
    finally:
        if enabled:
            gc.enable()

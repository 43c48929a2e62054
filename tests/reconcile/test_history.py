"""What history a look leaves out changes nothing: it comes to what a look at the whole chart comes to."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from adapter.facts.history import NO_TRACE, OVER, UNKNOWN_TRACE, Horizon, Row, left_out, trace_of
from adapter.ledger.charts import _spoken_of
from adapter.mapping.horizon import horizon_of
from adapter.model import Chart, Known, Snapshot, SnapshotState, SourceFacts, Task, TaskStatus
from adapter.reconcile.changes import Decision
from adapter.reconcile.reconciler import look
from adapter.references import NO_BASES, patients_of
from tests.mapping.making import shipped
from tests.reconcile.test_short_cuts import KINDS, PATIENT, SNOMED, answers, stays, tasks_after, told

NOW = datetime(2026, 3, 4, 15, 0, tzinfo=UTC)  # a Wednesday
SOURCE = SourceFacts(name="s", key="k", zone=UTC, live_from=NOW - timedelta(days=1))
TYPES = ("ServiceRequest", "Appointment", "CoverageEligibilityResponse", "Encounter", "DiagnosticReport")
READ = (*TYPES, "DocumentReference", "Coverage")
UNREADABLE, GONE, SHARED = "_unreadable", "_gone", "_shared"
IDS = "abcdef"  # of the first ones old families are made, too
NUMBERS = ("1", "2", "3")

days = st.one_of(st.integers(-700, -20), st.integers(-700, -20), st.integers(-40, 40))
ids = st.sampled_from(IDS)


def at(day: float) -> str:
    return (NOW + timedelta(days=day)).strftime("%Y-%m-%dT%H:%M:%SZ")


def numbers() -> Any:
    return st.lists(st.sampled_from(NUMBERS), max_size=2).map(
        lambda found: [{"system": "urn:n", "value": number} for number in found]
    )


def to(type: str) -> Any:
    """A reference to an order or visit: as it is usual, and as it is not."""
    return st.one_of(
        ids.map(lambda id: {"reference": f"{type}/{id}"}),
        ids.map(lambda id: {"reference": f"{type}/{id}"}),
        ids.map(lambda id: {"reference": f"{type}/{id}/_history/1", "type": type}),
        st.sampled_from(NUMBERS).map(lambda n: {"identifier": {"system": "urn:n", "value": n}, "type": type}),
        st.sampled_from(
            (
                {"reference": f"{type}/elsewhere"},
                {"reference": f"https://other.example/fhir/{type}/a"},
                {"display": "an order"},
                {"reference": "#inside"},
                "ServiceRequest/a",
            )
        ),
    )


def some(strategy: Any, often: int = 3) -> Any:
    """A list of one or two, now and then; else nothing."""
    return st.one_of(*[st.just([])] * often, st.lists(strategy, min_size=1, max_size=2))


def without_nothing(body: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in body.items() if value not in ([], None)}


@st.composite
def orders(draw: st.DrawFn) -> dict[str, Any]:
    statuses = ("active", "completed", "completed", "completed", "revoked", "on-hold", "unknown")
    authored = draw(days)
    return without_nothing(
        {
            "resourceType": "ServiceRequest",
            "id": draw(ids),
            "status": draw(st.sampled_from(statuses)),
            "intent": "order",
            "priority": draw(st.sampled_from(("routine", "routine", "urgent", None))),
            "category": [{"coding": [{"system": SNOMED, "code": draw(st.sampled_from(KINDS[:4]))}]}],
            "code": {"text": "A test"},
            "subject": {"reference": PATIENT},
            "authoredOn": draw(
                st.sampled_from((at(authored), at(authored), at(authored)[:10], at(authored)[:19], None))
            ),
            "basedOn": draw(some(to("ServiceRequest"), 6)),
            "replaces": draw(some(to("ServiceRequest"), 6)),
            "identifier": draw(numbers()),
            "requisition": draw(st.sampled_from((None, None, None, {"system": "urn:n", "value": "1"}))),
            "extension": draw(st.one_of(st.none(), st.none(), st.none(), told)),
        }
    )


@st.composite
def visits(draw: st.DrawFn) -> dict[str, Any]:
    statuses = ("fulfilled", "fulfilled", "fulfilled", "cancelled", "noshow", "booked", "arrived", "pending")
    start, ahead = draw(days), draw(st.integers(1, 90))
    return without_nothing(
        {
            "resourceType": "Appointment",
            "id": draw(ids),
            "status": draw(st.sampled_from(statuses)),
            "cancelationReason": {"coding": [{"system": CANCELLED, "code": "prov"}]},
            "created": draw(st.sampled_from((at(start - ahead), at(start - ahead), None, at(start)[:10]))),
            "start": draw(st.sampled_from((at(start), at(start), at(start), None, at(start)[:19]))),
            "end": draw(st.sampled_from((at(start + 0.02), at(start + 0.02), None, "nonsense"))),
            "serviceType": [{"text": draw(st.sampled_from(("one", "two")))}],
            "participant": [{"actor": {"reference": PATIENT}, "status": "accepted"}],
            "basedOn": draw(st.one_of(st.just([]), st.lists(to("ServiceRequest"), min_size=1, max_size=2))),
            "supportingInformation": draw(some(to("ServiceRequest"), 6)),
            "identifier": draw(numbers()),
        }
    )


@st.composite
def reports(draw: st.DrawFn, type: str = "") -> dict[str, Any]:
    type = type or draw(st.sampled_from(("DiagnosticReport", "DocumentReference")))
    named = draw(some(st.one_of(to("ServiceRequest"), to("Appointment")), 1))
    stay = {"reference": f"Encounter/{draw(ids)}"}
    here = {"basedOn": named, "encounter": stay} if type == "DiagnosticReport" else {}
    context = {} if here else {"context": {"related": named, "encounter": [stay]}}
    return {
        "resourceType": type,
        "id": draw(ids),
        "status": draw(st.sampled_from(("final", "current", "registered"))),
        "subject": {"reference": PATIENT},
        **here,
        **context,
    }


@st.composite
def met(draw: st.DrawFn) -> dict[str, Any]:
    return {**draw(stays()), "appointment": draw(some(to("Appointment"), 1)), "id": draw(ids)}


CANCELLED = "http://terminology.hl7.org/CodeSystem/appointment-cancellation-reason"
_any = st.one_of(orders(), orders(), orders(), visits(), visits(), visits(), visits(), answers())
_odd = st.one_of(met(), reports())
marks = st.sampled_from((*[{}] * 20, {UNREADABLE: True}, {GONE: True}, {SHARED: True}))
anything = st.lists(
    st.builds(lambda body, mark: {**body, **mark}, st.one_of(_any, _any, _any, _any, _odd), marks), max_size=3
)


@st.composite
def family(draw: st.DrawFn, id: str) -> list[dict[str, Any]]:
    """An order of long ago and its visit, as most of a chart is; one element or another of it is drawn anew."""
    day = draw(st.integers(-700, -20))
    order = {
        "resourceType": "ServiceRequest",
        "id": id,
        "status": draw(st.sampled_from(("completed", "completed", "completed", "revoked", "active"))),
        "intent": "order",
        "category": [{"coding": [{"system": SNOMED, "code": draw(st.sampled_from(KINDS[:4]))}]}],
        "subject": {"reference": PATIENT},
        "authoredOn": at(day - 20),
        "identifier": draw(st.one_of(st.just([{"system": "urn:o", "value": id}]), numbers())),
        "requisition": draw(st.sampled_from((*[None] * 5, {"system": "urn:n", "value": "1"}))),
    }
    visit = {
        "resourceType": "Appointment",
        "id": id,
        "status": draw(st.sampled_from(("fulfilled", "fulfilled", "fulfilled", "cancelled", "noshow"))),
        "cancelationReason": {"coding": [{"system": CANCELLED, "code": "prov"}]},
        "created": at(day - draw(st.integers(1, 90))),
        "start": at(day),
        "end": at(day + 0.02),
        "serviceType": [{"text": draw(st.sampled_from(("one", "two")))}],
        "participant": [{"actor": {"reference": PATIENT}, "status": "accepted"}],
        **draw(st.sampled_from(({"basedOn": [{"reference": f"ServiceRequest/{id}"}]},) * 3 + ({},))),
        "identifier": draw(st.one_of(st.just([]), numbers())),
    }
    for body, drawn in ((order, orders()), (visit, visits())):
        if draw(st.integers(0, 9)) == 0:
            other = draw(drawn)
            for name in draw(st.sets(st.sampled_from(sorted(other.keys() - {"id"})), max_size=2)):
                body[name] = other[name]
    made = draw(st.sampled_from(([order, visit], [order, visit], [order, visit], [visit], [order])))
    return [without_nothing(one) for one in (*made, *draw(belonging(id, day)))]


@st.composite
def belonging(draw: st.DrawFn, id: str, day: int) -> list[dict[str, Any]]:
    """A stay of the order or of its visit, and what was reported: mostly nothing."""
    of_order, of_visit = {"reference": f"ServiceRequest/{id}"}, {"reference": f"Appointment/{id}"}
    stay = {
        "resourceType": "Encounter",
        "id": id,
        "status": draw(st.sampled_from(("finished", "finished", "finished", "in-progress", "planned"))),
        "class": {"code": draw(st.sampled_from(("AMB", "IMP")))},
        "subject": {"reference": PATIENT},
        "period": {"start": at(day), "end": at(day + draw(st.sampled_from((0, 1, 1, 30, 300))))},
        **draw(st.sampled_from(({}, {"basedOn": [of_order]}, {"appointment": [of_visit]}))),
        "identifier": draw(numbers()),
    }
    report = {
        "resourceType": "DiagnosticReport",
        "id": id,
        "status": "final",
        "subject": {"reference": PATIENT},
        **draw(st.sampled_from(({"basedOn": [of_order]}, {"encounter": {"reference": f"Encounter/{id}"}}))),
    }
    return draw(st.sampled_from(([], [], [], [stay], [stay, report], [report])))


bodies = st.tuples(*(st.one_of(st.just([]), family(id), family(id)) for id in IDS[:4]), anything).map(
    lambda parts: [body for part in parts for body in part]
)
knowledge = st.fixed_dictionaries({}, optional={type: st.sampled_from((0, 1, 2, 2, 2, 3)) for type in READ})


def snapshot(body: dict[str, Any], place: int) -> Snapshot:
    came = NOW - timedelta(days=place % 3, hours=2)  # not all of it came at once
    state = SnapshotState.LIVE
    if body.get(UNREADABLE):
        state = SnapshotState.QUARANTINED
    elif body.get(GONE):
        state = SnapshotState.DELETED
    patients = (*patients_of(body), "Patient/other") if body.get(SHARED) else patients_of(body)
    return Snapshot(
        "s",
        body["resourceType"],
        body["id"],
        state,
        body,
        version="1",
        first_seen=came,
        changed=came,
        received_at=came,
        sent_seq=9 + place,
        received_seq=10 + place,
        walk_seq=9 if place % 2 else 0,
        patients=patients,
    )


def chart_of(
    found: list[dict[str, Any]], known: dict[str, int], tasks: tuple[Task, ...] = (), now: datetime = NOW
) -> Chart:
    coverage = {
        "resourceType": "Coverage",
        "id": "c",
        "status": "active",
        "beneficiary": {"reference": PATIENT},
    }
    given = [{"resourceType": "Patient", "id": "p", "active": True}, coverage, *found]
    held = {made.ref: made for place, body in enumerate(given) if (made := snapshot(body, place))}
    levels = {
        0: Known(),
        1: Known(at=NOW - timedelta(hours=30), seq=14),  # before the last ones came
        2: Known(at=now, seq=50),
        3: Known(declared_none=True),
    }
    told = {type: levels[known.get(type, 2)] for type in READ}
    told["Patient"] = Known(at=now, seq=50)
    return Chart(SOURCE, PATIENT, (PATIENT,), held, told, tasks, (), now)


def rows_of(chart: Chart) -> list[Row]:
    """The rows that the ledger keeps beside whom each resource names (``snapshots._traced``)."""
    found: list[Row] = []
    for _, held in sorted(chart.snapshots.items()):
        live = held.state is SnapshotState.LIVE
        trace = trace_of(held.type, held.body, NO_BASES) if live else NO_TRACE
        if held.state is SnapshotState.QUARANTINED:
            trace = UNKNOWN_TRACE
        assert held.first_seen and held.received_at
        made = int(held.first_seen.timestamp()) if trace.made is None else trace.made
        ended = None if len(held.patients) > 1 else trace.ended
        came = (held.received_seq, held.walk_seq, int(held.received_at.timestamp()))
        found.append((held.ref, trace.status, ended, made, trace.names, *came))
    return found


def horizon(now: datetime = NOW, source: SourceFacts = SOURCE) -> Horizon:
    found = horizon_of(shipped().rules, source, now)
    assert found is not None
    return found


def out_of(chart: Chart) -> Collection[str]:
    return set(left_out(rows_of(chart), _spoken_of(chart.tasks), chart.known, horizon(chart.now)))


def without(chart: Chart, out: Collection[str]) -> Chart:
    return replace(chart, snapshots={ref: held for ref, held in chart.snapshots.items() if ref not in out})


def decided(chart: Chart) -> Decision:
    return look(chart, shipped(), lambda _task, _chart: (), NO_BASES).decision


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(bodies, bodies, knowledge, st.integers(0, 400), st.booleans(), st.booleans())
def test_a_look_without_history_decides_as_one_with_all_of_it(
    first: list[Any], then: list[Any], known: dict[str, int], days_on: int, finished: bool, kept: bool
) -> None:
    tasks = tasks_after(decided(chart_of(first, {})), ())
    if finished and tasks:  # one of them is done by a person: it has to stay silent
        done = replace(tasks[0], status=TaskStatus.COMPLETED, closed_by="person", closed_at=NOW)
        tasks = (done, *tasks[1:])
    later = NOW + timedelta(days=days_on)
    for held, now in ((first, NOW), (first + then if kept else then, later), (first, later)):
        chart = chart_of(held, known, tasks, now)
        out = out_of(chart)
        event(f"left out: {min(len(out), 4)} or more")
        assert decided(without(chart, out)) == decided(chart)


# ---- one by one


def order(id: str = "o1", **more: Any) -> dict[str, Any]:
    """An order of long ago, fulfilled."""
    return {
        "resourceType": "ServiceRequest",
        "id": id,
        "status": "completed",
        "intent": "order",
        "category": [{"coding": [{"system": SNOMED, "code": KINDS[0]}]}],
        "subject": {"reference": PATIENT},
        "authoredOn": at(-220),
        **more,
    }


def visit(id: str = "v1", of: str = "o1", **more: Any) -> dict[str, Any]:
    """Its visit, which took place."""
    return {
        "resourceType": "Appointment",
        "id": id,
        "status": "fulfilled",
        "created": at(-215),
        "start": at(-200),
        "end": at(-199.9),
        "serviceType": [{"text": "one"}],
        "participant": [{"actor": {"reference": PATIENT}, "status": "accepted"}],
        **({"basedOn": [{"reference": f"ServiceRequest/{of}"}]} if of else {}),
        **more,
    }


def answer(id: str, day: int, **more: Any) -> dict[str, Any]:
    return {
        "resourceType": "CoverageEligibilityResponse",
        "id": id,
        "status": "active",
        "outcome": "complete",
        "patient": {"reference": PATIENT},
        "created": at(day),
        "insurance": [{"coverage": {"reference": "Coverage/c"}, "inforce": True}],
        **more,
    }


PAST = {"ServiceRequest/o1", "Appointment/v1"}


@pytest.mark.parametrize("status", ["completed", "revoked"])
def test_an_order_of_long_ago_and_its_visit_are_left_out(status: str) -> None:
    assert out_of(chart_of([order(status=status), visit()], {})) == PAST


def stay(id: str = "e1", **more: Any) -> dict[str, Any]:
    return {
        "resourceType": "Encounter",
        "id": id,
        "status": "finished",
        "class": {"code": "IMP"},
        "subject": {"reference": PATIENT},
        "period": {"start": at(-200), "end": at(-199.8)},
        **more,
    }


def told_of(of: str = "e1", named: str = "ServiceRequest/o1") -> list[dict[str, Any]]:
    """A report, a document and a message."""
    here = {"reference": f"Encounter/{of}"}
    who = {"subject": {"reference": PATIENT}}
    return [
        {
            "resourceType": "DiagnosticReport",
            "id": "r1",
            "status": "final",
            **who,
            "encounter": here,
            "basedOn": [{"reference": named}],
        },
        {
            "resourceType": "DocumentReference",
            "id": "d1",
            "status": "current",
            **who,
            "context": {"related": [{"reference": "Appointment/v1"}], "encounter": [here]},
        },
        {"resourceType": "Communication", "id": "m1", "status": "completed", **who, "encounter": here},
    ]


def test_stays_and_what_tells_of_them_are_left_out_with_their_order() -> None:
    for link in (
        {"basedOn": [{"reference": "ServiceRequest/o1"}]},
        {"appointment": [{"reference": "Appointment/v1"}]},
    ):
        chart = chart_of(
            [order(encounter={"reference": "Encounter/e1"}), visit(), stay(**link), *told_of()], {}
        )
        told = {"Encounter/e1", "DiagnosticReport/r1", "DocumentReference/d1", "Communication/m1"}
        assert out_of(chart) == PAST | told
        assert decided(without(chart, out_of(chart))) == decided(chart)


def test_a_stay_is_read_as_long_as_the_discharge_holds_her_work() -> None:
    assert out_of(chart_of([stay(period={"end": at(-5)})], {})) == set()
    assert out_of(chart_of([stay(period={"end": at(-12)})], {})) == {"Encounter/e1"}


def test_a_stay_that_names_its_visit_by_a_number_ended_for_it_too() -> None:
    numbered = {"system": "n", "value": "7"}
    late = stay(period={"end": at(-12)}, appointment=[{"identifier": numbered}])
    assert out_of(chart_of([order(), visit(identifier=[numbered]), late], {})) == set()
    early = stay(appointment=[{"identifier": numbered}])
    assert out_of(chart_of([order(), visit(identifier=[numbered]), early], {})) == PAST | {"Encounter/e1"}


def test_the_stay_in_which_an_order_was_written_is_read_with_the_order() -> None:
    """Whether it asks anybody to act hangs on where it was written."""
    now = order("o2", status="active", authoredOn=at(-9), encounter={"reference": "Encounter/e1"})
    assert out_of(chart_of([stay(), now], {})) == set()


@pytest.mark.parametrize("at_work", ["order", "visit", "stay"])
def test_what_tells_of_what_stays_is_read(at_work: str) -> None:
    held = {
        "order": order("x", status="active", authoredOn=at(-9)),
        "visit": visit("x", "", status="booked", created=at(-3), start=at(5), end=at(5.1)),
        "stay": stay("x", status="in-progress"),
    }[at_work]
    named = {"reference": f"{held['resourceType']}/x"}
    telling = [
        {
            "resourceType": "DiagnosticReport",
            "id": "a",
            **({"encounter": named} if at_work == "stay" else {"basedOn": [named]}),
        },
        {
            "resourceType": "DocumentReference",
            "id": "b",
            "context": {"encounter": [named]} if at_work == "stay" else {"related": [named]},
        },
    ]
    told = [{"status": "final", "subject": {"reference": PATIENT}, **one} for one in telling]
    assert out_of(chart_of([held, *told], {})) == set()
    other = {"reference": "ServiceRequest/o1"}
    of_others = {
        "resourceType": "DiagnosticReport",
        "id": "c",
        "status": "final",
        "subject": {"reference": PATIENT},
    }
    chart = chart_of([held, *told, order(), visit(), {**of_others, "basedOn": [other]}], {})
    assert out_of(chart) >= PAST | {"DiagnosticReport/c"}


def test_a_report_that_closed_a_task_keeps_what_it_is_of() -> None:
    chart = chart_of(
        [order(), visit(), stay(), *told_of()], {}, (_task("Coverage/c", closing=("DiagnosticReport/r1",)),)
    )
    assert out_of(chart) == set()


def test_what_tells_of_present_work_is_read() -> None:
    now = order("o2", status="active", authoredOn=at(-9))
    chart = chart_of([order(), visit(), now, told_of("e9", "ServiceRequest/o2")[0]], {})
    assert out_of(chart) == PAST


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ([order("o2", status="active", basedOn=[{"reference": "ServiceRequest/o1"}])], "an order under it"),
        ([order("o2", status="active", replaces=[{"reference": "ServiceRequest/o1"}])], "what replaced it"),
        ([visit("v2", "o1", status="booked", start=at(5), end=at(5.1))], "a visit ahead"),
        (
            [visit("v2", "", status="booked", start=at(5), identifier=[{"system": "n", "value": "7"}])],
            "a number",
        ),
        ([{**order("o2", status="active"), "requisition": {"system": "n", "value": "7"}}], "one requisition"),
        (
            [visit("v2", "", status="booked", basedOn=[{"identifier": {"system": "n", "value": "7"}}])],
            "logical",
        ),
        ([visit("v2", "", basedOn=[{"reference": "urn:uuid:o1"}])], "what cannot be told"),
        (
            [stay(status="in-progress", basedOn=[{"reference": "ServiceRequest/o1"}])],
            "a stay of it that goes on",
        ),
        (
            [stay(period={"start": at(-200)}, basedOn=[{"reference": "ServiceRequest/o1"}])],
            "one without an end",
        ),
        ([stay(status="planned", appointment=[{"reference": "Appointment/v1"}])], "its visit's stay"),
        (
            [stay(period={"end": at(-4)}, appointment=[{"reference": "Appointment/v1"}])],
            "a stay of this week",
        ),
        (
            [stay(period={"end": at(-14.5)}, appointment=[{"reference": "Appointment/v1"}])],
            "one after the horizon",
        ),
        (
            [
                stay(status="planned", id="e2"),
                *told_of("e2"),
                order("o2", encounter={"reference": "Encounter/e2"}),
            ],
            "reports of a stay that goes on",
        ),
        ([{**visit("v2", ""), UNREADABLE: True}], "something that cannot be read"),
        (
            [visit("v2", "", status="noshow", created=at(-300), start=at(-290), end=at(-290))],
            "a visit made before",
        ),
        ([visit("v2", "", status="booked", created=at(-300)[:10], start=at(5))], "a visit made on some day"),
        ([visit("v2", "", status="booked", created=None, start=at(5))], ""),  # made when it was first seen
    ],
)
def test_what_is_bound_to_something_that_stays_is_read(more: list[dict[str, Any]], why: str) -> None:
    held = [order(identifier=[{"system": "n", "value": "7"}]), visit(), *more]
    chart = chart_of([without_nothing(body) for body in held], {})
    tasks = (_task("Appointment/v2"),) if why == "a visit made before" else ()
    out = out_of(replace(chart, tasks=tasks))
    assert not out & PAST if why else out >= PAST, why
    assert decided(without(chart, out)) == decided(chart)


def _task(focus: str, **more: Any) -> Task:
    values = {
        "id": "b-k-1",
        "source": "s",
        "patient": PATIENT,
        "key": "k",
        "generation": 1,
        "mapping": "m",
        "mapping_version": 1,
        "rule": "r",
        "code": "r",
        "need": f"n:{focus}",
        "focus": focus,
    }
    return Task(**{**values, **more})


@pytest.mark.parametrize(
    "task",
    [
        _task("ServiceRequest/o1", need="n:x"),
        _task("Appointment/other", need="visit-for:ServiceRequest/o1"),
        _task("Appointment/other", based_on=("ServiceRequest/o1",)),
        _task("Appointment/other", opening=("Appointment/v1@3",)),
        _task("Appointment/other", closing=("Appointment/v1",), status=TaskStatus.COMPLETED),
    ],
)
def test_what_a_task_was_ever_about_is_read(task: Task) -> None:
    assert out_of(chart_of([order(), visit()], {}, (task,))) == set()


@pytest.mark.parametrize(
    ("about", "more"),
    [
        ("order", {"status": "active"}),
        ("order", {"status": "cancelled"}),  # no status of an order, and one of a visit
        ("order", {"authoredOn": at(-3)}),
        ("order", {"authoredOn": at(-220)[:10]}),
        ("order", {"authoredOn": None}),
        ("visit", {"status": "booked"}),
        ("visit", {"status": "arrived"}),
        ("visit", {"start": None}),
        ("visit", {"start": at(-200)[:19]}),
        ("visit", {"end": "soon"}),
        ("visit", {"end": at(3)}),
        ("visit", {"created": None}),
        ("visit", {SHARED: True}),
        ("order", {SHARED: True}),
    ],
)
def test_what_is_not_certainly_over_is_read(about: str, more: dict[str, Any]) -> None:
    given = {"order": {}, "visit": {}, about: more}
    held = [without_nothing(order(**given["order"])), without_nothing(visit(**given["visit"]))]
    assert out_of(chart_of(held, {})) == set()


@pytest.mark.parametrize(
    ("type", "known", "left"),
    [
        ("Encounter", Known(), False),
        ("Encounter", Known(at=NOW - timedelta(days=3), seq=5), False),  # before the order came
        ("Encounter", Known(at=NOW, seq=5), False),
        ("Encounter", Known(at=NOW - timedelta(days=3), seq=50), False),
        ("Encounter", Known(at=NOW, seq=50), True),
        ("Encounter", Known(at=NOW, seq=50, bounded=True), False),
        ("Encounter", Known(at=NOW, seq=50, blind="403"), False),
        ("Encounter", Known(declared_none=True), True),
        ("Appointment", Known(at=NOW, seq=5), False),
        ("ServiceRequest", Known(at=NOW, seq=8), False),
        ("ServiceRequest", Known(at=NOW - timedelta(days=3), seq=9), True),  # the very walk that brought it
    ],
)
def test_what_took_place_has_to_be_known_since_the_order_came(type: str, known: Known, left: bool) -> None:
    """Something of last week may have come after the last walk: then the whole look asks, and so does this one."""
    chart = chart_of([visit(), order()], {})
    chart = replace(chart, known={**chart.known, type: known})
    assert out_of(chart) == (PAST if left else set())
    assert decided(without(chart, out_of(chart))) == decided(chart)


def test_a_visit_of_this_week_keeps_its_old_order() -> None:
    late = visit(created=at(-10), start=at(-5), end=at(-4.9))
    chart = chart_of([order(), late], {})
    assert out_of(chart) == set()
    assert [event.set["rule"] for event in decided(chart).events] == []  # within five business days of it
    later = chart_of([order(), late], {}, (), NOW + timedelta(days=6))
    assert [event.set["rule"] for event in decided(later).events] == ["obtain-result"]


def test_what_came_for_one_order_of_a_family_came_for_all() -> None:
    """A visit of this week fulfils the child, and so the parent, which is as old as it."""
    child = order("o2", basedOn=[{"reference": "ServiceRequest/o1"}])
    own = visit("v2", "o2", start=at(-40), end=at(-39.9), created=at(-50))
    held = [order(), visit(), child, own]
    assert out_of(chart_of(held, {})) == set()


def test_an_order_for_which_nobody_came_is_left_out_unless_somebody_did_for_its_number() -> None:
    missed = visit(status="cancelled")
    assert out_of(chart_of([order(), missed], {})) == PAST
    number = {"identifier": [{"system": "n", "value": "7"}]}
    long_ago = chart_of([order(**number), missed, visit("v2", "", **number)], {})
    assert out_of(long_ago) == {*PAST, "Appointment/v2"}
    assert decided(without(long_ago, out_of(long_ago))) == decided(long_ago)


@pytest.mark.parametrize("status", ["fulfilled", "cancelled"])
def test_an_old_order_is_read_when_a_visit_of_this_month_bears_its_number(status: str) -> None:
    """What came for it by name is long ago; what came by its number is not, and its result is to be had."""
    number = {"identifier": [{"system": "n", "value": "7"}]}
    late = visit("v2", "", created=at(-10), start=at(-5), end=at(-4.9), **number)
    held = [order(**number), visit(status=status), late]
    assert not out_of(chart_of(held, {})) & PAST
    later = chart_of(held, {}, (), NOW + timedelta(days=6))
    assert [event.set["rule"] for event in decided(without(later, out_of(later))).events] == ["obtain-result"]


def test_an_order_for_which_nobody_came_is_read_where_a_rule_does_not_ask_for_that_first() -> None:
    chart = chart_of([order(), visit(status="cancelled")], {})
    result = shipped().rule("obtain-result")
    assert result is not None
    others = [rule for rule in shipped().rules if rule is not result]
    asking = dataclasses.replace(result, when=None)
    found = horizon_of([*others, asking], SOURCE, NOW)
    assert found is not None and "completed" in found.took_place and not found.idle
    assert set(left_out(rows_of(chart), (), chart.known, found)) == set()


def test_a_visit_made_after_one_that_stays_is_read() -> None:
    """It may be the later one that the first was waiting for, however long ago that is."""
    missed = visit("v2", "", status="noshow", created=at(-240), start=at(-230), end=at(-230))
    task = _task(
        "Appointment/v2",
        rule="rebook-visit",
        code="rebook-visit",
        need="visit-for:Appointment/v2",
        mapping="scheduling",
        opened_at=NOW - timedelta(days=230),
        opens=NOW - timedelta(days=230),
    )
    chart = chart_of([visit("v1", ""), missed], {}, (task,))
    assert out_of(chart) == set()
    found = [(event.kind.value, event.set.get("closed_by")) for event in decided(chart).events]
    assert ("completed", "evidence") in found
    assert decided(without(chart, {"Appointment/v1"})) != decided(chart)


def test_of_answers_that_repeat_each_other_the_newest_is_read() -> None:
    same = [answer("a", -90), answer("b", -3), answer("c", -30)]
    assert out_of(chart_of(same, {})) == {"CoverageEligibilityResponse/a"}  # c came after b
    for more in ({"outcome": "error"}, {"preAuthRef": ["1"]}, {"insurance": same[0]["insurance"] * 2}):
        assert out_of(chart_of([answer("a", -90, **more), answer("b", -3)], {})) == set()
    for odd in (
        {"status": "cancelled"},
        {"created": at(-90)[:10]},
        {"insurance": [{"inforce": True}]},
        {"contained": [{"resourceType": "Coverage", "id": "c"}]},
    ):
        assert out_of(chart_of([answer("a", -90, **odd), answer("b", -3, **odd)], {})) == set()
    assert out_of(chart_of([answer("b", -3), answer("a", -3)], {})) == set()
    closed = _task("Coverage/c", closing=("CoverageEligibilityResponse/a",))
    assert out_of(chart_of(same[:2], {}, (closed,))) == set()


def test_where_a_rule_means_all_visits_of_a_coverage_nothing_is_left_out() -> None:
    rules = [rule for rule in shipped().rules if rule.resource == "Coverage"]
    assert horizon_of(rules, SOURCE, NOW) is not None
    for own in (
        dataclasses.replace(rules[0], variables=frozenset({"took_place"})),
        dataclasses.replace(rules[0], variables=frozenset({"visits"})),
        dataclasses.replace(rules[0], resource="Encounter"),
    ):
        assert horizon_of([*rules, own], SOURCE, NOW) is None


def test_where_another_need_may_be_the_same_nothing_of_the_type_is_left_out() -> None:
    rules = list(shipped().rules)
    visits = shipped().rule("rebook-visit")
    assert visits is not None
    own = dataclasses.replace(visits, need=visits.title)
    found = horizon_of([*rules, own], SOURCE, NOW)
    assert found is not None and found.before.keys().isdisjoint(OVER[own.resource])
    assert not found.before.keys().isdisjoint({"fulfilled", "completed"})


def test_where_a_rule_is_about_answers_all_of_them_are_read() -> None:
    rules = list(shipped().rules)
    own = dataclasses.replace(rules[0], resource="CoverageEligibilityResponse")
    found = horizon_of([*rules, own], SOURCE, NOW)
    assert found is not None
    chart = chart_of([answer("a", -90), answer("b", -3)], {})
    assert set(left_out(rows_of(chart), (), chart.known, found)) == set()


def test_a_rule_that_judges_what_is_over_by_another_time_keeps_it() -> None:
    """What its onset cannot be told of is not passed over: those statuses of that type are read as ever."""
    rules = list(shipped().rules)
    found = horizon_of(rules, SOURCE, NOW)
    assert found is not None and found.before.keys() == {
        "finished",
        "tells",
        "completed",
        "revoked",
        "fulfilled",
        "cancelled",
        "noshow",
    }
    without_bounds = SourceFacts(
        name="s", key="k", zone=UTC
    )  # no go-live, so obtain-result goes back for ever
    endless = horizon_of(rules, without_bounds, NOW)
    assert endless is not None and "completed" not in endless.before

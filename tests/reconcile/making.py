"""Findings, charts and tasks for tests of what a look decides."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

from msgspec.structs import replace

from adapter.facts.patient import PatientGuard
from adapter.ledger.fold import fold
from adapter.mapping.calendar import calendar_of
from adapter.mapping.finding import Finding, Stated, Step, Tri
from adapter.model import Chart, Event, Snapshot, SnapshotState, SourceFacts, Task, Words
from adapter.reconcile.changes import Deciding, Decision
from adapter.reconcile.needs import needs_of

NOW = datetime(2026, 3, 4, 15, 0, tzinfo=UTC)  # a Wednesday
PATIENT = "Patient/p1"
SOURCE = SourceFacts(name="general", key="k1", zone=UTC)


def rule(id: str = "schedule-referral", rank: int = 3, **more: Any) -> Any:
    return SimpleNamespace(
        **{
            "id": id,
            "mapping": "referral",
            "mapping_version": 1,
            "code": id,
            "rank": rank,
            "was_need": None,
            **more,
        }
    )


def finding(**more: Any) -> Finding:
    values: dict[str, Any] = {
        "rule": rule(),
        "focus": "ServiceRequest/o1",
        "need": "visit-for:ServiceRequest/o1",
        "applies": Tri.YES,
        "when": Tri.YES,
        "satisfied": Tri.NO,
        "opens": NOW - timedelta(days=1),
        "opens_known": True,
        "due": NOW + timedelta(days=5),
        "words": Words("Schedule the visit", "Call.", "No visit is booked."),
        "performer": "scheduler",
        "programme": "referral",
        "renews": "values-1",
    }
    values |= more
    told = {name: values.pop(name) for name in Stated.__dataclass_fields__ if name in values}
    return Finding(**values, particulars=Stated(**told))


def snapshot(ref: str = "ServiceRequest/o1", **more: Any) -> Snapshot:
    kind, _, id = ref.partition("/")
    body = {"resourceType": kind, "id": id, "status": "active"}
    values: dict[str, Any] = {"version": "1", "patients": (PATIENT,), "received_at": NOW}
    return Snapshot("general", kind, id, SnapshotState.LIVE, body, **{**values, **more})


def chart(*snapshots: Snapshot, tasks: tuple[Task, ...] = (), now: datetime = NOW, **more: Any) -> Chart:
    held = snapshots or (snapshot(),)
    return Chart(
        source=SOURCE,
        person=PATIENT,
        patients=(PATIENT,),
        snapshots={s.ref: s for s in held},
        known={},
        tasks=tasks,
        plans=more.pop("plans", ()),
        now=now,
        **more,
    )


def decide(
    held: Chart,
    *findings: Finding,
    guard: PatientGuard = PatientGuard(),  # noqa: B008 - frozen
    read_back: tuple[Event, ...] = (),
    rules: frozenset[str] = frozenset({"schedule-referral", "rebook-visit", "confirm-visit"}),
    speakers: frozenset[str] = frozenset(),
) -> Decision:
    deciding = Deciding(
        held,
        needs_of(findings, held),
        guard,
        calendar_of(held.source),
        lambda task, _: [e for e in read_back if e.task == task.id],
        rules=rules,
        speakers=lambda _need: speakers,
    )
    return deciding.decide()


def after(held: Chart, decision: Decision, *, now: datetime | None = None) -> Chart:
    """The chart as it is once a decision was committed."""
    rows = {task.id: task for task in held.tasks}
    for event in decision.events:
        rows[event.task] = fold(rows.get(event.task), event)
    plans = {plan.id: plan for plan in (*held.plans, *decision.plans)}
    return replace(held, tasks=tuple(rows.values()), plans=tuple(plans.values()), now=now or held.now)


def opened(**more: Any) -> Chart:
    """A chart whose need has its open task."""
    held = chart(**more)
    return after(held, decide(held, finding()))


STEP = Step("s1", NOW + timedelta(days=5), None, "lead")

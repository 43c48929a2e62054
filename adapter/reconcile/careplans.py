"""Care plans: one per programme and episode of a person, beside the tasks that belong to it. Pure.

A plan is active while work is open, and ends after thirty quiet days; work that opens after its end begins the next
episode. A plan that a person deleted is not made again for the work that she knew then.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

from msgspec import Struct
from msgspec.structs import replace

from adapter.facts.patient import PatientGuard
from adapter.model import Chart, Plan, Task
from adapter.reconcile.needs import need_key

QUIET = timedelta(days=30)  # a care plan without open work ends after this


class Planned(Struct, frozen=True):
    """The plans that are new or differ, and when one of them may end by time alone."""

    plans: tuple[Plan, ...] = ()
    looks: tuple[datetime, ...] = ()


def plans_of(chart: Chart, tasks: Collection[Task], opened: Collection[str], guard: PatientGuard) -> Planned:
    """What becomes of a person's plans with the ``tasks`` as they are after a look that ``opened`` some."""
    made: list[Plan] = []
    looks: list[datetime] = []
    for programme in sorted({task.programme for task in tasks if task.programme}):
        own = [task for task in tasks if task.programme == programme]
        latest = max(
            [plan for plan in chart.plans if plan.programme == programme],
            key=lambda plan: plan.episode,
            default=None,
        )
        if latest is None or latest.status != "active" or latest.gone:
            plan = _next(chart, [task for task in own if task.open], opened, latest)
        else:
            plan = _kept(chart, own, guard, latest, looks)
        if plan is not None and plan != latest:
            made.append(plan)
    return Planned(tuple(made), tuple(looks))


def _next(chart: Chart, work: Sequence[Task], opened: Collection[str], latest: Plan | None) -> Plan | None:
    """The next episode, for work that has come since the last one ended."""
    if latest is not None:
        since = latest.ended or latest.started or chart.now
        work = [task for task in work if task.opened_at is not None and task.opened_at > since]
        if latest.gone:
            work = [task for task in work if task.id in opened]
    if not work:
        return None
    patient, programme = work[0].patient, work[0].programme
    episode = latest.episode + 1 if latest else 1
    key = latest.key if latest else need_key(chart.source.key, f"plan:{programme}", patient)
    return Plan(
        id=f"bp-{key}-{episode}",
        source=chart.source.name,
        patient=patient,
        key=key,
        programme=programme,
        episode=episode,
        started=chart.now,
        mapping=work[0].mapping,
    )


def _kept(
    chart: Chart, tasks: Sequence[Task], guard: PatientGuard, latest: Plan, looks: list[datetime]
) -> Plan:
    """The active plan as it goes on or ends; ``looks`` gets the end of its quiet days."""
    if any(task.open for task in tasks):
        return replace(latest, patient=guard.survivor or latest.patient)
    if guard.withdraw:
        return replace(latest, status="revoked", ended=chart.now)
    last = max((task.closed_at for task in tasks if task.closed_at), default=latest.started or chart.now)
    if chart.now >= last + QUIET:
        return replace(latest, status="completed", ended=chart.now)
    looks.append(last + QUIET)
    return latest

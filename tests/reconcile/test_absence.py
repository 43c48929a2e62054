"""What opens or closes while a type is not known would do so whatever of that type turned up: absence is known, or not
acted on (CONSISTENCY F3)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from adapter.model import EventKind
from adapter.reconcile.changes import Decision
from tests.reconcile.test_history import decided, reports
from tests.reconcile.test_short_cuts import (
    ALL_KNOWN,
    KINDS,
    NOW,
    SNOMED,
    answers,
    at,
    bodies,
    chart_of,
    edited,
    moves,
    orders,
    stays,
    tasks_after,
    visits,
)

OTHER_IDS = "xyz"  # what turns up is none of what is held
TURNS_UP = {
    "ServiceRequest": orders(),
    "Appointment": visits(),
    "CoverageEligibilityResponse": answers(),
    "Encounter": stays(),
    "DiagnosticReport": reports("DiagnosticReport"),
    "DocumentReference": reports("DocumentReference"),
}
recently = st.integers(-25, 10)


@st.composite
def lively(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Orders and visits of these weeks, on most of which something hangs."""
    found = []
    for id in draw(st.sets(st.sampled_from("abc"), min_size=1)):
        order = {**draw(orders()), "id": id, "status": "active", "intent": "order"}
        kind = {"category": [{"coding": [{"system": SNOMED, "code": draw(st.sampled_from(KINDS[:2]))}]}]}
        found.append({**order, **kind, "authoredOn": at(draw(recently) - 10)})
        if draw(st.booleans()):
            start = draw(recently)
            visit = {
                **draw(visits()),
                "id": id,
                "created": at(start - 10),
                "start": at(start),
                "end": at(start),
            }
            found.append(
                {**visit, "basedOn": [{"reference": f"ServiceRequest/{draw(st.sampled_from('abc'))}"}]}
            )
    return found


@st.composite
def unknown(draw: st.DrawFn) -> tuple[str, list[dict[str, Any]]]:
    """A type that is not known since the rest came, and what there is of it."""
    type = draw(st.sampled_from(sorted(TURNS_UP)))
    found = draw(st.lists(TURNS_UP[type], min_size=1, max_size=len(OTHER_IDS)))
    return type, [{**body, "id": id} for body, id in zip(found, OTHER_IDS, strict=False)]


def tasks_of(decision: Decision, *kinds: EventKind) -> set[str]:
    return {one.task for one in decision.events if one.kind in kinds}


@pytest.mark.parametrize(
    "kinds", [(EventKind.OPENED,), (EventKind.COMPLETED, EventKind.WITHDRAWN)], ids=["opens", "closes"]
)
@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(lively(), bodies, moves, unknown(), st.sampled_from((0, 1)), st.integers(0, 20 * 24))
def test_what_opens_or_closes_without_knowing_a_type_does_so_whatever_turns_up(
    kinds: tuple[EventKind, ...],
    live: list[Any],
    more: list[Any],
    moved: list[tuple[int, dict[str, Any]]],
    unread: tuple[str, list[dict[str, Any]]],
    level: int,
    hours: int,
) -> None:
    type, turns_up = unread
    first = [*more, *live]
    tasks = tasks_after(decided(chart_of(first, ALL_KNOWN, (), NOW)), ())
    held, now = edited(first, moved), NOW + timedelta(hours=hours)
    without = tasks_of(decided(chart_of(held, {**ALL_KNOWN, type: level}, tasks, now)), *kinds)
    event(f"without {type}: {len(without)}")
    if without:
        full = decided(chart_of([*held, *turns_up], ALL_KNOWN, tasks, now))
        assert without <= tasks_of(full, *kinds)


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(lively(), bodies, moves, unknown(), st.integers(0, 20 * 24))
def test_a_task_that_stands_untouched_says_why(
    live: list[Any],
    more: list[Any],
    moved: list[tuple[int, dict[str, Any]]],
    late: tuple[str, list[dict[str, Any]]],
    hours: int,
) -> None:
    """Whichever of its need's rules keeps it: what is written of it is never taken away."""
    first = [*more, *live]
    tasks = tasks_after(decided(chart_of(first, ALL_KNOWN, (), NOW)), ())
    held, now = [*edited(first, moved), *late[1]], NOW + timedelta(hours=hours)
    decision = decided(chart_of(held, ALL_KNOWN, tasks, now))
    assert all(words.title and words.next and words.reason for words in decision.words.values())

"""Between now and the next look, time alone changes nothing; and what opens before it is due."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from adapter.facts.facts import Facts
from adapter.mapping.evaluate import evaluate
from adapter.mapping.finding import Finding
from adapter.references import NO_BASES
from tests.mapping.making import REFERRAL, at, chart, shipped

START = datetime.fromisoformat("2025-12-01T00:00:00-05:00")
times = st.integers(-60 * 24, 60 * 24).map(lambda hours: (START + timedelta(minutes=30 * hours)).isoformat())
visits = st.fixed_dictionaries(
    {
        "status": st.sampled_from(["proposed", "pending", "booked", "fulfilled", "cancelled", "noshow"]),
        "created": times,
        "start": times,
        "_changed": times,
    },
    optional={
        "basedOn": st.just([{"reference": "ServiceRequest/o1"}]),
        "cancelationReason": st.just(
            {
                "coding": [
                    {
                        "system": "http://terminology.hl7.org/CodeSystem/appointment-cancellation-reason",
                        "code": "prov",
                    }
                ]
            }
        ),
    },
)
orders = st.fixed_dictionaries(
    {
        "status": st.sampled_from(["active", "completed"]),
        "authoredOn": times,
        "category": st.just([REFERRAL]),
    },
    optional={
        "priority": st.sampled_from(["routine", "urgent", "asap", "stat"]),
        "occurrenceDateTime": times.map(lambda text: text[:10]),
    },
)
answers = st.fixed_dictionaries(
    {
        "status": st.just("active"),
        "outcome": st.sampled_from(["complete", "error", "queued"]),
        "created": times,
        "insurance": st.booleans().map(
            lambda inforce: [{"coverage": {"reference": "Coverage/c1"}, "inforce": inforce}]
        ),
    }
)
histories = st.fixed_dictionaries(
    {"Coverage/c1": st.just({"status": "active"})},
    optional={
        "ServiceRequest/o1": orders,
        "Appointment/v1": visits,
        "Appointment/v2": visits,
        "CoverageEligibilityResponse/e1": answers,
    },
)


def judged(history: dict[str, Any], now: datetime, read: datetime | None = None) -> list[Finding]:
    """As a look would, without the patient's guards: they have a next look of their own."""
    held = at(chart(shipped(), (read or now).isoformat(), history), now)
    facts = Facts(held, NO_BASES, shipped().codebook)
    return [
        evaluate(rule, focus, facts, now=now)
        for rule in shipped().rules
        for focus in facts.focuses(rule.resource)
    ]


def told(finding: Finding, now: datetime) -> tuple[Any, ...]:
    """What must not change by itself.

    Not so the due time of a need that is yes and has no task yet: it waits for one. Age gates opening only.
    """
    return (
        finding.rule.id,
        finding.focus,
        finding.need,
        finding.when,
        finding.satisfied,
        finding.missing,
        finding.opens,
        finding.opens_known,
        finding.ends,
        finding.ended,
        finding.due if finding.opens_known and finding.opens and finding.opens > now else None,
        finding.onset,
        finding.particulars.words,
    )


@settings(max_examples=150, deadline=None)
@given(histories, st.floats(0, 0.999), st.integers(0, 20 * 24))
def test_until_the_next_look_nothing_changes(history: dict[str, Any], share: float, ahead: int) -> None:
    begun = START + timedelta(hours=ahead)
    now = judged(history, begun)
    looks = [finding.next_look for finding in now if finding.next_look]
    end = min(looks, default=begun + timedelta(days=60))
    later = judged(history, begun + (end - begun) * share, read=begun)
    assert [told(finding, begun) for finding in now] == [told(finding, begun) for finding in later]


@settings(max_examples=100, deadline=None)
@given(histories, st.integers(0, 30 * 24))
def test_opening_comes_before_due_and_due_is_ahead_of_opening(history: dict[str, Any], ahead: int) -> None:
    now = START + timedelta(hours=ahead)
    for finding in judged(history, now):
        if finding.opens is not None and finding.opens_known and finding.due is not None:
            assert finding.opens <= finding.due
        if finding.opens_now(now) and finding.due is not None and finding.due_is_day:
            assert finding.due > now
        if finding.next_look is not None:
            assert finding.next_look > now
        assert finding.errors == ()

"""How far back the rules of one source go: of what history none of them has a word to say any more.

What is certain by status and age alone; the rest of what may be left out of a chart is told by the chart
(:mod:`adapter.facts.history`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from adapter.facts.facts import FACT_TYPES
from adapter.facts.history import LEFT, OVER, TELLS, Horizon
from adapter.facts.patient import DISCHARGE_SEEN
from adapter.mapping.age import Ages, ages_of
from adapter.mapping.rules import Rule
from adapter.mapping.screens import asks_for, goes_by, named_by_need, statuses_of
from adapter.model import SourceFacts

# Of a Coverage these facts mean visits of any age.
_OF_ALL_VISITS = frozenset({"visits", "took_place"})
_DATES: Mapping[str, frozenset[str]] = {
    "ServiceRequest": frozenset({"authoredOn"}),
    "Appointment": frozenset({"start", "created"}),
}
_TOOK_PLACE = ("took_place", "end")
_NEWEST = timedelta(days=1)  # what was over a day ago lies ahead of nothing


def horizon_of(rules: Iterable[Rule], source: SourceFacts, now: datetime) -> Horizon | None:
    """What the active rules of a source pass over at a moment; None where anything may matter.

    So it is where a rule of the hospital's own asks for all visits that stand on a Coverage, or is about a type
    that other resources cause to be read.
    """
    rules = list(rules)
    if any(_sees_everything(rule) for rule in rules):
        return None
    ages = ages_of(source, now)
    latest = int((now - _NEWEST).timestamp())
    before: dict[str, int] = {}
    took_place, idle = set(), set()
    for type, statuses in OVER.items():
        own = [rule for rule in rules if rule.resource == type]
        if not all(named_by_need(rule) for rule in own):
            continue
        for status in statuses:
            judging = [rule for rule in own if (told := statuses_of(rule, source)) is None or status in told]
            bounds = [_bound(rule, ages) for rule in judging]
            if None in bounds:
                continue
            before[status] = min([latest, *(bound for bound in bounds if bound is not None)])
            measured = [rule for rule in judging if goes_by(rule) == _TOOK_PLACE]
            if measured:
                took_place.add(status)
                if all(asks_for(rule) == "took_place" for rule in measured):
                    idle.add(status)
    # A discharge is told, and holds the patient's work, for some days.
    before[LEFT] = min(before[LEFT], int((now - DISCHARGE_SEEN).timestamp()))
    before[TELLS] = latest
    known = FACT_TYPES["took_place"]
    answers = all(rule.resource != "CoverageEligibilityResponse" for rule in rules)
    return Horizon(before, answers, frozenset(took_place), frozenset(idle), known)


def _sees_everything(rule: Rule) -> bool:
    if rule.resource == "Coverage":
        return not rule.variables.isdisjoint(_OF_ALL_VISITS)
    return rule.resource not in _POLLED_OR_OF_ANSWERS


_POLLED_OR_OF_ANSWERS = frozenset({*_DATES, "CoverageEligibilityResponse", "Patient"})


def _bound(rule: Rule, ages: Ages) -> int | None:
    """The second before which nothing is new enough for a rule; None where its onset may be anything."""
    onset = goes_by(rule)
    if onset is None:
        return None
    plain = bool(onset) and _DATES[rule.resource].issuperset(onset)
    if not plain and not (onset == _TOOK_PLACE and rule.resource == "ServiceRequest"):
        return None
    oldest = ages.goes_back_to(rule)
    return None if oldest is None else int(oldest.timestamp())

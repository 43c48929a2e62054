"""What need not be evaluated: rules that say no of a focus by the focus alone, while no task hangs on it.

Most of a chart is history: completed orders, visits that took place. Nearly every rule refuses them by their status,
and a *no* that no task waits for changes nothing. A look asks here first. What is refused here is what
:func:`adapter.mapping.evaluate.evaluate` finds a *no* (a test compares the two).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from typing import Any

from adapter.facts.facts import Facts
from adapter.mapping.calendar import Calendar, calendar_of
from adapter.mapping.fhirpath import Value
from adapter.mapping.fhirpath.screen import Screen, blank_run, screen_of
from adapter.mapping.fhirpath.values import Run
from adapter.mapping.rules import Rule
from adapter.mapping.scope import SPECS, as_list
from adapter.mapping.template import Hole
from adapter.mapping.values import ALWAYS, NO_TYPES, Verdict
from adapter.model import Snapshot, SnapshotState

# Functions of the engine that look at nothing but the focus's own elements, and settings.
_OF_THE_FOCUS = frozenset({"kind", "cancelledBy", "completedMeans"})
# Those whose answer about a focus is the same whenever a rule asks.
_BY_FOCUS = _OF_THE_FOCUS | {"isOrderToAct"}
# Statuses that are judged as another one (an order on hold) or as absent: those take the whole way.
_JUDGED_OTHERWISE = ("on-hold", "unknown")


class _Prepared:
    """What is known of one rule before any chart."""

    __slots__ = ("by_ref", "prefix", "screen", "shares_applies")

    def __init__(self, rule: Rule) -> None:
        self.screen: Screen = screen_of(
            rule.when, functions=SPECS, variables=rule.constants, known=_OF_THE_FOCUS
        )
        self.prefix = rule.need.prefix
        self.by_ref = _names_the_focus(rule)
        asked = rule.applies
        self.shares_applies = (
            asked is not None and not asked.variables and (asked.functions & SPECS.keys()) <= _BY_FOCUS
        )


@lru_cache(maxsize=4096)
def _prepared(rule: Rule) -> _Prepared:
    return _Prepared(rule)


def _names_the_focus(rule: Rule) -> bool:
    """Whether a need is its prefix and ``{%ref}``: then its text is known without an evaluation."""
    parts = rule.need.parts
    if len(parts) != 2 or not isinstance(parts[0], str) or not isinstance(parts[1], Hole):
        return False
    return [part.text for part in parts[1].chain.parts] == ["%ref"]


class Screens:
    """The screens of one chart's rules, what its tasks concern, and what its rules share."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._needs = {task.need for task in facts.chart.tasks}
        self._own = {(task.rule, task.focus) for task in facts.chart.tasks}
        self._concerned: dict[str, bool] = {}
        self._runs: dict[str, Run] = {}
        self._place = _Place()
        self._applies: dict[tuple[str, str, str], Verdict] = {}
        self._texts: dict[tuple[str, str], str | None] = {}
        self.calendar: Calendar = calendar_of(facts.chart.source)
        self.old_before: dict[str, datetime] = {}
        """Rule id → the onset before which nothing opens, as :mod:`adapter.mapping.evaluate` works it out."""

    def refuses(self, rule: Rule, focus: Snapshot) -> bool:
        """Whether a rule's ``when`` is *no* by the focus alone. What says False here may still be one."""
        screen = _prepared(rule).screen
        if not screen.parts or focus.state is not SnapshotState.LIVE:
            return False
        if focus.body.get("status") in _JUDGED_OTHERWISE:
            return False
        self._place.focus = focus
        return screen.refuses(lambda: self._run(rule), focus.body)

    def applies(self, rule: Rule, focus: Snapshot, ask: Callable[[], Verdict]) -> Verdict:
        """The verdict of ``applies``: rules of one file share it, and one that reads no fact is asked once a focus."""
        if rule.applies is None:
            return ALWAYS
        if not _prepared(rule).shares_applies:
            return ask()
        key = (rule.mapping, rule.applies.text, focus.ref)
        held = self._applies.get(key)
        if held is None:
            held = ask()
            if held.gaps.isdisjoint(NO_TYPES):  # what failed is told by each rule itself
                self._applies[key] = held
        return held

    def concerns(self, rule: Rule, focus: Snapshot) -> bool:
        """Whether a task of the chart may be about what a rule says of a focus: by rule and focus, or by need."""
        if not self._needs:
            return False
        ready = _prepared(rule)
        if ready.by_ref:
            return ready.prefix + focus.ref in self._needs or (rule.id, focus.ref) in self._own
        if (rule.id, focus.ref) in self._own:
            return True
        held = self._concerned.get(rule.id)
        if held is None:
            held = self._concerned[rule.id] = any(need.startswith(ready.prefix) for need in self._needs)
        return held

    def is_asked(self, rule: Rule, focus: Snapshot, need: Callable[[], str | None]) -> bool:
        """Whether a task, open or closed, is of this rule and focus or of the need that it speaks of.

        Rules that see one need write it alike: its text is worked out once a focus.
        """
        if not self.concerns(rule, focus):
            return False
        if (rule.id, focus.ref) in self._own:
            return True
        if _prepared(rule).by_ref:
            return True  # the concern itself was about this very text
        key = (rule.need.text, focus.ref)
        if key not in self._texts:
            self._texts[key] = need()
        return self._texts[key] in self._needs

    def _run(self, rule: Rule) -> Run:
        held = self._runs.get(rule.id)
        if held is None:
            overrides = self._facts.chart.source.parameters.get(rule.mapping, {})
            constants = {
                name: Value(as_list(overrides.get(name, rule.parameters[name]))) for name in rule.constants
            }
            calls = _calls(self._facts, self._place)
            held = self._runs[rule.id] = blank_run(constants, calls, self._facts.zone)
        return held


class _Place:
    """Which focus a screen is asked about. Apart from the screens, so that nothing here is a cycle."""

    __slots__ = ("focus",)
    focus: Snapshot


def _calls(facts: Facts, place: _Place) -> dict[str, Callable[..., Value]]:
    return {
        "kind": lambda *_given: _told(facts.kind(place.focus).value),
        "cancelledBy": lambda *_given: _told(facts.cancelledBy(place.focus).value),
        "completedMeans": lambda *_given: _told(facts.completedMeans().value),
    }


def _told(value: Any) -> Value:
    """As :meth:`adapter.mapping.scope.Scope.told` has it: these functions never name a type to read."""
    return Value([]) if value is None else Value([value])

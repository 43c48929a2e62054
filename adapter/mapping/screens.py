"""What need not be evaluated: rules that say no of a focus by the focus alone, while no task hangs on it.

Most of a chart is history: completed orders, visits that took place. Nearly every rule refuses them by their status,
and a *no* that no task waits for changes nothing. A look asks here first. What is refused here is what
:func:`adapter.mapping.evaluate.evaluate` finds a *no* (a test compares the two).
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from adapter.facts.facts import FACT_TYPES, Facts
from adapter.facts.times import When, parse_when
from adapter.mapping.age import Ages, ages_of
from adapter.mapping.calendar import Calendar, calendar_of
from adapter.mapping.fhirpath import Value
from adapter.mapping.fhirpath.model import choice_keys
from adapter.mapping.fhirpath.screen import FactTest, Screen, blank_run, screen_of
from adapter.mapping.fhirpath.tree import Call, Member, Node, Variable
from adapter.mapping.fhirpath.values import Run
from adapter.mapping.rules import Rule
from adapter.mapping.scope import SPECS, Freshness, as_list, stale
from adapter.mapping.template import Hole
from adapter.mapping.values import ALWAYS, NEVER, NO_TYPES, Verdict
from adapter.model import Snapshot, SnapshotState, SourceFacts, Task
from adapter.once import once

# Functions of the engine that look at nothing but the focus's own elements, and settings.
_OF_THE_FOCUS = frozenset({"kind", "cancelledBy", "completedMeans"})
# Those whose answer about a focus is the same whenever a rule asks.
_BY_FOCUS = _OF_THE_FOCUS | {"isOrderToAct"}
_NO_KEYS: frozenset[str] = frozenset()
# What payers say of an order: most answers can be seen not to say it before it is asked which ones fit.
_SAID = ("benefits", "says")
# The onset of what follows a visit: most visits are long past, which can be seen before they are told as a fact.
_ENDED = ("took_place", "end")
_ANSWERS = frozenset({"CoverageEligibilityResponse"})
# Statuses that are judged as another one (an order on hold) or as absent: those take the whole way.
_JUDGED_OTHERWISE = ("on-hold", "unknown")


class _Prepared:
    """What is known of one rule before any chart."""

    __slots__ = (
        "asks_to_act",
        "by_order",
        "by_ref",
        "names_ref",
        "onset",
        "onset_of",
        "prefix",
        "screen",
        "shares_applies",
    )

    def __init__(self, rule: Rule) -> None:
        self.screen: Screen = screen_of(
            rule.when, functions=SPECS, variables=rule.constants, known=_OF_THE_FOCUS
        )
        self.prefix = rule.need.prefix
        named = _names_in_need(rule)
        self.by_ref = named == ("%ref",)
        self.by_order = named == ("%orders.ref", "%ref") and rule.resource == "Appointment"
        self.names_ref = (self.by_ref or self.by_order) and self.prefix.endswith(":")
        self.onset = _plain_onset(rule)
        self.onset_of = _onset_of_fact(rule)
        asked = rule.applies
        self.shares_applies = (
            asked is not None and not asked.variables and (asked.functions & SPECS.keys()) <= _BY_FOCUS
        )
        self.asks_to_act = asked is not None and _is_to_act(asked.tree)


@lru_cache(maxsize=4096)
def _prepared(rule: Rule) -> _Prepared:
    return _Prepared(rule)


def statuses_of(rule: Rule, source: SourceFacts) -> frozenset[str] | None:
    """The statuses of a focus that a rule does not refuse, with a source's parameters; None: any."""
    return _prepared(rule).screen.statuses(_constants(rule, source))


def named_by_need(rule: Rule) -> bool:
    """Whether the need of a rule ends with its focus, or with an order of it: no other need can be the same."""
    return _prepared(rule).names_ref


def may_speak_of(rule: Rule, need: str, held: Container[str]) -> bool:
    """Whether a rule may write a need of some focus that is not among the ``held`` refs."""
    ready = _prepared(rule)
    if not need.startswith(ready.prefix):
        return False
    if not ready.names_ref:
        return True
    named = need.removeprefix(ready.prefix)
    if named.startswith(f"{rule.resource}/"):
        return named not in held  # it is that focus or none
    return ready.by_order and named.startswith("ServiceRequest/")


def goes_by(rule: Rule) -> tuple[str, ...] | None:
    """What the onset of a rule is: elements of the focus in their order, or a fact and its element; else None."""
    ready = _prepared(rule)
    return ready.onset if ready.onset is not None else ready.onset_of


def asks_for(rule: Rule) -> str:
    """The fact without which a rule says no, where it asks for nothing before it but status and kind; else ""."""
    screen = _prepared(rule).screen
    test = screen.then
    return test.fact if test is not None and not test.element and screen.asks_only(_STATUS, _KIND) else ""


_STATUS, _KIND = frozenset({"status"}), frozenset({"kind"})


def _constants(rule: Rule, source: SourceFacts) -> dict[str, list[Any]]:
    overrides = source.parameters.get(rule.mapping, {})
    return {name: as_list(overrides.get(name, rule.parameters[name])) for name in rule.constants}


def _names_in_need(rule: Rule) -> tuple[str, ...]:
    """The expressions of a need that is its prefix and one hole; none of any other."""
    parts = rule.need.parts
    if len(parts) != 2 or not isinstance(parts[0], str) or not isinstance(parts[1], Hole):
        return ()
    return tuple(part.text for part in parts[1].chain.parts)


def _is_to_act(tree: Node) -> bool:
    return isinstance(tree, Call) and tree.base is None and tree.name == "isOrderToAct" and not tree.args


def _plain_onset(rule: Rule) -> tuple[str, ...] | None:
    """The elements of an onset such as ``start ?? created``; None where it is anything else than elements."""
    if rule.onset is None:
        return None
    names = []
    for part in rule.onset.parts:
        tree = part.tree
        if not isinstance(tree, Member) or tree.base is not None:
            return None
        names.append(tree.name)
    return tuple(names)


def _onset_of_fact(rule: Rule) -> tuple[str, str] | None:
    """Fact and element of an onset such as ``%took_place.end``; None where it is anything else."""
    if rule.onset is None or len(rule.onset.parts) != 1:
        return None
    tree = rule.onset.parts[0].tree
    if isinstance(tree, Member) and isinstance(tree.base, Variable) and tree.base.name in FACT_TYPES:
        return tree.base.name, tree.name
    return None


class Screens:
    """The screens of one chart's rules, what its tasks concern, and what its rules share."""

    def __init__(self, facts: Facts, rules: Mapping[str, Rule] | None = None) -> None:
        """``rules`` are those that the source uses, by id; without them every task may be about anything."""
        chart = facts.chart
        self._facts = facts
        self._own = {(task.rule, task.focus) for task in chart.tasks}
        self._needs = {task.need for task in chart.tasks}
        self.open_tasks = [task for task in chart.tasks if task.open]
        self._tells_more = rules is None and bool(chart.tasks)
        if rules is not None:
            for task in chart.tasks:
                self._learn_need(task, rules.get(task.rule))
        self._concerned: dict[str, bool] = {}
        self._visits: dict[tuple[str, str], bool] = {}
        self._runs: dict[str, Run] = {}
        self._fresh: dict[str, dict[frozenset[str], frozenset[str]]] = {}
        self._place = _Place()
        self._applies: dict[tuple[str, str, str], Verdict] = {}
        self._texts: dict[tuple[str, str], str | None] = {}
        self.calendar: Calendar = calendar_of(chart.source)
        self.ages: Ages = ages_of(chart.source, chart.now)
        self.max_age = timedelta(seconds=chart.source.evidence_max_age_s)

    def _learn_need(self, task: Task, rule: Rule | None) -> None:
        """Take in the need of a task as its rule words it now: a link or an edited rule may have changed it since.

        What another focus says of the need by its new text is said of the task, too (pitfall 5).
        """
        if rule is None:
            return
        ready = _prepared(rule)
        if not ready.names_ref:
            self._tells_more = True
            return
        self._needs.add(ready.prefix + task.focus)
        if ready.by_order:
            self._needs.update([ready.prefix + order for order in self._facts.links.orders_of(task.focus)])

    def worth(self, rules: tuple[Rule, ...], focus: Snapshot) -> Sequence[Rule]:
        """The rules that have to judge a focus: those that do not refuse its status, and those with a task on it."""
        status = focus.body.get("status")
        if type(status) is not str or status in _JUDGED_OTHERWISE or focus.state is not SnapshotState.LIVE:
            return rules
        held = self.ages.not_refused.get((rules, status))
        if held is None:
            held = self.ages.not_refused[rules, status] = self._not_refused(rules, status)
        left, spoken_of_by_ref = held
        if not self._needs or len(left) == len(rules):
            return left
        if self._tells_more:
            return rules
        if spoken_of_by_ref and focus.ref not in self._refs:
            orders = self._facts.links.orders_of(focus.ref) if focus.type == "Appointment" else ()
            if self._refs.isdisjoint(orders):
                return left
        return [rule for rule in rules if rule in left or self.asked(rule, focus) is not False]

    def _not_refused(self, rules: tuple[Rule, ...], status: str) -> tuple[tuple[Rule, ...], bool]:
        """The rules that do not refuse every focus of a status, in their order; whether the needs of all others end
        with their focus or its order."""
        told = [(rule, statuses_of(rule, self._facts.chart.source)) for rule in rules]
        left = tuple(rule for rule, statuses in told if statuses is None or status in statuses)
        return left, all(_prepared(rule).names_ref for rule in rules if rule not in left)

    @once
    def _refs(self) -> frozenset[str]:
        """What the chart's tasks are about, by their focus or as their need names it."""
        foci = {focus for _, focus in self._own}
        return frozenset(foci.union([need.rpartition(":")[2] for need in self._needs]))

    def refuses(self, rule: Rule, focus: Snapshot) -> bool:
        """Whether a rule's ``when`` is *no*: by the focus alone, or by the first fact that it asks for.

        What says False here may still be one.
        """
        screen = _prepared(rule).screen
        if not screen.parts or focus.state is not SnapshotState.LIVE:
            return False
        if focus.body.get("status") in _JUDGED_OTHERWISE:
            return False
        self._place.focus = focus
        refused = screen.refuses(lambda: self._run(rule), focus.body)
        if refused is False and screen.then is not None and screen.then.fact in FACT_TYPES:
            return self._misses(screen.then, focus)
        return bool(refused)

    def _misses(self, test: FactTest, focus: Snapshot) -> bool:
        """Whether a fact, known as a whole, does not hold what a condition asks for."""
        if (test.fact, test.element) == _SAID and self._facts.never_said(test.literal, focus):
            return self._is_known(_ANSWERS, focus)
        fact = self._facts.fact(test.fact, focus)
        if fact.gaps or fact.until is not None or not self._is_known(fact.types, focus):
            return False
        if not test.element:
            return not fact.records
        found = [record.get(test.element) if type(record) is dict else None for record in fact.records]
        return all([type(value) is str and value != test.literal for value in found])

    def is_too_old(self, rule: Rule, focus: Snapshot) -> bool:
        """Whether the onset is certain, and nothing opens for it any more. What says False here may still be old."""
        ready, bound = _prepared(rule), self.ages.old_before(rule, focus)
        if ready.onset is not None:
            onset = self.onset(rule, focus)
        elif ready.onset_of is not None and focus.body.get("status") not in _JUDGED_OTHERWISE:
            if ready.onset_of == _ENDED and self._facts.is_past(focus, bound):
                return self._is_known(FACT_TYPES[_ENDED[0]], focus)
            onset = self._latest(*ready.onset_of, focus)
        else:
            return False
        return onset is not None and onset < bound

    def onset(self, rule: Rule, focus: Snapshot) -> datetime | None:
        """The onset of a rule, where it is the first of some elements of the focus and a time of day; else None."""
        for name in _prepared(rule).onset or ():
            said = focus.body.get(name)
            if said is not None:
                when = parse_when(said, self._facts.zone)
                return None if when is None or when.day_only else when.instant
            if not choice_keys().get(name, _NO_KEYS).isdisjoint(focus.body):
                return None  # it stands under another name: start is a choice of some types
        return None

    def _latest(self, name: str, element: str, focus: Snapshot) -> datetime | None:
        """The latest time in a fact's records, where all of them are known and bear a time of day."""
        fact = self._facts.fact(name, focus)
        if fact.gaps or fact.until is not None or not fact.records or not self._is_known(fact.types, focus):
            return None
        times = [record.get(element) for record in fact.records if isinstance(record, dict)]
        told = [when.instant for when in times if isinstance(when, When) and not when.day_only]
        return max(told) if len(told) == len(fact.records) else None

    def _is_known(self, types: frozenset[str], focus: Snapshot) -> bool:
        held = self.fresh(focus)
        found = held.get(types)
        if found is None:
            chart = self._facts.chart
            found = held[types] = stale(types, chart.known, Freshness(focus, chart.now))
        return not found

    def fresh(self, focus: Snapshot) -> dict[frozenset[str], frozenset[str]]:
        """Of which types absence is not known since a focus came, as far as somebody asked: alike for every rule."""
        held = self._fresh.get(focus.ref)
        if held is None:
            held = self._fresh[focus.ref] = {}
        return held

    def applies(self, rule: Rule, focus: Snapshot, ask: Callable[[], Verdict]) -> Verdict:
        """The verdict of ``applies``: rules of one file share it, and one that reads no fact is asked once a focus."""
        if rule.applies is None:
            return ALWAYS
        ready = _prepared(rule)
        if not ready.shares_applies:
            return ask()
        if ready.asks_to_act and (told := self._is_to_act(focus)) is not None:
            return ALWAYS if told else NEVER
        key = (rule.mapping, rule.applies.text, focus.ref)
        held = self._applies.get(key)
        if held is None:
            held = ask()
            if held.gaps.isdisjoint(NO_TYPES):  # what failed is told by each rule itself
                self._applies[key] = held
        return held

    def _is_to_act(self, focus: Snapshot) -> bool | None:
        """What ``isOrderToAct()`` says, without its closure; None where that has to be asked."""
        try:
            told: bool | None = self._facts.isOrderToAct(focus).value
        except Exception:  # the rule says so, and says it of itself (F50)
            return None
        return told

    def asked(self, rule: Rule, focus: Snapshot) -> bool | None:
        """Whether a task, open or closed, is of a rule and focus or of the need that it speaks of.

        None where only the text of the need can tell.
        """
        if not self._needs:
            return False
        ready = _prepared(rule)
        ref = focus.ref
        if (rule.id, ref) in self._own or self._tells_more:
            return True
        if ready.by_ref:
            return ready.prefix + ref in self._needs
        held = self._concerned.get(rule.id)
        if held is None:
            held = self._concerned[rule.id] = any([need.startswith(ready.prefix) for need in self._needs])
        return None if held and (not ready.by_order or self._names_visit(ready.prefix, ref)) else False

    def need(self, rule: Rule, focus: Snapshot) -> str:
        """The text of a need that ends with its focus; "" where it has to be worked out."""
        ready = _prepared(rule)
        return ready.prefix + focus.ref if ready.by_ref else ""

    def _names_visit(self, prefix: str, ref: str) -> bool:
        """Whether a task's need names a visit, or an order that it belongs to; rules that share a need ask alike."""
        held = self._visits.get((prefix, ref))
        if held is None:
            orders = self._facts.links.orders_of(ref)
            held = any([prefix + named in self._needs for named in (ref, *orders)])
            self._visits[prefix, ref] = held
        return held

    def is_asked(self, rule: Rule, focus: Snapshot, need: Callable[[], str | None]) -> bool:
        """As :meth:`asked`, with the text of the need where that has to tell.

        Rules that see one need write it alike: its text is worked out once a focus.
        """
        told = self.asked(rule, focus)
        if told is not None:
            return told
        key = (rule.need.text, focus.ref)
        if key not in self._texts:
            self._texts[key] = need()
        return self._texts[key] in self._needs

    def _run(self, rule: Rule) -> Run:
        whose = rule.id if rule.constants else ""  # those without parameters ask with the same run
        held = self._runs.get(whose)
        if held is None:
            constants = {
                name: Value(values) for name, values in _constants(rule, self._facts.chart.source).items()
            }
            calls = _calls(self._facts, self._place)
            held = self._runs[whose] = blank_run(constants, calls, self._facts.zone)
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


@lru_cache(maxsize=256)  # kinds and parties: a few words, which nobody changes
def _told(value: str | None) -> Value:
    """As :meth:`adapter.mapping.scope.Scope.told` has it: these functions never name a type to read."""
    return Value([]) if value is None else Value([value])

"""What the expressions of one rule see while they are evaluated on one focus: facts, parameters, functions.

Here absence gets its date. A fact whose types are not known since the cause "may contain more": its value carries
the types as gaps, and what rests on absence is then unknown (CONSISTENCY F3).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta, tzinfo
from functools import partial
from typing import Any

from msgspec import Struct, field

from adapter.facts.facts import FUNCTION_TYPES, Fact, Facts, Told
from adapter.mapping.age import duration
from adapter.mapping.calendar import Calendar
from adapter.mapping.durations import Duration
from adapter.mapping.fhirpath import Env, EvaluationError, Expression, FunctionSpec, Value
from adapter.mapping.fhirpath.values import NOTHING_FOUND, Pair, Run, as_value
from adapter.mapping.finding import Tri
from adapter.mapping.rules import Rule, Span
from adapter.mapping.values import (
    ABSENT,
    ALWAYS,
    DISPUTED,
    ERROR,
    NEVER,
    NOTHING,
    UNKNOWN,
    Chain,
    Verdict,
    verdict,
)
from adapter.mapping.valuesets import ValueSets
from adapter.model import EVIDENCE, Known, Snapshot

UNKNOWN_TYPE = Known()


class Freshness(Struct, frozen=True):
    """Since when absence has to be known.

    ``acts`` is the moment at which the answer acts (the need opens, a step falls due); None where it does not act
    yet. What acts on evidence must not rest on an old reading of it either.
    """

    focus: Snapshot
    now: datetime
    acts: datetime | None = None
    max_age: timedelta = timedelta(hours=1)

    def holds(self, type: str, known: Known) -> bool:
        """Whether absence of a type may be believed."""
        if known.declared_none:
            return True
        at = known.at
        if known.blind or known.bounded or at is None:
            return False
        if not self._after_focus(type, known.seq, at):
            return False
        if self.acts is None:
            return True
        if type in EVIDENCE and self.now >= at + self.max_age:
            return False
        return at >= self.acts.replace(microsecond=0)  # Date headers have whole seconds

    def _after_focus(self, type: str, seq: int, at: datetime) -> bool:
        """Known by a walk or read that began after the focus came, or by the very walk that brought it."""
        focus = self.focus
        if seq > focus.received_seq:
            received = focus.received_at
            if received is None or at >= received or at >= received.replace(microsecond=0):
                return True
        return type == focus.type and bool(focus.walk_seq) and seq >= focus.walk_seq


def stale(types: frozenset[str], known: Mapping[str, Known], freshness: Freshness) -> frozenset[str]:
    """Those of some types of which absence may not be believed."""
    old = []
    for type in types:
        told = known.get(type)
        if told is None or not freshness.holds(type, told):
            old.append(type)
    return frozenset(old) if old else NOTHING


class Seen(Struct):
    """What an evaluation came across, over all its expressions."""

    types: set[str] = field(default_factory=set)
    errors: dict[str, None] = field(default_factory=dict)
    looks: list[datetime] = field(default_factory=list)


class _Run(Run):
    """The run that all expressions of one scope share: what a variable or function says is asked for once."""

    __slots__ = ("_answers", "_scope")

    def __init__(self, scope: Scope) -> None:
        super().__init__(Env(scope.focus.body, zone=scope.zone), standard=False)
        self.memo = scope._values
        self._scope = scope
        self._answers: dict[str, Pair] = {}

    def variable(self, name: str) -> Pair:
        rule = self._scope.rule
        if name in rule.variables or name in rule.constants or name in _OF_FOCUS:
            return self._scope.named(name)
        raise EvaluationError(f"%{name} is not set")

    def function(self, name: str, own: Callable[..., Value]) -> Callable[..., Value]:
        scope = self._scope
        return partial(FUNCTIONS[name], scope) if name in scope.rule.functions else own

    def told(self, name: str, own: Callable[..., Value]) -> Pair:
        held = self._answers.get(name)
        if held is None:
            held = self._answers[name] = super().told(name, own)
        return held


_OF_FOCUS = ("resource", "ref")


class Scope:
    """Evaluates expressions of one rule on one focus."""

    __slots__ = (
        "_fresh",
        "_overrides",
        "_run",
        "_values",
        "calendar",
        "facts",
        "focus",
        "freshness",
        "rule",
        "seen",
        "zone",
    )

    def __init__(
        self,
        rule: Rule,
        focus: Snapshot,
        facts: Facts,
        calendar: Calendar,
        freshness: Freshness,
        seen: Seen,
        fresh: dict[frozenset[str], frozenset[str]] | None = None,
    ) -> None:
        """``fresh`` is what ``freshness`` was found to say (:func:`stale`): scopes of one focus and moment share it."""
        self.rule = rule
        self.focus = focus
        self.facts = facts
        self.calendar = calendar
        self.freshness = freshness
        self.seen = seen
        self.zone: tzinfo = facts.chart.source.zone
        self._overrides = facts.chart.source.parameters.get(rule.mapping, {})
        self._values: dict[str, Value] = {}  # by name: facts and freshness stay what they are in one scope
        self._fresh: dict[frozenset[str], frozenset[str]] = {} if fresh is None else fresh
        self._run: _Run | None = None

    def close(self) -> None:
        """Let go of what names this scope: else it would be a cycle, and keep its chart alive."""
        self._run = None

    def _running(self) -> _Run:
        run = self._run = _Run(self)
        return run

    def value(self, expression: Expression) -> Value:
        """The value of an expression; one that fails is empty, with :data:`ERROR` as its gap.

        That an element is absent is no gap here: nothing has to be read to know it.
        """
        try:
            value = expression.value(self._run or self._running())
        except Exception:  # a rule that trips over odd data must not take the person's other rules down (F50)
            return self._failed(expression)
        items, gaps = value
        return value if not gaps or gaps.isdisjoint(ABSENT) else Value(items, gaps - ABSENT)

    def verdict(self, expression: Expression | None) -> Verdict:
        """The truth of an expression; yes where there is none."""
        if expression is None:
            return ALWAYS
        decide = expression.decide
        if decide is None:
            found = verdict(self.value(expression))
            return found if found is not None else Verdict(Tri.UNKNOWN, self._failed(expression).gaps)
        try:
            told = decide(self._run or self._running(), self.focus.body)
        except Exception:  # as above
            return Verdict(Tri.UNKNOWN, self._failed(expression).gaps)
        if told is True:
            return ALWAYS
        if told is False:
            return NEVER
        gaps = told - ABSENT if told else told
        return Verdict(Tri.UNKNOWN, gaps) if gaps else UNKNOWN

    def first(self, chain: Chain) -> Value:
        """The first value that is not empty. An unknown one before it makes the whole unknown."""
        for part in chain.parts:
            value = self.value(part)
            if value.items or value.gaps:
                return value
        return NOTHING_FOUND

    def spoken(self, chain: Chain) -> Value:
        """As :meth:`first`, but what is unknown is passed over: for words."""
        for part in chain.parts:
            value = self.value(part)
            if value.items:
                return value
        return NOTHING_FOUND

    def duration(self, span: Span) -> Duration:
        """A duration, with a parameter's override by this source."""
        return duration(span, self.rule, self.facts.chart.source)

    def known(self, type: str) -> Known:
        """Up to when a type's absence is known for this person."""
        return self.facts.chart.known.get(type, UNKNOWN_TYPE)

    def all_fresh(self, freshness: Freshness) -> bool:
        """Whether everything that was read so far would count under another freshness, too."""
        known = self.facts.chart.known
        return all([freshness.holds(type, known.get(type, UNKNOWN_TYPE)) for type in self.seen.types])

    def value_of(self, name: str) -> Value:
        """A fact by name."""
        return self.named(name)

    def answer_of(self, name: str) -> Value:
        """What an engine function without arguments says about the focus."""
        return FUNCTIONS[name](self, Value([]), ())

    def with_only(self, name: str, record: object, others: frozenset[str], expression: Expression) -> Value:
        """An expression where one fact holds one record, and the other facts nothing."""
        rule = self.rule
        names = (*_OF_FOCUS, *rule.variables, *rule.constants)
        variables: dict[str, Any] = {named: partial(self.named, named) for named in names}
        variables.update({other: Value([]) for other in others})
        variables[name] = Value([record])
        functions = {called: partial(FUNCTIONS[called], self) for called in rule.functions}
        env = Env(self.focus.body, variables, functions, self.zone)
        try:
            return expression.evaluate(env)
        except Exception:  # odd data again: it proves nothing
            return Value([])

    def _failed(self, expression: Expression) -> Value:
        self._run = None  # it may have stopped within a loop
        self.seen.errors[f"{self.rule.mapping}/{self.rule.id}: {expression.text}"] = None
        return Value([], frozenset({ERROR}))

    def named(self, name: str) -> Value:
        """What a variable stands for: the focus, its reference, a fact, or a parameter of the rule."""
        held = self._values.get(name)
        if held is None:
            held = self._values[name] = self._named(name)
        return held

    def _named(self, name: str) -> Value:
        if name == "resource":
            return Value([self.focus.body])
        if name == "ref":
            return Value([self.focus.ref])
        if name in self.rule.constants:
            return Value(as_list(self._overrides.get(name, self.rule.parameters[name])))
        return self._open(self.facts.fact(name, self.focus))

    def _open(self, fact: Fact) -> Value:
        records, types, gaps, until = fact
        if until is not None:
            self.seen.looks.append(until)
        if types:
            self.seen.types |= types
            old = self._fresh.get(types)
            if old is None:
                old = self._fresh[types] = stale(types, self.facts.chart.known, self.freshness)
            if old:
                gaps = gaps | old
        if gaps and not gaps.isdisjoint(ABSENT):
            gaps = gaps - ABSENT | {DISPUTED}
        return as_value((list(records), gaps))

    def told(self, told: Told) -> Value:
        """What a function of the facts says."""
        return Value([told.value]) if told.value is not None else Value([], told.types)

    def marked(self, code: str, value: str) -> Value:
        """Times at which a person set a business status on our newest task of a code and this focus."""
        return self._open(self.facts.marked(code, value, self.focus))


def as_list(value: Any) -> list[Any]:
    """A parameter's value as a collection."""
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]


def _kind(scope: Scope, _input: Value, _args: Sequence[Value]) -> Value:
    return scope.told(scope.facts.kind(scope.focus))


def _cancelled_by(scope: Scope, _input: Value, _args: Sequence[Value]) -> Value:
    return scope.told(scope.facts.cancelledBy(scope.focus))


def _completed_means(scope: Scope, _input: Value, _args: Sequence[Value]) -> Value:
    return scope.told(scope.facts.completedMeans())


def _is_order_to_act(scope: Scope, _input: Value, _args: Sequence[Value]) -> Value:
    return scope.told(scope.facts.isOrderToAct(scope.focus))


def _marked(scope: Scope, _input: Value, args: Sequence[Value]) -> Value:
    return scope.marked(str(args[0].items[0]), str(args[1].items[0]))


def _member_of(scope: Scope, given: Value, args: Sequence[Value]) -> Value:
    name = args[0]
    sets = scope.facts.codebook.valuesets
    if not isinstance(sets, ValueSets):
        return Value([])
    found = sets.member_of(given.items, str(name.items[0]))
    if found or (found is False and not given.gaps):
        return Value([found])
    return Value([], given.gaps)


FUNCTIONS: Mapping[str, Callable[..., Value]] = {
    "kind": _kind,
    "cancelledBy": _cancelled_by,
    "completedMeans": _completed_means,
    "isOrderToAct": _is_order_to_act,
    "marked": _marked,
    "memberOf": _member_of,
}
"""The engine's own functions. Each gets the scope, the collection that it is called on, and its arguments."""


def _without_focus(*_given: object) -> Value:
    raise EvaluationError("this function needs a focus")


def _spec(name: str, arguments: int) -> FunctionSpec:
    types = FUNCTION_TYPES.get(name, frozenset())
    return FunctionSpec(name, arguments, arguments, _without_focus, types, on_focus=name != "memberOf")


SPECS: Mapping[str, FunctionSpec] = {
    name: _spec(name, {"marked": 2, "memberOf": 1}.get(name, 0)) for name in FUNCTIONS
}
"""What the parser has to know of them. Their ``call`` comes with the focus, at evaluation."""

"""What is generated of an expression says what its closures say: items, gaps and errors, in a rule's every form."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapter.facts.times import at
from adapter.mapping.fhirpath import Env, Expression, ExpressionError, FunctionSpec, Value, compile_expression
from adapter.mapping.fhirpath.compile import Compiler, NotNative, type_bound
from adapter.mapping.fhirpath.generate import decides, decision, evaluation
from adapter.mapping.fhirpath.parse import parse
from adapter.mapping.fhirpath.temporal import Moment
from adapter.mapping.fhirpath.values import NO_GAPS, Run
from adapter.mapping.scope import SPECS
from tests.mapping.fhirpath import suite
from tests.mapping.fhirpath.making import NEW_YORK
from tests.mapping.fhirpath.test_properties import DATA, FORMULA, TOKENS
from tests.mapping.making import shipped

LATER = at(datetime(2025, 12, 20, tzinfo=UTC))
WORDS = ["booked", "cancelled", "unknown", "2025-12-01", "2025-12", ""]
ATOM = st.one_of(
    st.sampled_from([*WORDS, None, True, False, 0, 2, 2.5, LATER]),
    st.dictionaries(
        st.sampled_from(["status", "text", "value"]), st.sampled_from([*WORDS, 3, None]), max_size=2
    ),
)
ITEM = st.one_of(ATOM, st.lists(ATOM, max_size=2), st.lists(ATOM, max_size=2).map(tuple))
NAMES = ["status", "start", "code", "onsetDateTime", "onsetAge", "value", "text", "a", "class"]
RECORD = st.dictionaries(st.sampled_from(NAMES), ITEM, max_size=4)
VALUE = st.builds(
    Value, st.lists(st.one_of(RECORD, RECORD, ATOM.filter(lambda item: item is not None)), max_size=3),
    st.sampled_from([frozenset(), frozenset(), frozenset({"Appointment"}), frozenset({"?"}), frozenset({"~"})]),
)  # fmt: skip

TERMS = [
    "status", "start", "onset", "a", "code.text", "a.status", "value.value", "code.coding.display", "$this", "%x",
    "%y", "%x.status", "%y.a.text", "%`a b`", "%ucum", "%resource.status", "%resource", "kind()", "marked('a', 'b')",
    "%x.kin()", "'booked'", "'2025-12-01'", "@2025-12-01", "{}", "true", "false", "2", "('booked' | 'unknown')",
    "('2025-12-01' | 'x')", "$index", "%unset", "Patient", "Patient.status", "%x.start + 1 day",
]  # fmt: skip
CONDITIONS = [
    "status = 'booked'", "%x.status in ('booked' | 'x')", "a != 2", "'booked' in %x.status", "status < 'c'",
    "$this xor iif($this, status, status)", "%x.exists()", "%y.empty()",
    "%x.where(status = 'booked')", "status in %x", "(%x.where(a in %y.a) | %y).status",
]  # fmt: skip
CALLS = ["exists()", "empty()", "not()", "first()", "last()", "count()", "single()", "tail()", "distinct()",
         "status", "text", "onset", "a", "toString()", "isDistinct()", "ofType(string)"]  # fmt: skip


def _wider(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    operators = ["and", "or", "xor", "implies", "=", "!=", "in", "contains", "|", "~", "<", ">=", "&", "+"]
    loops = ["where", "exists", "all", "select", "any", "repeat", "sort"]
    return st.one_of(
        st.tuples(inner, st.sampled_from(operators), inner).map(lambda p: f"({p[0]}) {p[1]} ({p[2]})"),
        st.tuples(inner, st.sampled_from(CALLS)).map(lambda p: f"({p[0]}).{p[1]}"),
        st.tuples(inner, st.sampled_from(loops), inner).map(lambda p: f"({p[0]}).{p[1]}({p[2]})"),
        st.tuples(inner, inner, inner).map(lambda p: f"iif({p[0]}, {p[1]}, {p[2]})"),
        st.tuples(inner, inner).map(lambda p: f"iif({p[0]}, {p[1]})"),
        st.tuples(inner, inner, inner).map(lambda p: f"({p[0]}).iif({p[1]}, {p[2]})"),
        st.tuples(inner, st.sampled_from(["[0]", "[1]"])).map(lambda p: f"({p[0]}){p[1]}"),
    )


TEXT = st.recursive(st.sampled_from(TERMS + CONDITIONS), _wider, max_leaves=7)


def _kin(given: Value, _args: Any) -> Value:
    return Value(given.items[:1], given.gaps)


FUNCTIONS = {**SPECS, "kin": FunctionSpec("kin", 0, 0, _kin)}
TOLD = {
    "kind": lambda _given, _args: Value(["referral"]),
    "cancelledBy": lambda _given, _args: Value([], frozenset({"Encounter"})),
    "completedMeans": lambda _given, _args: Value(["performed"]),
    "isOrderToAct": lambda _given, _args: Value([True]),
    "marked": lambda _given, args: Value(args[0].items),
}


def _outcome(function: Any, env: Env) -> Any:
    """Items and gaps of a pair, a decision, or what was raised."""
    try:
        told = function(Run(env, standard=False), env.resource)
    except Exception as error:
        return type(error), str(error)
    return told if isinstance(told, (bool, frozenset)) else (list(told[0]), frozenset(told[1]))


def _check(text: str, env: Env, functions: Mapping[str, FunctionSpec] = FUNCTIONS) -> bool:
    """Whether there is a function; it has to say what the closures say."""
    tree = parse(text)
    compiler = Compiler(functions=functions, variables=None, standard=False, typed=type_bound(tree))
    closure, function = compiler.build(tree), evaluation(tree, compiler)
    assert (function is None) is type_bound(tree)
    if function is None:
        return False
    wanted = _outcome(closure, env)
    assert repr(_outcome(function, env)) == repr(wanted)
    if decides(tree, compiler):
        decide = decision(tree, compiler)
        assert decide is not None
        if not isinstance(wanted[0], type):
            wanted = wanted[0][0] if wanted[0] else wanted[1]
        assert _outcome(decide, env) == wanted
    return True


_GRID = [
    Env(body, {"x": Value(list(x), gaps), "y": Value(list(y)), "a b": ["x"]}, TOLD, NEW_YORK)
    for body, x, y in (
        ({}, (), ()),
        ({"status": "booked", "a": 2}, ({"status": "booked", "a": 1},), ("booked", {"a": 1})),
        (
            {"status": "unknown", "a": [1, 2]},
            ({"status": ["unknown", "x"]}, "booked"),
            ({"status": "unknown"},),
        ),
        ({"status": ["booked", None]}, ({"status": "unknown"}, {"status": "x"}), (True,)),
        ({"status": "2025-12-01"}, (False,), ("2025-12-01T10:00:00Z",)),
    )
    for gaps in (frozenset[str](), frozenset({"Appointment"}))
]


@pytest.mark.parametrize("text", TERMS + CONDITIONS)
def test_a_call_on_any_term_answers_and_fails_as_its_closures_do(text: str) -> None:
    for call in ("", *(f".{call}" for call in CALLS)):
        for env in _GRID:
            _check(f"({text}){call}" if call else text, env)


@settings(max_examples=1000, deadline=None)
@given(st.one_of(TEXT, TEXT, FORMULA), st.one_of(RECORD, ATOM), VALUE, VALUE)
def test_any_expression_answers_and_fails_as_its_closures_do(
    text: str, body: Any, x: Value, y: Value
) -> None:
    env = Env(body, {"x": x, "y": y, "xs": y, "rest": x, "words": x, "a b": x}, TOLD, NEW_YORK)
    with suppress(ExpressionError):  # what is no expression has no function
        _check(text, env)


@settings(max_examples=300, deadline=None)
@given(st.lists(TOKENS, max_size=9).map(" ".join))
def test_any_text_that_is_an_expression_does(text: str) -> None:
    with suppress(ExpressionError, NotNative):
        _check(text, Env(DATA, {"x": Value([1, {"status": "a"}, "b"], frozenset({"Claim"}))}))


def _expressions(thing: Any) -> Iterator[Expression]:
    """All expressions in a rule, wherever they stand."""
    if isinstance(thing, Expression):
        yield thing
    elif dataclasses.is_dataclass(thing):
        for field in dataclasses.fields(thing):
            yield from _expressions(getattr(thing, field.name))
    elif isinstance(thing, tuple):
        for part in thing:
            yield from _expressions(part)


SHIPPED = {e.text: e for rule in shipped().rules for e in _expressions(rule)}


@settings(max_examples=25, deadline=None)
@given(st.data())
@pytest.mark.parametrize("text", SHIPPED)
def test_the_expressions_of_the_shipped_rules_do(text: str, data: st.DataObject) -> None:
    statuses = st.sampled_from(["active", "booked", "noshow", "cancelled", "unknown", "final", "proposed"])
    record = st.fixed_dictionaries(
        {}, optional={"status": statuses, "ref": st.just("X/1"), "start": st.just(LATER), "end": st.just(LATER),
                      "says": st.sampled_from(["authorization-needed", "covered", "excluded"]),
                      "inforce": st.booleans(), "outcome": st.sampled_from(["error", "queued", "complete"])}
    )  # fmt: skip
    facts = st.builds(
        Value, st.lists(record, max_size=3), st.sampled_from([frozenset(), frozenset({"Claim"})])
    )
    body = st.fixed_dictionaries(
        {}, optional={"status": statuses, "priority": st.sampled_from(["stat", "routine"]), "created": st.just("2025"),
                      "start": st.just("2025-12-01T10:00:00Z"), "code": st.just({"coding": [{"display": "MRI"}, {}]})}
    )  # fmt: skip
    expression = SHIPPED[text]
    env = Env(
        data.draw(body), {name: data.draw(facts) for name in sorted(expression.variables)}, TOLD, NEW_YORK
    )
    _check(text, env)


def test_most_of_the_shipped_rules_are_functions() -> None:
    assert len(SHIPPED) > 50
    conditions = [e for e in SHIPPED.values() if e.decide is not None]
    assert len(conditions) > 25


def test_the_official_suite_does() -> None:
    done = 0
    for case in suite.cases():
        with suppress(ExpressionError, NotNative):
            done += _check(case.text, Env(suite.resource(case.input)), {})
    assert done > 500


def test_what_a_mapping_says_never_stands_in_the_source() -> None:
    word = "'\\'); import os; os.abort() #\\n'"
    for text in (
        f"status = {word}",
        f"%`x\\'); y` = {word}",
        f"`a\\nb`.where(`c d` in ({word} | 'x')) | {word}",
    ):
        _check(text, Env({"status": "x"}, {"x'); y": Value(["a"])}))


def test_what_nests_deeper_than_python_takes_it_stays_a_closure() -> None:
    text = "a" + ".where(a" * 30 + ".exists()" + ")" * 30
    tree = parse(text)
    compiler = Compiler(functions={}, variables=None, standard=False, typed=False)
    assert evaluation(tree, compiler) is None
    assert compile_expression(text).evaluate(Env({"a": [{}]})).items == []
    deep = compile_expression(text + ".exists()")
    assert deep.decide is not None
    body = {"a": [{}]}
    assert deep.decide(Run(Env(body), standard=False), body) == deep.evaluate(Env(body)).gaps == {"?"}


def test_a_long_chain_is_a_function_or_a_closure_and_never_an_error() -> None:
    for count in (20, 90, 120):
        expression = compile_expression(" or ".join(["status = 'x'"] * count))
        assert expression.evaluate(Env({"status": "y"})) == Value([False])
        assert compile_expression("a" + ".empty().not()" * count).evaluate(Env({})) == Value([True])


def test_types_and_fhirpaths_own_mode_stay_closures() -> None:
    for typed, standard in ((True, False), (True, True)):
        compiler = Compiler(functions={}, variables=None, standard=standard, typed=typed)
        tree = parse("value is Quantity and a.exists()")
        assert evaluation(tree, compiler) is None and not decides(tree, compiler)


def test_a_moment_leaves_a_function_as_a_text() -> None:
    found = compile_expression("@2025-12-01 | %x").evaluate(Env({}, {"x": Value([Moment.of("2025-12-02")])}))
    assert found == Value(["2025-12-01", "2025-12-02"], NO_GAPS)

"""Properties: Kleene's tables, and that what an open collection decides holds however it is completed."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from adapter.mapping.fhirpath import Env, EvaluationError, ExpressionError, Value, compile_expression

TRI = st.sampled_from([True, False, None])
GAP = {"a": frozenset({"Appointment"}), "b": frozenset({"Coverage"})}


def _as_value(told: bool | None, name: str) -> Value:
    return Value([], GAP[name]) if told is None else Value([told])


def _tri(text: str, a: bool | None, b: bool | None) -> Value:
    variables = {"a": _as_value(a, "a"), "b": _as_value(b, "b")}
    return compile_expression(text).evaluate(Env({}, variables))


def _kleene_and(a: bool | None, b: bool | None) -> bool | None:
    return False if a is False or b is False else None if a is None or b is None else True


def _not(a: bool | None) -> bool | None:
    return None if a is None else not a


@given(TRI, TRI)
def test_connectives_are_kleenes(a: bool | None, b: bool | None) -> None:
    either = _not(_kleene_and(_not(a), _not(b)))
    assert _tri("%a and %b", a, b).truth is _kleene_and(a, b)
    assert _tri("%a or %b", a, b).truth is either
    assert _tri("%a.not()", a, b).truth is _not(a)
    assert _tri("%a implies %b", a, b).truth is _not(_kleene_and(a, _not(b)))
    xor = None if a is None or b is None else a is not b
    assert _tri("%a xor %b", a, b).truth is xor


@given(TRI, TRI)
def test_an_unknown_names_exactly_the_sides_that_could_settle_it(a: bool | None, b: bool | None) -> None:
    for text in ("%a and %b", "%a or %b", "%a xor %b", "%a implies %b"):
        found = _tri(text, a, b)
        expected = (GAP["a"] if a is None else frozenset()) | (GAP["b"] if b is None else frozenset())
        assert found.gaps == (expected if found.truth is None else frozenset())


WORDS = ["booked", "cancelled", "noshow"]
RECORD = st.fixed_dictionaries({}, optional={"status": st.sampled_from(WORDS), "rank": st.integers(0, 3)})
CONDITION = st.one_of(
    st.sampled_from(WORDS).map(lambda word: f"status = '{word}'"),
    st.sampled_from(WORDS).map(lambda word: f"status != '{word}'"),
    st.integers(0, 3).map(lambda number: f"rank <= {number}"),
    st.just("status.exists()"),
    st.just("status in %words"),
    st.just("rank.empty() or rank > 1"),
)
STEPS = st.lists(
    st.one_of(
        CONDITION.map(lambda text: f".where({text})"),
        st.sampled_from(
            [".distinct()", ".exclude(%rest)", ".union(%rest)", ".combine(%rest)", ".intersect(%rest)"]
        ),
    ),
    max_size=2,
).map("".join)
ENDS = st.one_of(
    st.sampled_from([".exists()", ".empty()", ".count() = 2", ".count() > 0", ".isDistinct()"]),
    st.sampled_from([".status = 'booked'", ".subsetOf(%rest)", ".supersetOf(%rest)", ".rank.exists()"]),
    CONDITION.map(lambda text: f".all({text})"),
    CONDITION.map(lambda text: f".exists({text})"),
)
ATOM = st.one_of(
    st.tuples(STEPS, ENDS).map(lambda pair: f"%xs{pair[0]}{pair[1]}"),
    st.sampled_from(WORDS).map(lambda word: f"'{word}' in %xs.status"),
)
FORMULA = st.recursive(
    ATOM,
    lambda inner: st.one_of(
        inner.map(lambda text: f"({text}).not()"),
        st.tuples(inner, st.sampled_from(["and", "or", "xor", "implies"]), inner).map(
            lambda parts: f"({parts[0]}) {parts[1]} ({parts[2]})"
        ),
    ),
    max_leaves=3,
)


def _truth(text: str, xs: Value, rest: Value, words: Value) -> bool | None:
    expression = compile_expression(text)
    return expression.evaluate(Env({}, {"xs": xs, "rest": rest, "words": words})).truth


@settings(max_examples=400, deadline=None)
@given(
    st.one_of(ATOM, FORMULA),
    st.lists(RECORD, max_size=3),
    st.lists(RECORD, min_size=1, max_size=2),
    st.lists(RECORD, max_size=2),
    st.lists(RECORD, min_size=1, max_size=2),
    st.lists(st.sampled_from(WORDS), max_size=2),
)
def test_what_is_decided_on_open_collections_holds_for_every_completion(
    text: str,
    xs: list[Any],
    more_xs: list[Any],
    rest: list[Any],
    more_rest: list[Any],
    words: list[str],
) -> None:
    gap = frozenset({"Appointment"})
    told = _truth(text, Value(xs, gap), Value(rest, gap), Value(words, gap))
    if told is None:
        return
    completed = _truth(text, Value(xs + more_xs), Value(rest + more_rest), Value([*words, "arrived"]))
    assert completed is told


COMPARISON = st.one_of(
    st.sampled_from(WORDS).map(lambda word: f"status = '{word}'"),
    st.sampled_from(WORDS).map(lambda word: f"status != '{word}'"),
    st.integers(0, 3).map(lambda number: f"rank <= {number}"),
    st.just("status in ('booked' | 'noshow') and rank > 1"),
    st.just("status = 'booked' or rank = 2"),
)


@settings(max_examples=200, deadline=None)
@given(
    COMPARISON,
    st.sampled_from(["%xs.where({}).exists()", "%xs.exists({})", "%xs.where({}).empty()", "%xs.all({})"]),
    st.lists(st.tuples(RECORD, st.sampled_from(WORDS), st.integers(0, 3)), max_size=3),
)
def test_an_absent_element_hides_no_answer_that_its_value_would_turn(
    condition: str, form: str, records: list[tuple[dict[str, Any], str, int]]
) -> None:
    text = form.format(condition)
    told = _truth(text, Value([record for record, _, _ in records]), Value([]), Value([]))
    filled = [{"status": status, "rank": rank, **record} for record, status, rank in records]
    if told is not None:
        assert _truth(text, Value(filled), Value([]), Value([])) is told


_SIGNS = """
a status onset value %x %resource $this $index $total . . . ( ) ( ) [ ] , = != < ~ in contains is as and or implies
+ - * / & | div mod 'booked' '2025-01-01' 1 2.5 @2025-12 @T10 {} true days where( exists() count() select( iif( first()
not() sort() toInteger() length() Quantity Patient repeat( children() all( ?? ` ' // /* # \\
"""
TOKENS = st.sampled_from(_SIGNS.split())
DATA = {
    "resourceType": "Patient",
    "status": "booked",
    "a": [{"status": "x"}, {"value": [1, "2025-01-01", None, True]}, []],
    "onsetDateTime": "2025",
    "value": {"value": 3, "unit": "kg"},
}


@settings(max_examples=400, deadline=None)
@given(st.lists(TOKENS, max_size=9).map(" ".join), st.booleans())
def test_no_text_does_anything_but_evaluate_or_say_why_not(text: str, standard: bool) -> None:
    variables = {"x": Value([1, {"status": "a"}, "b"], frozenset({"Claim"}))}
    try:
        compile_expression(text, standard=standard).evaluate(Env(DATA, variables))
    except ExpressionError as error:
        assert error.line >= 1 and error.column >= 1
    except EvaluationError:
        pass

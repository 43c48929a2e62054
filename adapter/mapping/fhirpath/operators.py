"""Operators as closures over their operands' closures. Kleene's tables, and gaps that travel with the unknown."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from adapter.mapping.fhirpath.arithmetic import OPERATORS, negative
from adapter.mapping.fhirpath.faults import EvaluationError
from adapter.mapping.fhirpath.values import (
    NO_GAPS,
    NOTHING_FOUND,
    Pair,
    Run,
    Value,
    collections_equal,
    collections_equivalent,
    contains,
    one,
    order,
    plain,
    truth,
    type_name,
    unique,
)

Fn = Callable[[Run, Any], Pair]
"""A compiled part: takes the run and ``$this``, gives a pair."""

TRUE: Pair = Value([True])
FALSE: Pair = Value([False])
EMPTY: Pair = NOTHING_FOUND


def answer(told: bool | None) -> Pair:
    """A boolean as a pair; None is empty: unknown, with nothing to read."""
    return EMPTY if told is None else TRUE if told else FALSE


def constant(items: list[Any]) -> Fn:
    """Always the same."""
    pair: Pair = (items, NO_GAPS)
    return lambda run, this: pair


def both(left: Fn, right: Fn) -> Fn:
    """``and``."""

    def run_and(run: Run, this: Any) -> Pair:
        mine = left(run, this)
        first = truth(mine, standard=run.standard)
        if first is False:
            return FALSE
        other = right(run, this)
        second = truth(other, standard=run.standard)
        if second is False:
            return FALSE
        return TRUE if first and second else ([], _reasons(mine, first, other, second))

    return run_and


def either(left: Fn, right: Fn) -> Fn:
    """``or``."""

    def run_or(run: Run, this: Any) -> Pair:
        mine = left(run, this)
        first = truth(mine, standard=run.standard)
        if first:
            return TRUE
        other = right(run, this)
        second = truth(other, standard=run.standard)
        if second:
            return TRUE
        known = first is not None and second is not None
        return FALSE if known else ([], _reasons(mine, first, other, second))

    return run_or


def exclusive(left: Fn, right: Fn) -> Fn:
    """``xor``."""

    def run_xor(run: Run, this: Any) -> Pair:
        mine, other = left(run, this), right(run, this)
        first, second = truth(mine, standard=run.standard), truth(other, standard=run.standard)
        if first is None or second is None:
            return [], _reasons(mine, first, other, second)
        return answer(first is not second)

    return run_xor


def implies(left: Fn, right: Fn) -> Fn:
    """``implies``: not the left, or the right."""
    return either(negated(left), right)


def negated(base: Fn) -> Fn:
    """``not()``."""

    def run_not(run: Run, this: Any) -> Pair:
        pair = base(run, this)
        told = truth(pair, standard=run.standard)
        return ([], pair[1]) if told is None else FALSE if told else TRUE

    return run_not


def _reasons(mine: Pair, first: bool | None, other: Pair, second: bool | None) -> frozenset[str]:
    """The gaps of those sides that are unknown."""
    return (mine[1] if first is None else NO_GAPS) | (other[1] if second is None else NO_GAPS)


def equals(left: Fn, right: Fn) -> Fn:
    """``=``. On an open collection unknown, for it may contain more."""

    def run_equals(run: Run, this: Any) -> Pair:
        mine, my_gaps = left(run, this)
        other, other_gaps = right(run, this)
        if my_gaps or other_gaps:
            return [], my_gaps | other_gaps
        return answer(same(mine, other, run))

    return run_equals


def same(mine: list[Any], other: list[Any], run: Run) -> bool | None:
    """Whether two closed collections are equal; None where one is empty."""
    return collections_equal(mine, other, run) if mine and other else None


def equals_word(left: Fn, word: str) -> Fn:
    """``=`` with a constant that can be no time: the most frequent condition, without detours."""
    words = [word]

    def run_equals_word(run: Run, this: Any) -> Pair:
        items, gaps = left(run, this)
        if gaps:
            return [], gaps
        return answer(same_word(items, word, words, run))

    return run_equals_word


def same_word(items: list[Any], word: str, words: list[str], run: Run) -> bool | None:
    """Whether a closed collection is one word; ``words`` are that word alone. None where it is empty."""
    if len(items) == 1 and type(items[0]) is str:
        return bool(items[0] == word)
    return same(items, words, run)


def equivalents(left: Fn, right: Fn) -> Fn:
    """``~``, always known of closed collections: two empty ones are equivalent."""

    def run_equivalents(run: Run, this: Any) -> Pair:
        mine, my_gaps = left(run, this)
        other, other_gaps = right(run, this)
        if my_gaps or other_gaps:
            return [], my_gaps | other_gaps
        if not run.standard and not (mine and other):
            return EMPTY  # absent is unknown, whatever it is compared by
        return answer(collections_equivalent(mine, other, run))

    return run_equivalents


_ORDER: dict[str, Callable[[int, int], bool | None]] = {
    "<": lambda least, most: True if most < 0 else False if least >= 0 else None,
    "<=": lambda least, most: True if most <= 0 else False if least > 0 else None,
    ">": lambda least, most: True if least > 0 else False if most <= 0 else None,
    ">=": lambda least, most: True if least >= 0 else False if most < 0 else None,
}


def ordered(op: str, left: Fn, right: Fn) -> Fn:
    """``< <= > >=`` of single values."""
    decide = _ORDER[op]

    def run_ordered(run: Run, this: Any) -> Pair:
        mine, my_gaps = left(run, this)
        other, other_gaps = right(run, this)
        if my_gaps or other_gaps:
            return [], my_gaps | other_gaps
        if not mine or not other:
            return EMPTY
        span = order(one(mine, op), one(other, op), run)
        return EMPTY if span is None else answer(decide(*span))

    return run_ordered


def within(left: Fn, right: Fn) -> Fn:
    """``in``: found counts at once; not found on an open collection is unknown."""

    def run_within(run: Run, this: Any) -> Pair:
        mine, my_gaps = left(run, this)
        if my_gaps:
            return [], my_gaps
        if not mine:
            return EMPTY
        wanted = one(mine, "in")
        items, gaps = right(run, this)
        told = contains(items, wanted, run)
        if told or not gaps:
            return answer(told)
        return [], gaps

    return run_within


def within_words(left: Fn, words: list[str]) -> Fn:
    """``in`` with constants that can be no times."""
    known = frozenset(words)

    def run_within_words(run: Run, this: Any) -> Pair:
        items, gaps = left(run, this)
        if gaps:
            return [], gaps
        return answer(one_of(items, known, words, run))

    return run_within_words


def one_of(items: list[Any], known: frozenset[str], words: list[str], run: Run) -> bool | None:
    """Whether a closed collection is one of some words, told as a set and as a list; None where it is empty."""
    if not items:
        return None
    if len(items) == 1 and type(items[0]) is str:
        return items[0] in known
    return contains(list(words), one(items, "in"), run)


def united(left: Fn, right: Fn) -> Fn:
    """``|``: each item once."""

    def run_united(run: Run, this: Any) -> Pair:
        mine, my_gaps = left(run, this)
        other, other_gaps = right(run, this)
        return unique(mine + other, run), my_gaps | other_gaps

    return run_united


def calculated(op: str, left: Fn, right: Fn) -> Fn:
    """``+ - * / div mod`` of single values; with an absent one, absent."""
    calculate = OPERATORS[op]

    def run_calculated(run: Run, this: Any) -> Pair:
        mine, my_gaps = left(run, this)
        other, other_gaps = right(run, this)
        if my_gaps or other_gaps:
            return [], my_gaps | other_gaps
        if not mine or not other:
            return EMPTY
        found = calculate(run, one(mine, op), one(other, op))
        return EMPTY if found is None else ([found], NO_GAPS)

    return run_calculated


def concatenated(left: Fn, right: Fn) -> Fn:
    """``&``: what is absent is an empty string."""

    def run_concatenated(run: Run, this: Any) -> Pair:
        mine, my_gaps = left(run, this)
        other, other_gaps = right(run, this)
        if my_gaps or other_gaps:
            return [], my_gaps | other_gaps
        return [_text(mine) + _text(other)], NO_GAPS

    return run_concatenated


def _text(items: list[Any]) -> str:
    if not items:
        return ""
    found = one(items, "&")
    if not isinstance(found, str):
        raise EvaluationError(f"& wants strings, not {type_name(found)}")
    return found


def signed(sign: str, operand: Fn) -> Fn:
    """``+x`` and ``-x``."""

    def run_signed(run: Run, this: Any) -> Pair:
        items, gaps = operand(run, this)
        if gaps or not items:
            return [], gaps
        opposite = negative(one(items, sign))
        return [opposite if sign == "-" else plain(items[0])], NO_GAPS

    return run_signed


BINARY: dict[str, Callable[[Fn, Fn], Fn]] = {
    "and": both,
    "or": either,
    "xor": exclusive,
    "implies": implies,
    "=": equals,
    "!=": lambda left, right: negated(equals(left, right)),
    "~": equivalents,
    "!~": lambda left, right: negated(equivalents(left, right)),
    "in": within,
    "contains": lambda left, right: within(right, left),
    "|": united,
    "&": concatenated,
    **{op: partial(ordered, op) for op in _ORDER},
    **{op: partial(calculated, op) for op in OPERATORS},
}

CONDITIONS = frozenset(
    {"and", "or", "xor", "implies", "=", "!=", "~", "!~", "in", "contains", "<", "<=", ">", ">="}
)
"""Operators whose answer is a condition: empty is then unknown, never known to be empty."""

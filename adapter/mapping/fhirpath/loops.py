"""Functions that evaluate an argument for each item: ``where``, ``select``, ``all``, ``iif`` and their kin."""

from __future__ import annotations

from functools import cmp_to_key
from typing import Any

from adapter.mapping.fhirpath.faults import EvaluationError
from adapter.mapping.fhirpath.navigation import repeated
from adapter.mapping.fhirpath.operators import EMPTY, FALSE, TRUE, Fn
from adapter.mapping.fhirpath.values import (
    NO_GAPS,
    UNSURE_GAP,
    Pair,
    Run,
    one,
    order,
    plain,
    truth,
    type_name,
)

NOTHING = object()
"""``$this`` where the input is empty (only ``{}.iif(…)`` has it)."""


def where(base: Fn, condition: Fn) -> Fn:
    """Items that fit. One of which that is unknown is left out, and marks what is left as open."""

    def run_where(run: Run, this: Any) -> Pair:
        items, gaps = base(run, this)
        found: list[Any] = []
        outer = run.index
        for run.index, item in enumerate(items):
            pair = condition(run, item)
            told = truth(pair, standard=run.standard)
            if told:
                found.append(item)
            elif told is None and not run.standard:
                gaps |= pair[1] or UNSURE_GAP
        run.index = outer
        return found, gaps

    return run_where


def select(base: Fn, projection: Fn) -> Fn:
    """What a projection finds in each item."""

    def run_select(run: Run, this: Any) -> Pair:
        items, gaps = base(run, this)
        found: list[Any] = []
        outer = run.index
        for run.index, item in enumerate(items):
            here, more = projection(run, item)
            found.extend(here)
            if more:
                gaps |= more
        run.index = outer
        return found, gaps

    return run_select


def every(base: Fn, condition: Fn) -> Fn:
    """``all``: no item fits not. Open or undecided is unknown; in FHIRPath's own mode undecided is no."""

    def run_every(run: Run, this: Any) -> Pair:
        items, gaps = base(run, this)
        if gaps:
            return [], gaps
        verdict, reasons = TRUE, NO_GAPS
        outer = run.index
        for run.index, item in enumerate(items):
            pair = condition(run, item)
            told = truth(pair, standard=run.standard)
            if told is False or (told is None and run.standard):
                verdict = FALSE
                break
            if told is None:
                reasons |= pair[1]
                verdict = [], reasons
        run.index = outer
        return verdict

    return run_every


def exists(base: Fn, *, condition: bool) -> Fn:
    """Yes if something is there, else unknown if more may be; of an unknown condition unknown."""

    def run_exists(run: Run, this: Any) -> Pair:
        items, gaps = base(run, this)
        if items:
            return TRUE
        if gaps or (condition and not run.standard):
            return [], gaps
        return FALSE

    return run_exists


def empty(base: Fn, *, condition: bool) -> Fn:
    """The reverse of :func:`exists`."""

    def run_empty(run: Run, this: Any) -> Pair:
        items, gaps = base(run, this)
        if items:
            return FALSE
        if gaps or (condition and not run.standard):
            return [], gaps
        return TRUE

    return run_empty


def repeat(base: Fn, projection: Fn) -> Fn:
    """What a projection finds, and finds again in what it found."""

    def run_repeat(run: Run, this: Any) -> Pair:
        items, gaps = base(run, this)
        seen = [gaps]

        def step(item: Any) -> list[Any]:
            here, more = projection(run, item)
            seen.append(more)
            return here

        found = repeated(items, step, run)
        return found, NO_GAPS.union(*seen)

    return run_repeat


def aggregate(base: Fn, body: Fn, start: Fn | None) -> Fn:
    """Folds the items into ``$total``; unknown on an open collection."""

    def run_aggregate(run: Run, this: Any) -> Pair:
        items, gaps = base(run, this)
        if gaps:
            return [], gaps
        outer, place = run.total, run.index
        run.total = start(run, this) if start else EMPTY
        for run.index, item in enumerate(items):
            run.total = body(run, item)
        found, run.total, run.index = run.total, outer, place
        return found

    return run_aggregate


def iif(base: Fn | None, condition: Fn, then: Fn, otherwise: Fn | None) -> Fn:
    """One of two. An unknown condition makes the whole unknown; in FHIRPath's own mode it is a no."""

    def run_iif(run: Run, this: Any) -> Pair:
        focus = this if base is None else _focus(base(run, this), this)
        pair = condition(run, focus)
        items, gaps = pair
        if not gaps and len(items) == 1 and not isinstance(plain(items[0]), bool):
            raise EvaluationError(f"iif() decides by a condition, not by {type_name(items[0])}")
        told = truth(pair, standard=run.standard)
        if told:
            return then(run, focus)
        if told is None and not run.standard:
            return [], gaps or UNSURE_GAP
        return otherwise(run, focus) if otherwise else EMPTY

    return run_iif


def _focus(pair: Pair, this: Any) -> Any:
    items, _ = pair
    if len(items) > 1:
        raise EvaluationError("several values before iif()")
    return items[0] if items else NOTHING


def sort(base: Fn, keys: list[tuple[Fn, int]]) -> Fn:
    """Items in order of their keys, each ascending (1) or descending (-1); absent comes first in both."""

    def run_sort(run: Run, this: Any) -> Pair:
        items, gaps = base(run, this)
        rows = [([key(run, item)[0] for key, _ in keys], item) for item in items]

        def compare(left: tuple[list[Any], Any], right: tuple[list[Any], Any]) -> int:
            for (mine, other), (_, sign) in zip(zip(left[0], right[0], strict=True), keys, strict=True):
                told = _compare(mine, other, run, sign)
                if told:
                    return told
            return 0

        return [item for _, item in sorted(rows, key=cmp_to_key(compare))], gaps

    return run_sort


def _compare(mine: list[Any], other: list[Any], run: Run, sign: int) -> int:
    if not mine or not other:
        return bool(mine) - bool(other)
    span = order(one(mine, "sort()"), one(other, "sort()"), run)
    return 0 if span is None else span[0] * sign

"""Functions of whole collections, without a condition of their own.

*Shaping* ones give items, and stay as open as what they are given. *Judging* ones give one answer, which is
unknown on a collection that may contain more: what has not been read could change it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from adapter.mapping.fhirpath.faults import EvaluationError
from adapter.mapping.fhirpath.scalars import text
from adapter.mapping.fhirpath.values import Run, Typed, contains, one, plain, unique


def _among(run: Run, items: list[Any], others: list[Any], *, wanted: bool) -> list[Any]:
    return [item for item in items if (contains(others, item, run) is True) is wanted]


def _single(run: Run, items: list[Any]) -> list[Any]:
    one(items, "single()")
    return items


def _count_arg(number: list[Any]) -> int:
    found = one(number, "a number")
    if isinstance(found, int) and not isinstance(found, bool):
        return max(0, found)
    raise EvaluationError("skip() and take() want a whole number")


def _join(run: Run, items: list[Any], by: list[Any] | None = None) -> list[Any]:
    if not items:
        return []
    between = text(one(by, "join()")) if by else ""
    return [between.join(text(plain(item)) for item in items)]


SHAPING: dict[str, tuple[int, int, Callable[..., list[Any]]]] = {
    "first": (0, 0, lambda run, items: items[:1]),
    "last": (0, 0, lambda run, items: items[-1:]),
    "tail": (0, 0, lambda run, items: items[1:]),
    "single": (0, 0, _single),
    "distinct": (0, 0, lambda run, items: unique(items, run)),
    "skip": (1, 1, lambda run, items, number: items[_count_arg(number) :]),
    "take": (1, 1, lambda run, items, number: items[: _count_arg(number)]),
    "union": (1, 1, lambda run, items, others: unique(items + others, run)),
    "combine": (1, 1, lambda run, items, others: items + others),
    "intersect": (1, 1, lambda run, items, others: unique(_among(run, items, others, wanted=True), run)),
    "join": (0, 1, _join),
}
"""Name → (least arguments, most arguments, function of the items and the arguments' items)."""


def exclude(run: Run, items: list[Any], others: list[Any]) -> list[Any]:
    """The items that are not among others, doubles kept."""
    return _among(run, items, others, wanted=False)


def _booleans(items: list[Any]) -> list[bool]:
    found = [plain(item) for item in items]
    if any(not isinstance(item, bool) for item in found):
        raise EvaluationError("allTrue() and its kin want booleans")
    return found


def _has_value(run: Run, items: list[Any]) -> bool:
    if len(items) != 1:
        return False
    found = items[0].value if isinstance(items[0], Typed) else items[0]
    return found is not None and not isinstance(found, (dict, list))


def _within(run: Run, items: list[Any], others: list[Any]) -> bool:
    return all(contains(others, item, run) is True for item in items)


JUDGING: dict[str, tuple[int, int, Callable[..., bool | int]]] = {
    "count": (0, 0, lambda run, items: len(items)),
    "isDistinct": (0, 0, lambda run, items: len(unique(items, run)) == len(items)),
    "hasValue": (0, 0, _has_value),
    "allTrue": (0, 0, lambda run, items: all(_booleans(items))),
    "anyTrue": (0, 0, lambda run, items: any(_booleans(items))),
    "allFalse": (0, 0, lambda run, items: not any(_booleans(items))),
    "anyFalse": (0, 0, lambda run, items: not all(_booleans(items))),
    "subsetOf": (1, 1, _within),
    "supersetOf": (1, 1, lambda run, items, others: _within(run, others, items)),
}
"""Name → (least arguments, most arguments, function of the items and the arguments' items)."""

"""Steps from an item to its elements: plain ones for rules, typed ones where an expression asks for types."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import zip_longest
from typing import Any

from adapter.mapping.fhirpath import model
from adapter.mapping.fhirpath.faults import EvaluationError
from adapter.mapping.fhirpath.values import Run, Typed, equal

Step = Callable[[Any, list[Any]], None]
"""Takes an item and adds to a list what the step finds there."""

_MOST_NODES = 100_000


def plain_step(name: str, *, unknown_is_absent: bool = False) -> Step:
    """``.name`` on JSON objects and fact records. ``onset`` finds onsetDateTime.

    ``unknown_is_absent``: a status code "unknown" says nothing.
    """
    keys = model.choice_keys().get(name)

    def step(item: Any, found: list[Any]) -> None:
        if not isinstance(item, dict):
            item = members(item)
        value = item.get(name)
        if value is None:
            if keys is None:
                return
            value = choice(item, keys)
            if value is None:
                return
        found.extend(spread(value))

    def status(item: Any, found: list[Any]) -> None:
        here: list[Any] = []
        step(item, here)
        found.extend(value for value in here if value != "unknown")

    return status if unknown_is_absent else step


def choice(item: Mapping[str, Any], keys: frozenset[str]) -> Any:
    """The value of an element under whichever of its names it stands; None where it stands under none."""
    return None if keys.isdisjoint(item) else next(item[key] for key in item if key in keys)


def spread(value: Any) -> list[Any]:
    """The values of an element that is there, whether it repeats or not."""
    return [part for part in value if part is not None] if isinstance(value, (list, tuple)) else [value]


def members(item: Any) -> Mapping[str, Any]:
    """The members of an object; none of anything else."""
    if isinstance(item, Typed):
        item = item.value
    return item if isinstance(item, Mapping) else {}


def typed_step(name: str, *, unknown_is_absent: bool = False) -> Step:
    """``.name`` where types count: what R4 knows is :class:`Typed`, a primitive keeps its extensions."""
    loose = plain_step(name, unknown_is_absent=unknown_is_absent)

    def step(item: Any, found: list[Any]) -> None:
        path = path_of(item)
        if path is None:
            loose(item, found)
            return
        for value in _typed_children(item, path, name):
            if not (unknown_is_absent and value.value == "unknown"):
                found.append(value)

    return step


def path_of(item: Any) -> str | None:
    """The type path of an item; None where it has none (a fact's record, a value of FHIRPath's own)."""
    if type(item) is Typed:
        return item.type
    if isinstance(item, Mapping):
        said = item.get("resourceType")
        return said if isinstance(said, str) else None
    return None


def _typed_children(item: Any, path: str, name: str) -> Iterator[Typed]:
    body = _body(item)
    choices = model.choices(path, name)
    for key, type in choices.items():
        if key in body or f"_{key}" in body:
            yield from _wrapped(body.get(key), body.get(f"_{key}"), type)
            return
    if name not in model.elements(path):
        return
    kind = model.child(path, name)
    if kind is not None:
        yield from _wrapped(body.get(name), body.get(f"_{name}"), kind)


def _body(item: Any) -> Mapping[str, Any]:
    """The members of an object; of a primitive, its id and extensions."""
    if type(item) is not Typed:
        return item if isinstance(item, Mapping) else {}
    if isinstance(item.value, Mapping):
        return item.value
    return item.extra if isinstance(item.extra, Mapping) else {}


def _wrapped(value: Any, extra: Any, kind: str) -> Iterator[Typed]:
    values = value if isinstance(value, list) else [value]
    extras = extra if isinstance(extra, list) else [extra]
    for part, more in zip_longest(values, extras):
        if part is None and more is None:
            continue
        contained = isinstance(part, Mapping) and model.open_ended(kind)
        yield Typed(part, str(part.get("resourceType", kind)) if contained else kind, more)


def children(item: Any) -> list[Any]:
    """All elements of an item, without their names."""
    found: list[Any] = []
    path = path_of(item)
    body = _body(item)
    for key in dict.fromkeys(key.removeprefix("_") for key in body if key != "resourceType"):
        if path is None:
            plain_step(key)(item, found)
        else:
            kind = model.child(path, key) or "Element"
            found.extend(_wrapped(body.get(key), body.get(f"_{key}"), kind))
    return found


def descendants(items: list[Any]) -> list[Any]:
    """All that stands below some items, level by level."""
    found: list[Any] = []
    level = items
    while level:
        level = [below for item in level for below in children(item)]
        found.extend(level)
        _bounded(found)
    return found


def repeated(items: list[Any], step: Callable[[Any], list[Any]], run: Run) -> list[Any]:
    """What a step finds, and finds again from what it found, each item once."""
    found: list[Any] = []
    level = items
    while level:
        fresh: list[Any] = []
        for item in level:
            for below in step(item):
                if not _seen(below, found, run) and not _seen(below, fresh, run):
                    fresh.append(below)
        found.extend(fresh)
        _bounded(found)
        level = fresh
    return found


def _seen(item: Any, items: list[Any], run: Run) -> bool:
    return any(other is item or equal(other, item, run) for other in items)


def _bounded(found: list[Any]) -> None:
    if len(found) > _MOST_NODES:
        raise EvaluationError(f"more than {_MOST_NODES} items")


def untyped(item: Any) -> Any:
    """An item without its type, as it came."""
    return item.value if type(item) is Typed else item

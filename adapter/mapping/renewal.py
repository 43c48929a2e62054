"""The values whose change ends silence, as one digest (CONSISTENCY F4).

What a person closed stays closed until these differ. They are codes, statuses, dates and links, never versions,
times of storage, displays or texts: a nurse who corrects a phone note, or an upgrade that touches every resource,
brings nothing back.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Any

from adapter.facts.times import When
from adapter.fhirjson import canonical, digest
from adapter.mapping.scope import Scope

_LEFT_OUT = frozenset({"display", "text", "meta", "id", "extension", "note", "comment"})
_TELLING = ("ref", "status", "start", "end", "says", "inforce", "outcome")
_VERSION = re.compile(r"/_history/[^/]+$")


def renewal(scope: Scope) -> str | None:
    """The digest of what a rule reads about its focus; None where any of it is unknown."""
    rule = scope.rule
    errors = dict(scope.seen.errors)
    values = _chosen(scope) if rule.renews else _default(scope)
    scope.seen.errors = errors  # what fails here is no fault of the verdict
    return None if values is None else digest(values)


def _chosen(scope: Scope) -> list[Any] | None:
    values = [scope.value(expression) for expression in scope.rule.renews]
    if any(value.gaps for value in values):
        return None
    return [_sorted(_plain(item) for item in value.items) for value in values]


def _default(scope: Scope) -> dict[str, Any] | None:
    rule = scope.rule
    reading = rule.opening | rule.closing
    body = scope.focus.body
    found: dict[str, Any] = {name: _plain(v) for name, v in _named(body, reading.elements)}
    for name in sorted(reading.facts):
        value = scope.value_of(name)
        if value.gaps:
            return None
        found[f"%{name}"] = _records(name, value.items)
    for name in sorted(reading.functions):
        told = scope.answer_of(name)
        if told.gaps:
            return None
        found[f"{name}()"] = _sorted(told.items)
    return found


def _named(body: Mapping[str, Any], elements: frozenset[str]) -> list[tuple[str, Any]]:
    """The members of a body that elements name: occurrence names occurrencePeriod."""
    return [(key, value) for key, value in body.items() if _is_named(key, elements)]


@lru_cache(maxsize=4096)
def _is_named(key: str, elements: frozenset[str]) -> bool:
    return key in elements or any(key.startswith(e) and key[len(e) : len(e) + 1].isupper() for e in elements)


def _records(name: str, items: list[Any]) -> list[Any]:
    told = [_telling(item) for item in items]
    if name == "coming":
        # A visit that passes is no news: only one beyond the last known changes this.
        starts = [record["start"] for record in told if isinstance(record, dict) and "start" in record]
        return [max(starts)] if starts else []
    return _sorted(told)


def _telling(item: Any) -> Any:
    if not isinstance(item, Mapping) or "resourceType" in item:
        return _plain(item)
    return {name: _plain(item[name]) for name in _TELLING if name in item}


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return _VERSION.sub("", value)
    if isinstance(value, When):
        return value.text if value.day_only else value.instant.isoformat()
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items() if k not in _LEFT_OUT and not k.startswith("_")}
    if isinstance(value, list | tuple):
        return _sorted(_plain(part) for part in value)
    return value if value is None or isinstance(value, bool | int | float | Decimal) else str(value)


def _sorted(values: Any) -> list[Any]:
    return sorted(values, key=canonical)

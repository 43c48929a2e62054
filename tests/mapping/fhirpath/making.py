"""What tests of rule mode share: a way to evaluate, and open collections."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from zoneinfo import ZoneInfo

from adapter.mapping.fhirpath import Env, FunctionSpec, Value, compile_expression

NEW_YORK = ZoneInfo("America/New_York")


def known(*items: Any) -> Value:
    """A collection that is complete."""
    return Value(list(items))


def open_on(types: str, *items: Any) -> Value:
    """A collection that may contain more of some types, named with spaces between."""
    return Value(list(items), frozenset(types.split()))


def evaluate(
    text: str,
    resource: Mapping[str, Any] | None = None,
    functions: Mapping[str, FunctionSpec] | None = None,
    **variables: Any,
) -> Value:
    """Evaluates a rule's expression in the zone of New York."""
    expression = compile_expression(text, functions=functions or {})
    return expression.evaluate(Env(resource or {}, variables, zone=NEW_YORK))

"""What is not compiled here is left to fhirpathpy's own evaluator."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import fhirpathpy

from adapter.mapping.fhirpath import model
from adapter.mapping.fhirpath.faults import EvaluationError
from adapter.mapping.fhirpath.temporal import moment_of
from adapter.mapping.fhirpath.values import NO_GAPS, Pair, Run

FALLBACK = frozenset({"avg", "sum", "min", "max", "coalesce"})
"""Functions that fhirpathpy knows and the compiler does not."""


def fallback(text: str, variables: frozenset[str]) -> Callable[[Run, Any], Pair]:
    """The whole expression by fhirpathpy. In rules the answer is unknown if a variable in it is open.

    Raises (from the closure):
        EvaluationError: whatever fhirpathpy raised; its message may hold values and is not passed on.
    """
    compiled = fhirpathpy.compile(text, model.tables())

    def run_it(run: Run, this: Any) -> Pair:
        pairs = {name: run.variable(name) for name in sorted(variables)}
        gaps = NO_GAPS.union(*(gaps for _, gaps in pairs.values()))
        if gaps and not run.standard:
            return [], gaps
        given = {name: [_json(item) for item in items] for name, (items, _) in pairs.items()}
        try:
            return list(compiled(copy.deepcopy(run.resource), given)), NO_GAPS
        except Exception as error:  # fhirpathpy raises bare Exception
            raise EvaluationError(f"fhirpathpy: {type(error).__name__}") from None

    return run_it


def _json(item: Any) -> Any:
    """A variable's item as fhirpathpy takes it: times as texts."""
    if isinstance(item, Mapping):
        return {key: _json(value) for key, value in item.items()}
    if isinstance(item, (list, tuple)):
        return [_json(value) for value in item]
    moment = None if isinstance(item, str) else moment_of(item, texts=False)
    return copy.deepcopy(item) if moment is None else str(moment)

"""The expressions of Baton's own mappings, evaluated by Baton and by fhirpathpy: microseconds an evaluation.

What is evaluated is recorded from real looks: each expression with its focus and the values of its variables. Both
sides get the same, parsed beforehand; engine functions (``kind()`` …) answer on both sides with what they answered
there, so that facts are not measured.
"""

from __future__ import annotations

import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import fhirpathpy
from fhirpathpy.models import models

from adapter.app import App
from adapter.facts.times import When
from adapter.mapping.fhirpath import Env, Expression, Value
from adapter.mapping.scope import FUNCTIONS, Scope
from adapter.mapping.values import Verdict
from adapter.model import Chart
from adapter.reconcile.reconciler import findings_of
from tests.bench.baton import configure, opened, passed
from tests.bench.pages import serving
from tests.mapping.fhirpath import suite

PERSONS = 40
REPEATS = 5


@dataclass(frozen=True)
class Case:
    """One evaluation as a look made it."""

    expression: Expression
    env: Env
    given: Mapping[str, Any]
    told: Mapping[str, Any]


def measure(scale: float) -> dict[str, Any]:
    """``fhirpath``: microseconds of both, their ratio, the share of the official suite that Baton passes."""
    with (
        tempfile.TemporaryDirectory(prefix="baton-bench-") as name,
        serving(1000) as pages,
        opened(configure(Path(name), pages.base_url)) as app,
    ):
        passed(app)
        cases = _recorded(app, max(4, int(PERSONS * min(1.0, scale))))
    compiled = {case.expression.text: case.expression for case in cases}
    theirs, left_out = _compiled_by_them(compiled)
    both = [case for case in cases if case.expression.text in theirs]
    ours_us = _mean_us(both, _ours)
    theirs_us = _mean_us(both, lambda case: _theirs(case, theirs))
    return {
        "fhirpath": {
            "fhirpathpy_us": round(theirs_us, 1),
            "baton_us": round(ours_us, 2),
            "ratio": round(theirs_us / ours_us, 1),
            "official_pass": _official(),
            "expressions": len(theirs),
            "evaluations": len(both),
            "left_out": left_out,
        }
    }


def _recorded(app: App, persons: int) -> list[Case]:
    """Every evaluation of the looks at some persons, one per expression and focus."""
    found: dict[tuple[str, str], Case] = {}
    value, verdict = Scope.value, Scope.verdict

    def record(scope: Scope, expression: Expression | None) -> None:
        if expression is not None:
            key = (expression.text, str(scope.focus.body.get("id")))
            if key not in found:
                found[key] = _case(expression, scope)

    def recorded_value(scope: Scope, expression: Expression) -> Value:
        record(scope, expression)
        return value(scope, expression)

    def recorded_verdict(scope: Scope, expression: Expression | None) -> Verdict:
        record(scope, expression)
        return verdict(scope, expression)

    engine = app.engine("general")
    app.ledger.request_everyone("general", "resource")
    requests = app.ledger.due_requests("general", engine.now, persons)
    charts: Sequence[Chart] = app.ledger.charts(requests, engine.facts(), engine.now, app.ledger.edition())
    Scope.value, Scope.verdict = recorded_value, recorded_verdict  # type: ignore[method-assign]
    try:
        for chart in charts:
            findings_of(app.edition, chart, engine.client.bases)
    finally:
        Scope.value, Scope.verdict = value, verdict  # type: ignore[method-assign]
    return list(found.values())


def _case(expression: Expression, scope: Scope) -> Case:
    variables = {name: scope.named(name) for name in expression.variables}
    told = {}
    functions = {}
    for name in expression.functions & FUNCTIONS.keys():
        answer = scope.answer_of(name) if name not in ("memberOf", "marked") else Value([False])
        functions[name] = _always(answer)
        told[name] = answer.items
    kept = Env(scope.focus.body, variables, functions, scope.zone)
    given = {name: [_plain(item) for item in value.items] for name, value in variables.items()}
    return Case(expression, kept, given, told)


def _always(answer: Value) -> Callable[..., Value]:
    return lambda *_given: answer


def _plain(item: Any) -> Any:
    """As fhirpathpy takes it: times as texts, decimals as numbers."""
    if isinstance(item, When):
        return item.text
    if isinstance(item, Decimal):
        return float(item)
    if isinstance(item, Mapping):
        return {name: _plain(value) for name, value in item.items()}
    return [_plain(part) for part in item] if isinstance(item, list | tuple) else item


def _compiled_by_them(compiled: Mapping[str, Expression]) -> tuple[dict[str, Any], int]:
    """What fhirpathpy can parse, with tables for the engine's functions; and how many it cannot."""
    found: dict[str, Any] = {}
    for text, expression in compiled.items():
        told: dict[str, Any] = {}
        table = {name: {"fn": _teller(told, name), "arity": {0: []}} for name in expression.functions}
        own = {name: table[name] for name in table if name in _ENGINE}
        try:
            found[text] = (fhirpathpy.compile(text, models["r4"], {"userInvocationTable": own}), told)
        except Exception:  # fhirpathpy raises bare Exception; what it cannot parse is left out
            continue
    return found, len(compiled) - len(found)


_ENGINE = frozenset({"kind", "cancelledBy", "completedMeans", "isOrderToAct"})


def _teller(told: dict[str, Any], name: str) -> Callable[..., Any]:
    return lambda _input, *_given: told.get(name, [])


def _ours(case: Case) -> Callable[[], object]:
    return lambda: case.expression.evaluate(case.env)


def _theirs(case: Case, compiled: Mapping[str, Any]) -> Callable[[], object]:
    evaluate, told = compiled[case.expression.text]
    resource = {name: _plain(value) for name, value in case.env.resource.items()}

    def run() -> object:
        told.update(case.told)
        try:
            return evaluate(resource, dict(case.given))
        except Exception:
            return None  # what it cannot evaluate it is not timed for long

    return run


def _mean_us(cases: Sequence[Case], caller: Callable[[Case], Callable[[], object]]) -> float:
    """Microseconds an evaluation; each expression counts once, however many foci it was evaluated on."""
    grouped: dict[str, list[Callable[[], object]]] = defaultdict(list)
    for case in cases:
        grouped[case.expression.text].append(caller(case))
    return sum(_timed(calls) / len(calls) for calls in grouped.values()) / len(grouped) * 1e6


def _timed(calls: Sequence[Callable[[], object]]) -> float:
    """The best of some rounds over all calls, in seconds."""
    best = float("inf")
    for _ in range(REPEATS):
        begun = time.perf_counter()
        for call in calls:
            call()
        best = min(best, time.perf_counter() - begun)
    return best


def _official() -> float | None:
    """The share of HL7's R4 suite that passes; None where the suite is not on this machine."""
    if not suite.ROOT.is_dir():
        return None
    results = [suite.outcome(case)[0] == "pass" for case in suite.cases()]
    return round(sum(results) / len(results), 4)

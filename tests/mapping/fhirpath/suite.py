"""Reads HL7's FHIRPath suite: its cases from XML, its inputs from XML or JSON, and judges an answer."""

from __future__ import annotations

import json
import os
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any

from adapter import fhirjson
from adapter.mapping.fhirpath import (
    Env,
    EvaluationError,
    ExpressionError,
    check_elements,
    compile_expression,
    model,
)

ROOT = (
    Path(os.environ.get("FHIR_CORPUS") or Path(__file__).parents[4] / "shared" / "corpus") / "fhirpath-suite"
)
NOW = datetime(2026, 3, 2, 12, 0, 0, 1, tzinfo=UTC)
_FHIR = "{http://hl7.org/fhir}"


@dataclass(frozen=True)
class Case:
    """One test of the suite. ``invalid`` names what kind of error it wants."""

    group: str
    name: str
    text: str
    input: str
    invalid: str
    outputs: tuple[tuple[str, str], ...]
    predicate: bool
    strict: bool


def cases(version: str = "r4") -> Iterator[Case]:
    """Every test of a version."""
    tree = ET.parse(ROOT / version / "fhirpath" / f"tests-fhir-{version}.xml").getroot()
    for group in tree.iter("group"):
        for test in group.iter("test"):
            expression = test.find("expression")
            assert expression is not None
            yield Case(
                group.get("name", ""),
                test.get("name", ""),
                expression.text or "",
                test.get("inputfile", ""),
                expression.get("invalid", ""),
                tuple((out.get("type", ""), out.text or "") for out in test.findall("output")),
                test.get("predicate") == "true",
                test.get("mode") == "strict",
            )


@lru_cache(maxsize=32)
def resource(name: str) -> Any:
    """An input of the suite as JSON."""
    if not name:
        return {}
    path = ROOT / "inputs" / "r4" / name
    if path.suffix == ".json":
        return fhirjson.loads(path.read_bytes())
    root = ET.parse(path).getroot()
    kind = root.tag.removeprefix(_FHIR)
    return {"resourceType": kind, **_object(root, kind)}


def _object(element: ET.Element, path: str | None) -> dict[str, Any]:
    found: dict[str, list[tuple[Any, Any]]] = {}
    for child in element:
        if child.tag.startswith(_FHIR):
            name = child.tag.removeprefix(_FHIR)
            found.setdefault(name, []).append(_element(child, model.child(path, name) if path else None))
    body: dict[str, Any] = {key: value for key, value in element.attrib.items() if key in ("id", "url")}
    for name, pairs in found.items():
        values, extras = [value for value, _ in pairs], [extra for _, extra in pairs]
        if any(value is not None for value in values):
            body[name] = values[0] if len(values) == 1 else values
        if any(extra is not None for extra in extras):
            body["_" + name] = extras[0] if len(extras) == 1 else extras
    return body


def _element(element: ET.Element, path: str | None) -> tuple[Any, Any]:
    if path in ("Resource", "DomainResource"):
        inner = element[0]
        kind = inner.tag.removeprefix(_FHIR)
        return {"resourceType": kind, **_object(inner, kind)}, None
    text = element.get("value")
    if text is None:
        return (_object(element, path) or None), None
    extra = _object(element, "Element") or None
    return _primitive(text, path), extra


def _primitive(text: str, path: str | None) -> Any:
    if path == "boolean":
        return text == "true"
    if path and model.is_a(path, "integer"):
        return int(text)
    return Decimal(text) if path == "decimal" else text


def shown(value: Any, kind: str) -> str:
    """A value as the suite writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    text = str(value)
    if kind in ("date", "dateTime", "instant", "time"):
        return text.lstrip("@").removeprefix("T")
    return text


def expected(kind: str, text: str) -> str:
    """An expected output in the form of :func:`shown`."""
    return text.removeprefix("@").removeprefix("T") if text.startswith("@") else text


def judge(case: Case, items: list[Any]) -> bool:
    """Whether an answer is what the suite wants."""
    if case.predicate:
        return [expected(*out) for out in case.outputs] == ["true" if items else "false"]
    if len(items) != len(case.outputs):
        return False
    for value, (kind, text) in zip(items, case.outputs, strict=True):
        said = text.startswith("@")
        if shown(value, "date" if said else kind) != expected(kind, text) and not _same_number(value, text):
            return False
        if kind == "boolean" and not isinstance(value, bool):
            return False
    return True


def _same_number(value: Any, text: str) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, Decimal)):
        return False
    try:
        return Decimal(value) == Decimal(text)
    except ArithmeticError:
        return False


def outcome(case: Case) -> tuple[str, str]:
    """("pass" | "fail" | "refused", note) of a case, compiled natively or by the fallback ("native"/"fallback")."""
    try:
        expression = compile_expression(case.text, standard=True)
    except ExpressionError as error:
        wanted = case.invalid and "there is no function" not in error.message
        return ("pass" if wanted else "refused"), f"native: {error}"
    how = "native" if expression.native else "fallback"
    if case.invalid and check_elements(expression, str(resource(case.input).get("resourceType"))):
        return "pass", how
    try:
        found = expression.evaluate(Env(resource(case.input), now=NOW))
    except EvaluationError as error:
        return ("pass" if case.invalid else "fail"), f"{how}: {error}"
    if case.invalid:
        return "fail", f"{how}: no error but {json.dumps(found.items, default=str)}"
    return (
        "pass" if judge(case, found.items) else "fail"
    ), f"{how}: {json.dumps(found.items, default=str)[:120]}"

"""Charts, rules and findings for tests."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from adapter.facts.facts import Facts
from adapter.mapping.evaluate import evaluate
from adapter.mapping.finding import Finding
from adapter.mapping.loader import load
from adapter.mapping.rules import Edition
from adapter.model import Chart, Known
from adapter.reconcile.scenarios import chart_of
from adapter.references import NO_BASES

ROOT = Path(__file__).parents[2]
MAPPINGS, CODES = ROOT / "mappings", ROOT / "config" / "codes"
REFERRAL = {"coding": [{"system": "http://snomed.info/sct", "code": "3457005"}]}

HEAD = """
mapping: trial
version: 1
title: A trial
resource: ServiceRequest
performer: scheduler
next: Do it.
reason: It is to be done.
satisfied: status = 'completed'
need: "trial:{%ref}"
rules:
  - id: trial
    title: Do the thing
"""


@lru_cache(maxsize=1)
def shipped() -> Edition:
    return load(MAPPINGS, codes=CODES)


def edition(folder: Path, text: str) -> Edition:
    """An edition of one mapping file and the shipped value sets and clocks."""
    (folder / "valuesets").mkdir(exist_ok=True)
    for path in (MAPPINGS / "valuesets").glob("*.yaml"):
        (folder / "valuesets" / path.name).write_text(path.read_text("utf-8"), "utf-8")
    (folder / "clocks.yaml").write_text((MAPPINGS / "clocks.yaml").read_text("utf-8"), "utf-8")
    (folder / "trial.yaml").write_text(text, "utf-8")
    return load(folder, codes=CODES)


def chart(made: Edition, now: str, given: Mapping[str, Any], **more: Any) -> Chart:
    return chart_of({"now": now, "given": given, **more}, made)


def find(made: Edition, rule: str, chart: Chart, focus: str) -> Finding:
    found = made.rule(rule)
    assert found is not None
    facts = Facts(chart, NO_BASES, made.codebook)
    return evaluate(found, chart.snapshots[focus], facts, now=chart.now)


def at(chart: Chart, now: datetime) -> Chart:
    """The same chart, later: nothing was read since."""
    return replace(chart, now=now)


def known(chart: Chart, type: str, **changes: Any) -> Chart:
    """The chart with another knowledge of one type."""
    held = chart.known.get(type, Known())
    return replace(chart, known={**chart.known, type: replace(held, **changes)})


def order(**more: Any) -> dict[str, Any]:
    return {"status": "active", "authoredOn": "2025-12-01T10:00:00-05:00", "category": [REFERRAL], **more}


HOUR = timedelta(hours=1)

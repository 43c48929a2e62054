"""All mappings over all R4 and R4B files of the corpus: nothing raises, nothing is lost, each task can be explained.

The dates of the corpus lie in the past, so the clock stands shortly after each order: what would have been a task
then is counted, by folder and rule (``pytest -s`` shows the table).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from adapter.app import App
from adapter.clock import FixedClock
from adapter.model import POLLED
from adapter.sandbox import Habits, Sandbox
from adapter.settings import parse_settings
from tests.corpus.families import ROOT, Family, families, with_patients

pytestmark = [
    pytest.mark.corpus,
    pytest.mark.skipif(not ROOT.is_dir(), reason=f"the corpus is missing: no folder {ROOT}"),
]
TABLE: dict[str, Counter[str]] = defaultdict(Counter)


@pytest.fixture(scope="module", autouse=True)
def table() -> Iterator[None]:
    """Print tasks by folder and rule at the end."""
    yield
    print("\nfolder                     received quarantined  tasks")
    for name, counted in sorted(TABLE.items()):
        rules = {rule: n for rule, n in counted.items() if rule not in ("received", "quarantined")}
        print(f"{name:26} {counted['received']:8} {counted['quarantined']:11}  {rules or '-'}")


@pytest.mark.parametrize("family", families("R4", "R4B"), ids=lambda family: family.name)
def test_every_file_can_be_polled_and_every_task_explained(family: Family, tmp_path: Path) -> None:
    resources = with_patients(family.resources)
    clock = FixedClock(_a_few_days_after(resources))
    with Sandbox(clock=clock, habits=Habits(enforce_references=False)) as sandbox:
        for resource in resources:
            sandbox.load([resource], at=clock.now() - timedelta(days=4))
        text = f"ledger: l.db\nnamespace: c\nsources:\n  - {{name: s, base_url: '{sandbox.base_url}',"
        text += " environment: test, write_back: true, limits: {calls_per_minute: 0}}\n"
        with App.open(parse_settings(text, tmp_path / "baton.yaml"), clock=clock) as app:
            report = app.sync()
            clock.advance(timedelta(days=6))  # what has no date counts from its first sight
            app.sync()
            again = app.sync()
            rows = [app.explain(row["id"]) for row in app.task_rows()]
            held = {type: len(app.ledger.inventory("s", type)) for type in POLLED}
            quarantine = app.ledger.quarantine("s")
        (source,) = report.sources
        assert source.errors == [] and report.failed == 0
        for type in POLLED:
            there = sum(resource["resourceType"] == type for resource in resources)
            assert source.polled[type] == there, "each is received"
            assert held[type] == there, "and each ends as a snapshot, or as one in quarantine"
        assert all(row.reason for row in quarantine)
        assert sum(again.tasks.values()) == 0 and again.writes["Task"] == 0
        for row in rows:
            assert row["title"] and row["reason"].endswith(".") and row["need"] and row["evidence"]
            TABLE[family.name][row["code"]] += 1
        TABLE[family.name]["received"] = sum(source.polled.values())
        TABLE[family.name]["quarantined"] = source.quarantined
    _show(family.name, rows)


def _a_few_days_after(resources: list[dict[str, Any]]) -> datetime:
    """Six days after the newest order, visit or answer that is not in the future."""
    newest = datetime(2020, 1, 1, tzinfo=UTC)
    for resource in resources:
        for name in ("authoredOn", "start", "created"):
            said = resource.get(name)
            if resource["resourceType"] in POLLED and isinstance(said, str):
                try:
                    at = datetime.fromisoformat(said)
                except ValueError:
                    continue
                at = at if at.tzinfo else at.replace(tzinfo=UTC)
                newest = max(newest, at) if at < datetime(2026, 11, 1, tzinfo=UTC) else newest
    return newest + timedelta(days=6)


def _show(family: str, rows: list[dict[str, Any]]) -> None:
    for row in rows:
        print(f"{family}: {row['title']} | due {row['due']} | {row['reason']} | {row['focus']}")

"""The cohort tells the same stories on any day and hour: weekends, holidays, the turn of the year, a leap day."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from adapter.app import App
from adapter.clock import FixedClock
from adapter.sandbox import Sandbox
from adapter.sandbox.cohort import booking, cohort, expected
from adapter.settings import parse_settings

DAYS = [
    "2026-11-23T01:37:00Z",
    "2026-11-28T09:05:00Z",
    "2026-12-24T16:59:00Z",
    "2026-12-31T23:30:00Z",
    "2027-01-03T12:00:00Z",
    "2027-03-28T01:30:00Z",
    "2028-02-29T10:00:00Z",
]


@pytest.mark.parametrize("day", DAYS)
def test_the_stories_hold(day: str, tmp_path: Path) -> None:
    clock = FixedClock(datetime.fromisoformat(day))
    with Sandbox(clock=clock) as sandbox:
        sandbox.load(cohort(clock.now(), UTC, run="w"))
        clock.advance(timedelta(seconds=2))
        text = f"ledger: l.db\nnamespace: n\nsources:\n  - {{name: s, base_url: '{sandbox.base_url}',"
        text += " environment: test, write_back: true}\n"
        with App.open(parse_settings(text, tmp_path / "baton.yaml"), clock=clock) as app:
            app.sync()
            rows = app.task_rows()
            found: dict[str, set[str]] = {}
            for row in rows:
                found.setdefault(row["patient"], set()).add(row["code"])
            assert found == {patient: set(codes) for patient, codes in expected("w").items() if codes}
            assert all(datetime.fromisoformat(row["due"]) >= clock.now() for row in rows), (
                "none is born overdue"
            )
            sandbox.put(booking(clock.now(), UTC, run="w"))
            clock.advance(timedelta(seconds=2))
            assert app.sync().tasks["completed"] == 1
            clock.advance(timedelta(seconds=2))
            assert app.sync().writes["Task"] == 0

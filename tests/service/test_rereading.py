"""Who died is known within the age that is allowed, though it is not asked with every pass who it may be (F38)."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from adapter.app import App
from adapter.clock import FixedClock
from adapter.ledger import Ledger
from adapter.sandbox import Sandbox
from adapter.sandbox.cohort import cohort
from adapter.settings import parse_settings
from tests.ledger.making import START

STEP, PASSES = timedelta(seconds=105), 46  # so that passes fall between two askings


def test_no_patient_of_open_work_is_read_later_than_the_allowed_age(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[datetime] = []
    real = Ledger.stale_patients

    def counted(self: Ledger, source: str, before: datetime) -> list[str]:
        asked.append(before)
        return real(self, source, before)

    monkeypatch.setattr(Ledger, "stale_patients", counted)
    clock = FixedClock(START)
    with Sandbox(clock=clock) as sandbox:
        sandbox.load(cohort(START, UTC, run="o"), at=START - timedelta(days=2))
        text = f"ledger: l.db\nnamespace: n\nsources:\n  - {{name: s, base_url: '{sandbox.base_url}',"
        text += " environment: test}\nevidence: {max_age: 1h}\n"
        with App.open(parse_settings(text, tmp_path / "baton.yaml"), clock=clock) as app:
            app.sync()
            patients = {row["patient"] for row in app.task_rows()}
            assert patients
            for _ in range(PASSES):
                clock.advance(STEP)
                app.sync()
                read = _read(tmp_path / "l.db")
                assert clock.now() - min(read[patient] for patient in patients) <= timedelta(hours=1)
    assert len(asked) < PASSES / 2  # and not with every pass: the answer takes a walk over all open work


def _read(ledger: Path) -> dict[str, datetime]:
    """When each Patient was read last."""
    db = sqlite3.connect(ledger)
    try:
        rows = db.execute("SELECT patient, at FROM reads WHERE type = 'Patient'").fetchall()
    finally:
        db.close()
    return {patient: datetime.fromisoformat(at) for patient, at in rows}

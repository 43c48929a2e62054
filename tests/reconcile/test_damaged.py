"""A damaged row of the ledger stops the look at its own patient, and nobody else's (F69)."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

from adapter.app import App
from adapter.sandbox import Sandbox
from adapter.sandbox.cohort import cohort
from adapter.settings import parse_settings


def test_a_damaged_row_stops_the_look_at_its_patient_alone(tmp_path: Path) -> None:
    with Sandbox() as sandbox:
        now = datetime.now(UTC)
        sandbox.load(cohort(now, UTC, run="o"), at=now - timedelta(days=2))
        text = f"ledger: l.db\nnamespace: n\nsources:\n  - {{name: s, base_url: '{sandbox.base_url}',"
        text += " environment: test, limits: {retries: 0}}\n"
        with App.open(parse_settings(text, tmp_path / "baton.yaml")) as app:
            app.sync()
            before = {row["need"] for row in app.task_rows()}
            order, patient = _damage(tmp_path / "l.db")
            app.ledger.request_everyone("s", "sweep")
            report = app.sync()
            assert report.failed == 1
            assert {row["need"] for row in app.task_rows()} == before
            waiting = app.ledger.requests("s")
            assert [request.person for request in waiting] == [patient]
            assert waiting[0].failures == 1 and waiting[0].not_before is not None
            assert order not in str(report.sources[0].errors)  # whose row it was stands in the ledger alone


def _damage(ledger: Path) -> tuple[str, str]:
    """Cut the body of one order short, as a failing disk might; its ref and its patient's."""
    db = sqlite3.connect(ledger)
    try:
        ref, patient = db.execute(
            "SELECT ref, patients FROM snapshots WHERE type = 'ServiceRequest' AND status = 'active' ORDER BY ref"
        ).fetchone()
        db.execute("UPDATE snapshots SET body = substr(body, 1, 20) WHERE ref = ?", (ref,))
        db.commit()
        return ref, patient
    finally:
        db.close()

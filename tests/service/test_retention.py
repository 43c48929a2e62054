"""What could not be read keeps its content for a time only; that it could not be read stays known."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import yaml

from adapter.app import App
from adapter.clock import FixedClock
from adapter.sandbox import Sandbox
from adapter.settings import load

START = datetime(2026, 3, 2, 12, tzinfo=UTC)


def test_bytes_in_quarantine_go_after_their_time(tmp_path: Path) -> None:
    clock = FixedClock(START)
    with Sandbox(clock=clock) as server:
        server.put({"resourceType": "Patient", "id": "p"})
        order = {"status": "active", "intent": "order", "subject": {"reference": "Patient/p"}}
        server.put({"resourceType": "ServiceRequest", "id": "o", **order})
        server.habits.misshapen = frozenset({"ServiceRequest/o"})
        source = {"name": "ehr", "base_url": server.base_url}
        whole = {
            "ledger": str(tmp_path / "l.db"),
            "retention": {"quarantine_bytes": "5d"},
            "sources": [source],
        }
        (tmp_path / "baton.yaml").write_text(yaml.safe_dump(whole), encoding="utf-8")
        with App.open(load(tmp_path / "baton.yaml"), clock=clock) as app:
            app.sync()
            assert [bool(row.raw) for row in app.ledger.quarantine()] == [True]
            clock.advance(timedelta(days=4))
            app.sync()
            assert [bool(row.raw) for row in app.ledger.quarantine()] == [True]
            clock.advance(timedelta(days=2))
            app.sync()
            assert [bool(row.raw) for row in app.ledger.quarantine()] == [False]

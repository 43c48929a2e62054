"""Baton as it is measured: all mappings loaded, one source, nothing written to the EHR."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from adapter.app import App, SyncReport
from adapter.model import EVIDENCE
from adapter.settings import load

# This server has no such resources, and says so: every look is then decided by what the polls and the reading of
# Patients brought, on both sides of the comparison the same pages.
NO_EVIDENCE = dict.fromkeys((*EVIDENCE, "Communication"), "none")


def configure(folder: Path, base_url: str, **more: Any) -> Path:
    """Write a configuration; ``more`` are keys of the source."""
    source = {
        "name": "general",
        "base_url": base_url,
        "types": NO_EVIDENCE,
        "live_over": 0,  # all work at once: a first load that has the most to write down
        "limits": {"calls_per_minute": 0},
        **more,
    }
    path = folder / "baton.yaml"
    whole = {"namespace": "bench", "ledger": str(folder / "ledger.db"), "sources": [source]}
    path.write_text(yaml.safe_dump(whole), encoding="utf-8")
    return path


@contextmanager
def opened(config: Path) -> Iterator[App]:
    """Baton with its mappings compiled and its ledger open: what a running service has."""
    with App.open(load(config)) as app:
        yield app


def passed(app: App) -> SyncReport:
    """One pass, which must have succeeded whole."""
    report = app.sync()
    faults = [error for source in report.sources for error in source.errors]
    if faults or report.failed or report.holds:
        raise RuntimeError(
            f"the pass did not succeed: {faults[:3]}, {report.failed} looks failed, {report.holds}"
        )
    return report

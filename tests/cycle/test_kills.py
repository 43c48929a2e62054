"""``kill -9`` of a pass at many moments, with edits going on: no Task lost, none twice, the same end as without."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from adapter.app import App
from adapter.sandbox import Sandbox
from adapter.sandbox.cohort import booking, cohort, interesting
from adapter.settings import load

RUN = "k"


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as server:
        now = datetime.now(UTC)
        server.load(cohort(now, UTC, run=RUN), at=now - timedelta(days=2))
        yield server


def configured(sandbox: Sandbox, folder: Path) -> Path:
    source = {"name": "s", "base_url": sandbox.base_url, "environment": "test", "write_back": True}
    file = folder / "baton.yaml"
    file.write_text(
        yaml.safe_dump({"ledger": "l.db", "namespace": "kills", "sources": [source]}), encoding="utf-8"
    )
    return file


def killed_after(sandbox: Sandbox, file: Path, requests: int) -> bool:
    """Start a pass in a process of its own and kill it after so many requests; whether it lived that long."""
    before = len(sandbox.requests)
    code = "import sys; from adapter.cli import main; sys.exit(main())"
    with subprocess.Popen(
        [sys.executable, "-c", code, "-c", str(file), "sync"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        while process.poll() is None:
            if len(sandbox.requests) - before >= requests:
                process.kill()
                return True
    return False


def written(sandbox: Sandbox) -> dict[str, tuple[str, str, str]]:
    """What stands in the EHR by the Task's need: focus, code, status. A need that stands twice fails."""
    found: dict[str, tuple[str, str, str]] = {}
    for task in sandbox.all("Task"):
        need = next(i["valueString"] for i in task["input"] if i["type"]["coding"][0]["code"] == "need")
        assert need not in found, "one need, one Task"
        found[need] = (need, task["code"]["coding"][0]["code"], task["status"])
    return found


@pytest.mark.slow
def test_kills_at_many_moments_end_as_without(sandbox: Sandbox, tmp_path: Path) -> None:
    file = configured(sandbox, tmp_path)
    moments = [1, 3, 6, 10, 16, 25, 40, 60, 75, 90, 105, 120]
    assert any([killed_after(sandbox, file, requests) for requests in moments])
    done = interesting(sandbox.all("ServiceRequest"))
    with App.open(load(file)) as app:
        retry_all(app)
        app.sync()
        finished = next(r for r in app.task_rows() if r["focus"] == done.finish)
    sandbox.edit(f"Task/{finished['id']}", status="completed")
    sandbox.put(booking(datetime.now(UTC), UTC, run=RUN))
    for requests in (2, 5, 9, 14, 20, 30):
        killed_after(sandbox, file, requests)
    with App.open(load(file)) as app:
        retry_all(app)
        app.sync()
        retry_all(app)
        report = app.sync()
        assert report.writes["Task"] == 0 and sum(report.tasks.values()) == 0
        assert app.ledger.rebuild() == [] and app.ledger.check() == []
        rows = {row["need"]: row["status"] for row in app.task_rows(all=True)}
    after_kills = written(sandbox)
    assert {need: status for need, (_, _, status) in after_kills.items()} == rows
    assert after_kills == without_kills(tmp_path)


def retry_all(app: App) -> None:
    """A write of unknown outcome rests for the longest request time; nothing is on its way here any more."""
    for row in app.ledger.outbox():
        app.ledger.retry(row.target)


def without_kills(folder: Path) -> dict[str, tuple[str, str, str]]:
    other = folder / "other"
    other.mkdir()
    with Sandbox() as server:
        now = datetime.now(UTC)
        server.load(cohort(now, UTC, run=RUN), at=now - timedelta(days=2))
        file = configured(server, other)
        with App.open(load(file)) as app:
            app.sync()
            story = interesting(server.all("ServiceRequest"))
            finished = next(r for r in app.task_rows() if r["focus"] == story.finish)
            server.edit(f"Task/{finished['id']}", status="completed")
            server.put(booking(now, UTC, run=RUN))
            app.sync()
        return written(server)

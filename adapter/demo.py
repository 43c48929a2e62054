"""The demo: a synthetic cohort, its tasks, a coordinator's work in the EHR, and what Baton makes of it.

Without a server it runs on the sandbox in this process and leaves nothing behind. With one it seeds that FHIR
test server under a run id of its own, works only on what bears that tag, and says how to take it out again.
"""

from __future__ import annotations

import secrets
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from adapter.app import App, SyncReport
from adapter.fhir import FhirClient
from adapter.model import POLLED
from adapter.sandbox import Sandbox
from adapter.sandbox.cohort import STORIES, booking, cohort, interesting
from adapter.settings import Settings, parse_settings

SOURCE = "demo"


@dataclass(frozen=True, slots=True)
class View:
    """How the demo shows itself: a line, a list of tasks, a pass."""

    say: Callable[[str], None]
    tasks: Callable[[list[dict[str, Any]]], None]
    report: Callable[[SyncReport], None]


def run_demo(view: View, *, server: str | None = None, token_env: str = "") -> int:
    """Run the demo; the exit code of its passes."""
    if server is None:
        with _embedded() as (settings, run):
            return _Story(view, settings, run, "the sandbox").told(seeded=True)
    settings, run, file = _on_server(server, token_env)
    view.say(
        f"{server}: a run of its own, {run}; everything is tagged urn:baton:run|{run} and labelled HTEST"
    )
    try:
        return _Story(view, settings, run, server).told(seeded=False)
    finally:
        view.say("")
        view.say(f"Take it all out again with: baton --config {file} purge {run}")


@contextmanager
def _embedded() -> Iterator[tuple[Settings, str]]:
    """A sandbox whose cohort has been there for two days, and a ledger that goes away with it."""
    run, now = "demo", datetime.now(UTC)
    with Sandbox() as sandbox, tempfile.TemporaryDirectory(prefix="baton-demo-") as folder:
        sandbox.load(cohort(now, UTC, run=run), at=now - timedelta(days=2))
        file = Path(folder) / "baton.yaml"
        yield parse_settings(_config(sandbox.base_url, run, f"{folder}/ledger.db", ""), file), run


def _on_server(server: str, token_env: str) -> tuple[Settings, str, Path]:
    """A configuration and a ledger that stay, so that ``purge`` and further passes find the run again."""
    run = f"d{secrets.token_hex(4)}"
    folder = Path("var") / f"demo-{run}"
    folder.mkdir(parents=True)
    file = folder / "baton.yaml"
    file.write_text(_config(server, run, "ledger.db", token_env), encoding="utf-8")
    return parse_settings(file.read_text(encoding="utf-8"), file), run, file


def _config(base_url: str, run: str, ledger: str, token_env: str) -> str:
    tag = f"_tag=urn:baton:run|{run}"
    lines = [
        f"ledger: {ledger}",
        f"namespace: demo-{run}",
        "sources:",
        f"  - name: {SOURCE}",
        f"    base_url: {base_url}",
        "    environment: test",
        "    write_back: true",
        *([f"    token_env: {token_env}"] if token_env else []),
        "    search:",
        *(f'      {type}: "{tag}"' for type in POLLED),
    ]
    return "\n".join(lines) + "\n"


class _Story:
    """The demo's acts, in order."""

    def __init__(self, view: View, settings: Settings, run: str, place: str) -> None:
        self._view, self._settings, self._run, self._place = view, settings, run, place
        self._began = time.monotonic()

    def told(self, *, seeded: bool) -> int:
        """Tell it; the worst exit code of its passes."""
        now = datetime.now(UTC)
        people = cohort(now, UTC, run=self._run)
        with App.open(self._settings) as app:
            self._head(
                "1", f"{len(STORIES)} synthetic patients with visits, orders and answers are on {self._place}"
            )
            if not seeded:
                app.seed(SOURCE, people)
            codes = [self._first(app), self._second(app, people, now), self._third(app)]
        self._view.say("")
        self._view.say(f"Done in {time.monotonic() - self._began:.0f} s.")
        return max(codes)

    def _first(self, app: App) -> int:
        self._head("2", "Baton polls, reconciles, and writes Tasks and CarePlans back")
        report = app.sync()
        self._view.report(report)
        self._head("3", "The tasks, by patient, the most urgent first (stories without a task need none)")
        rows = app.task_rows()
        self._view.tasks(rows)
        if rows:
            self._view.say("")
            self._view.say(
                f"One of them in the EHR: {app.engine(SOURCE).client.base_url}/{rows[0]['written']}"
            )
        return report.exit_code

    def _second(self, app: App, people: Sequence[dict[str, Any]], now: datetime) -> int:
        story, client = interesting(people), app.engine(SOURCE).client
        rows = {(row["focus"], row["code"]): row for row in app.task_rows()}
        self._head("4", "In the EHR a coordinator finishes one task, and a visit gets booked")
        done = rows.get((story.finish, story.finish_rule))
        if done:
            _finish(client, done["id"])
            self._view.say(f"  finished by hand: {done['title']}")
        visit = booking(now, UTC, run=self._run)
        client.put_new(visit, only_if_absent=False)
        booked = rows.get((story.book, story.book_rule))
        self._view.say(
            f"  booked: a visit for {story.book}"
            + (f", of which was to do: {booked['title']}" if booked else "")
        )
        self._head("5", "Baton reads that back")
        report = app.sync()
        self._view.report(report)
        for row in app.task_rows(all=True):
            if row["closed_at"]:
                self._view.say(f"  {row['status']} by {row['closed_by']}: {row['title']} ({row['id']})")
        return report.exit_code

    def _third(self, app: App) -> int:
        self._head("6", "Another look changes nothing")
        report = app.sync()
        self._view.report(report)
        return report.exit_code

    def _head(self, number: str, text: str) -> None:
        self._view.say("")
        self._view.say(f"{number}. {text}")


def _finish(client: FhirClient, task: str) -> None:
    """What a coordinator's screen does: read, change, save on the version that was read."""
    held = client.read("Task", task)
    body = {**(held.resource or {}), "status": "completed", "note": [{"text": "The report came by fax."}]}
    client.update(body, version=held.version or "")

"""``kill -9`` of HAPI with its database in a file: half a second of acknowledged writes is lost, versions go back.

No 404 is taken for a deletion and no older version for an edit. Either the end is the same as without, or Baton
stops and says that the EHR may have been restored; then a person lets it go on, and the end is the same.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import httpx
import pytest

from adapter.errors import ServerError, Unsafe
from adapter.report import SyncReport
from tests.chaos.conftest import Place
from tests.chaos.proxy import Asked, Moment, Proxy
from tests.chaos.story import Story
from tests.chaos.ward import Edit, End, Ward
from tests.conftest import TOKEN, person_at, started_hapi
from tests.servers import hapi as launcher

KILLS = max(1, int(os.environ.get("BATON_KILLS", "20")) // 20)
ONLY = os.environ.get("BATON_CHAOS_RUN", "")
SAVED_MS = 500  # H2's own default: what it acknowledged since the last save is lost
MOMENTS: tuple[Moment, ...] = ("before", "between", "after")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[launcher.HapiServer]:
    """HAPI that keeps its data in a file and loses what it has just acknowledged when it is killed."""
    made = launcher.HapiServer(
        launcher._free_port(),
        db_file=tmp_path / "h2" / "db",
        token=TOKEN,
        extra={"dbOptions": f";DB_CLOSE_ON_EXIT=FALSE;WRITE_DELAY={SAVED_MS}"},
    )
    yield from started_hapi(made)


@pytest.mark.long
@pytest.mark.server
def test_the_end_is_the_same_though_the_server_is_killed(
    server: launcher.HapiServer, end_without: Callable[[Place], End], tmp_path: Path, chaos_seed: str
) -> None:
    began, seen = time.monotonic(), Counter[str]()
    with person_at(server.base_url) as ehr, Proxy(server.base_url) as proxy:
        wanted = end_without((ehr, proxy))
        for run in (int(ONLY),) if ONLY else range(1, KILLS + 1):
            ward = Ward.made(ehr, proxy, tmp_path / f"run{run}", f"{chaos_seed}/hapi-kill/{run}")
            Crash(server, ward, Story.drawn(ward.seed), Random(f"crash/{ward.seed}")).run(wanted, seen)
            print(
                f"kills of HAPI: {run} of {KILLS}, {time.monotonic() - began:.0f} s {dict(seen)}", flush=True
            )


@dataclass
class Crash:
    """One run in which the server is killed, once, and what came of it."""

    server: launcher.HapiServer
    ward: Ward
    story: Story
    chance: Random

    def run(self, wanted: End, seen: Counter[str]) -> None:
        """To the same end."""
        try:
            self._before()
            self._crash()
            lost = self._lost()
            seen.update({"writes lost": len(lost), "edits lost": len(self._unmade())})
            first = self.chance.random() < 0.5
            if first:  # people notice at once; otherwise Baton comes first
                self._make_again(seen)
            seen[self._go_on()] += 1
            self._make_again(seen)
            self.ward.time_passes()
            self.ward.sync(sweep=True)  # as every day: a lost write of ours that no poll shows is found by it
            self._make_again(seen)
            self.ward.to_the_end(self.story, wanted)
            self._none_taken_for_deleted()
        except BaseException:
            self.ward.tell(self.story)
            raise

    def _before(self) -> None:
        self.ward.sync()
        for _ in range(self.chance.randint(0, 2)):
            self.story.some(self.ward, 8)
            self.ward.sync()
        time.sleep(SAVED_MS / 1000 * 2)  # what stands until here was saved

    def _crash(self) -> None:
        """A pass, with edits just before, in which the server dies at a write or right at the end."""
        self.story.some(self.ward, 12)
        moment, count = self.chance.choice(MOMENTS), self.chance.randint(2, 12)
        early = max(1, count - self.chance.randint(0, 2))  # what people saved last is lost with it
        self.ward.proxy.at(early, "before", lambda asked: self._edit(), writes=True)
        self.ward.proxy.at(count, moment, self._kill, writes=True)
        try:
            self.ward.sync()
        except ServerError as fault:
            self.ward.faults_said.append(str(fault))
        self.ward.proxy.forget()
        self.server.kill()
        self.server.start()

    def _edit(self) -> None:
        self.story.some(self.ward, 3)

    def _kill(self, asked: Asked) -> None:
        self.ward.proxy.log.append(f"#{asked.number} HAPI killed {asked.method} {asked.path[:100]}")
        self.server.kill()

    def _lost(self) -> list[str]:
        """What Baton wrote, was told so, and is not there any more as it was."""
        with self.ward.app() as app:
            known = {f"Task/{t.id}": t.seen_version for t in app.ledger.tasks("general") if t.seen_version}
        now = self.ward.versions()
        return [
            ref for ref, version in known.items() if int(now.get(ref, "0")) < int(version.partition("@")[0])
        ]

    # --- people

    def _unmade(self) -> list[Edit]:
        """Edits that the server acknowledged and lost: by now another may bear the number of their version."""
        return [edit for edit in self.ward.edits if not self._stands(edit)]

    def _stands(self, edit: Edit) -> bool:
        found = self.ward.ehr.get(
            f"{edit.ref}/_history/{edit.version}", headers={"Cache-Control": "no-cache"}
        )
        return found.status_code == httpx.codes.OK and found.json()["meta"]["lastUpdated"] == edit.stamp

    def _make_again(self, seen: Counter[str]) -> None:
        """People do again what they find undone; what was done to a Task that is gone, once Baton has brought it."""
        lost = self._unmade()
        self.ward.edits = [edit for edit in self.ward.edits if edit not in lost]
        gone = {(edit.ref, edit.version) for edit in lost}
        self.ward.hers = [h for h in self.ward.hers if (f"Task/{h.task}", h.version) not in gone]
        later = [edit for edit in lost if edit.again() is False]
        self.ward.edits += later
        seen["edits made again"] += len(lost) - len(later)

    # --- Baton

    def _go_on(self) -> str:
        """Passes until Baton goes on by itself, or stops as documented and a person lets it go on."""
        self.ward.time_passes()
        try:
            report = self.ward.sync()
        except Unsafe as stop:
            assert "restored" in stop.message, stop.message
            self.ward.faults_said.append(stop.message)
            self._let_go_on()
            return "stopped: the mark"
        if _suspects(report):
            self._let_go_on()
            return "stopped: suspect"
        return "went on"

    def _let_go_on(self) -> None:
        report = self.ward.sync(take_over=True)
        assert not _suspects(report), report.sources[0].errors
        assert not report.sources[0].failed, report.sources[0].errors

    def _none_taken_for_deleted(self) -> None:
        with self.ward.app() as app:
            gone = [task.id for task in app.ledger.tasks("general") if task.gone]
        here = self.ward.written("Task")
        assert all(here[id]["status"] == "entered-in-error" for id in gone), gone


def _suspects(report: SyncReport) -> bool:
    return any("may have been restored" in error for source in report.sources for error in source.errors)

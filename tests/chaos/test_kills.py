"""``kill -9`` of ``baton sync`` and of ``baton run`` at random requests, with edits going on: the same end as without.

A moment is the number of a request, or of a write, and where in it: before it reaches the server, with the server's
answer in hand, or some milliseconds after the answer was sent, when the ledger takes it in.
"""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest

from tests.chaos.conftest import Place
from tests.chaos.nursery import Nursery, kill
from tests.chaos.proxy import Asked, Moment
from tests.chaos.story import Story
from tests.chaos.ward import TOKEN_ENV, End, Ward
from tests.conftest import TOKEN

KILLS = int(os.environ.get("BATON_KILLS", "20"))
ONLY = os.environ.get("BATON_CHAOS_RUN", "")
PER_RUN = 10
MOMENTS: tuple[Moment, ...] = ("before", "between", "after")
LONGEST_S = 6.0  # of a service that makes fewer requests than the moment wants


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with Nursery() as made:
        yield made


@pytest.mark.long
@pytest.mark.server
@pytest.mark.parametrize("verb", ["sync", "run"])
def test_the_end_is_the_same_as_without_kills(
    verb: str,
    hapi_place: Place,
    nursery: Nursery,
    end_without: Callable[[Place], End],
    tmp_path: Path,
    chaos_seed: str,
) -> None:
    wanted = end_without(hapi_place)
    total = KILLS // 2 + (KILLS % 2 if verb == "sync" else 0)
    began, done, where = time.monotonic(), 0, Counter[str]()
    for run, kills in enumerate([min(PER_RUN, total - at) for at in range(0, total, PER_RUN)], 1):
        if ONLY and run != int(ONLY):
            continue
        ward = Ward.made(*hapi_place, tmp_path / f"{verb}{run}", f"{chaos_seed}/kills-{verb}/{run}")
        where += killed_run(ward, nursery, verb, kills, wanted)
        done += kills
        print(f"kills of baton {verb}: {done} of {total}, {time.monotonic() - began:.0f} s", flush=True)
    print(f"kills of baton {verb}: {dict(where.most_common())}", flush=True)


def killed_run(ward: Ward, nursery: Nursery, verb: str, kills: int, wanted: End) -> Counter[str]:
    """One run with so many kills, then to its end; what was being asked when Baton was killed."""
    ward.configure(interval="1s", sweep="0s")
    story, chance = Story.drawn(ward.seed), Random(f"kills/{ward.seed}")
    first, where = len(ward.proxy.log), Counter[str]()
    try:
        while sum(where.values()) < kills:
            story.some(ward, chance.randint(0, 3))
            killed = Killing(ward, nursery, verb, story, chance).run()
            where.update([killed] if killed else [])
            if not killed or chance.random() < 0.5:
                ward.time_passes()
        ward.to_the_end(story, wanted)
    except BaseException:
        ward.tell(story, first)
        print((ward.folder / "log.txt").read_text()[-4000:])
        raise
    return where


@dataclass
class Killing:
    """One start of Baton, and its end."""

    ward: Ward
    nursery: Nursery
    verb: str
    story: Story
    chance: Random
    pid: int = 0
    killed: str = ""

    def run(self) -> str:
        """What was being asked when it was killed; "" where it came to its own end first."""
        proxy = self.ward.proxy
        writes, moment = self.chance.random() < 0.5, self.chance.choice(MOMENTS)
        number = self.chance.randint(1, 12) if writes else self._number()
        rest = self.chance.random() * 0.03 if moment == "after" else 0.0
        if self.chance.random() < 0.5:  # people do something shortly before
            early = max(1, number - self.chance.randint(0, 5))
            proxy.at(early, "before", lambda asked: self._edit(), writes=writes)
        proxy.at(number, moment, lambda asked: self._kill(asked, moment, rest), writes=writes)
        self.pid = self.nursery.start(
            ["-c", str(self.ward.config), self.verb], {TOKEN_ENV: TOKEN}, self.ward.folder / "log.txt"
        )
        last = threading.Timer(LONGEST_S, kill, [self.pid])
        last.start()
        try:
            code = self.nursery.wait(self.pid)
        finally:
            last.cancel()
        proxy.forget()
        if code == -9:
            return self.killed or "at rest"
        assert code in (0, 1, 3), f"baton {self.verb} ended with {code}"
        return ""

    def _number(self) -> int:
        """Mostly among the first requests: there are few in a pass with little to do."""
        return int(2.0 ** self.chance.uniform(0.0, 7.0 if self.chance.random() < 0.3 else 5.3))

    def _edit(self) -> None:
        self.story.some(self.ward, 2)

    def _kill(self, asked: Asked, moment: str, rest: float) -> None:
        time.sleep(rest)
        kill(self.pid)
        self.killed = f"{moment} {asked.method} {asked.path.partition('?')[0].split('/')[2]}"
        self.ward.proxy.log.append(
            f"#{asked.number} killed {moment} +{rest * 1000:.0f} ms {asked.method} {asked.path[:100]}"
        )

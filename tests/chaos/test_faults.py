"""Passes through a proxy that drops, delays, cuts, repeats, garbles, refuses and loses: the same end as without."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from adapter.errors import ServerError
from tests.chaos.conftest import Place
from tests.chaos.plan import CALM, Plan
from tests.chaos.story import Story
from tests.chaos.ward import End, Ward, edits_on_the_way

FAULTS = int(os.environ.get("BATON_FAULTS", "20"))
ONLY = os.environ.get("BATON_CHAOS_RUN", "")  # the number of one run, to repeat it alone
ON_SANDBOX = 0.3
PER_RUN = 10
RATES = (0.02, 0.05, 0.1, 0.2, 0.35)


def shares(total: int) -> list[int]:
    """Passes by run: ten each, the rest in the last."""
    return [min(PER_RUN, total - start) for start in range(0, total, PER_RUN)]


@pytest.mark.long
def test_the_end_is_the_same_as_without_faults(
    place: Place,
    end_without: Callable[[Place], End],
    tmp_path: Path,
    chaos_seed: str,
    request: pytest.FixtureRequest,
) -> None:
    kind = "hapi" if "hapi" in request.node.name else "sandbox"
    total = FAULTS - int(FAULTS * ON_SANDBOX) if kind == "hapi" else int(FAULTS * ON_SANDBOX)
    wanted = end_without(place)
    met: Counter[str] = Counter()
    began, done = time.monotonic(), 0
    for run, passes in enumerate(shares(total), 1):
        if ONLY and run != int(ONLY):
            continue
        seed = f"{chaos_seed}/{kind}/{run}"
        ward = Ward.made(*place, tmp_path / f"run{run}", seed)
        met += stormy_run(ward, passes, seed, wanted)
        done += passes
        print(f"faults on {kind}: {done} of {total} passes, {time.monotonic() - began:.0f} s", flush=True)
    print(f"faults on {kind}: {dict(met.most_common())}", flush=True)


def stormy_run(ward: Ward, passes: int, seed: str, wanted: End) -> Counter[str]:
    """One run: passes under faults with edits between and in the middle of them, then calm; how often which fault."""
    story, chance = Story.drawn(seed), Random(f"faults/{seed}")
    first = len(ward.proxy.log)
    try:
        for number in range(passes):
            ward.proxy.plan = Plan(f"{seed}/{number}", chance.choice(RATES))
            under_faults(ward)
            ward.proxy.forget()
            ward.proxy.plan = CALM
            story.some(ward, chance.randint(0, 6))
            if chance.random() < 0.5:
                edits_on_the_way(ward, story, 4, 40)
            if chance.random() < 0.4:
                ward.time_passes()
        ward.proxy.forget()
        ward.to_the_end(story, wanted)
    except BaseException:
        print(f"\nfailed in run {seed} at pass {ward.passes}; repeat with this seed. Faults met:")
        print(
            "\n".join(ward.proxy.log[first:][-400:]),
            "\nedits:",
            story.told,
            "\nsaid:",
            *ward.faults_said[-30:],
            sep="\n",
        )
        raise
    return Counter(line.split()[1] for line in ward.proxy.log[first:] if "delivered" not in line)


def under_faults(ward: Ward) -> None:
    """One pass. It may fail as a whole for what the server did, and for nothing else."""
    try:
        ward.sync()
    except ServerError as fault:
        ward.faults_said.append(str(fault))

"""A first load, and changes each of another patient: resources per second of the floor and of Baton."""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from tests.bench.baton import configure, opened, passed
from tests.bench.floor import Floor
from tests.bench.pages import Pages, serving
from tests.bench.stages import Stages

RESOURCES, CHANGES = 100_000, 5_000
#: Of the changes: the same ones each time, on copies of what the first load left. The floor needs a second for them,
#: and a second of one machine differs from the next by a tenth; whoever goes first takes turns.
ROUNDS = 3


def measure(scale: float, *, changes: bool = True) -> dict[str, Any]:
    """``throughput`` and ``changes``, each with floor, baton and ratio, by the wall clock and by CPU time."""
    with tempfile.TemporaryDirectory(prefix="baton-bench-") as name, serving(int(RESOURCES * scale)) as pages:
        return _measured(pages, Path(name), int(CHANGES * scale) if changes else 0)


def _measured(pages: Pages, folder: Path, number: int) -> dict[str, Any]:
    loaded = folder / "loaded"
    loaded.mkdir()
    with _both(pages, loaded) as sides:
        found = {"throughput": _compared([_run(sides)], pages.resources)}
    if number:
        httpx.post(f"{pages.root}/change/{number}", timeout=120)
        rounds = [_again(pages, loaded, folder / f"round-{place}", place) for place in range(ROUNDS)]
        found["changes"] = _compared(rounds, number)
    return found


def _again(pages: Pages, loaded: Path, folder: Path, place: int) -> dict[str, _Timed]:
    """One round of the changes, on a copy that is thrown away after it."""
    shutil.copytree(loaded, folder)
    os.sync()  # else whoever commits first writes out the copy
    with _both(pages, folder) as sides:
        told = _run(dict(reversed(sides.items())) if place % 2 else sides)
    shutil.rmtree(folder)
    return told


@contextmanager
def _both(pages: Pages, folder: Path) -> Iterator[dict[str, _Side]]:
    """The floor and Baton over what a folder holds: how each works, and how many open tasks it has then."""
    floor = Floor(pages.base_url, folder / "floor.db")
    with opened(configure(folder, pages.base_url)) as app:
        yield {
            "floor": _Side(floor.run, lambda: len(floor.tasks())),
            "baton": _Side(lambda: passed(app), lambda: len(app.ledger.tasks(open_only=True))),
        }
    floor.close()


class _Side(NamedTuple):
    work: Callable[[], object]
    tasks: Callable[[], int]


class _Timed(NamedTuple):
    """Wall and CPU seconds of a piece of work, its stages, and how many tasks were open after it."""

    wall: float
    cpu: float
    stages: Stages
    tasks: int


def _run(sides: Mapping[str, _Side]) -> dict[str, _Timed]:
    return {name: _timed(side) for name, side in sides.items()}


def _timed(side: _Side) -> _Timed:
    stages = Stages()
    gc.collect()
    wall, cpu = time.perf_counter(), time.process_time()
    with stages.measured():
        side.work()
    return _Timed(time.perf_counter() - wall, time.process_time() - cpu, stages, side.tasks())


def _compared(rounds: Sequence[Mapping[str, _Timed]], number: int) -> dict[str, Any]:
    """The figure: all rounds together, and the ratio of each."""
    floor, baton = [one["floor"] for one in rounds], [one["baton"] for one in rounds]
    stages = Stages.of([one.stages for one in baton])
    each = number * len(rounds)
    floor_wall, wall = sum(one.wall for one in floor), sum(one.wall for one in baton)
    return {
        "floor": round(each / floor_wall, 1),
        "baton": round(each / wall, 1),
        "ratio": round(floor_wall / wall, 3),
        "ratio_cpu": round(sum(one.cpu for one in floor) / sum(one.cpu for one in baton), 3),
        **({"rounds": [_ratio(one) for one in rounds]} if len(rounds) > 1 else {}),
        "resources": number,
        "tasks": {name: told.tasks for name, told in rounds[-1].items()},
        "stages": {name: round(spent / each * 1e6, 1) for name, spent in stages.seconds.items()},
        "lines": stages.lines(each),
    }


def _ratio(one: Mapping[str, _Timed]) -> float:
    return round(one["floor"].wall / one["baton"].wall, 3)

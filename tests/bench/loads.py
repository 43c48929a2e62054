"""A first load, and changes each of another patient: resources per second of the floor and of Baton."""

from __future__ import annotations

import gc
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from tests.bench.baton import configure, opened, passed
from tests.bench.floor import Floor
from tests.bench.pages import Pages, serving
from tests.bench.stages import Stages

RESOURCES, CHANGES = 100_000, 5_000


def measure(scale: float, *, changes: bool = True) -> dict[str, Any]:
    """``throughput`` and ``changes``, each with floor, baton and ratio, by the wall clock and by CPU time."""
    with tempfile.TemporaryDirectory(prefix="baton-bench-") as name, serving(int(RESOURCES * scale)) as pages:
        return _measured(pages, Path(name), int(CHANGES * scale) if changes else 0)


def _measured(pages: Pages, folder: Path, number: int) -> dict[str, Any]:
    floor = Floor(pages.base_url, folder / "floor.db")
    with opened(configure(folder, pages.base_url)) as app:
        first = {"floor": _timed(floor.run), "baton": _timed(lambda: passed(app))}
        tasks = {"floor": len(floor.tasks()), "baton": len(app.ledger.tasks(open_only=True))}
        found = {"throughput": _compared(first, pages.resources, tasks)}
        if number:
            httpx.post(f"{pages.root}/change/{number}", timeout=120)
            again = {"floor": _timed(floor.run), "baton": _timed(lambda: passed(app))}
            tasks = {"floor": len(floor.tasks()), "baton": len(app.ledger.tasks(open_only=True))}
            found["changes"] = _compared(again, number, tasks)
        floor.close()
    return found


def _timed(work: Callable[[], object]) -> tuple[float, float, Stages]:
    """Wall and CPU seconds of a piece of work, and its stages."""
    stages = Stages()
    gc.collect()
    wall, cpu = time.perf_counter(), time.process_time()
    with stages.measured():
        work()
    return time.perf_counter() - wall, time.process_time() - cpu, stages


def _compared(
    times: dict[str, tuple[float, float, Stages]], number: int, tasks: dict[str, int]
) -> dict[str, Any]:
    (floor_wall, floor_cpu, _), (wall, cpu, stages) = times["floor"], times["baton"]
    return {
        "floor": round(number / floor_wall, 1),
        "baton": round(number / wall, 1),
        "ratio": round(floor_wall / wall, 3),
        "ratio_cpu": round(floor_cpu / cpu, 3),
        "resources": number,
        "tasks": tasks,
        "stages": {name: round(spent / number * 1e6, 1) for name, spent in stages.seconds.items()},
        "lines": stages.lines(number),
    }

"""A quiet pass: 100 changes over 10,000 and over 200,000 snapshots, each pass in a fresh process.

The size of the ledger must not show: neither in the time of the pass nor in the memory at its peak (VmHWM).
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx

from tests.bench.baton import configure, opened, passed
from tests.bench.pages import serving

SMALL, LARGE = 10_000, 200_000
CHANGES = 100
PASSES = 5


def measure(scale: float) -> dict[str, Any]:
    """``pass`` and ``memory`` at both sizes."""
    small, large = _of(int(SMALL * scale)), _of(int(LARGE * scale))
    return {
        "pass": {
            "quiet_10k_s": small["seconds"],
            "quiet_200k_s": large["seconds"],
            "ratio": round(large["seconds"] / small["seconds"], 3),
            "changes": CHANGES,
        },
        "memory": {
            "peak_mb_10k": small["peak_mb"],
            "peak_mb_200k": large["peak_mb"],
            "ratio": round(large["peak_mb"] / small["peak_mb"], 3),
        },
    }


def _of(resources: int) -> dict[str, float]:
    """The median seconds and the highest peak of some passes over a ledger of that size."""
    with tempfile.TemporaryDirectory(prefix="baton-bench-") as name, serving(resources) as pages:
        config = configure(Path(name), pages.base_url)
        _fresh(config)
        os.sync()  # the first load's pages are on the disk before anything is timed, whatever its size
        found = []
        for _ in range(PASSES):
            httpx.post(f"{pages.root}/change/{CHANGES}", timeout=60)
            found.append(_fresh(config))
    return {
        "seconds": round(statistics.median(one["seconds"] for one in found), 4),
        "peak_mb": round(max(one["peak_mb"] for one in found), 1),
    }


def _fresh(config: Path) -> dict[str, float]:
    """One pass in a new process."""
    command = [sys.executable, "-m", "tests.bench.quiet", str(config)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _pass(config: Path) -> dict[str, float]:
    with opened(config) as app:
        begun = time.perf_counter()
        passed(app)
        return {"seconds": time.perf_counter() - begun, "peak_mb": peak_mb()}


def peak_mb() -> float:
    """The peak of this process's resident memory; its own, unlike ``ru_maxrss``, which a parent's size enters."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:"))


if __name__ == "__main__":
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    print(json.dumps(_pass(Path(sys.argv[1]))))

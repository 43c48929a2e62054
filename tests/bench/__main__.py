"""``python -m tests.bench [--only throughput,changes] [--scale 0.1]``: measure, print, write ``var/bench.json``.

Each section runs in a process of its own on one core; servers run on the other. A short run (``--scale``) prints the
same and writes ``var/bench-SCALE.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[2] / "var"
# Section → module and the figures that it brings.
SECTIONS: dict[str, tuple[str, tuple[str, ...]]] = {
    "loads": ("loads", ("throughput", "changes")),
    "fhirpath": ("expressions", ("fhirpath",)),
    "deadlines": ("deadlines", ("deadlines",)),
    "quiet": ("quiet", ("pass", "memory")),
    "writes": ("writes", ("writes",)),
}
TARGETS = {
    "throughput": ("ratio", 0.5, "at least"),
    "changes": ("ratio", 0.25, "at least"),
    "fhirpath": ("ratio", 10.0, "at least"),
    "writes": ("ratio", 0.7, "at least"),
    "deadlines": ("lateness_s", 1.0, "at most"),
    "pass": ("ratio", 1.3, "at most"),
    "memory": ("ratio", 1.3, "at most"),
}


def main() -> int:
    """Run what was asked for; 0 where every section could be measured."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--only", default="", help="figures, with commas: " + ", ".join(TARGETS))
    parser.add_argument("--scale", type=float, default=1.0, help="share of the full numbers")
    parser.add_argument("--section", default="", help=argparse.SUPPRESS)
    said = parser.parse_args()
    only = {name for name in said.only.split(",") if name} or set(TARGETS)
    if unknown := only - set(TARGETS):
        parser.error(f"no such figure: {', '.join(sorted(unknown))}")
    if said.section:
        _alone(said.section, said.scale, only)
        return 0
    return _all(only, said.scale)


def _alone(section: str, scale: float, only: set[str]) -> None:
    """In the child: one core, one section, its figures as one line of JSON."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    module = import_module(f"tests.bench.{SECTIONS[section][0]}")
    found = module.measure(scale, changes="changes" in only) if section == "loads" else module.measure(scale)
    print(json.dumps(found))


def _all(only: set[str], scale: float) -> int:
    found: dict[str, Any] = {}
    failed = 0
    for section, (_, figures) in SECTIONS.items():
        if not only & set(figures):
            continue
        os.sync()  # what one section has written is not written out while the next one is measured
        command = [sys.executable, "-m", "tests.bench", "--section", section, "--scale", str(scale)]
        done = subprocess.run([*command, "--only", ",".join(sorted(only))], stdout=subprocess.PIPE, text=True)
        if done.returncode:
            failed += 1
            print(f"{section}: could not be measured", file=sys.stderr)
            continue
        measured = json.loads(done.stdout.splitlines()[-1])
        for name in figures:
            if name in only and name in measured:
                found[name] = measured[name]
                _print(name, measured[name])
    _write(found, scale)
    return 1 if failed else 0


def _print(name: str, figure: dict[str, Any]) -> None:
    key, target, side = TARGETS[name]
    if "skipped" in figure:
        print(f"{name}: not measured, {figure['skipped']}", flush=True)
        return
    good = figure[key] >= target if side == "at least" else figure[key] <= target
    shown = {key: value for key, value in figure.items() if key not in ("lines", "stages")}
    print(f"{name}: {shown}")
    print(f"  {key} {figure[key]}, wanted {side} {target}: {'reached' if good else 'NOT REACHED'}")
    for line in figure.get("lines", ()):
        print(line)
    sys.stdout.flush()


def _write(found: dict[str, Any], scale: float) -> None:
    """Keep what an earlier run of the same scale measured and this one did not. A short run has a file of its own."""
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / ("bench.json" if scale == 1.0 else f"bench-{scale:g}.json")
    held = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    whole = held if held.get("scale") == scale else {}
    plain = {name: {k: v for k, v in one.items() if k != "lines"} for name, one in found.items()}
    whole.update(plain, scale=scale, measured_at=datetime.now(UTC).isoformat(timespec="seconds"))
    path.write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")
    print(f"written: {path.relative_to(FOLDER.parent)}")


if __name__ == "__main__":
    sys.exit(main())

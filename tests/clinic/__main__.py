"""``python -m tests.clinic``: the whole simulation, printed.

python -m tests.clinic --patients 20000 --days 60 --seed 1
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

from tests.clinic.simulation import simulate
from tests.clinic.table import faults, table


def main() -> int:
    """Simulate and print; 1 where a bound is broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.clinic", description=__doc__.partition("\n")[0])
    parser.add_argument("--patients", type=int, default=20_000)
    parser.add_argument("--days", type=int, default=60, help="working days with Baton")
    parser.add_argument("--history", type=int, default=500, help="working days before")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--bounded-only", action="store_true", help="leave out the first sync without bounds")
    parser.add_argument("--tasks", type=Path, help="write all tasks there, one JSON object a line")
    asked = parser.parse_args()
    began = time.monotonic()

    def told(text: str) -> None:
        print(f"{time.monotonic() - began:7.0f} s  {text}", file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory(prefix="baton-clinic-") as folder:
        outcome = simulate(
            Path(folder),
            patients=asked.patients,
            live_days=asked.days,
            history=asked.history,
            seed=asked.seed,
            unbounded=not asked.bounded_only,
            told=told,
        )
    print(table(outcome))
    if asked.tasks:
        rows = [*outcome.first, *outcome.rest]
        asked.tasks.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    wrong = faults(outcome)
    print(f"\n{time.monotonic() - began:.0f} s; " + ("; ".join(wrong) or "all bounds are kept"))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

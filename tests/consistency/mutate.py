"""Take each rule out of a copy of the product, and see whether its tests go red.

``python -m tests.consistency.mutate`` for all of the first forty, ``… mutate 3 27`` for some. The project itself
is never edited. Exit code 1 where a rule was taken out and no test noticed.

``--machine`` asks the state machine of tests/invariants instead of the rules' own tests, to see how dense it is;
``BATON_EXAMPLES`` says how long it may look.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.consistency.index import INDEX, Edit

ROOT = Path(__file__).resolve().parents[2]
_PARTS = ("adapter", "tests", "mappings", "config", "pyproject.toml", "README.md")
_SKIP = shutil.ignore_patterns("__pycache__", "target", "*.pyc", ".hypothesis")


MACHINE = ("tests/invariants/test_machine.py",)


def main(numbers: list[int], *, machine: bool = False) -> int:
    """Take out the rules of these numbers, or of all; 1 where one was not noticed, or, by the machine, none was."""
    unnoticed = tried = 0
    with tempfile.TemporaryDirectory(prefix="baton-mutants-") as name:
        copy = Path(name)
        for part in _PARTS:
            source = ROOT / part
            if source.is_dir():
                shutil.copytree(source, copy / part, ignore=_SKIP)
            else:
                shutil.copy(source, copy / part)
        for number in numbers or [n for n in INDEX if INDEX[n].out]:
            for edit in INDEX[number].out:
                said = _without(copy, number, edit, MACHINE if machine else INDEX[number].tests)
                tried, unnoticed = tried + 1, unnoticed + (not said)
                print(f"F{number:<3} {'red' if said else 'NOT NOTICED':12} {edit.file}: {said}", flush=True)
    print(f"{tried - unnoticed} of {tried} noticed")
    return int(unnoticed == tried if machine else unnoticed > 0)


def _without(copy: Path, number: int, edit: Edit, tests: tuple[str, ...]) -> str:
    """The first test that goes red without a rule; "" where none does."""
    file = copy / "adapter" / edit.file
    whole = file.read_text(encoding="utf-8")
    assert whole.count(edit.old) == 1, f"F{number}: {edit.file} has moved on: {edit.old}"
    try:
        file.write_text(whole.replace(edit.old, edit.new), encoding="utf-8")
        return _red(copy, tests)
    finally:
        file.write_text(whole, encoding="utf-8")


def _red(copy: Path, tests: tuple[str, ...]) -> str:
    environment = {
        **os.environ,
        "PYTHONPATH": str(copy),
        "PYTHONDONTWRITEBYTECODE": "1",
        "BATON_SHRINK": "0",
    }
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-x",
            "-q",
            "--no-header",
            "-p",
            "no:cacheprovider",
            "-m",
            "not server",
            *tests,
        ],
        cwd=copy,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode not in (0, 1):
        raise RuntimeError(done.stdout[-2000:] + done.stderr[-2000:])
    found = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return found[0].split(" ")[1] if found else ""


if __name__ == "__main__":
    asked = [word for word in sys.argv[1:] if word != "--machine"]
    sys.exit(main([int(number.removeprefix("F")) for number in asked], machine="--machine" in sys.argv))

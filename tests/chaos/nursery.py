"""A process that forks Batons: each is a real process that can be killed, and none pays for the imports again.

It reads one JSON line per wish: ``{"run": [arguments], "env": {…}, "log": path}`` is answered with the new process's
number, ``{"wait": number}`` with its exit code (negative: the signal that ended it). It ends with its input.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

ROOT = Path(__file__).resolve().parents[2]


class Nursery:
    """``with Nursery() as nursery: pid = nursery.start([...])``."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.nursery"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None and self._process.stdin and self._process.stdout
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()

    def start(self, arguments: Sequence[str], env: Mapping[str, str], log: Path) -> int:
        """Fork a Baton that runs this command line; its process number."""
        return self._ask({"run": list(arguments), "env": dict(env), "log": str(log)})

    def wait(self, pid: int) -> int:
        """Wait for its end; its exit code, negative where a signal ended it."""
        return self._ask({"wait": pid})

    def _ask(self, wish: Mapping[str, Any]) -> int:
        assert self._process is not None and self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps(wish) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


def kill(pid: int) -> None:
    """``kill -9``; a process that has ended already is no matter."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _serve(wishes: IO[str], answers: IO[str]) -> None:
    import adapter.cli  # all that children need is loaded once, here
    import adapter.service

    assert adapter.cli and adapter.service
    children: set[int] = set()
    for line in wishes:
        wish = json.loads(line)
        if "run" in wish:
            number = _forked(wish)
            children.add(number)
        else:
            _, status = os.waitpid(wish["wait"], 0)
            children.discard(wish["wait"])
            number = os.waitstatus_to_exitcode(status)
        answers.write(f"{number}\n")
        answers.flush()
    for child in children:
        kill(child)


def _forked(wish: Mapping[str, Any]) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        log = os.open(wish["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.environ.update(wish["env"])
        from adapter.cli import main

        code = main(wish["run"])
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    _serve(sys.stdin, sys.stdout)

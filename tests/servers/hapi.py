"""Starts the HAPI JPA server of ``tests/servers/hapi`` as a process on loopback.

The project is built with Maven when its sources have changed, under a file lock, so that parallel test runs do not
clash. A class-data archive makes every later start some seconds quicker; where it cannot be made, the server starts
without it. Nothing here waits without a bound.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

PROJECT = Path(__file__).resolve().parent / "hapi"
TARGET = PROJECT / "target"
JAR = TARGET / "hapi-launcher-0.1.jar"
ARCHIVE = TARGET / "app.jsa"
STAMP = TARGET / "built.sha256"
BUILD_LIMIT_S = 900.0
START_LIMIT_S = 180.0
STOP_LIMIT_S = 60.0


class HapiUnavailable(RuntimeError):
    """HAPI cannot be built or started here; the message says why."""


def missing_tools() -> str:
    """Why HAPI cannot run on this machine, or ""."""
    absent = [tool for tool in ("java", "mvn") if shutil.which(tool) is None]
    return f"{' and '.join(absent)} not found on the PATH" if absent else ""


def build() -> None:
    """Build the launcher if its sources have changed, and make the class-data archive if it is missing.

    Raises:
        HapiUnavailable: where Java, Maven or its repository cannot be had.
    """
    reason = missing_tools()
    if reason:
        raise HapiUnavailable(reason)
    TARGET.mkdir(parents=True, exist_ok=True)
    with _locked(TARGET / ".lock"):
        wanted = _sources_digest()
        if not (JAR.exists() and STAMP.exists() and STAMP.read_text() == wanted):
            _package()
            ARCHIVE.unlink(missing_ok=True)
            STAMP.write_text(wanted)
        if not ARCHIVE.exists():
            _make_archive()


class HapiServer:
    """One HAPI server: ``with HapiServer(token="t") as server: … server.base_url``.

    Args:
        port: 0 picks a free one.
        db_file: file prefix of an H2 database that outlives the process; None keeps all in memory.
        token: where given, every request but GET /metadata needs it; ``read_token`` may only read.
        reuse_search_ms: how long HAPI answers a search from its last result (its own default); None switches it off.
        extra: further ``fhir.*`` switches of ``Options.java``, such as ``{"maxPageSize": "1000"}``.
    """

    def __init__(
        self,
        port: int = 0,
        *,
        db_file: Path | None = None,
        token: str = "",
        read_token: str = "",
        reuse_search_ms: int | None = 60_000,
        refs_on_write: bool = True,
        refs_on_delete: bool = True,
        heap: str = "512m",
        extra: dict[str, str] | None = None,
    ) -> None:
        self._wanted_port = port
        self.port = port
        self.token = token
        self.read_token = read_token
        self._heap = heap
        self._switches = {
            "db": str(db_file.resolve()) if db_file else "",
            "token": token,
            "readToken": read_token,
            "reuseSearchMs": "" if reuse_search_ms is None else str(reuse_search_ms),
            "refsOnWrite": str(refs_on_write).lower(),
            "refsOnDelete": str(refs_on_delete).lower(),
            **(extra or {}),
        }
        self._process: _Process | None = None
        self._ending = threading.Lock()  # who kills while another does waits for the end, too

    @property
    def base_url(self) -> str:
        """Where the FHIR API stands, without a last slash."""
        return f"http://127.0.0.1:{self.port}/fhir"

    def start(self) -> Self:
        """Build if need be, start, and wait until HAPI says that it is ready."""
        build()
        for attempt in range(3):
            self.port = self._wanted_port or _free_port()
            self._process = _Process(_command(self._heap, {**self._switches, "port": str(self.port)}))
            if self._process.ready(START_LIMIT_S):
                return self
            said = self._process.said()
            self.kill()
            if "Address already in use" not in said or self._wanted_port or attempt == 2:
                raise HapiUnavailable(f"HAPI did not start:\n{said}")
        raise AssertionError("unreachable")

    def stop(self) -> None:
        """SIGTERM, and wait for the end; SIGKILL where it does not come."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """kill -9: no shutdown hook runs, nothing is flushed."""
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> None:
        with self._ending:
            if self._process is not None:
                self._process.end(how)
                self._process = None

    def log(self) -> str:
        """The last lines that the server printed."""
        return self._process.said() if self._process else ""

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class _Process:
    """A java process whose output is read to its end by a thread, so that it never blocks on a full pipe."""

    def __init__(self, command: list[str]) -> None:
        self._lines: deque[str] = deque(maxlen=200)
        self._settled = threading.Event()  # READY was printed, or the output ended
        self._is_ready = False
        # Of its own, so that a killed server leaves nothing behind either.
        self._scratch = tempfile.TemporaryDirectory(prefix="baton-hapi-")
        self._child = subprocess.Popen(
            [command[0], f"-Djava.io.tmpdir={self._scratch.name}", *command[1:]],
            cwd=PROJECT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._child.stdout is not None
        with self._child.stdout as output:
            for line in output:
                self._lines.append(line)
                if line.startswith("READY "):
                    self._is_ready = True
                    self._settled.set()
        self._settled.set()

    def ready(self, limit_s: float) -> bool:
        self._settled.wait(limit_s)
        return self._is_ready and self._child.poll() is None

    def end(self, how: signal.Signals) -> int:
        if self._child.poll() is None:
            self._child.send_signal(how)
        try:
            self._child.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait(STOP_LIMIT_S)
        self._reader.join(STOP_LIMIT_S)
        self._scratch.cleanup()
        return self._child.returncode

    def said(self) -> str:
        return "".join(self._lines)


def _command(heap: str, switches: dict[str, str], *flags: str) -> list[str]:
    """The class path holds jars alone and the GC is named: an archive fits only the VM that it was made for."""
    archive = (f"-XX:SharedArchiveFile={ARCHIVE}",) if ARCHIVE.exists() and not flags else ()
    return [
        "java",
        f"-Xmx{heap}",
        "-XX:TieredStopAtLevel=1",
        "-XX:+UseSerialGC",
        *archive,
        *flags,
        *(f"-Dfhir.{name}={value}" for name, value in switches.items()),
        "-cp",
        f"{JAR.relative_to(PROJECT)}:target/lib/*",
        "localfhir.Main",
    ]


def _package() -> None:
    # A copied dependency of an older version would stay on the class path.
    shutil.rmtree(TARGET / "lib", ignore_errors=True)
    done = subprocess.run(
        ["mvn", "-B", "-q", "-DskipTests", "package"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=BUILD_LIMIT_S,
        check=False,
    )
    if done.returncode != 0:
        raise HapiUnavailable(f"Maven could not build the launcher:\n{(done.stdout + done.stderr)[-4000:]}")


def _make_archive() -> None:
    """Run the server once to its end and keep its classes. A failure only costs seconds at each later start."""
    draft = ARCHIVE.with_suffix(".draft")
    draft.unlink(missing_ok=True)
    run = _Process(_command("512m", {"port": str(_free_port())}, f"-XX:ArchiveClassesAtExit={draft}"))
    run.ready(START_LIMIT_S)
    run.end(signal.SIGTERM)
    if draft.exists():
        draft.rename(ARCHIVE)


def _sources_digest() -> str:
    digest = hashlib.sha256()
    for path in [PROJECT / "pom.xml", *sorted((PROJECT / "src").rglob("*"))]:
        if path.is_file():
            digest.update(str(path.relative_to(PROJECT)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port

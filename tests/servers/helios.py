"""Builds and starts Helios, a second real FHIR server, on SQLite or PostgreSQL, as processes on loopback.

``python -m tests.servers.helios`` builds it once (five to ten minutes on two cores) into a cache folder that
survives this checkout: ``BATON_HELIOS``, else ``$XDG_CACHE_HOME`` or ``~/.cache``. Nothing here waits without a
bound.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import httpx

VERSION = "0.2.7"
BUILD_LIMIT_S = 1500.0
START_LIMIT_S = 60.0
STOP_LIMIT_S = 15.0
PARAMETERS = "org/hl7/fhir/r4/model/sp/search-parameters.json"
RESOURCES = "hapi-fhir-validation-resources-r4"
HAPI = Path(__file__).resolve().parent / "hapi/target/lib"
CLUSTERS = ("/usr/lib/postgresql", "/usr/local/pgsql")

Backend = Literal["sqlite", "postgres"]


class HeliosUnavailable(RuntimeError):
    """Helios cannot be built or started here; the message says why."""


def folder() -> Path:
    """Where the built server stays."""
    named = os.environ.get("BATON_HELIOS")
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / f"baton/helios-{VERSION}"


def binary() -> Path:
    """The server, built or not."""
    return folder() / "bin" / "hfs"


def missing(backend: Backend = "sqlite") -> str:
    """Why Helios cannot run here now, or ""."""
    if not binary().is_file():
        return "Helios is not built: python -m tests.servers.helios"
    if _parameters() is None:
        return "the R4 search parameters are missing: python -m tests.servers.helios brings them"
    if backend == "postgres" and _postgres() is None:
        return "PostgreSQL is not installed (initdb was not found)"
    return ""


def build() -> None:
    """Build the server where it is not built yet.

    The unoptimised profile: quick enough for tests, and it builds in minutes.

    Raises:
        HeliosUnavailable: without cargo, or where the build fails.
    """
    folder().mkdir(parents=True, exist_ok=True)
    with _locked(folder() / ".lock"):
        if binary().is_file():
            return
        if shutil.which("cargo") is None:
            raise HeliosUnavailable("cargo not found on the PATH")
        with tempfile.TemporaryDirectory(prefix="baton-helios-") as target:
            _cargo(Path(target))


def _cargo(target: Path) -> None:
    command = ["cargo", "install", "helios-hfs", "--locked", "--version", VERSION, "--no-default-features"]
    command += ["--features", "R4,sqlite,postgres", "--debug", "--root", str(folder())]
    said = {"CARGO_PROFILE_DEV_DEBUG": "0", "CARGO_INCREMENTAL": "0", "CARGO_TARGET_DIR": str(target)}
    done = subprocess.run(
        ["nice", "-n", "10", *command],
        env={**os.environ, **said},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=BUILD_LIMIT_S,
        check=False,
    )
    if done.returncode or not binary().is_file():
        raise HeliosUnavailable(f"Helios cannot be built:\n{done.stdout[-4000:]}")


class HeliosServer:
    """One Helios: ``with HeliosServer("postgres") as server: … server.base_url``.

    Everything it stores is gone when it stops. It asks for no token unless it is told to.

    Args:
        switches: further settings by their environment variables, such as ``{"HFS_VALIDATION_MODE": "enforce"}``.
    """

    def __init__(self, backend: Backend = "sqlite", *, switches: Mapping[str, str] | None = None) -> None:
        self.backend: Backend = backend
        self._switches = dict(switches or {})
        self.port = 0
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self._cluster: _Cluster | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def base_url(self) -> str:
        """Where the FHIR API stands, without a last slash."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> Self:
        """Start, and wait until /metadata answers."""
        if why := missing(self.backend):
            raise HeliosUnavailable(why)
        self._scratch = tempfile.TemporaryDirectory(prefix="baton-helios-")
        data = Path(self._scratch.name)
        parameters = _parameters()
        assert parameters is not None
        (data / "search-parameters-r4.json").write_bytes(parameters)
        database = f"{data}/h.db"
        if self.backend == "postgres":
            self._cluster = _Cluster()
            database = self._cluster.start()
        self.port = _free_port()
        with (data / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [str(binary()), *self._arguments(database, data)],
                env={**os.environ, **self._environment()},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._wait()
        return self

    def _arguments(self, database: str, data: Path) -> list[str]:
        where = ["--host", "127.0.0.1", "--port", str(self.port), "--base-url", self.base_url]
        return [*where, "--database-url", database, "--data-dir", str(data)]

    def _environment(self) -> dict[str, str]:
        said = {"HFS_LOG_LEVEL": "warn", "HFS_SEED_CONFORMANCE": "false", **self._switches}
        return {**said, "HFS_STORAGE_BACKEND": "postgres"} if self.backend == "postgres" else said

    def _wait(self) -> None:
        until = time.monotonic() + START_LIMIT_S
        while time.monotonic() < until and self._process is not None and self._process.poll() is None:
            try:
                if httpx.get(f"{self.base_url}/metadata", timeout=5.0, trust_env=False).status_code == 200:
                    return
            except httpx.HTTPError:
                time.sleep(0.1)  # it is not listening yet
        said = self.log()
        self.stop()
        raise HeliosUnavailable(f"Helios did not start:\n{said}")

    def log(self) -> str:
        """The last lines that the server printed."""
        place = Path(self._scratch.name) / "log" if self._scratch else None
        return place.read_text("utf-8", "replace")[-4000:] if place and place.is_file() else ""

    def stop(self) -> None:
        """Stop the server and its database, and remove what they stored."""
        if self._process is not None:
            _end(self._process)
            self._process = None
        if self._cluster is not None:
            self._cluster.stop()
            self._cluster = None
        if self._scratch is not None:
            self._scratch.cleanup()
            self._scratch = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class _Cluster:
    """A PostgreSQL cluster of its own in a temporary folder, on loopback. initdb refuses to run as root."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="baton-pg-"))
        self._programs = _postgres()

    def start(self) -> str:
        """Its database's URL."""
        port = _free_port()
        if os.geteuid() == 0:
            shutil.chown(self._folder, "postgres")
        self._run("initdb", "-D", f"{self._folder}/data", "-A", "trust", "-U", "postgres")
        options = f"-c listen_addresses=127.0.0.1 -p {port} -k {self._folder} -c fsync=off"
        self._run(
            "pg_ctl", "-D", f"{self._folder}/data", "-o", options, "-l", f"{self._folder}/log", "-w", "start"
        )
        self._run("createdb", "-h", "127.0.0.1", "-p", str(port), "-U", "postgres", "hfs")
        return f"postgresql://postgres@127.0.0.1:{port}/hfs"

    def stop(self) -> None:
        """Stop it and remove its folder."""
        try:
            self._run("pg_ctl", "-D", f"{self._folder}/data", "-m", "immediate", "-w", "stop")
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _run(self, program: str, *arguments: str) -> None:
        assert self._programs is not None
        command = [str(self._programs / program), *arguments]
        if os.geteuid() == 0:
            command = ["runuser", "-u", "postgres", "--", *command]
        # Its output goes to a file: a server that it leaves behind would keep a pipe open for ever.
        said = self._folder / f"{program}.out"
        with said.open("wb") as out:
            done = subprocess.run(
                command, cwd="/", stdin=subprocess.DEVNULL, stdout=out, stderr=out, timeout=120, check=False
            )
        if done.returncode:
            raise HeliosUnavailable(f"{program} failed:\n{said.read_text('utf-8', 'replace')[-2000:]}")


def _postgres() -> Path | None:
    """The folder of PostgreSQL's programs, the newest version."""
    found = [path.parent for base in CLUSTERS for path in Path(base).glob("**/bin/initdb")]
    return max(found, default=None)


def _parameters() -> bytes | None:
    """R4's search parameters: the crate does not bring them, HAPI's validation resources do."""
    repository = Path.home() / ".m2/repository/ca/uhn/hapi/fhir" / RESOURCES
    found = [*HAPI.glob(f"{RESOURCES}-*.jar"), *repository.glob("*/*.jar")]
    for jar in sorted(found, key=lambda path: path.name, reverse=True):
        with zipfile.ZipFile(jar) as packed:
            if PARAMETERS in packed.namelist():
                return packed.read(PARAMETERS)
    return None


def _bring_parameters() -> None:
    """Where the search parameters are not here yet: HAPI's build brings the archive that holds them."""
    if _parameters() is not None:
        return
    from tests.servers import hapi

    try:
        hapi.build()
    except hapi.HapiUnavailable as reason:
        raise HeliosUnavailable(f"the R4 search parameters cannot be had: {reason}") from None


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(STOP_LIMIT_S)


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def main() -> int:
    """Build, and say where it is."""
    try:
        if not binary().is_file():
            sys.stdout.write(f"building Helios {VERSION} once, some minutes …\n")
            sys.stdout.flush()
        build()
        _bring_parameters()
    except (HeliosUnavailable, subprocess.TimeoutExpired) as reason:
        sys.stderr.write(f"{reason}\n")
        return 1
    sys.stdout.write(f"{binary()}\n")
    for backend in ("sqlite", "postgres"):
        if why := missing(backend):
            sys.stdout.write(f"{backend}: {why}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

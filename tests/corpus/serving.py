"""A pretend server for one family of the corpus, and one pass of the command line over it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from adapter.cli import main
from adapter.model import Snapshot
from adapter.settings import load
from tests.corpus.families import VERSIONS, Resource
from tests.faults.scripted import Asked, Rows, Said, Script, Scripted, capability

FIRST = datetime(2020, 1, 1, tzinfo=UTC)
Capsys = pytest.CaptureFixture[str]


@dataclass(frozen=True, slots=True)
class Pass:
    """What one pass printed and how it ended."""

    code: int
    report: Mapping[str, Any]
    told: str

    @property
    def errors(self) -> list[str]:
        found: list[str] = self.report["sources"][0]["errors"]
        return found


def stamp(number: int) -> str:
    """The server's own time of its row with this number: one second apart, all in the past."""
    return (FIRST + timedelta(seconds=number)).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def rows_of(resources: Sequence[Resource]) -> list[tuple[str, str, str, bytes]]:
    """Rows as a server stores them: with its own version and time in ``meta``, where that is an object."""
    rows = []
    for number, resource in enumerate(resources):
        at, meta = stamp(number), resource.get("meta", {})
        if isinstance(meta, dict):
            resource = {**resource, "meta": {**meta, "versionId": "1", "lastUpdated": at}}
        rows.append((resource["resourceType"], resource["id"], at, json.dumps(resource).encode()))
    return rows


def script_of(server_base: Any, rows: Sequence[tuple[str, str, str, bytes]], version: str = "R4") -> Script:
    """Metadata of a version, searches and reads over rows; the people whom rows name are known by their ids."""
    held = Rows(server_base, list(rows))
    patients = {f"Patient/{id}" for type, id, _, _ in rows if type == "Patient"}
    statement = capability(VERSIONS[version])
    if version == "DSTU2":
        statement["resourceType"] = "Conformance"

    def script(asked: Asked) -> Said | bytes | Mapping[str, Any]:
        if asked.path == "metadata":
            return statement
        if asked.path.startswith("Patient/") and asked.path not in patients:
            return {
                "resourceType": "Patient",
                "id": asked.path.partition("/")[2],
                "meta": {"versionId": "1", "lastUpdated": stamp(0)},
            }
        return held.read(asked) if "/" in asked.path else held.search(asked)

    return script


@contextmanager
def served(rows: Sequence[tuple[str, str, str, bytes]], version: str = "R4") -> Any:
    """A running server of these rows."""
    with Scripted(lambda asked: b"") as server:
        server.script = script_of(lambda: server.base_url, rows, version)
        yield server


def configure(server: Scripted, folder: Path, **more: Any) -> Path:
    """The configuration of one source."""
    source = {
        "name": "s",
        "base_url": server.base_url,
        "limits": {"retries": 0, "calls_per_minute": 0},
        **more,
    }
    whole = {"ledger": "ledger.db", "namespace": "corpus", "sources": [source]}
    path = folder / "baton.yaml"
    path.write_text(yaml.safe_dump(whole), encoding="utf-8")
    return path


def sync(config: Path, capsys: Capsys) -> Pass:
    """``baton sync --json``."""
    code = main(["-c", str(config), "sync", "--json"])
    said = capsys.readouterr()
    assert "Traceback" not in said.err and "fault of Baton's own" not in said.err, said.err
    return Pass(code, json.loads(said.out) if said.out else {}, said.err)


def snapshots(config: Path, refs: Sequence[str]) -> dict[str, Snapshot]:
    """What the ledger holds under these refs."""
    from adapter.app import open_ledger

    with open_ledger(load(config)) as ledger:
        return dict(ledger.snapshots("s", refs))


def quarantine(config: Path) -> list[Any]:
    """The ledger's quarantine."""
    from adapter.app import open_ledger

    with open_ledger(load(config)) as ledger:
        return list(ledger.quarantine("s"))

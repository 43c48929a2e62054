"""A small hospital behind a server, and Baton's command line before it: what the tests of faults stand on.

Three patients have an order each, ten days old and without a visit: three tasks. Whatever happened before, the
next good pass has to end with exactly those.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from adapter.cli import main
from adapter.sandbox import Sandbox
from tests.faults.scripted import Asked, Said, Scripted

Answer = Said | bytes | dict[str, Any]
Meddle = Callable[[Asked], Answer | None]


@dataclass(frozen=True, slots=True)
class Told:
    """How a verb ended and what it said."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """What ``--json`` printed."""
        return json.loads(self.out)

    @property
    def errors(self) -> list[str]:
        """The errors of the first source of a ``sync --json``."""
        found: list[str] = self.json()["sources"][0]["errors"]
        return found

    def sentence(self) -> str:
        """The one sentence of a verb that failed: its place before the arrow, its remedy after it."""
        lines = self.err.strip().splitlines()
        assert len(lines) == 1 and lines[0].startswith("baton: "), self.err
        assert " → " in lines[0], f"no remedy: {lines[0]}"
        return lines[0]


@dataclass
class Hospital:
    """A sandbox with its three orders, a front through which Baton speaks to it, a configuration, a ledger."""

    sandbox: Sandbox
    folder: Path
    capsys: pytest.CaptureFixture[str]
    front: Scripted = field(init=False)
    meddle: Meddle | None = None
    _through: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        self._through = httpx.Client(trust_env=False, timeout=60)
        self.front = Scripted(self._answer)
        for number in (1, 2, 3):
            self.sandbox.put({"resourceType": "Patient", "id": f"p{number}", "active": True})
            self.sandbox.put(order(f"o{number}", f"p{number}"))

    @property
    def config(self) -> Path:
        return self.folder / "baton.yaml"

    @property
    def ledger(self) -> Path:
        return self.folder / "ledger.db"

    def configure(self, *, namespace: str = "faults", ledger: str = "ledger.db", **more: Any) -> Path:
        """Write the configuration of one source; ``more`` are its keys."""
        source = {
            "name": "ehr",
            "base_url": self.front.base_url,
            "aliases": [self.sandbox.base_url],
            "environment": "test",
            "write_back": True,
            "limits": {"retries": 0, "calls_per_minute": 0},
            **more,
        }
        whole = {"namespace": namespace, "ledger": ledger, "sources": [source]}
        self.config.write_text(yaml.safe_dump(whole), encoding="utf-8")
        return self.config

    def baton(self, *arguments: str, config: Path | None = None) -> Told:
        """One verb, in this process."""
        self.capsys.readouterr()
        code = main(["-c", str(config or self.config), *arguments])
        said = self.capsys.readouterr()
        told = Told(code, said.out, said.err)
        assert "Traceback" not in told.err and "fault of Baton's own" not in told.err, told.err
        return told

    def sync(self) -> Told:
        """``baton sync --json``."""
        return self.baton("sync", "--json")

    def failed(self) -> str:
        """A pass that has to fail with one error: that error, with a remedy."""
        told = self.sync()
        (error,) = told.errors
        assert told.code == 1, told
        assert " → " in error, f"no remedy: {error}"
        return error

    def ends_right(self) -> None:
        """The fault is over: a good pass makes the three tasks, a second one nothing; the ledger is sound."""
        self.meddle = None
        told = self.sync()
        assert (told.code, told.errors) == (0, []), told
        assert self.tasks() == {"ServiceRequest/o1", "ServiceRequest/o2", "ServiceRequest/o3"}
        again = self.sync()
        assert (again.code, again.errors) == (0, [])
        assert again.json()["writes"]["Task"] == 0 and sum(again.json()["tasks"].values()) == 0
        assert self.baton("ledger", "check").code == 0 and self.baton("ledger", "rebuild").code == 0

    def tasks(self) -> set[str]:
        """The order of each Task that stands at the server, open or not, each once: o1 is p1's."""
        found = [f"ServiceRequest/o{task['for']['reference'][-1]}" for task in self.sandbox.all("Task")]
        assert len(found) == len(set(found)), "one need, one Task"
        return set(found)

    def _answer(self, asked: Asked) -> Answer:
        said = self.meddle(asked) if self.meddle else None
        return self.real(asked) if said is None else said

    def real(self, asked: Asked) -> Said:
        """What the server itself would say."""
        kept = {
            name: value
            for name, value in asked.headers.items()
            if name not in ("host", "content-length", "accept-encoding", "connection")
        }
        url = f"{self.sandbox.base_url}/{asked.path}".rstrip("/")
        answer = self._through.request(
            asked.method, url, params=list(asked.query), headers=kept, content=asked.body
        )
        names = ("etag", "location", "last-modified", "content-location")
        headers = {name: value for name in names if (value := answer.headers.get(name))}
        return Said(answer.content, answer.status_code, headers, answer.headers.get("content-type", ""))

    def close(self) -> None:
        self._through.close()


def order(id: str, patient: str, **more: Any) -> dict[str, Any]:
    """A referral, ten days old, for which no visit is booked."""
    return {
        "resourceType": "ServiceRequest",
        "id": id,
        "status": "active",
        "intent": "order",
        "authoredOn": (datetime.now(UTC) - timedelta(days=10)).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "category": [{"coding": [{"system": "http://snomed.info/sct", "code": "3457005"}]}],
        "code": {"text": "Visit"},
        "subject": {"reference": f"Patient/{patient}"},
        **more,
    }

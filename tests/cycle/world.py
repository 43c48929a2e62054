"""A Baton on a FHIR server, and a coordinator at the same server: what the tests of the whole cycle stand on."""

from __future__ import annotations

import secrets
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from adapter import notes
from adapter.app import App, SyncReport
from adapter.clock import Clock, SystemClock
from adapter.sandbox.cohort import cohort
from adapter.settings import load
from tests.conftest import FhirServer

RUN_TAG = "urn:baton:run"


@dataclass
class World:
    """One run on one server: everything that it seeds and writes bears its run id."""

    server: FhirServer
    folder: Path
    run: str
    clock: Clock
    source: str = "general"

    @classmethod
    def made(cls, server: FhirServer, folder: Path, clock: Clock | None = None) -> World:
        return cls(server, folder, f"t{secrets.token_hex(4)}", clock or SystemClock())

    @property
    def config(self) -> Path:
        return self.folder / "baton.yaml"

    def configure(self, **more: Any) -> None:
        """Write the configuration; ``more`` are keys of the source."""
        tag = f"_tag={RUN_TAG}|{self.run}"
        source = {
            "name": "general",
            "base_url": self.server.base_url,
            "environment": "test",
            "write_back": True,
            "timezone": "UTC",
            "token_env": "BATON_TEST_TOKEN",
            "headers": dict(self.server.headers),
            "search": {t: tag for t in ("Appointment", "ServiceRequest", "CoverageEligibilityResponse")},
            **more,
        }
        whole = {
            "namespace": self.run,
            "ledger": str(self.folder / "ledger.db"),
            "sources": [source],
        }
        self.config.write_text(yaml.safe_dump(whole), encoding="utf-8")

    def seed(self) -> list[dict[str, Any]]:
        """Put the cohort there as the hospital's own systems would."""
        resources = cohort(datetime.now(UTC), UTC, run=self.run)
        for resource in resources:
            self.server.put(resource)
        return resources

    def sync(self, **options: Any) -> SyncReport:
        """One pass."""
        with self.app() as app:
            return app.sync(**options)

    def app(self) -> App:
        return App.open(load(self.config), clock=self.clock)

    def an_hour_passes(self) -> None:
        """What was read of Patients for open work is old now."""
        with self.app() as app:
            source, ledger = self.source, app.ledger
            old = app.engine(source).now - timedelta(hours=2)
            ledger.keep_note(notes.patients_asked(source), old.isoformat())
            for task in ledger.tasks(source, open_only=True):
                ledger.record_read(
                    source, task.patient, "Patient", at=old, seq=ledger.seq.next(), complete=True
                )

    def tasks(self, *, all: bool = True) -> list[dict[str, Any]]:
        """The ledger's tasks."""
        with self.app() as app:
            return app.task_rows(all=all)

    def written(self, type: str = "Task") -> dict[str, dict[str, Any]]:
        """What Baton wrote, as the server has it now, by id."""
        system = {"Task": "task", "CarePlan": "plan"}[type]
        query = {"identifier": f"urn:baton:{self.run}:{system}|", "_count": "200"}
        answer = self.server.ehr.get(type, params=query, headers={"Cache-Control": "no-cache"})
        assert answer.status_code == 200, answer.text
        found = [entry["resource"] for entry in answer.json().get("entry", [])]
        return {resource["id"]: resource for resource in found}

    def edit(self, ref: str, **changes: Any) -> dict[str, Any]:
        """A person changes a resource in the EHR."""
        body = self.server.get(ref)
        for name, value in changes.items():
            if value is None:
                body.pop(name, None)
            else:
                body[name] = value
        return self.server.put(body)

    def by_patient(self) -> dict[str, set[str]]:
        """Task codes of open tasks by patient."""
        found: dict[str, set[str]] = defaultdict(set)
        for row in self.tasks(all=False):
            found[row["patient"]].add(row["code"])
        return dict(found)

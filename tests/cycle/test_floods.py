"""What an edited mapping would do to many waits for a person; the hospital's own day does not."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from adapter.app import App
from adapter.reconcile import guards
from adapter.sandbox import Sandbox
from adapter.settings import load, packaged

PEOPLE = 12


def order(number: int, **more: Any) -> dict[str, Any]:
    return {
        "resourceType": "ServiceRequest",
        "id": f"o{number}",
        "status": "active",
        "intent": "order",
        "category": [{"coding": [{"system": "http://snomed.info/sct", "code": "3457005"}]}],
        "code": {"text": "Cardiology"},
        "subject": {"reference": f"Patient/p{number}"},
        "authoredOn": (datetime.now(UTC) - timedelta(days=12)).strftime("%Y-%m-%dT%H:%M:%SZ"),
        **more,
    }


class Clinic:
    """A sandbox, a folder of mappings that can be edited, and a ledger."""

    def __init__(self, sandbox: Sandbox, folder: Path) -> None:
        self.sandbox, self.folder, self.mappings = sandbox, folder, folder / "mappings"
        shutil.copytree(packaged("mappings"), self.mappings)
        source = {"name": "general", "base_url": sandbox.base_url, "write_back": True, "live_over": 0}
        config = {
            "namespace": "floods",
            "ledger": str(folder / "ledger.db"),
            "mappings": str(self.mappings),
            "sources": [source],
        }
        (folder / "baton.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")

    def app(self) -> App:
        return App.open(load(self.folder / "baton.yaml"))

    def sync(self) -> Any:
        with self.app() as app:
            return app.sync()

    def edit_rule(self) -> None:
        file = self.mappings / "referral.yaml"
        text = file.read_text(encoding="utf-8")
        assert "when: status = 'active' and kind()" in text
        file.write_text(
            text.replace("when: status = 'active' and kind()", "when: status = 'draft' and kind()"), "utf-8"
        )

    def open_tasks(self) -> int:
        return sum(task["status"] == "requested" for task in self.sandbox.all("Task"))


@pytest.fixture
def clinic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Clinic]:
    monkeypatch.setattr(guards, "LIMIT", 10)
    with Sandbox() as sandbox:
        made = Clinic(sandbox, tmp_path)
        for number in range(PEOPLE):
            sandbox.put({"resourceType": "Patient", "id": f"p{number}", "active": True})
            sandbox.put(order(number))
        made.sync()
        assert made.open_tasks() == PEOPLE
        yield made


def test_an_edited_mapping_that_withdraws_many_waits_and_all_else_goes_on(clinic: Clinic) -> None:
    clinic.edit_rule()
    clinic.sandbox.put({"resourceType": "Patient", "id": "p99", "active": True})
    visit = {
        "resourceType": "Appointment",
        "id": "new",
        "status": "pending",
        "created": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "start": (datetime.now(UTC) + timedelta(days=3)).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "end": (datetime.now(UTC) + timedelta(days=3, hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "participant": [{"actor": {"reference": "Patient/p99"}, "status": "needs-action"}],
    }
    clinic.sandbox.put(visit)
    report = clinic.sync()
    assert len(report.holds) == 1 and report.exit_code == 3
    assert report.tasks["withdrawn"] == 0
    assert clinic.open_tasks() == PEOPLE + 1, "the unrelated visit's task went out"
    again = clinic.sync()
    assert again.tasks["withdrawn"] == 0 and again.holds == [], "it is held once, not anew each pass"

    with clinic.app() as app:
        (held,) = app.ledger.holds()
        assert (held.direction, held.count, held.cause) == ("withdraw", PEOPLE, "edition")
        app.release_hold(held.id)
    assert clinic.sync().tasks["withdrawn"] == PEOPLE
    assert clinic.open_tasks() == 1


def test_the_hospitals_own_flood_goes_out(clinic: Clinic) -> None:
    for number in range(PEOPLE):
        clinic.sandbox.edit(f"ServiceRequest/o{number}", status="revoked")
    report = clinic.sync()
    assert report.tasks["withdrawn"] == PEOPLE and report.holds == []
    assert clinic.open_tasks() == 0

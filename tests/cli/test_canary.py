"""A canary patient: what only she bears must appear in no output but those that show patient data on purpose."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from adapter.cli import main
from adapter.sandbox import Sandbox

CANARY = ("Zanzibarelli", "555-0199-221", "MRN-CANARY-77", "Elmcanary Street")
VERBS = [
    ["check"], ["sync"], ["sync", "--json"], ["outbox", "list"], ["outbox", "list", "--json"], ["quarantine", "list"],
    ["quarantine", "list", "--json"], ["hold", "list"], ["ledger", "check"], ["ledger", "rebuild"],
    ["pause"], ["resume"],
    ["withdraw", "--rule", "schedule-referral", "--json"],
]  # fmt: skip


def order(id: str, **more: object) -> dict[str, object]:
    return {
        "resourceType": "ServiceRequest",
        "id": id,
        "intent": "order",
        "authoredOn": (datetime.now(UTC) - timedelta(days=10)).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "category": [{"coding": [{"system": "http://snomed.info/sct", "code": "3457005"}]}],
        "code": {"text": "Visit"},
        "note": [{"text": f"{CANARY[0]} of {CANARY[3]}"}],
        "subject": {"reference": "Patient/c1", "display": CANARY[0]},
        **more,
    }


def test_nothing_of_her_is_printed_or_logged(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.chdir(tmp_path)
    with Sandbox() as sandbox:
        sandbox.put(
            {
                "resourceType": "Patient",
                "id": "c1",
                "active": True,
                "name": [{"family": CANARY[0]}],
                "telecom": [{"value": CANARY[1]}],
                "identifier": [{"system": "urn:mrn", "value": CANARY[2]}],
                "address": [{"line": [CANARY[3]]}],
            }
        )
        sandbox.put(order("o1", status="active"))
        sandbox.put(order("broken"))  # without a status: quarantine
        source = {"name": "s", "base_url": sandbox.base_url, "write_back": True}
        whole = {"ledger": "ledger.db", "namespace": "n", "sources": [source]}
        Path("b.yaml").write_text(yaml.safe_dump(whole), encoding="utf-8")
        said = f"cannot take {CANARY[0]} {CANARY[2]}"
        sandbox.faults.plan("status", status=422, method="PUT", type="Task", times=1, text=said)
        codes = []
        for verb in VERBS:
            codes.append(main(["-c", "b.yaml", *verb]))
            told = capsys.readouterr()
            for mark in CANARY:
                assert mark not in told.out + told.err, f"{verb} tells {mark}"
        assert codes[1] == 3, "one in quarantine and one parked wait for a person"
    for mark in CANARY:
        assert mark not in caplog.text
        assert not any(mark in path.name for path in tmp_path.rglob("*"))

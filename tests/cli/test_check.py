"""What ``check`` tells beside the server's own abilities: unmapped codes with their counts, what is paused."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from adapter.app import App
from adapter.cli import main
from adapter.sandbox import Sandbox
from adapter.settings import load


def _order(id: str, code: str, **more: Any) -> dict[str, Any]:
    coding = {"system": "urn:lab", "code": code}
    return {
        "resourceType": "ServiceRequest",
        "id": id,
        "status": "active",
        "intent": "order",
        "subject": {"reference": "Patient/p"},
        "authoredOn": f"{datetime.now(UTC) - timedelta(days=20):%Y-%m-%d}",
        "code": {"coding": [coding]},
        **more,
    }


def _stay(id: str) -> dict[str, Any]:
    seen = {"resourceType": "Encounter", "status": "finished", "class": {"code": "AMB"}}
    return {**seen, "id": id, "subject": {"reference": "Patient/p"}}


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as server:
        server.put({"resourceType": "Patient", "id": "p"})
        for n in range(3):
            server.put(_order(f"o{n}", "ODD"))
        server.put(_order("done", "ODD", status="completed"))
        server.put(_order("once", "RARE"))
        yield server


def _config(folder: Path, server: Sandbox, **more: Any) -> str:
    source = {"name": "ehr", "base_url": server.base_url, "environment": "test", **more}
    file = folder / "baton.yaml"
    whole = {"ledger": str(folder / "ledger.db"), "namespace": "n", "sources": [source]}
    file.write_text(yaml.safe_dump(whole), encoding="utf-8")
    return str(file)


def test_codes_that_no_rule_knows_are_listed_with_their_counts(
    sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = _config(tmp_path, sandbox)
    assert main(["-c", config, "sync"]) == 0
    assert main(["-c", config, "check"]) == 0
    said = capsys.readouterr().out
    assert said.index("3 × order-kind urn:lab|ODD") < said.index("1 × order-kind urn:lab|RARE")


def test_a_mapped_code_is_listed_no_more(
    sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = _config(tmp_path, sandbox, codes={"order-kind": {"urn:lab|ODD": "referral"}})
    main(["-c", config, "sync"])
    main(["-c", config, "check"])
    said = capsys.readouterr().out
    assert "urn:lab|ODD" not in said and "urn:lab|RARE" in said


def test_orders_whose_encounter_cannot_be_found_are_counted(
    sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    referral = [{"coding": [{"system": "http://snomed.info/sct", "code": "3457005"}]}]
    sandbox.put(_stay("e"))
    for id, stay in (("lost", "Encounter/nowhere"), ("found", "Encounter/e")):
        sandbox.put(_order(id, "ODD", category=referral, encounter={"reference": stay}))
    config = _config(tmp_path, sandbox)
    assert main(["-c", config, "sync"]) == 0
    assert main(["-c", config, "check"]) == 0
    assert "active orders whose encounter this EHR does not give: 1;" in capsys.readouterr().out
    sandbox.put(_stay("nowhere"))
    with App.open(load(Path(config))) as app:
        app.engine("ehr").ledger.request_everyone("ehr", "sweep")
    assert main(["-c", config, "sync"]) == 0
    assert main(["-c", config, "check"]) == 0
    assert "whose encounter" not in capsys.readouterr().out


def test_what_is_paused_shows(sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = _config(tmp_path, sandbox)
    main(["-c", config, "sync"])
    main(["-c", config, "pause", "ehr"])
    main(["-c", config, "pause", "rebook-visit"])
    main(["-c", config, "check"])
    said = capsys.readouterr().out
    assert "writing is paused by a person" in said and "paused rules: rebook-visit" in said
    main(["-c", config, "resume", "ehr"])
    main(["-c", config, "resume", "rebook-visit"])
    capsys.readouterr()
    main(["-c", config, "check"])
    assert "paused" not in capsys.readouterr().out


def test_parameters_and_rules_that_no_mapping_has_are_a_fault_of_the_configuration(
    sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = _config(tmp_path, sandbox, parameters={"referal": {"open_after": "1d"}}, disabled=["rebook"])
    assert main(["-c", config, "sync"]) == 2
    said = capsys.readouterr().err
    assert "there is no mapping 'referal'" in said and "there is no rule 'rebook'" in said


def test_the_open_work_of_a_paused_rule_is_not_written(sandbox: Sandbox, tmp_path: Path) -> None:
    """What already waits in the outbox waits on; what ended goes out."""
    sandbox.put(_order("r", "ODD", priority="urgent"))
    more = {
        "codes": {"order-kind": {"urn:lab|ODD": "referral"}},
        "write_back": True,
        "live_from": "2020-01-01",
    }
    config = _config(tmp_path, sandbox, **more)
    with App.open(load(config)) as app:
        app.sync()
        tasks = {task["id"]: task for task in sandbox.all("Task")}
        one = f"Task/{next(iter(tasks))}"
        main(["-c", config, "pause", "schedule-referral"])
        sandbox.edit(one, silently=True, description="changed")
        app.ledger.want([f"Task/{id}" for id in tasks])
        app.sync()
        assert sandbox.get(one)["description"] == "changed"
        assert len(app.ledger.outbox()) == len(tasks)
        main(["-c", config, "resume", "schedule-referral"])
        app.sync()
        assert sandbox.get(one)["description"] != "changed"
        assert not app.ledger.outbox()

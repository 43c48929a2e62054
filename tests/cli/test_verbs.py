"""The command line: what it prints where, its exit codes, and that a user's mistake is no traceback."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from adapter.cli import main
from adapter.cli.main import cli
from adapter.sandbox import Sandbox
from adapter.sandbox.cohort import cohort

Run = Callable[..., tuple[int, str, str]]
README = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")
VERBS = [
    ["demo"], ["init"], ["check"], ["sync"], ["run"], ["status"], ["tasks"], ["explain"], ["baseline"], ["withdraw"],
    ["pause"], ["resume"],
    ["seed"], ["purge"], ["mappings", "check"], ["mappings", "test"], ["mappings", "list"], ["hold", "list"],
    ["hold", "release"], ["quarantine", "list"], ["quarantine", "show"], ["quarantine", "retry"],
    ["quarantine", "drop"], ["outbox", "list"], ["outbox", "retry"], ["ledger", "check"], ["ledger", "rebuild"],
    ["ledger", "export"],
]  # fmt: skip


@pytest.fixture
def baton(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BATON_CONFIG", raising=False)

    def run(*arguments: str) -> tuple[int, str, str]:
        code = main([str(a) for a in arguments])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as server:
        now = datetime.now(UTC)
        server.load(cohort(now, UTC, run="t"), at=now - timedelta(days=2))
        yield server


@pytest.fixture
def config(sandbox: Sandbox, tmp_path: Path) -> str:
    source = {"name": "general", "base_url": sandbox.base_url, "environment": "test", "write_back": True}
    whole = {"ledger": "ledger.db", "namespace": "cli", "sources": [source]}
    (tmp_path / "baton.yaml").write_text(yaml.safe_dump(whole), encoding="utf-8")
    return "baton.yaml"


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_every_verb_explains_itself_and_stands_in_the_readme(baton: Run, verb: list[str]) -> None:
    code, out, _ = baton(*verb, "--help")
    assert code == 0 and "Usage" in out
    assert f"baton {' '.join(verb)}" in README or f"`{' '.join(verb)}`" in README


def test_no_verb_is_missing_from_the_tests() -> None:
    named = {command.name or command.callback.__name__ for command in cli.registered_commands}  # type: ignore[union-attr]
    groups = {group.name for group in cli.registered_groups}
    assert named | groups == {verb[0] for verb in VERBS}


def test_a_first_day(baton: Run, config: str) -> None:
    assert baton("-c", config, "check")[0] == 0
    code, out, _ = baton("-c", config, "sync", "--dry-run", "--json")
    assert code == 0 and json.loads(out)["writes"]["Task"] >= 8
    code, out, _ = baton("-c", config, "sync", "--json")
    first = json.loads(out)
    assert code == 0
    assert first["sources"][0]["polled"]["Appointment"] == 21 and first["sources"][0]["errors"] == []
    assert set(first["tasks"]) == {"opened", "revised", "completed", "withdrawn", "held", "escalated"}
    assert set(first["writes"]) == {"Task", "CarePlan", "unchanged", "parked"}
    code, out, _ = baton("-c", config, "tasks", "--json")
    rows: list[dict[str, Any]] = json.loads(out)
    assert len(rows) == first["tasks"]["opened"] == first["writes"]["Task"]
    wanted = {
        "id", "code", "title", "status", "priority", "due", "source", "patient", "focus", "need", "reason",
        "performer", "written",
    }  # fmt: skip
    assert all(wanted <= row.keys() and row["written"] == f"Task/{row['id']}" for row in rows)
    for row in rows:
        code, out, _ = baton("-c", config, "explain", row["id"])
        assert code == 0
        for part in (row["title"], row["reason"], row["focus"], "rule ", "history", "opened", "next"):
            assert part in out
        assert f"says of {row['focus']}: to be done\n" in out
    for verb in (["hold", "list"], ["quarantine", "list"], ["outbox", "list"], ["baseline"]):
        code, out, _ = baton("-c", config, *verb, "--json")
        assert code == 0 and isinstance(json.loads(out), list)
    assert baton("-c", config, "ledger", "rebuild")[0] == 0
    assert baton("-c", config, "ledger", "check")[0] == 0
    assert baton("-c", config, "ledger", "export", "copy.db")[0] == 0


def test_what_waited_at_go_live_is_listed_with_the_day_of_its_turn(
    baton: Run, config: str, sandbox: Sandbox, tmp_path: Path
) -> None:
    at_once = json.loads(baton("-c", config, "sync", "--dry-run", "--json")[1])["tasks"]["opened"]
    path = tmp_path / config
    whole = yaml.safe_load(path.read_text("utf-8"))
    whole["sources"][0]["live_over"] = 10
    path.write_text(yaml.safe_dump(whole), "utf-8")
    assert baton("-c", config, "sync")[0] == 0
    opened = json.loads(baton("-c", config, "tasks", "--json")[1])
    waiting = [row for row in json.loads(baton("-c", config, "baseline", "--json")[1]) if row["opens"]]
    # What still has to be read for somebody is read when the turn comes, and is not listed before.
    assert opened and 0 < len(waiting) <= at_once - len(opened)
    assert all(row["why"] == "live_over" for row in waiting)
    assert {row["focus"] for row in waiting}.isdisjoint(task["focus"] for task in opened)
    assert waiting[0]["opens"][:10] in baton("-c", config, "baseline")[1]


def test_a_plan_is_written_of_what_is_still_true_and_nothing_else(
    baton: Run, config: str, sandbox: Sandbox, tmp_path: Path
) -> None:
    assert baton("-c", config, "sync", "--dry-run", "--plan", "plan.json")[0] == 0
    plan = json.loads((tmp_path / "plan.json").read_bytes())
    kept = [one for one in plan["writes"] if one["target"].startswith("Task/")][:3]
    (tmp_path / "plan.json").write_text(json.dumps({"writes": kept}), encoding="utf-8")
    assert sandbox.all("Task") == []
    assert baton("-c", config, "sync", "--apply", "plan.json")[0] == 0
    assert {f"Task/{task['id']}" for task in sandbox.all("Task")} == {one["target"] for one in kept}
    assert baton("-c", config, "sync", "--apply", "nothing.json")[0] == 2


def test_withdraw_lists_first_and_stays_silent_until_resumed(
    baton: Run, config: str, sandbox: Sandbox
) -> None:
    baton("-c", config, "sync")
    code, out, _ = baton("-c", config, "withdraw", "--rule", "schedule-referral", "--json")
    listed = json.loads(out)
    assert code == 0 and len(listed) >= 2
    assert all(task["status"] == "requested" for task in sandbox.all("Task"))
    assert baton("-c", config, "withdraw", "--rule", "schedule-referral", "--yes")[0] == 0
    baton("-c", config, "sync")
    gone = {task["id"] for task in sandbox.all("Task") if task["status"] == "cancelled"}
    assert gone == {row["id"] for row in listed}
    before = len(sandbox.all("Task"))
    baton("-c", config, "resume", "schedule-referral")
    baton("-c", config, "sync")
    assert len(sandbox.all("Task")) == before, "what was withdrawn by command stays silent"


def test_a_paused_source_writes_nothing(baton: Run, config: str, sandbox: Sandbox) -> None:
    baton("-c", config, "sync", "--dry-run")
    assert baton("-c", config, "pause")[0] == 0
    baton("-c", config, "sync")
    assert sandbox.all("Task") == []
    assert baton("-c", config, "resume", "general")[0] == 0
    baton("-c", config, "sync")
    assert len(sandbox.all("Task")) >= 8


def test_what_cannot_be_read_waits_for_a_person(baton: Run, config: str, sandbox: Sandbox) -> None:
    sandbox.put({"resourceType": "ServiceRequest", "id": "broken", "intent": "order"})
    code, out, _ = baton("-c", config, "sync", "--json")
    assert code == 3 and json.loads(out)["sources"][0]["quarantined"] == 1
    (entry,) = json.loads(baton("-c", config, "quarantine", "list", "--json")[1])
    assert entry["type"] == "ServiceRequest" and entry["reason"]
    assert "broken" in baton("-c", config, "quarantine", "show", entry["id"])[1]
    assert baton("-c", config, "quarantine", "retry", entry["id"])[0] == 3
    sandbox.edit("ServiceRequest/broken", status="draft", subject={"reference": "Patient/t-p01"})
    assert baton("-c", config, "quarantine", "retry", entry["id"])[0] == 0
    assert json.loads(baton("-c", config, "quarantine", "list", "--json")[1]) == []


def test_init_draws_a_namespace_and_never_overwrites(baton: Run, tmp_path: Path) -> None:
    assert baton("init")[0] == 0
    first = yaml.safe_load((tmp_path / "config/baton.yaml").read_text(encoding="utf-8"))
    assert len(first["namespace"]) == 16
    assert baton("init")[0] == 2
    assert baton("init", "other.yaml")[0] == 0
    assert yaml.safe_load((tmp_path / "other.yaml").read_text("utf-8"))["namespace"] != first["namespace"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sourcs: []\nsources: [{name: a, base_url: 'http://x'}]", "bad.yaml:1:1: sourcs"),
        ("sources: [{name: a, base_url: 'ftp://x'}]", "base_url"),
        ("sources: [{name: a, base_url: 'http://x', token_env: NO_SUCH_VARIABLE}]", "NO_SUCH_VARIABLE"),
        ("sources: [", "bad.yaml"),
        ("", "bad.yaml"),
    ],
)
def test_a_wrong_configuration_is_told_with_its_place(
    baton: Run, tmp_path: Path, text: str, said: str
) -> None:
    (tmp_path / "bad.yaml").write_text(text, encoding="utf-8")
    code, out, err = baton("-c", "bad.yaml", "sync", "--json")
    assert (code, out) == (2, "") and said in err and "Traceback" not in err


@pytest.mark.parametrize(
    "arguments",
    [
        ["nosuch"], ["tasks"], ["sync", "--plan", "x"], ["explain", "b-none-1"], ["quarantine", "show", "7"],
        ["quarantine", "drop", "7"], ["outbox", "retry", "Task/none"], ["withdraw", "--rule", "none"],
        ["pause", "none"], ["seed", "--source", "none"], ["mappings", "check", "no-such-folder"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_wrong_use_is_exit_code_two_and_one_sentence(baton: Run, config: str, arguments: list[str]) -> None:
    named = [] if arguments in (["tasks"], ["nosuch"]) else ["-c", config]
    code, out, err = baton(*named, *arguments)
    assert code == 2 and out == ""
    assert err.startswith("baton: ") and "Traceback" not in err


def test_a_server_that_is_not_there_is_exit_code_one(baton: Run, tmp_path: Path) -> None:
    text = "ledger: l.db\nsources: [{name: a, base_url: 'http://127.0.0.1:9/fhir', limits: {retries: 0}}]"
    (tmp_path / "c.yaml").write_text(text, encoding="utf-8")
    code, out, err = baton("-c", "c.yaml", "sync", "--json")
    assert code == 1 and "no server answers" in json.loads(out)["sources"][0]["errors"][0]
    assert "Traceback" not in err


def test_test_verbs_refuse_a_production_source(baton: Run, sandbox: Sandbox, tmp_path: Path) -> None:
    text = f"ledger: l.db\nnamespace: n\nsources: [{{name: a, base_url: '{sandbox.base_url}'}}]"
    (tmp_path / "c.yaml").write_text(text, encoding="utf-8")
    for verb in (["seed"], ["purge", "t"]):
        code, _, err = baton("-c", "c.yaml", *verb)
        assert code == 2 and "production" in err


def test_seeds_and_what_was_written_about_them_can_be_taken_out(
    baton: Run, config: str, sandbox: Sandbox
) -> None:
    before = {kind: number for kind, number in sandbox.count().items() if number}
    run = baton("-c", config, "seed")[1].partition("urn:baton:run|")[2].split()[0]
    baton("-c", config, "sync")
    code, out, err = baton("-c", config, "purge", run, "--json")
    assert code == 0, err
    assert json.loads(out)["Task"] >= 8 and json.loads(out)["Patient"] == 25
    left = {kind: number for kind, number in sandbox.count().items() if number}
    others = {kind: left.pop(kind) for kind in ("Task", "CarePlan", "Device")}
    assert left == before, "the other cohort stays"
    assert others["Task"] >= 8, "and so does what was written about it"


def test_the_demo_tells_its_story(baton: Run) -> None:
    code, out, err = baton("demo")
    assert code == 0, err
    for part in (
        "sandbox",
        "Schedule CT of the chest",
        "completed by person",
        "completed by evidence",
        "nothing changed",
    ):
        assert part in out
    assert out.rstrip().splitlines()[-1].startswith("Done in")


def test_no_patient_name_is_printed_by_any_list(baton: Run, config: str, sandbox: Sandbox) -> None:
    families = {name["family"] for p in sandbox.all("Patient") for name in p.get("name", [])}
    givens = {
        given for p in sandbox.all("Patient") for name in p.get("name", []) for given in name.get("given", [])
    }
    for verb in (
        ["check"],
        ["sync"],
        ["outbox", "list"],
        ["quarantine", "list"],
        ["hold", "list"],
        ["ledger", "check"],
    ):
        _, out, err = baton("-c", config, *verb)
        for name in families | givens:
            assert name not in out and name not in err

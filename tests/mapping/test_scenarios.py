"""The shipped scenario files, and that a scenario can fail."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from adapter.errors import MappingError
from adapter.reconcile.scenarios import Result, run, run_one
from tests.mapping.making import MAPPINGS, order, shipped

RESULTS = run(MAPPINGS, shipped())


@pytest.mark.parametrize("result", RESULTS, ids=lambda result: f"{result.file}: {result.name}")
def test_shipped_scenarios(result: Result) -> None:
    assert result.problems == ()


def test_every_rule_speaks_and_is_silent_in_two_at_least() -> None:
    from adapter.mapping.yaml_lines import parse

    speaks: Counter[str] = Counter()
    silent: Counter[str] = Counter()
    for path in (MAPPINGS / "scenarios").glob("*.scenarios.yaml"):
        value: Any = parse(path.read_text("utf-8"), path.name).value
        for scenario in value["scenarios"]:
            speaks.update(told["rule"] for told in scenario["expect"])
            silent.update(scenario.get("none") or [])
    for rule in shipped().rules:
        assert speaks[rule.id] >= 2, rule.id
        assert silent[rule.id] >= 2, rule.id


WRONG: dict[str, dict[str, Any]] = {
    "opens and is not expected": {"expect": []},
    "does not open": {"expect": [{"rule": "obtain-result", "focus": "ServiceRequest/o1"}]},
    "another day": {
        "expect": [{"rule": "schedule-referral", "focus": "ServiceRequest/o1", "due": "2025-12-17"}]
    },
    "another title": {"expect": [{"rule": "schedule-referral", "focus": "ServiceRequest/o1", "title": "x"}]},
    "no silence": {
        "expect": [{"rule": "schedule-referral", "focus": "ServiceRequest/o1"}],
        "none": ["schedule-referral"],
    },
    "no such rule": {
        "expect": [{"rule": "schedule-referral", "focus": "ServiceRequest/o1"}],
        "none": ["nothing"],
    },
    "misspelt key": {"expects": []},
    "nothing missing": {
        "expect": [{"rule": "schedule-referral", "focus": "ServiceRequest/o1"}],
        "missing": ["Appointment"],
    },
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_scenario_fails(name: str) -> None:
    scenario = {"name": name, "now": "2025-12-08T10:00:00-05:00", "given": {"ServiceRequest/o1": order()}}
    assert not run_one({**scenario, **WRONG[name]}, shipped()).passed


def test_a_dead_patient_opens_nothing() -> None:
    scenario = {
        "now": "2025-12-08T10:00:00-05:00",
        "given": {"ServiceRequest/o1": order(), "Patient/p1": {"active": True, "deceasedBoolean": True}},
        "expect": [],
    }
    assert run_one(scenario, shipped()).passed


def test_a_broken_scenario_file_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "x.scenarios.yaml").write_text("scenarios: {", "utf-8")
    with pytest.raises(MappingError):
        run(tmp_path, shipped())
    (tmp_path / "x.scenarios.yaml").write_text("scenario: []\n", "utf-8")
    with pytest.raises(MappingError):
        run(tmp_path, shipped())


def _told() -> list[dict[str, Any]]:
    from adapter.mapping.yaml_lines import parse

    found: list[dict[str, Any]] = []
    for path in sorted((MAPPINGS / "scenarios").glob("*.scenarios.yaml")):
        value: Any = parse(path.read_text("utf-8"), path.name).value
        found += value["scenarios"]
    return found


def _is_silent(scenario: dict[str, Any]) -> bool:
    steps = [scenario, *scenario.get("then", [])]
    return not any(step.get("expect") for step in steps)


def test_every_line_has_four_cases_and_half_of_them_make_no_task() -> None:
    lines: dict[str, list[bool]] = {}
    for scenario in _told():
        if "line" in scenario:
            lines.setdefault(scenario["line"], []).append(_is_silent(scenario))
    assert set(lines) == {
        "links", "which orders count", "patient guards", "one need, one task", "going live", "absent is unknown",
        "local codes", "floods", "words", "withdrawing",
    }  # fmt: skip
    for line, silent in lines.items():
        assert len(silent) >= 4 and sum(silent) * 2 >= len(silent), (line, len(silent), sum(silent))


def test_every_rule_has_four_cases_and_half_of_them_are_silent() -> None:
    rows: dict[str, list[bool]] = {}
    for scenario in _told():
        assert ("row" in scenario) != ("line" in scenario), scenario["name"]
        if "row" in scenario:
            rule = scenario["row"]
            rows.setdefault(rule, []).append(all(one["rule"] != rule for one in scenario["expect"]))
    assert set(rows) == {rule.id for rule in shipped().rules}
    for rule, silent in rows.items():
        assert len(silent) >= 4 and 2 <= sum(silent) < len(silent) <= sum(silent) * 2, (rule, silent)


def test_a_later_step_sees_what_stood_before() -> None:
    closed = {"now": "2025-12-09T10:00:00-05:00", "given": {"ServiceRequest/o1": order(status="revoked")}}
    scenario = {
        "now": "2025-12-08T10:00:00-05:00",
        "given": {"ServiceRequest/o1": order()},
        "expect": [{"rule": "schedule-referral", "focus": "ServiceRequest/o1"}],
        "then": [{**closed, "expect": []}],
    }
    assert run_one(scenario, shipped()).passed
    wrong = {**scenario, "then": [{**closed, "expect": scenario["expect"]}]}
    assert run_one(wrong, shipped()).problems == (
        "step 2: schedule-referral does not open on ServiceRequest/o1",
    )

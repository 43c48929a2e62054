"""The shipped scenario files, and that a scenario can fail."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from adapter.errors import MappingError
from adapter.mapping.scenarios import Result, run, run_one
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

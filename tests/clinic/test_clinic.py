"""The simulated clinic at a twentieth of its size: what a coordinator gets of four weeks, and of the first sync.

The whole of it (20,000 patients, sixty working days) is ``python -m tests.clinic``.

At this size a day brings some five tasks, and chance weighs as it does with numbers so small: over thirteen seeds the
mean of ten days was 5.5 with a standard deviation of 0.8 (4.3 to 7.1), so that one clinic in ten breaks a bound of 6.5
by chance alone. Over twenty days, those in which what waited at go-live has its turn, it is one in thirty; and a seed
always makes the same clinic, so that what changes a figure here is a change of Baton's, or of the clinic.
"""

from __future__ import annotations

from collections import Counter
from math import sqrt
from pathlib import Path
from statistics import mean

import pytest

from adapter.mapping.loader import load
from adapter.settings import packaged
from tests.clinic.days import Days
from tests.clinic.hospital import Hospital
from tests.clinic.simulation import Outcome, simulate, without_bounds
from tests.clinic.table import A_DAY, table
from tests.clinic.volumes import PATIENTS, Volumes

SIZE = 1_000
BOUND = A_DAY * SIZE / PATIENTS
CHANCE = 4 * sqrt(BOUND)  # at a twentieth of the size a day is a small number, and chance weighs more

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """Half a year of history reaches as far as any rule looks back."""
    return simulate(tmp_path_factory.mktemp("clinic"), patients=SIZE, live_days=20, history=130, seed=7)


def test_the_clinic_is_as_busy_as_the_estimate_says(outcome: Outcome) -> None:
    hospital, start = outcome.hospital, outcome.days.history
    wanted = {"scheduled": 307, "kept": 216, "laboratory": 324, "answers": 576}
    for what, number in wanted.items():
        found = mean(hospital.happened[what, day] for day in range(start, start + outcome.live_days))
        assert found == pytest.approx(number * hospital.scale, rel=0.35), what


def test_a_day_brings_what_people_can_do(outcome: Outcome) -> None:
    days = outcome.by_day()
    assert mean(days) <= BOUND, table(outcome)
    assert max(days) <= BOUND + CHANCE, table(outcome)


def test_the_rules_are_not_silent_either(outcome: Outcome) -> None:
    codes = {task["code"] for task in (*outcome.first, *outcome.rest)}
    assert {"rebook-visit", "schedule-referral", "verify-coverage", "repeat-eligibility-check"} <= codes
    assert mean(outcome.by_day()) >= BOUND / 3


def test_one_need_has_one_open_task(outcome: Outcome) -> None:
    tasks = [task for task in (*outcome.first, *outcome.rest) if not task["closed_by"]]
    twice = [need for need, count in Counter((t["patient"], t["need"]) for t in tasks).items() if count > 1]
    assert twice == []


def test_a_recheck_that_repeats_itself_brings_nothing_back(outcome: Outcome) -> None:
    plan_level = ("obtain-authorization", "review-exclusion")
    own = [task for task in outcome.rest if task["code"] in plan_level]
    again = [task for task in own if task["generation"] > 1]
    # A few return by right: the payer's newest answer turned after somebody had closed the task.
    assert len(again) <= max(2, len(own) // 10), [task["id"] for task in again]


def test_nobody_calls_the_dead_or_test_patients(outcome: Outcome) -> None:
    hospital = outcome.hospital
    tests = [task for task in (*outcome.first, *outcome.rest) if task["patient"] == "Patient/p0"]
    assert tests == []  # p0 is labelled HTEST
    dead = {f"Patient/{id}" for id in hospital.dead}
    called = [task for task in outcome.rest if task["patient"] in dead and not task["closed_by"]]
    assert all(task["hold"] == "deceased" for task in called)


def test_a_pass_without_news_does_nothing(outcome: Outcome) -> None:
    assert outcome.idle == 0


def test_go_live_leaves_the_old_work_out(outcome: Outcome) -> None:
    assert outcome.unbounded, "the same rules without bounds open a backlog"
    assert len(outcome.first) < len(outcome.unbounded) / 10, table(outcome)
    assert len(outcome.first) <= 2 * BOUND + sqrt(2 * BOUND), table(outcome)


def test_the_copy_without_bounds_has_none(tmp_path: Path) -> None:
    edition = load(without_bounds(tmp_path / "mappings"), codes=packaged("config") / "codes")
    assert len(edition.rules) == len(load(packaged("mappings"), codes=packaged("config") / "codes").rules)
    assert all(rule.max_age is None and rule.lookback is None for rule in edition.rules)


def test_a_seed_makes_the_same_work(tmp_path: Path) -> None:
    """Baton's part is no other either: nothing that it draws by chance decides what opens, or when."""
    made = [
        simulate(tmp_path / name, patients=300, live_days=5, history=40, seed=3, unbounded=False)
        for name in ("one", "other")
    ]
    assert made[0].rest and made[0].rest == made[1].rest
    assert made[0].first == made[1].first


def test_a_seed_makes_the_same_clinic() -> None:
    made = [Hospital(Volumes(), 100, Days(20, 5), 3) for _ in range(2)]
    for hospital in made:
        hospital.run_until(hospital.days.at(25, 8))
    assert [list(h.ehr.all("Appointment")) for h in made[:1]] == [
        list(h.ehr.all("Appointment")) for h in made[1:]
    ]
    assert made[0].happened == made[1].happened

"""Loads in any order, with any type refused: nothing opens or is withdrawn for lack of data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapter.app import App
from adapter.sandbox import Habits, Sandbox
from adapter.sandbox.cohort import cohort
from adapter.settings import parse_settings

TYPES = (
    "Appointment",
    "ServiceRequest",
    "CoverageEligibilityResponse",
    "Coverage",
    "Encounter",
    "DiagnosticReport",
    "DocumentReference",
    "Patient",
)


@dataclass
class Clinic:
    sandbox: Sandbox
    folder: Path
    number: int = 0

    def baton(self) -> App:
        """A Baton with a ledger of its own, that writes nothing."""
        self.number += 1
        text = f"ledger: l{self.number}.db\nnamespace: n\nsources:\n  - {{name: s, base_url: '{self.sandbox.base_url}',"
        text += " environment: test, limits: {retries: 0}}\n"
        return App.open(parse_settings(text, self.folder / "baton.yaml"))


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clinic]:
    with Sandbox() as sandbox:
        now = datetime.now(UTC)
        sandbox.load(cohort(now, UTC, run="o"), at=now - timedelta(days=2))
        yield Clinic(sandbox, tmp_path_factory.mktemp("order"))


def tasks(app: App) -> dict[str, str]:
    """Open tasks: need → code."""
    return {row["need"]: row["code"] for row in app.task_rows()}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(refused=st.sets(st.sampled_from(TYPES), min_size=1, max_size=4))
def test_with_types_refused_nothing_opens_that_would_not_open_anyway(
    clinic: Clinic, refused: set[str]
) -> None:
    clinic.sandbox.habits = Habits()
    with clinic.baton() as app:
        app.sync()
        everything = tasks(app)
    clinic.sandbox.habits = Habits(refused={type: 403 for type in refused})
    with clinic.baton() as app:
        app.sync()
        blind = tasks(app)
        assert blind.items() <= everything.items(), "opened for lack of data"
        clinic.sandbox.habits = Habits()
        app.sync()
        assert tasks(app).keys() >= blind.keys()


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(refused=st.sets(st.sampled_from(TYPES), min_size=1, max_size=4))
def test_with_types_refused_later_nothing_is_withdrawn(clinic: Clinic, refused: set[str]) -> None:
    clinic.sandbox.habits = Habits()
    with clinic.baton() as app:
        app.sync()
        everything = tasks(app)
        clinic.sandbox.habits = Habits(refused={type: 403 for type in refused})
        app.ledger.request_everyone("s", "sweep")
        report = app.sync()
        assert report.tasks["withdrawn"] + report.tasks["completed"] == 0
        assert tasks(app) == everything

"""Clocks that are wrong: the server's counts, and a jump is believed when two answers agree (F58)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from adapter.clock import FixedClock
from adapter.sandbox import Sandbox
from tests.consistency.hospital import DAY, HOUR, START, Hospital, order, patient, text

YEAR = timedelta(days=365)


class WrongClock(FixedClock):
    """This machine's clock: off by ``wrong``; its monotonic reading is right."""

    def __init__(self, right: FixedClock) -> None:
        super().__init__(right.now())
        self.right = right
        self.wrong = timedelta(0)

    def now(self) -> datetime:
        return self.right.now() + self.wrong

    def monotonic(self) -> float:
        return self.right.monotonic()

    def sleep(self, seconds: float) -> None:
        self.right.sleep(seconds)


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Hospital]:
    """Its EHR goes by the right clock, Baton by one that a test can put wrong."""
    right = FixedClock(START)
    with Sandbox(clock=right) as ehr:
        made = Hospital(tmp_path, ehr, WrongClock(right), source={"live_from": text(START - 30 * DAY)[:10]})
        try:
            yield made
        finally:
            made.stop()


def _sync(town: Hospital, passing: timedelta = HOUR) -> None:
    assert isinstance(town.clock, WrongClock)
    town.clock.right.advance(passing)
    town.app.sync()


@pytest.mark.parametrize("wrong", [YEAR, -YEAR, timedelta(minutes=-10)])
def test_a_clock_that_is_a_year_ahead_opens_and_escalates_nothing(wrong: timedelta, town: Hospital) -> None:
    """One order waits for its day, one task for its date; the machine's clock says that both are long past."""
    assert isinstance(town.clock, WrongClock)
    town.ehr.put(patient())
    town.ehr.put(order("o1"))
    town.ehr.put(order("o2", authoredOn=text(START)))
    _sync(town)
    town.clock.wrong = wrong
    _sync(town)
    town.start()
    _sync(town)
    (task,) = town.tasks()
    assert task.focus == "ServiceRequest/o1" and task.steps == ()
    assert any("the clocks differ by" in line for line in town.app.check()[0].lines)


def test_a_date_that_jumps_alone_acts_on_nothing(town: Hospital) -> None:
    """A single answer bears a date a year ahead: nobody believes it until a second one agrees."""
    town.ehr.put(patient())
    town.ehr.put(order("o1"))
    town.ehr.put(order("o2", authoredOn=text(START)))
    _sync(town)
    clock = town.app.engine("general").client.clock
    before = clock.now()
    clock.heard(before + YEAR)
    assert abs(clock.now() - before) < timedelta(seconds=2)
    _sync(town)
    assert [(t.focus, t.steps) for t in town.tasks()] == [("ServiceRequest/o1", ())]


def test_a_server_whose_clock_jumped_is_believed_and_each_step_is_taken_once(town: Hospital) -> None:
    """A month ahead by every answer: deadlines act by it, in order, once; and nothing again when it falls back."""
    town.ehr.put(patient())
    town.ehr.put(order("o1"))
    _sync(town)
    town.ehr.habits.skew = 30 * DAY
    for _ in range(3):
        _sync(town)
    steps = town.only().steps
    assert len(steps) == 2
    town.ehr.habits.skew = timedelta(0)
    for _ in range(3):
        _sync(town)
    assert town.only().steps == steps and town.only().open

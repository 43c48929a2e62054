"""A coordinator's year: no deadline missed, none doubled, none out of order, through downtime, restarts and edits.

The clock is the test's. A few weeks around a change of the clock here; ``BATON_YEAR=1`` makes it 200 cases at a
time for 365 days.
"""

from __future__ import annotations

import os
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

from adapter.clock import FixedClock
from adapter.model import EventKind
from adapter.sandbox import Sandbox
from tests.consistency.hospital import Hospital, text
from tests.invariants.cases import Case, drawn, in_order
from tests.invariants.expected import Fate, fate

WHOLE = os.environ.get("BATON_YEAR") == "1"
CASES, DAYS = (200, 365) if WHOLE else (16, 32)
START = datetime(2026, 1, 2, 13, tzinfo=UTC) if WHOLE else datetime(2026, 2, 12, 13, tzinfo=UTC)
SEED = int(os.environ.get("BATON_SEED", "7"))


def _passes(random: Random) -> list[tuple[datetime, str]]:
    """When Baton looks, and how it fares: well, after a restart, or against a server that is down."""
    found, at, down = [], START, START
    while at < START + timedelta(days=DAYS + 10):
        at += timedelta(seconds=random.randrange(2 * 3600, 14 * 3600))
        if random.random() < 0.03:
            down = at + timedelta(hours=random.choice((2, 9, 30, 72)))
        if random.random() < 0.02:
            at += timedelta(hours=random.choice((8, 40, 80)))  # Baton itself is down
        found.append((at, "down" if at < down else "anew" if random.random() < 0.1 else ""))
    return found


def test_a_year_of_cases(tmp_path: Path) -> None:
    random = Random(SEED)
    cases = drawn(SEED, START, DAYS, CASES)
    clock = FixedClock(START - timedelta(days=1))
    with Sandbox(clock=clock) as ehr:
        ehr.put({"resourceType": "Practitioner", "id": "anna"})
        source = {
            "timezone": "America/New_York",
            "calendar": {"holidays": "US"},
            "live_from": text(START - timedelta(days=5))[:10],
            "limits": {
                "calls_per_minute": 0
            },  # a pass that waits for its budget looks a minute later than it began
        }
        town = Hospital(tmp_path, ehr, clock, source=source)
        try:
            good = _lived(town, cases, _passes(random))
            _compare(town, cases, good)
            assert town.ledger.check() == []
        finally:
            town.stop()


def _lived(town: Hospital, cases: list[Case], passes: list[tuple[datetime, str]]) -> list[datetime]:
    """Let everything happen; the passes that came through."""
    acts, good = in_order(cases), []
    waiting = next(acts, None)
    for at, how in passes:
        while waiting is not None and waiting[0] <= at:
            if waiting[0] > town.clock.now():
                town.clock.set(waiting[0])
            waiting[2](town.ehr, waiting[1])
            waiting = next(acts, None)
        town.clock.set(max(at, town.clock.now() + timedelta(seconds=1)))
        if how == "anew":
            town.start()
        town.ehr.faults.clear()
        if how == "down":
            town.ehr.faults.plan("status", status=503, times=10_000)
        now = town.clock.now().replace(microsecond=0)
        report = town.app.sync()
        assert report.failed == 0
        if how != "down":
            assert not report.sources[0].failed, report.sources[0].errors
            good.append(now)
        town.ehr.clear_requests()
    return good


def _second(at: datetime | None) -> datetime | None:
    """To the second, as servers tell the time: what the clock of the test is moved by beside that is no lateness."""
    return at.replace(microsecond=0) if at else None


def _compare(town: Hospital, cases: list[Case], good: list[datetime]) -> None:
    by_focus = Counter(task.focus for task in town.tasks())
    assert max(by_focus.values()) == 1, "doubled"
    rows = {task.focus: task for task in town.tasks()}
    wrong, seen = [], Counter[str]()
    for case in cases:
        wanted, task = fate(case, good), rows.get(case.focus)
        found = Fate()
        if task is not None:
            found.opened, found.due = _second(task.opened_at), task.due
            found.closed, found.by = _second(task.closed_at), task.closed_by
            events = town.ledger.task_events(task.id)
            known = 0
            for event in (e for e in events if e.kind is EventKind.ESCALATED):
                found.steps.append((event.at.replace(microsecond=0), len(event.set["steps"]) - known))
                known = len(event.set["steps"])
            assert len(set(task.steps)) == len(task.steps), "a step twice"
            if case.moved and found.opened and case.moved[0] > found.opened:
                wanted.due = case.moved[1] if "due" in task.mine else wanted.due
        if found != wanted:
            wrong.append((case, wanted, found))
        seen.update({"open": task is not None, "steps": len(found.steps), found.by or "none": 1})
    told = "\n".join(
        f"{case.kind} {case.priority} {case.begins}\n  {want}\n  {got}" for case, want, got in wrong[:5]
    )
    assert not wrong, f"{len(wrong)} of {len(cases)} cases: {told}"
    print(dict(seen), len(good), "passes")
    assert seen["open"] and seen["steps"] and seen["evidence"], seen
    assert seen["person"] or len(cases) < 100, "a whole year of cases has some that a person closes"

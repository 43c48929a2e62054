"""What the simulation shows, as text: volumes, tasks a day by rule, what closed them, and the first sync."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from statistics import mean, median

from tests.clinic.simulation import Outcome

A_DAY = 130  # of 20,000 patients, once live
FIRST_SHARE = 0.05
_SHOWN = {  # what happened → what section 3.1 says, mid
    "scheduled": "307",
    "kept": "216",
    "no-show": "24.6",
    "cancelled by patient": "54.3",
    "cancelled by provider": "12.3",
    "unsettled": "12",
    "referral": "20",
    "imaging": "30",
    "laboratory": "324",
    "answers": "576",
    "not in force": "23",
    "error": "35 with queued",
    "queued": "",
    "admitted": "8",
    "died": "",
    "merged": "",
}


def table(outcome: Outcome) -> str:
    """The whole report."""
    return "\n".join([*_volumes(outcome), "", *_tasks(outcome), "", *_closed(outcome), "", *_first(outcome)])


def _volumes(outcome: Outcome) -> Iterator[str]:
    hospital, start = outcome.hospital, outcome.days.history
    yield f"{'a day, mean of the live days':<32}{'here':>10}{'mid volume':>18}"
    for what, said in _SHOWN.items():
        found = [hospital.happened[what, day] for day in range(start, start + outcome.live_days)]
        yield f"{what:<32}{mean(found) / hospital.scale:>10.1f}{said:>18}"


def _tasks(outcome: Outcome) -> Iterator[str]:
    yield f"{'tasks opened a day':<32}{'mean':>8}{'median':>8}{'max':>8}{'in all':>8}"
    for code in [*outcome.codes, ""]:
        days = outcome.by_day(code)
        yield f"{code or 'all':<32}{mean(days):>8.1f}{median(days):>8.1f}{max(days):>8}{sum(days):>8}"
    yield f"open at the end: {outcome.open_at_end}; held since they came and went too often: {outcome.held}"


def _closed(outcome: Outcome) -> Iterator[str]:
    names = ("evidence", "person", "contrary", "clock", "patient", "")
    yield f"{'closed by':<32}" + "".join(f"{name or 'open':>10}" for name in names)
    tasks = [*outcome.first, *outcome.rest]
    for code in outcome.codes:
        found = Counter(task["closed_by"] for task in tasks if task["code"] == code)
        yield f"{code:<32}" + "".join(f"{found[name]:>10}" for name in names)
    again = sum(1 for task in tasks if task["generation"] > 1)
    yield f"tasks that name an older one of the same need: {again}"


def _first(outcome: Outcome) -> Iterator[str]:
    yield f"{'the first sync':<32}{'opens':>10}{'without bounds':>18}"
    bounded, free = (Counter(t["code"] for t in tasks) for tasks in (outcome.first, outcome.unbounded))
    for code in outcome.codes:
        yield f"{code:<32}{bounded[code]:>10}{free[code]:>18}"
    yield f"{'all':<32}{bounded.total():>10}{free.total():>18}"
    if free:
        yield f"share: {bounded.total() / free.total():.1%}"


def faults(outcome: Outcome) -> list[str]:
    """What is not as it has to be, one sentence each."""
    scale, days = outcome.hospital.scale, outcome.by_day()
    most, first = max(days), len(outcome.first)
    found = []
    if most > A_DAY * scale:
        over = sum(1 for day in days if day > A_DAY * scale)
        found.append(f"{most} tasks on one day, {over} days over {A_DAY * scale:.0f}")
    if first > 2 * A_DAY * scale:
        found.append(f"the first sync opens {first}, more than two days' worth ({2 * A_DAY * scale:.0f})")
    if outcome.unbounded and first > FIRST_SHARE * len(outcome.unbounded):
        found.append(f"the first sync opens {first} of {len(outcome.unbounded)}")
    return found

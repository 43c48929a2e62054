"""Stories of one person: resources change, turn up and go, types are unread for a while, time passes, somebody works at
the tasks; a look after each.

What a coordinator may rely on is asked after every look: what has to be done stands somewhere, what nobody needs
stands nowhere, what she did stays, and each task says why it is there.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from typing import Any

from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from adapter.facts.facts import Facts
from adapter.ledger.fold import fold
from adapter.mapping.calendar import calendar_of
from adapter.model import Chart, Event, EventKind, Plan, SnapshotState, Task, Words
from adapter.reconcile.changes import ONE_BUSINESS_DAY, Decision
from adapter.reconcile.needs import CLOSING, STANDING, Verdict, needs_of
from adapter.reconcile.reconciler import findings_of
from adapter.references import NO_BASES
from tests.mapping.making import shipped
from tests.reconcile.test_absence import TURNS_UP, lively
from tests.reconcile.test_history import decided
from tests.reconcile.test_short_cuts import (
    ALL_KNOWN,
    NOW,
    bodies,
    chart_of,
    edited,
    knowledge,
    moves,
    tasks_after,
    whole,
)


class Story:
    """The chart as it goes on: what the EHR holds, the ledger's tasks and their texts, the time."""

    def __init__(self, held: list[dict[str, Any]]) -> None:
        self.held = held
        self.gone: set[str] = set()
        self.tasks: tuple[Task, ...] = ()
        self.plans: dict[str, Plan] = {}
        self.words: dict[str, Words] = {}
        self.known = ALL_KNOWN
        self.now = NOW

    @property
    def open(self) -> list[Task]:
        return [task for task in self.tasks if task.open]

    def chart(self, now: datetime | None = None) -> Chart:
        chart = chart_of(self.held, self.known, self.tasks, now or self.now)
        chart = replace(chart, plans=tuple(self.plans.values()))
        for ref in self.gone & chart.snapshots.keys():
            dead = replace(chart.snapshots[ref], state=SnapshotState.DELETED)
            chart = replace(chart, snapshots={**chart.snapshots, ref: dead})
        return chart

    def look(self) -> Decision:
        decision = decided(self.chart())
        self.tasks = tasks_after(decision, self.tasks)
        self.words |= decision.words
        self.plans |= {plan.id: plan for plan in decision.plans}
        return decision

    def does(self, place: int, **values: Any) -> None:
        """Somebody changes one of the open tasks in the EHR."""
        if not self.open:
            return
        task = self.open[place % len(self.open)]
        mine = sorted(task.mine | set(values.pop("mine", ["status"])))
        at = self.now.isoformat()
        told = Event(task.id, EventKind.READ_BACK, self.now, {"touched_at": at, "mine": mine, **values})
        self.tasks = tuple(fold(t, told) if t.id == task.id else t for t in self.tasks)


def starts(story: Story, place: int) -> None:
    story.does(place, status="in-progress", started=True)


def finishes(story: Story, place: int) -> None:
    story.does(place, status="completed", closed_by="person", closed_at=story.now.isoformat())


def rejects(story: Story, place: int) -> None:
    story.does(place, status="rejected", closed_by="person", closed_at=story.now.isoformat())


def puts_off(story: Story, place: int) -> None:
    story.does(place, due=(story.now + timedelta(days=9)).isoformat(), mine=["due"])


Step = tuple[str, Any]
steps: st.SearchStrategy[list[Step]] = st.lists(
    st.one_of(
        st.tuples(st.just("changes"), moves),
        st.tuples(st.just("turns up"), st.one_of(*TURNS_UP.values())),
        st.tuples(st.just("goes"), st.integers(0, 20)),
        st.tuples(st.just("passes"), st.integers(1, 15 * 24)),
        st.tuples(st.just("is read"), st.one_of(knowledge, st.just(ALL_KNOWN))),
        st.tuples(st.sampled_from((starts, finishes, rejects, puts_off)), st.integers(0, 5)),
    ),
    max_size=6,
)


def _goes_on(story: Story, step: Step) -> None:
    what, how = step
    match what:
        case "changes":
            story.held = edited(story.held, how)
        case "turns up":
            story.held = [*story.held, how]
            story.gone.discard(f"{how['resourceType']}/{how['id']}")
        case "goes" if story.held:
            body = story.held[how % len(story.held)]
            story.gone.add(f"{body['resourceType']}/{body['id']}")
        case "goes":
            pass
        case "passes":
            story.now += timedelta(hours=how)
        case "is read":
            story.known = how
        case _:
            what(story, how)


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(lively(), bodies, steps, st.integers(0, 99))
def test_after_each_look_what_has_to_be_done_stands_and_nothing_else(
    live: list[Any], more: list[Any], then: list[Step], share: int
) -> None:
    story = Story([*more, *live])
    story.look()
    for step in then:
        _goes_on(story, step)
        before = {task.id: task for task in story.tasks}
        full = whole(story.chart())
        decision = story.look()
        assert (decision.events, decision.words) == (full.events, full.words)
        again = decided(story.chart())
        assert (again.events, again.plans) == ((), ()), "a second look has nothing to do"
        if not decision.missing:  # what is read for it brings the next look
            span = (decision.next_look or story.now + timedelta(days=60)) - story.now
            assert whole(story.chart(story.now + span * share / 100)).events == (), "nobody would look"
        _hers_stays(before, story.tasks)
        _nothing_comes_back(before, story)
        _each_says_why(story)
        if story.known == ALL_KNOWN:
            _all_stands(story)


def _hers_stays(before: dict[str, Task], tasks: tuple[Task, ...]) -> None:
    for task in tasks:
        was = before.get(task.id)
        if was is None:
            continue
        assert was.open or not task.open, "what is closed comes back as another task"
        if was.closed_by == "person":
            assert (task.status, task.closed_by) == (was.status, "person")
        if "due" in was.mine:
            assert task.due == was.due
        if was.started and task.open:
            assert task.status is was.status


def _nothing_comes_back(before: dict[str, Task], story: Story) -> None:
    """What she closed stays closed until the values that its rule reads differ, whatever the need is called by then."""
    fresh = [task for task in story.open if task.id not in before]
    for task in fresh:
        hers = [t for t in before.values() if (t.rule, t.focus) == (task.rule, task.focus) and _by_person(t)]
        assert all(t.turned or t.renews for t in hers), "nobody compared the values"
        last = max(hers, key=lambda t: (t.closed_at, t.generation), default=None)
        if last is not None and not last.turned:
            assert last.renews != _renewal_of(task, story)


def _by_person(task: Task) -> bool:
    return not task.open and task.closed_by == "person"


def _renewal_of(task: Task, story: Story) -> str | None:
    (finding,) = [
        f
        for f in findings_of(shipped(), story.chart(), NO_BASES)
        if (f.rule.id, f.focus) == (task.rule, task.focus)
    ]
    return finding.particulars.renews


def _each_says_why(story: Story) -> None:
    for task in story.open:
        said = story.words[task.id]
        assert said.title and said.next and said.reason
        assert task.due is not None


def _all_stands(story: Story) -> None:
    chart = story.chart()
    guard = Facts(chart, NO_BASES, shipped().codebook).guard
    kept_back = bool(guard.blocks or guard.hold or guard.discharged)
    needs = needs_of(findings_of(shipped(), chart, NO_BASES), chart)
    event(f"needs open: {sum(need.verdict is Verdict.OPEN for need in needs)}")
    keys = Counter(task.key for task in story.open)
    assert not keys or max(keys.values()) == 1
    alive = [need for need in needs if need.verdict not in CLOSING]
    going_on = {need.text for need in alive}
    for need in needs:
        mine = [
            task
            for task in story.tasks
            if task.need == need.text
            or (task.need not in going_on and need.speaks_of(task.rule, task.focus))  # a link has come since
        ]
        standing = [task for task in mine if task.open]
        if need.verdict in STANDING:
            assert sum(not task.started for task in standing) <= 1, need
        if need.verdict is Verdict.OPEN and not (need.suspended or kept_back):
            face = (need.face.rule.id, need.face.focus)
            hers = any(_by_person(task) and (task.rule, task.focus) == face for task in story.tasks)
            assert standing or hers or _is_answered(mine, story.now, chart), need
        if need.verdict in CLOSING:
            left = [t for t in standing if not any(n.speaks_of(t.rule, t.focus) for n in alive)]
            assert all(task.started and task.mark for task in left), need
    for task in story.open:
        spoken = any(need.text == task.need or need.speaks_of(task.rule, task.focus) for need in alive)
        assert spoken or task.started or task.hold or _is_left(task, chart), task


def _is_answered(tasks: list[Task], now: datetime, chart: Chart) -> bool:
    """Whether a person answered the need, or Baton closed it less than a business day ago, or it flaps."""
    last = max(tasks, key=lambda task: task.generation, default=None)
    if last is None:
        return False
    if last.closed_by == "person":
        return True
    assert last.closed_at is not None
    back = calendar_of(chart.source).after(last.closed_at, ONE_BUSINESS_DAY)
    return now < back or len(tasks) >= 3


def _is_left(task: Task, chart: Chart) -> bool:
    return task.focus not in chart.snapshots

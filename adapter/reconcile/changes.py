"""Desired against existing: one person's needs and task rows in, ledger events out. Pure, and the heart.

What holds here: unknown changes nothing; a started task is never closed under her hands; what a person closed,
rejected or deleted stays silent until the values that its rule reads differ; bounds gate opening only; a second
look finds nothing to do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from adapter.facts.patient import PatientGuard
from adapter.ledger.fold import as_set, difference, fold
from adapter.mapping.calendar import Calendar
from adapter.mapping.durations import Duration, Unit
from adapter.mapping.finding import Finding
from adapter.model import (
    WITHDRAWING,
    Chart,
    Event,
    EventKind,
    Known,
    Plan,
    Priority,
    SnapshotState,
    Task,
    TaskStatus,
    Words,
)
from adapter.reconcile.careplans import plans_of
from adapter.reconcile.needs import CLOSING, STANDING, Need, Verdict, judge, need_key, unheard_of

UNTOUCHED_DAYS = 2  # business days after which a marked, untouched task closes by itself
#: Versions that leave nothing to restore; a stale save and a server that went back do (F13, F18).
_AS_IT_WAS = frozenset({"acknowledged", "own write, answer lost", "same values"})
_RECHECK = timedelta(days=1)
_SOON = timedelta(hours=1)
_MONTH = timedelta(days=30)
MOST_RETURNS = 3  # tasks of one need within a month; the next waits for a person
OPEN_ELSEWHERE = 0  # instead of a generation: the task of this need is open with somebody else
_ORDER_OF_PRIORITY = (Priority.ROUTINE, Priority.URGENT, Priority.ASAP, Priority.STAT)
_NO_LONGER = frozenset({Verdict.COMPLETE, Verdict.WITHDRAW})
_NO_NEWS = frozenset({"due", "edition", "sweep"})
_OWN_SIDE = frozenset({"edition", "link"})  # what Baton's side brings about, and may take back
RELEASED = frozenset({"released", "hold-released"})  # causes by which a person has let a hold go
BEFORE_WITHDRAWAL = Duration(4, Unit.BUSINESS_HOURS)
_BY_PERSON = frozenset({"person", "deleted", "command"})
ONE_BUSINESS_DAY = Duration(1, Unit.BUSINESS_DAYS)

ReadBackOf = Callable[[Task, Chart], Sequence[Event]]
SpeakersOf = Callable[[str], frozenset[str]]
"""The types of which a focus that is not on the chart may speak of a need."""


class Decision(Struct, frozen=True):
    """What one look wants: events in order, words per task, writes, plans, and when to look again."""

    events: tuple[Event, ...] = ()
    words: dict[str, Words] = field(default_factory=dict)
    wants: frozenset[str] = frozenset()
    plans: tuple[Plan, ...] = ()
    next_look: datetime | None = None
    missing: frozenset[str] = frozenset()
    flapping: tuple[
        tuple[str, str], ...
    ] = ()  # rule and last task of needs that came and went too often (F30)


class Deciding:
    """One look at one person. Make it, call :meth:`decide` once."""

    def __init__(
        self,
        chart: Chart,
        needs: Sequence[Need],
        guard: PatientGuard,
        calendar: Calendar,
        read_back: ReadBackOf,
        *,
        rules: frozenset[str],
        speakers: SpeakersOf,
    ) -> None:
        """``rules`` are the ids of all that there are."""
        self.chart = chart
        self.now = chart.now
        self.needs = needs
        self._named = {need.text: need for need in needs if need.text}
        self.guard = guard
        self.calendar = calendar
        self.rules = rules
        self._read_back = read_back
        self._speakers = speakers
        self.rows: dict[str, Task] = {task.id: task for task in chart.tasks}
        self.events: list[Event] = []
        self.words: dict[str, Words] = {}
        self.wants: set[str] = set()
        self.looks: list[datetime] = []
        self.missing: set[str] = set()
        self.flapping: list[tuple[str, str]] = []

    def decide(self) -> Decision:
        """All that should change, and when the answer can change next."""
        for task in self.chart.tasks:
            self._take_in(task)
        matched: set[str] = set()
        for need in self.needs:
            matched |= self._need(need)
        for task in list(self.rows.values()):
            if task.open and task.id not in matched:
                self._without_candidate(task)
        plans = self._plans()
        self.looks += [at for need in self.needs for f in need.findings if (at := f.next_look)]
        if self.guard.next_look:
            self.looks.append(self.guard.next_look)
        ahead = [at for at in self.looks if at > self.now]
        return Decision(
            tuple(self.events),
            self.words,
            frozenset(self.wants),
            plans,
            min(ahead, default=None),
            frozenset(self.missing),
            tuple(self.flapping),
        )

    # What a person did

    def _take_in(self, task: Task) -> None:
        for event in self._read_back(task, self.chart):
            self._add(event)
            if event.kind is not EventKind.CONFIRMED or event.why not in _AS_IT_WAS:
                self.wants.add(f"Task/{task.id}")
                self._want_plan(self.rows[task.id])

    # One need

    def _need(self, need: Need) -> set[str]:
        rows = self._rows_of(need)
        standing = [task for task in rows if task.open]
        if standing:
            self._open_ones(need, standing)
        elif closed := self._last_closed(need, rows):
            self._closed_one(need, closed)
        else:
            self._none_yet(need)
        return {task.id for task in rows}

    def _last_closed(self, need: Need, rows: Sequence[Task]) -> Task | None:
        """The last task of a need; or the one of its face's rule and focus that a person closed after that, whatever
        the need was called then: a link that changes its name is no reason to ask her again (F4)."""
        if not self.rows:
            return None
        last = max(rows, key=lambda task: task.generation, default=None)
        speaking = need.findings if need.verdict in CLOSING else (need.face,)
        named = {(finding.rule.id, finding.focus) for finding in speaking}
        hers = [
            task
            for task in self.rows.values()
            if not task.open
            and (task.closed_by in _BY_PERSON or task.gone)
            and (task.rule, task.focus) in named
        ]
        return max([*hers, *([last] if last else [])], key=_ended, default=None)

    def _open_ones(self, need: Need, tasks: Sequence[Task]) -> None:
        """Needs may become one by a link that comes later: of their tasks one stays, a started one before others."""
        kept = max(tasks, key=lambda t: (t.started, t.need == need.text, t.generation, t.key))
        for task in tasks:
            if task is kept or need.verdict not in STANDING:
                self._open_one(need, task)
            elif not self._guarded(task, need) and not self._may_be_taken_back(self.rows[task.id]):
                self._close(task, EventKind.WITHDRAWN, "contrary", "its need is another task's now", None)

    def _rows_of(self, need: Need) -> list[Task]:
        found = [task for task in self.rows.values() if self._is_of(task, need)]
        if found or not need.face.rule.was_need:
            return found
        # Of a former need what is closed counts, too: it may be silent.
        return [t for t in self.rows.values() if not t.open and need.speaks_of(t.rule, t.focus)]

    def _is_of(self, task: Task, need: Need) -> bool:
        if not task.open:
            return bool(need.text) and task.need == need.text
        home = self._home(task)
        return home is need or (home is not None and bool(need.text) and home.text == need.text)

    def _home(self, task: Task) -> Need | None:
        """The need that an open task is of: the one of its text; else the one that its rule and focus speak of by now.

        A link that comes after the opening changes the text of a need, and the task keeps its key (pitfall 5). Where
        the link goes to another visit of the order, the need of the old text may go on without the task's own focus.
        """
        named = self._named.get(task.need)
        if named is not None and named.verdict not in CLOSING:
            return named
        return next((need for need in self.needs if need.speaks_of(task.rule, task.focus)), named)

    def _none_yet(self, need: Need) -> None:
        if need.verdict is Verdict.UNKNOWN:
            self._ask(need)
        elif need.verdict is Verdict.WAIT:
            self.looks.append(_set(need.face.opens))
        elif need.verdict is Verdict.OPEN:
            self._open(need, follows=None)

    def _ask(self, need: Need, *, standing: bool = False) -> None:
        """Ask for what is missing, where an answer would act: on a task that stands any answer may, by closing it."""
        if need.missing and (standing or need.acts(self.now)):
            self.missing |= need.missing
            self.looks.append(self.now + _RECHECK)

    def _open(self, need: Need, follows: Task | None) -> None:
        if self.guard.blocks:
            self.missing |= self.guard.missing or self._patient_if_old()
            self.looks.append(self.now + _RECHECK)
            return
        if self._hospital_unknown(need.face):
            self.missing |= self.guard.wants
            self.looks.append(self.now + _RECHECK)
            return
        if need.suspended or self._held(need.face):
            self.looks.append(self.now + _RECHECK)
            return
        face = need.face
        key = follows.key if follows else need_key(self.chart.source.key, need.text, need.participant)
        taken = self.chart.taken.get(key)
        if taken == OPEN_ELSEWHERE:
            self.looks.append(self.now + _SOON)
            return
        generation = max([t.generation for t in self.rows.values() if t.key == key] + [taken or 0]) + 1
        task = self._made(need, key, generation, follows.id if follows else "")
        self._add(self._event(task.id, EventKind.OPENED, as_set(task), "open", face.particulars.opening))
        self._say(self.rows[task.id], face)
        self._escalate(self.rows[task.id], face)
        self._wanted(task.id)

    def _patient_if_old(self) -> frozenset[str]:
        """A death by mistake is undone (F39): who has work waiting is read again daily, whatever was said before."""
        read = self.chart.known.get("Patient", Known()).at
        return frozenset() if read and read > self.now - _RECHECK else frozenset({"Patient"})

    def _hospital_unknown(self, face: Finding) -> bool:
        """Nobody is called while it is not known whether the patient lies in hospital: guards have three values."""
        if face.hold_policy == "none":
            return False
        return bool(self.guard.wants) or bool(self.chart.known.get("Encounter", Known()).blind)

    def _made(self, need: Need, key: str, generation: int, follows: str) -> Task:
        face, rule = need.face, need.face.rule
        return Task(
            id=f"b-{key}-{generation}",
            source=self.chart.source.name,
            patient=self._patient(face),
            key=key,
            generation=generation,
            mapping=rule.mapping,
            mapping_version=rule.mapping_version,
            rule=rule.id,
            code=rule.code,
            need=need.text,
            focus=face.focus,
            programme=face.programme,
            priority=face.priority,
            opened_at=self.now,
            opens=face.opens,
            due=face.due,
            due_is_day=face.due_is_day,
            ends=face.ends,
            onset=face.onset,
            performer=face.performer,
            group=face.particulars.group,
            follows=follows,
            based_on=tuple(ref for ref in face.particulars.based_on if ref != face.focus),
            opening=face.particulars.opening,
        )

    def _patient(self, face: Finding) -> str:
        """Whom the task is for: the survivor of a merge, else the patient whom the focus names."""
        if self.guard.survivor:
            return self.guard.survivor
        snapshot = self.chart.snapshots.get(face.focus)
        named = [p for p in snapshot.patients if p in self.chart.patients] if snapshot else []
        return named[0] if named else self.chart.patients[0]

    # A need whose task is open

    def _open_one(self, need: Need, task: Task) -> None:
        if self._guarded(task, need):
            return
        if need.verdict in CLOSING and self._may_be_spoken_of(need, task):
            return
        match need.verdict:
            case Verdict.OPEN | Verdict.OLD | Verdict.WAIT:
                self._keep(need, task)
            case Verdict.COMPLETE:
                self._close(task, EventKind.COMPLETED, "evidence", "satisfied", need.face)
            case Verdict.ENDED:
                self._close(task, EventKind.WITHDRAWN, "clock", "its time has passed", need.face)
            case Verdict.WITHDRAW if not self._may_be_taken_back(self.rows[task.id]):
                self._close(task, EventKind.WITHDRAWN, "contrary", "no longer needed", need.face)
            case Verdict.UNKNOWN:
                self._ask(need, standing=True)

    def _guarded(self, task: Task, need: Need | None) -> bool:
        """Death and hospital, which no mapping can switch off. True where nothing more is to be decided."""
        if self.guard.withdraw:
            self._deceased(task)
            return True
        closes = need is not None and need.verdict in CLOSING
        if need is not None and not closes and need.suspended and not task.started:
            self._hold(task, "order-on-hold")
            return True
        if need is not None and not closes and self._held(need.face) and not task.started:
            self._hold(task, self.guard.hold or "in-hospital")
            self.missing |= self.guard.wants
            self.looks.append(self.now + _RECHECK)
            return True
        if task.hold and not closes:
            self._resume(task)
        return False

    def _deceased(self, task: Task) -> None:
        if task.started:
            self._mark(task, "no-longer-needed", "deceased")
            return
        self._hold(task, "deceased")
        task = self.rows[task.id]
        at = self.calendar.after(task.marked_at or self.now, ONE_BUSINESS_DAY)
        if self.now < at:
            self.looks.append(at)
            return
        self._end(task, EventKind.WITHDRAWN, "patient", "deceased", None)

    def _held(self, face: Finding) -> bool:
        if face.hold_policy == "none":
            return False
        if self.guard.hold:
            return True
        discharged = self.guard.discharged
        if discharged is None:
            return False
        until = self.calendar.after(discharged, ONE_BUSINESS_DAY)
        if self.now < until:
            self.looks.append(until)
        return self.now < until

    def _hold(self, task: Task, why: str) -> None:
        if task.hold == why and task.marked_at is not None:  # not on the Task: who adopts it counts from now
            return
        before = task.held_status or task.status.value
        new = replace(task, hold=why, held_status=before, status=TaskStatus.ON_HOLD, marked_at=self.now)
        self._changed(task, new, EventKind.HELD, why)

    def _resume(self, task: Task) -> None:
        status = TaskStatus(task.held_status or "requested")
        new = replace(task, hold="", held_status="", status=status, marked_at=None)
        self._changed(task, new, EventKind.RESUMED, f"no longer {task.hold}")

    def _keep(self, need: Need, task: Task) -> None:
        task = self._needed_again(self.rows[task.id])
        speaker, is_own = self._speaker(need, task)
        frozen = task.started and not is_own  # whoever works at it reads what she began with
        new = task if frozen else self._revised(task, speaker)
        if task.mark:
            new = replace(new, mark="", marked_at=None)
        if new != task:
            because = () if frozen else speaker.particulars.opening
            self._changed(task, new, EventKind.REVISED, "facts changed", because)
        if not frozen:
            self._say(self.rows[task.id], speaker)
        self._escalate(self.rows[task.id], speaker)

    def _needed_again(self, task: Task) -> Task:
        """The row without the mark that nobody saw: taking it back is no news for the EHR."""
        if task.mark == WITHDRAWING:
            self._changed(task, replace(task, mark="", marked_at=None), EventKind.NOTED, "needed again")
        return self.rows[task.id]

    def _speaker(self, need: Need, task: Task) -> tuple[Finding, bool]:
        """The finding that says why a task stands: that of its own rule and focus (then True), as long as it does not
        say no itself; else the need's face. Code and focus of a task stay."""
        own = [f for f in need.findings if f.rule.id == task.rule and f.focus == task.focus]
        if own and judge(own[0], self.now) in STANDING:
            return own[0], True
        return need.face, False

    def _revised(self, task: Task, face: Finding) -> Task:
        due = task.due if "due" in task.mine else face.due or task.due
        is_day = task.due_is_day if "due" in task.mine else face.due_is_day
        opens = face.opens if face.opens_known and face.opens else task.opens
        if opens is not None and opens <= self.now and task.opens is not None and task.opens <= self.now:
            opens = task.opens  # it has opened: when exactly is history
        patient = self.guard.survivor or task.patient
        priority = _higher(task.priority, face.priority) if task.steps else face.priority
        return replace(
            task,
            due=due,
            due_is_day=is_day,
            opens=opens,
            ends=face.ends,
            patient=patient,
            priority=priority,
            programme=task.programme or face.programme,
        )

    def _escalate(self, task: Task, face: Finding) -> None:
        if task.status is TaskStatus.ON_HOLD or task.due is None or face.due is None:
            return
        due = []
        from_due = task.due.isoformat()[:16]  # to the minute: where the due date moves, the steps begin anew
        for step in face.steps:
            moved = step.by is not None and "due" in task.mine  # a business day counts from her date anew
            at = (
                self.calendar.after(task.due, step.by)
                if moved and step.by
                else task.due + (step.at - face.due)
            )
            name = f"{step.id}@{from_due}"
            if name in task.steps:
                continue
            if at <= self.now:
                due.append((at, name, step))
            else:
                self.looks.append(at)
        if not due:
            return
        if not self.chart.source.writes:
            self.looks.append(self.now + _RECHECK)  # nobody saw the task: nothing was escalated (F27)
            return
        if not self._hers_is_known(task, max(at for at, _, _ in due)):
            return
        # Of several steps past due all are recorded, and the last one that raises is acted on.
        raised = task.priority
        for _, _, step in sorted(due, key=lambda one: one[0]):
            if step.priority:
                raised = _higher(raised, Priority(step.priority))
        new = replace(
            task,
            steps=(*task.steps, *(name for _, name, _ in sorted(due, key=lambda o: o[0]))),
            priority=raised,
        )
        self._changed(task, new, EventKind.ESCALATED, "past due")

    def _hers_is_known(self, task: Task, since: datetime) -> bool:
        """Whether our Task was read since then: she may have finished it, or moved its date (F28)."""
        known = self.chart.known.get("Task", Known())
        read = known.at is not None and not known.blind and known.at >= since.replace(microsecond=0)
        if read or not task.seen_version:  # nobody can have touched what never stood in the EHR
            return True
        if not known.blind:
            self.missing.add("Task")
        self.looks.append(self.now + _RECHECK)
        return False

    # Closing

    def _may_be_spoken_of(self, need: Need, task: Task) -> bool:
        """Whether another rule may speak of a need by what is not known; then that is asked for."""
        unread = unheard_of(need, self._speakers(need.text or task.need), self.chart)
        if unread:
            self.missing |= unread
            self.looks.append(self.now + _RECHECK)
        return bool(unread)

    def _close(self, task: Task, kind: EventKind, by: str, why: str, face: Finding | None) -> None:
        task = self.rows[task.id]
        if not task.started:
            self._end(task, kind, by, why, face)
            return
        self._mark(task, "evidence" if kind is EventKind.COMPLETED else "no-longer-needed", why)
        task = self.rows[task.id]
        since = max(at for at in (task.marked_at, task.touched_at) if at is not None)
        at = self.calendar.after(since, Duration(UNTOUCHED_DAYS, Unit.BUSINESS_DAYS))
        if self.now < at:
            self.looks.append(at)
        elif self._hers_is_known(task, at):
            self._end(task, kind, by, why, face)

    def _may_be_taken_back(self, task: Task) -> bool:
        """Whether a withdrawal that Baton's own side brings about has yet to hold for some hours (F19).

        A rule edited by mistake, or two patients merged by mistake, is mended within them, and nobody has seen it.
        """
        if task.mark != WITHDRAWING:
            if task.mark or not self._by_own_side():
                return False
            waiting = replace(task, mark=WITHDRAWING, marked_at=self.now)
            self._changed(task, waiting, EventKind.NOTED, "no longer needed by Baton's own side")
        at = self.calendar.after(_set(self.rows[task.id].marked_at), BEFORE_WITHDRAWAL)
        if self.now < at:
            self.looks.append(at)
        return self.now < at

    def _by_own_side(self) -> bool:
        causes = self.chart.request.kinds if self.chart.request else frozenset()
        return bool(causes & _OWN_SIDE) and not causes & RELEASED

    def _mark(self, task: Task, mark: str, why: str) -> None:
        if task.mark != mark or task.marked_at is None:  # since when is not on the Task that was adopted
            self._changed(task, replace(task, mark=mark, marked_at=self.now), EventKind.MARKED, why)

    def _end(self, task: Task, kind: EventKind, by: str, why: str, face: Finding | None) -> None:
        status = TaskStatus.COMPLETED if kind is EventKind.COMPLETED else TaskStatus.CANCELLED
        new = replace(
            task,
            status=status,
            closed_at=self.now,
            closed_by=by,
            closing=face.closing if face else (),
            hold="",
            held_status="",
            mark="" if task.mark == WITHDRAWING else task.mark,
            renews=(face.particulars.renews or "") if face else "",
        )
        self._changed(task, new, kind, why, face.closing if face else ())

    # A need whose last task is closed

    def _closed_one(self, need: Need, task: Task) -> None:
        if not need.text:
            return
        if task.closed_by in _BY_PERSON or task.gone:
            self._silent(need, task)
        elif need.verdict is Verdict.OPEN:
            self._returns(need, task)
        elif need.verdict is Verdict.WAIT:
            self.looks.append(_set(need.face.opens))
        elif need.verdict is Verdict.UNKNOWN:
            self._ask(need)

    def _silent(self, need: Need, task: Task) -> None:
        """Silent until the values that its rule reads differ; they are noted at the first look that knows them.

        That it was no longer needed in between is news, too: revoked and active again reads as it did before.
        """
        face = next((f for f in need.findings if f.rule.id == task.rule and f.focus == task.focus), need.face)
        if need.verdict in _NO_LONGER and not task.turned:
            self._changed(task, replace(task, turned=True), EventKind.NOTED, "no longer open")
            return
        if need.verdict is Verdict.UNKNOWN and self._news() and need.acts(self.now):
            self.missing |= need.missing
            return
        renews = face.particulars.renews
        if renews and not (task.renews or task.turned):
            self._changed(task, replace(task, renews=renews), EventKind.NOTED, "values noted")
        elif need.verdict is Verdict.OPEN and (task.turned or (renews and task.renews != renews)):
            self._open(need, follows=task)

    def _news(self) -> bool:
        """Whether something of this person has changed, and not the clock or the mappings alone asked."""
        causes = self.chart.request.causes if self.chart.request else frozenset()
        return not causes <= _NO_NEWS

    def _returns(self, need: Need, task: Task) -> None:
        """A need that comes back after Baton closed it is a new task, a business day later (stat at once)."""
        at = self.calendar.after(task.closed_at or self.now, ONE_BUSINESS_DAY)
        if self.now < at and need.face.priority is not Priority.STAT:
            self.looks.append(at)
        elif self._comes_and_goes(task) and need.face.priority is not Priority.STAT:
            self.flapping.append((task.rule, task.id))
            self.looks.append(self.now + _RECHECK)
        else:
            self._open(need, follows=task)

    def _comes_and_goes(self, task: Task) -> bool:
        """Whether a need would be the fourth of its kind within a month, and nobody has let it (F30)."""
        lately = [
            t for t in self.rows.values() if t.key == task.key and _set(t.opened_at) > self.now - _MONTH
        ]
        return len(lately) >= MOST_RETURNS and task.id not in self.chart.released

    # A task of which no rule speaks now

    def _without_candidate(self, task: Task) -> None:
        if self.guard.withdraw:
            self._deceased(task)
            return
        if task.hold == "deceased" and self.guard.state == "alive":
            self._resume(task)  # whatever its rule does: nobody else would say that the death was a mistake
        snapshot = self.chart.snapshots.get(task.focus)
        if snapshot is None or task.rule not in self.rules:
            return  # not stored, or the rule is gone: unknown; only a person ends it
        if snapshot.state in (SnapshotState.DELETED, SnapshotState.ERROR):
            self._close(task, EventKind.WITHDRAWN, "contrary", f"its focus is {snapshot.state.value}", None)
        elif snapshot.state is SnapshotState.LIVE and not set(snapshot.patients) & set(self.chart.patients):
            self._close(task, EventKind.WITHDRAWN, "contrary", "its focus names another patient", None)

    # Care plans

    def _plans(self) -> tuple[Plan, ...]:
        opened = frozenset([e.task for e in self.events if e.kind is EventKind.OPENED])
        planned = plans_of(self.chart, self.rows.values(), opened, self.guard)
        self.wants.update([f"CarePlan/{plan.id}" for plan in planned.plans])
        self.looks += planned.looks
        return planned.plans

    def _want_plan(self, task: Task) -> None:
        plans = [p for p in self.chart.plans if p.programme == task.programme and not p.gone]
        if plans:
            newest = max(plans, key=lambda p: p.episode)
            self.wants.add(f"CarePlan/{newest.id}")

    # Events

    def _event(
        self, task: str, kind: EventKind, values: dict[str, Any], why: str, causes: Iterable[str] = ()
    ) -> Event:
        versions = tuple(self._versioned(ref) for ref in causes)
        return Event(task, kind, self.now, values, why, versions, self.chart.edition)

    def _versioned(self, ref: str) -> str:
        snapshot = self.chart.snapshots.get(ref.partition("@")[0])
        return f"{snapshot.ref}@{snapshot.version}" if snapshot and snapshot.version else ref

    def _add(self, event: Event) -> None:
        self.rows[event.task] = fold(self.rows.get(event.task), event)
        self.events.append(event)

    def _changed(self, old: Task, new: Task, kind: EventKind, why: str, causes: Iterable[str] = ()) -> None:
        values = difference(old, new)
        if values:
            self._add(self._event(old.id, kind, values, why, causes))
            if kind is not EventKind.NOTED:
                self._wanted(old.id)

    def _wanted(self, task: str) -> None:
        self.wants.add(f"Task/{task}")
        self._want_plan(self.rows[task])

    def _say(self, task: Task, face: Finding) -> None:
        self.words[task.id] = face.particulars.words


def _higher(one: Priority, other: Priority) -> Priority:
    return max(one, other, key=_ORDER_OF_PRIORITY.index)


def _ended(task: Task) -> tuple[datetime, int]:
    return task.closed_at or _set(task.opened_at), task.generation


def _set(at: datetime | None) -> datetime:
    assert at is not None
    return at

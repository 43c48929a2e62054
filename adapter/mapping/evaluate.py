"""One rule, one focus, one moment: a finding. Pure: the facts of a chart and ``now`` in, nothing else.

The order is: may it stand at all (``applies``, ``when``), is it done (``satisfied``), when (``onset``, ``opens``,
``due``, ``ends``). Where the answer acts by now, it is asked once more with absence known since that moment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from functools import lru_cache
from operator import attrgetter
from typing import Any, NamedTuple, TypeVar

from msgspec import Struct, structs

from adapter.facts.facts import FACT_TYPES, Facts
from adapter.fhirjson import digest
from adapter.mapping import moments
from adapter.mapping.age import HURRIED, hurries, priority_of
from adapter.mapping.calendar import Calendar
from adapter.mapping.durations import Duration, Unit
from adapter.mapping.fhirpath import Expression
from adapter.mapping.finding import NO_WORDS, Finding, Step, Tri
from adapter.mapping.moments import Mark, Outcome, Timing
from adapter.mapping.renewal import renewal
from adapter.mapping.rules import Rule
from adapter.mapping.scope import Freshness, Scope, Seen
from adapter.mapping.screens import Screens
from adapter.mapping.template import Filled, Template, canonical, words
from adapter.mapping.values import NO_TYPES, NOTHING, Verdict, both, records_in, verdict
from adapter.model import EVIDENCE, Snapshot, SnapshotState, Task, Words

_T = TypeVar("_T")


def evaluate(rule: Rule, focus: Snapshot, facts: Facts, *, now: datetime) -> Finding:
    """Judge one focus by one rule.

    Raises nothing: an expression that fails makes the finding unknown and stands in its ``errors``.
    """
    if focus.state is SnapshotState.QUARANTINED or _is_cut(rule, focus, facts):
        return _unreadable(rule, focus)
    evaluation = _Evaluation(rule, focus, facts, now, Screens(facts))
    try:
        return evaluation.finding()
    finally:
        evaluation.scope.close()


def judge_for_look(
    rule: Rule, focus: Snapshot, facts: Facts, *, now: datetime, screens: Screens
) -> Finding | None:
    """As :func:`evaluate`, for a look: None where nothing can follow from the finding.

    Nothing follows where no task hangs on it and it is a *no*, is done already, or is older than go-live or
    ``max_age``: neither evidence nor words are wanted then. But an order on hold holds back what others say of its
    need, whatever it says itself. ``screens`` are those of the same chart.
    """
    if focus.state is SnapshotState.QUARANTINED or _is_cut(rule, focus, facts):
        return _unreadable(rule, focus)
    asked = screens.asked(rule, focus)
    if asked is False and not _is_on_hold(focus) and screens.is_too_old(rule, focus):
        return None
    refused = asked is not True and screens.refuses(rule, focus)
    if refused and asked is False:
        return None
    evaluation = _Evaluation(rule, focus, facts, now, screens, asked=asked)
    try:
        return evaluation.acting(refused=refused)
    finally:
        evaluation.scope.close()


def _is_on_hold(focus: Snapshot) -> bool:
    return focus.type == "ServiceRequest" and focus.body.get("status") == "on-hold"


def _is_cut(rule: Rule, focus: Snapshot, facts: Facts) -> bool:
    """Whether the focus was kept without an element that the rule names: it waits to be read again (F9)."""
    lacks = facts.chart.source.lacks
    return bool(lacks) and not rule.elements.isdisjoint(lacks.get(focus.edition, ()))


def _unreadable(rule: Rule, focus: Snapshot) -> Finding:
    return Finding(rule, focus.ref, hold_policy=rule.hold, performer=rule.performer)


class _Verdicts(NamedTuple):
    applies: Verdict
    when: Verdict
    satisfied: Verdict

    @property
    def open(self) -> bool:
        return self.when.tri is Tri.YES and self.satisfied.tri is Tri.NO

    @property
    def known(self) -> bool:
        """Whether no reading can say anything else."""
        return self.when.tri is not Tri.UNKNOWN and self.satisfied.tri is not Tri.UNKNOWN

    @property
    def settled(self) -> bool:
        """Whether no date can matter any more."""
        return self.when.tri is Tri.NO or self.satisfied.tri is Tri.YES


_BY_TIME = attrgetter("at", "id")
_NO = Verdict(Tri.NO)
_UNKNOWN = Verdict(Tri.UNKNOWN)


class _Dates(Struct, frozen=True):
    onset: datetime | None = None
    onset_gaps: frozenset[str] = NOTHING
    opens: Outcome = moments.UNKNOWN
    in_turn: bool = False
    due: Outcome = moments.ABSENT
    ends: Outcome = moments.ABSENT
    steps: tuple[Step, ...] = ()


_NO_DATES = _Dates()


class _Evaluation:
    """The working of :func:`evaluate`."""

    def __init__(
        self,
        rule: Rule,
        focus: Snapshot,
        facts: Facts,
        now: datetime,
        screens: Screens,
        *,
        asked: bool | None = None,
    ) -> None:
        """``asked`` is what :meth:`Screens.asked` says of this rule and focus, where it was asked already."""
        self.rule = rule
        self.screens = screens
        self.facts = facts
        self.now = now
        self.calendar: Calendar = screens.calendar
        self.on_hold = _is_on_hold(focus)
        self.focus = _as_judged(focus, self.on_hold)
        self.max_age = screens.max_age
        self.seen = Seen()
        self.scope = self._scope(None)
        self._filled: Filled | None = None
        self._asked = asked
        self._told_onset: tuple[datetime | None, frozenset[str]] | None = None

    def finding(self) -> Finding:
        """The whole judgement."""
        applies, when = self._when(self.scope)
        if when.tri is Tri.NO and not self._speaks():
            return self._bare(applies, when)
        return self._judged(applies, when, self._satisfied(self.scope))

    def acting(self, *, refused: bool) -> Finding | None:
        """The judgement as far as a look acts on it; ``refused`` where the screen has said no already."""
        if refused and not self._speaks():
            return self._idle(_NO, _NO)
        if self._asked is not True and self._too_old_to_open() and not self._speaks():
            return self._idle(_UNKNOWN, _UNKNOWN)  # whatever they say, nothing opens, and nothing stands
        applies, when = self._when(self.scope)
        if when.tri is Tri.NO and not self._speaks():
            return self._idle(applies, when)
        satisfied = self._satisfied(self.scope)
        if satisfied.tri is Tri.YES and not self._speaks():
            return self._idle(applies, when)  # it was done before it became a task
        return self._judged(applies, when, satisfied)

    def _idle(self, applies: Verdict, when: Verdict) -> Finding | None:
        """What nobody waits for: told only where it failed, or may be another by time alone."""
        return self._bare(applies, when) if self.seen.errors or self.seen.looks else None

    def _speaks(self) -> bool:
        """Whether anything hangs on the finding, even if it opens nothing: a task, or what an order on hold holds."""
        return self.on_hold or self._is_asked()

    def _is_asked(self) -> bool:
        """Whether a task, open or closed, is of this rule and focus or of the need that it speaks of."""
        if self._asked is None:
            self._asked = self.screens.is_asked(self.rule, self.focus, lambda: self._need().text)
        return self._asked

    def _judged(self, applies: Verdict, when: Verdict, satisfied: Verdict) -> Finding:
        need = self._need()
        verdicts = _Verdicts(applies, when, satisfied)
        task = self._task(need.text)
        if verdicts.settled and task is not None:
            verdicts = self._closing_now(verdicts, task)
        dates, ended = _NO_DATES, False
        if not verdicts.settled:
            dates = self._dates(task)
            verdicts = self._acting(verdicts, dates)
            if not verdicts.settled:
                ended, verdicts = self._ended(verdicts, dates.ends)
        too_old, missing, blind = "", NOTHING, NOTHING
        settled = verdicts.settled
        if not settled:
            too_old = self._too_old(dates.onset)
            missing, blind = self._gaps(verdicts, need, dates, task)
        shown = verdicts.open
        particulars = _Particulars(self, need.text, shown=shown)
        if shown:
            particulars.rest_on()
        priority = priority_of(self.focus)
        return Finding(
            rule=self.rule,
            focus=self.focus.ref,
            need=need.text,
            applies=verdicts.applies.tri,
            when=verdicts.when.tri,
            satisfied=verdicts.satisfied.tri,
            missing=missing,
            errors=tuple(self.seen.errors),
            onset=dates.onset,
            opens=dates.opens.at,
            opens_known=dates.opens.known and dates.onset is not None and need.text is not None,
            in_turn=dates.in_turn,
            due=dates.due.at,
            due_is_day=bool(dates.due.mark and dates.due.mark.counts_days),
            ends=dates.ends.at,
            ended=ended,
            old=bool(too_old),
            too_old_reason=too_old,
            steps=dates.steps,
            particulars=particulars,
            performer=self.rule.performer,
            programme=self.rule.programme,
            closing=self._closing() if verdicts.satisfied.tri is Tri.YES else (),
            hold_policy=self.rule.hold,
            urgent=priority in HURRIED,
            priority=priority,
            next_look=self._next_look(dates, settled=settled),
            blind=blind,
            on_hold=self.on_hold,
        )

    def _scope(self, acts: datetime | None) -> Scope:
        freshness = Freshness(self.focus, self.now, acts, self.max_age)
        fresh = self.screens.fresh(self.focus) if acts is None else None
        return Scope(self.rule, self.focus, self.facts, self.calendar, freshness, self.seen, fresh)

    def _bare(self, applies: Verdict, when: Verdict) -> Finding:
        """What is known of a *no* that nobody waits for, or of what is too old to open."""
        return Finding(
            self.rule,
            self.focus.ref,
            applies=applies.tri,
            when=when.tri,
            errors=tuple(self.seen.errors),
            performer=self.rule.performer,
            programme=self.rule.programme,
            hold_policy=self.rule.hold,
            next_look=self._soonest(self.seen.looks),
            on_hold=self.on_hold,
        )

    # Verdicts

    def _verdicts(self, scope: Scope) -> _Verdicts:
        return _Verdicts(*self._when(scope), self._satisfied(scope))

    def _when(self, scope: Scope) -> tuple[Verdict, Verdict]:
        """``applies`` and ``when``, the first being part of the second."""
        if self.focus.state is not SnapshotState.LIVE:
            return _NO, _NO
        applies = self.screens.applies(self.rule, self.focus, lambda: scope.verdict(self.rule.applies))
        if applies.tri is Tri.NO:
            return applies, applies
        when = scope.verdict(self.rule.when)
        return applies, when if applies.tri is Tri.YES else both((applies, when))

    def _satisfied(self, scope: Scope) -> Verdict:
        if self.focus.state is not SnapshotState.LIVE:
            return Verdict(Tri.UNKNOWN)
        return scope.verdict(self.rule.satisfied)

    def _too_old_to_open(self) -> bool:
        """Whether the onset alone says that nothing opens: then neither words nor evidence are wanted."""
        onset, gaps = self._said_onset()
        if gaps:
            return False  # what has to be read may be newer
        onset = onset or self.focus.first_seen or self.focus.received_at
        return onset is not None and onset < self.screens.ages.old_before(self.rule, self.focus)

    def _closing_now(self, verdicts: _Verdicts, task: Task) -> _Verdicts:
        """The verdicts that close an open task: absence known since it was opened, by evidence of today."""
        begun = [at for at in (task.opened_at, task.opens) if at and at <= self.now]
        return self._again(verdicts, max(begun)) if begun else verdicts

    def _acting(self, verdicts: _Verdicts, dates: _Dates) -> _Verdicts:
        """The verdicts as they are where the answer acts: absence known since the last moment that has come."""
        opens = dates.opens.at if dates.opens.known else None
        if opens is None or opens > self.now:
            return verdicts
        return self._again(verdicts, max([opens, *(s.at for s in dates.steps if s.at <= self.now)]))

    def _again(self, verdicts: _Verdicts, acts: datetime) -> _Verdicts:
        """The verdicts with absence known since ``acts``; the same ones where all that was read is."""
        if self.scope.all_fresh(Freshness(self.focus, self.now, acts, self.max_age)):
            return verdicts
        scope = self._scope(acts)
        try:
            return self._verdicts(scope)
        finally:
            scope.close()

    def _ended(self, verdicts: _Verdicts, ends: Outcome) -> tuple[bool, _Verdicts]:
        """Once ``ends`` has passed, ``when`` is no; where it is unknown whether it has, unknown."""
        if ends.at is not None and ends.at > self.now:
            return False, verdicts
        if not ends.known:
            when = both((verdicts.when, Verdict(Tri.UNKNOWN, ends.gaps)))
            return False, verdicts._replace(when=when)
        if ends.at is None:
            return False, verdicts
        return True, verdicts._replace(when=_NO)

    # Dates

    def _dates(self, task: Task | None) -> _Dates:
        onset, gaps = self._onset()
        said: dict[str, datetime | None] = {"onset": onset}
        opened = task.opened_at if task and task.opened_at else None
        timing = Timing(self.scope, said, opened or self.now, opened is not None)
        opens = moments.opening(self.rule.opens, timing) if onset else Outcome(known=False, gaps=gaps)
        turn = self._turn(opens, onset, timing) if opened is None else None
        opens = Outcome(Mark(turn, counts_days=True)) if turn else opens
        said["opens"] = opens.at if opens.known else None
        actual = opened or max(self.now, opens.at or self.now)
        due = moments.due(self.rule.due, structs.replace(timing, opened=actual))
        said["due"] = due.at
        ends = moments.latest(self.rule.ends, timing, whole_days=True) if self.rule.ends else moments.ABSENT
        return _Dates(onset, gaps, opens, turn is not None, due, ends, self._steps(due.at))

    def _turn(self, opens: Outcome, onset: datetime | None, timing: Timing) -> datetime | None:
        """What waited already when the source went live opens over the days after it, all of a person's at once.

        None for what opens in its own time: what is urgent, what has a date of its own, what is newer or too old.
        """
        live_from = self.facts.chart.source.live_since(self.rule.id)
        if live_from is None or not opens.known or opens.at is None or opens.at >= live_from:
            return None
        if hurries(self.focus) or self._too_old(onset):
            return None
        number = self._number_of_turn()
        if not number or moments.stands_by_itself(self.rule.due, timing):
            return None
        first = self.calendar.after(live_from, Duration(number, Unit.BUSINESS_DAYS))
        return self.calendar.opening(self.calendar.local(first).date())

    def _number_of_turn(self) -> int:
        """How many business days after go-live this person's turn is: the same at every look."""
        chart = self.facts.chart
        over = chart.source.live_over
        return int(digest([chart.source.key, chart.person])[:8], 16) % over if over else 0

    def _onset(self) -> tuple[datetime | None, frozenset[str]]:
        """When the need arose, or the gaps because of which nobody knows."""
        found, gaps = self._said_onset()
        if found is not None or gaps:
            return found, gaps if found is None else NOTHING
        return self.focus.first_seen or self.focus.received_at, NOTHING

    def _said_onset(self) -> tuple[datetime | None, frozenset[str]]:
        """What the rule's ``onset`` says, and its gaps; asked once, for age and for dates."""
        if self.rule.onset is None:
            return None, NOTHING
        if self._told_onset is None:
            onset = self.screens.onset(self.rule, self.focus)
            if onset is not None:
                self._told_onset = onset, NOTHING
            else:
                value = self.scope.first(self.rule.onset)
                self._told_onset = moments.instant_of(value, self.scope), value.gaps
        return self._told_onset

    def _too_old(self, onset: datetime | None) -> str:
        if onset is None:
            return ""
        for why, bound in self.screens.ages.bounds(self.rule, self.focus):
            if onset < bound:
                return why
        return ""

    def _steps(self, due: datetime | None) -> tuple[Step, ...]:
        if due is None:
            return ()
        steps = []
        for told in self.rule.escalate:
            by = self.scope.duration(told.by) if told.by is not None else Duration(0, Unit.HOURS)
            id = _step_id(by, told.priority or "", told.tell)
            steps.append(Step(id, self.calendar.after(due, by), told.priority, told.tell, by))
        return tuple(sorted(steps, key=_BY_TIME))

    def _next_look(self, dates: _Dates, *, settled: bool) -> datetime | None:
        """The next moment at which time alone can change the finding."""
        looks = list(self.seen.looks)
        if not settled:
            looks += [at for at in (dates.opens.at, dates.due.at, dates.ends.at) if at]
            looks += [step.at for step in dates.steps]
            if dates.opens.at and dates.opens.at <= self.now:
                looks += self._expiries()
        return self._soonest(looks)

    def _expiries(self) -> Iterable[datetime]:
        """When evidence that a need stands on becomes too old to act on."""
        for type in self.seen.types & set(EVIDENCE):
            known = self.scope.known(type)
            if known.at is not None and not known.declared_none and not known.blind:
                yield known.at + self.max_age

    def _soonest(self, looks: list[datetime]) -> datetime | None:
        return min([look for look in looks if look > self.now], default=None) if looks else None

    # What is missing

    def _gaps(
        self, verdicts: _Verdicts, need: Filled, dates: _Dates, task: Task | None
    ) -> tuple[frozenset[str], frozenset[str]]:
        """Types that a reading could settle, and those that nobody can read.

        A need that no reading can open is not read for: but an open task needs neither need nor ``opens``.
        """
        if verdicts.known and need.text is not None and dates.opens.known and not dates.due.gaps:
            return NOTHING, NOTHING
        # First whether there is a need at all: what would satisfy it is read only for those who have it.
        first = verdicts.when.tri is Tri.UNKNOWN and task is None
        asked = (verdicts.when,) if first else (verdicts.when, verdicts.satisfied)
        unknown = [v.gaps for v in asked if v.tri is Tri.UNKNOWN]
        dated = [need.gaps] if need.text is None else []
        dated += [] if dates.opens.known else [dates.opens.gaps | dates.onset_gaps]
        gaps = frozenset().union(*unknown, *dated, dates.due.gaps) - NO_TYPES
        blind = frozenset(type for type in gaps if self.scope.known(type).blind)
        decisive = unknown if task is not None else unknown + dated
        hopeless = any(not (part - NO_TYPES - blind) for part in decisive)
        return (NOTHING if hopeless else gaps - blind), blind

    # Identity, words, evidence

    def words(self) -> Words:
        """The texts for people."""
        zone, spoken = self.scope.zone, self.scope.spoken
        rule = self.rule
        errors = dict(self.seen.errors)
        said = Words(
            words(rule.title, spoken, zone), words(rule.next, spoken, zone), words(rule.reason, spoken, zone)
        )
        self.seen.errors = errors  # a word that fails leaves a gap, not an unknown
        return said

    def group(self) -> str:
        """The name of the tasks that are shown together; "" where there is none, or it is unknown."""
        return (self._canonical(self.rule.group).text or "") if self.rule.group else ""

    def based_on(self) -> tuple[str, ...]:
        """The orders that drove it."""
        if self.focus.type != "Appointment":
            return ()
        orders = self.facts.fact("orders", self.focus).records
        return tuple(record["ref"] for record in orders if "ref" in record)

    def opening(self) -> tuple[str, ...]:
        """What the need stands on."""
        return self._evidence(self.rule.opening.facts)

    def renews(self, need: str | None) -> str | None:
        """The digest of the values whose change ends silence, where a task of the person could be silent."""
        return renewal(self.scope) if self._is_known(need) else None

    def _need(self) -> Filled:
        if self._filled is None:
            text = self.screens.need(self.rule, self.focus)
            self._filled = Filled(text) if text else self._canonical(self.rule.need)
        return self._filled

    def _canonical(self, template: Template) -> Filled:
        return canonical(template, self.scope.first, self.facts.bases)

    def _task(self, need: str | None) -> Task | None:
        """The open task of this need; else the one of this rule and focus."""
        open_tasks = self.screens.open_tasks
        if not open_tasks:
            return None
        by_need = [task for task in open_tasks if need is not None and task.need == need]
        own = [task for task in open_tasks if task.rule == self.rule.id and task.focus == self.focus.ref]
        return next(iter(by_need or own), None)

    def _is_known(self, need: str | None) -> bool:
        tasks = self.facts.chart.tasks
        return any(task.focus == self.focus.ref or (need and task.need == need) for task in tasks)

    def _evidence(self, names: Iterable[str]) -> tuple[str, ...]:
        refs = {self.focus.ref: None}
        for name in sorted(names):
            for record in records_in(self.scope.value_of(name).items):
                if isinstance(record.get("ref"), str):
                    refs[record["ref"]] = None
        return tuple(refs)

    def _closing(self) -> tuple[str, ...]:
        """The records that satisfy the rule each by itself; all that it reads where none does."""
        found: list[str] = []
        for name in sorted(self.rule.closing.facts):
            for record in records_in(self.scope.value_of(name).items):
                if isinstance(record.get("ref"), str) and self._alone(name, record):
                    found.append(record["ref"])
        return tuple(dict.fromkeys(found)) or self._evidence(self.rule.closing.facts)

    def _alone(self, name: str, record: object) -> bool:
        errors = dict(self.seen.errors)
        found = verdict(self.scope.with_only(name, record, self.rule.closing.facts, self.rule.satisfied))
        self.seen.errors = errors
        return found is not None and found.tri is Tri.YES


class _Particulars:
    """:class:`adapter.mapping.finding.Particulars` that are worked out when somebody asks, each once.

    Most looks find a task that says all of it already, or a need that is not yet open.
    """

    __slots__ = ("_evaluation", "_held", "_need", "_shown")

    def __init__(self, evaluation: _Evaluation, need: str | None, *, shown: bool) -> None:
        self._evaluation = evaluation
        self._need = need
        self._shown = shown
        self._held: dict[str, Any] = {}

    def rest_on(self) -> None:
        """Read the facts that a need stands on, so that they tell when to look again; and those of words alone."""
        rule, named = self._evaluation.rule, self._evaluation.scope.named
        for fact in rule.opening.facts:
            named(fact)
        if _tells_the_time(rule):
            _ = self.words, self.group, self.renews  # what they read counts for the next look

    @property
    def words(self) -> Words:
        return self._told("words", self._evaluation.words) if self._shown else NO_WORDS

    @property
    def based_on(self) -> tuple[str, ...]:
        return self._told("based_on", self._evaluation.based_on) if self._shown else ()

    @property
    def opening(self) -> tuple[str, ...]:
        return self._told("opening", self._evaluation.opening) if self._shown else ()

    @property
    def group(self) -> str:
        return self._told("group", self._evaluation.group) if self._shown else ""

    @property
    def renews(self) -> str | None:
        return self._told("renews", lambda: self._evaluation.renews(self._need))

    def _told(self, name: str, ask: Callable[[], _T]) -> _T:
        if name not in self._held:
            try:
                self._held[name] = ask()
            finally:
                self._evaluation.scope.close()
        told: _T = self._held[name]
        return told


@lru_cache(maxsize=4096)
def _tells_the_time(rule: Rule) -> bool:
    """Whether words, group or renewal read facts that change by time, or by evidence, and verdict and dates do not."""
    asked = [
        part for text in (rule.title, rule.next, rule.reason, rule.group) if text for part in _parts(text)
    ]
    read = frozenset[str]().union(*(part.variables for part in (*asked, *rule.renews)))
    own = read - rule.opening.facts - rule.closing.facts
    return any(
        name == "coming" or not FACT_TYPES[name].isdisjoint(EVIDENCE) for name in own & FACT_TYPES.keys()
    )


def _parts(text: Template) -> Iterable[Expression]:
    return [part for hole in text.holes() for part in hole.chain.parts]


@lru_cache(maxsize=1024)  # as many as rules have steps, and a source's parameters change their distances
def _step_id(by: Duration, priority: str, tell: str) -> str:
    """A step is known by its anchor, distance and effect (F59)."""
    return digest(["due", str(by), priority, tell])[:12]


def _as_judged(focus: Snapshot, on_hold: bool) -> Snapshot:
    """The focus as rules see it: an order on hold is judged as active, a status "unknown" is absent."""
    status = focus.body.get("status")
    if on_hold:
        return structs.replace(focus, body={**focus.body, "status": "active"})
    if status == "unknown":
        return structs.replace(focus, body={k: v for k, v in focus.body.items() if k != "status"})
    return focus

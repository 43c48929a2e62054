"""Looking: charts out of the ledger, the pure look, what it lacks read as evidence, the result committed.

A look commits only if the request and the task rows are still those that it read, else the person is looked at
again. A page of persons shares a transaction; one that fails is taken out, backs off, and is listed (F69).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from msgspec import Struct, structs

from adapter import notes
from adapter.collecting import rare_collections
from adapter.errors import BatonError, LedgerUnusable
from adapter.facts.facts import Facts
from adapter.facts.history import Horizon
from adapter.ledger import Ledger
from adapter.ledger.records import LookResult
from adapter.mapping.calendar import calendar_of
from adapter.mapping.evaluate import evaluate, judge_for_look
from adapter.mapping.finding import Finding
from adapter.mapping.horizon import horizon_of
from adapter.mapping.rules import Edition, Rule
from adapter.mapping.screens import Screens, may_speak_of
from adapter.model import POLLED, WITHDRAWING, Chart, EventKind, Known, Request, SourceFacts, Task, Words
from adapter.reconcile.busy import BusyDay, Key, beyond, without
from adapter.reconcile.changes import (
    ONE_BUSINESS_DAY,
    OPEN_ELSEWHERE,
    RELEASED,
    Deciding,
    Decision,
    ReadBackOf,
    SpeakersOf,
)
from adapter.reconcile.guards import Counted, caused_by_baton, counted, floods
from adapter.reconcile.needs import needs_of
from adapter.references import Bases

# Persons whose looks share a transaction; those who lack evidence are read for, and stored, by fewer.
PAGE = 1000
READ_FOR = 100
ROUNDS = 4  # of evidence for one person: each round may show a next gap
_BACK_OFF = timedelta(minutes=5)
_BACK_TOMORROW = timedelta(days=1)
_UNTIL_RELEASED = timedelta(days=3650)  # a released hold asks for its persons anew
_EVERYBODY = 10_000_000
FLAPPING = "flapping"  # the cause of a hold: a need that came and went too often
BUSY = "busy day"  # the cause of a hold: more of one rule than the hospital's days have brought so far

#: Reads the named types for one person and stores them; the types that were read completely.
EvidenceReader = Callable[[Sequence[str], frozenset[str]], frozenset[str]]
#: Hears how many persons lack each type, before the first of them is read for.
Foresight = Callable[[Mapping[str, int]], None]

_COUNTED = {
    EventKind.OPENED: "opened",
    EventKind.REVISED: "revised",
    EventKind.COMPLETED: "completed",
    EventKind.WITHDRAWN: "withdrawn",
    EventKind.HELD: "held",
    EventKind.ESCALATED: "escalated",
}


@dataclass(slots=True)
class Looked:
    """What a round of looks did: persons looked at, task changes by kind, persons that failed, rules' errors."""

    persons: int = 0
    tasks: Counter[str] = field(default_factory=Counter)
    failed: int = 0
    held: list[int] = field(default_factory=list)
    errors: set[str] = field(default_factory=set)

    def add(self, other: Looked) -> None:
        """Take in what a further round did."""
        self.persons += other.persons
        self.tasks.update(other.tasks)
        self.failed += other.failed
        self.held += other.held
        self.errors |= other.errors


class Seen(Struct, frozen=True):
    """A person as looked at: the chart, the decision, and the rows that it leads to."""

    chart: Chart
    decision: Decision
    rows: Mapping[str, Task]
    errors: frozenset[str]


def look(chart: Chart, edition: Edition, read_back: ReadBackOf, bases: Bases) -> Seen:
    """The pure look at one person: facts, findings, needs, changes."""
    rules = _rules_of(edition, chart.source)
    facts = _facts(edition, chart, bases)
    screens = Screens(facts, rules.by_id)
    cut = bool(chart.source.lacks)  # what was kept without an element has to be told as unreadable
    findings = [
        finding
        for type, own in rules.by_type.items()
        for focus in facts.focuses(type)
        for rule in (own if cut else screens.worth(own, focus))
        if (finding := judge_for_look(rule, focus, facts, now=chart.now, screens=screens))
    ]
    deciding = Deciding(
        chart,
        needs_of(findings, chart),
        facts.guard,
        calendar_of(chart.source),
        read_back,
        rules=rules.ids,
        speakers=speakers_of(edition, chart),
    )
    decision = deciding.decide()
    unread = unread_foci(edition, chart)
    if not unread <= decision.missing:
        decision = structs.replace(decision, missing=decision.missing | unread)
    errors = frozenset([error for finding in findings for error in finding.errors])
    return Seen(chart, decision, deciding.rows, errors)


def findings_of(edition: Edition, chart: Chart, bases: Bases) -> list[Finding]:
    """What every rule finds about every focus of a chart, what a look would pass over included."""
    facts = _facts(edition, chart, bases)
    return [
        evaluate(rule, focus, facts, now=chart.now)
        for type, own in _rules_of(edition, chart.source).by_type.items()
        for focus in facts.focuses(type)
        for rule in own
    ]


def speakers_of(edition: Edition, chart: Chart) -> SpeakersOf:
    """Of which types a focus that is not on a chart may speak of a need."""
    rules = _rules_of(edition, chart.source)
    return lambda need: rules.speakers(need, chart.snapshots)


def _facts(edition: Edition, chart: Chart, bases: Bases) -> Facts:
    calendar = calendar_of(chart.source)
    return Facts(
        chart, bases, edition.codebook, business_day_before=lambda at: calendar.before(at, ONE_BUSINESS_DAY)
    )


def unread_foci(edition: Edition, chart: Chart) -> frozenset[str]:
    """Types that rules are about and that no poll brings, where something has come since they were last read.

    A Coverage is read because an answer speaks of it; without an answer no rule about it can say anything.
    """
    wanted = set()
    for type in _rules_of(edition, chart.source).unpolled:
        known = chart.known.get(type, _UNREAD)
        if known.declared_none or known.blind:
            continue
        speak = ("CoverageEligibilityResponse",) if type == "Coverage" else POLLED
        newest = max([s.received_seq for s in chart.snapshots.values() if s.type in speak], default=0)
        if known.seq < newest:
            wanted.add(type)
    return frozenset(wanted)


_UNREAD = Known()


@dataclass(frozen=True, slots=True)
class _Rules:
    """The rules of one source: by the type of their focus and by id, the types that no poll brings, all known ids."""

    edition: Edition
    source: SourceFacts
    by_type: Mapping[str, tuple[Rule, ...]]
    by_id: Mapping[str, Rule]
    unpolled: frozenset[str]
    ids: frozenset[str]
    _horizons: dict[datetime, Horizon | None] = field(default_factory=dict)

    def speakers(self, need: str, held: Container[str]) -> frozenset[str]:
        """The types of which a focus that is not among the ``held`` refs may speak of a need."""
        return frozenset([rule.resource for rule in self.by_id.values() if may_speak_of(rule, need, held)])

    def horizon(self, now: datetime) -> Horizon | None:
        """How far back these rules go: the same for a whole run of looks."""
        if now not in self._horizons:
            rules = [rule for own in self.by_type.values() for rule in own]
            self._horizons.clear()
            self._horizons[now] = horizon_of(rules, self.source, now)
        return self._horizons[now]


_last: list[_Rules] = []


def _rules_of(edition: Edition, source: SourceFacts) -> _Rules:
    """The rules that a source uses; a run of looks asks for the same ones, so the last answer is kept."""
    for held in _last:
        if held.edition is edition and held.source is source:
            return held
    by_type: dict[str, list[Rule]] = {}
    for rule in edition.rules:
        if rule.active_at(source):
            by_type.setdefault(rule.resource, []).append(rule)
    made = _Rules(
        edition,
        source,
        {type: tuple(rules) for type, rules in by_type.items()},
        {rule.id: rule for rules in by_type.values() for rule in rules},
        frozenset(by_type) - set(POLLED),
        frozenset(rule.id for rule in edition.rules),
    )
    _last[:] = [made]
    return made


class Reconciler:
    """Looks at the persons of one source that ask for it. ``active`` names the edition, as the ledger knows it."""

    def __init__(
        self,
        ledger: Ledger,
        edition: Edition,
        facts: SourceFacts,
        active: str,
        *,
        bases: Bases,
        read_back: ReadBackOf,
        evidence: EvidenceReader | None = None,
        foresee: Foresight | None = None,
        flood_limit: int | None = None,
    ) -> None:
        self.ledger = ledger
        self.edition = edition
        self.facts = facts
        self.active = active
        self.bases = bases
        self._read_back = read_back
        self._evidence = evidence
        self._foresee = foresee
        self._flood_limit = flood_limit
        self._taken: dict[str, int] = {}
        self._day = BusyDay("")
        self._on_first_day = False
        self._held: set[str] = set()  # tasks beyond a busy day
        self._let_go: set[str] = set()  # ... that a person has let go
        self._beyond: dict[Key, set[str]] = {}  # ... found in this run
        self._flapping: dict[str, bool] = {}  # last task of a need that came and went → whether it may return

    def run(self, now: datetime, *, told: Callable[[int], None] | None = None) -> Looked:
        """Look at everybody who asks, until nobody does (each person a bounded number of times).

        ``told`` hears after each page how many persons were looked at.
        """
        with rare_collections():
            return self._run(now, told)

    def _run(self, now: datetime, told: Callable[[int], None] | None) -> Looked:
        total = Looked()
        for hold in self.ledger.holds(all=True):
            if hold.source != self.facts.name:
                continue
            released = hold.released_at is not None
            if hold.cause == FLAPPING:
                self._flapping.update(dict.fromkeys(hold.tasks, released))
            elif hold.cause == BUSY:
                (self._let_go if released else self._held).update(hold.tasks)
        self._begin_day(now)
        self._hold_floods(now, total)
        tries: Counter[str] = Counter()
        while True:
            requests = [
                r for r in self.ledger.due_requests(self.facts.name, now, PAGE) if tries[r.person] < ROUNDS
            ]
            if not requests:
                self._end_day(now, total)
                return total
            tries.update(r.person for r in requests)
            total.add(self._page_of(requests, now))
            if told is not None:
                told(total.persons)

    def _begin_day(self, now: datetime) -> None:
        zone, row = self.facts.zone, self.ledger.source(self.facts.name)
        day = str(now.astimezone(zone).date())
        self._day = BusyDay.read(self.ledger.note(notes.busy_day(self.facts.name)), day)
        went_live = row.live_from if row else None  # a first load has bounds of its own
        self._on_first_day = went_live is not None and str(went_live.astimezone(zone).date()) == day

    def _end_day(self, now: datetime, done: Looked) -> None:
        """Write down what waits, one hold for each rule and direction, and what the day has brought."""
        name = self.facts.name
        for (rule, direction), tasks in sorted(self._beyond.items()):
            count = len(tasks)
            done.held.append(
                self.ledger.add_hold(
                    name, BUSY, rule=rule, direction=direction, count=count, tasks=sorted(tasks), now=now
                )
            )
        self._beyond.clear()
        kept, text = notes.busy_day(name), self._day.written()
        if text != self.ledger.note(kept):
            self.ledger.keep_note(kept, text)

    def _within_the_day(self, one: Seen) -> Seen:
        """The look without what goes beyond a busy day of the hospital's (F12)."""
        request = one.chart.request
        if request is None or caused_by_baton(request) or request.kinds & RELEASED:
            return one
        counted_before = {task.id for task in one.chart.tasks if task.mark == WITHDRAWING}
        free = self._let_go | counted_before if counted_before else self._let_go
        over = beyond(self._day, one.decision, one.rows, held=self._held, free=free)
        if self._on_first_day:
            self._day.counts.update(over.values())
            return one
        if not over:
            return one
        for task, key in over.items():
            if task not in self._held:
                self._held.add(task)
                self._beyond.setdefault(key, set()).add(task)
        return structs.replace(
            one, decision=without(one.decision, over, one.rows, again=one.chart.now + _BACK_TOMORROW)
        )

    def _page_of(self, requests: Sequence[Request], now: datetime) -> Looked:
        """Look at some persons and store it, first of those about whom all is known: reading takes its time."""
        done = Looked()
        settled: list[Seen] = []
        lacking: list[Seen] = []
        for one in self._charted(requests, now, done):
            (lacking if self._lacks(one) else settled).append(one)
        done.persons = len(settled)
        self._commit(settled, now, done)
        self._tell_lacking(lacking)
        for start in range(0, len(lacking), READ_FOR):
            seen, unfinished = self._read_for(lacking[start : start + READ_FOR], now, done)
            done.persons += len(seen)
            self._commit(seen, now, done)
            if unfinished:  # their requests ended with this commit
                self.ledger.request(self.facts.name, sorted(unfinished), "unread")
        return done

    def _lacks(self, one: Seen) -> bool:
        return bool(self._evidence is not None and one.decision.missing and one.chart.request)

    def _tell_lacking(self, looks: Sequence[Seen]) -> None:
        if looks and self._foresee is not None:
            self._foresee(Counter([type for one in looks for type in one.decision.missing]))

    def _read_for(self, seen: list[Seen], now: datetime, done: Looked) -> tuple[list[Seen], set[str]]:
        """Read what is lacking, and look again; and the persons of whom there is more to read after that.

        What was read and did not come is not among it: that is tried again by whoever reads.
        """
        unfinished = set[str]()
        for _ in range(ROUNDS):
            unfinished = set()
            lacking = [s for s in seen if self._lacks(s)]
            if not lacking or self._evidence is None:
                break
            read = {s.chart.person for s in lacking if self._evidence(s.chart.patients, s.decision.missing)}
            again = [s.chart.request for s in lacking if s.chart.person in read and s.chart.request]
            if not again:
                break
            fresh = self._charted(self._renewed(again, now), now, done)
            seen = [s for s in seen if s.chart.person not in read] + fresh
            unfinished = {s.chart.person for s in fresh if s.decision.missing}
        return seen, unfinished

    def _renewed(self, requests: Sequence[Request], now: datetime) -> list[Request]:
        """The requests as they stand now: evidence that arrived has renewed them."""
        persons = [request.person for request in requests]
        held = {r.person: r for r in self.ledger.requests_of(self.facts.name, persons)}
        return [held.get(request.person, request) for request in requests]

    def _charted(self, requests: Sequence[Request], now: datetime, done: Looked) -> list[Seen]:
        horizon = _rules_of(self.edition, self.facts).horizon(now)
        reading = self.ledger.reading(requests, self.facts, now, self.active, horizon)
        released = frozenset(task for task, may in self._flapping.items() if may)
        seen = []
        for request in requests:
            try:
                chart = reading.chart(request)
                if self._taken or released:
                    chart = structs.replace(chart, taken=self._taken, released=released)
                seen.append(_let_go(look(chart, self.edition, self._read_back, self.bases)))
            except (BatonError, ArithmeticError, LookupError, TypeError, ValueError, AssertionError) as error:
                # One person's chart must not stop everybody's: she backs off and is listed.
                done.failed += 1
                done.errors.add(f"a look failed: {type(error).__name__}")
                self.ledger.failed(request, now + _BACK_OFF * 2 ** min(request.failures, 6))
        return seen

    def _commit(self, looks: Sequence[Seen], now: datetime, done: Looked) -> None:
        seen = [self._within_the_day(one) if one.decision.events else one for one in looks]
        words = self.ledger.words([task for one in seen for task in one.decision.words])
        results = {s.chart.person: _result(s, words) for s in seen}
        refused = {r.person for r in self._committed(list(results.values()), now, done)}
        for one in seen:
            if one.chart.person in refused:
                self._learn_taken(one)
            elif one.chart.person in results:
                done.tasks.update(_COUNTED[e.kind] for e in one.decision.events if e.kind in _COUNTED)
                done.errors |= one.errors
                done.held += [
                    self._hold_flapping(rule, task, now) for rule, task in self._fresh_flapping(one)
                ]

    def _fresh_flapping(self, seen: Seen) -> list[tuple[str, str]]:
        return [(rule, task) for rule, task in seen.decision.flapping if task not in self._flapping]

    def _hold_flapping(self, rule: str, task: str, now: datetime) -> int:
        """A need that came and went too often waits as a hold of its own (F30)."""
        self._flapping[task] = False
        name = self.facts.name
        return self.ledger.add_hold(
            name, FLAPPING, rule=rule, direction="open", count=1, tasks=(task,), now=now
        )

    def _learn_taken(self, seen: Seen) -> None:
        """A need that was somebody else's (an order that changed its patient) opens as a new generation (F11)."""
        for event in seen.decision.events:
            there = self.ledger.task(event.task) if event.kind is EventKind.OPENED else None
            if there is not None:
                self._taken[there.key] = OPEN_ELSEWHERE if there.open else there.generation

    def _committed(self, results: Sequence[LookResult], now: datetime, done: Looked) -> list[Request]:
        try:
            return self.ledger.commit_looks(results, now)
        except LedgerUnusable:
            raise
        except BatonError:
            return [r for result in results for r in self._alone(result, now, done)]

    def _alone(self, result: LookResult, now: datetime, done: Looked) -> list[Request]:
        try:
            return self.ledger.commit_looks([result], now)
        except LedgerUnusable:
            raise
        except BatonError:
            done.failed += 1
            self.ledger.failed(result.request, now + _BACK_OFF)
            return [result.request]

    def _hold_floods(self, now: datetime, done: Looked) -> None:
        """Look without committing at all whom Baton itself wants to be looked at; a flood waits as a hold."""
        asked = self.ledger.due_requests(self.facts.name, now, _EVERYBODY, but="resource")
        due = [request for request in asked if caused_by_baton(request)]
        changes: list[Counted] = []
        for start in range(0, len(due), READ_FOR):
            # With evidence: without it nothing opens. Who fails here rests, and is looked at no more in this run.
            looked = self._charted(due[start : start + READ_FOR], now, done)
            self._tell_lacking([one for one in looked if self._lacks(one)])
            seen, _ = self._read_for(looked, now, done)
            for one in seen:
                if one.chart.request:
                    changes += counted(one.chart.request, one.decision, one.rows)
        held: set[str] = set()
        for flood in floods(changes, limit=self._flood_limit):
            done.held.append(
                self.ledger.add_hold(
                    self.facts.name,
                    flood.cause,
                    rule=flood.rule,
                    direction=flood.direction,
                    count=len(flood.tasks),
                    tasks=flood.tasks,
                    now=now,
                )
            )
            held |= flood.persons
        for request in self._renewed([r for r in due if r.person in held], now):
            self.ledger.postpone(request, now + _UNTIL_RELEASED)


def _let_go(seen: Seen) -> Seen:
    """Without the snapshots, which have done their part: the memory is for the next person's."""
    return structs.replace(seen, chart=structs.replace(seen.chart, snapshots={}))


def _result(seen: Seen, known: Mapping[str, Words]) -> LookResult:
    """What a look wants stored; of its texts only those that differ from the ``known`` ones."""
    chart, decision = seen.chart, seen.decision
    assert chart.request is not None
    said = {task: words for task, words in decision.words.items() if known.get(task) != words}
    rewritten = {f"Task/{task}" for task in said if seen.rows[task].open}
    return LookResult(
        request=chart.request,
        expected={task.id: task.row_version for task in chart.tasks},
        plan_versions={plan.id: plan.row_version for plan in chart.plans},
        events=decision.events,
        words=said,
        wants=decision.wants | rewritten,
        plans=decision.plans,
        next_look=decision.next_look,
        edition=chart.edition,
    )

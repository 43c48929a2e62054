"""Looking: charts out of the ledger, the pure look, what it lacks read as evidence, the result committed.

A look commits only if the request and the task rows are still those that it read, else the person is looked at
again. A page of persons shares a transaction; one that fails is taken out, backs off, and is listed (F69).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from adapter.errors import BatonError
from adapter.facts.facts import Facts
from adapter.ledger import Ledger
from adapter.ledger.records import LookResult
from adapter.mapping.calendar import calendar_of
from adapter.mapping.evaluate import evaluate
from adapter.mapping.finding import Finding
from adapter.mapping.rules import Edition, Rule
from adapter.model import POLLED, Chart, EventKind, Known, Request, SourceFacts, Task
from adapter.reconcile.changes import ONE_BUSINESS_DAY, Deciding, Decision, ReadBackOf
from adapter.reconcile.guards import Counted, caused_by_baton, counted, floods
from adapter.reconcile.needs import needs_of
from adapter.references import Bases

PAGE = 100
ROUNDS = 4  # of evidence for one person: each round may show a next gap
_BACK_OFF = timedelta(minutes=5)
_UNTIL_RELEASED = timedelta(days=3650)  # a released hold asks for its persons anew
_EVERYBODY = 10_000_000

#: Reads the named types for one person and stores them; the types that were read completely.
EvidenceReader = Callable[[Sequence[str], frozenset[str]], frozenset[str]]

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


@dataclass(frozen=True, slots=True)
class Seen:
    """A person as looked at: the chart, the decision, and the rows that it leads to."""

    chart: Chart
    decision: Decision
    rows: Mapping[str, Task]
    errors: frozenset[str]


def look(chart: Chart, edition: Edition, read_back: ReadBackOf, bases: Bases) -> Seen:
    """The pure look at one person: facts, findings, needs, changes."""
    calendar = calendar_of(chart.source)
    facts = _facts(edition, chart, bases)
    findings = list(_findings(edition, facts, chart.now))
    deciding = Deciding(
        chart,
        needs_of(findings, chart),
        facts.guard,
        calendar,
        read_back,
        rules=frozenset(rule.id for rule in edition.rules),
    )
    decision = deciding.decide()
    decision = replace(decision, missing=decision.missing | unread_foci(edition, chart))
    return Seen(chart, decision, deciding.rows, frozenset(e for f in findings for e in f.errors))


def findings_of(edition: Edition, chart: Chart, bases: Bases) -> list[Finding]:
    """What every rule finds about every focus of a chart."""
    return list(_findings(edition, _facts(edition, chart, bases), chart.now))


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
    for type in {rule.resource for rule in _enabled(edition, chart.source)} - set(POLLED):
        speak = ("CoverageEligibilityResponse",) if type == "Coverage" else POLLED
        causes = [s.received_seq for s in chart.snapshots.values() if s.type in speak]
        known = chart.known.get(type, Known())
        if causes and not known.declared_none and not known.blind and known.seq < max(causes):
            wanted.add(type)
    return frozenset(wanted)


def _enabled(edition: Edition, source: SourceFacts) -> list[Rule]:
    return [r for r in edition.rules if r.id not in source.disabled and (r.enabled or r.id in source.enabled)]


def _findings(edition: Edition, facts: Facts, now: datetime) -> Iterable[Finding]:
    for rule in _enabled(edition, facts.chart.source):
        for focus in facts.focuses(rule.resource):
            yield evaluate(rule, focus, facts, now=now)


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
        flood_limit: int | None = None,
    ) -> None:
        self.ledger = ledger
        self.edition = edition
        self.facts = facts
        self.active = active
        self.bases = bases
        self._read_back = read_back
        self._evidence = evidence
        self._flood_limit = flood_limit

    def run(self, now: datetime, *, told: Callable[[int], None] | None = None) -> Looked:
        """Look at everybody who asks, until nobody does (each person a bounded number of times).

        ``told`` hears after each page how many persons were looked at.
        """
        total = Looked()
        self._hold_floods(now, total)
        tries: Counter[str] = Counter()
        while True:
            requests = [
                r for r in self.ledger.due_requests(self.facts.name, now, PAGE) if tries[r.person] < ROUNDS
            ]
            if not requests:
                return total
            tries.update(r.person for r in requests)
            total.add(self._page_of(requests, now))
            if told is not None:
                told(total.persons)
        return total

    def _page_of(self, requests: Sequence[Request], now: datetime) -> Looked:
        seen, done = self._look_at(requests, now)
        return self._commit(seen, now, done)

    def _look_at(self, requests: Sequence[Request], now: datetime) -> tuple[list[Seen], Looked]:
        done = Looked()
        seen = self._charted(requests, now, done)
        for _ in range(ROUNDS):
            lacking = [s for s in seen if s.decision.missing and s.chart.request]
            if not lacking or self._evidence is None:
                break
            read = {s.chart.person for s in lacking if self._evidence(s.chart.patients, s.decision.missing)}
            again = [s.chart.request for s in lacking if s.chart.person in read and s.chart.request]
            if not again:
                break
            fresh = self._charted(self._renewed(again, now), now, done)
            seen = [s for s in seen if s.chart.person not in read] + fresh
        done.persons = len(seen)
        return seen, done

    def _renewed(self, requests: Sequence[Request], now: datetime) -> list[Request]:
        """The requests as they stand now: evidence that arrived has renewed them."""
        held = {r.person: r for r in self.ledger.requests(self.facts.name)}
        return [held.get(request.person, request) for request in requests]

    def _charted(self, requests: Sequence[Request], now: datetime, done: Looked) -> list[Seen]:
        charts = self.ledger.charts(requests, self.facts, now, self.active)
        seen = []
        for chart in charts:
            try:
                seen.append(look(chart, self.edition, self._read_back, self.bases))
            except (BatonError, ArithmeticError, LookupError, TypeError, ValueError, AssertionError) as error:
                # One person's chart must not stop everybody's: she backs off and is listed.
                done.failed += 1
                done.errors.add(f"a look failed: {type(error).__name__}")
                if chart.request:
                    self.ledger.failed(chart.request, now + _BACK_OFF * 2 ** min(chart.request.failures, 6))
        return seen

    def _commit(self, seen: Sequence[Seen], now: datetime, done: Looked) -> Looked:
        results = {s.chart.person: self._result(s) for s in seen}
        refused = {r.person for r in self._committed(list(results.values()), now, done)}
        for one in seen:
            if one.chart.person in results and one.chart.person not in refused:
                done.tasks.update(_COUNTED[e.kind] for e in one.decision.events if e.kind in _COUNTED)
                done.errors |= one.errors
        return done

    def _committed(self, results: Sequence[LookResult], now: datetime, done: Looked) -> list[Request]:
        try:
            return self.ledger.commit_looks(results, now)
        except BatonError:
            return [r for result in results for r in self._alone(result, now, done)]

    def _alone(self, result: LookResult, now: datetime, done: Looked) -> list[Request]:
        try:
            return self.ledger.commit_looks([result], now)
        except BatonError:
            done.failed += 1
            self.ledger.failed(result.request, now + _BACK_OFF)
            return [result.request]

    def _hold_floods(self, now: datetime, done: Looked) -> None:
        """Look without committing at all whom Baton itself wants to be looked at; a flood waits as a hold."""
        due = [r for r in self.ledger.due_requests(self.facts.name, now, _EVERYBODY) if caused_by_baton(r)]
        changes: list[Counted] = []
        for start in range(0, len(due), PAGE):
            for one in self._charted(due[start : start + PAGE], now, Looked()):
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
        for request in due:
            if request.person in held:
                self.ledger.postpone(request, now + _UNTIL_RELEASED)

    def _result(self, seen: Seen) -> LookResult:
        chart, decision = seen.chart, seen.decision
        assert chart.request is not None
        known = self.ledger.words(list(decision.words))
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

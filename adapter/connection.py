"""A source that answers: its capability and the right to write there, and the steps of a pass, one by one.

``sync`` takes the steps in order, once; the running service takes each in its own time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from msgspec import structs

from adapter import notes
from adapter.errors import AccessRefused, NotFound, Rejected
from adapter.facts import history
from adapter.fhir import Capability, FhirClient
from adapter.fhirjson import digest, dumps, loads
from adapter.ledger import Ledger
from adapter.mapping.rules import Edition
from adapter.model import POLLED, Chart, Event, SnapshotState, SourceFacts, Task
from adapter.polling import (
    Evidence,
    OpenWork,
    PatientReader,
    Poller,
    PollingContext,
    PollResult,
    ReadReport,
)
from adapter.polling.sweep import Sweep, SweepReport
from adapter.reconcile.reconciler import Looked, Reconciler
from adapter.report import PassOptions, Progress, SourceReport, SyncReport, no_progress
from adapter.settings import SourceSettings
from adapter.writeback.codes import plan_system
from adapter.writeback.deliver import Delivery, DeliverySettings
from adapter.writeback.identity import WriterContext
from adapter.writeback.owners import deleted, readback
from adapter.writeback.report import Report
from adapter.writeback.versions import number_in, same_version, taken_before, version_mark

_SWEEP_AGAIN = timedelta(hours=1)
_ASKED_WITHIN_AGE = 12
ROUNDS = 5  # of write, read back, look again within one pass
TYPES = (*POLLED, "Task")


@dataclass(slots=True)
class Connection:
    """One source, connected.

    ``writer`` None: nothing may be written here. ``facts`` says what looks have to know of the source now;
    ``active`` is the edition that they go by, ``paused`` the rules that a person has paused. ``tags`` and
    ``security`` stand on what is written. ``keep_bytes``: how long what was quarantined keeps its content.
    """

    settings: SourceSettings
    ledger: Ledger
    edition: Edition
    active: str
    client: FhirClient
    context: PollingContext
    capability: Capability
    writer: WriterContext | None
    facts: Callable[[], SourceFacts]
    paused: Callable[[], frozenset[str]] = frozenset
    tags: tuple[dict[str, str], ...] = ()
    security: tuple[dict[str, str], ...] = ()
    keep_bytes: timedelta = timedelta(days=30)
    _poller: Poller = field(init=False)
    _patients: PatientReader = field(init=False)

    def __post_init__(self) -> None:
        self._poller = Poller(self.context)
        self._patients = PatientReader(self.context)

    @property
    def now(self) -> datetime:
        """The source's own now."""
        return self.client.clock.now()

    # --- polling

    def poll(
        self, mine: SourceReport, types: Iterable[str] = TYPES, progress: Progress = no_progress
    ) -> list[str]:
        """Walk these types from their watermarks, in order: what a rule looks for comes after what it is about.

        The types whose walk did not reach its end, and was not refused: they are to be tried again soon.
        """
        unfinished = []
        for type in self.settings.types:
            self._poller.declare_none(type)
        for type in types:
            if type in self.settings.types:
                continue
            if self.capability.types and type not in self.capability.types:
                self._blind(type, mine)
                continue
            progress(f"{self.settings.name}: polling {type}")
            result = self._poller.poll(type)
            self._polled(result, mine)
            if not result.complete and not result.blind:
                unfinished.append(type)
        return unfinished

    def _blind(self, type: str, mine: SourceReport) -> None:
        row = self.ledger.walk(self.settings.name, type)
        if not row.blind:
            self.ledger.save_walk(replace(row, blind="not offered", blind_since=self.now))
        mine.blind.append(type)
        mine.errors.append(
            f"{type} is not offered by this server: the rules that need it do nothing"
            f" → if this EHR has none, say so: `types: {{{type}: none}}`"
        )

    def _polled(self, result: PollResult, mine: SourceReport) -> None:
        """Take in a walk; a type may be walked a second time, for looks that lack it."""
        mine.polled[result.type] = mine.polled.get(result.type, 0) + result.received
        mine.changed[result.type] = mine.changed.get(result.type, 0) + result.changed
        mine.quarantined += result.quarantined
        mine.errors += result.errors
        mine.notes += result.notes
        mine.blind += [result.type] if result.blind else []
        signed_out = result.blind == "401"  # no matter of one type
        lost = bool(result.errors and not result.complete and (signed_out or not result.blind))
        mine.failed = mine.failed or lost

    def refresh(self, mine: SourceReport) -> None:
        """Read the Patients that were named and not read yet, by id or by identifier, those of open work that were
        not read lately (who died must not be called), and, once a business day, all open work (F7)."""
        mine.errors += self._patients.find_named().errors
        mine.errors += self._patients.refresh_pending().errors
        Evidence(self.context, self._patients).retry_refused()
        self._reread_patients(mine)
        self._tell_traces()
        work, day = OpenWork(self.context), f"{self.now.astimezone(self.settings.zone):%Y-%m-%d}"
        if work.due(day):
            self.ledger.expire_quarantine(self.now - self.keep_bytes)
            done = work.reread(day)
            mine.errors += done.errors
            if done.lost:  # the server lost them, nobody deleted them: they are written again
                self.ledger.want(done.lost)

    def _tell_traces(self) -> None:
        """Tell of some rows what looks may pass over, where it was not told yet, or by other elements than now."""
        keeper, name = self.context.keeper, self.settings.name
        told, kept = digest([history.EDITION, sorted(keeper.elements_by_edition())]), notes.traces(name)
        before = self.ledger.note(kept)
        if before != told:
            if before:
                self.ledger.forget_traces(name)
            self.ledger.keep_note(kept, told)
        self.ledger.tell_traces(name, self.client.bases, keeper.edition_of)

    def _reread_patients(self, mine: SourceReport) -> None:
        """Read those Patients of open work who would be older than allowed before this is asked again.

        Asked as often as twelve times within the age that is allowed, not with every pass: the answer takes a walk
        over all open work.
        """
        name, allowed = self.settings.name, timedelta(seconds=self.facts().evidence_max_age_s)
        pause = allowed / _ASKED_WITHIN_AGE
        said = self.ledger.note(notes.patients_asked(name))
        if said and timedelta(0) <= self.now - datetime.fromisoformat(said) < pause:
            return
        stale = self.ledger.stale_patients(name, self.now - allowed + pause)
        errors = self._patients.refresh(stale, always=True).errors
        mine.errors += errors
        if not errors:
            self.ledger.keep_note(notes.patients_asked(name), self.now.isoformat())

    def sweep(self, type: str) -> Sweep:
        """A full sweep of one type, to be run or stepped through; tell its report to :meth:`swept`."""
        return Sweep(self.context, type)

    def sweep_due(self) -> str:
        """The type whose sweep is due: never swept since its first complete walk, or too long ago; "" where none."""
        every = self.settings.sweep
        for type in TYPES if every else ():
            if type in self.settings.types or type not in self.capability.types:
                continue
            walk, said = (
                self.ledger.walk(self.settings.name, type),
                sweep_of(self.ledger, self.settings.name, type),
            )
            if walk.known_at is None or walk.blind:
                continue
            tried = datetime.fromisoformat(said["at"]) if said else None
            if tried is None or self.now - tried >= (every if said.get("complete") else _SWEEP_AGAIN):
                return type
        return ""

    def swept(self, report: SweepReport) -> None:
        """A sweep has ended: what it found is kept, and own Tasks that the server lost are written again."""
        if report.lost:
            self.ledger.want(report.lost)
        if report.type == "Task" and self.writer is not None:
            self.ledger.want(self._plans_astray())
        self._keep_sweep(report)

    def _plans_astray(self) -> list[str]:
        """Care plans that the server does not have as they were acknowledged: no poll reads them, a delivery will."""
        assert self.writer is not None
        params = [("identifier", f"{plan_system(self.writer.namespace)}|"), ("_elements", "id,meta")]
        there: dict[str, str] = {}  # id → which version
        try:
            for page in self.client.pages("CarePlan", [*params, ("_count", "200")]):
                for entry in page.entries:
                    body = entry.resource or {}
                    there[str(body.get("id"))] = version_mark(number_in(body), body)
        except (AccessRefused, NotFound, Rejected):
            return []  # not searched here
        held = [plan for plan in self.ledger.plans(self.settings.name) if plan.seen_version and not plan.gone]
        return [
            f"CarePlan/{plan.id}"
            for plan in held
            if not same_version(there.get(plan.id, ""), plan.seen_version)
        ]

    def sweep_failed(self, report: SweepReport) -> None:
        """A sweep was cut short: it begins again in a while."""
        self._keep_sweep(report)

    def _keep_sweep(self, report: SweepReport) -> None:
        said = {
            "at": self.now.isoformat(),
            "complete": report.complete,
            "missed": report.missed,
            "listed": report.listed,
            "said": report.sentence() if report.complete else f"{report.type}: the sweep did not end",
        }
        self.ledger.keep_note(notes.sweep(self.settings.name, report.type), dumps(said).decode())

    # --- looking

    def look(
        self, report: SyncReport, mine: SourceReport, progress: Progress = no_progress, people: int = 0
    ) -> None:
        """Look at everybody who asks for it, reading what is lacking; ``people`` is how many that may be."""
        name = self.settings.name
        progress(f"{name}: looking")
        unread: set[str] = set()
        evidence = Evidence(self.context, self._patients, self._poller)
        looked = self._reconciler(unread, evidence).run(
            self.now, told=lambda done: progress(f"{name}: looking", done, max(people, done))
        )
        for result in evidence.walked.values():
            self._polled(result, mine)
        mine.failed = mine.failed or bool(evidence.unread)
        evidence.ask_again()
        mine.blind += sorted(set(self.ledger.refused_reads(name)) - set(mine.blind))
        self._looked(looked, report, mine)
        mine.errors += sorted(unread - set(mine.errors))

    def _reconciler(self, unread: set[str], evidence: Evidence) -> Reconciler:
        """``unread`` gathers what could not be read for somebody, without saying for whom."""
        facts = self._knowing_what_is_kept(self.facts())

        def read(persons: Sequence[str], types: frozenset[str]) -> frozenset[str]:
            done = set()
            for type in sorted(types):
                reports = [evidence.read_for(patient, type) for patient in persons]
                if all(report.complete for report in reports):
                    done.add(type)
                unread.update(_unread(report) for report in reports if report.reason)
            return frozenset(done)

        return Reconciler(
            self.ledger,
            self.edition,
            facts,
            self.active,
            bases=self.client.bases,
            read_back=self._read_back(facts),
            evidence=read,
            foresee=evidence.foresee,
        )

    def _knowing_what_is_kept(self, facts: SourceFacts) -> SourceFacts:
        """What rows of former editions lack: a rule that names it is unknown there until they are read again (F9)."""
        present = {e: sorted(names) for e, names in self.context.keeper.elements_by_edition().items()}
        text = self.ledger.note(notes.KEPT)
        held: dict[str, list[str]] = loads(text) if text else {}
        if not present.items() <= held.items():
            held |= present
            self.ledger.keep_note(notes.KEPT, dumps(held).decode())
        wanted = frozenset(name for names in present.values() for name in names)
        former = {e: wanted - frozenset(names) for e, names in held.items() if e not in present}
        return structs.replace(facts, lacks={e: lacking for e, lacking in former.items() if lacking})

    def _read_back(self, facts: SourceFacts) -> Callable[[Task, Chart], Sequence[Event]]:
        def events(task: Task, chart: Chart) -> Sequence[Event]:
            snapshot = chart.snapshots.get(f"Task/{task.id}")
            if snapshot is None or task.gone:
                return ()
            if snapshot.state is SnapshotState.DELETED:
                return (deleted(task, now=chart.now),)
            if snapshot.state is SnapshotState.QUARANTINED:
                return ()
            mark = version_mark(snapshot.version, snapshot.body, snapshot.last_updated)
            if same_version(mark, task.seen_version):
                return ()
            return readback(
                task,
                snapshot.body,
                mark,
                written=chart.written,
                attempts=chart.attempts,
                now=chart.now,
                system_actors=facts.system_actors,
                bases=self.client.bases,
                zone=facts.zone,
                seen_before=taken_before(mark, self.ledger.task_events(task.id)),
            ).events

        return events

    def _looked(self, looked: Looked, report: SyncReport, mine: SourceReport) -> None:
        report.tasks.update(looked.tasks)
        report.failed += looked.failed
        report.holds += looked.held
        mine.errors += sorted(looked.errors)

    # --- writing

    def may_write(self, mine: SourceReport) -> bool:
        """Whether nothing forbids writing: no pause by a person, no doubt whether the EHR was put back."""
        row = self.ledger.source(self.settings.name)
        if self.writer is None or row is None:
            return False
        if row.paused:
            mine.notes.append("writing is paused: see `baton resume`")
            return False
        if row.suspect:
            mine.errors.append(f"nothing is written: {row.suspect}")
            mine.failed = True
            return False
        return True

    def deliver(self, report: SyncReport, mine: SourceReport, options: PassOptions | None = None) -> None:
        """Write what is wanted, and look again at what a person changed meanwhile.

        Raises:
            Unsafe: this ledger may not write here (any more).
        """
        options = options or PassOptions()
        if not self.may_write(mine):
            return
        options.progress(f"{self.settings.name}: writing")
        delivery = self._delivery(options)
        if options.dry_run:
            wanted = self.ledger.due_writes(self.settings.name, self.now, 10_000_000)
            report.targets += [row.target for row in wanted]
        for _ in range(ROUNDS):
            done = delivery.run(self.now, dry_run=options.dry_run)
            self._written(done, report, mine)
            if options.dry_run:
                return
            self.look(report, mine)
            if not done.looks and not self.ledger.due_writes(self.settings.name, self.now, 1):
                return

    def _delivery(self, options: PassOptions) -> Delivery:
        assert self.writer is not None
        facts = self.facts()
        settings = DeliverySettings(
            source=facts,
            tags=self.tags,
            security=self.security,
            longest_request_s=self.settings.limits.total.total_seconds() + 30.0,
            only=options.only,
            paused=self.paused(),
        )
        return Delivery(self.client, self.ledger, self.writer, settings, keeper=self.context.keeper)

    def _written(self, done: Report, report: SyncReport, mine: SourceReport) -> None:
        report.writes.update(done.written)
        report.writes["unchanged"] += done.unchanged
        report.writes["parked"] += done.parked
        report.differences += done.differences
        for difference in done.differences:  # a dry run counts what it would write
            report.writes[difference.lstrip("+~- ").partition("/")[0]] += 1
        mine.errors += done.errors
        mine.failed = mine.failed or done.refused or done.failed > 0


def sweep_of(ledger: Ledger, source: str, type: str) -> dict[str, Any]:
    """What the latest sweep of a type said: ``at``, ``complete``, ``missed``, ``listed``, ``said``; {} where none."""
    text = ledger.note(notes.sweep(source, type))
    found: dict[str, Any] = loads(text) if text else {}
    return found


def _unread(report: ReadReport) -> str:
    """Why evidence could not be read, and what to do."""
    if report.type == "Patient":
        return report.reason
    remedy = "the next pass tries again" if report.passing else "baton check"
    return f"{report.type} cannot be read ({report.reason}) → {remedy}"

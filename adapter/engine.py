"""One source's parts, and one pass over it: take the right to write, adopt, walk, look, write, look again."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Protocol

from adapter.clock import Clock
from adapter.errors import AccessRefused, Gone, NotFound, ServerError, Unsafe, UsageError
from adapter.facts.keep import Keeper
from adapter.fhir import Capability, FhirClient, Limits
from adapter.fhirjson import digest, loads
from adapter.ledger import Ledger, SourceRow
from adapter.mapping.rules import Edition
from adapter.model import EVIDENCE, POLLED, Chart, Event, SnapshotState, SourceFacts, Task
from adapter.polling import (
    Budget,
    Evidence,
    OpenWork,
    PatientReader,
    Poller,
    PollingContext,
    PollResult,
    QuarantineRetry,
)
from adapter.polling.retry import Retried
from adapter.reconcile.reconciler import Looked, Reconciler
from adapter.settings import Settings, SourceSettings
from adapter.writeback.adopt import adopt
from adapter.writeback.deliver import Delivery, DeliverySettings
from adapter.writeback.identity import WriterContext, claim, draw_namespace, keep_namespace_hint
from adapter.writeback.owners import deleted, readback
from adapter.writeback.report import Report

MOVED_SAMPLE = 50  # known ids that must be found at a new base URL
ROUNDS = 5  # of write, read back, look again within one pass
HTEST = {"system": "http://terminology.hl7.org/CodeSystem/v3-ActReason", "code": "HTEST"}
PAUSED_RULES = "paused-rules"  # the ledger's note of rules that a person has paused or withdrawn


class Progress(Protocol):
    """Told what is going on, and how far where that is known."""

    def __call__(self, text: str, done: int = 0, total: int = 0) -> None: ...


def no_progress(text: str, done: int = 0, total: int = 0) -> None:
    """Nobody is told."""


@dataclass(frozen=True, slots=True)
class PassOptions:
    """How a pass is made.

    ``only`` are the targets ("Task/...", "CarePlan/...") of a saved plan: of them what is still wanted is
    written, and nothing else. ``dry_run`` belongs on a copy of the ledger.
    """

    take_over: bool = False
    dry_run: bool = False
    only: frozenset[str] | None = None
    progress: Progress = no_progress


@dataclass(slots=True)
class SourceReport:
    """What a pass did at one source. ``polled`` counts what was received, by type; ``errors`` are safe to print."""

    name: str
    polled: dict[str, int] = field(default_factory=dict)
    changed: dict[str, int] = field(default_factory=dict)
    quarantined: int = 0
    errors: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    failed: bool = False


@dataclass(slots=True)
class SyncReport:
    """What a pass did in all."""

    sources: list[SourceReport] = field(default_factory=list)
    tasks: Counter[str] = field(default_factory=Counter)
    writes: Counter[str] = field(default_factory=Counter)
    differences: list[str] = field(default_factory=list)
    targets: list[str] = field(default_factory=list)
    holds: list[int] = field(default_factory=list)
    failed: int = 0
    waiting: int = 0  # in quarantine, parked or held, since this pass or an earlier one

    def as_json(self) -> dict[str, Any]:
        """The object that ``sync --json`` prints."""
        return {
            "sources": [
                {
                    "name": s.name,
                    "polled": s.polled,
                    "changed": s.changed,
                    "quarantined": s.quarantined,
                    "errors": s.errors,
                }
                for s in self.sources
            ],
            "tasks": {
                name: self.tasks[name]
                for name in ("opened", "revised", "completed", "withdrawn", "held", "escalated")
            },
            "writes": {name: self.writes[name] for name in ("Task", "CarePlan", "unchanged", "parked")},
        }

    @property
    def exit_code(self) -> int:
        """0 done, 1 a source failed, 3 done with something that needs a person."""
        if any(source.failed for source in self.sources):
            return 1
        return 3 if self.waiting or self.holds or self.failed else 0


@dataclass(slots=True)
class SourceCheck:
    """What ``check`` found at one source, in plain words."""

    name: str
    ok: bool
    lines: list[str]


def edition_of(edition: Edition, settings: Settings) -> str:
    """The name of what looks go by: mappings, value sets, clocks, and the settings that rules see."""
    seen = {
        "parameters",
        "completed_means",
        "disabled",
        "enabled",
        "codes",
        "types",
        "calendar",
        "timezone",
        "roles",
        "opt_out",
    }
    sources = [source.model_dump(mode="json", include=seen) for source in settings.sources]
    parts = [edition.hash, settings.parameters, [_sorted(source) for source in sources]]
    return digest(parts)[:16]


def _sorted(dumped: Any) -> Any:
    """Sets have no order of their own: a restart must not look like another configuration."""
    if isinstance(dumped, dict):
        return {name: _sorted(value) for name, value in dumped.items()}
    return sorted(dumped, key=str) if isinstance(dumped, list) else dumped


class Engine:
    """The parts of one source, and one pass over it."""

    def __init__(
        self, settings: Settings, source: SourceSettings, ledger: Ledger, edition: Edition, clock: Clock
    ) -> None:
        self.root = settings
        self.settings = source
        self.ledger = ledger
        self.edition = edition
        self.client = FhirClient(
            source.base_url,
            name=source.name,
            headers=source.headers,
            token=source.credential(),
            limits=_limits(source),
            clock=clock,
            seq=ledger.seq,
            aliases=source.aliases,
            verify=str(source.ca_file) if source.ca_file else True,
        )
        full = {"Task"} | (
            set(edition.types) | set(POLLED) | set(EVIDENCE) if source.store == "full" else set()
        )
        elements = _with_opt_out(edition.elements, source)
        self.keeper = Keeper(elements, full_types=frozenset(full), bases=self.client.bases)
        self._budget = Budget(source.limits.calls_per_minute, clock)
        self._clock = clock
        self._capability: Capability | None = None

    @property
    def namespace(self) -> str:
        """The configured namespace, or the one drawn for this ledger."""
        return self.root.namespace or draw_namespace(self.ledger)

    @property
    def now(self) -> datetime:
        """The source's own now."""
        return self.client.clock.now()

    def refuse_production(self, verb: str) -> None:
        """Test verbs never touch a production source."""
        if self.settings.environment != "test":
            raise UsageError(
                f"{verb} refuses the source {self.settings.name}: it is a production source",
                remedy="set `environment: test` for a server that holds no real patients",
            )

    # --- one pass

    def run_pass(self, report: SyncReport, options: PassOptions) -> None:
        """Walk, look, write, and look again at what a person changed meanwhile. Faults of the server end here."""
        mine = SourceReport(self.settings.name)
        report.sources.append(mine)
        try:
            self._pass(report, mine, options)
        except ServerError as fault:
            mine.errors.append(str(fault))
            mine.failed = True

    def _pass(self, report: SyncReport, mine: SourceReport, options: PassOptions) -> None:
        name, progress = self.settings.name, options.progress
        progress(f"{name}: connecting")
        self._capability = Capability(self.client.capability())
        self.known_to_ledger()
        writer = self._writer(options, mine) if self.settings.write_back or options.dry_run else None
        context = self._context()
        self._poll(context, mine, progress)
        patients = PatientReader(context)
        mine.errors += patients.refresh_pending().errors
        self._reread(context, mine)
        facts = self.facts()
        unread: set[str] = set()
        reconciler = self._reconciler(facts, context, patients, unread)
        progress(f"{name}: looking")
        people = len(self.ledger.requests(name))
        looked = reconciler.run(
            self.now, told=lambda done: progress(f"{name}: looking", done, max(people, done))
        )
        self._looked(looked, report, mine)
        if writer is not None and not self._suspect(mine):
            progress(f"{name}: writing")
            self._deliver(
                self._delivery(writer, facts, options), reconciler, report, mine, dry_run=options.dry_run
            )
        mine.errors += sorted(unread)

    def known_to_ledger(self) -> None:
        """Save what the ledger has to know of this source before anything else: its key, drawn once."""
        if self.settings.was:
            self.ledger.rename_source(self.settings.was, self.settings.name, self.now)
        held = self.ledger.source(self.settings.name)
        row = held or SourceRow(name=self.settings.name, key=secrets.token_hex(4))
        if held and held.base_url and not _same_place(held.base_url, self.settings.base_url):
            self._moved()
        self.ledger.save_source(
            replace(
                row,
                base_url=self.settings.base_url,
                environment=self.settings.environment,
                namespace=self.namespace,
                aliases=tuple(self.settings.aliases),
                live_from=row.live_from or self.now,
            )
        )

    def _moved(self) -> None:
        """A new base URL is the same EHR only if a person says so and what is known is found there (F51)."""
        name = self.settings.name
        if not self.settings.moved:
            raise Unsafe(
                f"{name}: its base URL has changed",
                remedy="if it is the same EHR at a new address, set `moved: true`; else give the source a new name",
            )
        known = [
            held.ref
            for type in ("Task", *POLLED)
            for held in self.ledger.inventory(name, type)
            if held.state is SnapshotState.LIVE
        ]
        for ref in known[:MOVED_SAMPLE]:
            type, _, id = ref.partition("/")
            try:
                self.client.read(type, id)
            except (NotFound, Gone):
                raise Unsafe(
                    f"{name}: a {type} that this ledger knows is not at the new base URL",
                    remedy="this is another EHR: give it a source of its own, under a new name",
                ) from None

    def _writer(self, options: PassOptions, mine: SourceReport) -> WriterContext:
        name = self.settings.name
        if options.dry_run:
            row = self.ledger.source(name)
            assert row is not None
            return WriterContext(
                name,
                self.namespace,
                row.device,
                self.ledger.ledger_id,
                row.epoch,
                row.incarnation,
            )
        writer = claim(
            name,
            self.client,
            self.ledger,
            namespace=self.namespace,
            environment=self.settings.environment,
            take_over=options.take_over,
            now=self.now,
            drawn=not self.root.namespace,
            tags=self._tags(),
            security=self._security(),
        )
        if not self.root.namespace:
            mine.notes.append(keep_namespace_hint(self.namespace))
        if writer.adopt:
            adopt(writer, self.client, self.ledger, now=self.now, zone=self.settings.zone, keeper=self.keeper)
        return writer

    def _context(self) -> PollingContext:
        return PollingContext(
            source=self.settings.name,
            client=self.client,
            ledger=self.ledger,
            keeper=self.keeper,
            clock=self._clock,
            budget=self._budget,
            namespace=self.namespace,
            capability=self._capability,
            search=self.settings.filters(POLLED),
            since=self.settings.bounds(POLLED),
            page_size=self.settings.page_size,
            overlap_s=self.settings.overlap.total_seconds(),
        )

    def _poll(self, context: PollingContext, mine: SourceReport, progress: Progress) -> None:
        poller = Poller(context)
        for type in self.settings.types:
            poller.declare_none(type)
        for type in (*POLLED, "Task"):
            if type in self.settings.types:
                continue
            if self._capability is not None and self._capability.types and type not in self._capability.types:
                self._blind(type)
                continue
            progress(f"{self.settings.name}: polling {type}")
            self._polled(poller.poll(type), mine)

    def _blind(self, type: str) -> None:
        row = self.ledger.walk(self.settings.name, type)
        if not row.blind:
            self.ledger.save_walk(replace(row, blind="not offered", blind_since=self.now))

    def _polled(self, result: PollResult, mine: SourceReport) -> None:
        mine.polled[result.type] = result.received
        mine.changed[result.type] = result.changed
        mine.quarantined += result.quarantined
        mine.errors += result.errors
        mine.failed = mine.failed or bool(result.errors and not result.complete and not result.blind)

    def _reread(self, context: PollingContext, mine: SourceReport) -> None:
        """Open work is read by id once a business day, whatever the polls see (F7)."""
        work, day = OpenWork(context), f"{self.now.astimezone(self.settings.zone):%Y-%m-%d}"
        if work.due(day):
            done = work.reread(day)
            mine.errors += done.errors
            if done.lost:  # the server lost them, nobody deleted them: they are written again
                self.ledger.want(done.lost)

    def _suspect(self, mine: SourceReport) -> bool:
        row = self.ledger.source(self.settings.name)
        if row is not None and row.paused:
            mine.notes.append("writing is paused: see `baton resume`")
            return True
        if row is None or not row.suspect:
            return False
        mine.errors.append(f"nothing is written: {row.suspect}")
        mine.failed = True
        return True

    def facts(self) -> SourceFacts:
        """What looks have to know of this source now."""
        row = self.ledger.source(self.settings.name)
        assert row is not None
        facts = self.root.source_facts(
            self.settings, key=row.key, live_from=row.live_from, codes=self.edition.codes
        )
        paused = self.ledger.note(PAUSED_RULES)
        return replace(facts, disabled=facts.disabled | set(loads(paused))) if paused else facts

    def _reconciler(
        self, facts: SourceFacts, context: PollingContext, patients: PatientReader, unread: set[str]
    ) -> Reconciler:
        """``unread`` gathers what could not be read for somebody, without saying for whom."""
        evidence = Evidence(context, patients)

        def read(persons: Sequence[str], types: frozenset[str]) -> frozenset[str]:
            done = set()
            for type in sorted(types):
                reports = [evidence.read_for(patient, type) for patient in persons]
                if all(report.complete for report in reports):
                    done.add(type)
                unread.update(f"{type} cannot be read ({r.reason})" for r in reports if r.reason)
            return frozenset(done)

        return Reconciler(
            self.ledger,
            self.edition,
            facts,
            edition_of(self.edition, self.root),
            bases=self.client.bases,
            read_back=self._read_back(facts),
            evidence=read,
        )

    def _read_back(self, facts: SourceFacts) -> Callable[[Task, Chart], Sequence[Event]]:
        def events(task: Task, chart: Chart) -> Sequence[Event]:
            snapshot = chart.snapshots.get(f"Task/{task.id}")
            if snapshot is None or task.gone:
                return ()
            if snapshot.state is SnapshotState.DELETED:
                return (deleted(task, now=chart.now),)
            if snapshot.state is SnapshotState.QUARANTINED:
                return ()
            return readback(
                task,
                snapshot.body,
                snapshot.version,
                written=chart.written,
                attempts=chart.attempts,
                now=chart.now,
                system_actors=facts.system_actors,
                bases=self.client.bases,
                zone=facts.zone,
            ).events

        return events

    def _looked(self, looked: Looked, report: SyncReport, mine: SourceReport) -> None:
        report.tasks.update(looked.tasks)
        report.failed += looked.failed
        report.holds += looked.held
        mine.errors += sorted(looked.errors)

    def _delivery(self, writer: WriterContext, facts: SourceFacts, options: PassOptions) -> Delivery:
        settings = DeliverySettings(
            source=facts,
            tags=self._tags(),
            security=self._security(),
            longest_request_s=self.settings.limits.total.total_seconds() + 30.0,
            only=options.only,
        )
        return Delivery(self.client, self.ledger, writer, settings, keeper=self.keeper)

    def _deliver(
        self,
        delivery: Delivery,
        reconciler: Reconciler,
        report: SyncReport,
        mine: SourceReport,
        *,
        dry_run: bool,
    ) -> None:
        if dry_run:
            wanted = self.ledger.due_writes(self.settings.name, self.now, 10_000_000)
            report.targets += [row.target for row in wanted]
        for _ in range(ROUNDS):
            done = delivery.run(self.now, dry_run=dry_run)
            self._written(done, report, mine)
            if dry_run:
                return
            self._looked(reconciler.run(self.now), report, mine)
            if not done.looks and not self.ledger.due_writes(self.settings.name, self.now, 1):
                return

    def _written(self, done: Report, report: SyncReport, mine: SourceReport) -> None:
        report.writes.update(done.written)
        report.writes["unchanged"] += done.unchanged
        report.writes["parked"] += done.parked
        report.differences += done.differences
        for difference in done.differences:  # a dry run counts what it would write
            report.writes[difference.lstrip("+~- ").partition("/")[0]] += 1
        mine.errors += done.errors
        mine.failed = mine.failed or done.refused

    def _tags(self) -> tuple[dict[str, str], ...]:
        """What bounds a source by a tag stands on what is written there, too: so a test run finds all of it again."""
        found = [
            value
            for pairs in self.settings.filters(POLLED).values()
            for name, value in pairs
            if name == "_tag"
        ]
        tags = [value.rpartition("|") for value in dict.fromkeys(found) if "," not in value]
        return tuple({"system": system, "code": code} for system, _, code in tags if system and code)

    def _security(self) -> tuple[dict[str, str], ...]:
        return (HTEST,) if self.settings.environment == "test" else ()

    # --- other verbs

    def retry(self, number: int) -> bool:
        """Read one quarantined resource by id again."""
        return QuarantineRetry(self._context()).retry(number) in (Retried.STORED, Retried.GONE)

    def check(self) -> SourceCheck:
        """Say per type what will work and what will not."""
        name = self.settings.name
        try:
            capability = Capability(self.client.capability())
        except ServerError as fault:
            return SourceCheck(name, False, [str(fault)])
        lines = [f"{capability.software or 'a FHIR server'}, FHIR {capability.fhir_version}"]
        lines += capability.explain(sorted({*POLLED, *EVIDENCE, "Patient", "Task", "CarePlan", "Device"}))
        lines += self._spoken_to()
        lines += self._mentions()
        return SourceCheck(name, True, lines)

    def _spoken_to(self) -> list[str]:
        """One search of each type with the token: metadata is often open, data is not."""
        lines = []
        for type in sorted({*POLLED, *EVIDENCE, "Task"} - set(self.settings.types)):
            try:
                self.client.search(type, [("_count", "1")])
            except (AccessRefused, NotFound) as fault:
                rules = [rule.id for rule in self.edition.touched_by(type)]
                what = f"; the rules that need it do nothing: {', '.join(rules)}" if rules else ""
                lines.append(f"{type} cannot be read ({fault.status}){what}")
                if type == "Encounter":
                    lines.append(
                        "without Encounter nobody knows who lies in hospital, and no outreach task opens; "
                        "if this EHR has none, say `types: {Encounter: none}`"
                    )
            except ServerError:
                continue  # many EHRs search only by patient: what that means shows when they are polled
        return lines

    def _mentions(self) -> list[str]:
        lines = []
        skew = self.client.clock.skew()
        if skew is not None and abs(skew) > timedelta(minutes=1):
            lines.append(f"the clocks differ by {abs(skew).total_seconds():.0f} s: the server's counts")
        if not self.settings.write_back:
            lines.append("nothing is written here: set `write_back: true` when you are ready")
        if self.settings.references == "literal":
            lines.append(
                "Tasks refer to orders and visits: where the server enforces references, such an order can be "
                "deleted only after its Task (or set `references: logical`)"
            )
        lines += list(self.edition.notes)
        for row in self.ledger.walks(self.settings.name):
            if row.blind:
                lines.append(f"{row.type} cannot be read ({row.blind}): the rules that need it do nothing")
        return lines


def _with_opt_out(
    elements: Mapping[str, frozenset[str]], source: SourceSettings
) -> Mapping[str, frozenset[str]]:
    """What an opt-out list reads is kept only where there is one."""
    more: dict[str, frozenset[str]] = {}
    if any("|" in named for named in source.opt_out.patients):
        more["Patient"] = frozenset({"identifier"})
    if source.opt_out.flags:
        more["Flag"] = frozenset({"status", "code", "subject"})
    return {
        type: elements.get(type, frozenset()) | more.get(type, frozenset()) for type in {*elements, *more}
    }


def _same_place(one: str, other: str) -> bool:
    return one.rstrip("/").lower() == other.rstrip("/").lower()


def _limits(source: SourceSettings) -> Limits:
    said = source.limits
    return Limits(
        connect_s=said.connect.total_seconds(),
        read_s=said.read.total_seconds(),
        total_s=said.total.total_seconds(),
        max_bytes=said.max_megabytes * 1024 * 1024,
        retries=said.retries,
    )

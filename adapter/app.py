"""The one place that constructs things: settings in, a working Baton out.

``App.sync`` is one full pass: take the right to write, adopt what stands there, walk, look, write, and look
again at what a person changed meanwhile.
"""

from __future__ import annotations

import secrets
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from adapter.clock import Clock, SystemClock
from adapter.errors import BatonError, Gone, NotFound, ServerError, Unsafe, UsageError
from adapter.facts.keep import Keeper
from adapter.fhir import Capability, FhirClient, Limits
from adapter.fhirjson import digest
from adapter.ledger import Ledger, SourceRow
from adapter.mapping.loader import load
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
from adapter.settings import Settings, SourceSettings, packaged
from adapter.writeback import purge as purging
from adapter.writeback.adopt import adopt
from adapter.writeback.deliver import Delivery, DeliverySettings
from adapter.writeback.identity import WriterContext, claim, draw_namespace, keep_namespace_hint
from adapter.writeback.owners import deleted, readback
from adapter.writeback.report import Report

MOVED_SAMPLE = 50  # known ids that must be found at a new base URL
ROUNDS = 5  # of write, read back, look again within one pass
HTEST = {"system": "http://terminology.hl7.org/CodeSystem/v3-ActReason", "code": "HTEST"}
Progress = Callable[[str], None]


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
    holds: list[int] = field(default_factory=list)
    failed: int = 0

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
        needs_person = any(s.quarantined for s in self.sources) or self.writes["parked"] or self.holds
        return 3 if needs_person or self.failed else 0


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
    }
    sources = [source.model_dump(mode="json", include=seen) for source in settings.sources]
    parts = [edition.hash, settings.parameters, [_sorted(source) for source in sources]]
    return digest(parts)[:16]


def _sorted(dumped: dict[str, Any]) -> dict[str, Any]:
    return {name: sorted(value) if isinstance(value, list) else value for name, value in dumped.items()}


def open_ledger(settings: Settings, *, clock: Clock | None = None, create: bool = True) -> Ledger:
    """The ledger that the settings name."""
    return Ledger.open(settings.ledger, clock=clock or SystemClock(), create=create)


class App:
    """A Baton made of its settings. Use it as a context manager: it closes its ledger and connections."""

    def __init__(self, settings: Settings, ledger: Ledger, edition: Edition, clock: Clock) -> None:
        self.settings = settings
        self.ledger = ledger
        self.edition = edition
        self._clock = clock
        self._engines: dict[str, Engine] = {}

    @classmethod
    def open(cls, settings: Settings, *, clock: Clock | None = None) -> App:
        """Load the mappings and open the ledger.

        Raises:
            MappingError: a mapping file is at fault; every fault at once.
            LedgerError: the ledger cannot be used.
        """
        clock = clock or SystemClock()
        edition = load(settings.mappings_folder, codes=settings.codes or packaged("config") / "codes")
        return cls(settings, open_ledger(settings, clock=clock), edition, clock)

    def __enter__(self) -> App:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close connections and the ledger."""
        for engine in self._engines.values():
            engine.client.close()
        self._engines.clear()
        self.ledger.close()

    def engine(self, name: str) -> Engine:
        """The parts of one source, made once."""
        if name not in self._engines:
            self._engines[name] = Engine(
                self.settings, self._source(name), self.ledger, self.edition, self._clock
            )
        return self._engines[name]

    def _source(self, name: str) -> SourceSettings:
        for source in self.settings.sources:
            if source.name == name:
                return source
        known = ", ".join(source.name for source in self.settings.sources)
        raise UsageError(f"there is no source {name!r}", remedy=f"known: {known}")

    # --- verbs

    def sync(
        self, *, dry_run: bool = False, take_over: bool = False, progress: Progress | None = None
    ) -> SyncReport:
        """One full pass over every source. One source's trouble does not stop the others.

        Raises:
            LedgerLocked: another Baton works on this ledger.
            Unsafe: this ledger may not write there; nothing was written.
        """
        if dry_run:
            return self._rehearse(progress)
        report = SyncReport()
        with self.ledger.lock("sync"):
            run = self.ledger.begin_run("sync")
            self._activate()
            for source in self.settings.sources:
                self.engine(source.name).run_pass(report, take_over=take_over, progress=progress or _silent)
            self.ledger.end_run(run, report.as_json())
        return report

    def _activate(self) -> None:
        before = self.ledger.edition()
        if self.ledger.activate(edition_of(self.edition, self.settings)) and before:
            for source in self.settings.sources:
                self.ledger.request_everyone(source.name, "edition")

    def _rehearse(self, progress: Progress | None) -> SyncReport:
        """A dry run works on a copy of the ledger: it moves no watermark and clears no request (F57)."""
        with tempfile.TemporaryDirectory(prefix="baton-dry-") as folder:
            copy = Path(folder) / "ledger.db"
            self.ledger.export(copy)
            ledger = Ledger.open(copy, clock=self._clock)
            app = App(self.settings, ledger, self.edition, self._clock)
            try:
                report = SyncReport()
                app._activate()
                for source in self.settings.sources:
                    app.engine(source.name).run_pass(report, dry_run=True, progress=progress or _silent)
                return report
            finally:
                app.close()

    def check(self) -> list[SourceCheck]:
        """Connect to every source and say what will work there and what will not."""
        return [self.engine(source.name).check() for source in self.settings.sources]

    def seed(
        self, source: str, resources: Sequence[Mapping[str, Any]], *, progress: Progress | None = None
    ) -> int:
        """Put synthetic resources into a test source, in the order given; how many."""
        engine = self.engine(source)
        engine.refuse_production("seed")
        for number, resource in enumerate(resources, 1):
            engine.client.put_new(dict(resource), only_if_absent=False)
            (progress or _silent)(f"seeded {number} of {len(resources)}")
        return len(resources)

    def purge(self, source: str, run: str) -> dict[str, int]:
        """Take out of a test source what a run seeded and what Baton wrote; counts by type."""
        engine = self.engine(source)
        engine.refuse_production("purge")
        listed = purging.find(
            engine.client,
            namespace=engine.namespace,
            run_tag={"system": "urn:baton:run", "code": run},
            environment=engine.settings.environment,
        )
        done = purging.purge(engine.client, listed)
        if done.left:
            raise BatonError(f"{len(done.left)} resources could not be deleted", remedy="run purge again")
        return dict(done.deleted)

    def retry_quarantine(self, number: int) -> bool:
        """Read a quarantined resource again; whether it can be used now."""
        row = self.ledger.quarantined(number)
        if row is None:
            raise UsageError(f"there is no quarantine entry {number}", remedy="see: baton quarantine list")
        return self.engine(row.source).retry(number)

    def release_hold(self, number: int) -> int:
        """Let a held flood go: its persons are looked at again, recounted; how many changes were held."""
        held = self.ledger.release_hold(number, self._clock.now())
        for source in self.settings.sources:
            if source.name == held.source:
                self.ledger.request_everyone(held.source, f"released:{number}")
        return held.count

    # --- what people read

    def task_rows(
        self, *, all: bool = False, source: str | None = None, patient: str | None = None
    ) -> list[dict[str, Any]]:
        """Tasks as ``tasks`` lists them, most urgent first: open ones, or all."""
        tasks = self.ledger.tasks(source, open_only=not all, patient=patient)
        words = self.ledger.words([task.id for task in tasks])
        rows = [_row(task, words.get(task.id)) for task in tasks]
        return sorted(rows, key=lambda row: (row["due"] is None, row["due"] or "", row["id"]))

    def explain(self, task_id: str) -> dict[str, Any]:
        """Everything that answers "why is this here?"."""
        task = self.ledger.task(task_id.removeprefix("Task/"))
        if task is None:
            raise UsageError(f"there is no task {task_id}", remedy="see: baton tasks --all")
        rule = self.edition.rule(task.rule)
        row = _row(task, self.ledger.words([task.id]).get(task.id))
        focus = self.ledger.snapshot(task.source, task.focus)
        row["rule"] = {
            "id": task.rule,
            "mapping": task.mapping,
            "version": task.mapping_version,
            "file": rule.file if rule else "",
            "when": rule.when.text if rule and rule.when else "",
            "satisfied": rule.satisfied.text if rule else "",
        }
        row["evidence"] = [self._with_version(task.source, ref) for ref in (task.focus, *task.opening)]
        row["closing"] = [self._with_version(task.source, ref) for ref in task.closing]
        row["focus_state"] = focus.state.value if focus else "not stored"
        row["history"] = [
            {
                "at": event.at.isoformat(),
                "kind": event.kind.value,
                "why": event.why,
                "causes": list(event.causes),
                "changes": _changes(event),
            }
            for event in self.ledger.task_events(task.id)
        ]
        row["notes"] = self._notes(task)
        row["next_steps"] = self._next(task)
        return row

    def _with_version(self, source: str, ref: str) -> str:
        snapshot = self.ledger.snapshot(source, ref.partition("@")[0])
        return f"{ref}@{snapshot.version}" if snapshot and snapshot.version and "@" not in ref else ref

    def _notes(self, task: Task) -> list[str]:
        snapshot = self.ledger.snapshot(task.source, f"Task/{task.id}")
        notes = snapshot.body.get("note", []) if snapshot else []
        return [str(n.get("text", "")) for n in notes if isinstance(n, dict)]

    def _next(self, task: Task) -> list[str]:
        lines = []
        if not task.open:
            lines.append(_why_closed(task))
        elif task.due:
            lines.append(
                f"It is due {task.due.isoformat()}; after that it escalates as its rule says and stays open."
            )
        if task.mark:
            lines.append("It closes by itself after two business days without a person's touch.")
        if task.hold:
            lines.append(f"It is held: {task.hold}.")
        row = self.ledger.outbox_row(f"Task/{task.id}")
        if row is not None and row.state == "parked":
            lines.append(f"Writing it is parked: {row.parked}")
        elif row is not None and row.sent < row.wanted:
            lines.append("It will be written to the EHR with the next pass.")
        rule = self.edition.rule(task.rule)
        if task.open and rule is not None:
            lines.append(f"It closes when this holds: {rule.satisfied.text}")
        return lines


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
        self.keeper = Keeper(edition.elements, full_types=frozenset(full), bases=self.client.bases)
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

    def run_pass(
        self, report: SyncReport, *, take_over: bool = False, dry_run: bool = False, progress: Progress
    ) -> None:
        """Walk, look, write, and look again at what a person changed meanwhile. Faults of the server end here."""
        mine = SourceReport(self.settings.name)
        report.sources.append(mine)
        try:
            self._pass(report, mine, take_over=take_over, dry_run=dry_run, progress=progress)
        except ServerError as fault:
            mine.errors.append(str(fault))
            mine.failed = True

    def _pass(
        self, report: SyncReport, mine: SourceReport, *, take_over: bool, dry_run: bool, progress: Progress
    ) -> None:
        name = self.settings.name
        progress(f"{name}: connecting")
        self._capability = Capability(self.client.capability())
        self._known_to_ledger()
        writer = (
            self._writer(take_over=take_over, dry_run=dry_run, mine=mine)
            if self.settings.write_back or dry_run
            else None
        )
        context = self._context()
        self._poll(context, mine, progress)
        patients = PatientReader(context)
        mine.errors += patients.refresh_pending().errors
        self._reread(context, mine)
        facts = self._facts()
        reconciler = self._reconciler(facts, context, patients)
        progress(f"{name}: looking")
        self._looked(reconciler.run(self.now), report, mine)
        if writer is not None and not self._suspect(mine):
            progress(f"{name}: writing")
            self._deliver(writer, facts, reconciler, report, mine, dry_run=dry_run)

    def _known_to_ledger(self) -> None:
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

    def _writer(self, *, take_over: bool, dry_run: bool, mine: SourceReport) -> WriterContext:
        name = self.settings.name
        if dry_run:
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
            take_over=take_over,
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
            self.ledger_wants(done.lost)

    def ledger_wants(self, refs: Sequence[str]) -> None:
        """Tasks that the server lost are written again."""
        if refs:
            self.ledger.want(refs)

    def _suspect(self, mine: SourceReport) -> bool:
        row = self.ledger.source(self.settings.name)
        if row is None or not row.suspect:
            return False
        mine.errors.append(f"nothing is written: {row.suspect}")
        mine.failed = True
        return True

    def _facts(self) -> SourceFacts:
        row = self.ledger.source(self.settings.name)
        assert row is not None
        return self.root.source_facts(
            self.settings, key=row.key, live_from=row.live_from, codes=self.edition.codes
        )

    def _reconciler(self, facts: SourceFacts, context: PollingContext, patients: PatientReader) -> Reconciler:
        evidence = Evidence(context, patients)

        def read(persons: Sequence[str], types: frozenset[str]) -> frozenset[str]:
            done = {
                type
                for type in sorted(types)
                if all([evidence.read_for(patient, type).complete for patient in persons])
            }
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

    def _deliver(
        self,
        writer: WriterContext,
        facts: SourceFacts,
        reconciler: Reconciler,
        report: SyncReport,
        mine: SourceReport,
        *,
        dry_run: bool,
    ) -> None:
        settings = DeliverySettings(source=facts, tags=self._tags(), security=self._security())
        delivery = Delivery(self.client, self.ledger, writer, settings, keeper=self.keeper)
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
        """One read with the token: metadata is often open, data is not."""
        try:
            self.client.search("Appointment", [("_count", "1")])
        except ServerError as fault:
            return [f"reading is refused: {fault}"]
        return []

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


def _row(task: Task, words: Any) -> dict[str, Any]:
    return {
        "id": task.id,
        "code": task.code,
        "title": words.title if words else task.code,
        "status": task.status.value,
        "priority": task.priority.value,
        "due": task.due.isoformat() if task.due else None,
        "source": task.source,
        "patient": task.patient,
        "focus": task.focus,
        "need": task.need,
        "reason": words.reason if words else "",
        "performer": task.performer,
        "written": f"Task/{task.id}" if task.seen_version and not task.gone else None,
        "next": words.next if words else "",
        "opens": task.opens.isoformat() if task.opens else None,
        "opened_at": task.opened_at.isoformat() if task.opened_at else None,
        "owner": task.owner,
        "business_status": task.business_status,
        "hold": task.hold,
        "mark": task.mark,
        "closed_by": task.closed_by,
        "closed_at": task.closed_at.isoformat() if task.closed_at else None,
        "generation": task.generation,
        "follows": task.follows,
        "group": task.group,
    }


def _changes(event: Event) -> dict[str, Any]:
    if event.kind.value in ("opened", "adopted"):
        return {}
    return {name: value for name, value in event.set.items() if name not in ("seen_version", "renews")}


def _why_closed(task: Task) -> str:
    said = {
        "evidence": "It was closed by evidence; if the facts turn, a new task is made that names this one.",
        "person": "A person closed it: it stays silent until the facts that its rule reads change.",
        "deleted": "A person deleted it: it stays away until the facts that its rule reads change.",
        "contrary": "It was withdrawn because it is no longer needed.",
        "clock": "It was withdrawn because its time has passed.",
        "patient": "It was withdrawn because the patient died.",
        "command": "It was withdrawn by command and stays silent until its facts change.",
    }
    return said.get(task.closed_by, "It is closed.")


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


def _silent(_: str) -> None:
    return None

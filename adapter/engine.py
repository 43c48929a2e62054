"""One source's parts, and one pass over it: take the right to write, adopt, walk, look, write, look again."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from msgspec import structs

from adapter import notes
from adapter.clock import Clock
from adapter.connection import Connection
from adapter.errors import AccessRefused, Gone, NotFound, ServerError, Unsafe, UsageError
from adapter.facts.codes import unmapped
from adapter.facts.keep import Keeper
from adapter.fhir import Capability, FhirClient, Limits
from adapter.fhirjson import digest, loads
from adapter.ledger import Ledger, SourceRow
from adapter.mapping.rules import Edition
from adapter.model import EVIDENCE, POLLED, Json, SnapshotState, SourceFacts
from adapter.polling import (
    Budget,
    PollingContext,
    QuarantineRetry,
)
from adapter.polling.retry import Retried
from adapter.references import parse_reference, patients_of
from adapter.report import PassOptions, SourceReport, SyncReport
from adapter.settings import Settings, SourceSettings
from adapter.writeback.adopt import adopt
from adapter.writeback.identity import WriterContext, claim, draw_namespace, keep_namespace_hint

MOVED_SAMPLE = 50  # known ids that must be found at a new base URL
ROUNDS = 5  # of write, read back, look again within one pass
MOST_CODES = 20  # unmapped codes that ``check`` names
HTEST = {"system": "http://terminology.hl7.org/CodeSystem/v3-ActReason", "code": "HTEST"}


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
            spend=Budget(source.limits.calls_per_minute, clock).take,
        )
        full = {"Task"} | (
            set(edition.types) | set(POLLED) | set(EVIDENCE) if source.store == "full" else set()
        )
        elements = _with_opt_out(edition.elements, source)
        self.keeper = Keeper(elements, full_types=frozenset(full), bases=self.client.bases)
        self._clock = clock

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
        options.progress(f"{self.settings.name}: connecting")
        source = self.connect(mine, options)
        source.poll(mine, progress=options.progress)
        source.refresh(mine)
        if options.sweep:
            self._sweep(source, mine, options)
        people = self.ledger.how_many_wait(self.settings.name)
        source.look(report, mine, options.progress, people)
        source.deliver(report, mine, options)

    def _sweep(self, source: Connection, mine: SourceReport, options: PassOptions) -> None:
        for type in (*POLLED, "Task"):
            if type in self.settings.types or type not in source.capability.types:
                continue
            options.progress(f"{self.settings.name}: sweeping {type}")
            report = source.sweep(type).run()
            source.swept(report)
            mine.swept.append(report.sentence())

    def connect(self, mine: SourceReport, options: PassOptions) -> Connection:
        """Ask what the server can do, and take the right to write there, where writing is wished for.

        Raises:
            ServerError: it does not answer, or not as a FHIR server.
            Unsafe: this ledger may not write there.
        """
        capability = Capability(self.client.capability())
        self.known_to_ledger()
        writer = self._writer(options, mine) if self.settings.write_back or options.dry_run else None
        return Connection(
            settings=self.settings,
            ledger=self.ledger,
            edition=self.edition,
            active=edition_of(self.edition, self.root),
            client=self.client,
            context=self._context(capability),
            capability=capability,
            writer=writer,
            facts=self.facts,
            paused=self.paused_rules,
            tags=self._tags(),
            security=self._security(),
            keep_bytes=self.root.retention.quarantine_bytes,
        )

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

    def _context(self, capability: Capability | None = None) -> PollingContext:
        return PollingContext(
            source=self.settings.name,
            client=self.client,
            ledger=self.ledger,
            keeper=self.keeper,
            clock=self._clock,
            budget=Budget(0, self._clock),  # the client counts every request, writes and repeats included
            namespace=self.namespace,
            capability=capability,
            search=self.settings.filters(POLLED),
            since=self.settings.bounds(POLLED),
            page_size=self.settings.page_size,
            overlap_s=self.settings.overlap.total_seconds(),
        )

    def facts(self) -> SourceFacts:
        """What looks have to know of this source now."""
        row = self.ledger.source(self.settings.name)
        assert row is not None
        facts = self.root.source_facts(
            self.settings, key=row.key, live_from=row.live_from, codes=self.edition.codes
        )
        paused = self.paused_rules()
        return structs.replace(facts, disabled=facts.disabled | paused) if paused else facts

    def paused_rules(self) -> frozenset[str]:
        """Rules that a person has paused or withdrawn."""
        text = self.ledger.note(notes.PAUSED_RULES)
        return frozenset(loads(text)) if text else frozenset()

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
        held = self.ledger.source(self.settings.name)
        if held is not None and held.paused:
            lines.append("writing is paused by a person: baton resume")
        if paused := sorted(self.paused_rules()):
            lines.append(f"paused rules: {', '.join(paused)} → baton resume RULE")
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
        return [*lines, *self._unmapped(), *self._without_stay()]

    def _without_stay(self) -> list[str]:
        """Active orders whose encounter is nowhere to be found: silent, since they may be a ward's own."""
        name, bases = self.settings.name, self.client.bases
        read = self.ledger.read_for(name, "Encounter")
        held = {one.ref for one in self.ledger.inventory(name, "Encounter")}
        lost = 0
        for body in self._bodies("ServiceRequest") if read else ():
            stay = parse_reference(body.get("encounter"), bases)
            if body.get("status") == "active" and (stay.local or stay.foreign) and stay.local not in held:
                lost += not read.isdisjoint(patients_of(body, bases))
        if not lost:
            return []
        return [
            f"active orders whose encounter this EHR does not give: {lost}; nobody knows whether they were placed "
            "in hospital, and no task opens for them"
        ]

    def _unmapped(self) -> list[str]:
        """Codes that mean nothing to any rule, the most frequent first: silent, and perhaps a map is missing."""
        held = (self._bodies(type) for type in ("ServiceRequest", "Appointment", "Encounter"))
        found = unmapped(itertools.chain.from_iterable(held), self.edition.codebook.at(self.facts_codes()))
        lines = [
            f"{number} × {name} {code}: no rule knows this code; if it matters, map it in `codes:`"
            for (name, code), number in found.most_common(MOST_CODES)
        ]
        if len(found) > MOST_CODES:
            lines.append(f"and {len(found) - MOST_CODES} more codes that no rule knows")
        return lines

    def facts_codes(self) -> Mapping[str, Mapping[str, str]]:
        """The code maps that count at this source."""
        facts = self.root.source_facts(self.settings, key="", codes=self.edition.codes)
        return facts.codes

    def _bodies(self, type: str) -> Iterator[Json]:
        name = self.settings.name
        refs = [one.ref for one in self.ledger.inventory(name, type) if one.state is SnapshotState.LIVE]
        for start in range(0, len(refs), 500):
            for snapshot in self.ledger.snapshots(name, refs[start : start + 500]).values():
                yield snapshot.body


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

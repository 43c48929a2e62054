"""The one place that constructs things: settings in, a working Baton out.

``App.sync`` is one full pass: take the right to write, adopt what stands there, walk, look, write, and look
again at what a person changed meanwhile.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from adapter import notes
from adapter.clock import Clock, SystemClock
from adapter.engine import Engine, SourceCheck, edition_of
from adapter.errors import BatonError, Fault, SettingsError, Unsafe, UsageError
from adapter.fhirjson import loads
from adapter.ledger import Ledger
from adapter.mapping.check import parameter_faults
from adapter.mapping.loader import load
from adapter.mapping.rules import Edition
from adapter.model import WITHDRAWING, Event, Task
from adapter.reconcile.editions import take_up
from adapter.report import PassOptions, Progress, SourceReport, SyncReport, no_progress
from adapter.settings import Settings, SourceSettings, packaged
from adapter.writeback import purge as purging
from adapter.writeback.render import day_text

__all__ = ["App", "SourceCheck", "SourceReport", "SyncReport", "open_ledger", "row_of"]


def open_ledger(settings: Settings, *, clock: Clock | None = None, create: bool = True) -> Ledger:
    """The ledger that the settings name."""
    return Ledger.open(settings.ledger, clock=clock or SystemClock(), create=create)


def load_edition(settings: Settings) -> Edition:
    """The mappings that the settings name.

    Raises:
        MappingError: every fault at once.
        SettingsError: parameters or rules that no mapping has.
    """
    edition = load(settings.mappings_folder, codes=settings.codes or packaged("config") / "codes")
    faults = [Fault(text, file=str(settings.file)) for text in _parameter_faults(settings, edition)]
    if faults:
        raise SettingsError("the configuration sets parameters that no mapping has", faults)
    return edition


def _parameter_faults(settings: Settings, edition: Edition) -> Iterator[str]:
    for text in parameter_faults(edition, settings.parameters):
        yield f"parameters: {text}"
    for source in settings.sources:
        for text in parameter_faults(edition, source.parameters):
            yield f"source {source.name}: parameters: {text}"
        for rule in sorted(source.disabled | source.enabled):
            if edition.rule(rule) is None:
                yield f"source {source.name}: there is no rule {rule!r}; see: baton mappings list"


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
        edition = load_edition(settings)
        return cls(settings, open_ledger(settings, clock=clock), edition, clock)

    def __enter__(self) -> App:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close connections and the ledger."""
        self.close_connections()
        self._engines.clear()
        self.ledger.close()

    def close_connections(self) -> None:
        """Cut every connection; who waits for an answer hears that it was lost."""
        for engine in list(self._engines.values()):
            engine.client.close()

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
        self,
        *,
        dry_run: bool = False,
        take_over: bool = False,
        only: frozenset[str] | None = None,
        progress: Progress | None = None,
        sweep: bool = False,
    ) -> SyncReport:
        """One full pass over every source. One source's trouble does not stop the others.

        ``only`` are the targets ("Task/…", "CarePlan/…") of a saved plan: of them what is still wanted is
        written, and nothing else. ``sweep`` compares every id and version afterwards.

        Raises:
            LedgerLocked: another Baton works on this ledger.
            Unsafe: this ledger may not write at a source; nothing was written there, the other sources were done.
        """
        options = PassOptions(take_over, dry_run, only, progress or no_progress, sweep)
        if dry_run:
            return self._rehearse(options)
        report = SyncReport()
        unsafe: Unsafe | None = None
        with self.ledger.lock("sync"):
            run = self.ledger.begin_run("sync")
            self.activate()
            for source in self.settings.sources:
                try:
                    self.engine(source.name).run_pass(report, options)
                except Unsafe as fault:  # the other sources go on; a person is told at the end
                    unsafe = unsafe or fault
            held = len(self.ledger.holds())
            report.waiting = len(self.ledger.quarantine()) + len(self.ledger.outbox("parked")) + held
            self.ledger.end_run(run, report.as_json())
        if unsafe is not None:
            raise unsafe
        return report

    def activate(self) -> None:
        """Make the mappings and settings in use the active edition; a new one wakes everybody it touches."""
        take_up(self.ledger, self.edition)
        before = self.ledger.edition()
        if self.ledger.activate(edition_of(self.edition, self.settings)) and before:
            for source in self.settings.sources:
                self.ledger.request_everyone(source.name, "edition")

    @contextmanager
    def copied(self) -> Iterator[App]:
        """The same Baton on a copy of its ledger: what happens there moves no watermark and takes no step (F57)."""
        with tempfile.TemporaryDirectory(prefix="baton-copy-") as folder:
            copy = Path(folder) / "ledger.db"
            self.ledger.export(copy)
            app = App(self.settings, Ledger.open(copy, clock=self._clock), self.edition, self._clock)
            try:
                yield app
            finally:
                app.close()

    def _rehearse(self, options: PassOptions) -> SyncReport:
        for source in self.settings.sources:
            self.engine(source.name).known_to_ledger()  # its key names the tasks that the copy will show
        with self.copied() as app:
            report = SyncReport()
            app.activate()
            for source in self.settings.sources:
                app.engine(source.name).run_pass(report, options)
            return report

    def paused_rules(self) -> frozenset[str]:
        """Rules that a person has paused or withdrawn."""
        text = self.ledger.note(notes.PAUSED_RULES)
        return frozenset(loads(text)) if text else frozenset()

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
            (progress or no_progress)("seeding", number, len(resources))
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
        rows = [row_of(task, words.get(task.id)) for task in tasks]
        return sorted(rows, key=lambda row: (row["due"] is None, row["due"] or "", row["id"]))

    def explain(self, task_id: str) -> dict[str, Any]:
        """Everything that answers "why is this here?"."""
        task = self.ledger.task(task_id.removeprefix("Task/"))
        if task is None:
            raise UsageError(f"there is no task {task_id}", remedy="see: baton tasks --all")
        rule = self.edition.rule(task.rule)
        row = row_of(task, self.ledger.words([task.id]).get(task.id))
        focus = self.ledger.snapshot(task.source, task.focus)
        row["rule"] = {
            "id": task.rule,
            "mapping": task.mapping,
            "version": task.mapping_version,
            "file": rule.file if rule else "",
            "when": rule.when.text if rule and rule.when else "",
            "satisfied": rule.satisfied.text if rule else "",
        }
        row["evidence"] = [
            self._with_version(task.source, ref) for ref in dict.fromkeys((task.focus, *task.opening))
        ]
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
                f"It is due {day_text(task.due, self._source(task.source).zone)}; after that it stays open"
                " and escalates as its rule says."
            )
        if task.mark == WITHDRAWING:
            lines.append(
                "A changed rule or a merge no longer needs it: it is withdrawn after four business hours, unless "
                "it is needed again by then."
            )
        elif task.mark:
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


def row_of(task: Task, words: Any) -> dict[str, Any]:
    """A task as lists show it."""
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

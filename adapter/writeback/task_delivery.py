"""The delivery of one Task: read, take in, render, compare, send, confirm."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from adapter.errors import AccessRefused, Conflict, Gone, NotFound, Rejected, ServerError
from adapter.fhir import Answer
from adapter.ledger import OutboxRow, as_set
from adapter.model import Event, EventKind, Json, Task, Words
from adapter.references import parse_reference
from adapter.writeback import codes
from adapter.writeback.adopt import identifier_in, task_row
from adapter.writeback.ahead import Found, Reading
from adapter.writeback.arrivals import mark_of_answer
from adapter.writeback.contexts import Contexts
from adapter.writeback.normalise import diff_text
from adapter.writeback.owners import (
    PERSONAL,
    STALE,
    attempt_digest,
    confirmed,
    deleted,
    value_digest,
    values_of,
)
from adapter.writeback.render import render_task
from adapter.writeback.report import Report
from adapter.writeback.sending import Sender, Steps, Write, about_references
from adapter.writeback.versions import number_in, same_version, version_mark

TRIES = 3  # a refused reference is examined, the rest sent again at most so often
CONFLICTS = 3  # a conflict after a fresh read, so often, is no conflict of versions (F21)
_TEXTS = frozenset({"code", "description", "reasonCode", "text"})
_ESSENTIAL = ("focus", "for", "basedOn")


@dataclass(slots=True)
class TaskDelivery:
    """One Task's delivery; :meth:`steps` end it in the ledger whatever happens, or raise a ServerError."""

    sender: Sender
    contexts: Contexts
    row: OutboxRow
    now: datetime
    report: Report
    dry_run: bool = False
    reading: Reading | None = None
    _stood: Found | None = None

    def steps(self) -> Steps:
        """Deliver. A ServerError that leaves here has changed nothing, or its outcome is unknown."""
        task = self.sender.ledger.task(self.row.target.partition("/")[2])
        if task is None or task.gone or self._pointless(task):
            self._end(task)
            return
        reading = self.reading or Reading(self.sender, codes.need_system(self.contexts.writer.namespace))
        self._stood = reading.found(task)
        if isinstance(self._stood.fault, Gone):
            self._was_deleted(task)
            return
        if self._stood.fault is not None:
            raise self._stood.fault
        base = self._stood.answer
        ready = self._taken_in(task, base) if base else self._absent(task)
        if ready is not None:
            yield from self._write(ready, base, TRIES)

    def _pointless(self, task: Task) -> bool:
        """Opened and closed before anything was sent: nothing is sent (F17)."""
        return not task.open and not task.seen_version and not self._attempts(task)

    def _attempts(self, task: Task) -> tuple[str, ...]:
        return self.sender.ledger.attempts([task.id]).get(self.row.target, ())

    # ---- what stands there ----

    def _taken_in(self, task: Task, base: Answer) -> Task | None:
        """The row, if the version that was read has entered it; else the look comes first."""
        body = base.resource or {}
        version = mark_of_answer(base)
        if same_version(version, task.seen_version):
            return task
        zone = self.contexts.settings.source.zone
        if attempt_digest(body, self.sender.client.bases, zone) in self._attempts(task):
            event = confirmed(task, version, now=self.now, why="own write, answer lost")
            if self.dry_run:
                return task
            if self.sender.ledger.append([event], expected={task.id: task.row_version}):
                return self.sender.ledger.task(task.id)
        self._look_first(task, base)
        return None

    def _look_first(self, task: Task, found: Answer) -> None:
        self.report.read_back += 1
        if self.dry_run:
            self.report.differences.append(f"? {self.row.target}: changed in the EHR; a look comes first")
            return
        self.sender.store(found, cause="read-back", now=self.now)
        self.sender.ask_look(task.patient)
        self._again()

    def _again(self) -> None:
        """Due again at once, for the look after this round; after some rounds only later (F2)."""
        over = self.row.rounds - self.contexts.settings.rounds + 1
        rest = timedelta(minutes=2 ** min(over, 8)) if over > 0 else timedelta(0)
        self.sender.ledger.later(self.row.target, self.now + rest, failed=False, round=True)

    def _was_deleted(self, task: Task) -> None:
        self.report.deleted += 1
        if self.dry_run:
            return
        ledger = self.sender.ledger
        ledger.done(
            self.row.target,
            sent=self.row.wanted,
            version=task.seen_version,
            events=[deleted(task, now=self.now)],
        )
        self.sender.ask_look(task.patient)
        self._want_plan(task)

    def _absent(self, task: Task) -> Task | None:
        """The row, if the Task may be created: nothing of its need stands there that the ledger does not
        know.
        """
        if not task.open and not task.seen_version:
            self._end(task)
            return None
        if not self.contexts.settings.create or not self.contexts.writer.fenced:
            unfenced = f"no mark of who writes here can be kept (Device: {self.contexts.writer.unfenced})"
            self._park(f"creating is refused: {unfenced if self.contexts.settings.create else 'not offered'}")
            return None
        if self._stands_elsewhere(task):
            return None
        if task.seen_version and not self._lost_once():
            self._park("acknowledged and lost twice")
            return None
        return task

    def _lost_once(self) -> bool:
        """A 404 on an acknowledged Task is a lost write: written again under the same id, once (F18)."""
        self.report.errors.append(f"{self.row.target}: acknowledged, and not there any more")
        key = f"lost:{self.row.target}"
        if self.sender.ledger.note(key):
            return False
        if not self.dry_run:
            self.sender.ledger.keep_note(key, self.now.isoformat())
        return True

    def _stands_elsewhere(self, task: Task) -> bool:
        """Look, uncached, for Tasks of the need: an unknown one is adopted, a copy reported."""
        namespace = self.contexts.writer.namespace
        assert self._stood is not None
        if isinstance(self._stood.search_fault, Rejected | NotFound):
            return False  # no search by identifier here: the read by id has to do
        if self._stood.search_fault is not None:
            raise self._stood.search_fault
        assert self._stood.page is not None
        page = self._stood.page
        unknown: list[Event] = []
        for entry in page.entries:
            body = entry.resource or {}
            if identifier_in(body, codes.need_system(namespace)) != task.key or body.get("id") == task.id:
                continue
            if identifier_in(body, codes.task_system(namespace)) == f"{task.key}-{task.generation}":
                self._park("another Task carries this identifier")
                return True
            unknown += self._adopted(body)
        if unknown and not self.dry_run:
            self.sender.ledger.append(unknown)
            self.sender.ask_look(task.patient, "adopted")
            self._again()
        return bool(unknown)

    def _adopted(self, body: dict[str, Any]) -> list[Event]:
        source = self.contexts.settings.source
        version = version_mark(number_in(body), body)
        found = task_row(
            body,
            version,
            source=source.name,
            namespace=self.contexts.writer.namespace,
            bases=self.sender.client.bases,
            zone=source.zone,
            now=self.now,
        )
        if found is None or self.sender.ledger.task(found.id) is not None:
            return []
        self.report.read_back += 1
        return [Event(found.id, EventKind.ADOPTED, self.now, as_set(found), "found in the EHR")]

    # ---- writing ----

    def _write(self, task: Task, base: Answer | None, tries: int) -> Steps:
        held = (base.resource or {}) if base else None
        rendered = self._rendered(task, held)
        changed: list[str] = []
        foreign = held is not None and self._is_foreign(task)
        if held is not None:
            rendered, changed, given_up = self.sender.settle(self.row.target, rendered, held, foreign=foreign)
            self.report.errors += [
                f"{self.row.target}: {path} is changed back again and again; left alone" for path in given_up
            ]
            if not changed:
                self._end(task)
                return
        if self.dry_run:
            self.report.differences.append(diff_text(held, rendered, self.sender.client.bases))
            return
        if foreign:
            self.sender.count_rewrites(self.row.target, rendered, changed)
        yield from self._send(task, rendered, base, tries)

    def _rendered(self, task: Task, held: Json | None) -> dict[str, Any]:
        words = self.sender.ledger.words([task.id]).get(task.id, Words())
        ctx = self.contexts.for_task(task, self.now, self.sender.known_refused(self.now))
        keep = set(_TEXTS) if held is not None and not words.title else set()
        if held is not None and self._patient_moved(task, held):
            keep.add("for")
        if keep:
            ctx = replace(ctx, keep=frozenset(keep))
        return render_task(task, words, ctx, held)[0]

    def _patient_moved(self, task: Task, held: Json) -> bool:
        """Whether the EHR made the Task another patient's (a merge): its word until the look has decided."""
        there = parse_reference(held.get("for"), self.sender.client.bases).local
        known = self._written().get(f"{self.row.target}#for", frozenset())
        return bool(there) and there != task.patient and value_digest(there) not in known

    def _written(self) -> dict[str, frozenset[str]]:
        return self.sender.ledger.written_values([self.row.target.partition("/")[2]])

    def _is_foreign(self, task: Task) -> bool:
        """Whether the version that the row has taken in was written by somebody else."""
        return self._last_taken(task).kind is not EventKind.CONFIRMED or not self._own_words(task)

    def _own_words(self, task: Task) -> bool:
        return self._last_taken(task).why in ("acknowledged", "own write, answer lost")

    def _last_taken(self, task: Task) -> Event:
        events = [event for event in self.sender.ledger.task_events(task.id) if "seen_version" in event.set]
        return events[-1] if events else Event(task.id, EventKind.CONFIRMED, self.now, why="acknowledged")

    def _values(self, task: Task, resource: Json, base: Answer | None) -> dict[str, str]:
        """What the ledger has to remember as Baton's: each value that people may own, and what is
        restored.
        """
        zone, bases = self.contexts.settings.source.zone, self.sender.client.bases
        found = values_of(resource, bases, zone)
        values = {name: value_digest(found[name]) for name in PERSONAL if name not in task.mine}
        values["for"] = value_digest(task.patient)
        why = self._last_taken(task).why if base else ""
        if why.startswith(STALE):
            theirs = values_of(base.resource or {}, bases, zone) if base else {}
            for name in why.removeprefix(STALE).split(","):
                values[f"{name.strip()}:restored"] = value_digest(theirs.get(name.strip(), ""))
        return values

    def _send(self, task: Task, resource: dict[str, Any], base: Answer | None, tries: int) -> Steps:
        zone, bases = self.contexts.settings.source.zone, self.sender.client.bases
        digest = attempt_digest(resource, bases, zone)
        values = self._values(task, resource, base)
        try:
            write = self.sender.ready(self.row, resource, base, digest=digest, values=values, now=self.now)
            answer = yield write
        except Conflict as fault:
            yield from self._conflict(task, write, fault, tries)
        except Gone:
            self._was_deleted(task)
        except (Rejected, NotFound) as fault:
            yield from self._refused(task, resource, base, fault, tries)
        else:
            self._confirm(task, resource, answer, digest)

    def _confirm(self, task: Task, resource: dict[str, Any], answer: Answer, digest: str) -> None:
        """The EHR has it: its version into the row, what it made of it into memory, its plan wanted."""
        zone, bases = self.contexts.settings.source.zone, self.sender.client.bases
        found = self.sender.answered(answer, self.row.target)
        body = found.resource if found else None
        if found is None or body is None or (found is not answer and not self._is_that(body, digest)):
            wait = timedelta(seconds=self.contexts.settings.longest_request_s)
            self.sender.ledger.unknown(self.row.target, self.now + wait)
            self.report.unknown += 1
            return
        lost = self.sender.note_losses(self.row.target, resource, body)
        self.report.lost += [f"{self.row.target}: {path} was not kept as sent" for path in lost]
        came, sent = values_of(body, bases, zone), values_of(resource, bases, zone)
        bent = {n: value_digest(came[n]) for n in PERSONAL if came[n] != sent[n] and n not in task.mine}
        if bent:
            self._remember_forms(bent, digest)
        more: dict[str, Any] = {}
        if sent["owner"] != task.owner and "owner" not in task.mine:
            more["owner"] = sent["owner"]
        notes = body.get("note")
        if isinstance(notes, list) and len(notes) != task.notes:
            more["notes"] = len(notes)  # a server that appends what it was sent (Canvas) is nobody's note
        event = confirmed(task, mark_of_answer(found), now=self.now, **more)
        ledger = self.sender.ledger
        with ledger.transaction(durable=False):  # as `done` itself: what the EHR has can be learned again
            ledger.done(
                self.row.target, sent=self.row.wanted, version=event.set["seen_version"], events=[event]
            )
            self.sender.store(found, cause="own-write", now=self.now)
            self._want_plan(task)
        self.sender.refused.pop(self.row.target, None)  # it stands now, and may be named
        self.report.written["Task"] += 1

    def _is_that(self, body: Json, digest: str) -> bool:
        zone = self.contexts.settings.source.zone
        return attempt_digest(body, self.sender.client.bases, zone) == digest

    def _remember_forms(self, values: dict[str, str], digest: str) -> None:
        """What the server made of our values is ours, too: else its rounding would be taken for a
        person's.
        """
        ledger, target = self.sender.ledger, self.row.target
        ledger.later(target, self.now, answered=False, failed=False)
        ledger.begin(
            target,
            digest=digest,
            values=values,
            at=self.now,
            incarnation=self.contexts.writer.incarnation,
        )

    # ---- refusals ----

    def _conflict(self, task: Task, write: Write, fault: Conflict, tries: int) -> Steps:
        """Another version than the one read (409, 412): take it in, and look again."""
        base = write.base
        if about_references(fault):
            raise fault
        try:
            found = self.sender.read(self.row.target)
        except Gone:
            self._was_deleted(task)
            return
        if found is None and write.only_if_absent and tries > 0:
            self.sender.plain_create = True  # If-Match "0" creates nothing here (Helios)
            self.sender.ledger.later(self.row.target, self.now, failed=False)
            yield from self._write(task, None, 0)
        elif found is not None and (base is None or found.version != base.version):
            self._look_first(task, found)
        elif self.row.failures + 1 >= CONFLICTS:
            self._park(fault.codes() or f"status {fault.status}")
        else:
            self.sender.ledger.later(self.row.target, self.now + timedelta(minutes=1), failed=True)
            self.report.errors.append(f"{self.row.target}: {fault}")

    def _refused(
        self,
        task: Task,
        resource: dict[str, Any],
        base: Answer | None,
        fault: ServerError,
        tries: int,
    ) -> Steps:
        """The content is refused: for a reference that does not resolve, or for what only a person can
        mend.
        """
        if fault.status == 405:
            raise AccessRefused(
                f"{fault.message}: this type is not written here any more",
                status=405,
                issues=fault.issues,
                source=fault.source,
            )
        if tries <= 0 or not about_references(fault):
            self._park(fault.codes() or f"status {fault.status}")
            return
        seen = self.sender.examine(resource, self.now)
        essential = {task.focus, task.patient, *task.based_on}
        if seen.gone & essential:
            self.report.read_back += 1
            self.sender.ask_look(task.patient, "resource")
            self._again()
            return
        day = self.now + timedelta(days=1)
        found_some = seen.elsewhere | seen.gone | seen.lost
        self.sender.refused |= dict.fromkeys(found_some, day)
        self.sender.ledger.later(self.row.target, self.now, failed=False)
        yield from self._write(task, base, tries - 1 if found_some else 0)  # all there: once more, as it is

    def _park(self, safe: str) -> None:
        self.report.parked += 1
        self.report.errors.append(
            f"{self.row.target}: parked ({safe}) → when it is mended: baton outbox retry"
        )
        if not self.dry_run:
            self.sender.ledger.park(self.row.target, safe)

    def _end(self, task: Task | None) -> None:
        """Nothing has to be sent."""
        self.report.unchanged += 1
        if not self.dry_run:
            version = task.seen_version if task else ""
            self.sender.ledger.done(self.row.target, sent=self.row.wanted, version=version)

    def _want_plan(self, task: Task) -> None:
        plan = self.contexts.plan_of(task)
        if plan is not None and not plan.gone:
            self.sender.ledger.want([f"CarePlan/{plan.id}"])

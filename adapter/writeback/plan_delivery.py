"""The delivery of one CarePlan. It follows its Tasks, and takes nothing that is not its own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from msgspec import structs

from adapter.errors import Conflict, Gone, NotFound, Rejected, ServerError
from adapter.fhir import Answer
from adapter.ledger import OutboxRow
from adapter.model import Json, Plan, Words
from adapter.writeback import codes
from adapter.writeback.adopt import identifier_in
from adapter.writeback.arrivals import mark_of_answer
from adapter.writeback.contexts import Contexts
from adapter.writeback.normalise import content_digest, diff_text
from adapter.writeback.render_plan import PlanTask, person_ended, render_plan
from adapter.writeback.report import Report
from adapter.writeback.sending import Sender, Steps, about_references
from adapter.writeback.versions import same_version

TRIES = 2


@dataclass(slots=True)
class PlanDelivery:
    """One CarePlan's delivery; :meth:`steps` end it in the ledger whatever happens, or raise a ServerError."""

    sender: Sender
    contexts: Contexts
    row: OutboxRow
    now: datetime
    report: Report
    dry_run: bool = False

    def steps(self) -> Steps:
        """Deliver. A plan that a person ended or deleted is not written again."""
        plan = self.sender.ledger.plan(self.row.target.partition("/")[2])
        if plan is None or plan.gone:
            self._end()
            return
        try:
            base = self.sender.read(self.row.target)
        except Gone:
            self._given_up(plan, plan.status)
            return
        if base is not None and not self._still_ours(plan, base):
            return
        yield from self._write(plan, base, TRIES)

    def _still_ours(self, plan: Plan, base: Answer) -> bool:
        body = base.resource or {}
        foreign = not same_version(mark_of_answer(base), plan.seen_version)
        ours = identifier_in(body, codes.plan_system(self.contexts.writer.namespace))
        if foreign and (not ours or (person_ended(plan, body) and plan.seen_version)):
            self._given_up(plan, str(body.get("status", plan.status)))
            return False
        return True

    def _given_up(self, plan: Plan, status: str) -> None:
        self.report.deleted += 1
        if self.dry_run:
            return
        known = status if status in ("active", "completed", "revoked") else "revoked"
        self.sender.ledger.save_plan(structs.replace(plan, gone=True, status=known))
        self.sender.ledger.done(self.row.target, sent=self.row.wanted, version="")
        self.sender.ask_look(plan.patient)

    def _write(self, plan: Plan, base: Answer | None, tries: int) -> Steps:
        held = (base.resource or {}) if base else None
        rendered, names_tasks = self._rendered(plan, held)
        if held is None and not self._may_create(plan, names_tasks):
            return
        changed: list[str] = []
        if held is not None:
            version = mark_of_answer(base) if base else ""
            foreign = not same_version(version, plan.seen_version)
            rendered, changed, given_up = self.sender.settle(self.row.target, rendered, held, foreign=foreign)
            self.report.errors += [
                f"{self.row.target}: {path} is changed back again and again; left alone" for path in given_up
            ]
            if not changed:
                self._end(version)
                return
            if foreign and not self.dry_run:
                self.sender.count_rewrites(self.row.target, rendered, changed)
        if self.dry_run:
            self.report.differences.append(diff_text(held, rendered, self.sender.client.bases))
            return
        yield from self._send(plan, rendered, base, tries)

    def _rendered(self, plan: Plan, held: Json | None) -> tuple[dict[str, Any], bool]:
        tasks = self.contexts.tasks_of(plan)
        words = self.sender.ledger.words([task.id for task in tasks])
        ctx = self.contexts.for_plan(plan, tasks, self.now, self.sender.known_refused(self.now))
        if held is not None and any(task.open and task.id not in words for task in tasks):
            ctx = replace(ctx, keep=frozenset({"text"}))  # adopted, and not looked at yet
        listed = [PlanTask(task, words.get(task.id, Words())) for task in tasks]
        resource, _ = render_plan(plan, listed, ctx, held)
        return resource, "activity" in resource

    def _may_create(self, plan: Plan, names_tasks: bool) -> bool:
        """A plan without acknowledged Tasks waits for the first: its acknowledgement asks for the plan
        again.
        """
        if not names_tasks and not plan.seen_version:
            self._end()
            return False
        if not self.contexts.settings.create or not self.contexts.writer.fenced:
            self._park("creating is refused")
            return False
        return True

    def _send(self, plan: Plan, resource: dict[str, Any], base: Answer | None, tries: int) -> Steps:
        digest = content_digest({name: part for name, part in resource.items() if name != "meta"})
        try:
            answer = yield self.sender.ready(self.row, resource, base, digest=digest, values={}, now=self.now)
        except Conflict as fault:
            yield from self._conflict(plan, base, fault, tries)
        except Gone:
            self._given_up(plan, plan.status)
        except (Rejected, NotFound) as fault:
            yield from self._refused(plan, resource, base, fault, tries)
        else:
            self._confirm(resource, answer)

    def _confirm(self, resource: dict[str, Any], answer: Answer) -> None:
        found = self.sender.answered(answer, self.row.target)
        if found is None or found.resource is None:
            wait = timedelta(seconds=self.contexts.settings.longest_request_s)
            self.sender.ledger.unknown(self.row.target, self.now + wait)
            self.report.unknown += 1
            return
        lost = self.sender.note_losses(self.row.target, resource, found.resource)
        self.report.lost += [f"{self.row.target}: {path} was not kept as sent" for path in lost]
        version = mark_of_answer(found)
        self.sender.ledger.done(self.row.target, sent=self.row.wanted, version=version)
        self.report.written["CarePlan"] += 1

    def _conflict(self, plan: Plan, base: Answer | None, fault: Conflict, tries: int) -> Steps:
        """Somebody was quicker: merge anew once, then at the next pass (F36)."""
        self.sender.ledger.later(self.row.target, self.now, failed=False, round=True)
        if tries <= 0 or about_references(fault):
            self.report.errors.append(f"{self.row.target}: {fault}")
            return
        try:
            found = self.sender.read(self.row.target)
        except Gone:
            self._given_up(plan, plan.status)
            return
        if found is None and base is None:
            self.sender.plain_create = True
        if found is None or self._still_ours(plan, found):
            yield from self._write(plan, found, tries - 1)

    def _refused(
        self, plan: Plan, resource: dict[str, Any], base: Answer | None, fault: ServerError, tries: int
    ) -> Steps:
        """An activity whose Task is gone is a deletion to look at, and the plan is rendered without it
        (F35).
        """
        if tries <= 0 or not about_references(fault):
            self._park(fault.codes() or f"status {fault.status}")
            return
        seen = self.sender.examine(resource, self.now)
        refused = seen.elsewhere | seen.gone | seen.lost
        self.sender.refused |= {ref: self.now + timedelta(days=1) for ref in refused}
        self.sender.ledger.later(self.row.target, self.now, failed=False)
        if any(ref.startswith("Task/") for ref in seen.gone):
            self.sender.ask_look(plan.patient)
        yield from self._write(plan, base, tries - 1)

    def _park(self, safe: str) -> None:
        self.report.parked += 1
        self.report.errors.append(
            f"{self.row.target}: parked ({safe}) → when it is mended: baton outbox retry"
        )
        if not self.dry_run:
            self.sender.ledger.park(self.row.target, safe)

    def _end(self, version: str = "") -> None:
        self.report.unchanged += 1
        if not self.dry_run:
            self.sender.ledger.done(self.row.target, sent=self.row.wanted, version=version)

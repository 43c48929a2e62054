"""Render contexts from the ledger: what the rows that a task or plan hangs on say of references and
labels.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from adapter.ledger import Ledger
from adapter.model import Json, Plan, Snapshot, SnapshotState, SourceFacts, Task
from adapter.references import Bases
from adapter.writeback import codes
from adapter.writeback.context import RenderContext, bare
from adapter.writeback.identity import WriterContext
from adapter.writeback.render_plan import plan_value

_LEVELS = ("U", "L", "M", "N", "R", "V")  # v3-Confidentiality, least first


@dataclass(frozen=True, slots=True)
class DeliverySettings:
    """How one source is written.

    ``create`` is false where the EHR lets no resource be created under an id of ours: then only what stands
    there is updated. ``only_if_absent`` says whether a PUT with If-Match "0" creates and never overwrites
    (HAPI); None tries it and remembers. ``longest_request_s`` is how long after an unknown outcome a write
    may still arrive. ``rounds`` bounds how often a resource is read back before it backs off. ``only`` are the
    targets that may be written; None for all. ``paused`` are rules whose open tasks are not written for now.
    """

    source: SourceFacts
    tags: tuple[Json, ...] = ()
    security: tuple[Json, ...] = ()
    contact: str = ""
    create: bool = True
    only_if_absent: bool | None = None
    longest_request_s: float = 150.0
    rounds: int = 5
    batch: int = 200
    only: frozenset[str] | None = None
    paused: frozenset[str] = frozenset()


@dataclass(slots=True)
class Contexts:
    """Makes the context of each rendering; one for each round of writes."""

    ledger: Ledger
    settings: DeliverySettings
    writer: WriterContext
    bases: Bases
    _plans: dict[str, list[Plan]] = field(default_factory=dict)

    def plan_of(self, task: Task) -> Plan | None:
        """The plan of a task: of its patient and programme, in the episode in which it was opened."""
        if not task.programme:
            return None
        own = [plan for plan in self._plans_of(task.patient) if plan.programme == task.programme]
        plans = sorted(own, key=lambda plan: plan.episode)
        if not plans:
            return None
        opened = task.opened_at
        begun = [plan for plan in plans if not (plan.started and opened) or plan.started <= opened]
        return begun[-1] if begun else plans[0]

    def _plans_of(self, patient: str) -> list[Plan]:
        """Read once a round: whole sources of plans would cost every round of writes."""
        if patient not in self._plans:
            self._plans[patient] = self.ledger.plans_of(self.settings.source.name, patient)
        return self._plans[patient]

    def tasks_of(self, plan: Plan) -> list[Task]:
        """The tasks of a plan, every generation."""
        found = self.ledger.tasks(plan.source, patient=plan.patient)
        return [task for task in found if (own := self.plan_of(task)) is not None and own.id == plan.id]

    def for_task(self, task: Task, now: datetime, refused: frozenset[str] = frozenset()) -> RenderContext:
        """What rendering a task needs."""
        named = [task.focus, task.patient, task.owner, *task.based_on, *task.opening, *task.closing]
        plan = self.plan_of(task)
        return self._made(named, now, refused, plan_value(plan) if plan else "")

    def for_plan(
        self, plan: Plan, tasks: Iterable[Task], now: datetime, refused: frozenset[str] = frozenset()
    ) -> RenderContext:
        """What rendering a plan needs; its labels are as high as those of what its tasks hang on."""
        named = [plan.patient, *(ref for task in tasks for ref in (task.focus, *task.opening, *task.closing))]
        return self._made(named, now, refused, plan_value(plan))

    def _made(self, named: Iterable[str], now: datetime, refused: frozenset[str], plan: str) -> RenderContext:
        source = self.settings.source
        refs = {bare(ref) for ref in named if ref}
        held = self.ledger.snapshots(source.name, refs)
        gone = {ref for ref, one in held.items() if one.state is SnapshotState.DELETED}
        return RenderContext(
            namespace=self.writer.namespace,
            source_key=source.key,
            now=now,
            device=self.writer.device,
            zone=source.zone,
            roles=source.roles,
            references=source.references,
            refused=refused | gone,
            plan_identifier=plan,
            tags=self.settings.tags,
            security=(*self.settings.security, *labels_of(held.values(), self.settings.security)),
            identifiers={ref: found for ref, one in held.items() if (found := _identifier(one))},
            bases=self.bases,
            contact=self.settings.contact,
        )


def labels_of(snapshots: Iterable[Snapshot], present: Iterable[Json] = ()) -> tuple[Json, ...]:
    """The security labels of evidence: every one, of confidentiality the highest only (WORKFLOW 1.22)."""
    have = {(one.get("system"), one.get("code")) for one in present}
    found: dict[tuple[str, str], Json] = {}
    level = -1
    for snapshot in snapshots:
        for label in _labels(snapshot.body):
            system, code = str(label.get("system", "")), str(label.get("code", ""))
            if system == codes.CONFIDENTIALITY and code in _LEVELS:
                level = max(level, _LEVELS.index(code))
            elif code and (system, code) not in have:
                found[(system, code)] = {"system": system, "code": code} if system else {"code": code}
    highest: tuple[Json, ...] = ()
    if level >= 0:
        highest = ({"system": codes.CONFIDENTIALITY, "code": _LEVELS[level]},)
    return (*highest, *(found[key] for key in sorted(found)))


def _labels(body: Json) -> list[Json]:
    meta = body.get("meta")
    found: Any = meta.get("security") if isinstance(meta, Mapping) else None
    return [one for one in found if isinstance(one, Mapping)] if isinstance(found, list) else []


def _identifier(snapshot: Snapshot) -> Json | None:
    found = snapshot.body.get("identifier")
    entries = found if isinstance(found, list) else [found]
    for one in entries:
        if isinstance(one, Mapping) and one.get("system") and one.get("value"):
            return {"system": one["system"], "value": one["value"]}
    return None

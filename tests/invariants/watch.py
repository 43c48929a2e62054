"""What has to hold after every pass, in terms of what the EHR holds and of what people did there.

The machine tells what it lets people and the hospital do; after each pass the ledger's new events and the EHR's new
versions are held against that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from adapter.model import Event, EventKind, SnapshotState, Task
from adapter.sandbox import Sandbox
from tests.consistency.hospital import DAY, HOUR, Hospital

OWN = "urn:baton:n1:need"
LATE = timedelta(days=60)  # a version that is stamped so far back lies before any watermark
_OWNED = {"status": "status", "owner": "owner", "due": "due", "businessStatus": "business_status"}
_STARTED = ("accepted", "in-progress")
_ENDED = ("completed", "rejected", "entered-in-error")
_POLLED = ("ServiceRequest", "Appointment")


@dataclass
class Watch:
    """What people did so far, and what follows from it.

    ``hidden`` are refs of which the server once hid a version from the polls: only sweeps and rereads bring those.
    """

    town: Hospital
    ehr: Sandbox
    mine: dict[str, set[str]] = field(default_factory=dict)  # Task → what she set there
    began: dict[str, datetime] = field(
        default_factory=dict
    )  # Task → when she last worked on what she had begun
    ended: dict[str, str] = field(default_factory=dict)  # Task → how she ended it
    silent: set[str] = field(
        default_factory=set
    )  # orders whose task she ended, and that nobody changed since
    moved: set[str] = field(default_factory=set)  # orders that were somebody else's once
    dead: dict[str, datetime] = field(default_factory=dict)
    said: dict[str, set[str]] = field(default_factory=dict)  # order → its states since a pass went through
    hidden: set[str] = field(default_factory=set)
    vanished: set[str] = field(default_factory=set)  # what the server has lost
    copies: set[str] = field(default_factory=set)
    versions: dict[str, int] = field(default_factory=dict)  # of each resource of Baton's, before the pass
    joined: set[str] = field(default_factory=set)  # patients who were ever merged

    # --- told by the machine

    def person_set(self, ref: str, element: str, value: Any) -> None:
        """She has set an element of a Task (a note is no element of hers alone)."""
        self.mine.setdefault(ref, set()).add(element)
        if element == "status" and value in _STARTED:
            self.began[ref] = self.town.clock.now()
        elif element == "status":
            self.began.pop(ref, None)
        elif ref in self.began:
            self.began[ref] = self.town.clock.now()
        if element == "status" and value in _ENDED:
            self._end(ref, str(value))

    def person_deleted(self, ref: str) -> None:
        """She has deleted a Task."""
        self._end(ref, "deleted")

    def _end(self, ref: str, how: str) -> None:
        self.ended[ref] = how
        self.began.pop(ref, None)
        for task in self.town.tasks():
            if f"Task/{task.id}" == ref:
                self.silent.add(task.focus)

    def changed(self, focus: str = "") -> None:
        """An order, what hangs on it, or (without one) anything at all is another now: what was silent may wake."""
        if focus:
            self.silent.discard(focus)
        else:
            self.silent.clear()

    def died(self, who: str, dead: bool) -> None:
        """Somebody has died, or has not."""
        if dead:
            self.dead.setdefault(who, self.town.clock.now())
        else:
            self.dead.pop(who, None)
        self.changed()

    def merged(self, loser: str, survivor: str, kinds: Iterable[str], *, silently: bool) -> None:
        """A Patient goes into another, with what names it of some kinds, or without."""
        self.joined |= {loser, survivor}
        self.changed()
        for kind in kinds:
            for body in self.ehr.all(kind):
                if f"'{loser}'" in str(body):
                    self.moved.add(f"{kind}/{body['id']}")
                    if silently:
                        self.hidden.add(f"{kind}/{body['id']}")

    def lost(self, ref: str) -> None:
        """The server has lost a Task, with what she had done there."""
        self.vanished.add(ref)
        self.mine.pop(ref, None)
        self.began.pop(ref, None)

    def new_ledger(self) -> None:
        """Another ledger has taken over: of what was deleted before its time, it knows nothing."""
        gone = {ref for ref, how in self.ended.items() if how in ("deleted", "entered-in-error")}
        held = {f"Task/{task.id}": task.focus for task in self.town.tasks()}
        self.silent -= {held[ref] for ref in gone if ref in held}

    # --- held against what happened

    def before_pass(self) -> None:
        """What follows is written by Baton."""
        self.versions = {ref: len(self.ehr.versions(ref)) for ref in self._own()}

    def after_pass(self, before: Mapping[str, Task], *, through: bool, quiet: bool) -> None:
        """After a pass; ``through``: every type was read, ``quiet``: the server had no fault and hid nothing."""
        tasks = self.town.tasks()
        for task in tasks:
            news = self.town.ledger.task_events(task.id)[_length(before.get(task.id)) :]
            self._attributed(task)
            for event in news:
                self._not_under_her_hands(before.get(task.id), event)
                self._justified(task, event, tasks)
        self._hers_goes_on()
        self._versions(lossless=quiet)
        if through and quiet:
            self._agrees(self._held(_POLLED) - self.hidden)
        if through:
            self.said = {f"ServiceRequest/{o['id']}": {_state(o)} for o in self.ehr.all("ServiceRequest")}

    def _attributed(self, task: Task) -> None:
        """What is said to be a person's was done by a person. A ledger that came later has to guess."""
        ref = f"Task/{task.id}"
        if any(event.kind is EventKind.ADOPTED for event in self.town.ledger.task_events(task.id)):
            return
        said = {_OWNED[name] for name in self.mine.get(ref, ()) if name in _OWNED}
        assert set(task.mine) <= said, (ref, "taken for hers", task.mine, said)
        if task.closed_by == "person":
            assert self.ended.get(ref), (ref, "nobody ended it", task.status)
        if task.closed_by == "deleted" or task.gone:
            assert self.ended.get(ref) in ("deleted", "entered-in-error"), (ref, "nobody deleted it")
        assert not task.started or "status" in self.mine.get(ref, ()), (ref, "nobody began it")

    def _not_under_her_hands(self, before: Task | None, event: Event) -> None:
        """What is known to be begun ends two days after her last touch, be that one seen or not."""
        since = self.began.get(f"Task/{event.task}")
        if event.kind in (EventKind.COMPLETED, EventKind.WITHDRAWN) and since and before and before.started:
            assert self.town.clock.now() - since >= 2 * DAY, (event.task, "closed under her hands")

    def _justified(self, task: Task, event: Event, tasks: Iterable[Task]) -> None:
        """Whatever opened or ended did so by what the EHR holds, not by what it hid."""
        if event.kind is EventKind.ESCALATED and task.seen_version:
            assert not self._blind("Task"), (task.id, "a step while nobody knows what she did")
        if task.code != "schedule-referral" or not task.focus.startswith("ServiceRequest/"):
            return
        if event.kind is EventKind.OPENED:
            self._may_open(task, tasks)
        elif event.kind is EventKind.COMPLETED:
            assert self.booked(task.focus), f"{task.focus} completed without a visit"
        elif event.kind is EventKind.WITHDRAWN:
            self._may_be_withdrawn(task, event)

    def _may_open(self, task: Task, tasks: Iterable[Task]) -> None:
        focus = task.focus
        assert self.needed(focus), f"{focus} opened without need"
        since = self.dead.get(task.patient)
        assert since is None or self.town.clock.now() - since < DAY + HOUR, (task.patient, "has been dead")
        assert focus not in self.silent, (focus, "is silent: nothing has changed since she ended its task")
        if focus in self.moved or task.patient in self.joined:
            return  # it ends at one patient and opens at the other
        earlier = [t for t in tasks if t.key == task.key and t.generation < task.generation and t.closed_at]
        for other in earlier:
            assert other.closed_at and task.opened_at
            assert task.opened_at - other.closed_at >= HOUR * 12, (focus, "came back at once")
        month = [t for t in tasks if t.key == task.key and t.opened_at and task.opened_at]
        lately = [t for t in month if task.opened_at - t.opened_at < 28 * DAY]  # type: ignore[operator]
        assert len(lately) <= 3, (focus, "came for the fourth time in a month")

    def _may_be_withdrawn(self, task: Task, event: Event) -> None:
        why = str(event.set.get("closed_by", task.closed_by))
        if why == "patient":
            since = self.dead.get(task.patient) or min(self.dead.values(), default=None)
            assert since is not None, (task.id, "nobody is dead")
            assert since.date() < self.town.clock.now().date(), (task.id, "withdrawn on the day of the death")
        elif why == "contrary" and task.focus not in self.moved and task.patient not in self.joined:
            states = self.said.get(task.focus, set()) | {_state(self.ehr.get(task.focus))}
            assert states & {"revoked", "gone"}, (
                task.focus,
                states,
                "withdrawn though nothing speaks against it",
            )

    def _blind(self, type: str) -> bool:
        return type in self.ehr.habits.refused

    def _hers_goes_on(self) -> None:
        """What she has begun is not closed under her hands: two business days are two days at least."""
        for ref, since in self.began.items():
            held = self.ehr.get(ref)
            if held is not None and self.town.clock.now() - since < 2 * DAY:
                assert held["status"] in _STARTED, (ref, held["status"], "closed under her hands")

    def _versions(self, *, lossless: bool) -> None:
        """Of all new versions of Baton's resources: no Task was born closed, and no write was needless."""
        for ref in self._own():
            versions = self.ehr.versions(ref)
            first = versions[0].resource or {}
            open_at_first = first["status"] in ("requested", "on-hold", "active") or ref in self.vanished
            assert open_at_first, (ref, "was born", first["status"])
            since = self.versions.get(ref)
            if lossless and since:
                for old, new in pairwise(versions[since - 1 :]):
                    assert _content(old.resource) != _content(new.resource), (ref, "written in vain")
        for plan in self.ehr.all("CarePlan"):
            for named in _activities(plan):
                if named.startswith("Task/b-") and named not in self.vanished:
                    assert self.ehr.versions(named), (named, "is nowhere")

    def open_work(self) -> set[str]:
        """What open work hangs on: its Tasks and their foci."""
        return {ref for t in self.town.tasks(all=False) for ref in (t.focus, f"Task/{t.id}")}

    def agrees(self, refs: set[str] | None = None) -> None:
        """What is held is what the EHR has: of ``refs``, as far as they are there, or of all that is polled."""
        known = self._held(_POLLED) if refs is None else {r for r in refs if self.ehr.get(r) is not None}
        self._agrees(known)

    def _own(self) -> list[str]:
        """All resources of Baton's that are there."""
        bodies = [body for kind in ("Task", "CarePlan") for body in self.ehr.all(kind)]
        own = [b for b in bodies if b["id"].startswith(("b-", "bp-")) and "identifier" in b]
        return [f"{body['resourceType']}/{body['id']}" for body in own]

    def _held(self, types: Iterable[str]) -> set[str]:
        return {f"{kind}/{body['id']}" for kind in types for body in self.ehr.all(kind)}

    def _agrees(self, refs: set[str]) -> None:
        held = self.town.ledger.snapshots("general", refs)
        for ref in sorted(refs):
            there = self.ehr.get(ref)
            assert there is not None
            if ref in self.ehr.habits.poison:
                continue
            assert ref in held, (ref, "was never read")
            if held[ref].state is not SnapshotState.QUARANTINED:
                assert held[ref].version == there["meta"]["versionId"], (ref, "is held in an older version")

    # --- what the EHR says

    def needed(self, focus: str) -> bool:
        """Whether an order needs a visit."""
        return _state(self.ehr.get(focus)) in ("active", "on-hold") and not self.booked(focus)

    def booked(self, focus: str) -> bool:
        """Whether an order has one."""
        found = self.ehr.get(f"Appointment/v{focus.partition('/o')[2]}")
        return found is not None and found["status"] == "booked"


def _length(task: Task | None) -> int:
    return task.row_version if task else 0


def _state(body: Mapping[str, Any] | None) -> str:
    return str(body.get("status", "unreadable")) if body else "gone"


def _content(body: Mapping[str, Any] | None) -> dict[str, Any]:
    """What a person can see of it."""
    return {k: v for k, v in (body or {}).items() if k not in ("meta", "lastModified")}


def _activities(plan: Mapping[str, Any]) -> Iterator[str]:
    for one in plan.get("activity", ()):
        yield one.get("reference", {}).get("reference", "")

"""The words of the field, as frozen structs, and the Task state machine. Imports nothing that acts.

Glossary
--------
source      one FHIR base URL with its settings; its *name* is a label, its *key* is drawn once and never changes
snapshot    the newest version of one resource that Baton holds, trimmed to the elements it needs
watermark   the server's time from which the next poll of a type asks
walk        one reading of all pages of one search; it is dated by its beginning
known       up to when the absence of resources of a type may be believed, for one person
person      Patients joined by ``link``: the unit of a look. Its name is one of its "Patient/id" references
look        the pure computation: all that is known of a person → which tasks should exist
need        what has to be done for a person, whoever says so; one need, one task
task        a need and a generation; it stands in the ledger and, written, in the EHR as a Task
face        the rule that gives a need its words, code and dates: the lowest rank of those that see it
hold        the engine does not act on a need for now (in hospital, a flood); *on-hold* is a Task's own status;
            a need that *waits* has its ``opens`` ahead
opens       not before this; due: until this; ends: moot after this
steps       escalations that were done, each known by anchor, offset and effect
started     a person has taken the task up: it is never closed under her hands
mark        "evidence" or "no-longer-needed" on a started task that Baton would have closed; "withdrawing", which
            nobody sees in the EHR, on one that Baton's own side no longer needs (an edited rule, a merge)
outbox      which resources have to be written, newest wish first; one row per resource
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta, tzinfo
from enum import StrEnum
from typing import Any

import msgspec
from msgspec.structs import force_setattr

Json = Mapping[str, Any]

# What Baton walks, in the order in which a pass walks it: the causes first, what may answer them after.
POLLED = ("ServiceRequest", "CoverageEligibilityResponse", "Appointment")
# What is read per patient, when a rule's answer depends on it.
EVIDENCE = ("Encounter", "Coverage", "DiagnosticReport", "DocumentReference")


SAME_STAMP = timedelta(seconds=1)
"""Stamps of a version that lie closer are one: servers keep nanoseconds, show milliseconds, and some cut to seconds."""
WITHDRAWING = "withdrawing"
"""The mark of a task that Baton's own side no longer needs, while that may still be taken back (F19)."""


class TaskStatus(StrEnum):
    """http://hl7.org/fhir/task-status (R4)."""

    DRAFT = "draft"
    REQUESTED = "requested"
    RECEIVED = "received"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    READY = "ready"
    CANCELLED = "cancelled"
    IN_PROGRESS = "in-progress"
    ON_HOLD = "on-hold"
    FAILED = "failed"
    COMPLETED = "completed"
    ENTERED_IN_ERROR = "entered-in-error"

    @property
    def closed(self) -> bool:
        """Nothing more is to be done."""
        return self in _CLOSED

    @property
    def started(self) -> bool:
        """The status alone says that somebody works on it."""
        return self in (TaskStatus.ACCEPTED, TaskStatus.IN_PROGRESS, TaskStatus.RECEIVED, TaskStatus.READY)


_CLOSED = frozenset(
    {
        TaskStatus.REJECTED,
        TaskStatus.CANCELLED,
        TaskStatus.FAILED,
        TaskStatus.COMPLETED,
        TaskStatus.ENTERED_IN_ERROR,
    }
)

# Baton's own transitions; what a person did in the EHR is a fact, by whatever path.
OWN_TRANSITIONS: Mapping[TaskStatus, frozenset[TaskStatus]] = {
    TaskStatus.REQUESTED: frozenset({TaskStatus.COMPLETED, TaskStatus.CANCELLED, TaskStatus.ON_HOLD}),
    TaskStatus.ON_HOLD: frozenset(
        {TaskStatus.REQUESTED, TaskStatus.IN_PROGRESS, TaskStatus.CANCELLED, TaskStatus.COMPLETED}
    ),
    # Only after two business days without her touch, by a fresh look.
    TaskStatus.ACCEPTED: frozenset({TaskStatus.COMPLETED, TaskStatus.CANCELLED}),
    TaskStatus.IN_PROGRESS: frozenset({TaskStatus.COMPLETED, TaskStatus.CANCELLED}),
    TaskStatus.RECEIVED: frozenset({TaskStatus.COMPLETED, TaskStatus.CANCELLED}),
    TaskStatus.READY: frozenset({TaskStatus.COMPLETED, TaskStatus.CANCELLED}),
    TaskStatus.DRAFT: frozenset({TaskStatus.REQUESTED, TaskStatus.CANCELLED, TaskStatus.COMPLETED}),
}


class Priority(StrEnum):
    """http://hl7.org/fhir/request-priority."""

    ROUTINE = "routine"
    URGENT = "urgent"
    ASAP = "asap"
    STAT = "stat"


class SnapshotState(StrEnum):
    """What a snapshot row is. Anything but LIVE makes the ``when`` of a rule about it *no*, save QUARANTINED."""

    LIVE = "live"
    DELETED = "deleted"  # a tombstone: 410, a DELETE in history, or a confirmed 404
    ERROR = "entered-in-error"  # a tombstone, too
    QUARANTINED = "quarantined"  # its newest version cannot be read: unknown for every rule (F23)


class Snapshot(msgspec.Struct, frozen=True, gc=False):
    """The newest version of one resource.

    ``body`` holds the kept elements (always "resourceType" and "id"); of our own Tasks and of sources with
    ``store: full`` the whole. ``digest`` is over the whole as received, ``kept_digest`` over the kept elements:
    that one wakes. ``edition`` names the element set under which it was kept (F9). ``sent_seq``/``received_seq``
    are the numbers of the request and the answer that brought the *present content*; ``walk_seq`` that of the
    walk's first request (equal to sent_seq for a read). ``changed`` is the server time since when the status is
    what it is, as seen; ``first_seen`` that of the first sight of the resource. ``in_scope`` is true where the
    poll of its type shows it: only such rows become a focus.
    """

    source: str
    type: str
    id: str
    state: SnapshotState
    body: Json
    version: str | None = None
    last_updated: datetime | None = None
    digest: str = ""
    kept_digest: str = ""
    edition: str = ""
    first_seen: datetime | None = None
    changed: datetime | None = None
    received_at: datetime | None = None
    sent_seq: int = 0
    received_seq: int = 0
    walk_seq: int = 0
    in_scope: bool = True
    patients: tuple[str, ...] = ()
    ref: str = ""  # "Type/id"

    def __post_init__(self) -> None:
        if not self.ref:
            force_setattr(self, "ref", f"{self.type}/{self.id}")


class Known(msgspec.Struct, frozen=True):
    """Up to when the absence of one type's resources may be believed, for one person at one source.

    From the last complete walk, or from a read for this person, whichever began later. ``at`` is the server's
    time of its beginning (None: never), ``seq`` its first request's number, ``bounded`` true where ``since:`` or
    ``search:`` may hide resources (absence is then unknown until read for the patient). ``declared_none``: the
    configuration says that the source has no such resources: empty, and known. ``blind`` names why the type
    cannot be read at all ("403", "not offered"); "" where it can. ``edition_ok`` is false while rows kept under an
    older element set wait to be read again.
    """

    at: datetime | None = None
    seq: int = 0
    bounded: bool = False
    declared_none: bool = False
    blind: str = ""


class SourceFacts(msgspec.Struct, frozen=True):
    """What a look has to know of a source: pure settings, no address, no secret."""

    name: str
    key: str
    zone: tzinfo
    environment: str = "production"
    parameters: Mapping[str, Mapping[str, Any]] = msgspec.field(
        default_factory=dict
    )  # mapping name → overrides
    codes: Mapping[str, Mapping[str, str]] = msgspec.field(
        default_factory=dict
    )  # concept map → "system|code" → meaning
    completed_means: str = "unknown"  # sent | scheduled | performed | unknown
    writes: bool = True  # whether people see the tasks: else no step of an escalation counts as done (F27)
    roles: Mapping[str, str] = msgspec.field(default_factory=dict)  # role → "Type/id" of who that is
    disabled: frozenset[str] = frozenset()  # rule ids switched off here
    enabled: frozenset[str] = frozenset()  # rule ids switched on here against ``enabled: false``
    system_actors: frozenset[str] = frozenset()
    opt_out_patients: frozenset[str] = frozenset()  # "Patient/id" or "system|value" of an identifier
    opt_out_flags: frozenset[str] = frozenset()  # "system|code" of Flags that mean: no outreach
    live_from: datetime | None = None  # when this source went live
    live_from_rules: Mapping[str, datetime] = msgspec.field(default_factory=dict)
    live_over: int = 0  # business days over which what waited at go-live opens; 0: at once
    evidence_max_age_s: float = 3600.0
    aliases: tuple[str, ...] = ()
    base_url: str = ""
    references: str = "literal"
    lacks: Mapping[str, frozenset[str]] = msgspec.field(
        default_factory=dict
    )  # former edition → elements not kept (F9)
    calendar: Mapping[str, Any] = msgspec.field(
        default_factory=dict
    )  # as adapter.mapping.calendar.build_calendar takes it

    def live_since(self, rule: str) -> datetime | None:
        """When a rule went live here: at a time of its own, else with the source."""
        return self.live_from_rules.get(rule, self.live_from)


class Task(msgspec.Struct, frozen=True):
    """A ledger row: one need, one generation. Exactly what the task's events say (``ledger.fold``); no text.

    Times are UTC. ``id`` is the FHIR id, "b-<key>-<generation>". ``opening``/``closing`` name the evidence as
    "Type/id" or "Type/id@version". ``seen_version`` is the version of the EHR's Task that this row has taken in;
    "" where none was ever confirmed. ``mine`` names what a person owns by now: "status", "owner", "due",
    "business_status". ``renews`` is the digest of the values that end its silence, noted at closing.
    ``closed_by``: evidence | contrary | clock | person | deleted | command | patient | "".
    """

    id: str
    source: str
    patient: str
    key: str
    generation: int
    mapping: str
    mapping_version: int
    rule: str
    code: str
    need: str
    focus: str
    programme: str = ""
    status: TaskStatus = TaskStatus.REQUESTED
    priority: Priority = Priority.ROUTINE
    opened_at: datetime | None = None
    opens: datetime | None = None
    due: datetime | None = None
    due_is_day: bool = False
    ends: datetime | None = None
    onset: datetime | None = None
    performer: str = ""
    owner: str = ""
    business_status: str = ""
    steps: tuple[str, ...] = ()
    mine: frozenset[str] = frozenset()
    started: bool = False
    touched_at: datetime | None = None
    mark: str = ""
    marked_at: datetime | None = None
    hold: str = ""
    held_status: str = ""
    group: str = ""
    follows: str = ""
    based_on: tuple[str, ...] = ()
    opening: tuple[str, ...] = ()
    closing: tuple[str, ...] = ()
    closed_at: datetime | None = None
    closed_by: str = ""
    renews: str = ""
    turned: bool = False  # after closing: an observed *no longer open*, so that a new *open* is news
    notes: int = 0
    seen_version: str = ""
    gone: bool = False
    row_version: int = 0

    @property
    def open(self) -> bool:
        return not self.status.closed and not self.gone


class Words(msgspec.Struct, frozen=True):
    """A task's texts, rendered at a look and kept beside the row: never in events, made anew after a rebuild."""

    title: str = ""
    next: str = ""
    reason: str = ""


class EventKind(StrEnum):
    """What happened to a task; the ledger's append-only truth."""

    OPENED = "opened"
    REVISED = "revised"
    ESCALATED = "escalated"
    COMPLETED = "completed"
    WITHDRAWN = "withdrawn"
    HELD = "held"
    RESUMED = "resumed"
    MARKED = "marked"
    READ_BACK = "read-back"  # a person changed it in the EHR
    DELETED = "deleted"  # a person deleted it in the EHR
    CONFIRMED = "confirmed"  # the EHR acknowledged our write: its version
    ADOPTED = "adopted"  # found in the EHR by a new or older ledger
    NOTED = (
        "noted"  # bookkeeping: the values that end its silence, that it turned, that it waits to be withdrawn
    )


class Event(msgspec.Struct, frozen=True):
    """One thing that happened to one task.

    ``set`` holds the new values of :class:`Task` fields in JSON form (ids, codes, times; never a name or a free
    text of the EHR); ``why`` is a short machine reason ("satisfied", "order revoked"), ``causes`` the snapshot
    versions behind it ("Appointment/4@3"), ``edition`` the hash of the mappings.
    """

    task: str
    kind: EventKind
    at: datetime
    set: Json = msgspec.field(default_factory=dict)
    why: str = ""
    causes: tuple[str, ...] = ()
    edition: str = ""
    seq: int = 0


class Plan(msgspec.Struct, frozen=True):
    """A care plan of one person, programme and episode. ``id`` is the FHIR id, "bp-<key>-<episode>"."""

    id: str
    source: str
    patient: str
    key: str
    programme: str
    episode: int = 1
    status: str = "active"  # active | completed | revoked
    started: datetime | None = None
    ended: datetime | None = None
    mapping: str = ""
    seen_version: str = ""
    gone: bool = False  # a person ended or deleted it: not written again
    row_version: int = 0


class Request(msgspec.Struct, frozen=True):
    """A wish to look at a person. ``gen`` comes from one counter that never restarts (F14)."""

    source: str
    person: str
    gen: int
    causes: frozenset[str]
    not_before: datetime | None = None
    failures: int = 0

    @property
    def kinds(self) -> frozenset[str]:
        """The causes without what each of them names: "released:3" is "released"."""
        return frozenset([cause.partition(":")[0] for cause in self.causes])


class Chart(msgspec.Struct, frozen=True):
    """All that a look may read of one person at one source: its whole input, with ``now``."""

    source: SourceFacts
    person: str
    patients: tuple[str, ...]
    snapshots: Mapping[str, Snapshot]  # by ref; the Patients, polled types, evidence, and our own Tasks
    known: Mapping[str, Known]  # by type
    tasks: tuple[Task, ...]  # every generation
    plans: tuple[Plan, ...]
    now: datetime
    edition: str = ""
    request: Request | None = None
    written: Mapping[str, frozenset[str]] = msgspec.field(default_factory=dict)
    """What Baton ever wrote to an element that people may own: "Task/id#due" → digests (F13)."""
    attempts: Mapping[str, tuple[str, ...]] = msgspec.field(default_factory=dict)
    """Digests of own values in writes whose answer was lost: "Task/id" → digests (F15)."""
    taken: Mapping[str, int] = msgspec.field(default_factory=dict)
    """Keys of needs that others have: the generation that is taken, 0 where its task is open there (F11)."""
    released: frozenset[str] = frozenset()
    """Closed tasks whose needs may return although they came and went too often: a person said so (F30)."""

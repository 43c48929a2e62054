"""What the ledger takes and gives: plain frozen rows, one per table or question, with no database in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from msgspec import Struct

from adapter.facts.history import UNKNOWN_TRACE, Trace
from adapter.fhirjson import loads
from adapter.model import Event, Json, Plan, Request, SnapshotState, Words

#: After a write of unknown outcome nothing is sent for that id until the longest request time is over (F15).
LONGEST_REQUEST_S = 150.0
#: A set of linked Patients larger than this is held and listed, never looked at as one person (F11).
MAX_PERSON = 10
#: In which order persons are looked at: what a person did in the EHR first, a sweep's leftovers last.
CAUSE_RANK: Mapping[str, int] = {"read-back": 0, "due": 1, "resource": 2, "edition": 3, "sweep": 4}


@dataclass(frozen=True, slots=True)
class SourceRow:
    """What the ledger remembers of one source.

    ``key`` is drawn once and never changes, ``namespace`` is the one that the configuration names, ``device``
    the "Device/id" of Baton's mark there. ``epoch`` and ``incarnation`` say which start of which ledger
    writes; ``pending`` is an incarnation drawn but not yet confirmed by the EHR. ``live_from`` is the
    go-live, ``adopted`` true once every own Task was read. ``suspect`` names why writing is stopped; "" where
    it is not. ``aliases`` are further base URLs of the same server.
    """

    name: str
    key: str
    base_url: str = ""
    environment: str = "production"
    namespace: str = ""
    device: str = ""
    epoch: int = 0
    incarnation: str = ""
    pending: str = ""
    live_from: datetime | None = None
    adopted: bool = False
    reread_day: str = ""
    paused: bool = False
    suspect: str = ""
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class WalkRow:
    """Where the poll of one type stands.

    ``watermark`` already holds the overlap: the next query asks from it (F42). ``known_at`` and ``known_seq``
    are the server's time and the first request's number of the last walk that ended complete. ``place`` is
    what a walk under way needs to go on. ``anchor_ref`` is the newest row stored, which must come back (F18).
    ``declared_none``: the configuration says that the source has no such resources.
    """

    source: str
    type: str
    query: str = ""
    watermark: datetime | None = None
    known_at: datetime | None = None
    known_seq: int = 0
    bounded: bool = False
    place: Json | None = None
    overlap_s: float = 150.0
    anchor_ref: str = ""
    anchor_updated: datetime | None = None
    blind: str = ""
    blind_since: datetime | None = None
    note: str = ""
    declared_none: bool = False


@dataclass(frozen=True, slots=True)
class Named:
    """How a resource names its patients by identifiers alone ("system|value"), a set of them for each (F47).

    ``reason``, ``place`` and ``raw`` go into quarantine while nobody, or more than one, is known to bear them.
    """

    patients: tuple[frozenset[str], ...]
    reason: str
    place: str = ""
    raw: bytes = b""


# Not frozen: one is made of every resource received, and a frozen one takes ten times as long.
@dataclass(slots=True)
class Arrival:
    """One resource as an answer brought it, already trimmed.

    ``date`` is the server's time of that answer. ``packed`` is what is kept, as JSON: a page of texts costs
    less to hold than one of objects. A tombstone comes with b"", and keeps the held row's patients.
    ``named`` says by which identifiers it names its patients, where by nothing else; ``identifiers`` are those
    that a Patient bears ("system|value"). ``trace`` tells whether looks may pass over it.
    """

    type: str
    id: str
    state: SnapshotState
    status: str | None
    packed: bytes
    version: str | None
    last_updated: datetime | None
    digest: str
    kept_digest: str
    edition: str
    patients: tuple[str, ...]
    date: datetime
    sent_seq: int
    received_seq: int
    walk_seq: int
    in_scope: bool = True
    named: Named | None = None
    identifiers: frozenset[str] = frozenset()
    trace: Trace = UNKNOWN_TRACE

    @property
    def ref(self) -> str:
        return f"{self.type}/{self.id}"

    @property
    def body(self) -> Json:
        """What is kept, parsed at each asking."""
        body: Json = loads(self.packed) if self.packed else {}
        return body

    @property
    def waits(self) -> bool:
        """Whether it is set aside only because nobody is known whom its identifiers mean."""
        return self.named is not None and self.state is SnapshotState.QUARANTINED


@dataclass(frozen=True, slots=True)
class Stored:
    """What became of a page: how many rows are new in content, how many not, and persons woken.

    ``unsure`` are refs whose answer may be older than the held one (F40): read them by id. ``waiting`` are refs
    whose patient is named by an identifier that nobody known bears, ``set_aside`` how many of them are new.
    """

    changed: int = 0
    same: int = 0
    unsure: tuple[str, ...] = ()
    woken: int = 0
    waiting: tuple[str, ...] = ()
    set_aside: int = 0


class Held(Struct, frozen=True):
    """One row of what is held of a type, without its content: what a sweep compares."""

    ref: str
    state: SnapshotState
    version: str | None
    kept_digest: str
    last_updated: datetime | None
    edition: str


@dataclass(frozen=True, slots=True)
class QuarantineRow:
    """What could not be read. ``id`` is 0 until stored; ``raw`` is only shown, never replayed (F48)."""

    id: int
    source: str
    type: str
    res_id: str
    version: str
    reason: str
    place: str = ""
    raw: bytes = b""
    at: datetime | None = None
    patients: tuple[str, ...] = ()
    tries: int = 0


@dataclass(frozen=True, slots=True)
class Attempt:
    """A write that is about to be sent: the digest of what it sets, and that of each element's value."""

    target: str
    digest: str
    values: Mapping[str, str]
    at: datetime
    incarnation: str


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """One resource that has to be written; ``target`` is "Task/<id>" or "CarePlan/<id>".

    ``wanted`` grows with each wish, ``sent`` is the wish that the last acknowledged write carried. ``state``
    is due, leased, unknown (an attempt's answer was lost: look before sending) or parked. ``attempt`` is the
    digest of what the last attempt set, ``parked`` the server's codes, never its text.
    """

    target: str
    source: str
    wanted: int = 1
    sent: int = 0
    state: str = "due"
    attempt: str = ""
    attempt_at: datetime | None = None
    incarnation: str = ""
    not_before: datetime | None = None
    failures: int = 0
    rounds: int = 0
    parked: str = ""


class LookResult(Struct, frozen=True):
    """What one look wants stored, and what it read: it is stored whole or not at all (F14).

    ``expected`` and ``plan_versions`` name *every* task and plan of the chart with its row_version: one that
    turned up since refuses the result, so that nobody opens a need twice. ``plans`` are rows to upsert; their
    row_version is not read. ``next_look`` None: nothing to wait for.
    """

    request: Request
    expected: Mapping[str, int] = {}
    plan_versions: Mapping[str, int] = {}
    events: tuple[Event, ...] = ()
    words: Mapping[str, Words] = {}
    wants: frozenset[str] = frozenset()
    plans: tuple[Plan, ...] = ()
    next_look: datetime | None = None
    edition: str = ""


@dataclass(frozen=True, slots=True)
class HoldRow:
    """Changes that wait for a person: of which cause, rule and direction, how many, which tasks."""

    id: int
    source: str
    cause: str
    rule: str = ""
    direction: str = ""
    count: int = 0
    created_at: datetime | None = None
    released_at: datetime | None = None
    tasks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RunRow:
    """One run of a verb; ``summary`` is what it reported, None while it runs or where it was killed."""

    id: int
    verb: str
    began_at: datetime
    ended_at: datetime | None = None
    summary: Json | None = None


@dataclass(frozen=True, slots=True)
class CommandRow:
    """What a verb asks of the engine that holds the lock (F67)."""

    id: int
    verb: str
    arguments: Json
    at: datetime

"""Reading by id: what a search left open is settled here, one resource or up to fifty at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from adapter.errors import AccessRefused, Gone, NotFhir, NotFound, Rejected, ServerError
from adapter.facts.keep import PatientByIdentifier, Unreadable
from adapter.ledger import Arrival, QuarantineRow, Stored
from adapter.model import SnapshotState
from adapter.polling.context import PollingContext
from adapter.polling.intake import (
    Intake,
    Sight,
    arrival_of,
    fresh_quarantine,
    quarantined,
    sight_of,
    take_page,
    tombstone,
    waiting,
)

MOST_IDS = 50
MOST_ID_SIGNS = 2000  # some servers give ids of 88 signs, and gateways cut long addresses


class Sighting(StrEnum):
    """What a read by id came to."""

    THERE = "there"
    UNREADABLE = "unreadable"
    GONE = "gone"  # 410: somebody deleted it
    MISSING = "missing"  # 404 with an OperationOutcome: not known here (any more)
    REFUSED = "refused"  # 401, 403, or an answer that says nothing about the resource


@dataclass(frozen=True, slots=True)
class Look:
    """One resource, read by id. ``reason`` is safe to print; ``taken`` is what there is to store."""

    ref: str
    sighting: Sighting
    sight: Sight
    taken: Intake = field(default_factory=Intake)
    reason: str = ""

    @property
    def arrival(self) -> Arrival | None:
        """The row, where it is there."""
        return self.taken.arrivals[0] if self.sighting is Sighting.THERE else None


@dataclass(slots=True)
class Batch:
    """What a reading of many ids came to."""

    taken: Intake = field(default_factory=Intake)
    gone: list[str] = field(default_factory=list)
    missing: list[Look] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    sight: Sight | None = None

    def add(self, look: Look) -> None:
        """Take in one look."""
        self.taken.arrivals += look.taken.arrivals
        self.taken.quarantine += look.taken.quarantine
        if look.sighting is Sighting.GONE:
            self.gone.append(look.ref)
        elif look.sighting is Sighting.MISSING:
            self.missing.append(look)
        elif look.sighting is Sighting.REFUSED:
            self.refused[look.ref] = look.reason


class Reader:
    """Reads by id at one source.

    Faults of the connection are raised; what is said of one resource is an answer.
    """

    def __init__(self, context: PollingContext) -> None:
        self._context = context

    def look(self, ref: str, *, walk_seq: int = 0) -> Look:
        """Read "Type/id". A resource that is gone comes as a tombstone; one that is missing does not."""
        context = self._context
        sent = context.ledger.seq.next()  # an answer that is an error bears no numbers of its own
        try:
            answer = context.read(ref)
        except (Gone, NotFound, AccessRefused, Rejected, NotFhir) as fault:
            return self._refusal(ref, fault, self._sight_since(sent, walk_seq))
        sight = sight_of(answer, context.now(), walk_seq)
        try:
            kept = context.keeper.keep(answer.resource, answer.raw, type=ref.partition("/")[0])
            arrival = arrival_of(kept, sight, context.keeper, version=answer.version)
        except PatientByIdentifier as fault:
            arrival = waiting(fault, answer.raw, sight, context.keeper, version=answer.version)
        except Unreadable as fault:
            taken = quarantined(ref, answer, fault, sight, context)
            return Look(ref, Sighting.UNREADABLE, sight, taken, fault.reason)
        if arrival.ref != ref:
            return Look(ref, Sighting.REFUSED, sight, reason="another resource came")
        return Look(ref, Sighting.THERE, sight, Intake([arrival]))

    def finds_one_of(self, refs: Iterable[str]) -> bool:
        """The control read: a 404 counts only while something else is found by id (F18)."""
        return any(self.look(ref).sighting is Sighting.THERE for ref in refs)

    def _refusal(self, ref: str, fault: ServerError, sight: Sight) -> Look:
        if isinstance(fault, Gone):
            dead = tombstone(ref, sight, self._context.keeper)
            return Look(ref, Sighting.GONE, sight, Intake([dead]), "410")
        if isinstance(fault, NotFound) and fault.issues:
            return Look(ref, Sighting.MISSING, sight, reason="404")
        return Look(ref, Sighting.REFUSED, sight, reason=reason_of(fault))

    def tombstone(self, look: Look) -> Arrival:
        """A tombstone for what was found missing and counts as deleted."""
        return tombstone(look.ref, look.sight, self._context.keeper)

    def read_all(self, refs: Iterable[str]) -> Batch:
        """Read many: in lists of ids where the server takes them; what a list leaves out, one by one.

        A list that comes with a warning is not believed where it leaves something out, and is not needed to
        be: each of those is read by itself.
        """
        batch = Batch()
        by_type: dict[str, list[str]] = {}
        for ref in dict.fromkeys(refs):
            by_type.setdefault(ref.partition("/")[0], []).append(ref)
        for type, wanted in by_type.items():
            for some in _lists(wanted):
                self._read_list(batch, type, some)
        return batch

    def _read_list(self, batch: Batch, type: str, refs: Sequence[str]) -> None:
        found: set[str] = set()
        if len(refs) > 1:
            try:
                found = self._search_ids(batch, type, refs)
            except (AccessRefused, Rejected, NotFound, NotFhir):
                found = set()  # no lists of ids here: one by one, which also tells why
        for ref in refs:
            if ref not in found:
                look = self.look(ref)
                batch.add(look)
                batch.sight = batch.sight or look.sight

    def _search_ids(self, batch: Batch, type: str, refs: Sequence[str]) -> set[str]:
        context, wanted, found = self._context, set(refs), set[str]()
        ids = ",".join(ref.partition("/")[2] for ref in refs)
        for page in context.pages(type, [("_id", ids), ("_count", str(len(refs)))]):
            sight = sight_of(page, context.now())
            batch.sight = batch.sight or sight
            taken = take_page(page, type, sight, context)
            batch.taken.arrivals += [a for a in taken.arrivals if a.ref in wanted]
            batch.taken.quarantine += [q for q in taken.quarantine if f"{type}/{q.res_id}" in wanted]
            found.update(a.ref for a in taken.arrivals if a.ref in wanted)
        return found

    def _sight_since(self, sent: int, walk_seq: int) -> Sight:
        return Sight(self._context.now(), sent, self._context.ledger.seq.next(), walk_seq or sent)

    def store(self, taken: Intake, cause: str) -> Stored:
        """Store what reads brought; rows keep the scope that the poll of their type gave them."""
        context = self._context
        arrivals = scoped(context, taken.arrivals)
        rows = unknown_quarantine(context, taken.quarantine)
        return context.ledger.store(
            context.source, arrivals, cause=cause, quarantine=rows, now=context.clock.now()
        )


def scoped(context: PollingContext, arrivals: Iterable[Arrival]) -> list[Arrival]:
    """Arrivals that no poll brought: of polled types only what a poll once showed stays in scope."""
    arrivals = list(arrivals)
    polled = [a.ref for a in arrivals if a.type in context.polled]
    if not polled:
        return arrivals
    held = context.ledger.snapshots(context.source, polled)
    shown = {ref for ref, snapshot in held.items() if snapshot.in_scope}
    return [replace(a, in_scope=a.ref in shown) if a.type in context.polled else a for a in arrivals]


def unknown_quarantine(context: PollingContext, rows: Sequence[QuarantineRow]) -> list[QuarantineRow]:
    """Of rows for quarantine, those that are not there already."""
    return fresh_quarantine(rows, context.ledger.quarantine(context.source)) if rows else []


def reason_of(fault: ServerError) -> str:
    """A refusal in a few words: its status, or what kind of fault it is."""
    if isinstance(fault, NotFound) and not fault.issues:
        return "404 without an OperationOutcome"
    return str(fault.status) if fault.status else type(fault).__name__


def live(arrivals: Iterable[Arrival]) -> Iterator[Arrival]:
    """Those that can be read and are not gone."""
    hidden = (SnapshotState.QUARANTINED, SnapshotState.DELETED)
    return (arrival for arrival in arrivals if arrival.state not in hidden)


def _lists(refs: Sequence[str]) -> Iterator[list[str]]:
    """Cut into lists that fit into an address."""
    some: list[str] = []
    length = 0
    for ref in refs:
        if some and (len(some) >= MOST_IDS or length + len(ref) > MOST_ID_SIGNS):
            yield some
            some, length = [], 0
        some.append(ref)
        length += len(ref)
    if some:
        yield some

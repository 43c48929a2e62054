"""From what an answer holds to what the ledger stores: arrivals, tombstones, and rows for quarantine."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime

from adapter.facts.keep import Keeper, Kept, PatientByIdentifier, Unreadable
from adapter.fhir import Answer, Entry, Page
from adapter.fhirjson import NotJson, digest, dumps, loads
from adapter.ledger import Arrival, Named, QuarantineRow
from adapter.model import SnapshotState
from adapter.polling.context import PollingContext
from adapter.references import Bases, patients_of

_ID_IN_BYTES = re.compile(rb'"id"\s*:\s*"([A-Za-z0-9\-._]{1,128})"')
_NOT_JSON = "not-json"


@dataclass(frozen=True, slots=True)
class Sight:
    """When and by which request something was seen: server time, and the numbers that order answers."""

    date: datetime
    sent_seq: int
    received_seq: int
    walk_seq: int


@dataclass(slots=True)
class Intake:
    """What one answer comes to."""

    arrivals: list[Arrival] = field(default_factory=list)
    quarantine: list[QuarantineRow] = field(default_factory=list)

    @property
    def stamps(self) -> list[datetime | None]:
        """The rows' lastUpdated in the order of the page; unreadable rows tell nothing."""
        return [a.last_updated for a in self.arrivals if a.state is not SnapshotState.QUARANTINED]

    def refs(self) -> list[str]:
        """The refs of all rows, each once."""
        return list(dict.fromkeys(arrival.ref for arrival in self.arrivals))


def sight_of(answer: Answer | Page, now: datetime, walk_seq: int = 0) -> Sight:
    """When an answer was seen; ``now`` stands in where the server sends no Date."""
    return Sight(answer.date or now, answer.sent_seq, answer.received_seq, walk_seq or answer.sent_seq)


def take_page(page: Page, type: str, sight: Sight, context: PollingContext) -> Intake:
    """All rows of a page: what is no match is passed over, what cannot be used is set aside."""
    taken = Intake()
    for entry in page.entries:
        if entry.mode in ("include", "outcome") or (not entry.raw and entry.resource is None):
            continue
        _take_entry(taken, entry, type, sight, context)
    return taken


def _take_entry(taken: Intake, entry: Entry, type: str, sight: Sight, context: PollingContext) -> None:
    resource = entry.resource
    try:
        if resource is None:
            raise _why_unread(entry.raw)
        kept = context.keeper.keep(resource, entry.raw, type=type)
    except PatientByIdentifier as fault:
        taken.arrivals.append(waiting(fault, entry.raw, sight, context.keeper))
        return
    except Unreadable as fault:
        id = _id_of(entry, type, context.client.bases)
        _set_aside(taken, fault, entry, type, id, sight, context)
        return
    taken.arrivals.append(arrival_of(kept, sight, context.keeper))


def _why_unread(raw: bytes) -> Unreadable:
    """Why a row's bytes are no resource, and at which of them that shows."""
    try:
        value = loads(raw)
    except NotJson as fault:
        said = str(fault)
        if "nested" in said:
            return Unreadable("too-deep")
        return Unreadable(_NOT_JSON, said.partition("not JSON at ")[2])
    kind = value.get("resourceType") if isinstance(value, dict) else None
    return Unreadable("too-deep") if isinstance(kind, str) else Unreadable("not-a-resource", "resourceType")


def arrival_of(
    kept: Kept, sight: Sight, keeper: Keeper, *, in_scope: bool = True, version: str | None = None
) -> Arrival:
    """A kept resource as the ledger takes it; ``version`` is the ETag's, where the body names none."""
    status = kept.body.get("status")
    return Arrival(
        type=kept.type,
        id=kept.id,
        state=kept.state,
        status=status if isinstance(status, str) else None,
        packed=kept.packed or dumps(kept.body),
        version=kept.version or version,
        last_updated=kept.last_updated,
        digest=kept.digest,
        kept_digest=kept.kept_digest,
        edition=keeper.edition_of(kept.type),
        patients=kept.patients,
        date=sight.date,
        sent_seq=sight.sent_seq,
        received_seq=sight.received_seq,
        walk_seq=sight.walk_seq,
        in_scope=in_scope,
        named=Named(kept.named, "") if kept.named else None,
        identifiers=kept.identifiers,
        trace=kept.trace,
    )


def waiting(
    fault: PatientByIdentifier, raw: bytes, sight: Sight, keeper: Keeper, *, version: str | None = None
) -> Arrival:
    """A resource whose patient is named by an identifier: the ledger knows whose it is, or sets it aside (F47)."""
    made = arrival_of(fault.kept, sight, keeper, version=version)
    return replace(made, named=Named(fault.kept.named, fault.reason, fault.place, raw))


def tombstone(ref: str, sight: Sight, keeper: Keeper) -> Arrival:
    """A resource that was found gone; it keeps the patients of the row that is held."""
    type, _, id = ref.partition("/")
    return _bare(type, id, SnapshotState.DELETED, "deleted", sight, keeper)


def _bare(type: str, id: str, state: SnapshotState, content: str, sight: Sight, keeper: Keeper) -> Arrival:
    return Arrival(
        type=type,
        id=id,
        state=state,
        status=None,
        packed=b"",
        version=None,
        last_updated=None,
        digest=content,
        kept_digest=content,
        edition=keeper.edition_of(type),
        patients=(),
        date=sight.date,
        sent_seq=sight.sent_seq,
        received_seq=sight.received_seq,
        walk_seq=sight.walk_seq,
    )


def _set_aside(
    taken: Intake,
    fault: Unreadable,
    entry: Entry,
    type: str,
    id: str,
    sight: Sight,
    context: PollingContext,
) -> None:
    """Keep the bytes, and make what is held of the resource unknown (F23)."""
    content, version = digest(entry.raw), _version_of(entry)
    patients = _patients(entry, context.client.bases)
    row = QuarantineRow(
        id=0,
        source=context.source,
        type=type,
        res_id=id,
        version=version,
        reason=fault.reason,
        place=fault.place if id else f"{fault.place or type} {content[:12]}",
        raw=entry.raw,
        at=sight.date,
        patients=patients,
    )
    taken.quarantine.append(row)
    if id:
        bare = _bare(type, id, SnapshotState.QUARANTINED, content, sight, context.keeper)
        taken.arrivals.append(replace(bare, version=version or None, patients=patients))


def quarantined(ref: str, answer: Answer, fault: Unreadable, sight: Sight, context: PollingContext) -> Intake:
    """What a read by id brought and Baton cannot use."""
    type, _, id = ref.partition("/")
    taken = Intake()
    entry = Entry(resource=answer.resource, raw=answer.raw, full_url=ref)
    _set_aside(taken, fault, entry, type, id, sight, context)
    return taken


def fresh_quarantine(rows: Iterable[QuarantineRow], held: Iterable[QuarantineRow]) -> list[QuarantineRow]:
    """The rows that are not in quarantine with the same bytes already: those would only wake again."""
    rows = list(rows)
    if not rows:
        return []
    known = {(row.type, row.res_id or row.place, row.version, digest(row.raw)) for row in held}
    return [r for r in rows if (r.type, r.res_id or r.place, r.version, digest(r.raw)) not in known]


def _id_of(entry: Entry, type: str, bases: Bases) -> str:
    """The id of a row that cannot be read: from its address, else from its bytes; "" where neither tells."""
    said = entry.resource.get("id") if entry.resource else None
    if isinstance(said, str) and _ID_IN_BYTES.fullmatch(b'"id":"' + said.encode() + b'"'):
        return said
    local = bases.shorten(entry.full_url) or entry.full_url
    kind, _, id = local.rpartition("/")
    if kind.rpartition("/")[2] == type and id:
        return id
    found = _ID_IN_BYTES.search(entry.raw) if entry.resource is None else None
    return found[1].decode() if found else ""


def _version_of(entry: Entry) -> str:
    meta = entry.resource.get("meta") if entry.resource else None
    said = meta.get("versionId") if isinstance(meta, dict) else None
    return said if isinstance(said, str) else entry.etag


def _patients(entry: Entry, bases: Bases) -> tuple[str, ...]:
    try:
        return patients_of(entry.resource, bases) if entry.resource else ()
    except (TypeError, AttributeError, KeyError):
        return ()

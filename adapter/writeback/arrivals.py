"""What an answer brought, as the ledger stores it: for a Task or another resource that a delivery has
read.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol

from adapter.errors import NotFhir
from adapter.facts.history import Trace, trace_of
from adapter.facts.keep import PatientByIdentifier
from adapter.fhir.answers import Answer
from adapter.fhirjson import digest, dumps
from adapter.ledger.records import Arrival, Named
from adapter.model import SnapshotState
from adapter.references import NO_BASES, Bases, patients_of
from adapter.writeback.owners import parse_time
from adapter.writeback.versions import number_in, version_mark

Json = Mapping[str, Any]


class Kept(Protocol):
    """A resource as a keeper trimmed it."""

    @property
    def type(self) -> str: ...
    @property
    def id(self) -> str: ...
    @property
    def version(self) -> str | None: ...
    @property
    def last_updated(self) -> datetime | None: ...
    @property
    def state(self) -> SnapshotState: ...
    @property
    def body(self) -> Json: ...
    @property
    def digest(self) -> str: ...
    @property
    def kept_digest(self) -> str: ...
    @property
    def patients(self) -> tuple[str, ...]: ...
    @property
    def trace(self) -> Trace: ...


class Keeper(Protocol):
    """Trims resources the way polling does, so that the same version stored twice is no news."""

    def edition_of(self, type: str) -> str: ...

    def keep(self, resource: dict[str, Any], raw: bytes) -> Kept: ...


class WholeKeeper:
    """Keeps resources whole: what stands in where no mapping names elements (adoption by itself, tests)."""

    def edition_of(self, type: str) -> str:
        """No elements are named, so there is no edition of them."""
        return ""

    def __init__(self, bases: Bases = NO_BASES) -> None:
        self._bases = bases

    def keep(self, resource: dict[str, Any], raw: bytes) -> Kept:
        return _Whole(resource, raw, self._bases)


class _Whole:
    def __init__(self, resource: dict[str, Any], raw: bytes, bases: Bases) -> None:
        meta = resource.get("meta")
        meta = meta if isinstance(meta, Mapping) else {}
        self.type, self.id = str(resource["resourceType"]), str(resource["id"])
        self.version = meta.get("versionId") if isinstance(meta.get("versionId"), str) else None
        updated = parse_time(str(meta.get("lastUpdated", "")))
        self.last_updated = updated[0] if updated else None
        in_error = resource.get("status") == "entered-in-error"
        self.state = SnapshotState.ERROR if in_error else SnapshotState.LIVE
        self.body: Json = {name: part for name, part in resource.items() if name != "meta"}
        self.kept_digest = digest(self.body)
        self.digest = digest(raw) if raw else self.kept_digest
        self.patients = patients_of(resource, bases)
        self.trace = trace_of(self.type, self.body, bases)


def arrival_of(answer: Answer, keeper: Keeper, *, now: datetime) -> Arrival:
    """The resource of an answer.

    Raises:
        NotFhir: where the answer has no body.
    """
    if answer.resource is None:
        raise NotFhir("the answer has no body", status=answer.status)
    return arrival(
        answer.resource,
        answer.raw,
        keeper,
        date=answer.date or now,
        sent_seq=answer.sent_seq,
        received_seq=answer.received_seq,
        version=answer.version,
    )


def mark_of_answer(answer: Answer) -> str:
    """The version by which a look knows what was read: that in the body, else the ETag, else a digest."""
    body = answer.resource or {}
    return version_mark(number_in(body) or answer.version, body)


def arrival(
    resource: dict[str, Any],
    raw: bytes,
    keeper: Keeper,
    *,
    date: datetime,
    sent_seq: int,
    received_seq: int,
    version: str | None = None,
) -> Arrival:
    """One resource, read or found on a page."""
    kept, named = _kept(keeper, resource, raw)
    status = kept.body.get("status")
    return Arrival(
        type=kept.type,
        id=kept.id,
        state=kept.state,
        status=status if isinstance(status, str) else None,
        packed=dumps(kept.body),
        version=kept.version or version,
        last_updated=kept.last_updated,
        digest=kept.digest,
        kept_digest=kept.kept_digest,
        edition=keeper.edition_of(kept.type),
        patients=kept.patients,
        date=date,
        sent_seq=sent_seq,
        received_seq=received_seq,
        walk_seq=sent_seq,
        named=named,
        trace=kept.trace,
    )


def _kept(keeper: Keeper, resource: dict[str, Any], raw: bytes) -> tuple[Kept, Named | None]:
    try:
        return keeper.keep(resource, raw), None
    except PatientByIdentifier as fault:  # an order that a write refers to: the ledger knows whose it is
        return fault.kept, Named(fault.kept.named, fault.reason, fault.place, raw)


def tombstone(ref: str, *, date: datetime, sent_seq: int, received_seq: int) -> Arrival:
    """A resource that was found gone: it keeps the patients of the row that is held."""
    kind, _, id = ref.partition("/")
    return Arrival(
        type=kind,
        id=id,
        state=SnapshotState.DELETED,
        status=None,
        packed=b"",
        version=None,
        last_updated=None,
        digest="",
        kept_digest="deleted",
        edition="",
        patients=(),
        date=date,
        sent_seq=sent_seq,
        received_seq=received_seq,
        walk_seq=sent_seq,
    )

"""The steps that every delivery shares: read, send, take the answer in, and what each refusal means."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from adapter.errors import (
    AccessRefused,
    BatonError,
    Conflict,
    Gone,
    Issue,
    NotFhir,
    NotFound,
    Rejected,
    ServerError,
)
from adapter.fhir import Answer, FhirClient
from adapter.fhirjson import NotJson, dumps, loads
from adapter.ledger import Attempt, Ledger, OutboxRow, QuarantineRow
from adapter.model import Json
from adapter.references import parse_reference, references_in
from adapter.writeback.arrivals import Keeper, arrival_of, tombstone
from adapter.writeback.contexts import DeliverySettings
from adapter.writeback.identity import WriterContext
from adapter.writeback.normalise import at, change_digest, content_digest, differs

#: HAPI: a reference that does not resolve (by type, by id, deleted).
UNRESOLVED = frozenset({"HAPI-1094", "HAPI-1095", "HAPI-1096"})
_MAY_BE_A_REFERENCE = frozenset({"not-found", "processing", "business-rule", "conflict", "value"})
_NO_SUCH_TYPE = frozenset({"HAPI-0302", "HAPI-0301"})
REWRITES = 3  # the third rewrite of one element is the last, and reported (F29)


@dataclass(slots=True)
class Refused:
    """What reading the references of a refused resource showed.

    ``gone`` was deleted, or is no longer known; ``lost`` are Tasks that are not known though nobody deleted them.
    """

    gone: set[str] = field(default_factory=set)
    lost: set[str] = field(default_factory=set)
    elsewhere: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Write:
    """A write that is ready to go: over the version that was read (``base``), or the first one.

    ``digest`` and ``values`` are what the attempt is known by, and what it sets, should its answer be lost. A first
    one that is ``only_if_absent`` bears If-Match "0", whatever is learned of that after it was read for.
    """

    target: str
    resource: Json
    base: Answer | None
    digest: str
    values: Mapping[str, str]
    at: datetime
    only_if_absent: bool = False


#: A delivery, step by step: it gives the writes that it wants, and takes their answers, or their faults, in.
Steps = Generator[Write, Answer, None]


@dataclass(slots=True)
class Sender:
    """Speaks to one source for all deliveries of a process; remembers what the source refuses."""

    client: FhirClient
    ledger: Ledger
    writer: WriterContext
    settings: DeliverySettings
    keeper: Keeper
    refused: dict[str, datetime] = field(default_factory=dict)
    plain_create: bool = False
    no_batch: bool = False  # the server took no batch of reads

    @property
    def source(self) -> str:
        return self.settings.source.name

    @property
    def guards_new(self) -> bool:
        """Whether a first write is sent with If-Match "0", so that it overwrites nothing where a server heeds it."""
        return self.settings.only_if_absent is not False and not self.plain_create

    def read(self, target: str) -> Answer | None:
        """The resource as it stands; None where there is none.

        Raises:
            Gone: it was deleted.
            NotFhir: a 404 without an OperationOutcome: a wrong route, which says nothing (F18).
        """
        kind, _, id = target.partition("/")
        try:
            answer = self.client.read(kind, id)
        except NotFound as fault:
            if fault.issues:
                return None
            raise NotFhir(
                f"{self.source}: 404 without an OperationOutcome says nothing of a {kind}", status=404
            ) from None
        if answer.resource is None or answer.resource.get("id") != id:
            raise NotFhir(f"{self.source}: reading of {kind} brought another one", status=answer.status)
        return answer

    def ready(
        self,
        row: OutboxRow,
        resource: Json,
        base: Answer | None,
        *,
        digest: str,
        values: Mapping[str, str],
        now: datetime,
    ) -> Write:
        """What is to be sent.

        Raises:
            Rejected: nothing guards an update where the server numbers no versions.
        """
        if base is not None and not base.version:
            issue = Issue("error", "not-supported", server_code="no-version")
            raise Rejected(f"{self.source}: no version to update over", issues=[issue], source=self.source)
        guarded = base is None and self.guards_new
        return Write(row.target, resource, base, digest, values, now, guarded)

    def attempt(self, write: Write) -> Attempt:
        """What the ledger keeps of a write before it is sent (F15)."""
        return Attempt(write.target, write.digest, write.values, write.at, self.writer.incarnation)

    def put(self, write: Write) -> Answer:
        """Send: an update over the version that was read, or a create. Touches no ledger.

        Raises:
            ServerError: as the client says.
        """
        if write.base is None:
            return self.client.put_new(write.resource, only_if_absent=write.only_if_absent)
        return self.client.update(write.resource, version=write.base.version or "")

    def answered(self, answer: Answer, target: str) -> Answer | None:
        """The answer with body and version, read again where it lacks them; None where it cannot be had."""
        if answer.resource is not None and answer.version:
            return answer
        try:
            return self.read(target)
        except ServerError:
            return None

    def store(self, answer: Answer, *, cause: str, now: datetime) -> None:
        """Take a version into the ledger as a snapshot, or into quarantine where it cannot be used."""
        try:
            arrivals = [arrival_of(answer, self.keeper, now=now)]
        except ServerError:
            raise
        except BatonError as fault:
            held = [_unread(self.source, answer, fault, now)]
            self.ledger.store(self.source, [], cause=cause, quarantine=held, now=now)
            return
        self.ledger.store(self.source, arrivals, cause=cause, now=now)

    def ask_look(self, patient: str, cause: str = "read-back") -> None:
        """Ask for a look at a patient."""
        self.ledger.request(self.source, [patient], cause)

    # ---- what a server makes of what we send (F29) ----

    def memory(self, target: str) -> dict[str, Any]:
        """What is remembered of a server's ways with one resource."""
        try:
            found = loads(self.ledger.note(f"ways:{target}") or "{}")
        except NotJson:
            return {}
        return dict(found) if isinstance(found, Mapping) else {}

    def remember(self, target: str, memory: Json) -> None:
        """Keep it: digests and counts only."""
        self.ledger.keep_note(f"ways:{target}", dumps(memory).decode())

    def settle(
        self, target: str, resource: dict[str, Any], held: Json, *, foreign: bool
    ) -> tuple[dict[str, Any], list[str], list[str]]:
        """Leave out what is not worth writing: (resource, paths that differ, paths given up).

        A value that the server made of ours, and that stands as it made it, is no difference. Where another
        system keeps changing an element, the third rewrite of the same value is the last.
        """
        changed = differs(resource, held, None, self.client.bases)
        if not changed:
            return resource, [], []
        memory = self.memory(target)
        made, again = _part(memory, "made"), _part(memory, "again")
        settled = [p for p in changed if made.get(p) == change_digest(at(resource, p), at(held, p))]
        given_up: list[str] = []
        for path in changed if foreign else ():
            count = again.get(f"{path}:{content_digest(at(resource, path))}", 0)
            if path not in settled and path != "status" and isinstance(count, int) and count >= REWRITES:
                given_up.append(path)
        for path in (*settled, *given_up):
            resource = _put_back(resource, held, path)
        return resource, differs(resource, held, None, self.client.bases), given_up

    def count_rewrites(self, target: str, resource: Json, changed: Iterable[str]) -> None:
        """Count a rewrite over a version of somebody else."""
        memory = self.memory(target)
        again = dict(_part(memory, "again"))
        for path in changed:
            key = f"{path}:{content_digest(at(resource, path))}"
            again[key] = int(again.get(key, 0)) + 1
        self.remember(target, {**memory, "again": again})

    def note_losses(self, target: str, sent: Json, came: Json) -> list[str]:
        """The elements that came back other than they were sent."""
        lost = differs(sent, came, None, self.client.bases)
        if lost:
            memory = self.memory(target)
            made = {**_part(memory, "made")}
            made |= {path: change_digest(at(sent, path), at(came, path)) for path in lost}
            self.remember(target, {**memory, "made": made})
        return lost

    # ---- references that the server does not take (F63) ----

    def known_refused(self, now: datetime) -> frozenset[str]:
        """References that are written logically for now; each is asked again after a day."""
        self.refused = {ref: until for ref, until in self.refused.items() if until > now}
        return frozenset(self.refused)

    def examine(self, resource: Json, now: datetime) -> Refused:
        """Read every literal reference of a refused resource by id.

        What is gone becomes a tombstone in the ledger, what the server lost of our own is wished for again; what
        cannot stand on this server (another origin, a type that it does not have) is *elsewhere*.
        """
        result = Refused()
        for ref in sorted(_literal(resource)):
            found = parse_reference(ref, self.client.bases)
            if not found.local:
                result.elsewhere.add(ref)
                continue
            kind, _, id = found.local.partition("/")
            sent = self.ledger.seq.next()
            try:
                self.client.read(kind, id)
            except (Gone, NotFound) as fault:
                if _no_such_type(fault):
                    result.elsewhere.add(found.local)
                elif kind == "Task" and fault.issues and not isinstance(fault, Gone):
                    result.lost.add(found.local)  # a lost write, and no person's deletion (F18)
                elif isinstance(fault, Gone) or fault.issues:
                    result.gone.add(found.local)
                    self._bury(found.local, sent, now)
            except (AccessRefused, Rejected):
                result.elsewhere.add(found.local)
        if result.lost:
            self.ledger.want(result.lost)
        return result

    def _bury(self, ref: str, sent: int, now: datetime) -> None:
        stone = tombstone(ref, date=now, sent_seq=sent, received_seq=self.ledger.seq.next())
        self.ledger.store(self.source, [stone], cause="resource", now=now)


def _unread(source: str, answer: Answer, fault: BatonError, now: datetime) -> QuarantineRow:
    body = answer.resource or {}
    return QuarantineRow(
        id=0,
        source=source,
        type=str(body.get("resourceType", "")),
        res_id=str(body.get("id", "")),
        version=answer.version or "",
        reason=str(getattr(fault, "reason", "unreadable")),
        place=str(getattr(fault, "place", "")),
        raw=answer.raw,
        at=now,
    )


def about_references(fault: ServerError) -> bool:
    """Whether a refusal may be about a reference that does not resolve."""
    if isinstance(fault, Conflict):
        return any(issue.server_code in UNRESOLVED for issue in fault.issues)
    if fault.status not in (400, 404, 412, 422):
        return False
    return any(
        issue.server_code in UNRESOLVED or (not issue.server_code and issue.code in _MAY_BE_A_REFERENCE)
        for issue in fault.issues
    )


def _no_such_type(fault: ServerError) -> bool:
    return any(i.server_code in _NO_SUCH_TYPE or i.code == "not-supported" for i in fault.issues)


def _literal(resource: Json) -> set[str]:
    own = {name: part for name, part in resource.items() if name not in ("contained", "text")}
    return {str(one["reference"]) for one in references_in(own) if not str(one["reference"]).startswith("#")}


def _part(memory: Json, name: str) -> Json:
    found = memory.get(name)
    return found if isinstance(found, Mapping) else {}


def _put_back(resource: Json, held: Json, path: str) -> dict[str, Any]:
    """The resource with what stands at ``path`` left as it was read."""
    result = dict(resource)
    name, _, rest = path.partition(".")
    if rest:
        part = _put_back(result.get(name) or {}, held.get(name) or {}, rest)
        result[name] = part
    elif name in held:
        result[name] = held[name]
    else:
        result.pop(name, None)
    return result

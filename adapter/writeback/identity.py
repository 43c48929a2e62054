"""Who writes here: Baton's Device in the EHR names the ledger, and one start of it, that may write.

Two Batons on one EHR need two namespaces; a copied, restored or second ledger under one namespace must not
write beside the first (F16, F54). Each start draws an incarnation, commits it as pending, writes it into the
Device with If-Match and then confirms it; the Device is read again before each round of writes. Where no
Device can be kept (F55) there is no fence, and nothing is created.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from adapter.errors import (
    AccessRefused,
    Conflict,
    Gone,
    NotFhir,
    NotFound,
    OutcomeUnknown,
    Rejected,
    ServerError,
    Unsafe,
)
from adapter.fhir import Answer, FhirClient
from adapter.ledger import Ledger, SourceRow
from adapter.model import Json
from adapter.writeback import codes
from adapter.writeback.owners import parse_time
from adapter.writeback.valid import check_valid

#: How long a ledger that took over waits, so that the one before has read the Device and stopped (F16).
TAKE_OVER_WAIT = timedelta(minutes=2)
TAKE_OVER = "if that one is not used any more, start once with --take-over"
#: So many starts whose mark was sent and never confirmed are remembered: theirs may yet be delivered.
MOST_PENDING = 20
#: Answers to the first mark that mean: this EHR keeps no Device of ours.
_NOT_KEPT = frozenset({400, 403, 404, 405, 422, 501})


@dataclass(frozen=True, slots=True)
class Mark:
    """What the Device says about who writes."""

    namespace: str
    ledger: str = ""
    epoch: int = 0
    incarnation: str = ""
    source: str = ""
    environment: str = ""
    live_from: str = ""
    version: str = ""
    name: str = ""


@dataclass(slots=True)
class WriterContext:
    """The right to write at one source, for one start of one ledger.

    ``fenced`` is false where the EHR keeps no Device: then nothing may be created (``unfenced`` has the
    codes of its refusal). ``adopt`` is true where this ledger does not know all that stands in the EHR: adopt
    first, then look, then write. Before ``quiet_until`` nothing is written.
    """

    source: str
    namespace: str
    device: str
    ledger_id: str
    epoch: int
    incarnation: str
    fenced: bool = True
    adopt: bool = False
    live_from: datetime | None = None
    quiet_until: datetime | None = None
    unfenced: str = ""
    _client: FhirClient | None = field(default=None, repr=False)

    def verify(self) -> None:
        """Read the Device again.

        Raises:
            Unsafe: another start, of this ledger or another, writes here by now; or the mark is gone.
        """
        if not self.fenced or self._client is None:
            return
        try:
            mark = mark_in(_device(self._client, self.namespace, self.source))
        except (Gone, NotFound) as fault:
            if isinstance(fault, NotFound) and not fault.issues:
                raise
            raise Unsafe(
                f"{self.source}: the mark of who writes here is gone",
                remedy="start again; if the EHR was restored, with --take-over",
            ) from None
        if mark.ledger != self.ledger_id or mark.incarnation != self.incarnation:
            raise Unsafe(f"{self.source}: another Baton writes here by now; this one stops", remedy=TAKE_OVER)


def _device(client: FhirClient, namespace: str, source: str) -> Answer:
    """The Device of a namespace: that one, whatever else an answer may hold."""
    id = codes.device_id(namespace)
    answer = client.read("Device", id)
    if (answer.resource or {}).get("id") != id:
        raise NotFhir(
            f"{source}: reading the mark of who writes here brought another Device",
            remedy="look at what the server, or a proxy before it, answers there",
            status=answer.status,
            source=source,
        )
    return answer


def draw_namespace(ledger: Ledger) -> str:
    """The namespace that is used where the configuration names none: drawn once, 64 random bits.

    It dies with the ledger: :func:`keep_namespace_hint` says what to write into the configuration.
    """
    known = ledger.note("namespace")
    if not known:
        known = secrets.token_hex(8)
        ledger.keep_note("namespace", known)
    return known


def keep_namespace_hint(namespace: str) -> str:
    """What to tell the person whose namespace was drawn."""
    return f"no namespace is configured: put the drawn one, `namespace: {namespace}`, into the configuration"


def claim(
    source: str,
    client: FhirClient,
    ledger: Ledger,
    *,
    namespace: str,
    environment: str,
    take_over: bool = False,
    now: datetime,
    drawn: bool = False,
    tags: tuple[Json, ...] = (),
    security: tuple[Json, ...] = (),
) -> WriterContext:
    """Take the right to write at a source.

    Args:
        source: the source's name; the ledger must hold its row.
        client: speaks to it.
        ledger: this ledger.
        namespace: of the configuration, or drawn.
        environment: "production" or "test"; what the Device says must agree.
        take_over: a person said that no other ledger writes here any more.
        now: the source's time.
        drawn: the namespace was drawn, so that it cannot tell this Baton from another one.
        tags, security: further codings for the Device (a test run's).

    Raises:
        Unsafe: another ledger, a copied or older one, a restored EHR, another environment.
    """
    row = ledger.source(source)
    if row is None:
        raise Unsafe(f"{source}: the ledger does not know this source yet", remedy="report this fault")
    claiming = _Claim(row, client, ledger, namespace, environment, take_over, now, tags, security)
    if drawn:
        _refuse_strangers(claiming)
    return claiming.made()


@dataclass(slots=True)
class _Claim:
    row: SourceRow
    client: FhirClient
    ledger: Ledger
    namespace: str
    environment: str
    take_over: bool
    now: datetime
    tags: tuple[Json, ...]
    security: tuple[Json, ...]

    def made(self) -> WriterContext:
        try:
            answer = self._found()
        except AccessRefused as fault:
            if fault.status != 403:
                raise
            return self._write(None, None, adopt=not self.row.adopted, quiet=None, refused=fault)
        mark = mark_in(answer) if answer else None
        quiet = None
        if mark is not None:
            why = self._foreign(mark)
            if why and not self.take_over:
                raise Unsafe(f"{self.row.name}: {why}", remedy=TAKE_OVER)
            if why:
                quiet = self.now + TAKE_OVER_WAIT
                self.ledger.drop_outbox(self.row.name)
                self._read_anew()
        if self.take_over and self.row.suspect:
            self._read_anew()
        adopt = not self.row.adopted
        return self._write(answer, mark, adopt=adopt, quiet=quiet)

    def _found(self) -> Answer | None:
        """The Device as it stands; None where it may be made."""
        try:
            return _device(self.client, self.namespace, self.row.name)
        except Gone:
            return None
        except NotFound as fault:
            if not fault.issues:
                raise  # a wrong route says nothing
            if self.row.device and not self.take_over:
                raise Unsafe(
                    f"{self.row.name}: the EHR lost this ledger's mark; it may have been restored",
                    remedy="if so, let a person agree to it with --take-over",
                ) from None
            if self.row.device:
                self._read_anew()
            return None

    def _read_anew(self) -> None:
        """A person agreed that the EHR, or this ledger, was put back: all of it is read from the beginning."""
        for walk in self.ledger.walks(self.row.name):
            unread = replace(walk, watermark=None, known_at=None, known_seq=0, place=None)
            self.ledger.save_walk(replace(unread, anchor_ref="", anchor_updated=None))
        self.row = replace(self.row, adopted=False, suspect="", reread_day="")

    def _foreign(self, mark: Mark) -> str:
        """Why the mark that stands there is not that of this ledger as it is now; "" where it is."""
        if mark.environment and mark.environment != self.environment:
            raise Unsafe(
                f"{self.row.name}: the mark says {mark.environment}, the configuration {self.environment}",
                remedy="correct the environment, or use another namespace there",
            )
        if mark.ledger != self.ledger.ledger_id:
            return "another ledger writes here under this namespace"
        if mark.source and mark.source != self.row.key:
            raise Unsafe(
                f"{self.row.name}: another source of this ledger is the same EHR",
                remedy="one EHR is one source: remove one of them",
            )
        if mark.epoch < self.row.epoch:
            return "the EHR's mark is older than this ledger: the EHR was restored"
        if mark.incarnation not in self._own():
            return "this ledger is a copy, or older than the EHR: another start of it has written here"
        return ""

    def _own(self) -> set[str]:
        """Every start of this ledger whose mark may stand there: each one sent since the last that was confirmed."""
        return {self.row.incarnation, *self.row.pending.split()} - {""}

    def _write(
        self,
        answer: Answer | None,
        mark: Mark | None,
        *,
        adopt: bool,
        quiet: datetime | None,
        refused: ServerError | None = None,
    ) -> WriterContext:
        epoch = max(self.row.epoch, mark.epoch if mark else 0) + 1
        incarnation = secrets.token_hex(8)
        # A ledger that takes over goes on where the other one stood: its key names the needs that stand there,
        # and its go-live must not move to today.
        inherited = mark is not None and mark.ledger != self.ledger.ledger_id
        said = _time(mark.live_from) if mark else None
        live_from = (said or self.row.live_from) if inherited else (self.row.live_from or said)
        if inherited and mark is not None and mark.source:
            self.row = replace(self.row, key=mark.source)
        sent = " ".join([*self.row.pending.split(), incarnation][-MOST_PENDING:])
        pending = replace(self.row, pending=sent, namespace=self.namespace, live_from=live_from)
        self.ledger.save_source(pending)
        made = Mark(
            self.namespace,
            self.ledger.ledger_id,
            epoch,
            incarnation,
            self.row.key,
            self.environment,
            live_from.astimezone(UTC).isoformat() if live_from else "",
        )
        refused = refused or self._sent(device_of(made, self.tags, self.security), answer)
        fenced = refused is None
        device = f"Device/{codes.device_id(self.namespace)}" if fenced else ""
        self.ledger.save_source(
            replace(
                pending,
                incarnation=incarnation,
                pending="",
                epoch=epoch,
                device=device,
                adopted=self.row.adopted and not adopt,
            )
        )
        return WriterContext(
            source=self.row.name,
            namespace=self.namespace,
            device=device,
            ledger_id=self.ledger.ledger_id,
            epoch=epoch,
            incarnation=incarnation,
            fenced=fenced,
            adopt=adopt,
            live_from=live_from,
            quiet_until=quiet,
            unfenced=(refused.codes() or f"status {refused.status}") if refused else "",
            _client=self.client,
        )

    def _sent(self, device: dict[str, Any], answer: Answer | None, tries: int = 2) -> ServerError | None:
        """Write the mark; the refusal where this EHR keeps no Device."""
        try:
            if answer is not None:
                held = answer.resource or {}
                self.client.update({**held, **device, "meta": device["meta"]}, version=answer.version or "")
            else:
                self._create(device)
        except Conflict as fault:
            if answer is None and self._absent(device["id"]):
                return fault  # no PUT creates here: each has to name a version (Helios can be set so)
            return self._met(device, tries)
        except OutcomeUnknown:
            self._look_again(device)
        except (AccessRefused, NotFound, Rejected) as fault:
            if answer is not None or fault.status not in _NOT_KEPT:
                raise
            return fault
        return None

    def _met(self, device: dict[str, Any], tries: int) -> ServerError | None:
        """Another version than the one read: a gateway sent ours twice, or delivered that of an earlier start late.

        Raises:
            Unsafe: it is neither.
        """
        there = _device(self.client, self.namespace, self.row.name)
        mark = mark_in(there)
        if mark.ledger == self.ledger.ledger_id:
            if mark.incarnation == mark_of_device(device).incarnation:
                return None
            if mark.incarnation in self._own() and tries > 0:
                return self._sent(device, there, tries - 1)
        raise Unsafe(
            f"{self.row.name}: another Baton has just claimed this EHR",
            remedy="run one, or give each a namespace",
        )

    def _create(self, device: dict[str, Any]) -> None:
        """Create only: where If-Match "0" does not do that, or a deleted one stands there, by plain PUT."""
        try:
            self.client.put_new(device, only_if_absent=True)
        except Conflict:
            if not self._absent(device["id"]):
                raise
            self.client.put_new(device, only_if_absent=False)

    def _absent(self, id: str) -> bool:
        try:
            self.client.read("Device", id)
        except (Gone, NotFound):
            return True
        return False

    def _look_again(self, device: dict[str, Any]) -> None:
        wanted = mark_of_device(device)
        try:
            if mark_in(self.client.read("Device", device["id"])).incarnation == wanted.incarnation:
                return
        except (Gone, NotFound):
            pass
        raise OutcomeUnknown(
            f"{self.row.name}: the mark was sent and no answer came; try again in a few minutes",
            source=self.row.name,
        )


def _refuse_strangers(claiming: _Claim) -> None:
    """With a drawn namespace nobody can tell which Baton is whose: refuse where another one has its mark."""
    own = codes.device_id(claiming.namespace)
    others = [mark for mark in writers(claiming.client) if codes.device_id(mark.namespace) != own]
    if others:
        raise Unsafe(
            f"{claiming.row.name}: another Baton has its mark here, and no namespace is configured",
            remedy="configure `namespace:`: a new one for a second Baton, that one's for its successor",
        )


def writers(client: FhirClient) -> list[Mark]:
    """Every Baton that has its mark on an EHR; [] where Devices cannot be searched."""
    found: dict[str, Mark] = {}
    try:
        for page in client.pages("Device", [("identifier", f"{codes.WRITERS}|"), ("_count", "50")]):
            for entry in page.entries:
                if entry.resource and entry.resource.get("resourceType") == "Device":
                    mark = mark_of_device(entry.resource)
                    if mark.namespace:
                        found[mark.namespace] = mark
    except (AccessRefused, Rejected, NotFound):
        return []
    return list(found.values())


def device_of(mark: Mark, tags: tuple[Json, ...] = (), security: tuple[Json, ...] = ()) -> dict[str, Any]:
    """The Device that says who writes."""
    values = {
        "ledger": mark.ledger,
        "epoch": str(mark.epoch),
        "incarnation": mark.incarnation,
        "source": mark.source,
        "environment": mark.environment,
        "live-from": mark.live_from,
    }
    meta: dict[str, Any] = {"tag": [dict(codes.OWN_TAG), *(dict(tag) for tag in tags)]}
    if security:
        meta["security"] = [dict(label) for label in security]
    device = {
        "resourceType": "Device",
        "id": codes.device_id(mark.namespace),
        "meta": meta,
        "identifier": [{"system": codes.WRITERS, "value": mark.namespace}],
        "status": "active",
        "deviceName": [{"name": "Baton (automatic)", "type": "user-friendly-name"}],
        "type": {"text": "Care-coordination adapter"},
        "version": [
            {"type": {"coding": [{"system": codes.WRITER_CODES, "code": name}]}, "value": value}
            for name, value in values.items()
            if value
        ],
    }
    check_valid(device)
    return device


def mark_in(answer: Answer) -> Mark:
    """What a Device that was read says."""
    return replace(mark_of_device(answer.resource or {}), version=answer.version or "")


def mark_of_device(device: Json) -> Mark:
    """What a Device says; absent parts are empty."""
    values: dict[str, str] = {}
    entries = device.get("version")
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, Mapping) and isinstance(entry.get("value"), str):
            values[codes.code_in(entry.get("type"), codes.WRITER_CODES)] = entry["value"]
    identifiers = device.get("identifier")
    namespace = next(
        (
            str(one.get("value", ""))
            for one in (identifiers if isinstance(identifiers, list) else ())
            if isinstance(one, Mapping) and one.get("system") == codes.WRITERS
        ),
        "",
    )
    epoch = values.get("epoch", "0")
    return Mark(
        namespace=namespace,
        ledger=values.get("ledger", ""),
        epoch=int(epoch) if epoch.isascii() and epoch.isdigit() else 0,
        incarnation=values.get("incarnation", ""),
        source=values.get("source", ""),
        environment=values.get("environment", ""),
        live_from=values.get("live-from", ""),
    )


def _time(text: str) -> datetime | None:
    found = parse_time(text) if text else None
    return found[0] if found else None

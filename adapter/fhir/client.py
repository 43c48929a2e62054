"""The FHIR client: each interaction as one call whose signature makes the unsafe one impossible.

An update needs a version, a create an identifier. Messages name types, statuses and codes, never an id or a
query.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlencode, urlsplit

import httpx

from adapter import clock as clocks
from adapter.errors import (
    ConfigError,
    Gone,
    Issue,
    NotFhir,
    NotFound,
    OutcomeUnknown,
    PageExpired,
    Rejected,
    ServerError,
    SettingsError,
)
from adapter.fhir.answers import Answer, Limits, Page
from adapter.fhir.batch import decode_reads, reads_of
from adapter.fhir.bundle import Decoded, bare_version, decode_bundle, decode_resource
from adapter.fhir.capability import require_version
from adapter.fhir.exchange import Ask, Exchange, Raw
from adapter.fhir.outcome import EPIC_PAGING_EXPIRED, is_outcome, issues_of
from adapter.fhir.paging import rebase, tail_of
from adapter.fhirjson import NotJson, digest, dumps
from adapter.references import Bases

Json = Mapping[str, Any]

STRANGE = "look at what the server, or a proxy before it, answers there"
NO_ROOT = "base_url is not the FHIR root, or a sign-in page or a proxy answers in its place"
MAX_EMPTY_PAGES = 100  # filters after the search may empty some pages (Epic), not pages without end

_TYPE = re.compile(r"^[A-Z][A-Za-z]{1,63}$")
_VERSION = re.compile(r"^[!#-\[\]-~]{1,200}$")
_CONTENT = {"Content-Type": "application/fhir+json; charset=utf-8", "Prefer": "return=representation"}


class FhirClient:
    """Speaks to one FHIR server. Safe for use from several threads.

    Args:
        base_url: http or https, without user, query or fragment. Nothing is ever sent to another origin.
        name: the source's label, for messages.
        headers: further headers of every request (a tenant's, for instance).
        token: gives the text of ``Authorization``; see :mod:`adapter.fhir.auth`.
        limits: bounds of one request.
        clock: the machine's clock; waits go through it.
        seq: numbers requests and answers.
        aliases: other base URLs under which this server knows itself.
        verify: False leaves certificates unchecked; a text is the path of a file with authorities.
        transport: stands in for the network in tests.
        spend: called before each request that goes out, repeats and writes included: it may wait.
    """

    def __init__(
        self,
        base_url: str,
        *,
        name: str = "",
        headers: Mapping[str, str] | None = None,
        token: Callable[[], str | None] | None = None,
        limits: Limits | None = None,
        clock: clocks.Clock,
        seq: clocks.Sequence,
        aliases: Iterable[str] = (),
        verify: bool | str = True,
        transport: httpx.BaseTransport | None = None,
        spend: Callable[[], None] | None = None,
    ) -> None:
        self.base_url = _base(base_url)
        self.aliases = tuple(alias.rstrip("/") for alias in aliases)
        self.bases = Bases(self.base_url, self.aliases)
        self._known_unread: frozenset[str] = frozenset()
        self._exchange = Exchange(
            self.base_url,
            name=name,
            headers=headers or {},
            token=token,
            limits=limits or Limits(),
            clock=clock,
            seq=seq,
            verify=verify,
            wire=transport,
            spend=spend,
        )

    @property
    def clock(self) -> clocks.ServerClock:
        """The server's own now; it hears every answer."""
        return self._exchange.clock

    @property
    def run_id(self) -> str:
        """What is sent as X-Request-ID; HAPI keeps it in meta.source, so that a run's writes can be found."""
        return self._exchange.run_id

    # ---- reading ----

    def capability(self) -> dict[str, Any]:
        """The CapabilityStatement.

        Raises:
            NotFhir: where there is none, or one of another FHIR version than R4 (4.0) or R4B (4.3).
        """
        what = "reading the metadata"
        answer = self._answer(self._exchange.send(Ask("GET", f"{self.base_url}/metadata", what)), what)
        try:
            require_version(answer.resource or {})
        except NotFhir as fault:
            raise self._exchange.labelled(fault) from None
        return answer.resource or {}

    def read(self, type: str, id: str) -> Answer:
        """One resource as it stands now.

        Raises:
            Gone: deleted. NotFound: never there, or not where it was asked for (see ``issues``).
        """
        return self._read(f"{_checked(type)}/{self._id(id)}", type)

    def read_each(self, type: str, ids: Sequence[str]) -> dict[str, Answer | None]:
        """Several resources as they stand now, by reads of each in one request: None where nothing ever stood.

        Only what is beyond doubt is told. An id that is left out (deleted, refused, spoiled on its way) has to be
        read by itself, and so have all where a server takes no batch.
        """
        what = f"reading of several {_checked(type)}"
        bundle = reads_of(type, [self._id(id) for id in ids])
        headers = {"Content-Type": _CONTENT["Content-Type"], "Cache-Control": "no-cache"}
        raw = self._exchange.send(Ask("POST", self.base_url, what, body=dumps(bundle), headers=headers))
        try:
            found = decode_reads(raw.body, type, ids)
        except NotFhir as fault:
            raise self._exchange.labelled(_about(what, fault, raw.status)) from None
        return {
            id: None if one.resource is None else self._entry_answer(raw, one.resource, one.raw, one.etag)
            for id, one in found.items()
        }

    def vread(self, type: str, id: str, version: str) -> Answer:
        """One version of a resource."""
        return self._read(f"{_checked(type)}/{self._id(id)}/_history/{self._id(version)}", type)

    def search(self, type: str, params: Sequence[tuple[str, str]]) -> Page:
        """The first page of a search, never from a cache."""
        query = urlencode(params, quote_via=quote, safe=":/")
        return self._page(f"{self.base_url}/{_checked(type)}" + (f"?{query}" if query else ""), type)

    def follow(self, url: str) -> Page:
        """The page of a next link, as :attr:`Page.next` gave it.

        Raises:
            PageExpired: the server has forgotten the search: 410, 404, Epic's 4113.
        """
        url = self._rebase(url, current=self.base_url, tail="")
        type = tail_of(url, self.base_url).partition("/")[0] or "a page"
        try:
            return self._page(url, type)
        except (Gone, NotFound) as fault:
            raise self._expired(fault) from None
        except ServerError as fault:
            if any(issue.server_code == EPIC_PAGING_EXPIRED for issue in fault.issues):
                raise self._expired(fault) from None
            raise

    def pages(self, type: str, params: Sequence[tuple[str, str]]) -> Iterator[Page]:
        """Every page of a search, one after the other.

        Raises:
            NotFhir: where a page or a next link comes a second time, so that the walk would never end (F74).
        """
        return self._walk(self.search(type, params), type)

    def history(self, type: str, *, since: datetime | None = None, count: int = 200) -> Iterator[Page]:
        """Every page of a type's history since an instant (inclusive), usually newest first."""
        params = [("_count", str(count))] + ([("_since", _instant(since))] if since else [])
        query = urlencode(params, quote_via=quote, safe=":")
        return self._walk(self._page(f"{self.base_url}/{_checked(type)}/_history?{query}", type), type)

    def validate(self, resource: Json) -> tuple[Issue, ...]:
        """What the server finds wrong with a resource that it does not store.

        Servers answer 200 (HAPI), 400, 412 or 422 for a bad one; the issues say what it is, not the status.
        """
        type = _type_of(resource)
        ask = Ask(
            "POST",
            f"{self.base_url}/{type}/$validate",
            f"validation of {type}",
            body=dumps(resource),
            headers={"Content-Type": _CONTENT["Content-Type"]},
        )
        try:
            answer = self._answer(self._exchange.send(ask), ask.what)
        except ServerError as fault:
            unsupported = any(issue.code == "not-supported" for issue in fault.issues)
            if fault.status in (400, 412, 422) and fault.issues and not unsupported:
                return fault.issues
            raise
        if not is_outcome(answer.resource):
            raise self._exchange.error(
                NotFhir, f"the answer to {ask.what} is no OperationOutcome", status=answer.status
            )
        return issues_of(answer.resource)

    # ---- writing ----

    def create(self, resource: Json, *, identifier: str) -> Answer:
        """POST, bound to "system|value": 201 where it made it, 200 where one stood there already.

        Only servers that do this in one step make it unique (Helios stored up to 8 of 8 racing ones).

        Raises:
            Conflict: several have the identifier.
        """
        type = _type_of(resource)
        condition = f"identifier={quote(_token(identifier), safe='')}"
        return self._write("POST", type, f"create of {type}", resource, {"If-None-Exist": condition})

    def put_new(self, resource: Json, *, only_if_absent: bool) -> Answer:
        """PUT under the resource's own id, to create it.

        ``only_if_absent`` sends ``If-Match: W/"0"``: on HAPI this creates and never overwrites (Conflict
        instead); on Helios it is a Conflict even where nothing stands. Without it an existing resource is
        overwritten.
        """
        path = f"{_type_of(resource)}/{self._id(str(resource.get('id', '')))}"
        headers = {"If-Match": 'W/"0"'} if only_if_absent else {}
        return self._write("PUT", path, f"create of {_type_of(resource)} by id", resource, headers)

    def update(self, resource: Json, *, version: str) -> Answer:
        """PUT over the version that was read.

        Raises:
            Conflict: it is not the newest (409 on HAPI and Oracle Health, 412 elsewhere).
        """
        path = f"{_type_of(resource)}/{self._id(str(resource.get('id', '')))}"
        headers = {"If-Match": self._if_match(version)}
        return self._write("PUT", path, f"update of {_type_of(resource)}", resource, headers)

    def delete(self, type: str, id: str, *, version: str | None = None) -> Answer:
        """DELETE, of a version if one is given (HAPI 8.8.0 deletes whatever stands there all the same)."""
        headers = {} if version is None else {"If-Match": self._if_match(version)}
        return self._write("DELETE", f"{_checked(type)}/{self._id(id)}", f"delete of {type}", None, headers)

    def transaction(self, entries: Sequence[Json]) -> Answer:
        """POST a transaction to the base.

        Look at each entry's status: not every server that answers 200 has done all or nothing (Medplum's
        router).
        """
        bundle = {"resourceType": "Bundle", "type": "transaction", "entry": list(entries)}
        answer = self._write("POST", "", "a transaction", bundle, {})
        if answer.resource is None or answer.resource["resourceType"] != "Bundle":
            raise self._exchange.error(
                OutcomeUnknown, "the answer to a transaction is no Bundle", status=answer.status
            )
        return answer

    def close(self) -> None:
        """Close all connections."""
        self._exchange.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ---- inside ----

    def _read(self, path: str, type: str) -> Answer:
        what = f"reading of {type}"
        answer = self._answer(self._exchange.send(Ask("GET", f"{self.base_url}/{path}", what)), what)
        kind = answer.resource["resourceType"] if answer.resource else "nothing"
        if kind != type:
            issues = issues_of(answer.resource)
            raise self._exchange.labelled(
                NotFhir(f"{what} brought {kind}", status=answer.status, issues=issues)
            )
        return answer

    def _write(
        self, method: str, path: str, what: str, resource: Json | None, headers: Mapping[str, str]
    ) -> Answer:
        ask = Ask(
            method,
            f"{self.base_url}/{path}" if path else self.base_url,
            what,
            writes=True,
            body=None if resource is None else dumps(resource),
            headers={**({} if resource is None else _CONTENT), **headers},
        )
        raw = self._exchange.send(ask)
        try:
            return self._answer(raw, what)
        except NotFhir as fault:
            # It was taken, by whomever: a page of a proxy does not say that it was not done.
            raise OutcomeUnknown(fault.message, status=fault.status, source=fault.source) from None

    def _answer(self, raw: Raw, what: str) -> Answer:
        resource = None
        if raw.body.strip():
            try:
                resource = decode_resource(raw.body)
            except NotJson as fault:
                raise self._not_fhir(raw, what, str(fault)) from None
        elif what.startswith("reading"):
            raise self._not_fhir(raw, what, "empty")
        return Answer(
            status=raw.status,
            resource=resource,
            raw=raw.body,
            version=bare_version(raw.headers.get("ETag", "")) or _version_in(resource),
            date=raw.date,
            sent_seq=raw.sent_seq,
            received_seq=raw.received_seq,
            location=self._location(raw),
        )

    def _entry_answer(self, raw: Raw, resource: dict[str, Any], own: bytes, etag: str) -> Answer:
        return Answer(
            status=200,
            resource=resource,
            raw=own,
            version=etag or _version_in(resource),
            date=raw.date,
            sent_seq=raw.sent_seq,
            received_seq=raw.received_seq,
        )

    def _not_fhir(self, raw: Raw, what: str, fault: str) -> ServerError:
        is_html = raw.body.lstrip()[:1] == b"<"
        said = "a page of HTML or XML" if is_html else f"no FHIR resource ({fault})"
        remedy = NO_ROOT if is_html else STRANGE
        return self._exchange.error(
            NotFhir, f"the answer to {what} is {said}", remedy=remedy, status=raw.status
        )

    def _location(self, raw: Raw) -> str:
        said = raw.headers.get("Location") or raw.headers.get("Content-Location") or ""
        return self.bases.shorten(said) or said

    def _page(self, url: str, type: str) -> Page:
        """One page, asked for once more where rows of it are no JSON: a line that garbles seldom does so twice.

        Without this a row that was spoiled on its way would be taken for the resource as it stands, and wait for a
        person. Rows that came so twice are known, and cost no more requests.
        """
        raw, found = self._bundle(url, type)
        if not _unread(found) <= self._known_unread:
            raw, found = self._bundle(url, type)
            self._known_unread |= _unread(found)
        if any(issue.server_code == EPIC_PAGING_EXPIRED for issue in found.warnings):
            raise self._expired(NotFhir("", status=raw.status, issues=found.warnings))
        return self._made(raw, found, url)

    def _bundle(self, url: str, type: str) -> tuple[Raw, Decoded]:
        what = f"search of {type}"
        raw = self._exchange.send(Ask("GET", url, what))
        try:
            return raw, decode_bundle(raw.body)
        except NotFhir as fault:
            if raw.body.lstrip()[:1] == b"<":
                raise self._not_fhir(raw, what, "") from None
            raise self._exchange.labelled(_about(what, fault, raw.status)) from None

    def _made(self, raw: Raw, found: Decoded, url: str) -> Page:
        tail = tail_of(url, self.base_url)
        following = None if found.link is None else self._rebase(found.link, current=url, tail=tail)
        if following == url:
            raise self._exchange.error(NotFhir, "a page names itself as the next one")
        return Page(
            entries=found.entries,
            next=following,
            date=raw.date,
            sent_seq=raw.sent_seq,
            received_seq=raw.received_seq,
            warnings=found.warnings,
            total=found.total,
            faults=found.faults,
        )

    def _walk(self, page: Page, type: str) -> Iterator[Page]:
        links: set[str] = set()
        contents: set[str] = set()
        empty = 0
        while True:
            content = digest(b"\0".join(entry.raw or entry.full_url.encode() for entry in page.entries))
            empty = 0 if page.entries else empty + 1
            if (page.entries and content in contents) or empty > MAX_EMPTY_PAGES:
                raise self._exchange.error(NotFhir, f"the pages of {type} do not come to an end")
            contents.add(content)
            yield page
            if page.next is None:
                return
            if page.next in links:
                raise self._exchange.error(NotFhir, f"a next link of {type} came a second time")
            links.add(page.next)
            page = self.follow(page.next)

    def _rebase(self, link: str, *, current: str, tail: str) -> str:
        try:
            return rebase(link, base=self.base_url, current=current, tail=tail, aliases=self.aliases)
        except ServerError as fault:
            raise self._exchange.labelled(fault) from None

    def _expired(self, fault: ServerError) -> PageExpired:
        made = self._exchange.labelled(
            PageExpired("the server has forgotten this search", status=fault.status, issues=fault.issues)
        )
        assert isinstance(made, PageExpired)
        return made

    def _id(self, id: str) -> str:
        """An id as a segment of a path. Some servers give ids that the standard does not allow."""
        if not id or id in (".", "..") or len(id) > 256:
            raise self._exchange.error(Rejected, "an id that no address can hold")
        return quote(id, safe="")

    def _if_match(self, version: str) -> str:
        if not _VERSION.match(version):
            raise self._exchange.error(Rejected, "an update needs the version that it stands on")
        return f'W/"{version}"'


def _base(url: str) -> str:
    try:
        parts = urlsplit(url.strip())
    except ValueError:
        raise SettingsError("the base URL of a source cannot be read") from None
    if parts.username or parts.password:
        raise SettingsError("a base URL holds no user or password", remedy="use the source's auth settings")
    if parts.query or parts.fragment:
        raise SettingsError("a base URL has no query and no fragment")
    return url.strip().rstrip("/")


def _checked(type: str) -> str:
    if not _TYPE.match(type):
        raise ConfigError("a resource type is a word like ServiceRequest")
    return type


def _type_of(resource: Json) -> str:
    return _checked(str(resource.get("resourceType", "")))


def _token(identifier: str) -> str:
    """A search token "system|value", with what separates tokens escaped (FHIR R4 search, "escaping")."""
    system, bar, value = identifier.partition("|")
    if not (system and bar and value):
        raise ConfigError("a conditional create needs an identifier with a system and a value")
    return f"{_escaped(system)}|{_escaped(value).replace('|', chr(92) + '|')}"


def _escaped(text: str) -> str:
    return re.sub(r"([\\,$])", r"\\\1", text)


def _instant(at: datetime) -> str:
    """To the millisecond, in UTC: HAPI refuses less than seconds in _since, and cuts what is finer."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"


def _version_in(resource: Json | None) -> str | None:
    meta = resource.get("meta") if resource else None
    version = meta.get("versionId") if isinstance(meta, Mapping) else None
    return version if isinstance(version, str) and version else None


def _unread(found: Decoded) -> frozenset[str]:
    """The rows that cannot be read, by digest."""
    if not found.faults:
        return frozenset()
    return frozenset(digest(entry.raw) for entry in found.entries if entry.resource is None and entry.raw)


def _about(what: str, fault: NotFhir, status: int) -> NotFhir:
    """A fault of a page, now with what was asked."""
    return NotFhir(
        f"{what}: {fault.message}", remedy=fault.remedy or STRANGE, status=status, issues=fault.issues
    )

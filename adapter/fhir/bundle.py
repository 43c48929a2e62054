"""A page's bytes → entries, each with its resource's own bytes.

One bad entry does not spoil its page: where the page as a whole does not parse (NaN, half a surrogate pair, a
resource nested too deeply), it is cut by its brackets alone, and only the entry that holds the fault is lost
(F24).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from adapter.errors import Issue, NotFhir
from adapter.fhir import cut
from adapter.fhir.answers import Entry
from adapter.fhir.outcome import is_outcome, issues_of, warnings_of
from adapter.fhirjson import NotJson, loads

MAX_DEPTH = 100  # what walks a resource later recurses; FHIR's own deepest are about 30

_BOM = b"\xef\xbb\xbf"
_VERSION = re.compile(r'^(?:W/)?"?([^"]*)"?$')
_TYPE = re.compile(r"^[A-Z][A-Za-z]{1,63}$")


# An optional Raw cannot be told from null by msgspec ("Raw | None" refuses every value): empty bytes stand in.
_NOTHING = msgspec.Raw(b"")


class _Bundle(msgspec.Struct):
    resourceType: msgspec.Raw = _NOTHING
    type: msgspec.Raw = _NOTHING
    total: msgspec.Raw = _NOTHING
    link: msgspec.Raw = _NOTHING
    entry: list[msgspec.Raw] | None = None


class _Plain(msgspec.Struct):
    """An entry of a search as nearly every server writes it; anything else about it takes the longer way."""

    resource: msgspec.Raw
    fullUrl: str = ""
    search: msgspec.Raw = _NOTHING
    request: msgspec.Raw = _NOTHING
    response: msgspec.Raw = _NOTHING


class _PlainBundle(msgspec.Struct):
    entry: list[_Plain]
    resourceType: msgspec.Raw = _NOTHING
    type: msgspec.Raw = _NOTHING
    total: msgspec.Raw = _NOTHING
    link: msgspec.Raw = _NOTHING


_plain_page = msgspec.json.Decoder(_PlainBundle)
# The type comes first where a server writes in the order of the standard; any other order takes the longer way.
_KIND = re.compile(rb'\{[ \t\r\n]*"resourceType"[ \t\r\n]*:[ \t\r\n]*"([A-Z][A-Za-z]{1,63})"')
_MODES: dict[bytes, str] = {b'{"mode":"match"}': "match", b'{"mode": "match"}': "match"}


@dataclass(frozen=True, slots=True)
class Decoded:
    """A Bundle as read: ``link`` is the "next" one as the server wrote it, None on the last page."""

    type: str
    entries: tuple[Entry, ...]
    link: str | None
    total: int | None
    warnings: tuple[Issue, ...]
    faults: tuple[str, ...]


def decode_resource(raw: bytes) -> dict[str, Any]:
    """One resource.

    Raises:
        NotJson: where it is no JSON object with a resourceType, or nested deeper than ``MAX_DEPTH``.
    """
    value = loads(raw.removeprefix(_BOM))
    if not isinstance(value, dict):
        raise NotJson("no JSON object")
    kind = value.get("resourceType")
    if not (isinstance(kind, str) and _TYPE.match(kind)):
        raise NotJson("no resourceType")
    # What has few brackets cannot be nested deeply: most resources need no walk.
    if raw.count(b"{") + raw.count(b"[") > MAX_DEPTH and _deeper_than(value, MAX_DEPTH):
        raise NotJson(f"nested deeper than {MAX_DEPTH}")
    return value


def decode_bundle(raw: bytes) -> Decoded:
    """A searchset or history page.

    Raises:
        NotFhir: where it is no Bundle, or its links cannot be read: a page without a next link ends a walk,
        so
            a next link must never be lost silently.
    """
    raw = raw.removeprefix(_BOM)
    bundle: _Bundle | _PlainBundle | None = _plainly(raw)
    made: Iterable[tuple[Entry, str]]
    if isinstance(bundle, _PlainBundle):
        sound = _is_utf8(raw)
        made = (_plain_entry(one, number, sound) for number, one in enumerate(bundle.entry))
    else:
        bundle = _split(raw)
        made = (_entry(bytes(piece), number) for number, piece in enumerate(bundle.entry or ()))
    if _plain(bundle.resourceType) != "Bundle":
        raise _no_bundle(raw, bundle)
    kind, total = _plain(bundle.type), _plain(bundle.total)
    entries: list[Entry] = []
    faults: list[str] = []
    warnings: list[Issue] = []
    for entry, fault in made:
        entries.append(entry)
        if fault:
            faults.append(fault)
        if not entry.is_unread and is_outcome(entry.resource):
            warnings.extend(warnings_of(entry.resource))
    return Decoded(
        type=kind if isinstance(kind, str) else "",
        entries=tuple(entries),
        link=_next(bundle.link),
        total=total if isinstance(total, int) and not isinstance(total, bool) else None,
        warnings=tuple(warnings),
        faults=tuple(faults),
    )


def bare_version(etag: str) -> str:
    """A version from an ETag: W/"3", "3" and 3 are all 3; proxies that compress make it "3-gzip"."""
    found = _VERSION.match(etag.strip())
    return re.sub(r"(?:-{1,2}|;)gzip$", "", found[1]) if found else ""


def _plainly(raw: bytes) -> _PlainBundle | None:
    """The page cut in one go; None where anything about it is out of the ordinary."""
    try:
        return _plain_page.decode(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None


def _is_utf8(raw: bytes) -> bool:
    """Whether all texts of a page can be read: the one thing that cutting it does not look at."""
    if raw.isascii():
        return True
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


def _is_sound(own: bytes) -> bool:
    """Whether a resource that was cut out of a sound page will be read without a fault, and is no outcome."""
    kind = _KIND.match(own)
    return (
        kind is not None and kind[1] != b"OperationOutcome" and own.count(b"{") + own.count(b"[") <= MAX_DEPTH
    )


def _plain_entry(one: _Plain, number: int, sound: bool) -> tuple[Entry, str]:
    """As :func:`_entry`, without the members that a search's entries do not have."""
    own = bytes(one.resource)
    said = bytes(one.search)
    mode = _MODES.get(said)
    if sound and mode and one.request is one.response is _NOTHING and _is_sound(own):
        return Entry.unread(own, one.fullUrl, mode), ""
    resource, fault = (None, "") if own == b"null" else _resource(own, number)
    if mode is None:
        mode = _text(_object(said).get("mode"))
    mode = mode or ("outcome" if is_outcome(resource) else "")
    request, response = bytes(one.request), bytes(one.response)
    asked = _object(request) if request else {}
    return (
        Entry(
            resource,
            b"" if own == b"null" else own,
            one.fullUrl,
            mode,
            _text(asked.get("method")).upper(),
            _text(asked.get("url")),
            bare_version(_text(_object(response).get("etag"))) if response else "",
        ),
        fault,
    )


def _split(raw: bytes) -> _Bundle:
    try:
        return msgspec.json.decode(raw, type=_Bundle)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        pass
    try:
        members = dict(cut.members(raw))
        entry = members.get("entry")
        pieces = None if entry in (None, b"null") else [msgspec.Raw(p) for p in cut.elements(entry or b"")]
    except ValueError:
        raise NotFhir("the answer is no JSON that could be cut into entries") from None
    rest = {
        name: msgspec.Raw(members[name])
        for name in ("resourceType", "type", "total", "link")
        if name in members
    }
    return _Bundle(entry=pieces, **rest)


def _no_bundle(raw: bytes, bundle: _Bundle | _PlainBundle) -> NotFhir:
    kind = _plain(bundle.resourceType)
    named = kind if isinstance(kind, str) and _TYPE.match(kind) else "something else"
    try:
        issues = issues_of(loads(raw)) if named == "OperationOutcome" else ()
    except NotJson:
        issues = ()
    return NotFhir(f"the answer is no Bundle but {named}", issues=issues)


def _entry(raw: bytes, number: int) -> tuple[Entry, str]:
    """One entry, and the sentence that says what is wrong with it ("" where nothing is)."""
    try:
        members = _entry_members(raw)
    except ValueError:
        return Entry(None, raw), f"entry {number + 1} of the page is no JSON object"
    search, request, response = (_object(members.get(name)) for name in ("search", "request", "response"))
    etag = bare_version(_text(response.get("etag")))
    own = members.get("resource", b"")
    resource, fault = (None, "") if own in (b"", b"null") else _resource(own, number)
    mode = _text(search.get("mode")) or ("outcome" if is_outcome(resource) else "")
    entry = Entry(
        resource=resource,
        raw=b"" if own == b"null" else own,
        full_url=_text(_plain_bytes(members.get("fullUrl"))),
        mode=mode,
        method=_text(request.get("method")).upper(),
        url=_text(request.get("url")),
        etag=etag,
    )
    return entry, fault


class _EntryStruct(msgspec.Struct):
    resource: msgspec.Raw = _NOTHING
    fullUrl: msgspec.Raw = _NOTHING
    search: msgspec.Raw = _NOTHING
    request: msgspec.Raw = _NOTHING
    response: msgspec.Raw = _NOTHING


def _entry_members(raw: bytes) -> dict[str, bytes]:
    """The members of an entry that are read here, as bytes. ValueError where it is no object."""
    try:
        entry = msgspec.json.decode(raw, type=_EntryStruct)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return dict(cut.members(raw))
    pairs = ((name, getattr(entry, name)) for name in _EntryStruct.__struct_fields__)
    return {name: found for name, value in pairs if (found := bytes(value))}


def _resource(raw: bytes, number: int) -> tuple[dict[str, Any] | None, str]:
    try:
        return decode_resource(raw), ""
    except NotJson as error:
        return None, f"entry {number + 1} of the page cannot be read: {error}"


def _next(link: msgspec.Raw) -> str | None:
    links = _plain(link)
    if links is None and bytes(link) in (b"", b"null"):
        return None
    if not isinstance(links, list) or not all(isinstance(one, dict) for one in links):
        raise NotFhir("the links of the page cannot be read")
    following = [one.get("url") for one in links if one.get("relation") == "next"]
    if not following:
        return None
    if not isinstance(following[0], str) or not following[0].strip():
        raise NotFhir("the page has a next link without an address")
    return following[0]


def _plain(raw: msgspec.Raw) -> Any:
    return _plain_bytes(bytes(raw))


def _plain_bytes(raw: bytes | None) -> Any:
    try:
        return loads(raw) if raw else None
    except NotJson:
        return None


def _object(raw: bytes | None) -> dict[str, Any]:
    value = _plain_bytes(raw)
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _deeper_than(value: Any, limit: int) -> bool:
    """Whether objects and arrays are nested more than ``limit`` deep; by levels, not by recursion."""
    level = [value]
    for _ in range(limit + 1):
        level = [
            part
            for whole in level
            for part in (whole.values() if isinstance(whole, dict) else whole)
            if isinstance(part, (dict, list))
        ]
        if not level:
            return False
    return True

"""Transactions, where all entries stand or none, and batches, where each stands alone."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import unquote

from adapter.sandbox import writing
from adapter.sandbox.core import Core
from adapter.sandbox.elements import instant_text, with_references
from adapter.sandbox.refusal import Refusal

_PLACE = re.compile(r"^/?([A-Z][A-Za-z]+)(?:/([A-Za-z0-9\-.]+))?$")
_DRAWN = "drawn id"  # beside the members of an entry: the id that a transaction drew for it
_ORDER = {"DELETE": 0, "POST": 1, "PUT": 2, "GET": 3}

Entry = Mapping[str, Any]
Get = Callable[[str], dict[str, Any]]


def process(core: Core, bundle: Mapping[str, Any], get: Get, *, full: bool = False) -> dict[str, Any]:
    """Carry out a transaction or batch. ``get`` answers a relative URL; ``full`` puts what was written into
    the answer.

    Raises:
        Refusal: where a transaction cannot be carried out (nothing of it is), or the Bundle is of another
        type.
    """
    kind = bundle.get("type")
    entries = [entry for entry in bundle.get("entry", ()) if isinstance(entry, Mapping)]
    if kind == "batch":
        answers = [_alone(core, entry, get, full) for entry in entries]
    elif kind == "transaction":
        answers = _together(core, entries, get, full)
    else:
        raise Refusal(400, "HAPI-0527: A Bundle sent here is a transaction or a batch", code="invalid")
    return {"resourceType": "Bundle", "type": f"{kind}-response", "entry": answers}


def _alone(core: Core, entry: Entry, get: Get, full: bool) -> dict[str, Any]:
    try:
        return _carried_out(core, entry, get, full)
    except Refusal as refusal:
        return {"response": {"status": _reason(refusal.status), "outcome": refusal.outcome()}}


def _together(core: Core, entries: Sequence[Entry], get: Get, full: bool) -> list[dict[str, Any]]:
    _refuse_twice(entries)
    answers: dict[int, dict[str, Any]] = {}
    order = sorted(range(len(entries)), key=lambda place: _ORDER.get(_method(entries[place]), 4))
    try:
        with core.store.atomic(), core.one_instant():
            # References between the entries hold only when all are there: they are checked at the end.
            core.deferred_references = True
            entries = _resolved(core, entries)
            for place in order:
                answers[place] = _carried_out(core, entries[place], get, full)
            if core.habits.enforce_references:
                _check_all(core, entries)
    except Refusal as refusal:
        raise _as_whole(core, refusal) from None
    finally:
        core.deferred_references = False
    return [answers[place] for place in range(len(entries))]


def _as_whole(core: Core, refusal: Refusal) -> Refusal:
    """Helios answers a stale entry of a transaction with 400, HAPI with the entry's own 409."""
    if refusal.status == 412 and refusal.code == "conflict":
        return Refusal(400, "Transaction failed: an entry failed with status 412", code="processing")
    return refusal


def _refuse_twice(entries: Sequence[Entry]) -> None:
    urls = [_url(entry) for entry in entries if _method(entry) in ("PUT", "DELETE")]
    conditions = [c for entry in entries if (c := entry.get("request", {}).get("ifNoneExist"))]
    if len(urls) != len(set(urls)):
        raise Refusal(400, "HAPI-0535: A transaction names one resource twice", code="processing")
    if len(conditions) != len(set(conditions)):
        raise Refusal(400, "HAPI-2008: A transaction bears one condition twice", code="processing")


def _resolved(core: Core, entries: Sequence[Entry]) -> list[Entry]:
    """The entries with ids drawn for what is created and their ``urn:uuid:`` references pointing there."""
    change: dict[str, str] = {}
    given: list[Entry] = []
    for entry in entries:
        if _method(entry) == "POST":
            entry = _with_id(core, entry)
        name = _name(core, entry)
        if name and str(entry.get("fullUrl", "")).startswith("urn:"):
            change[entry["fullUrl"]] = name
        given.append(entry)
    return [_pointing(entry, change) for entry in given]


def _with_id(core: Core, entry: Entry) -> Entry:
    drawn = core.store.draw_id()
    return {**entry, _DRAWN: drawn, "resource": {**entry.get("resource", {}), "id": drawn}}


def _name(core: Core, entry: Entry) -> str:
    """ "Type/id" of what an entry writes; an ifNoneExist that finds something leads there."""
    if _method(entry) == "PUT":
        return _url(entry).strip("/")
    resource = entry.get("resource", {})
    condition = entry.get("request", {}).get("ifNoneExist")
    found = writing.existing(core, str(resource.get("resourceType")), condition) if condition else None
    return found.ref if found else f"{resource.get('resourceType')}/{resource.get('id')}"


def _pointing(entry: Entry, change: Mapping[str, str]) -> Entry:
    return {**entry, "resource": with_references(entry["resource"], change)} if "resource" in entry else entry


def _check_all(core: Core, entries: Sequence[Entry]) -> None:
    for entry in entries:
        version = core.store.newest(_name(core, entry)) if _method(entry) in ("PUT", "POST") else None
        if version is not None and version.resource is not None:
            writing.check_references(core, version.resource)


def _method(entry: Entry) -> str:
    return str(entry.get("request", {}).get("method", ""))


def _url(entry: Entry) -> str:
    return str(entry.get("request", {}).get("url", ""))


def _carried_out(core: Core, entry: Entry, get: Get, full: bool) -> dict[str, Any]:
    method, request = _method(entry), entry.get("request", {})
    if method == "GET":
        return {"resource": get(_url(entry)), "response": {"status": "200 OK"}}
    found = _PLACE.match(unquote(_url(entry)))
    if found is None:
        raise Refusal(400, "HAPI-0532: The URL of an entry is not understood", code="invalid")
    kind, identity = found[1], found[2] or ""
    if method == "DELETE":
        gone = writing.delete(core, kind, identity, if_match=request.get("ifMatch", ""))
        return {"response": {"status": "204 No Content", **({"etag": gone.label} if gone else {})}}
    return _written(core, _write(core, method, kind, identity, entry), full)


def _write(core: Core, method: str, kind: str, identity: str, entry: Entry) -> writing.Written:
    request, resource = entry["request"], entry.get("resource", {})
    if resource.get("resourceType") != kind:
        raise Refusal(400, "HAPI-0522: The resource of an entry is not of the URL's type", code="invalid")
    if method == "PUT" and identity:
        return writing.update(core, kind, identity, resource, if_match=request.get("ifMatch", ""))
    if method == "POST" and not identity:
        condition = request.get("ifNoneExist", "")
        return writing.create(core, resource, if_none_exist=condition, identity=entry.get(_DRAWN, ""))
    raise Refusal(400, f"HAPI-0543: Unable to handle {method} here", code="not-supported")


def _written(core: Core, written: writing.Written, full: bool) -> dict[str, Any]:
    version = written.version
    response = {
        "status": _reason(written.status),
        "location": f"{version.ref}/_history/{version.label}",
        "etag": version.label,  # bare, as HAPI writes it in Bundles
        "lastModified": instant_text(version.at),
    }
    return {"resource": core.represent(version), "response": response} if full else {"response": response}


def _reason(status: int) -> str:
    words = {200: "OK", 201: "Created", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed"}
    words |= {409: "Conflict", 410: "Gone", 412: "Precondition Failed", 422: "Unprocessable Entity"}
    return f"{status} {words.get(status, 'Error')}"

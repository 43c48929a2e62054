"""What faults do to an answer: rows repeated, reversed, broken, a body cut short."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adapter import fhirjson
from adapter.sandbox.core import BROKEN, misshapen
from adapter.sandbox.faults import Fault
from adapter.sandbox.messages import Reply
from adapter.sandbox.refusal import outcome
from adapter.sandbox.searching import expired, note, without_next

_BROKEN_TEXT = b'"' + BROKEN.encode() + b'":true'
_NO_JSON = b'"' + BROKEN.encode() + b'":tru,e'


def instead(fault: Fault) -> Reply | None:
    """The answer that takes the place of the real one; None where the request is to be carried out."""
    match fault.kind:
        case "status":
            return _refused(fault.status, "HAPI-0389: Failed to call access method", "exception")
        case "conflict":
            return _refused(409, "HAPI-0550: The operation has failed with a constraint error", "conflict")
        case "rate-limit":
            return _refused(429, "Too many requests", "throttled").with_headers(retry_after=fault.retry_after)
        case "expired":
            refusal = expired("a-search-that-is-gone")
            return Reply(refusal.status, refusal.outcome())
        case "redirect":
            return Reply(307, headers={"location": fault.location}, raw=b"", content_type="")
        case "html":
            return Reply(
                200, raw=b"<!doctype html><html><body>Please sign in</body></html>", content_type="text/html"
            )
        case "empty":
            return Reply(200, {"resourceType": "Bundle", "type": "searchset", "total": 0, "link": []})
    return None


def _refused(status: int, text: str, code: str) -> Reply:
    return Reply(status, outcome("error", code, text))


def tampered(fault: Fault, reply: Reply) -> Reply:
    """The real answer with the fault's damage; answers other than Bundles pass the page faults unchanged."""
    if fault.kind == "malformed":
        return Reply(reply.status, None, reply.headers, raw=body(reply)[: -max(1, len(body(reply)) // 3)])
    if reply.resource is None or reply.resource.get("resourceType") != "Bundle":
        return reply
    return Reply(reply.status, _page(fault, reply.resource), reply.headers)


def _page(fault: Fault, bundle: Mapping[str, Any]) -> Mapping[str, Any]:
    entries = list(bundle.get("entry", ()))
    match fault.kind:
        case "repeat":
            return {**bundle, "entry": [row for entry in entries for row in (entry, entry)]}
        case "reverse":
            return {**bundle, "entry": entries[::-1]}
        case "no-next":
            return without_next(bundle)
        case "warning":
            return {**bundle, "entry": [*entries, note("incomplete", fault.text)]}
        case "bad-row":
            return {**bundle, "entry": _with_middle(entries, lambda row: {**row, BROKEN: True})}
        case "misshapen-row":
            return {**bundle, "entry": _with_middle(entries, misshapen)}
    return bundle


def _with_middle(entries: list[Any], change: Any) -> list[Any]:
    middle = len(entries) // 2
    return [
        {**entry, "resource": change(entry["resource"])} if place == middle and "resource" in entry else entry
        for place, entry in enumerate(entries)
    ]


def body(reply: Reply) -> bytes:
    """The bytes of an answer's body. A row marked as broken is written as what no parser takes."""
    if reply.raw is not None:
        return reply.raw
    if reply.resource is None:
        return b""
    return fhirjson.dumps(reply.resource).replace(_BROKEN_TEXT, _NO_JSON)

"""HTTP status → error, by what the caller must do next."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from adapter.errors import (
    AccessRefused,
    Conflict,
    Gone,
    Issue,
    NotFhir,
    NotFound,
    OutcomeUnknown,
    RateLimited,
    Rejected,
    ServerError,
    ServerUnavailable,
)
from adapter.fhir.bundle import decode_resource
from adapter.fhir.outcome import issues_of
from adapter.fhirjson import NotJson

_KINDS: Mapping[int, type[ServerError]] = {
    401: AccessRefused,
    403: AccessRefused,
    404: NotFound,
    407: AccessRefused,
    409: Conflict,  # stale: HAPI, Oracle Health
    410: Gone,
    412: Conflict,  # stale: the standard, Helios
    423: ServerUnavailable,
    425: ServerUnavailable,
    501: Rejected,
}
_WORDS: Mapping[type[ServerError], str] = {
    AccessRefused: "was refused",
    Conflict: "met another version, or more than one match",
    Gone: "found it deleted",
    NotFhir: "was not answered in FHIR",
    NotFound: "found nothing",
    OutcomeUnknown: "may have been done, or not",
    Rejected: "was not accepted",
    ServerUnavailable: "could not be answered",
}
_REMEDIES: Mapping[type[ServerError], str] = {
    AccessRefused: "this sign-in may not do that: have its scope and its user's rights checked",
    NotFhir: "is base_url the FHIR root of this server?",
    NotFound: "is base_url right, and does this server have that at all? see: baton check",
    OutcomeUnknown: "nothing to do: it is looked for before it is sent again",
    RateLimited: "lower `limits: {calls_per_minute: …}` of this source, or poll it less often",
    Rejected: "the server's codes say what it will not take; see: baton check",
    ServerUnavailable: "it may still be starting: the next pass tries again, and nothing is lost",
}
_SIGN_IN = "is the token of this source right and still valid? see its token_env or token_file"


def error_for(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    what: str,
    writes: bool,
    label: str,
    source: str,
    now: datetime,
    cap: float,
) -> ServerError:
    """The error for an answer outside 2xx; ``now`` is the server's, ``cap`` bounds Retry-After in seconds."""
    issues = outcome_in(body)
    said = "; ".join(issue.safe() for issue in issues[:3])
    tail = f" ({status}{': ' + said if said else ''})"
    asked = retry_after(headers.get("Retry-After", ""), now)
    if status == 429 or (status == 503 and asked is not None):
        wait = min(cap, max(0.0, asked or 0.0))
        message = f"{label}: {what} came too soon{tail}"
        said_why = _REMEDIES[ServerUnavailable if status == 503 else RateLimited]
        return RateLimited(
            message, remedy=said_why, retry_after=wait, status=status, issues=issues, source=source
        )
    kind = _kind(status, writes)
    remedy = _SIGN_IN if status in (401, 407) else _REMEDIES.get(kind, "")
    message = f"{label}: {what} {_WORDS[kind]}{tail}"
    return kind(message, remedy=remedy, status=status, issues=issues, source=source)


def outcome_in(body: bytes) -> tuple[Issue, ...]:
    """The issues, if a body is an OperationOutcome; () for anything else (HTML, nothing at all)."""
    try:
        return issues_of(decode_resource(body)) if body else ()
    except NotJson:
        return ()


def retry_after(text: str, now: datetime) -> float | None:
    """Seconds to wait, from a number or an HTTP date; None where the header says neither."""
    text = text.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    return (at.replace(tzinfo=at.tzinfo or UTC) - now).total_seconds()


def _kind(status: int, writes: bool) -> type[ServerError]:
    if status in _KINDS:
        return _KINDS[status]
    if status == 408 or status >= 500:
        return OutcomeUnknown if writes else ServerUnavailable
    return Rejected if 400 <= status < 500 else NotFhir

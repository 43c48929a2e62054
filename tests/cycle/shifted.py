"""A real server on a clock that a test sets: the times that it stamps are moved on their way to Baton, and back.

HAPI's clock cannot be set. What Baton sees of its time are the ``Date`` header, ``meta.lastUpdated`` and
``lastModified`` of entries; what it says of time are ``_lastUpdated`` and ``_since`` of searches and histories. All of
them are moved by one span, and nothing else is touched.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from urllib.parse import quote, unquote

import httpx

_STAMP = re.compile(rb'("(?:lastUpdated|lastModified)"\s*:\s*")([^"]+)(")')
_ASKED = re.compile(r"(_lastUpdated=|_since=)(ge|gt|le|lt|)([^&]+)")
_FOLLOWED = ("_getpages", "_cursor", "_offset")  # links of the servers' own: their times are the servers'


class Shifted(httpx.BaseTransport):
    """Sends to the real server; ``span`` is how far Baton's time is ahead of the server's.

    ``refused`` are types that this client may not read: they are answered 403, as an EHR with a narrow scope does.
    """

    def __init__(self) -> None:
        self.span = timedelta(0)
        self.refused: frozenset[str] = frozenset()
        self._begun = False
        self._wire = httpx.HTTPTransport()

    def at(self, instant: datetime) -> datetime:
        """From now on the server's time is ``instant``, and goes on from there; the instant.

        Where the work before took so long that it is later already, it stays: time never goes back.
        """
        # A Date header has whole seconds: the next one, so that what happens now is not stamped before it.
        now = datetime.now(UTC)
        earliest = now + self.span if self._begun else instant
        self._begun = True
        self.span = max(instant + timedelta(seconds=1), earliest) - now
        return max(instant, earliest)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """One request and its answer, with their times moved."""
        if any(f"/{type}" in request.url.path for type in self.refused) and request.method == "GET":
            return httpx.Response(403, json=_REFUSAL, headers={"Date": self._date(datetime.now(UTC))})
        answer = self._wire.handle_request(self._asked(request))
        body = answer.read()
        headers = [
            (name, text)
            for name, text in answer.headers.items()
            if name not in ("content-encoding", "content-length", "transfer-encoding", "date")
        ]
        said = answer.headers.get("Date")
        when = _http_date(said) if said else datetime.now(UTC)
        return httpx.Response(
            answer.status_code,
            headers=[*headers, ("Date", self._date(when))],
            content=_STAMP.sub(self._moved, body),
            request=request,
        )

    def close(self) -> None:
        """Close the connections."""
        self._wire.close()

    def _asked(self, request: httpx.Request) -> httpx.Request:
        query = request.url.query.decode()
        if any(sign in query for sign in _FOLLOWED):
            return request
        moved = _ASKED.sub(self._back, query)
        url = request.url.copy_with(query=moved.encode())
        return httpx.Request(
            request.method,
            url,
            headers=request.headers,
            content=request.read(),
            extensions=request.extensions,
        )

    def _back(self, found: re.Match[str]) -> str:
        name, prefix, text = found.groups()
        at = _instant(unquote(text)) - self.span
        return f"{name}{prefix}{quote(_text(at))}"

    def _moved(self, found: re.Match[bytes]) -> bytes:
        before, text, after = found.groups()
        return before + _text(_instant(text.decode()) + self.span).encode() + after

    def _date(self, at: datetime) -> str:
        return format_datetime(at + self.span, usegmt=True)


_REFUSAL = {
    "resourceType": "OperationOutcome",
    "issue": [{"severity": "error", "code": "forbidden"}],
}


def _http_date(text: str) -> datetime:
    return datetime.strptime(text, "%a, %d %b %Y %H:%M:%S GMT").replace(tzinfo=UTC)


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone(UTC)


def _text(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"

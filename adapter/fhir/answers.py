"""What the client hands out, and the bounds that it keeps."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from adapter.errors import Issue
from adapter.fhirjson import NotJson, loads


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one request. ``_s`` are seconds; ``total_s`` and ``max_bytes`` count for each attempt.

    ``max_bytes`` is counted after gzip. ``retries`` come on top of the first attempt. ``connect_s`` and
    ``read_s`` bound one step each, so that only ``total_s`` ends an answer that trickles in byte by byte.
    """

    connect_s: float = 10.0
    read_s: float = 60.0
    total_s: float = 120.0
    max_bytes: int = 64 * 1024 * 1024
    retries: int = 4
    backoff_s: float = 0.5
    backoff_cap_s: float = 30.0
    retry_after_cap_s: float = 120.0


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer about one resource (or one Bundle of a transaction).

    ``resource`` is None where the body was empty. ``version`` is the ETag without its dress, else
    meta.versionId. ``date`` is the server's ``Date`` in UTC. ``location`` is "Type/id" or
    "Type/id/_history/v" where the server names a place of its own, else as it was sent. ``sent_seq`` and
    ``received_seq`` order requests and answers (F40).
    """

    status: int
    resource: dict[str, Any] | None
    raw: bytes
    version: str | None
    date: datetime | None
    sent_seq: int
    received_seq: int
    location: str = ""


class Entry:
    """One entry of a page. No entry of a page has a meaning by its place.

    ``resource`` is None where the entry carries none (``raw`` is then b"", as for a DELETE in a history) or
    where it cannot be read (``raw`` then holds the bytes, and the page has a fault for it). ``mode`` is
    "match", "include", "outcome" or "". ``method`` and ``url`` are those of ``request``; ``etag`` is a bare
    version.
    """

    __slots__ = ("_read", "_resource", "etag", "full_url", "method", "mode", "raw", "url")

    def __init__(
        self,
        resource: dict[str, Any] | None,
        raw: bytes,
        full_url: str = "",
        mode: str = "",
        method: str = "",
        url: str = "",
        etag: str = "",
    ) -> None:
        self._resource = resource
        self._read = True
        self.raw = raw
        self.full_url = full_url
        self.mode = mode
        self.method = method
        self.url = url
        self.etag = etag

    @classmethod
    def unread(cls, raw: bytes, full_url: str, mode: str) -> Entry:
        """An entry whose bytes are known to be a resource, parsed at each asking: a page of hundreds of parsed
        resources is twice as slow to make and to throw away as one resource after the other."""
        entry = cls(None, raw, full_url, mode)
        entry._read = False
        return entry

    @property
    def is_unread(self) -> bool:
        """Whether ``resource`` is parsed at each asking; it is then no OperationOutcome."""
        return not self._read

    @property
    def resource(self) -> dict[str, Any] | None:
        """The resource; ask once and keep the answer."""
        if self._read:
            return self._resource
        try:
            resource: dict[str, Any] = loads(self.raw)
        except NotJson:  # a number that no decimal can hold
            return None
        return resource

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Entry) and self._parts() == other._parts()

    def __hash__(self) -> int:
        return hash(self.raw)

    def _parts(self) -> tuple[object, ...]:
        return (self.resource, self.raw, self.full_url, self.mode, self.method, self.url, self.etag)


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a search or a history.

    ``next`` is absolute, on our own base. ``warnings`` are the issues of OperationOutcomes inside the 200,
    such as a parameter that the server ignored; plain information and Epic's "no results" (4101) are left
    out. ``faults`` has one sentence, safe to print, for each entry that cannot be read.
    """

    entries: tuple[Entry, ...]
    next: str | None
    date: datetime | None
    sent_seq: int
    received_seq: int
    warnings: tuple[Issue, ...] = ()
    total: int | None = None
    faults: tuple[str, ...] = ()

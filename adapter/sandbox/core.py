"""What all parts of the sandbox share: the store, the habits, the clock, and how a version is shown to a
client.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any, Protocol

from adapter.sandbox.elements import Json, instant_text, to_the_millisecond
from adapter.sandbox.habits import Habits
from adapter.sandbox.store import Store, Version

BROKEN = "brokenRow"
"""A member that the encoder turns into something that is no JSON."""

SUBSETTED = {"system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue", "code": "SUBSETTED"}
_ALWAYS = frozenset({"resourceType", "id", "meta"})


class Clock(Protocol):
    """Tells the time; a test's clock stands where it was put."""

    def now(self) -> datetime:
        """The present instant, with a zone."""


class MachineClock:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)


@dataclass(slots=True)
class Core:
    """One server's state. Whoever uses it holds the server's lock."""

    clock: Clock
    base_url: str
    habits: Habits = field(default_factory=Habits)
    store: Store = field(default_factory=Store)
    served: int = 0
    """The number of the request being answered."""
    deferred_references: bool = False
    """Whether references are checked later: inside a transaction, when all its entries are there."""
    _instant: datetime | None = None

    def now(self) -> datetime:
        """The server's own time, to the millisecond."""
        return to_the_millisecond(self.clock.now() + self.habits.skew)

    def stamp(self) -> datetime:
        """The lastUpdated of a version written now."""
        return (self._instant or self.now()) - self.habits.updated_back

    @contextmanager
    def one_instant(self) -> Iterator[None]:
        """Stamp all that is written inside with one time, as HAPI does with a transaction."""
        self._instant = self.now()
        try:
            yield
        finally:
            self._instant = None

    def date(self) -> str:
        """The Date header."""
        return http_date(self.now() + self.habits.date_skew)

    def links(self) -> str:
        """The base under which the server names itself in links."""
        return (self.habits.link_base or self.base_url).rstrip("/")

    def url(self, version: Version, *, versioned: bool = True) -> str:
        """A version's address, or its resource's."""
        plain = f"{self.links()}/{version.ref}"
        return f"{plain}/_history/{version.label}" if versioned and not self.habits.no_version_id else plain

    def represent(self, version: Version, elements: frozenset[str] = frozenset()) -> dict[str, Any]:
        """The resource as a client gets it: with the server's meta, and broken where a habit says so."""
        assert version.resource is not None
        resource = dict(version.resource)
        if elements:
            resource = {name: part for name, part in resource.items() if name in _ALWAYS | elements}
        resource = {**resource, "meta": self._meta(version, resource, subset=bool(elements))}
        if not resource["meta"]:
            del resource["meta"]
        return self._damaged(version.ref, resource)

    def _meta(self, version: Version, resource: Json, *, subset: bool) -> dict[str, Any]:
        meta: dict[str, Any] = {}
        if not self.habits.no_version_id:
            meta["versionId"] = version.label
        if not self.habits.no_last_updated:
            meta["lastUpdated"] = instant_text(version.at)
        meta |= resource.get("meta", {})
        if subset:
            meta["tag"] = [*meta.get("tag", ()), SUBSETTED]
        return meta

    def _damaged(self, ref: str, resource: dict[str, Any]) -> dict[str, Any]:
        if ref in self.habits.poison:
            return {**resource, BROKEN: True}
        return misshapen(resource) if ref in self.habits.misshapen else resource

    def headers(self, version: Version, *, created: bool = False) -> dict[str, str]:
        """ETag, Last-Modified and the version's address."""
        found: dict[str, str] = {}
        if not self.habits.no_version_id:
            found["etag"] = f'W/"{version.label}"'
        if not self.habits.no_last_updated:
            found["last-modified"] = http_date(version.at)
        found["location" if created else "content-location"] = self.url(version)
        return found

    def visibility(self) -> tuple[datetime | None, int | None, bool]:
        """From when and from which request on searches show a write made now, and whether histories lag,
        too.
        """
        lag = max(self.habits.late_commit, self.habits.index_lag)
        requests = max(self.habits.late_commit_requests, self.habits.index_lag_requests)
        late = bool(self.habits.late_commit or self.habits.late_commit_requests)
        return (
            self.now() + lag if lag > timedelta(0) else None,
            self.served + requests if requests else None,
            late,
        )


def misshapen(resource: Json) -> dict[str, Any]:
    """What is JSON and no resource."""
    kept = {name: part for name, part in resource.items() if name not in ("resourceType", "id")}
    return {"id": 7, **kept, "meta": "none"}


def http_date(at: datetime) -> str:
    """An instant as HTTP headers write it, in whole seconds."""
    return format_datetime(at.astimezone(UTC).replace(microsecond=0), usegmt=True)

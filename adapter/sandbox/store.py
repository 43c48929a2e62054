"""All versions of all resources, in memory: append, look up, undo, put back to an earlier day.

A version is never changed. What a reader sees may lag: a version can be *shown* only from a time or a request
number on (a late commit, a slow search index), while its ``lastUpdated`` was stamped before.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from adapter.sandbox.elements import Json, identifier_keys, names_of


@dataclass(frozen=True, slots=True)
class Version:
    """One version of one resource; ``resource`` is None where it was deleted.

    ``shown_at`` and ``shown_after`` (a request number) say from when searches see it; ``hidden_history`` that
    histories lag, too. ``order`` is its place among all commits of the server.
    """

    type: str
    id: str
    number: int
    label: str
    at: datetime
    method: str
    resource: Json | None
    order: int
    shown_at: datetime | None = None
    shown_after: int | None = None
    hidden_history: bool = False

    @property
    def ref(self) -> str:
        """ "Type/id"."""
        return f"{self.type}/{self.id}"

    def shown(self, now: datetime, served: int) -> bool:
        """Whether a search sees this version at ``now``, after ``served`` requests."""
        return (self.shown_at is None or now >= self.shown_at) and (
            self.shown_after is None or served > self.shown_after
        )


@dataclass(frozen=True, slots=True)
class State:
    """What a server's backup holds."""

    chains: dict[str, tuple[Version, ...]]
    next_id: int


@dataclass(slots=True)
class Store:
    """The versions of each resource, oldest first, and two indexes that narrow a search.

    The indexes name every resource that *ever* held a reference or an identifier: a superset that stays
    right when versions are undone or lag. The caller holds the lock.
    """

    chains: dict[str, list[Version]] = field(default_factory=dict)
    by_type: dict[str, dict[str, None]] = field(default_factory=dict)
    pointing: dict[str, dict[str, None]] = field(default_factory=dict)
    identified: dict[str, dict[str, None]] = field(default_factory=dict)
    orders: int = 0
    next_id: int = 1000
    _journal: list[str] | None = None

    def newest(self, ref: str) -> Version | None:
        """The newest version, whether shown or not."""
        chain = self.chains.get(ref)
        return chain[-1] if chain else None

    def alive(self, ref: str) -> bool:
        """Whether the resource exists and is not deleted."""
        version = self.newest(ref)
        return version is not None and version.resource is not None

    def version(self, ref: str, label: str) -> Version | None:
        """The version with that label ("3")."""
        return next((v for v in self.chains.get(ref, ()) if v.label == label), None)

    def indexed(self, ref: str, now: datetime, served: int) -> Version | None:
        """The newest version that a search sees; None where it sees none or a deletion."""
        for version in reversed(self.chains.get(ref, ())):
            if version.shown(now, served):
                return version if version.resource is not None else None
        return None

    def append(
        self,
        ref: str,
        resource: Json | None,
        *,
        at: datetime,
        method: str,
        opaque: bool = False,
        shown_at: datetime | None = None,
        shown_after: int | None = None,
        hidden_history: bool = False,
    ) -> Version:
        """Add a version on top of the resource's chain."""
        kind, _, identity = ref.partition("/")
        chain = self.chains.setdefault(ref, [])
        self.orders += 1
        number = len(chain) + 1
        label = (
            str(uuid.uuid5(uuid.NAMESPACE_URL, f"{ref}/{number}/{self.orders}")) if opaque else str(number)
        )
        version = Version(
            type=kind,
            id=identity,
            number=number,
            label=label,
            at=at,
            method="POST" if number == 1 else method,  # HAPI shows a first PUT as POST, too
            resource=resource,
            order=self.orders,
            shown_at=shown_at,
            shown_after=shown_after,
            hidden_history=hidden_history,
        )
        chain.append(version)
        if self._journal is not None:
            self._journal.append(ref)
        self._index(version)
        return version

    def replace_newest(self, version: Version) -> None:
        """Put another content in place of the newest version, as a job in the database does."""
        self.chains[version.ref][-1] = version
        self._index(version)

    def _index(self, version: Version) -> None:
        self.by_type.setdefault(version.type, {})[version.ref] = None
        if version.resource is None:
            return
        for name in names_of(version.resource):
            self.pointing.setdefault(name, {})[version.ref] = None
        for key in identifier_keys(version.resource):
            self.identified.setdefault(key, {})[version.ref] = None

    def draw_id(self) -> str:
        """An id for a resource that comes without one."""
        self.next_id += 1
        return str(self.next_id)

    def referrers(self, ref: str) -> list[str]:
        """The living resources whose newest version points to ``ref``."""
        return [name for name in self.pointing.get(ref, ()) if name != ref and self._points(name, ref)]

    def _points(self, name: str, ref: str) -> bool:
        version = self.newest(name)
        return version is not None and version.resource is not None and ref in names_of(version.resource)

    @contextmanager
    def atomic(self) -> Iterator[None]:
        """All versions appended inside stay, or none where an exception leaves it."""
        self._journal = []
        try:
            yield
        except BaseException:
            for ref in reversed(self._journal):
                self._undo(ref)
            raise
        finally:
            self._journal = None

    def _undo(self, ref: str) -> None:
        self.chains[ref].pop()
        if not self.chains[ref]:
            del self.chains[ref]
            self.by_type[ref.partition("/")[0]].pop(ref, None)

    def state(self) -> State:
        """A backup of all versions. They never change, so that only the lists are copied."""
        return State({ref: tuple(chain) for ref, chain in self.chains.items()}, self.next_id)

    def restore(self, state: State) -> None:
        """Go back to a backup: later ids are gone, and version numbers and drawn ids are used again."""
        self.chains = {ref: list(chain) for ref, chain in state.chains.items()}
        self.next_id = state.next_id
        self.by_type = {}
        for ref in self.chains:
            self.by_type.setdefault(ref.partition("/")[0], {})[ref] = None


def content(resource: Json | None) -> dict[str, Any] | None:
    """A resource without what a server writes into ``meta``: what decides whether a PUT changes anything."""
    if resource is None:
        return None
    meta = {k: v for k, v in resource.get("meta", {}).items() if k not in SERVER_META}
    rest = {k: v for k, v in resource.items() if k != "meta"}
    return {**rest, "meta": meta} if meta else rest


SERVER_META = frozenset({"versionId", "lastUpdated", "source"})

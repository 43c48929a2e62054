"""What a person, another application or a job in the database does in the EHR: a test's hands on the
store.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable
from copy import deepcopy
from dataclasses import replace
from datetime import datetime
from typing import Any

from adapter.sandbox import writing
from adapter.sandbox.core import Core
from adapter.sandbox.elements import Json, to_the_millisecond, with_references
from adapter.sandbox.store import State, Version


class Chart:
    """Direct actions on the store. Every one is safe to call while the server answers.

    A resource's ``ref`` is "Type/id". What is returned is a copy, with ``meta.versionId`` and
    ``lastUpdated``. Nothing here checks references or versions: a database does not ask.
    """

    def __init__(self, core: Core) -> None:
        self.core = core
        self.lock = threading.RLock()
        self._pending: list[writing.Pending] = []

    # --- looking

    def get(self, ref: str) -> dict[str, Any] | None:
        """The newest version, or None where there is none or it was deleted."""
        with self.lock:
            self.settle()
            version = self.core.store.newest(ref)
            return self._copy(version) if version is not None and version.resource is not None else None

    def versions(self, ref: str) -> list[Version]:
        """All versions of a resource, oldest first."""
        with self.lock:
            self.settle()
            return list(self.core.store.chains.get(ref, ()))

    def all(self, kind: str) -> list[dict[str, Any]]:
        """The newest version of every living resource of a type, in the order of their creation."""
        with self.lock:
            self.settle()
            found = [self.core.store.newest(ref) for ref in self.core.store.by_type.get(kind, {})]
            return [self._copy(version) for version in found if version is not None and version.resource]

    def count(self, kind: str = "") -> dict[str, int]:
        """How many living resources there are of each type, or of one type only."""
        with self.lock:
            self.settle()
            kinds = [kind] if kind else list(self.core.store.by_type)
            alive = Counter({name: 0 for name in kinds})
            for name in kinds:
                alive[name] = sum(self.core.store.alive(ref) for ref in self.core.store.by_type.get(name, {}))
            return dict(alive)

    def _copy(self, version: Version) -> dict[str, Any]:
        resource = deepcopy(dict(version.resource or {}))
        meta = {"versionId": version.label, "lastUpdated": version.at.isoformat(timespec="milliseconds")}
        return {**resource, "meta": {**meta, **resource.get("meta", {})}}

    # --- acting

    def put(self, resource: Json, *, at: datetime | None = None, silently: bool = False) -> dict[str, Any]:
        """Store a resource as a new version.

        ``at`` is its lastUpdated where it is not now; ``silently`` changes the newest version in place,
        without a new versionId or lastUpdated. Under the habits ``late_commit`` and ``late_commit_requests``
        the version is stamped now and seen by nobody until it commits.
        """
        with self.lock:
            self.settle()
            return self._put(resource, at=at, silently=silently)

    def _put(self, resource: Json, *, at: datetime | None = None, silently: bool = False) -> dict[str, Any]:
        kept = _without_server_meta(resource)
        ref = f"{kept['resourceType']}/{kept.get('id') or self.core.store.draw_id()}"
        kept["id"] = ref.partition("/")[2]
        newest = self.core.store.newest(ref)
        if silently and newest is not None:
            self.core.store.replace_newest(replace(newest, resource=kept))
            return self._copy(replace(newest, resource=kept))
        stamped = to_the_millisecond(at) if at else self.core.stamp()
        if self._late():
            return self._open(ref, kept, stamped)
        return self._copy(self._append(ref, kept, stamped))

    def _append(self, ref: str, kept: Json | None, stamped: datetime) -> Version:
        habits = self.core.habits
        shown_at, shown_after, hidden = self.core.visibility()
        return self.core.store.append(
            ref,
            kept,
            at=stamped,
            method="PUT" if kept is not None else "DELETE",
            opaque=habits.opaque_versions,
            shown_at=shown_at,
            shown_after=shown_after,
            hidden_history=hidden,
        )

    def _late(self) -> bool:
        return bool(self.core.habits.late_commit or self.core.habits.late_commit_requests)

    def _open(self, ref: str, kept: dict[str, Any], stamped: datetime) -> dict[str, Any]:
        habits, due = self.core.habits, self.core.visibility()
        self._pending.append(
            writing.Pending(
                kept,
                ref,
                stamped,
                due[0] if habits.late_commit else None,
                due[1] if habits.late_commit_requests else None,
            )
        )
        return deepcopy(kept)

    def settle(self, *, all_of_them: bool = False) -> None:
        """Let late commits that are due become visible, or every one."""
        with self.lock:
            now, served = self.core.now(), self.core.served
            for pending in [p for p in self._pending if all_of_them or p.due(now, served)]:
                self._pending.remove(pending)
                writing.commit(self.core, pending)

    def edit(self, ref: str, *, silently: bool = False, **changes: Any) -> dict[str, Any]:
        """Store the newest version with some elements changed; None removes an element.

        ``for_`` stands for the element ``for``, ``class_`` for ``class``.

        Raises:
            KeyError: where there is no such resource.
        """
        with self.lock:
            self.settle()
            return self._put(_changed(self._newest(ref), changes), silently=silently)

    def save_stale(self, ref: str, label: str, **changes: Any) -> dict[str, Any]:
        """Save an old version with some elements changed, as a form does that was opened long ago.

        Raises:
            KeyError: where there is no such version.
        """
        with self.lock:
            version = self.core.store.version(ref, label)
            if version is None or version.resource is None:
                raise KeyError(f"{ref}/_history/{label}")
            return self._put(_changed(version.resource, changes))

    def delete(self, ref: str) -> None:
        """Delete a resource.

        Raises:
            KeyError: where there is no such resource.
        """
        with self.lock:
            self.settle()
            self._newest(ref)
            self._append(ref, None, self.core.stamp())

    def duplicate(self, ref: str) -> dict[str, Any]:
        """Copy a resource with all its identifiers to a new id, as the EHR's "Duplicate" button does.

        Raises:
            KeyError: where there is no such resource.
        """
        with self.lock:
            self.settle()
            return self._put({**self._newest(ref), "id": self.core.store.draw_id()})

    def merge(
        self, loser: str, survivor: str, *, repoint: Iterable[str] = (), silently: bool = False
    ) -> None:
        """Merge one Patient into another by ``link``; ``repoint`` names types whose references move over.

        ``silently`` moves them without a new version and lastUpdated. Both are "Patient/id".
        """
        with self.lock:
            self.settle()
            link = [{"other": {"reference": survivor}, "type": "replaced-by"}]
            self._put({**self._newest(loser), "active": False, "link": link})
            back = [{"other": {"reference": loser}, "type": "replaces"}]
            self._put({**self._newest(survivor), "link": back})
            for kind in repoint:
                self._repoint(kind, loser, survivor, silently)

    def _repoint(self, kind: str, loser: str, survivor: str, silently: bool) -> None:
        for ref in self.core.store.referrers(loser):
            if ref.startswith(kind + "/"):
                moved = with_references(self._newest(ref), {loser: survivor})
                self._put(moved, silently=silently)

    def touch_all(self, kind: str = "") -> int:
        """Give every living resource (of a type) a new version with the same values; how many there were."""
        with self.lock:
            self.settle()
            kinds = [kind] if kind else list(self.core.store.by_type)
            refs = [ref for name in kinds for ref in list(self.core.store.by_type.get(name, {}))]
            alive = [ref for ref in refs if self.core.store.alive(ref)]
            for ref in alive:
                self._put(self._newest(ref))
            return len(alive)

    def load(self, resources: Iterable[Json], *, at: datetime | None = None) -> int:
        """Store many resources in order, with ``at`` as their lastUpdated if given; how many there were."""
        with self.lock:
            self.settle()
            return len([self._put(resource, at=at) for resource in resources])

    def _newest(self, ref: str) -> dict[str, Any]:
        version = self.core.store.newest(ref)
        if version is None or version.resource is None:
            raise KeyError(ref)
        return dict(version.resource)

    # --- backups

    def snapshot(self) -> State:
        """A backup of all that is stored."""
        with self.lock:
            self.settle()
            return self.core.store.state()

    def restore(self, state: State) -> None:
        """Put the server back to a backup: later ids are gone, versions fall back, and numbers are used
        again.
        """
        with self.lock:
            self._pending.clear()
            self.core.store.restore(state)


def _without_server_meta(resource: Json) -> dict[str, Any]:
    kept = deepcopy(dict(resource))
    meta = {k: v for k, v in kept.pop("meta", {}).items() if k not in ("versionId", "lastUpdated")}
    return {**kept, "meta": meta} if meta else kept


def _changed(resource: Json, changes: dict[str, Any]) -> dict[str, Any]:
    changed = dict(resource)
    for name, value in changes.items():
        changed.pop(name.rstrip("_"), None)
        if value is not None:
            changed[name.rstrip("_")] = value
    return changed

"""Create, update and delete, with If-Match and If-None-Exist, as HAPI and Helios do them.

These functions change the store and answer with versions; they know nothing of HTTP beyond the status that a
:class:`~adapter.sandbox.refusal.Refusal` bears.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from adapter.sandbox import matching, validating
from adapter.sandbox.core import Core
from adapter.sandbox.elements import Json, local_name, reference_texts, values_at, with_references
from adapter.sandbox.parameters import TYPES
from adapter.sandbox.refusal import Refusal
from adapter.sandbox.store import Version, content

_ID = re.compile(r"^[A-Za-z0-9\-.]{1,64}$")
_ETAG = re.compile(r'^(?:W/)?"?([A-Za-z0-9\-.]+)"?$')


@dataclass(frozen=True, slots=True)
class Written:
    """What a write did: the version that now stands, and whether it is new or the resource is."""

    version: Version
    created: bool = False
    changed: bool = True

    @property
    def status(self) -> int:
        """201 where the resource is new, else 200."""
        return 201 if self.created else 200


def allow(core: Core, kind: str, interaction: str) -> None:
    """Refuse a type or an interaction that this server does not have.

    Raises:
        Refusal: 404 for the type, 405 for the interaction.
    """
    if kind not in TYPES or kind in core.habits.absent:
        raise Refusal(404, f"HAPI-0302: Unknown resource type '{kind}'", code="not-supported")
    if (kind, interaction) in core.habits.forbidden:
        raise Refusal(405, f"This server does not support {interaction} on {kind}", code="not-supported")


def create(core: Core, resource: Json, *, if_none_exist: str = "", identity: str = "") -> Written:
    """Store a new resource under an id of the server's, unless ``if_none_exist`` finds one.

    Raises:
        Refusal: 412 where the condition finds several, 400 for a reference to nothing.
    """
    kind = str(resource.get("resourceType"))
    allow(core, kind, "create")
    if if_none_exist and core.habits.conditional_create:
        found = existing(core, kind, if_none_exist)
        if found is not None:
            return Written(found, changed=False)
    ref = f"{kind}/{identity or core.store.draw_id()}"
    return Written(_store(core, ref, accepted(core, resource, ref), method="POST"), created=True)


def existing(core: Core, kind: str, condition: str) -> Version | None:
    """The one resource that a condition ("identifier=system|value") finds, looking at fresh data.

    Raises:
        Refusal: 412 where it finds several.
    """
    pairs = matching.pairs_of(condition)
    found = matching.find(core, kind, pairs, fresh=not core.habits.conditional_create_lags).versions
    if len(found) > 1:
        raise Refusal(
            412, f"HAPI-2207: The condition matched {len(found)} resources", code="multiple-matches"
        )
    return found[0] if found else None


def update(core: Core, kind: str, identity: str, resource: Json, *, if_match: str = "") -> Written:
    """Store a new version, or create the resource under the client's id.

    Raises:
        Refusal: 409 or 412 where If-Match is stale, 400 for a wrong id or a reference to nothing, 405 where
        the server creates nothing by PUT.
    """
    ref = f"{kind}/{identity}"
    _check_id(resource, identity)
    before = core.store.newest(ref)
    if if_match:
        _check_version(core, before, if_match)
    allow(core, kind, "create" if before is None else "update")
    if before is None and not core.habits.update_as_create:
        raise Refusal(
            405, "No resource of that id, and this server creates none by PUT", code="not-supported"
        )
    accept = accepted(core, resource, ref, before)
    if before is not None and before.resource is not None and _unchanged(core, before, accept):
        return Written(before, changed=False)
    created = before is None or before.resource is None
    return Written(_store(core, ref, accept, method="PUT"), created=created)


def _check_id(resource: Json, identity: str) -> None:
    if not _ID.match(identity):
        raise Refusal(400, "HAPI-0521: Invalid id", code="value")
    if "id" not in resource:
        raise Refusal(400, "HAPI-0419: The body has no id", code="invalid")
    if resource["id"] != identity:
        raise Refusal(400, "HAPI-0420: The id in the body differs from the one in the URL", code="invalid")


def _check_version(core: Core, before: Version | None, if_match: str) -> None:
    wanted = label_of(if_match)
    if before is None:
        if core.habits.if_match_on_missing == "refuse":
            raise stale(core)
        return
    if wanted != before.label or (before.resource is None and core.habits.if_match_on_missing == "refuse"):
        raise stale(core)


def label_of(if_match: str) -> str:
    """The version that an If-Match names: W/"2", "2" and 2 are the same.

    Raises:
        Refusal: 500 for "*" and lists, as HAPI answers them (HAPI-2223).
    """
    found = _ETAG.match(if_match.strip())
    if not found:
        raise Refusal(500, "HAPI-2223: Invalid ETag value", code="exception")
    return found[1]


def stale(core: Core) -> Refusal:
    """The refusal of a write that stands on an old version."""
    text = "HAPI-0989: Trying to update a resource with an If-Match that is not the current version"
    return Refusal(core.habits.stale_status, text, code="conflict")


def _unchanged(core: Core, before: Version, after: Json) -> bool:
    return not core.habits.identical_put_makes_version and content(before.resource) == content(after)


def delete(core: Core, kind: str, identity: str, *, if_match: str = "") -> Version | None:
    """Delete a resource; None where it is not there (any more).

    Raises:
        Refusal: 404 where it is not there and the habit says so, 409 where another resource names it.
    """
    allow(core, kind, "delete")
    ref = f"{kind}/{identity}"
    before = core.store.newest(ref)
    if before is None or before.resource is None:
        if core.habits.delete_missing_status == 404:
            raise Refusal(404, f"HAPI-2001: Resource {ref} is not known", code="not-found")
        return None
    if if_match and label_of(if_match) != before.label:
        raise stale(core)
    if core.habits.enforce_references_on_delete and (users := core.store.referrers(ref)):
        text = f"HAPI-0550: Unable to delete {ref} because {users[0]} refers to it"
        raise Refusal(409, text, code="conflict")
    return _store(core, ref, None, method="DELETE")


def _store(core: Core, ref: str, resource: Json | None, *, method: str) -> Version:
    shown_at, shown_after, hidden = core.visibility()
    version = core.store.append(
        ref,
        resource,
        at=core.stamp(),
        method=method,
        opaque=core.habits.opaque_versions,
        shown_at=shown_at,
        shown_after=shown_after,
        hidden_history=hidden,
    )
    return _routed(core, version)


def _routed(core: Core, version: Version) -> Version:
    """The server's own next step: a Task that was stored as requested is received by somebody's inbox."""
    resource, status = version.resource, core.habits.routed_status
    if not status or resource is None or version.type != "Task" or resource.get("status") != "requested":
        return version
    core.store.append(version.ref, {**resource, "status": status}, at=core.stamp(), method="PUT")
    return version


def accepted(core: Core, resource: Json, ref: str, before: Version | None = None) -> dict[str, Any]:
    """What the server keeps of a resource: its own meta out, references in its form, tags by its habit.

    Raises:
        Refusal: 400 for a reference that cannot be resolved, 422 where writes are validated and it is not
        valid.
    """
    if core.habits.validate_writes:
        validating.refuse_invalid(resource)
    kept = {**with_references(resource, _in_our_form(core, resource)), "id": ref.partition("/")[2]}
    if core.habits.enforce_references and not core.deferred_references:
        check_references(core, kept)
    old = before.resource if before is not None else None
    kept = _lossy(core, _with_meta(core, kept, old), old)
    return {name: part for name, part in kept.items() if part not in ({}, [], "")}  # HAPI drops what is empty


def _in_our_form(core: Core, resource: Json) -> dict[str, str]:
    change: dict[str, str] = {}
    for text in reference_texts(resource):
        plain = text
        if core.habits.relative_own_references:
            plain = plain.removeprefix(core.base_url + "/")
        if core.habits.cut_versioned_references and local_name(plain):
            plain = local_name(plain)
        if plain != text:
            change[text] = plain
    return change


def check_references(core: Core, resource: Json, own: Iterable[str] = ()) -> None:
    """Refuse references to nothing. ``own`` are names that the same transaction brings.

    Raises:
        Refusal: 400 HAPI-1094 for an id that is not there, HAPI-0505 for a text that names no type.
    """
    brought = frozenset(own)
    for text in reference_texts(resource):
        name = local_name(text)
        if name and name not in brought and not core.store.alive(name):
            raise Refusal(400, f"HAPI-1094: Resource {name} not found", code="processing")
        if not name and not text.startswith(("#", "http:", "https:")) and "?" not in text:
            raise Refusal(400, "HAPI-0505: A reference names no resource type", code="processing")


def _with_meta(core: Core, resource: dict[str, Any], old: Json | None) -> dict[str, Any]:
    meta = {k: v for k, v in resource.get("meta", {}).items() if k not in ("versionId", "lastUpdated")}
    if core.habits.tags == "merged" and old is not None:
        for name in ("profile", "security", "tag"):
            merged = _merged(values_at(old, f"meta.{name}"), meta.get(name) or [])
            if merged:
                meta[name] = merged
    return {**resource, "meta": meta}


def _merged(stored: list[Any], sent: list[Any]) -> list[Any]:
    return stored + [part for part in sent if not any(_same_label(part, kept) for kept in stored)]


def _same_label(one: Any, other: Any) -> bool:
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return (one.get("system"), one.get("code")) == (other.get("system"), other.get("code"))
    return bool(one == other)


def _lossy(core: Core, resource: dict[str, Any], old: Json | None) -> dict[str, Any]:
    habits, changed = core.habits, dict(resource)
    if habits.truncate_at:
        changed = _truncated(changed, habits.truncate_at)
    if habits.whole_days:
        changed = _in_whole_days(changed)
    if habits.append_notes and old is not None and "note" in old:
        changed["note"] = [*old["note"], *changed.get("note", ())]
    return changed


def _truncated(resource: dict[str, Any], at: int) -> dict[str, Any]:
    cut = {n: resource[n][:at] for n in ("description", "title") if isinstance(resource.get(n), str)}
    code = resource.get("code")
    if isinstance(code, Mapping) and "text" in code:
        cut["code"] = {**code, "text": code["text"][:at]}
    return {**resource, **cut}


def _in_whole_days(resource: dict[str, Any]) -> dict[str, Any]:
    if isinstance(resource.get("restriction"), Mapping):
        return {**resource, "restriction": _in_whole_days(resource["restriction"])}
    if not isinstance(resource.get("period"), Mapping):
        return resource
    return {**resource, "period": {name: text[:10] for name, text in resource["period"].items()}}


@dataclass(frozen=True, slots=True)
class Pending:
    """A person's write in a transaction that is still open: stamped, and seen by nobody until it commits."""

    resource: Json
    ref: str
    stamped: datetime
    due_at: datetime | None
    due_after: int | None

    def due(self, now: datetime, served: int) -> bool:
        """Whether it has committed."""
        return (self.due_at is None or now >= self.due_at) and (
            self.due_after is None or served > self.due_after
        )


def commit(core: Core, pending: Pending) -> Version:
    """Let an open write become the newest version, with the older time that it was stamped with."""
    return core.store.append(
        pending.ref, pending.resource, at=pending.stamped, method="PUT", opaque=core.habits.opaque_versions
    )

"""Searches, histories and their pages: an opaque link, a list of ids fixed at the search, contents of the
moment.

As on HAPI a page is no snapshot: its rows show their newest version, a row that was deleted is missing, and
one that has left the filter is still there.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from adapter.sandbox import matching
from adapter.sandbox.core import Core
from adapter.sandbox.elements import instant_text, span
from adapter.sandbox.messages import Incoming
from adapter.sandbox.refusal import Refusal, outcome
from adapter.sandbox.store import Version

DEFAULT_COUNT = 20
MAX_COUNT = 200
_DRESS = frozenset({"_format", "_pretty", "_elements", "_total"})

Pairs = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Kept:
    """A search or history whose list is fixed: references, or versions for a history."""

    id: str
    kind: str
    rows: Sequence[str | Version]
    count: int
    created: datetime
    self_link: str
    elements: frozenset[str] = frozenset()
    ignored: tuple[str, ...] = ()
    total: bool = False


@dataclass(slots=True)
class Pages:
    """The searches that the server remembers, by their id and by what was asked."""

    kept: dict[str, Kept] = field(default_factory=dict)
    cached: dict[str, Kept] = field(default_factory=dict)

    def forget(self) -> None:
        """Let every paging link expire at once, as a restart does."""
        self.kept.clear()
        self.cached.clear()


@dataclass(frozen=True, slots=True)
class Searched:
    """A Bundle, and whether its list came from the cache."""

    bundle: dict[str, Any]
    hit: bool = False


def search(core: Core, pages: Pages, incoming: Incoming, kind: str) -> Searched:
    """Answer a type search with its first page.

    Raises:
        Refusal: 400 for what cannot be understood, 403 to 404 by habit.
    """
    pairs = [pair for pair in incoming.parameters if pair[0] != "_offset"]
    offset = dict(incoming.parameters).get("_offset", "0")
    _require(core, kind, pairs)
    asked = dict(pairs)
    if asked.get("_summary") == "count" or asked.get("_count") == "0":
        return Searched(_counted(core, kind, pairs))
    hit = _remembered(core, pages, incoming, kind)
    kept = hit or _searched(core, kind, pairs)
    if len(kept.rows) > kept.count:  # else no link leads back to it
        pages.kept[kept.id] = kept
    if hit is None and core.habits.search_cache and "no-cache" not in incoming.header("cache-control"):
        pages.cached[_key(kind, pairs)] = kept
    return Searched(page(core, kept, int(offset) if offset.isdigit() else 0), hit=hit is not None)


def _require(core: Core, kind: str, pairs: Pairs) -> None:
    needed = core.habits.require_one_of.get(kind)
    if needed and not needed & {name.partition(":")[0] for name, _ in pairs}:
        raise Refusal(400, f"A search needs one of: {', '.join(sorted(needed))}", code="required")


def _key(kind: str, pairs: Pairs) -> str:
    return f"{kind}?{urlencode(sorted(pair for pair in pairs if pair[0] not in _DRESS))}"


def _remembered(core: Core, pages: Pages, incoming: Incoming, kind: str) -> Kept | None:
    """The list of an equal search within the cache's time; ``no-cache`` and ``no-store`` pass it by
    (HAPI).
    """
    if not core.habits.search_cache or "no-" in incoming.header("cache-control"):
        return None
    kept = pages.cached.get(_key(kind, incoming.parameters))
    return kept if kept is not None and core.now() - kept.created < core.habits.search_cache else None


def _searched(core: Core, kind: str, pairs: Pairs) -> Kept:
    asked = dict(pairs)
    found = matching.find(core, kind, pairs)
    hidden = bool({kind, "*"} & core.habits.empty_search)
    shown = [pair for pair in pairs if pair[0].partition(":")[0] not in found.ignored]
    return Kept(
        id=str(uuid.uuid4()),
        kind="searchset",
        rows=[] if hidden else [version.ref for version in found.versions],
        count=_count(asked.get("_count", "")),
        created=core.now(),
        self_link=f"{core.links()}/{kind}?{urlencode(shown)}",
        elements=frozenset(filter(None, asked.get("_elements", "").split(","))),
        ignored=tuple(found.ignored),
        total=asked.get("_total") in ("accurate", "estimate"),
    )


def _counted(core: Core, kind: str, pairs: Pairs) -> dict[str, Any]:
    kept = _searched(core, kind, [pair for pair in pairs if pair[0] != "_count"])
    return _bundle(core, "searchset", [], [_link("self", kept.self_link)], total=len(kept.rows))


def _count(text: str) -> int:
    if text and not text.isdigit():
        raise Refusal(400, "HAPI-0450: Invalid _count", code="invalid")
    return min(int(text or DEFAULT_COUNT), MAX_COUNT)


# --- pages --------------------------------------------------------------------------------------------------


def follow(core: Core, pages: Pages, pairs: Pairs) -> dict[str, Any]:
    """Answer a paging link.

    Raises:
        Refusal: 410 where it is unknown or too old, 400 where it was tampered with.
    """
    asked = dict(pairs)
    kept = pages.kept.get(asked.get("_getpages", ""))
    if kept is None or core.now() - kept.created > core.habits.page_life:
        raise expired(asked.get("_getpages", ""))
    offset = asked.get("_getpagesoffset", "0")
    if not offset.isdigit():
        raise Refusal(400, "HAPI-0420: Invalid _getpagesoffset", code="invalid")
    return page(core, kept, 0 if core.habits.next_loops else int(offset))


def expired(identity: str) -> Refusal:
    """The refusal of a paging link whose search is gone."""
    return Refusal(
        410, f"HAPI-0427: Search ID[{identity}] does not exist and may have expired.", code="deleted"
    )


def page(core: Core, kept: Kept, offset: int) -> dict[str, Any]:
    """One page of a kept list, with the newest contents of its rows."""
    habits, end = core.habits, offset + kept.count
    first = offset - 1 if habits.repeat_entries and offset else offset
    entries = [entry for row in kept.rows[first:end] if (entry := _entry(core, kept, row)) is not None]
    if habits.reorder_entries:
        entries.reverse()
    links = [_link("self", kept.self_link)]
    if end < len(kept.rows):
        links.append(_link("next", _next(core, kept, end)))
    whole = not offset and end >= len(kept.rows) and kept.kind == "searchset"
    notes = [] if kept.kind == "history" else _notes(core, kept)
    return _bundle(core, kept.kind, entries + notes, links, len(kept.rows) if kept.total or whole else None)


def _entry(core: Core, kept: Kept, row: str | Version) -> dict[str, Any] | None:
    if isinstance(row, Version):
        return _history_entry(core, row)
    version = core.store.indexed(row, core.now(), core.served)
    if version is None:
        return None
    resource = core.represent(version, kept.elements)
    return {"fullUrl": f"{core.links()}/{row}", "resource": resource, "search": {"mode": "match"}}


def _next(core: Core, kept: Kept, offset: int) -> str:
    if core.habits.offset_links and kept.kind == "searchset":
        return f"{kept.self_link}&_offset={offset}"
    place = {"_getpages": kept.id, "_getpagesoffset": offset, "_count": kept.count, "_bundletype": kept.kind}
    return f"{core.links()}?{urlencode(place)}"


def _link(relation: str, url: str) -> dict[str, str]:
    return {"relation": relation, "url": url}


def _notes(core: Core, kept: Kept) -> list[dict[str, Any]]:
    """Warnings inside the 200: entries without id and fullUrl, as Helios writes them."""
    texts: list[tuple[str, str]] = []
    if core.habits.unknown_parameter == "warn":
        texts += [
            ("not-supported", f"Unknown search parameter '{name}' was ignored") for name in kept.ignored
        ]
    if core.habits.search_warning:
        texts.append(("incomplete", core.habits.search_warning))
    return [note(code, text) for code, text in texts]


def note(code: str, text: str) -> dict[str, Any]:
    """A warning as an entry of a searchset."""
    return {"resource": outcome("warning", code, text), "search": {"mode": "outcome"}}


def _bundle(
    core: Core,
    kind: str,
    entries: list[dict[str, Any]],
    links: list[dict[str, str]],
    total: int | None = None,
) -> dict[str, Any]:
    bundle: dict[str, Any] = {
        "resourceType": "Bundle",
        "id": str(uuid.uuid4()),
        "meta": {"lastUpdated": instant_text(core.now())},
        "type": kind,
    }
    if total is not None:
        bundle["total"] = total
    bundle["link"] = links
    if entries:
        bundle["entry"] = entries
    return bundle


# --- history ------------------------------------------------------------------------------------------------


def history(core: Core, pages: Pages, incoming: Incoming, kind: str, identity: str = "") -> dict[str, Any]:
    """The first page of a type's or a resource's history, newest ``lastUpdated`` first.

    Raises:
        Refusal: 400 for a _since without seconds or an unknown parameter, 404 for an id that never was.
    """
    if not core.habits.history:
        raise Refusal(404, "This server has no history", code="not-supported")
    asked = dict(incoming.parameters)
    if unknown := set(asked) - {"_since", "_count", "_format", "_pretty", "_sort"}:
        raise Refusal(400, f"HAPI-0524: Unknown parameter '{sorted(unknown)[0]}'", code="invalid")
    versions = _versions(core, kind, identity)
    since = _instant(asked["_since"]) if "_since" in asked else None
    rows = [v for v in versions if (since is None or v.at >= since) and _in_history(core, v)]
    rows.sort(key=lambda v: (v.at, v.order), reverse=True)
    kept = Kept(
        id=str(uuid.uuid4()),
        kind="history",
        rows=rows,
        count=_count(asked.get("_count", "")),
        created=core.now(),
        self_link=f"{core.links()}/{incoming.path}?{urlencode(asked)}",
    )
    if len(kept.rows) > kept.count:  # else no link leads back to it
        pages.kept[kept.id] = kept
    return page(core, kept, 0)


def _versions(core: Core, kind: str, identity: str) -> list[Version]:
    if identity:
        chain = core.store.chains.get(f"{kind}/{identity}")
        if not chain:
            raise Refusal(404, f"HAPI-2001: Resource {kind}/{identity} is not known", code="not-found")
        return list(chain)
    return [version for ref in core.store.by_type.get(kind, {}) for version in core.store.chains[ref]]


def _in_history(core: Core, version: Version) -> bool:
    return not version.hidden_history or version.shown(core.now(), core.served)


def _instant(text: str) -> datetime:
    found = span(text)
    if found is None or text.count(":") < 2:
        raise Refusal(400, "HAPI-1885: _since needs an instant with seconds", code="invalid")
    return found[0]


def _history_entry(core: Core, version: Version) -> dict[str, Any]:
    """A version as an entry; a deletion has no resource and so no time at all (HAPI)."""
    created = version.method == "POST"
    status = "201 Created" if created else "204 No Content" if version.resource is None else "200 OK"
    entry: dict[str, Any] = {"fullUrl": f"{core.links()}/{version.ref}"}
    if version.resource is not None:
        entry["resource"] = core.represent(version)
    entry["request"] = {"method": version.method, "url": f"{version.ref}/_history/{version.label}"}
    entry["response"] = {"status": status, "etag": f'W/"{version.label}"'}
    return entry


def without_next(bundle: Mapping[str, Any]) -> dict[str, Any]:
    """The same page as if it were the last."""
    return {**bundle, "link": [link for link in bundle.get("link", ()) if link["relation"] != "next"]}

"""An update of a Task: the JSON just read, with Baton's own paths replaced and nothing else changed: pure.

What stands there and says the same keeps its bytes. Entries of shared lists are Baton's by their systems; an
element that a person owns by now is never written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import tzinfo
from typing import Any

from adapter.model import Json, Task
from adapter.references import Bases
from adapter.writeback import codes
from adapter.writeback.bookkeeping import CLOSERS
from adapter.writeback.context import RenderContext
from adapter.writeback.normalise import same
from adapter.writeback.owners import Owner, owner_of, parse_time


def merged(own: Json, task: Task, ctx: RenderContext, base: Json) -> dict[str, Any]:
    """``base`` with the paths of ``own`` put in, as far as they are Baton's at this moment."""
    result = dict(base)
    for name in _WHOLE:
        if name not in ctx.keep:
            put_same(result, name, own.get(name), ctx.bases)
    for name, is_own in _SHARED.items():
        if name not in ctx.keep:
            _replace_entries(result, name, own.get(name, []), is_own, ctx)
    _merge_status(result, own, task)
    if not task.status.closed or task.closed_by in CLOSERS:  # what she closed needs no reason of ours
        _merge_status_reason(result, own, ctx)
    _merge_owner(result, own, task, ctx)
    _merge_period(result, own, task, ctx)
    result["meta"] = merged_meta(base.get("meta"), own["meta"])
    _set(result, "lastModified", own["lastModified"])
    return result


_WHOLE = (
    "text",
    "groupIdentifier",
    "priority",
    "code",
    "description",
    "focus",
    "for",
    "authoredOn",
    "requester",
    "reasonCode",
)


def _ours_by_type(entry: Any, ctx: RenderContext) -> bool:
    return isinstance(entry, Mapping) and bool(codes.code_in(entry.get("type"), codes.INPUTS))


def _our_identifier(entry: Any, ctx: RenderContext) -> bool:
    own = (codes.task_system(ctx.namespace), codes.need_system(ctx.namespace))
    return isinstance(entry, Mapping) and entry.get("system") in own


def _our_role(entry: Any, ctx: RenderContext) -> bool:
    return bool(codes.code_in(entry, codes.ROLES))


def _never(entry: Any, ctx: RenderContext) -> bool:
    return False


_SHARED: Mapping[str, Callable[[Any, RenderContext], bool]] = {
    "identifier": _our_identifier,
    "performerType": _our_role,
    "input": _ours_by_type,
    "output": _ours_by_type,
    "basedOn": _never,  # ours is added; what else stands there is somebody's
}


def put_same(result: dict[str, Any], name: str, value: Any, bases: Bases) -> None:
    """Put Baton's value, unless what stands there says the same: then its bytes stay."""
    if value is None:
        result.pop(name, None)
    elif name not in result or not same(value, result[name], bases):
        _set(result, name, value)


def _set(result: dict[str, Any], name: str, value: Any) -> None:
    result[name] = value
    result.pop(f"_{name}", None)  # an extension about a value that has gone


def _replace_entries(
    result: dict[str, Any],
    name: str,
    own: list[Any],
    is_own: Callable[[Any, RenderContext], bool],
    ctx: RenderContext,
) -> None:
    """Bring a shared list's entries that are Baton's to ``own``; others, and equal ones, stay as they are."""
    held = result.get(name)
    entries: list[Any] = list(held) if isinstance(held, list) else []
    missing = [entry for entry in own if not any(same(entry, one, ctx.bases) for one in entries)]
    kept = [
        entry
        for entry in entries
        if not is_own(entry, ctx) or any(same(entry, one, ctx.bases) for one in own)
    ]
    if missing or len(kept) != len(entries):
        result[name] = kept + missing
    if not result.get(name, True):
        result.pop(name)


def _merge_status(result: dict[str, Any], own: Json, task: Task) -> None:
    """The row has taken the base's status in: where they differ, Baton has decided."""
    if result.get("status") != own["status"]:
        _set(result, "status", own["status"])
    result.setdefault("intent", own["intent"])  # immutable: never patched


def _merge_status_reason(result: dict[str, Any], own: Json, ctx: RenderContext) -> None:
    """Baton's reason, unless a person gave one: hers stays, and the mark stands in ``output`` alone (F25)."""
    held = result.get("statusReason")
    if held is not None and not codes.code_in(held, codes.STATUS_REASON):
        return
    put_same(result, "statusReason", own.get("statusReason"), ctx.bases)


def _merge_owner(result: dict[str, Any], own: Json, task: Task, ctx: RenderContext) -> None:
    if owner_of(task, "owner") is Owner.PERSON or "owner" in ctx.keep or "owner" not in own:
        return
    put_same(result, "owner", own["owner"], ctx.bases)


def _merge_period(result: dict[str, Any], own: Json, task: Task, ctx: RenderContext) -> None:
    held = result.get("restriction")
    restriction = dict(held) if isinstance(held, Mapping) else {}
    before = restriction.get("period")
    period = dict(before) if isinstance(before, Mapping) else {}
    wanted = own.get("restriction", {}).get("period", {})
    if owner_of(task, "due") is Owner.BATON and "due" not in ctx.keep:
        _put_time(period, "end", wanted.get("end"), ctx)
    if "opens" not in ctx.keep:
        _put_time(period, "start", wanted.get("start"), ctx)
    if period != (before or {}):
        restriction["period"] = period
        if not period:
            del restriction["period"]
        result["restriction"] = restriction
    if not result.get("restriction", True):
        del result["restriction"]


def _put_time(period: dict[str, Any], name: str, wanted: str | None, ctx: RenderContext) -> None:
    if wanted is None:
        period.pop(name, None)
    elif not _same_time(wanted, period.get(name), ctx.zone):
        _set(period, name, wanted)


def _same_time(one: str, other: Any, zone: tzinfo) -> bool:
    return isinstance(other, str) and parse_time(one, zone) == parse_time(other, zone)


def merged_meta(held: Any, own: Json) -> dict[str, Any]:
    """Labels and tags are added, never taken away: HAPI merges them anyway, and they may not be lowered."""
    meta = dict(held) if isinstance(held, Mapping) else {}
    for name in ("tag", "security"):
        found = meta.get(name)
        present = list(found) if isinstance(found, list) else []
        have = {(one.get("system"), one.get("code")) for one in present if isinstance(one, Mapping)}
        missing = [one for one in own.get(name, []) if (one.get("system"), one.get("code")) not in have]
        if missing:
            meta[name] = present + missing
    return meta

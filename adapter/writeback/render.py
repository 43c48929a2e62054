"""The ledger's row as a FHIR Task: pure. An update is the JSON just read with Baton's own paths replaced.

Baton's Task is work *about* an order, never "please fulfil" (WORKFLOW 1.2): intent ``order``, a code of
Baton's own. It carries need, generation, rule and what else a row needs, so that a lost ledger can be made
again from it. No profile is claimed: a validating server refuses what it does not know (WORKFLOW 1.1).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, tzinfo
from html import escape
from typing import Any

from adapter.model import Json, Task, TaskStatus, Words
from adapter.references import NO_BASES, Bases
from adapter.writeback import codes
from adapter.writeback.bookkeeping import bookkeeping, bookkeeping_in
from adapter.writeback.context import RenderContext, bare, reference
from adapter.writeback.merge import merged
from adapter.writeback.owners import Owner, owner_of, value_digest, values_of
from adapter.writeback.valid import NotRenderable, check_valid

__all__ = [
    "NotRenderable",
    "RenderContext",
    "day_text",
    "narrative",
    "own_paths",
    "render_task",
    "title_of",
    "written_values",
]

TITLE_LENGTH = 80
EVIDENCE_LIMIT = 20
XHTML = "http://www.w3.org/1999/xhtml"

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ufffe\uffff]+")  # neither JSON for FHIR nor XHTML takes them
_INPUT_TEXTS = {
    "need": "Need",
    "generation": "Generation",
    "rule": "Rule",
    "onset": "Since",
    "renews": "Values that end its silence",
    "source": "Source",
    "ledger": "Bookkeeping",
    "evidence": "Because of",
    "follows": "Follows",
}
_REASONS: Mapping[str, str] = {
    "evidence": "Closed by evidence.",
    "contrary": "Closed: no longer needed.",
    "clock": "Closed: its time is over.",
    "command": "Withdrawn by those who run Baton.",
    "patient": "Closed: the patient's record has changed.",
    "mark:evidence": "Evidence has arrived; this can be closed.",
    "mark:no-longer-needed": "No longer needed; please close it if you agree.",
    "hold": "On hold for now.",
    "hold:in-hospital": "On hold while the patient is in hospital.",
    "hold:order-on-hold": "On hold because the order is on hold.",
    "hold:deceased": "On hold: the patient is recorded as deceased.",
}


def render_task(
    task: Task, words: Words, ctx: RenderContext, base: Json | None = None
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The Task to send, and the paths in it that are Baton's.

    Args:
        task: the row, which has taken ``base`` in.
        words: its texts; where they were lost, the code stands in until the next look.
        ctx: everything else.
        base: the Task as it was just read; None where it does not exist yet.

    Raises:
        NotRenderable: where Baton's own part is no valid R4 Task.
    """
    own = _own(task, words, ctx, bookkeeping_in(base))
    check_valid(own)
    if base is None:
        return own, own_paths(own)
    return merged(own, task, ctx, base), own_paths(own)


def title_of(task: Task, words: Words, zone: tzinfo = UTC) -> str:
    """Imperative, thing and day, in at most 80 signs: no server sorts by due date, so the day stands here."""
    title = clean(words.title) or task.code.replace("-", " ").capitalize()
    tail = f", by {day_text(task.due, zone)}" if task.due else ""
    return shortened(title, TITLE_LENGTH - len(tail)) + tail


def day_text(at: datetime, zone: tzinfo) -> str:
    """A day as people read it: "Fri 5 Dec"."""
    local = at.astimezone(zone)
    return f"{_DAYS[local.weekday()]} {local.day} {_MONTHS[local.month - 1]}"


def shortened(text: str, length: int) -> str:
    """At most ``length`` signs, cut at a word if there is one."""
    if len(text) <= length:
        return text
    cut = text[: length - 1]
    head = cut.rpartition(" ")[0]
    return (head if len(head) > length // 2 else cut).rstrip(" ,;:") + "…"


def clean(text: str) -> str:
    """One line without control signs."""
    return " ".join(_CONTROL.sub(" ", text).split())


def written_values(body: Json, bases: Bases = NO_BASES, zone: tzinfo = UTC) -> dict[str, str]:
    """Digests of the values of the elements that people may own, as they stand in a Task."""
    return {name: value_digest(value) for name, value in values_of(body, bases, zone).items()}


def own_paths(own: Json) -> tuple[str, ...]:
    """The paths that the own part of a Task sets and that are compared; lastModified never is (F71)."""
    paths = [
        name
        for name in own
        if name not in ("resourceType", "id", "meta", "restriction", "lastModified", "input", "output")
    ]
    period = own.get("restriction", {}).get("period", {})
    paths += [f"restriction.period.{name}" for name in period]
    paths += [name for name in ("input", "output") if own.get(name)]
    paths += [f"meta.{name}" for name in ("tag", "security") if own["meta"].get(name)]
    return tuple(paths)


# ---- the own part ----


def _own(task: Task, words: Words, ctx: RenderContext, held: Json) -> dict[str, Any]:
    """The Task as it would be if nobody but Baton had ever written it.

    A closed Task lets go: what it was about is named logically, so that a server that enforces references
    lets the hospital delete its own order (HAPI: 409 while a Task.focus points to it).
    """
    linked = replace(ctx, references="logical", identifiers={}) if task.status.closed else ctx
    authored = task.opened_at or ctx.now
    title = title_of(task, words, ctx.zone)
    said = " ".join(part for part in (clean(words.next), clean(ctx.contact)) if part)
    resource: dict[str, Any] = {
        "resourceType": "Task",
        "id": task.id,
        "meta": _meta(task, ctx),
        "text": narrative(f"<p><b>{text(title)}</b></p>" + _paragraphs(words.reason, said)),
        "identifier": [
            {"system": codes.task_system(ctx.namespace), "value": f"{task.key}-{task.generation}"},
            {"system": codes.need_system(ctx.namespace), "value": task.key},
        ],
        "basedOn": [reference(ref, linked) for ref in task.based_on if bare(ref) != bare(task.focus)],
        "groupIdentifier": _group(ctx),
        "status": task.status.value,
        "statusReason": _status_reason(task),
        "businessStatus": None,
        "intent": "order",
        "priority": task.priority.value,
        "code": {"coding": [{"system": codes.TASK_CODES, "code": task.code}], "text": title},
        "description": said or None,
        "focus": reference(bare(task.focus), linked),
        "for": reference(task.patient, ctx),
        "authoredOn": instant(authored, ctx.zone),
        "lastModified": instant(max(authored, ctx.now), ctx.zone),
        "requester": {
            **({"reference": ctx.device} if ctx.device else {}),
            "display": "Baton (automatic)",
        },
        "performerType": _role(task.performer),
        "owner": reference(owner_wanted(task, ctx), ctx) if owner_wanted(task, ctx) else None,
        "reasonCode": {"text": clean(words.reason)} if clean(words.reason) else None,
        "restriction": _restriction(task, ctx),
        "input": _inputs(task, linked, held),
        "output": _outputs(task, linked),
    }
    return {name: value for name, value in resource.items() if value not in (None, [], {})}


def owner_wanted(task: Task, ctx: RenderContext) -> str:
    """Who is to own the Task: whoever a person named, else who the role is at this source; "" for nobody.

    An unclaimed pool is ``owner:missing``: a logical owner would stand in it for ever (WORKFLOW 1.8).
    """
    if owner_of(task, "owner") is Owner.PERSON:
        return task.owner if re.match(r"^[A-Z][A-Za-z]+/[A-Za-z0-9.\-]{1,128}$", task.owner) else ""
    return ctx.roles.get(task.performer, "")


def _meta(task: Task, ctx: RenderContext) -> dict[str, Any]:
    tags = [dict(codes.OWN_TAG), *(dict(tag) for tag in ctx.tags)]
    if task.group:
        tags.append({"system": codes.GROUP_TAG, "code": clean(task.group)})
    security = [dict(label) for label in ctx.security]
    return {"tag": tags, **({"security": security} if security else {})}


def _group(ctx: RenderContext) -> dict[str, str] | None:
    if not ctx.plan_identifier:
        return None
    return {"system": codes.plan_system(ctx.namespace), "value": ctx.plan_identifier}


def _status_reason(task: Task) -> dict[str, Any] | None:
    """Why it closed, waits or may be closed, in words; nothing where a person decided."""
    if task.status.closed:
        key = task.closed_by
    elif task.mark:
        key = f"mark:{task.mark}"
    elif task.hold and task.status is TaskStatus.ON_HOLD:
        key = f"hold:{task.hold}" if f"hold:{task.hold}" in _REASONS else "hold"
    else:
        return None
    if key not in _REASONS:
        return None
    coding = {"system": codes.STATUS_REASON, "code": key.replace(":", "-")}
    return {"coding": [coding], "text": _REASONS[key]}


def _role(performer: str) -> list[dict[str, Any]]:
    if not performer:
        return []
    return [
        {
            "coding": [{"system": codes.ROLES, "code": performer}],
            "text": performer.replace("-", " ").capitalize(),
        }
    ]


def _restriction(task: Task, ctx: RenderContext) -> dict[str, Any]:
    period = {}
    if task.opens and (task.due is None or task.opens <= task.due):
        period["start"] = instant(task.opens, ctx.zone)
    if task.due:
        day = task.due.astimezone(ctx.zone).date().isoformat()
        period["end"] = day if task.due_is_day else instant(task.due, ctx.zone)
    return {"period": period} if period else {}


def _inputs(task: Task, ctx: RenderContext, held: Json) -> list[dict[str, Any]]:
    refs = dict.fromkeys(bare(ref) for ref in task.opening[:EVIDENCE_LIMIT])
    found = [_part("evidence", "valueReference", reference(ref, ctx)) for ref in refs]
    found += [
        _part("need", "valueString", task.need),
        _part("generation", "valueInteger", task.generation),
        _part("rule", "valueString", f"{task.mapping}/{task.rule}|{task.mapping_version}"),
        _part("source", "valueString", ctx.source_key),
    ]
    if task.onset:
        found.append(_part("onset", "valueDateTime", instant(task.onset, ctx.zone)))
    if task.renews:
        found.append(_part("renews", "valueString", task.renews))
    if task.follows:
        found.append(_part("follows", "valueReference", _former(task, ctx)))
    found.append(_part("ledger", "valueString", bookkeeping(task, ctx.zone, owner_wanted(task, ctx), held)))
    return found


def _former(task: Task, ctx: RenderContext) -> dict[str, Any]:
    """The Task before this one, by its identifier only: a person may have deleted it."""
    value = task.follows.removeprefix("Task/").removeprefix("b-")
    return {"type": "Task", "identifier": {"system": codes.task_system(ctx.namespace), "value": value}}


def _outputs(task: Task, ctx: RenderContext) -> list[dict[str, Any]]:
    refs = dict.fromkeys(bare(ref) for ref in task.closing[:EVIDENCE_LIMIT])
    return [_part("evidence", "valueReference", reference(ref, ctx)) for ref in refs]


def _part(code: str, choice: str, value: Any) -> dict[str, Any]:
    kind = {"coding": [{"system": codes.INPUTS, "code": code}], "text": _INPUT_TEXTS[code]}
    return {"type": kind, choice: value}


def instant(at: datetime, zone: tzinfo) -> str:
    """A FHIR dateTime to the second, in the source's zone."""
    return at.astimezone(zone).isoformat(timespec="seconds").replace("+00:00", "Z")


def text(value: str) -> str:
    """Text as XHTML."""
    return escape(clean(value), quote=False)


def narrative(inside: str) -> dict[str, str]:
    """A generated narrative; ``inside`` is XHTML already."""
    return {"status": "generated", "div": f'<div xmlns="{XHTML}">{inside}</div>'}


def _paragraphs(*texts: str) -> str:
    return "".join(f"<p>{text(one)}</p>" for one in texts if clean(one))

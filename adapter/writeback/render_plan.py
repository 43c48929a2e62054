"""The ledger's care plan as a FHIR CarePlan: pure.

One plan per patient, programme and episode. Of a plan that stands already Baton owns exactly: status, period,
its own block of the narrative, and activities that point to its own Tasks (F36). No author: a contributor (US
Core). The category is Baton's own: "assess-plan" would put a machine's list where clinicians' assessments are
exported.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from adapter.model import Json, Plan, Priority, Task, Words
from adapter.references import parse_reference
from adapter.writeback import codes
from adapter.writeback.context import RenderContext, reference
from adapter.writeback.merge import merged_meta, put_same
from adapter.writeback.render import XHTML, instant, text, title_of
from adapter.writeback.valid import check_valid

RECENT = timedelta(days=90)
NARRATIVE_LIMIT = 50
_BLOCK = re.compile(r'<div class="baton">.*?</div>', re.DOTALL)
_URGENCY = {Priority.STAT: 0, Priority.ASAP: 1, Priority.URGENT: 2, Priority.ROUTINE: 3}
_ENDED = frozenset({"completed", "revoked", "entered-in-error"})
_CATEGORY_TEXT = "Care coordination"


@dataclass(frozen=True, slots=True)
class PlanTask:
    """A task of a plan, with its texts."""

    task: Task
    words: Words


def plan_value(plan: Plan) -> str:
    """The value of a plan's identifier, which its Tasks carry as groupIdentifier."""
    return f"{plan.key}-{plan.episode}"


def render_plan(
    plan: Plan, tasks: Sequence[PlanTask], ctx: RenderContext, base: Json | None = None
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The CarePlan to send, and the paths in it that are Baton's.

    Args:
        plan: the row.
        tasks: all of the plan's tasks; only those acknowledged by the EHR and not gone are named (F35).
        ctx: everything else; ``ctx.refused`` holds references that cannot be resolved.
        base: the CarePlan as it was just read; None where it does not exist yet.

    Raises:
        NotRenderable: where Baton's own part is no valid R4 CarePlan.
    """
    listed = [one for one in tasks if _listed(one.task, ctx.now)]
    own = _own(plan, listed, ctx)
    check_valid(own)
    paths = ("status", "period", "activity", "text")
    if base is None:
        return own, (*paths, "identifier", "intent", "category", "subject", "meta.tag")
    ids = {f"Task/{one.task.id}" for one in tasks}
    return _merged(own, plan, ids, ctx, base), paths


def person_ended(plan: Plan, base: Json) -> bool:
    """Whether a person has ended a plan that is active here: it is not written again."""
    return plan.status == "active" and base.get("status") in _ENDED


def _listed(task: Task, now: datetime) -> bool:
    recent = task.closed_at is None or now - task.closed_at <= RECENT
    return bool(task.seen_version) and not task.gone and (task.open or recent)


def _own(plan: Plan, listed: Sequence[PlanTask], ctx: RenderContext) -> dict[str, Any]:
    label = {"system": codes.CARE_PLAN, "code": "care-coordination"}
    programme = {"system": codes.CARE_PLAN, "code": plan.programme}
    resource: dict[str, Any] = {
        "resourceType": "CarePlan",
        "id": plan.id,
        "meta": _meta(ctx),
        "text": {"status": "generated", "div": _narrative(listed, ctx)},
        "identifier": [{"system": codes.plan_system(ctx.namespace), "value": plan_value(plan)}],
        "instantiatesUri": [f"urn:baton:mapping:{plan.mapping}"] if plan.mapping else [],
        "status": plan.status,
        "intent": "plan",
        "category": [{"coding": [label, *([programme] if plan.programme else [])], "text": _CATEGORY_TEXT}],
        "title": f"{_CATEGORY_TEXT}: {plan.programme}" if plan.programme else _CATEGORY_TEXT,
        "subject": reference(plan.patient, ctx),
        "period": _period(plan, ctx),
        "contributor": [{"reference": ctx.device, "display": "Baton (automatic)"}] if ctx.device else [],
        "activity": [{"reference": reference(f"Task/{one.task.id}", ctx)} for one in listed],
    }
    return {name: value for name, value in resource.items() if value not in ([], {})}


def _meta(ctx: RenderContext) -> dict[str, Any]:
    tags = [dict(codes.OWN_TAG), *(dict(tag) for tag in ctx.tags)]
    security = [dict(label) for label in ctx.security]
    return {"tag": tags, **({"security": security} if security else {})}


def _period(plan: Plan, ctx: RenderContext) -> dict[str, str]:
    times = {"start": plan.started, "end": plan.ended if plan.status != "active" else None}
    return {name: instant(at, ctx.zone) for name, at in times.items() if at}


def _narrative(listed: Sequence[PlanTask], ctx: RenderContext) -> str:
    return f'<div xmlns="{XHTML}">{_block(listed, ctx)}</div>'


def _block(listed: Sequence[PlanTask], ctx: RenderContext) -> str:
    """The open work, most urgent first. It holds no div, so that the block can be found again by its end."""
    work = sorted((one for one in listed if one.task.open), key=lambda one: _order(one.task, ctx.now))
    rows = [text(title_of(one.task, one.words, ctx.zone)) for one in work[:NARRATIVE_LIMIT]]
    if len(work) > NARRATIVE_LIMIT:
        rows.append(f"and {len(work) - NARRATIVE_LIMIT} more")
    said = f"<ul>{''.join(f'<li>{row}</li>' for row in rows)}</ul>" if rows else "<p>No open work.</p>"
    return f'<div class="baton">{said}</div>'


def _order(task: Task, now: datetime) -> tuple[int, float, str]:
    due = task.due.timestamp() if task.due else float("inf")
    return _URGENCY[task.priority], due, task.id


def _merged(own: Json, plan: Plan, ids: set[str], ctx: RenderContext, base: Json) -> dict[str, Any]:
    result = dict(base)
    if not (plan.status == "active" and base.get("status") in ("draft", "on-hold", "unknown")):
        put_same(result, "status", own["status"], ctx.bases)  # a person's pause of an active plan stays
    put_same(result, "period", own.get("period"), ctx.bases)
    _merge_activities(result, own, ids, ctx)
    if "text" not in ctx.keep:
        _merge_narrative(result, own)
    result["meta"] = merged_meta(base.get("meta"), own["meta"])
    return result


def _merge_activities(result: dict[str, Any], own: Json, ids: set[str], ctx: RenderContext) -> None:
    held = result.get("activity")
    entries: list[Any] = list(held) if isinstance(held, list) else []
    wanted = {_pointed(one, ctx): one for one in own.get("activity", [])}
    present = {_pointed(one, ctx) for one in entries}
    kept = [_linked(one, wanted, ctx) for one in entries if not _is_dropped(one, ids, wanted, ctx)]
    missing = [one for ref, one in wanted.items() if ref not in present]
    if missing or kept != entries:
        result["activity"] = kept + missing
    if not result.get("activity", True):
        del result["activity"]


def _linked(one: Any, wanted: Mapping[str, Any], ctx: RenderContext) -> Any:
    """An activity with its link, where it was named by identifier for a while: its Task was refused, and stands now."""
    new = wanted.get(_pointed(one, ctx))
    if new is None or parse_reference(one.get("reference"), ctx.bases).local:
        return one
    return {**one, "reference": new["reference"]} if new["reference"].get("reference") else one


def _is_dropped(one: Any, ids: set[str], wanted: Mapping[str, Any], ctx: RenderContext) -> bool:
    """An activity of ours that is no longer named; one to which somebody has added something stays."""
    ref = _pointed(one, ctx)
    ours = ref in ids or ref.partition("/")[2].startswith("b-")
    return ours and ref not in wanted and set(one) <= {"reference", "id"}


def _pointed(one: Any, ctx: RenderContext) -> str:
    found = parse_reference(one.get("reference") if isinstance(one, Mapping) else None, ctx.bases)
    return found.local or found.identifier.removeprefix(f"{codes.REFERENCES}|")


def _merge_narrative(result: dict[str, Any], own: Json) -> None:
    """Replace Baton's block; other people's text around it stays."""
    held = result.get("text")
    div = held.get("div") if isinstance(held, Mapping) else None
    if not isinstance(div, str) or not isinstance(held, Mapping):
        result["text"] = own["text"]
        return
    found = _BLOCK.search(own["text"]["div"])
    block = found[0] if found else ""
    if _BLOCK.search(div):
        new = _BLOCK.sub(lambda _: block, div, count=1)
    else:
        head, end, tail = div.rpartition("</div>")
        new = f"{head}{block}{end}{tail}" if end else own["text"]["div"]
    if new != div:
        result["text"] = {**held, "div": new}

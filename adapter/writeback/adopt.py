"""Taking over what stands in the EHR: a new, older or restored ledger reads all own Tasks before it writes
(F16).

What stands there is taken as it stands; what a person touched stays hers. Of several Tasks with one
identifier only the one under the derived id is ours, the others are copies: reported, never touched (F34).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

from msgspec import structs

from adapter.errors import Gone, NotFound
from adapter.fhir import FhirClient
from adapter.ledger import Arrival, Ledger, as_set
from adapter.model import Event, EventKind, Json, Plan, Priority, Task, TaskStatus
from adapter.references import Bases
from adapter.writeback import codes
from adapter.writeback.arrivals import Keeper, WholeKeeper, arrival
from adapter.writeback.bookkeeping import CLOSERS, bookkeeping_in, input_value, inputs, mark_of
from adapter.writeback.context import meaning_of
from adapter.writeback.identity import WriterContext
from adapter.writeback.owners import (
    PERSONAL,
    SEEN_BEFORE,
    confirmed,
    deleted,
    parse_time,
    values_of,
)
from adapter.writeback.versions import number_in, same_version, taken_before, version_mark

LATELY = timedelta(days=7)  # longer than a source rests after failures
_NOT_ON_THE_TASK = ("touched_at", "marked_at", "turned")  # what only events know


@dataclass(slots=True)
class AdoptReport:
    """What was found: counts, and ids of Tasks that carry our identifier without being ours.

    ``lost`` are ids of Tasks that were acknowledged, and that nobody deleted, and that are not there.
    """

    tasks: int = 0
    plans: int = 0
    known: int = 0
    gone: int = 0
    copies: list[str] = field(default_factory=list)
    unreadable: int = 0
    lost: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class _Found:
    task: Task
    arrival: Arrival


def adopt(
    writer: WriterContext,
    client: FhirClient,
    ledger: Ledger,
    *,
    now: datetime,
    zone: tzinfo = UTC,
    keeper: Keeper | None = None,
) -> AdoptReport:
    """Read every Task and CarePlan of the namespace, and make the ledger's rows say what stands there.

    Everything found new wakes its patient. What the EHR lost, or has in a version from before, is wished for again, and
    with it all open work and what ended lately: the wishes from before a take-over are gone (F16), and each delivery
    looks first. Afterwards the source counts as adopted.
    """
    report = AdoptReport()
    keep = keeper or WholeKeeper(client.bases)
    found = _tasks(writer, client, keep, zone, now, report)
    held = {task.id: task for task in ledger.tasks(writer.source)}
    known = {id: ledger.task_events(id) for id in held if id in found}
    events = [event for one in found.values() for event in _adopting(one, held, known, now, report)]
    events += _missing(client, held, found, now, report)
    ledger.append(events)
    fresh = {event.task for event in events}
    if arrivals := [one.arrival for one in found.values()]:
        ledger.store(writer.source, arrivals, cause="adopted", now=now)
    patients = {one.task.patient for id, one in found.items() if id in fresh}
    patients |= {held[id].patient for id in fresh if id in held}
    ledger.request(writer.source, sorted(patients), "adopted")
    for plan in _plans(writer, client, zone):
        _adopt_plan(ledger, plan, report)
    again = {one.task for one in events if one.why == SEEN_BEFORE} | report.lost
    _write_again(ledger, writer.source, again | _unsettled(ledger, writer.source, held, now))
    row = ledger.source(writer.source)
    if row is not None:
        ledger.save_source(replace(row, adopted=True))
    writer.adopt = False
    return report


def task_row(
    body: Json, version: str, *, source: str, namespace: str, bases: Bases, zone: tzinfo, now: datetime
) -> Task | None:
    """The ledger's row as a Task carries it; None where the Task is not one of this namespace, or a copy."""
    own = identifier_in(body, codes.task_system(namespace))
    key, _, number = own.rpartition("-")
    if not key or not number.isdigit() or body.get("id") != f"b-{own}":
        return None
    kept = bookkeeping_in(body)
    mapping, _, rest = str(input_value(body, "rule") or "").partition("/")
    rule, _, mapping_version = rest.rpartition("|")
    status = _status(body)
    mine = _mine(body, kept, bases, zone)
    due = parse_time(_period(body, "end"), zone)
    values = values_of(body, bases, zone)
    closer = str(kept.get("closed", ""))
    by_baton = closer in CLOSERS and "status" not in mine
    return Task(
        id=f"b-{own}",
        source=source,
        patient=meaning_of(body.get("for"), bases) or str(kept.get("for", "")),
        key=key,
        generation=int(number),
        mapping=mapping,
        mapping_version=int(mapping_version) if mapping_version.isdigit() else 0,
        rule=rule,
        code=codes.code_in(body.get("code"), codes.TASK_CODES),
        need=str(input_value(body, "need") or ""),
        focus=str(kept.get("focus", "")) or meaning_of(body.get("focus"), bases),
        programme=str(kept.get("programme", "")),
        status=status,
        priority=_priority(body),
        opened_at=_time(body.get("authoredOn")),
        opens=_time(_period(body, "start"), zone),
        due=due[0] if due else None,
        due_is_day=bool(due and due[1]),
        ends=_time(kept.get("ends")),
        onset=_time(input_value(body, "onset"), zone),
        performer=_performer(body),
        owner=values["owner"],
        business_status=values["business_status"],
        steps=_texts(kept.get("steps")),
        mine=mine,
        started="status" in mine and (status.started or status is TaskStatus.ON_HOLD),
        touched_at=_touched(body, now) if mine else None,
        mark=str(kept.get("mark", "")),
        hold=str(kept.get("hold", "")),
        held_status=str(kept.get("held", "")),
        group=_group(body),
        follows=_follows(body),
        based_on=tuple(ref for ref in (meaning_of(one, bases) for one in _list(body, "basedOn")) if ref),
        opening=_texts(kept.get("opening")),
        closing=_texts(kept.get("closing")),
        closed_at=_touched(body, now) if status.closed else None,
        closed_by=(closer if by_baton else "person") if status.closed else "",
        renews=str(input_value(body, "renews") or ""),
        notes=len(_list(body, "note")),
        seen_version=version,
        gone=status is TaskStatus.ENTERED_IN_ERROR,
    )


def identifier_in(body: Json, system: str) -> str:
    """The value of a resource's identifier in a system; "" for none."""
    for one in _list(body, "identifier"):
        if isinstance(one, Mapping) and one.get("system") == system and isinstance(one.get("value"), str):
            return str(one["value"])
    return ""


# ---- inside ----


def _tasks(
    writer: WriterContext,
    client: FhirClient,
    keeper: Keeper,
    zone: tzinfo,
    now: datetime,
    report: AdoptReport,
) -> dict[str, _Found]:
    system = codes.task_system(writer.namespace)
    found: dict[str, _Found] = {}
    for page in client.pages("Task", [("identifier", f"{system}|"), ("_count", "200")]):
        report.unreadable += len(page.faults)
        for entry in page.entries:
            body = entry.resource
            if body is None or body.get("resourceType") != "Task" or not identifier_in(body, system):
                continue
            version = version_mark(number_in(body), body)
            task = task_row(
                body,
                version,
                source=writer.source,
                namespace=writer.namespace,
                bases=client.bases,
                zone=zone,
                now=now,
            )
            if task is None or not (task.patient and task.key and task.need):
                report.copies.append(f"Task/{body.get('id', '')}")
                continue
            stored = arrival(
                body,
                entry.raw,
                keeper,
                date=page.date or now,
                sent_seq=page.sent_seq,
                received_seq=page.received_seq,
                version=number_in(body),
            )
            found[task.id] = _Found(task, stored)
    return found


def _unsettled(ledger: Ledger, source: str, held: Mapping[str, Task], now: datetime) -> set[str]:
    """Tasks of the ledger that a wish may have waited for: open ones, and those that ended lately."""
    lately = now - LATELY
    rows = (row for row in ledger.tasks(source) if row.id in held and not row.gone)
    return {row.id for row in rows if row.open or (row.closed_at is not None and row.closed_at > lately)}


def _write_again(ledger: Ledger, source: str, tasks: set[str]) -> None:
    """What the EHR lost, or has in a version from before, is wished for again: each delivery looks first (F18)."""
    if tasks:
        plans = [f"CarePlan/{plan.id}" for plan in ledger.plans(source) if not plan.gone]
        ledger.want([*(f"Task/{id}" for id in tasks), *plans])


def _adopting(
    one: _Found,
    held: Mapping[str, Task],
    known: Mapping[str, Sequence[Event]],
    now: datetime,
    report: AdoptReport,
) -> Iterator[Event]:
    row = held.get(one.task.id)
    if row is not None and same_version(row.seen_version, one.task.seen_version):
        report.known += 1
        return
    before = taken_before(one.task.seen_version, known.get(one.task.id, ()))
    if row is not None and before:  # the EHR went back; the ledger knows more
        report.known += 1
        yield confirmed(row, one.task.seen_version, now=now, why=SEEN_BEFORE)
        return
    report.tasks += 1
    without = () if row is None else _NOT_ON_THE_TASK
    yield Event(
        task=one.task.id,
        kind=EventKind.ADOPTED,
        at=now,
        set=as_set(one.task, without=without),
        why="found in the EHR",
    )


def _missing(
    client: FhirClient,
    held: Mapping[str, Task],
    found: Mapping[str, _Found],
    now: datetime,
    report: AdoptReport,
) -> Iterator[Event]:
    """Rows that no search showed: only 410 is a person's deletion; anything else is left to the delivery."""
    for id, row in held.items():
        if id in found or not row.seen_version or row.gone:
            continue
        try:
            client.read("Task", id)
        except Gone:
            report.gone += 1
            yield deleted(row, now=now)
        except NotFound:
            report.lost.add(id)


def _plans(writer: WriterContext, client: FhirClient, zone: tzinfo) -> Iterator[Plan]:
    system = codes.plan_system(writer.namespace)
    for page in client.pages("CarePlan", [("identifier", f"{system}|"), ("_count", "200")]):
        for entry in page.entries:
            plan = _plan_row(entry.resource or {}, system, writer.source, client.bases, zone)
            if plan is not None:
                yield plan


def _plan_row(body: Json, system: str, source: str, bases: Bases, zone: tzinfo) -> Plan | None:
    own = identifier_in(body, system)
    key, _, number = own.rpartition("-")
    if body.get("resourceType") != "CarePlan" or not number.isdigit() or body.get("id") != f"bp-{own}":
        return None
    category: Any = next(iter(_list(body, "category")), {})
    labels = [one.get("code") for one in codes.codings(category) if one.get("system") == codes.CARE_PLAN]
    programme = next((str(code) for code in labels if code != "care-coordination"), "")
    mapping = next((str(uri) for uri in _list(body, "instantiatesUri")), "")
    status = str(body.get("status", "active"))
    period = body.get("period")
    period = period if isinstance(period, Mapping) else {}
    return Plan(
        id=f"bp-{own}",
        source=source,
        patient=meaning_of(body.get("subject"), bases),
        key=key,
        programme=programme,
        episode=int(number),
        status=status if status in ("active", "completed", "revoked") else "active",
        started=_time(period.get("start"), zone),
        ended=_time(period.get("end"), zone),
        mapping=mapping.removeprefix("urn:baton:mapping:"),
        seen_version=version_mark(number_in(body), body),
        gone=status == "entered-in-error",
    )


def _adopt_plan(ledger: Ledger, plan: Plan, report: AdoptReport) -> None:
    held = ledger.plan(plan.id)
    if not plan.patient or (held is not None and same_version(held.seen_version, plan.seen_version)):
        return
    report.plans += 1
    ledger.save_plan(structs.replace(plan, row_version=held.row_version if held else 0))


def _mine(body: Json, kept: Json, bases: Bases, zone: tzinfo) -> frozenset[str]:
    """Elements whose value is not the one that Baton wrote last. Without any mark nothing is taken for
    hers.
    """
    marks = kept.get("w")
    if not isinstance(marks, Mapping):
        return frozenset()
    theirs = values_of(body, bases, zone)
    return frozenset(name for name in PERSONAL if marks.get(name) != mark_of(theirs[name]))


def _status(body: Json) -> TaskStatus:
    try:
        return TaskStatus(str(body.get("status")))
    except ValueError:
        return TaskStatus.REQUESTED


def _priority(body: Json) -> Priority:
    try:
        return Priority(str(body.get("priority")))
    except ValueError:
        return Priority.ROUTINE


def _performer(body: Json) -> str:
    found = (codes.code_in(one, codes.ROLES) for one in _list(body, "performerType"))
    return next((code for code in found if code), "")


def _group(body: Json) -> str:
    meta = body.get("meta")
    tags = _list(meta, "tag") if isinstance(meta, Mapping) else []
    own = [one for one in tags if isinstance(one, Mapping) and one.get("system") == codes.GROUP_TAG]
    found = (one.get("code") for one in own)
    return next((str(code) for code in found if code), "")


def _follows(body: Json) -> str:
    for value in inputs(body, "follows"):
        identifier = value.get("identifier") if isinstance(value, Mapping) else None
        if isinstance(identifier, Mapping) and isinstance(identifier.get("value"), str):
            return f"b-{identifier['value']}"
    return ""


def _period(body: Json, name: str) -> str:
    restriction = body.get("restriction")
    period = restriction.get("period") if isinstance(restriction, Mapping) else None
    value = period.get(name) if isinstance(period, Mapping) else None
    return value if isinstance(value, str) else ""


def _touched(body: Json, now: datetime) -> datetime:
    meta = body.get("meta")
    return (_time(meta.get("lastUpdated")) if isinstance(meta, Mapping) else None) or now


def _time(value: Any, zone: tzinfo = UTC) -> datetime | None:
    found = parse_time(value, zone) if isinstance(value, str) else None
    return found[0] if found else None


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(str(one) for one in value) if isinstance(value, list) else ()


def _list(body: Json, name: str) -> list[Any]:
    found = body.get(name)
    return found if isinstance(found, list) else []

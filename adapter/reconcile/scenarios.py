"""Runs scenario files: given these resources at this time, these tasks have to stand, and no others.

A file ``*.scenarios.yaml`` holds ``scenarios``, each a mapping:

- ``name``; ``row`` (a rule) or ``line``: what it is an example of
- ``now`` (an instant); ``zone`` (default America/New_York)
- ``given``: "Type/id" → the resource without its type, id and patient. ``_seen`` and ``_changed`` say when it was
  first seen and since when its status is what it is; both default to its authoredOn, created or sent, else a day ago.
  :data:`BASE` stands for the EHR's own address in absolute references.
- ``patients``: the "Patient/id"s that are this one person, default Patient/p1
- ``unknown``: types that cannot be read; ``declared_none``: types that the source has not
- ``source``: settings of the source, as the configuration has them: completed_means, live_from, live_over,
  parameters, environment, codes, opt_out, disabled, enabled; ``live_from`` is a date, or one for each rule;
  ``live_over`` is 0 where none is given
- ``expect``: the tasks, each ``{rule, focus}`` and, where it matters, due (a day or an instant), opens, title,
  reason, need, priority, group, patient, status, generation; ``none``: rules that have to stay silent;
  ``missing``: types that have to be asked for
- ``then``: further steps, each with ``now``, ``given`` (what is new or other by then; null: deleted), ``unknown``,
  ``expect``, ``none``, ``missing``, and ``person``: what somebody set on open tasks before this look, each
  ``{rule, focus, status}``
- ``not_on``: kinds of server on which the case cannot be tried, with the reason

Everything is known unless the file says otherwise. Each step is one whole look: facts, guards, rules, needs, changes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from adapter.errors import MappingError
from adapter.facts.times import parse_when
from adapter.fhirjson import digest
from adapter.mapping.calendar import Calendar, calendar_of
from adapter.mapping.loader import SCENARIOS
from adapter.mapping.rules import Edition
from adapter.mapping.yaml_lines import YamlFault, parse
from adapter.model import (
    EVIDENCE,
    POLLED,
    Chart,
    Event,
    EventKind,
    Known,
    Snapshot,
    SnapshotState,
    SourceFacts,
    Task,
    TaskStatus,
    Words,
)
from adapter.reconcile.changes import ReadBackOf
from adapter.reconcile.reconciler import findings_of, look
from adapter.references import Bases, patients_of

PATIENT = "Patient/p1"
ZONE = "America/New_York"
#: The EHR's own address in absolute references of a scenario.
BASE = "https://ehr.example/fhir"
_BASES = Bases(BASE)
_TYPES = (*POLLED, *EVIDENCE, "Patient", "Communication", "Flag")
_DATED = ("authoredOn", "created", "sent", "issued", "date")
_SUBJECT: Mapping[str, Mapping[str, Any]] = {
    "Appointment": {"participant": [{"actor": {"reference": PATIENT}, "status": "accepted"}]},
    "CoverageEligibilityResponse": {"patient": {"reference": PATIENT}},
    "Coverage": {"beneficiary": {"reference": PATIENT}},
    "Patient": {},
}
_DEFAULTS: Mapping[str, Mapping[str, Any]] = {"ServiceRequest": {"intent": "order"}}
_STEP = frozenset({"now", "given", "unknown", "expect", "none", "missing", "person"})
_KEYS = _STEP | {"name", "row", "line", "zone", "patients", "declared_none", "source", "then", "not_on"}


@dataclass(frozen=True, slots=True)
class Result:
    """How one scenario came out; ``problems`` is empty where it passed."""

    file: str
    name: str
    problems: tuple[str, ...]

    @property
    def passed(self) -> bool:
        return not self.problems


def run(folder: Path, edition: Edition) -> list[Result]:
    """Run every scenario file in a folder and below.

    Raises:
        MappingError: where a file cannot be read.
    """
    results = []
    for path in sorted(folder.glob(f"**/*{SCENARIOS}")):
        try:
            document = parse(path.read_text("utf-8"), path.name)
        except YamlFault as error:
            raise MappingError("a scenario file cannot be read", (error.fault,)) from None
        told = document.value.get("scenarios") if isinstance(document.value, Mapping) else None
        if not isinstance(told, list):
            fault = document.fault((), "there is no list 'scenarios'", "write one")
            raise MappingError("a scenario file has another form", (fault,))
        results += [run_one(scenario, edition, path.name) for scenario in told]
    return results


def run_one(scenario: Mapping[str, Any], edition: Edition, file: str = "") -> Result:
    """Run one scenario, all its steps."""
    name = str(scenario.get("name", "without a name"))
    steps = [scenario, *(scenario.get("then") or [])]
    unknown = (set(scenario) - _KEYS).union(*(set(step) - _STEP for step in steps[1:]))
    if unknown:
        return Result(file, name, (f"unknown key {min(unknown)!r}",))
    problems: list[str] = []
    held: _Held = _Held()
    for number, step in enumerate(steps, 1):
        where = f"step {number}: " if len(steps) > 1 else ""
        problems += [where + problem for problem in _step(scenario, step, held, edition)]
    return Result(file, name, tuple(problems))


@dataclass(slots=True)
class _Held:
    """What stands between two steps."""

    snapshots: dict[str, Snapshot] | None = None
    tasks: tuple[Task, ...] = ()
    words: dict[str, Words] | None = None


def _step(
    scenario: Mapping[str, Any], step: Mapping[str, Any], held: _Held, edition: Edition
) -> Iterator[str]:
    own = {**scenario, "given": {}, **step}
    chart = chart_of(own, edition, before=held.snapshots, tasks=held.tasks)
    yield from _untouchable(step, held.tasks)
    seen = look(chart, edition, _touched(step), _BASES)
    words = {**(held.words or {}), **seen.decision.words}
    held.snapshots, held.tasks, held.words = dict(chart.snapshots), tuple(seen.rows.values()), words
    standing = [(task, words.get(task.id)) for task in seen.rows.values() if task.open]
    yield from _unmet(step.get("expect") or [], standing, calendar_of(chart.source), edition)
    for rule in step.get("none") or []:
        if edition.rule(rule) is None:
            yield f"there is no rule {rule}"
        yield from (f"{rule} opens on {task.focus}" for task, _ in standing if task.rule == rule)
    asked = seen.decision.missing.union(*(f.missing for f in findings_of(edition, chart, _BASES)))
    yield from (f"{type} is not asked for" for type in step.get("missing") or [] if type not in asked)
    yield from (f"failed: {error}" for error in sorted(seen.errors))


def _untouchable(step: Mapping[str, Any], tasks: tuple[Task, ...]) -> Iterator[str]:
    """A person can only set something on a task that stands."""
    standing = {(task.rule, task.focus) for task in tasks if task.open}
    for told in step.get("person") or []:
        if (told.get("rule"), told.get("focus")) not in standing:
            yield f"no task of {told.get('rule')} stands on {told.get('focus')}: nobody can set its status"


def _touched(step: Mapping[str, Any]) -> ReadBackOf:
    """What is read back of the tasks that a person touched before this step."""
    told = {(one["rule"], one["focus"]): TaskStatus(one["status"]) for one in step.get("person") or []}

    def events(task: Task, chart: Chart) -> tuple[Event, ...]:
        status = told.get((task.rule, task.focus))
        if status is None or not task.open:
            return ()
        now = chart.now.isoformat()
        values: dict[str, Any] = {"status": status.value, "touched_at": now, "mine": ["status"]}
        values["started"] = status.started
        if status.closed:
            values |= {"closed_by": "person", "closed_at": now}
        return (Event(task.id, EventKind.READ_BACK, chart.now, values, "changed in the EHR"),)

    return events


def chart_of(
    scenario: Mapping[str, Any],
    edition: Edition,
    *,
    before: Mapping[str, Snapshot] | None = None,
    tasks: tuple[Task, ...] = (),
) -> Chart:
    """The chart that a scenario, or a step of it, describes; ``before`` and ``tasks`` stand from earlier steps."""
    zone = ZoneInfo(str(scenario.get("zone", ZONE)))
    now = _instant(scenario["now"], zone)
    first = {} if before is not None else {PATIENT: {"active": True}}
    snapshots = dict(before or {})
    for ref, body in {**first, **(scenario.get("given") or {})}.items():
        snapshots[ref] = _snapshot(ref, body, now, zone, snapshots.get(ref))
    unknown, none = scenario.get("unknown") or (), scenario.get("declared_none") or ()
    types = {*_TYPES, *(snapshot.type for snapshot in snapshots.values())}
    known = {
        type: Known(declared_none=True) if type in none else Known(at=now, seq=1000)
        for type in types
        if type not in unknown
    }
    return Chart(
        source=_source(scenario, zone),
        person=PATIENT,
        patients=tuple(scenario.get("patients") or (PATIENT,)),
        snapshots=snapshots,
        known=known,
        tasks=tasks,
        plans=(),
        now=now,
        edition=edition.hash,
    )


def _source(scenario: Mapping[str, Any], zone: ZoneInfo) -> SourceFacts:
    told = dict(scenario.get("source") or {})
    live_from, opt_out = told.pop("live_from", None), told.pop("opt_out", {})
    for name in ("disabled", "enabled"):
        told[name] = frozenset(told.get(name, ()))
    return SourceFacts(
        name="scenario",
        key="scenario",
        zone=zone,
        base_url=BASE,
        live_from=None if isinstance(live_from, Mapping) or not live_from else _instant(live_from, zone),
        live_from_rules=_by_rule(live_from, zone),
        opt_out_patients=frozenset(opt_out.get("patients", ())),
        opt_out_flags=frozenset(opt_out.get("flags", ())),
        **told,
    )


def _by_rule(live_from: Any, zone: ZoneInfo) -> dict[str, datetime]:
    told = live_from if isinstance(live_from, Mapping) else {}
    return {str(rule): _instant(at, zone) for rule, at in told.items()}


def _snapshot(
    ref: str, told: Mapping[str, Any] | None, now: datetime, zone: ZoneInfo, before: Snapshot | None
) -> Snapshot:
    type, _, id = ref.partition("/")
    if told is None:
        assert before is not None
        return replace(before, state=SnapshotState.DELETED, changed=now, received_at=now)
    said = {key: value for key, value in told.items() if not key.startswith("_")}
    subject = _SUBJECT.get(type, {"subject": {"reference": PATIENT}})
    body = {"resourceType": type, "id": id, **subject, **_DEFAULTS.get(type, {}), **said}
    seen = _seen(told, body, now, zone) if before is None else before.first_seen or now
    changed = _changed(told, body, seen, now, zone, before)
    entered_in_error = body.get("status") == "entered-in-error"
    return Snapshot(
        source="scenario",
        type=type,
        id=id,
        state=SnapshotState.ERROR if entered_in_error else SnapshotState.LIVE,
        body=body,
        version="1",
        kept_digest=digest(body),
        first_seen=seen,
        changed=changed,
        received_at=max(seen, changed),
        sent_seq=1,
        received_seq=2,
        walk_seq=1,
        patients=patients_of(body, _BASES),
    )


def _seen(told: Mapping[str, Any], body: Mapping[str, Any], now: datetime, zone: ZoneInfo) -> datetime:
    return _instant(told["_seen"], zone) if "_seen" in told else first_seen(body, now, zone)


def _changed(
    told: Mapping[str, Any],
    body: Mapping[str, Any],
    seen: datetime,
    now: datetime,
    zone: ZoneInfo,
    before: Snapshot | None,
) -> datetime:
    if "_changed" in told:
        return _instant(told["_changed"], zone)
    if before is None:
        return seen
    return now if before.body.get("status") != body.get("status") else before.changed or seen


def first_seen(body: Mapping[str, Any], now: datetime, zone: ZoneInfo) -> datetime:
    """When a resource was first seen, where the scenario does not say: at its own date, else a day ago."""
    for name in _DATED:
        when = parse_when(body.get(name), zone)
        if when is not None and when.instant <= now:
            return when.instant
    return now - timedelta(days=1)


def _instant(value: Any, zone: ZoneInfo) -> datetime:
    when = parse_when(str(value), zone)
    if when is None:
        raise MappingError(f"'{value}' is no date or time", remedy="write it as 2025-12-01T09:00:00-05:00")
    return when.instant.astimezone(UTC)


def _unmet(
    expected: list[Any], standing: list[tuple[Task, Words | None]], calendar: Calendar, edition: Edition
) -> Iterator[str]:
    left = list(standing)
    for told in expected:
        found = next(
            (one for one in left if (one[0].rule, one[0].focus) == (told.get("rule"), told.get("focus"))),
            None,
        )
        if found is None:
            yield f"{told.get('rule')} does not open on {told.get('focus')}"
            continue
        left.remove(found)
        yield from _differences(told, *found, calendar)
    for task, _ in left:
        yield f"{task.rule} opens on {task.focus}, and nothing expects it"


def _differences(
    told: Mapping[str, Any], task: Task, words: Words | None, calendar: Calendar
) -> Iterator[str]:
    actual: dict[str, Any] = {
        "rule": task.rule,
        "focus": task.focus,
        "code": task.code,
        "need": task.need,
        "title": words.title if words else "",
        "next": words.next if words else "",
        "reason": words.reason if words else "",
        "performer": task.performer,
        "priority": task.priority.value,
        "group": task.group,
        "patient": task.patient,
        "status": task.status.value,
        "generation": task.generation,
    }
    for key, value in told.items():
        if key in ("due", "opens"):
            at = task.due if key == "due" else task.opens
            if not _same_time(value, at, calendar):
                local = calendar.local(at).isoformat() if at else "not known"
                yield f"{task.rule}: {key} is {local}, not {value}"
        elif key not in actual:
            yield f"unknown key {key!r} in expect"
        elif actual[key] != value:
            yield f"{task.rule}: {key} is {actual[key]!r}, not {value!r}"


def _same_time(told: Any, at: datetime | None, calendar: Calendar) -> bool:
    if at is None:
        return told in (None, "none")
    text = str(told)
    if len(text) == len("2025-12-01"):
        return calendar.local(at).date().isoformat() == text
    when = parse_when(text, calendar.zone)
    return when is not None and when.instant == at

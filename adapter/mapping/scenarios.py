"""Runs scenario files: given these resources at this time, these tasks have to stand, and no others.

A file ``*.scenarios.yaml`` holds ``scenarios``, each a mapping:

- ``name``; ``now`` (an instant); ``zone`` (default America/New_York)
- ``given``: "Type/id" → the resource without its type, id and patient. ``_seen`` and ``_changed`` say when it was
  first seen and since when its status is what it is; both default to its authoredOn, created or sent, else a day ago.
- ``unknown``: types of which nothing was read; ``declared_none``: types that the source has not
- ``source``: completed_means, live_from, parameters, environment
- ``expect``: the tasks, each ``{rule, focus}`` and, where it matters, due (a day or an instant), opens, title,
  reason, need, priority; ``none``: rules that have to stay silent; ``missing``: types that have to be asked for

Everything is known unless the file says otherwise. Of several rules of one need the lowest rank speaks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from adapter.errors import MappingError
from adapter.facts.facts import Facts
from adapter.facts.times import parse_when
from adapter.fhirjson import digest
from adapter.mapping.calendar import Calendar, calendar_of
from adapter.mapping.durations import Duration, Unit
from adapter.mapping.evaluate import evaluate
from adapter.mapping.finding import Finding
from adapter.mapping.loader import SCENARIOS
from adapter.mapping.rules import Edition
from adapter.mapping.yaml_lines import YamlFault, parse
from adapter.model import EVIDENCE, POLLED, Chart, Known, Snapshot, SnapshotState, SourceFacts
from adapter.references import NO_BASES, patients_of

PATIENT = "Patient/p1"
ZONE = "America/New_York"
_TYPES = (*POLLED, *EVIDENCE, "Patient", "Communication")
_DATED = ("authoredOn", "created", "sent", "issued", "date")
_SUBJECT: Mapping[str, Mapping[str, Any]] = {
    "Appointment": {"participant": [{"actor": {"reference": PATIENT}, "status": "accepted"}]},
    "CoverageEligibilityResponse": {"patient": {"reference": PATIENT}},
    "Coverage": {"beneficiary": {"reference": PATIENT}},
    "Patient": {},
}
_DEFAULTS: Mapping[str, Mapping[str, Any]] = {"ServiceRequest": {"intent": "order"}}
_KEYS = frozenset(
    {"name", "now", "zone", "given", "unknown", "declared_none", "source", "expect", "none", "missing"}
)


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
    """Run one scenario."""
    name = str(scenario.get("name", "without a name"))
    unknown = set(scenario) - _KEYS
    if unknown:
        return Result(file, name, (f"unknown key {min(unknown)!r}",))
    chart = chart_of(scenario, edition)
    findings = findings_of(chart, edition)
    standing = _tasks(findings, chart.now)
    problems = [*_unmet(scenario.get("expect") or [], standing, calendar_of(chart.source))]
    for rule in scenario.get("none") or []:
        found = [f for f in findings if f.rule.id == rule and f.opens_now(chart.now)]
        problems += [f"{rule} opens on {finding.focus}" for finding in found]
        if edition.rule(rule) is None:
            problems.append(f"there is no rule {rule}")
    asked = frozenset[str]().union(*(finding.missing for finding in findings))
    problems += [f"{type} is not asked for" for type in scenario.get("missing") or [] if type not in asked]
    problems += [f"failed: {error}" for finding in findings for error in finding.errors]
    return Result(file, name, tuple(problems))


def findings_of(chart: Chart, edition: Edition) -> list[Finding]:
    """What every rule finds about every focus of a chart; nothing where the patient's guard blocks."""
    calendar = calendar_of(chart.source)
    facts = Facts(
        chart,
        NO_BASES,
        edition.codebook,
        business_day_before=lambda at: calendar.before(at, Duration(1, Unit.BUSINESS_DAYS)),
    )
    if facts.guard.blocks:
        return []
    return [
        evaluate(rule, focus, facts, now=chart.now)
        for rule in edition.rules
        if rule.active_at(chart.source)
        for focus in facts.focuses(rule.resource)
    ]


def chart_of(scenario: Mapping[str, Any], edition: Edition) -> Chart:
    """The chart that a scenario describes."""
    zone = ZoneInfo(str(scenario.get("zone", ZONE)))
    now = _instant(scenario["now"], zone)
    given = {PATIENT: {"active": True}, **(scenario.get("given") or {})}
    snapshots = [_snapshot(ref, body, now, zone) for ref, body in given.items()]
    unknown, none = scenario.get("unknown") or (), scenario.get("declared_none") or ()
    types = {*_TYPES, *(snapshot.type for snapshot in snapshots)}
    known = {
        type: Known(declared_none=True) if type in none else Known(at=now, seq=1000)
        for type in types
        if type not in unknown
    }
    return Chart(
        source=_source(scenario, zone),
        person=PATIENT,
        patients=(PATIENT,),
        snapshots={snapshot.ref: snapshot for snapshot in snapshots},
        known=known,
        tasks=(),
        plans=(),
        now=now,
        edition=edition.hash,
    )


def _source(scenario: Mapping[str, Any], zone: ZoneInfo) -> SourceFacts:
    told = dict(scenario.get("source") or {})
    live_from = told.pop("live_from", None)
    return SourceFacts(
        name="scenario",
        key="scenario",
        zone=zone,
        live_from=_instant(live_from, zone) if live_from else None,
        **told,
    )


def _snapshot(ref: str, told: Mapping[str, Any], now: datetime, zone: ZoneInfo) -> Snapshot:
    type, _, id = ref.partition("/")
    said = {key: value for key, value in told.items() if not key.startswith("_")}
    subject = _SUBJECT.get(type, {"subject": {"reference": PATIENT}})
    body = {"resourceType": type, "id": id, **subject, **_DEFAULTS.get(type, {}), **said}
    seen = _instant(told["_seen"], zone) if "_seen" in told else _first_seen(body, now, zone)
    changed = _instant(told["_changed"], zone) if "_changed" in told else seen
    return Snapshot(
        source="scenario",
        type=type,
        id=id,
        state=SnapshotState.LIVE,
        body=body,
        version="1",
        kept_digest=digest(body),
        first_seen=seen,
        changed=changed,
        received_at=max(seen, changed),
        sent_seq=1,
        received_seq=2,
        walk_seq=1,
        patients=patients_of(body),
    )


def _first_seen(body: Mapping[str, Any], now: datetime, zone: ZoneInfo) -> datetime:
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


def _tasks(findings: list[Finding], now: datetime) -> list[Finding]:
    """The face of each need that is open."""
    faces: dict[str, Finding] = {}
    for finding in findings:
        if finding.opens_now(now) and finding.need is not None:
            held = faces.get(finding.need)
            if held is None or finding.rule.rank < held.rule.rank:
                faces[finding.need] = finding
    return list(faces.values())


def _unmet(expected: list[Any], standing: list[Finding], calendar: Calendar) -> Iterator[str]:
    left = list(standing)
    for told in expected:
        found = next((f for f in left if (f.rule.id, f.focus) == (told.get("rule"), told.get("focus"))), None)
        if found is None:
            yield f"{told.get('rule')} does not open on {told.get('focus')}"
            continue
        left.remove(found)
        yield from _differences(told, found, calendar)
    for finding in left:
        yield f"{finding.rule.id} opens on {finding.focus}, and nothing expects it"


def _differences(told: Mapping[str, Any], found: Finding, calendar: Calendar) -> Iterator[str]:
    actual: dict[str, Any] = {
        "rule": found.rule.id,
        "focus": found.focus,
        "code": found.rule.code,
        "need": found.need,
        "title": found.words.title,
        "next": found.words.next,
        "reason": found.words.reason,
        "performer": found.performer,
        "priority": found.priority.value,
        "group": found.group,
    }
    for key, value in told.items():
        if key in ("due", "opens"):
            at = found.due if key == "due" else found.opens
            if not _same_time(value, at, calendar):
                local = calendar.local(at).isoformat() if at else "not known"
                yield f"{found.rule.id}: {key} is {local}, not {value}"
        elif key not in actual:
            yield f"unknown key {key!r} in expect"
        elif actual[key] != value:
            yield f"{found.rule.id}: {key} is {actual[key]!r}, not {value!r}"


def _same_time(told: Any, at: datetime | None, calendar: Calendar) -> bool:
    if at is None:
        return told in (None, "none")
    text = str(told)
    if len(text) == len("2025-12-01"):
        return calendar.local(at).date().isoformat() == text
    when = parse_when(text, calendar.zone)
    return when is not None and when.instant == at

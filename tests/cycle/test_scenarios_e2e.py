"""The scenario files, end to end: their resources are put on a server, Baton runs, and the server's Tasks are read.

All cases with the same settings live in one EHR and one ledger: time goes from step to step of all of them, and at
each moment what is there by then is put, a whole pass is made, and what a coordinator would see is compared.
"""

from __future__ import annotations

import functools
import json
import re
import secrets
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import yaml

from adapter import engine
from adapter.app import App
from adapter.clock import FixedClock
from adapter.connection import Connection
from adapter.facts.times import parse_when
from adapter.fhir import FhirClient
from adapter.mapping.yaml_lines import parse
from adapter.reconcile.scenarios import BASE, PATIENT, ZONE
from adapter.report import PassOptions, SourceReport, SyncReport
from adapter.settings import load
from tests.conftest import TOKEN, FhirServer
from tests.cycle.shifted import Shifted
from tests.cycle.world import RUN_TAG
from tests.mapping.making import MAPPINGS, shipped

SUBJECT = {
    "Appointment": "",
    "CoverageEligibilityResponse": "patient",
    "Coverage": "beneficiary",
    "Patient": "",
}
STUBS = frozenset({"Practitioner", "PractitionerRole", "Location", "Organization", "Group", "Device"})
OPEN = frozenset({"requested", "received", "accepted", "ready", "in-progress", "on-hold"})
TAGGED = ("Appointment", "ServiceRequest", "CoverageEligibilityResponse")
_NEEDED: Mapping[str, Mapping[str, Any]] = {"Group": {"type": "person", "actual": True}}
MOMENT = timedelta(seconds=30)  # what becomes due at a moment is seen right after it
_REFERENCE = re.compile(
    r"^(?:" + re.escape(BASE) + r"/)?([A-Z][A-Za-z]+)/([A-Za-z0-9\-.]+)((?:/_history/.*)?)$"
)


@dataclass
class Case:
    """One scenario under ids of its own. ``number`` tells it from the others in its EHR."""

    number: int
    file: str
    told: dict[str, Any]
    run: str
    base: str
    problems: list[str] = field(default_factory=list)
    expected: bool = False  # whether some step up to now expects a task

    @property
    def name(self) -> str:
        return f"{self.file}: {self.told['name']}"

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(str(self.told.get("zone", ZONE)))

    @property
    def steps(self) -> list[dict[str, Any]]:
        return [self.told, *self.told.get("then", [])]

    def ref(self, ref: str) -> str:
        type, _, id = ref.partition("/")
        return f"{type}/{self.run}-{self.number}-{id}"

    def own_text(self, text: str) -> str:
        """A text with the refs in it made this case's own."""
        return re.sub(r"\b[A-Z][A-Za-z]+/[A-Za-z0-9.\-]+", lambda found: self.ref(found[0]), text)

    def instant(self, value: Any) -> datetime:
        when = parse_when(str(value), self.zone)
        assert when is not None
        return when.instant.astimezone(UTC)

    def events(self) -> Iterator[tuple[datetime, int, str, Any]]:
        """What happens when: (instant, order within it, what, its object)."""
        for number, step in enumerate(self.steps):
            now = self.instant(step["now"])
            given, unknown = dict(step.get("given") or {}), step.get("unknown") or ()
            if number == 0:
                given = {PATIENT: {"active": True}, **given}
                times = self._times(given, now)
                # The person is there before anything that names her.
                yield min(times.values()), 0, "person", {r: b for r, b in given.items() if _is_person(r)}
            for place, ref in enumerate(_named_first(given)):
                if number == 0 and _is_person(ref):
                    continue
                at = times[ref] if number == 0 else now
                yield at, 1 + place, "put", (ref, given[ref])
                yield at, 0, "refused", unknown
            for touched in step.get("person") or ():
                yield now, 0, "touch", touched
            yield now + MOMENT, 0, "refused", unknown
            yield now + MOMENT, 0, "check", step

    def _times(self, given: Mapping[str, Any], now: datetime) -> dict[str, datetime]:
        """When each comes to be; what another one names is there at the latest with it."""
        times = {ref: now if _is_person(ref) else self._when(body, now) for ref, body in given.items()}
        for ref in reversed(_named_first(given)):
            for named in _names(given[ref]):
                if named in times and not _is_person(named):
                    times[named] = min(times[named], times[ref])
        return times

    def _when(self, body: Mapping[str, Any], now: datetime) -> datetime:
        """When it comes to be what it is: where nothing is said of that, Baton sees it for the first time now."""
        for name in ("_changed", "_seen"):
            if name in body:
                return self.instant(body[name])
        return now

    def resource(self, ref: str, told: Mapping[str, Any]) -> dict[str, Any]:
        """As it is put: with its ids and references, its patient, and the run's tag."""
        type, _, _ = ref.partition("/")
        body = {key: value for key, value in told.items() if not key.startswith("_")}
        if type == "Appointment" and "participant" not in body:
            body["participant"] = [{"actor": {"reference": PATIENT}, "status": "accepted"}]
        subject = SUBJECT.get(type, "subject")
        if subject and subject not in body:
            body[subject] = {"reference": PATIENT}
        if type == "ServiceRequest":
            body.setdefault("intent", "order")
        meta = {**body.pop("meta", {})}
        meta["tag"] = [*meta.get("tag", []), {"system": RUN_TAG, "code": self.run}]
        whole = {"resourceType": type, "id": self.ref(ref).partition("/")[2], "meta": meta, **self._own(body)}
        return whole

    def _own(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {k: self._own_reference(v) if k == "reference" else self._own(v) for k, v in value.items()}
        return [self._own(part) for part in value] if isinstance(value, list) else value

    def _own_reference(self, text: str) -> str:
        found = _REFERENCE.match(text)
        if found is None:
            return text
        own = self.ref(f"{found[1]}/{found[2]}") + found[3]
        return f"{self.base}/{own}" if text.startswith(BASE) else own

    def stubs(self, told: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Who is named and plays no part: a server that enforces references wants them to be there."""
        for type, id in set(
            re.findall(r'"reference": "([A-Z][A-Za-z]+)/([A-Za-z0-9\-.]+)"', json.dumps(told))
        ):
            if type in STUBS:
                own = self.ref(f"{type}/{id}").partition("/")[2]
                yield {"resourceType": type, "id": own, **_NEEDED.get(type, {})}


def _names(body: Any) -> list[str]:
    """The "Type/id"s that a resource of a scenario names."""
    found = re.findall(r'"reference": "([^"#]+)"', json.dumps(body))
    return [f"{m[1]}/{m[2]}" for text in found if (m := _REFERENCE.match(text))]


def _named_first(given: Mapping[str, Any]) -> list[str]:
    """The refs in an order in which whatever is named stands before who names it."""
    done: list[str] = []

    def take(ref: str) -> None:
        if ref in done or ref not in given:
            return
        for named in _names(given[ref]):
            if named != ref:
                take(named)
        done.append(ref)

    for ref in given:
        take(ref)
    return done


def _is_person(ref: str) -> bool:
    return ref.startswith("Patient/")


def _cases() -> dict[str, list[tuple[str, dict[str, Any]]]]:
    """The scenarios by their settings: each kind is a source of its own."""
    groups: dict[str, list[tuple[str, dict[str, Any]]]] = defaultdict(list)
    for path in sorted((MAPPINGS / "scenarios").glob("*.scenarios.yaml")):
        value: Any = parse(path.read_text("utf-8"), path.name).value
        for told in value["scenarios"]:
            steps = [told, *told.get("then", [])]
            unknown = [step.get("unknown") for step in steps]
            key = [told.get("source"), told.get("zone", ZONE), told.get("declared_none"), unknown]
            groups[json.dumps(key, sort_keys=True, default=str)].append((path.name, told))
    return dict(groups)


@dataclass
class Ehr:
    """One group of cases on one server, with one Baton."""

    server: FhirServer
    folder: Path
    cases: list[Case]
    transport: Shifted
    run: str

    def app(self, clock: FixedClock) -> App:
        told = self.cases[0].told
        source = {
            "name": "scenario",
            "base_url": self.server.base_url,
            "write_back": True,
            "timezone": str(told.get("zone", ZONE)),
            "token_env": "BATON_TEST_TOKEN",
            "headers": dict(self.server.headers),
            "live_from": "2001-01-01",
            "live_over": 0,
            "search": {type: f"_tag={RUN_TAG}|{self.run}" for type in TAGGED},
            "types": {type: "none" for type in told.get("declared_none") or ()},
            **(told.get("source") or {}),
        }
        whole = {"namespace": self.run, "ledger": str(self.folder / f"{self.run}.db"), "sources": [source]}
        config = self.folder / f"{self.run}.yaml"
        config.write_text(yaml.safe_dump(whole), encoding="utf-8")
        return App.open(load(config), clock=clock)

    def live(self) -> None:
        """From the first event of all cases to the last."""
        moments: dict[datetime, list[tuple[int, Case, str, Any]]] = defaultdict(list)
        for case in self.cases:
            for at, order, what, subject in case.events():
                moments[at].append((order, case, what, subject))
        clock = FixedClock(min(moments) - timedelta(hours=1))
        with self.app(clock) as app, app.ledger.lock("test"):
            app.activate()
            connection = None
            for at in sorted(moments):
                happening = sorted(moments[at], key=lambda event: (event[0], event[1].number))
                clock.set(self.transport.at(at))
                connection = connection or app.engine("scenario").connect(SourceReport(""), PassOptions())
                self._happen(connection, happening)

    def _happen(self, connection: Connection, happening: list[tuple[int, Case, str, Any]]) -> None:
        checks = []
        self.transport.refused = frozenset(
            t for _, _, what, types in happening if what == "refused" for t in types
        )
        for _, case, what, subject in happening:
            if what == "person":
                self._put_all(case, subject)
            elif what == "put":
                self._put(case, *subject)
            elif what == "touch":
                self._touch(case, subject)
            elif what == "check":
                checks.append((case, subject))
        report, mine = SyncReport(), SourceReport("scenario")
        connection.poll(mine)
        connection.refresh(mine)
        connection.look(report, mine)
        connection.deliver(report, mine)
        for case, step in checks:
            self._check(case, step)

    def _put_all(self, case: Case, given: Mapping[str, Any]) -> None:
        """Persons: first who names nobody, so that links find their other end."""
        for ref, body in sorted(given.items(), key=lambda item: "link" in item[1]):
            self._put(case, ref, body)

    def _put(self, case: Case, ref: str, body: Mapping[str, Any] | None) -> None:
        if body is None:
            assert self.server.ehr.delete(case.ref(ref)).status_code in (200, 204)
            return
        for stub in case.stubs(body):
            self.server.put(stub)
        self.server.put(case.resource(ref, body))

    def _touch(self, case: Case, told: Mapping[str, Any]) -> None:
        """A coordinator sets the status of her task."""
        task = self._standing(case)[self._coded(told["rule"]), case.ref(told["focus"])]
        self.server.put({**task, "status": told["status"]})

    def _standing(self, case: Case) -> dict[tuple[str, str], dict[str, Any]]:
        """The open Tasks of a case's people, by code and focus, as the server has them."""
        open_ones = (task for task in self._tasks(case) if task["status"] in OPEN)
        return {(self._code(task), task["focus"].get("reference", "")): task for task in open_ones}

    def _tasks(self, case: Case) -> list[dict[str, Any]]:
        """All Tasks of a case's people, closed ones included."""
        found = []
        for person in case.told.get("patients") or (PATIENT,):
            query = {"patient": case.ref(person), "_count": "100"}
            answer = self.server.ehr.get("Task", params=query, headers={"Cache-Control": "no-cache"})
            assert answer.status_code == 200, answer.text
            tasks = [entry["resource"] for entry in answer.json().get("entry", [])]
            found += [task for task in tasks if task["resourceType"] == "Task"]
        return found

    def _check(self, case: Case, step: Mapping[str, Any]) -> None:
        case.expected = case.expected or bool(step.get("expect"))
        if not case.expected:  # no task means none at any time, closed ones included
            case.problems += [f"{step['now']}: there is a Task ({t['status']})" for t in self._tasks(case)]
        standing = self._standing(case)
        wanted = {(self._coded(e["rule"]), case.ref(e["focus"])): e for e in step.get("expect") or ()}
        for code, focus in standing.keys() - wanted.keys():
            case.problems.append(f"{step['now']}: {code} stands on {focus}, and nothing expects it")
        for code, focus in wanted.keys() - standing.keys():
            case.problems.append(f"{step['now']}: {code} does not stand on {focus}")
        for key in wanted.keys() & standing.keys():
            case.problems += _differences(wanted[key], standing[key], case)

    def _code(self, task: Mapping[str, Any]) -> str:
        return str(next(c["code"] for c in task["code"]["coding"] if c["system"].startswith("urn:baton")))

    def _coded(self, rule: str) -> str:
        found = shipped().rule(rule)
        assert found is not None
        return found.code


def _differences(told: Mapping[str, Any], task: Mapping[str, Any], case: Case) -> Iterator[str]:
    if "priority" in told and task["priority"] != told["priority"]:
        yield f"{told['rule']}: priority is {task['priority']}, not {told['priority']}"
    if "patient" in told and task["for"]["reference"] != case.ref(told["patient"]):
        yield f"{told['rule']}: it is for another patient"
    if "status" in told and task["status"] != told["status"]:
        yield f"{told['rule']}: status is {task['status']}, not {told['status']}"
    number = task["identifier"][0]["value"].rpartition("-")[2]
    if number != str(told.get("generation", number)):
        yield f"{told['rule']}: it is task {number} of its need, not {told['generation']}"
    groups = {tag["code"] for tag in task["meta"]["tag"] if "group" in tag["system"]}
    if "group" in told and groups != {case.own_text(told["group"])}:
        yield f"{told['rule']}: its group is {groups}, not {told['group']}"
    if "reason" in told and task["reasonCode"]["text"] != told["reason"]:
        yield f"{told['rule']}: reason is {task['reasonCode']['text']!r}, not {told['reason']!r}"
    if "title" in told and not task["code"]["text"].startswith(told["title"]):
        yield f"{told['rule']}: title is {task['code']['text']!r}, not {told['title']!r}"
    due = task.get("restriction", {}).get("period", {}).get("end", "")
    if len(str(told.get("due", ""))) == 10 and not _same_day(due, str(told["due"]), case.zone):
        yield f"{told['rule']}: due is {due}, not {told['due']}"


def _same_day(end: str, day: str, zone: ZoneInfo) -> bool:
    when = parse_when(end, zone)
    return when is not None and when.instant.astimezone(zone).date().isoformat() == day


GROUPS = _cases()


SERVERS = [
    "sandbox",
    pytest.param("hapi", marks=(pytest.mark.server, pytest.mark.long)),
    pytest.param("helios", marks=(pytest.mark.server, pytest.mark.helios)),
]


@pytest.mark.parametrize("fhir_server", SERVERS, indirect=True)
@pytest.mark.parametrize("group", GROUPS, ids=lambda key: f"{len(GROUPS[key])} x {key}"[:70])
def test_scenarios_on_a_server(
    group: str, fhir_server: FhirServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BATON_TEST_TOKEN", TOKEN)
    transport = Shifted()
    monkeypatch.setattr(engine, "FhirClient", functools.partial(FhirClient, transport=transport))
    run = f"s{secrets.token_hex(4)}"
    told = [(file, one) for file, one in GROUPS[group] if fhir_server.kind not in (one.get("not_on") or {})]
    if not told:
        pytest.skip(f"not on {fhir_server.kind}: {GROUPS[group][0][1]['not_on'][fhir_server.kind]}")
    cases = [Case(n, file, one, run, fhir_server.base_url) for n, (file, one) in enumerate(told)]
    Ehr(fhir_server, tmp_path, cases, transport, run).live()
    problems = [f"{case.name}: {problem}" for case in cases for problem in case.problems]
    assert not problems, "\n".join(problems)

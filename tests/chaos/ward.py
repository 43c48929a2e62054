"""One run on one server: a Baton behind the proxy, people at the server itself, and what counts at the end."""

from __future__ import annotations

import json
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import yaml

from adapter.app import App, SyncReport
from adapter.clock import SystemClock
from adapter.sandbox.cohort import cohort
from adapter.sandbox.synthetic import Builder
from adapter.settings import load
from tests.chaos.proxy import Asked, Proxy
from tests.chaos.story import Story, steady_cohort

RUN_TAG = "urn:baton:run"
TOKEN_ENV = "BATON_TEST_TOKEN"
CLIENT_S = 1.5  # how long Baton waits for an answer
BEGAN = datetime.now(UTC)  # one for all runs, so that their due times can be compared
MOST_IDLE = 5  # passes in which no Task comes for which people wait
MOST_PASSES = 12  # until it has to be quiet

Resource = dict[str, Any]
End = dict[str, Any]


class Impatient(SystemClock):
    """The machine's clock for somebody who will not wait: a rest between two attempts is over at once."""

    def sleep(self, seconds: float) -> None:
        time.sleep(min(max(0.0, seconds), 0.005))


@dataclass(frozen=True, slots=True)
class Edit:
    """An edit that the server acknowledged, as a version with its stamp; ``again`` makes it once more."""

    ref: str
    version: str
    stamp: str
    again: Callable[[], object]


@dataclass(frozen=True, slots=True)
class Hers:
    """What a person set: it has to stand until a person sets something else."""

    task: str
    element: str
    value: str
    version: str


@dataclass
class Ward:
    """A run. ``ehr`` is a plain client at the server; Baton goes through ``proxy``."""

    ehr: httpx.Client
    proxy: Proxy
    folder: Path
    seed: str
    run: str
    began: datetime
    hers: list[Hers] = field(default_factory=list)
    edits: list[Edit] = field(default_factory=list)
    passes: int = 0
    failed_passes: int = 0
    faults_said: list[str] = field(default_factory=list)

    @classmethod
    def made(cls, ehr: httpx.Client, proxy: Proxy, folder: Path, seed: str) -> Ward:
        """A run of its own, with the cohort seeded and the configuration written."""
        folder.mkdir(parents=True, exist_ok=True)
        ward = cls(ehr, proxy, folder, seed, f"c{secrets.token_hex(4)}", BEGAN)
        ward.configure()
        ward.seed_cohort()
        return ward

    @property
    def config(self) -> Path:
        return self.folder / "baton.yaml"

    @property
    def builder(self) -> Builder:
        return Builder(self.began, UTC, self.run, 0)

    def configure(self, **more: Any) -> None:
        """Write the configuration; ``more`` are keys of the source."""
        tag = f"_tag={RUN_TAG}|{self.run}"
        source = {
            "name": "general",
            "base_url": self.proxy.base_url,
            "aliases": [self.proxy.upstream],
            "environment": "test",
            "write_back": True,
            "timezone": "UTC",
            "token_env": TOKEN_ENV,
            "overlap": "3s",
            "page_size": 20,
            "search": {t: tag for t in ("Appointment", "ServiceRequest", "CoverageEligibilityResponse")},
            "limits": {
                "connect": "1s",
                "read": f"{CLIENT_S}s",
                "total": f"{CLIENT_S}s",
                "retries": 1,
                "calls_per_minute": 0,
            },
            **more,
        }
        whole = {"namespace": self.run, "ledger": str(self.folder / "ledger.db"), "sources": [source]}
        self.config.write_text(yaml.safe_dump(whole), encoding="utf-8")

    def seed_cohort(self) -> None:
        """Put the cohort there, in transactions: the rows of one share their time."""
        resources = steady_cohort(cohort(self.began, UTC, run=self.run), self.run)
        for start in range(0, len(resources), 60):
            entries = [
                {
                    "fullUrl": f"{self.proxy.upstream}/{one['resourceType']}/{one['id']}",
                    "resource": one,
                    "request": {"method": "PUT", "url": f"{one['resourceType']}/{one['id']}"},
                }
                for one in resources[start : start + 60]
            ]
            bundle = {"resourceType": "Bundle", "type": "transaction", "entry": entries}
            answer = self.ehr.post("", json=bundle)
            assert answer.status_code == 200, answer.text[:2000]

    # --- people and the hospital (story.Desk)

    def put(self, resource: Resource) -> None:
        ref = f"{resource['resourceType']}/{resource['id']}"
        answer = self.ehr.put(ref, json=resource, headers={"Prefer": "return=representation"})
        assert answer.status_code in (200, 201), answer.text
        meta = answer.json()["meta"]
        self.edits.append(
            Edit(ref, str(meta["versionId"]), str(meta["lastUpdated"]), lambda: self.put(resource))
        )

    def change(self, ref: str, **elements: Any) -> None:
        body = self.ehr.get(ref).raise_for_status().json()
        self.put({**body, **elements})

    def has_task(self, patient: str) -> bool:
        return self.task_of(patient) is not None

    def task_of(self, patient: str) -> Resource | None:
        """The patient's one Task; the same need twice fails."""
        found = [task for task in self.written("Task").values() if self._is_for(task, patient)]
        needs = [need_of(task) for task in found]
        assert len(needs) == len(set(needs)), f"one need twice for {patient}: {needs}"
        assert len(found) <= 1, f"{patient} has {len(found)} Tasks: {needs}"
        return found[0] if found else None

    def _is_for(self, task: Resource, patient: str) -> bool:
        return bool(task.get("for", {}).get("reference") == f"Patient/{self.run}-{patient}")

    def on_task(self, patient: str, element: str, value: str, edit: Callable[[Resource], None]) -> bool:
        """A person edits the patient's Task, upon the version that she sees."""
        for _ in range(20):
            task = self.task_of(patient)
            if task is None:
                return False
            edit(task)
            version = task["meta"]["versionId"]
            answer = self.ehr.put(
                f"Task/{task['id']}",
                json=task,
                headers={"If-Match": f'W/"{version}"', "Prefer": "return=representation"},
            )
            if answer.status_code == 200:
                made = str(answer.json()["meta"]["versionId"])
                self.hers.append(Hers(str(task["id"]), element, value, made))
                stamp = str(answer.json()["meta"]["lastUpdated"])
                ref = f"Task/{task['id']}"
                self.edits.append(Edit(ref, made, stamp, lambda: self.on_task(patient, element, value, edit)))
                return True
            assert answer.status_code in (409, 412), answer.text
        raise AssertionError("a person cannot save her edit")

    # --- what stands on the server

    def written(self, type: str) -> dict[str, Resource]:
        """What Baton wrote, as the server has it now, by id."""
        system = {"Task": "task", "CarePlan": "plan"}[type]
        query = {"identifier": f"urn:baton:{self.run}:{system}|", "_count": "200"}
        answer = self.ehr.get(type, params=query, headers={"Cache-Control": "no-cache"})
        assert answer.status_code == 200, answer.text
        found = [entry["resource"] for entry in answer.json().get("entry", [])]
        assert len(found) == len({one["id"] for one in found})
        return {one["id"]: one for one in found}

    def versions(self) -> dict[str, str]:
        """The version of everything that Baton wrote."""
        return {
            f"{type}/{id}": str(one["meta"]["versionId"])
            for type in ("Task", "CarePlan")
            for id, one in self.written(type).items()
        }

    def end(self) -> End:
        """What counts at the end, in words that another run would use, too."""
        tasks, names = {}, {}
        for task in self.written("Task").values():
            need = need_of(task)
            assert need not in tasks, f"two Tasks of one need: {need}"
            tasks[need] = told(task)
            names[f"Task/{task['id']}"] = need
        plans = {}
        for plan in self.written("CarePlan").values():
            listed = [names.get(a["reference"]["reference"], "?") for a in plan.get("activity", [])]
            assert len(listed) == len(set(listed)), f"a plan names a Task twice: {listed}"
            if not listed:
                continue  # its only Task was taken back: whether the plan came first is a matter of when
            name = f"{plan['subject']['reference']} {plan['id'].rpartition('-')[2]}"
            label = "/".join(sorted(c["code"] for k in plan.get("category", []) for c in k.get("coding", [])))
            assert f"{name} {label}" not in plans
            plans[f"{name} {label}"] = {"status": plan["status"], "tasks": sorted(listed)}
        found = json.dumps({"tasks": tasks, "plans": plans}, sort_keys=True).replace(self.run, "RUN")
        end: End = json.loads(found)
        return end

    def history(self, task: str) -> dict[str, Resource]:
        """All versions of a Task, by version."""
        answer = self.ehr.get(f"Task/{task}/_history", params={"_count": "200"})
        assert answer.status_code == 200, answer.text
        found = [entry.get("resource") for entry in answer.json()["entry"]]
        return {str(one["meta"]["versionId"]): one for one in found if one}

    # --- Baton

    @contextmanager
    def app(self) -> Iterator[App]:
        with App.open(load(self.config), clock=Impatient()) as app:
            yield app

    def sync(self, **options: Any) -> SyncReport:
        """One pass. What it says at the end of its patience is no fault of the test."""
        self.passes += 1
        with self.app() as app:
            report = app.sync(**options)
        for source in report.sources:
            self.failed_passes += source.failed
            self.faults_said += source.errors
        return report

    def time_passes(self) -> None:
        """Long enough that nothing is on its way any more, and everything that rests may be tried again.

        The ledger's file is set back by an hour in place of the waiting; no Baton has it open now.
        """
        self.proxy.flush()
        earlier = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
        ledger = sqlite3.connect(self.folder / "ledger.db")
        try:
            with ledger:
                ledger.execute("UPDATE outbox SET not_before = NULL WHERE state <> 'parked'")
                ledger.execute("UPDATE outbox SET attempt_at = ? WHERE state = 'leased'", [earlier])
                ledger.execute("UPDATE requests SET not_before = NULL")
        finally:
            ledger.close()

    def quiet(self) -> int:
        """Passes until one does nothing at all; how many it took."""
        for number in range(1, MOST_PASSES + 1):
            self.time_passes()
            before = self.versions()
            report = self.sync()
            assert not report.sources[0].failed, report.sources[0].errors
            if self.versions() == before and not any(report.tasks.values()) and not writes(report):
                return number
        raise AssertionError(f"not quiet after {MOST_PASSES} passes: {report.as_json()}")

    def to_the_end(self, story: Story, wanted: End) -> None:
        """All edits done, passes until quiet, nothing in the way any more: what has to hold then."""
        self.time_passes()
        self.sync()
        idle = 0
        while story.left:
            idle = 0 if story.round(self) else idle + 1
            assert idle < MOST_IDLE, f"people wait for Tasks that do not come: {story.waiting()}"
            self.time_passes()
            self.sync()
        self.quiet()
        self.check()
        assert not (found := different(self.end(), wanted)), found

    def tell(self, story: Story, first: int = 0) -> None:
        """Print what is needed to understand a failure, and to repeat it."""
        print(
            f"\nfailed: {self.seed}, pass {self.passes}; BATON_CHAOS_SEED and BATON_CHAOS_RUN repeat it. On the way:"
        )
        print(
            *self.proxy.log[first:][-400:], "edits:", story.told, "said:", *self.faults_said[-30:], sep="\n"
        )
        with self.app() as app:
            print("waiting to be written:", *app.ledger.outbox(), "open:", sep="\n")
            there = self.versions()
            for task in app.ledger.tasks(open_only=True):
                print(task.patient, task.id, task.status, task.seen_version, there.get(f"Task/{task.id}"))

    # --- what has to hold

    def check(self) -> None:
        """Ledger and server say the same, the ledger is sound, and people's values stand in every version since."""
        with self.app() as app:
            assert app.ledger.rebuild() == []
            assert app.ledger.check() == []
            assert [(r.target, r.state, r.parked) for r in app.ledger.outbox()] == []
            assert [(row.type, row.reason) for row in app.ledger.quarantine()] == []
            rows = {row["id"]: row for row in app.task_rows(all=True)}
        on_server = self.written("Task")
        listed = {id for id, row in rows.items() if row["written"]}
        gone = {id for id, task in on_server.items() if task["status"] == "entered-in-error"}
        assert set(on_server) - gone == listed, "Tasks lost, or known to nobody"
        for id in listed:
            assert on_server[id]["status"] == rows[id]["status"], (id, rows[id]["need"])
        self.check_hers()

    def check_hers(self) -> None:
        """No version after a person's edit has taken it back, but by another edit of a person."""
        for task in sorted({one.task for one in self.hers}):
            versions = self.history(task)
            mine = [one for one in self.hers if one.task == task]
            for one in mine:
                later = [
                    o.version for o in mine if o.element == one.element and _after(o.version, one.version)
                ]
                until = min(map(int, later), default=10**9) if one.element != "note" else 10**9
                for version, body in versions.items():
                    if int(one.version) <= int(version) < until:
                        assert has(body, one), f"{one.element} was taken back in version {version} of {task}"


def _after(one: str, other: str) -> bool:
    return int(one) > int(other)


def need_of(task: Resource) -> str:
    """The need that a Task stands for."""
    found = [i["valueString"] for i in task["input"] if i["type"]["coding"][0]["code"] == "need"]
    assert len(found) == 1
    return str(found[0])


def told(task: Resource) -> Resource:
    """A Task without what differs from run to run: ids, times of writing."""
    codings = task.get("businessStatus", {}).get("coding", [])
    reasons = task.get("statusReason", {}).get("coding", [])
    return {
        "generation": task["id"].rpartition("-")[2],
        "code": task["code"]["coding"][0]["code"],
        "status": task["status"],
        "priority": task.get("priority"),
        "for": task.get("for", {}).get("reference"),
        "focus": _named(task.get("focus", {})),
        "owner": task.get("owner", {}).get("reference"),
        "business_status": [one["code"] for one in codings],
        "reason": [one["code"] for one in reasons],
        "due": _day(task.get("restriction", {}).get("period", {}).get("end")),
        "notes": sorted(one["text"] for one in task.get("note", [])),
    }


def _named(reference: Resource) -> str:
    """A closed task lets its focus go: it names it by identifier."""
    return str(reference.get("reference") or reference.get("identifier", {}).get("value", "")).rpartition(
        "/"
    )[2]


def has(task: Resource, one: Hers) -> bool:
    """Whether a version of a Task holds what a person set."""
    match one.element:
        case "note":
            return any(note["text"] == one.value for note in task.get("note", []))
        case "owner":
            return bool(task.get("owner", {}).get("reference") == one.value)
        case "due":
            return str(task.get("restriction", {}).get("period", {}).get("end", "")).startswith(one.value)
        case "business_status":
            codings = task.get("businessStatus", {}).get("coding", [])
            return any(coding["code"] == one.value for coding in codings)
        case _:
            return bool(task["status"] == one.value)


def writes(report: SyncReport) -> int:
    """How many resources a pass wrote."""
    return report.writes["Task"] + report.writes["CarePlan"]


def different(one: End, other: End) -> str:
    """Where two ends differ, line by line."""
    lines = []
    for part in ("tasks", "plans"):
        for name in sorted({*one[part], *other[part]}):
            left, right = one[part].get(name), other[part].get(name)
            if left != right:
                lines.append(f"{name}:\n    with    {left}\n    without {right}")
    return "\n".join(lines)


def edits_on_the_way(ward: Ward, story: Story, first: int, last: int) -> None:
    """Let people do something in the middle of the next requests."""
    number = story.random.randint(first, last)

    def do(asked: Asked) -> None:
        story.some(ward, 2)

    ward.proxy.at(number, story.random.choice(("before", "between")), do)


def _day(due: str | None) -> str | None:
    """A due time of hours hangs on when it was first seen; a day does not."""
    return "an hour" if due and "T" in due else due

"""The floor: what the same work costs somebody who writes it by hand for one hospital and nothing else.

The same HTTP of the same pages (httpx, one connection), orjson, the six rules about orders and visits as plain
Python, one SQLite file with the same durability as the ledger (WAL, ``synchronous = FULL``). Only the columns that
those rules read are stored. It knows no guards, no evidence, no history, no explanation, no second look: it is a
floor, not a rival.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import orjson

TYPES = ("ServiceRequest", "CoverageEligibilityResponse", "Appointment")
PERSONS = 100  # to one transaction
_SCHEMA = """
CREATE TABLE rows (ref TEXT PRIMARY KEY, type TEXT, patient TEXT, version TEXT, status TEXT, day TEXT, made TEXT,
    orders TEXT, kind TEXT, words TEXT, seen TEXT) WITHOUT ROWID;
CREATE INDEX rows_by_patient ON rows (patient);
CREATE TABLE tasks (key TEXT PRIMARY KEY, patient TEXT, code TEXT, focus TEXT, status TEXT, opened TEXT, due TEXT,
    title TEXT, reason TEXT) WITHOUT ROWID;
CREATE INDEX tasks_by_patient ON tasks (patient);
CREATE TABLE patients (ref TEXT PRIMARY KEY, dead INTEGER) WITHOUT ROWID;
CREATE TABLE marks (type TEXT PRIMARY KEY, stamp TEXT) WITHOUT ROWID;
"""
_KINDS = {
    "3457005": "referral",
    "103696004": "referral",
    "306206005": "referral",
    "363679005": "imaging",
    "387713003": "procedure",
    "108252007": "laboratory",
}
_ROW = (
    "INSERT INTO rows VALUES (?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT (ref) DO UPDATE SET patient=excluded.patient, \
version=excluded.version, status=excluded.status, day=excluded.day, made=excluded.made, orders=excluded.orders, \
kind=excluded.kind, words=excluded.words, seen=excluded.seen WHERE version <> excluded.version"
)
_TASK = (
    "INSERT INTO tasks VALUES (?,?,?,?,?,?,?,?,?) ON CONFLICT (key) DO UPDATE SET status=excluded.status, \
due=excluded.due, title=excluded.title, reason=excluded.reason"
)

Row = tuple[Any, ...]


class Floor:
    """One hospital's own script: pages in, tasks in a table out."""

    def __init__(self, base_url: str, path: Path) -> None:
        self._base = base_url
        self._http = httpx.Client(headers={"Accept": "application/fhir+json"}, trust_env=False)
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        if not self._db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
            self._db.executescript(_SCHEMA)

    def close(self) -> None:
        """Close file and connection."""
        self._http.close()
        self._db.close()

    def run(self) -> int:
        """Poll, read the patients, map whoever was touched; how many resources were received."""
        self._http.get(f"{self._base}/metadata")
        received, touched = 0, dict[str, None]()
        for type in TYPES:
            for resources in self._pages(type):
                received += len(resources)
                self._store(type, resources, touched)
        self._read_patients(list(touched))
        self._map(list(touched))
        return received

    def tasks(self) -> dict[str, str]:
        """Open tasks: key → due."""
        return dict(self._db.execute("SELECT key, due FROM tasks WHERE status = 'requested'"))

    def _pages(self, type: str) -> Iterator[list[dict[str, Any]]]:
        mark = self._db.execute("SELECT stamp FROM marks WHERE type = ?", (type,)).fetchone()
        params = {"_sort": "_lastUpdated,_id", "_count": "100"} | (
            {"_lastUpdated": f"ge{mark[0]}"} if mark else {}
        )
        answer = self._http.get(f"{self._base}/{type}", params=params)
        while True:
            page = orjson.loads(answer.content)
            yield [entry["resource"] for entry in page.get("entry", ())]
            following = [link["url"] for link in page["link"] if link["relation"] == "next"]
            if not following:
                return
            answer = self._http.get(following[0])

    def _store(self, type: str, resources: Sequence[dict[str, Any]], touched: dict[str, None]) -> None:
        if not resources:
            return
        read = _READ[type]
        rows = [read(resource) for resource in resources]
        touched.update(dict.fromkeys(row[2] for row in rows))
        self._db.execute("BEGIN IMMEDIATE")
        self._db.executemany(_ROW, rows)
        stamp = max(resource["meta"]["lastUpdated"] for resource in resources)
        self._db.execute(
            "INSERT INTO marks VALUES (?, ?) ON CONFLICT (type) DO UPDATE SET stamp = excluded.stamp",
            (type, stamp),
        )
        self._db.execute("COMMIT")

    def _read_patients(self, patients: Sequence[str]) -> None:
        known = {row[0] for row in self._db.execute("SELECT ref FROM patients")}
        unknown = [patient.partition("/")[2] for patient in patients if patient not in known]
        for start in range(0, len(unknown), 50):
            ids = ",".join(unknown[start : start + 50])
            answer = self._http.get(f"{self._base}/Patient", params={"_id": ids, "_count": "50"})
            entries = orjson.loads(answer.content).get("entry", ())
            rows = [(f"Patient/{e['resource']['id']}", _is_dead(e["resource"])) for e in entries]
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany("INSERT INTO patients VALUES (?, ?) ON CONFLICT DO NOTHING", rows)
            self._db.execute("COMMIT")

    def _map(self, patients: Sequence[str]) -> None:
        now = datetime.now(UTC)
        for start in range(0, len(patients), PERSONS):
            some = orjson.dumps(patients[start : start + PERSONS]).decode()
            rows = defaultdict(list)
            for row in self._db.execute(
                "SELECT * FROM rows WHERE patient IN (SELECT value FROM json_each(?))", (some,)
            ):
                rows[row[2]].append(row)
            open_tasks = defaultdict(dict)
            for row in self._db.execute(
                "SELECT * FROM tasks WHERE patient IN (SELECT value FROM json_each(?)) AND status = 'requested'",
                (some,),
            ):
                open_tasks[row[1]][row[0]] = row
            written: list[Row] = []
            for patient, held in rows.items():
                wanted = {task[0]: task for task in mapped(held, patient, now)}
                before = open_tasks[patient]
                written += [task for key, task in wanted.items() if key not in before]
                written += [(*t[:4], "completed", *t[5:]) for key, t in before.items() if key not in wanted]
            if written:
                self._db.execute("BEGIN IMMEDIATE")
                self._db.executemany(_TASK, written)
                self._db.execute("COMMIT")


def _is_dead(patient: dict[str, Any]) -> bool:
    return bool(patient.get("deceasedBoolean") or patient.get("deceasedDateTime"))


# From resources to rows ------------------------------------------------------------------------------------------


def _order_row(r: dict[str, Any]) -> Row:
    codings = [c for concept in r.get("category", ()) for c in concept.get("coding", ())]
    kind = next((_KINDS[c["code"]] for c in codings if c.get("code") in _KINDS), "")
    words = r["code"].get("text") or r["code"]["coding"][0]["display"]
    made = r.get("authoredOn", "")
    urgency = r.get("priority", "routine")
    return (
        f"ServiceRequest/{r['id']}",
        "o",
        r["subject"]["reference"],
        r["meta"]["versionId"],
        r["status"],
        urgency,
        made,
        "",
        kind,
        words,
        r["meta"]["lastUpdated"],
    )


def _visit_row(r: dict[str, Any]) -> Row:
    patient = next(
        (ref for p in r["participant"] if (ref := p["actor"].get("reference", "")).startswith("Patient/")), ""
    )
    by = next((c["code"] for c in r.get("cancelationReason", {}).get("coding", ())), "")
    words = r["serviceType"][0].get("text", "visit")
    orders = " ".join(ref["reference"] for ref in r.get("basedOn", ()))
    return (
        f"Appointment/{r['id']}",
        "v",
        patient,
        r["meta"]["versionId"],
        r["status"],
        r.get("start", ""),
        r.get("created", ""),
        orders,
        by,
        words,
        r["meta"]["lastUpdated"],
    )


def _answer_row(r: dict[str, Any]) -> Row:
    items = [item for insurance in r.get("insurance", ()) for item in insurance.get("item", ())]
    named = [
        (c["code"], item.get("authorizationRequired"), item.get("excluded"))
        for item in items
        for c in item.get("productOrService", {}).get("coding", ())
    ]
    said = " ".join(f"{code}:{'a' if auth else ''}{'x' if out else ''}" for code, auth, out in named)
    return (
        f"CoverageEligibilityResponse/{r['id']}",
        "a",
        r["patient"]["reference"],
        r["meta"]["versionId"],
        r["status"],
        r.get("outcome", ""),
        r.get("created", ""),
        "",
        "",
        said,
        r["meta"]["lastUpdated"],
    )


_READ = {
    "ServiceRequest": _order_row,
    "Appointment": _visit_row,
    "CoverageEligibilityResponse": _answer_row,
}

# The rules, by hand ----------------------------------------------------------------------------------------------

_STANDS = {"booked", "arrived", "checked-in", "fulfilled"}


def mapped(rows: Sequence[Row], patient: str, now: datetime) -> Iterator[Row]:
    """The tasks that should be open for one patient."""
    orders = {row[0]: row for row in rows if row[1] == "o"}
    visits = [row for row in rows if row[1] == "v"]
    of_order: dict[str, list[Row]] = defaultdict(list)
    for visit in visits:
        for order in visit[7].split():
            of_order[order].append(visit)
    yield from _about_visits(visits, patient, now)
    yield from _about_orders(orders.values(), of_order, patient, now)
    answers = [row for row in rows if row[1] == "a" and row[4] == "active"]
    yield from _about_answers(answers, orders.values(), patient, now)


def _about_visits(visits: Sequence[Row], patient: str, now: datetime) -> Iterator[Row]:
    for ref, _, _, _, status, day, _, orders, by, words, seen in visits:
        start = datetime.fromisoformat(day) if day else None
        if status in ("proposed", "pending"):
            if start is not None and now >= start - timedelta(days=7) and now < start:
                due = _business_days(start, -2)
                yield _task(
                    orders or ref, patient, "confirm-visit", ref, now, due, f"Confirm the {words} on {day}"
                )
        elif status == "noshow" or (status == "cancelled" and by.startswith("prov")):
            later = any(v[5] > day and v[6] >= seen for v in visits if v[0] != ref)
            if not later and start is not None and start >= now - timedelta(days=14):
                due = _business_days(now, 3)
                yield _task(
                    orders or ref, patient, "rebook-visit", ref, now, due, f"Rebook the {words} of {day}"
                )


def _about_orders(
    orders: Iterable[Row], of_order: dict[str, list[Row]], patient: str, now: datetime
) -> Iterator[Row]:
    for ref, _, _, _, status, urgency, made, _, kind, words, _ in orders:
        if kind not in ("referral", "imaging", "procedure"):
            continue
        visits = of_order.get(ref, ())
        authored = datetime.fromisoformat(made) if made else now
        if status == "active" and not any(v[4] in _STANDS for v in visits):
            opens = authored if urgency != "routine" else _business_days(authored, 3)
            if opens <= now and authored >= now - timedelta(days=180):
                due = _business_days(now, 10 if urgency == "routine" else 2)
                yield _task(ref, patient, "schedule-referral", ref, now, due, f"Schedule {words}")
        met = [v[5] for v in visits if v[4] in ("arrived", "checked-in", "fulfilled")]
        if met and status in ("active", "completed"):
            ended = datetime.fromisoformat(max(met))
            if now >= _business_days(ended, 5) and ended >= now - timedelta(days=14):
                due = _business_days(now, 5)
                yield _task(
                    f"result {ref}", patient, "obtain-result", ref, now, due, f"Obtain the report of {words}"
                )


def _about_answers(
    answers: Sequence[Row], orders: Iterable[Row], patient: str, now: datetime
) -> Iterator[Row]:
    newest = max(answers, key=lambda a: a[6], default=None)
    if newest is None:
        return
    wants, out = ":a" in newest[9], "x" in newest[9]
    if not (wants or out):
        return
    for ref, _, _, _, status, _, made, _, _, words, _ in orders:
        if status == "active" and made and datetime.fromisoformat(made) >= now - timedelta(days=180):
            if wants:
                due = _business_days(now, 5)
                yield _task(
                    f"auth {ref}",
                    patient,
                    "obtain-authorization",
                    ref,
                    now,
                    due,
                    f"Obtain authorization for {words}",
                )
            if out:
                due = _business_days(now, 5)
                yield _task(
                    f"out {ref}", patient, "review-exclusion", ref, now, due, f"Review coverage of {words}"
                )


def _task(key: str, patient: str, code: str, focus: str, now: datetime, due: datetime, title: str) -> Row:
    return (key, patient, code, focus, "requested", now.isoformat(), due.isoformat(), title, "")


def _business_days(at: datetime, days: int) -> datetime:
    step = timedelta(days=1 if days > 0 else -1)
    left = abs(days)
    while left:
        at += step
        left -= at.weekday() < 5
    return at

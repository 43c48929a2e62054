"""Persons: Patients joined by ``link``, the unit of a look (F11).

The name of a person is the member that was seen first, so that tasks need not be renamed when a set grows.
Links are undirected here: ``replaced-by``, ``replaces`` and ``seealso`` join, ``refer`` does not. A set
larger than ten is left as it was, held and listed: nobody in it is looked at until the links change or the
hold is released.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from datetime import datetime

from adapter.ledger import queries, rows
from adapter.ledger.fold import time_text
from adapter.ledger.records import MAX_PERSON
from adapter.ledger.wakes import renew
from adapter.model import Json
from adapter.references import Bases, parse_reference

_JOINING = frozenset({"replaced-by", "replaces", "seealso"})
TOO_LARGE = "person-too-large"


def know(db: sqlite3.Connection, source: str, patients: Iterable[str]) -> None:
    """Number patients at their first sight."""
    db.executemany(queries.KNOW_PATIENT, [(source, patient, patient) for patient in patients])


def names(db: sqlite3.Connection, source: str, patients: Iterable[str]) -> dict[str, str]:
    """The person of each patient; a patient never seen is his own person."""
    wanted = dict.fromkeys(patients)
    found = {row[0]: row[1] for row in db.execute(queries.PERSONS_OF, (source, rows.listed(wanted)))}
    return {patient: found.get(patient, patient) for patient in wanted}


def members(db: sqlite3.Connection, source: str, persons: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The patients of each person, the one that was seen first before the others."""
    found: dict[str, list[str]] = {person: [] for person in persons}
    for patient, person in db.execute(queries.PATIENTS_OF, (source, rows.listed(found))):
        found[person].append(patient)
    return {person: tuple(patients) or (person,) for person, patients in found.items()}


def joined_by(body: Json, bases: Bases) -> frozenset[str]:
    """The other Patients that a Patient's ``link`` joins to it."""
    links = body.get("link")
    found = set()
    for link in links if isinstance(links, list) else ():
        if isinstance(link, Mapping) and link.get("type") in _JOINING:
            other = parse_reference(link.get("other"), bases).local
            if other.startswith("Patient/") and other != f"Patient/{body.get('id')}":
                found.add(other)
    return frozenset(found)


def relink(
    db: sqlite3.Connection, source: str, patient: str, others: frozenset[str], now: datetime
) -> set[str]:
    """Take in the links that one Patient now has; all persons on both sides of a link that came or went."""
    before = frozenset(row[0] for row in db.execute(queries.LINKS_OF, (source, patient)))
    if before == others:
        return set()
    know(db, source, [patient, *sorted(others)])
    db.execute(queries.CUT_LINKS, (source, patient))
    db.executemany(queries.LINK, [(source, patient, other) for other in sorted(others)])
    return _regroup(db, source, {patient} | before | others, now)


def _regroup(db: sqlite3.Connection, source: str, touched: set[str], now: datetime) -> set[str]:
    old = names(db, source, touched)
    affected = set(touched)
    for known in members(db, source, set(old.values())).values():
        affected.update(known)
    affected |= _reach(db, source, affected)
    was = names(db, source, affected)
    for group in _components(db, source, affected):
        _name(db, source, group, was, now)
    _rekey(db, source, affected, set(was.values()))
    return set(names(db, source, affected).values())


def _reach(db: sqlite3.Connection, source: str, start: set[str]) -> set[str]:
    seen, edge = set(start), set(start)
    while edge:
        found = db.execute(queries.NEIGHBOURS, {"source": source, "of": rows.listed(sorted(edge))})
        edge = {patient for pair in found for patient in pair} - seen
        seen |= edge
    return seen


def _components(db: sqlite3.Connection, source: str, patients: set[str]) -> list[set[str]]:
    groups, left = [], set(patients)
    while left:
        group = _reach(db, source, {next(iter(sorted(left)))})
        groups.append(group)
        left -= group
    return groups


def _name(
    db: sqlite3.Connection, source: str, group: set[str], was: Mapping[str, str], now: datetime
) -> None:
    known = {
        row["patient"]: row for row in db.execute(queries.PERSONS_OF, (source, rows.listed(sorted(group))))
    }
    holds = {row["hold"] for row in known.values() if row["hold"] is not None}
    if len(group) > MAX_PERSON:
        _hold(db, source, group, now)
        return
    for hold in holds:
        db.execute(queries.RELEASE_HOLD, (time_text(now), hold))
        db.execute(queries.FREE_PATIENTS, (hold,))
    name = min(known, key=lambda patient: known[patient]["number"])
    db.executemany(queries.NAME_PERSON, [(name, source, patient) for patient in sorted(group)])


def _hold(db: sqlite3.Connection, source: str, group: set[str], now: datetime) -> None:
    listed = rows.listed(sorted(group))
    same = db.execute(queries.SAME_HOLD, (source, TOO_LARGE, "", "", listed)).fetchone()
    number = same[0] if same else add_hold(db, source, TOO_LARGE, "", "", len(group), listed, now)
    former = {row["hold"] for row in db.execute(queries.PERSONS_OF, (source, listed)) if row["hold"]}
    db.executemany(queries.HOLD_PATIENT, [(number, source, patient) for patient in sorted(group)])
    for hold in former - {number}:
        db.execute(queries.RELEASE_HOLD, (time_text(now), hold))


def add_hold(
    db: sqlite3.Connection,
    source: str,
    cause: str,
    rule: str,
    direction: str,
    count: int,
    listed: str,
    now: datetime,
) -> int:
    """Write down that something waits for a person; its number."""
    values = {
        "source": source,
        "cause": cause,
        "rule": rule,
        "direction": direction,
        "count": count,
        "created_at": time_text(now),
        "tasks": listed,
    }
    return int(db.execute(queries.ADD_HOLD, values).fetchall()[0][0])


def _rekey(db: sqlite3.Connection, source: str, patients: set[str], old: set[str]) -> None:
    """Move what hangs on a person's name to the new names: tasks, plans, requests and next looks."""
    listed = rows.listed(sorted(patients))
    db.execute(queries.REKEY_TASKS, (source, listed))
    db.execute(queries.REKEY_PLANS, (source, listed))
    now_named = set(names(db, source, patients).values())
    gone = sorted(old - now_named)
    if not gone:
        return
    _move_looks(db, source, gone, names(db, source, gone))  # a name is itself a member


def _move_looks(db: sqlite3.Connection, source: str, gone: list[str], moved_to: Mapping[str, str]) -> None:
    listed = rows.listed(gone)
    wakes: dict[str, set[str]] = {}
    for row in db.execute(queries.REQUESTS_OF, (source, listed)):
        wakes.setdefault(moved_to[row["person"]], set()).update(row["causes"].split())
    for row in db.execute(queries.NEXT_LOOKS_OF, (source, listed)):
        wakes.setdefault(moved_to[row["person"]], set()).add("due")
    db.execute(queries.DROP_REQUESTS, (source, listed))
    db.execute(queries.DROP_NEXT_LOOKS, (source, listed))
    renew(db, source, wakes)

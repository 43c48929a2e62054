"""Patients by identifier: whose a resource is that names its patient by an identifier alone (F47).

It belongs to the one person known who bears exactly that system|value. While nobody does, or several do, it is
set aside with its content; the Patient who comes to bear it, or no longer does, changes that in the same
transaction. Of what Patients bear, only digests are kept.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from adapter.fhirjson import digest
from adapter.ledger import persons, queries, rows
from adapter.ledger.core import Core
from adapter.ledger.fold import time_text
from adapter.ledger.records import Arrival, Named, QuarantineRow
from adapter.model import SnapshotState

#: By which reasons a resource waits in quarantine for the Patient whom its identifiers mean.
OF_SEVERAL = "patient-by-identifier-of-several"
_WAITING = frozenset({"patient-by-identifier", "patient-contained", OF_SEVERAL})
_ASK_FIRST, _ASK_LAST = timedelta(hours=1), timedelta(days=1)

Bearers = Mapping[str, Mapping[str, set[str]]]  # mark → person → patients


@dataclass(frozen=True, slots=True)
class _Whose:
    """What identifiers say: the patients, and whether some mean several persons."""

    patients: tuple[str, ...] = ()
    several: bool = False


class Identified(Core):
    """The part of the ledger that knows which identifiers have to be searched for."""

    def identifiers_to_ask(self, source: str, now: datetime, limit: int) -> list[str]:
        """The identifiers that resources name and that should be searched for by now: those never searched for,
        and those that nobody is known to bear."""
        with self._reading() as db:
            found = db.execute(queries.IDENTIFIERS_TO_ASK, (source, time_text(now), limit))
            return [row[0] for row in found]

    def bearers(self, source: str, identifier: str) -> set[str]:
        """The Patients who are known to bear an identifier."""
        with self._reading() as db:
            found = db.execute(queries.BEARERS, (source, rows.listed([digest(identifier)])))
            return {row["patient"] for row in found}

    def asked_identifier(self, source: str, identifier: str, now: datetime) -> None:
        """Note that an identifier was searched for; while it is in vain, ever less often, at least once a day."""
        mark = digest(identifier)
        with self._writing(durable=False) as db:
            row = db.execute(queries.TIMES_ASKED, (source, mark)).fetchone()
            again = min(_ASK_LAST, _ASK_FIRST * 2 ** min(row[0] if row else 0, 10))
            db.execute(queries.ASKED_FOR, (time_text(now + again), source, mark))


def told(db: sqlite3.Connection, source: str, arrivals: Sequence[Arrival]) -> Sequence[Arrival]:
    """The same arrivals, those that name their patients by identifiers with whom these mean, or set aside."""
    named = [arrival.named for arrival in arrivals if arrival.named]
    if not named:
        return arrivals
    bearers = _bearers(db, source, {digest(i) for one in named for group in one.patients for i in group})
    return [_told(arrival, arrival.named, bearers) if arrival.named else arrival for arrival in arrivals]


def _told(arrival: Arrival, named: Named, bearers: Bearers) -> Arrival:
    whose = _whose([{digest(i) for i in group} for group in named.patients], bearers)
    if whose.patients or not named.reason:
        return replace(arrival, patients=whose.patients)
    named = replace(named, reason=OF_SEVERAL) if whose.several else named
    return replace(arrival, state=SnapshotState.QUARANTINED, named=named)


def _whose(groups: Iterable[set[str]], bearers: Bearers) -> _Whose:
    """Whom each group of marks means: the one person who bears one of them, by the first of his Patients."""
    found: dict[str, None] = {}
    several = False
    for group in groups:
        persons_: dict[str, set[str]] = {}
        for mark in group:
            for person, patients in bearers.get(mark, {}).items():
                persons_.setdefault(person, set()).update(patients)
        several |= len(persons_) > 1
        if len(persons_) == 1:
            [patients] = persons_.values()
            found[min(patients)] = None
    return _Whose(tuple(found), several)


def _bearers(db: sqlite3.Connection, source: str, marks: Iterable[str]) -> Bearers:
    found: dict[str, dict[str, set[str]]] = {}
    for row in db.execute(queries.BEARERS, (source, rows.listed(sorted(marks)))):
        found.setdefault(row["mark"], {}).setdefault(row["person"], set()).add(row["patient"])
    return found


def waiting_rows(source: str, arrivals: Iterable[Arrival]) -> list[QuarantineRow]:
    """The entries of quarantine for arrivals that wait for their Patient."""
    return [
        QuarantineRow(
            id=0,
            source=source,
            type=arrival.type,
            res_id=arrival.id,
            version=arrival.version or "",
            reason=arrival.named.reason,
            place=arrival.named.place,
            raw=arrival.named.raw,
            at=arrival.date,
            patients=(),
        )
        for arrival in arrivals
        if arrival.waits and arrival.named
    ]


def note_names(db: sqlite3.Connection, source: str, taken: Mapping[str, Named | None]) -> None:
    """Write down by which identifiers the resources that were taken in name their patients now."""
    if not any(taken.values()) and not _any_named(db, source):
        return
    listed = rows.listed(sorted(taken))
    before = {
        (row["ref"], row["person"], row["mark"]) for row in db.execute(queries.NAMED_BY, (source, listed))
    }
    now = {
        (ref, number, digest(identifier)): identifier
        for ref, named in taken.items()
        for number, group in enumerate(named.patients if named else ())
        for identifier in group
    }
    if before == now.keys():
        return
    db.execute(queries.FORGET_NAMED, (source, listed))
    db.executemany(queries.NAME_IDENTIFIER, [(source, *entry) for entry in sorted(now)])
    fresh = {entry[2]: text for entry, text in now.items() if entry not in before}
    db.executemany(queries.WANT_IDENTIFIER, [(source, mark, text) for mark, text in sorted(fresh.items())])
    gone = sorted({mark for _, _, mark in before} - {mark for _, _, mark in now})
    db.execute(queries.WANT_NO_MORE, {"source": source, "marks": rows.listed(gone)})


def _any_named(db: sqlite3.Connection, source: str) -> bool:
    return db.execute(queries.ANY_NAMED, (source,)).fetchone() is not None


def note_bearers(db: sqlite3.Connection, source: str, patients: Mapping[str, Arrival]) -> set[str]:
    """Write down which identifiers Patients bear now; the marks that came or went."""
    if not patients:
        return set()
    listed = rows.listed(sorted(patients))
    before = {(row["mark"], row["patient"]) for row in db.execute(queries.BORNE_BY, (source, listed))}
    now = {
        (digest(identifier), ref)
        for ref, patient in patients.items()
        if patient.state is not SnapshotState.DELETED
        for identifier in patient.identifiers
    }
    db.executemany(queries.BEAR_NO_MORE, [(source, *entry) for entry in sorted(before - now)])
    db.executemany(queries.BEAR, [(source, *entry) for entry in sorted(now - before)])
    return {mark for mark, _ in before ^ now}


def marks_of(db: sqlite3.Connection, source: str, whose: Iterable[str]) -> set[str]:
    """The marks of all Patients of persons, where anything is named by identifiers at all."""
    if not _any_named(db, source):
        return set()
    members = [p for some in persons.members(db, source, whose).values() for p in some]
    return {row["mark"] for row in db.execute(queries.BORNE_BY, (source, rows.listed(members)))}


@dataclass(frozen=True, slots=True)
class Moved:
    """A resource that has other patients than before; ``left`` says why it has none for certain any more."""

    ref: str
    patients: tuple[str, ...]
    left: str = ""


def moved(db: sqlite3.Connection, source: str, marks: set[str]) -> Iterator[Moved]:
    """What belongs to others, to somebody at last, or to nobody any more, since these marks came or went."""
    refs = [row[0] for row in db.execute(queries.REFS_NAMING, (source, rows.listed(sorted(marks))))]
    groups: dict[str, dict[int, set[str]]] = {}
    for row in db.execute(queries.NAMED_BY, (source, rows.listed(refs))):
        groups.setdefault(row["ref"], {}).setdefault(row["person"], set()).add(row["mark"])
    named = {mark for persons_ in groups.values() for some in persons_.values() for mark in some}
    bearers = _bearers(db, source, named)
    for row in db.execute(queries.STATES_OF, (source, rows.listed(refs))).fetchall():
        whose = _whose(groups[row["ref"]].values(), bearers)
        left = "" if whose.patients else OF_SEVERAL if whose.several else "patient-by-identifier"
        if (row["state"] == "live" and (left or " ".join(whose.patients) != row["patients"])) or (
            row["state"] == "quarantined" and _waits_otherwise(db, source, row["ref"], left)
        ):
            yield Moved(row["ref"], whose.patients, left)


def _waits_otherwise(db: sqlite3.Connection, source: str, ref: str, left: str) -> bool:
    """Whether what is set aside waits for its Patient, and not for just the reason that it has ``left``."""
    entry = db.execute(queries.ENTRY_REASON, (source, *ref.split("/"))).fetchone()
    if entry is None:  # a person dropped the entry
        return not left
    return entry["reason"] in _WAITING and entry["reason"] != left

"""Snapshots: a page of answers against what is held, stored with the walk's place and the wake-ups.

Which answer is the newer one is decided by the numbers of requests alone: one counts only if it was asked for
after the held one had come (F40). What is not new writes nothing: a poll's overlap is most of what it reads.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple

from adapter.facts.history import NEVER, NO_TRACE, UNKNOWN_TRACE, Trace, trace_of
from adapter.fhirjson import based_on, dumps, loads
from adapter.ledger import identified, persons, queries, rows
from adapter.ledger.core import Core
from adapter.ledger.fold import time_text
from adapter.ledger.records import Arrival, Held, Named, QuarantineRow, Stored, WalkRow
from adapter.ledger.wakes import renew
from adapter.model import SAME_STAMP, Snapshot, SnapshotState, Task
from adapter.references import NO_BASES, Bases, parse_reference

_QUARANTINED = SnapshotState.QUARANTINED
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_BASED = b'"basedOn":'


class _Row(NamedTuple):
    """What is held of one resource, as far as a page is compared with it: a row of ``queries.HELD_OF_PAGE``."""

    ref: str
    state: str
    status: str | None
    version: str | None
    digest: str
    kept_digest: str
    edition: str
    in_scope: bool
    received_seq: int
    seen_seq: int
    last_updated: str | None
    first_seen: str | None
    changed: str | None
    patients: str


class _New(NamedTuple):
    """A snapshot's row as it is to be written, in the order of ``queries.INSERT_SNAPSHOT``."""

    source: str
    ref: str
    type: str
    state: str
    status: str | None
    version: str | None
    digest: str
    kept_digest: str
    edition: str
    in_scope: bool
    sent_seq: int
    received_seq: int
    walk_seq: int
    seen_seq: int
    last_updated: str | None
    first_seen: str | None
    changed: str | None
    received_at: str
    patients: str
    body: str | None

    def held(self) -> _Row:
        """The row as the next one of its page will find it."""
        return _Row(
            self.ref,
            self.state,
            self.status,
            self.version,
            self.digest,
            self.kept_digest,
            self.edition,
            self.in_scope,
            self.received_seq,
            self.seen_seq,
            self.last_updated,
            self.first_seen,
            self.changed,
            self.patients,
        )


@dataclass(slots=True)
class _Page:
    """What a page comes to, before it is written. ``wakes`` are refs whose persons are woken."""

    inserts: dict[str, _New] = field(default_factory=dict)
    updates: dict[str, _New] = field(default_factory=dict)
    seen: dict[str, int] = field(default_factory=dict)
    named: dict[str, tuple[str, str]] = field(default_factory=dict)  # ref → patients before, patients now
    wakes: set[str] = field(default_factory=set)
    good: list[Arrival] = field(default_factory=list)
    taken: dict[str, Arrival] = field(default_factory=dict)  # what is written: the last of each ref
    unsure: dict[str, None] = field(default_factory=dict)
    strangers: set[str] = field(default_factory=set)  # refs that wake a person whom they do not name
    changed: int = 0
    same: int = 0

    def __getitem__(self, ref: str) -> _New:
        return self.updates[ref] if ref in self.updates else self.inserts[ref]


class Snapshots(Core):
    """The part of the ledger that holds what the EHR said last."""

    def store(
        self,
        source: str,
        arrivals: Sequence[Arrival],
        *,
        cause: str,
        walk: WalkRow | None = None,
        quarantine: Sequence[QuarantineRow] = (),
        now: datetime | None = None,
    ) -> Stored:
        """Take in what one answer brought; all of it and the walk's row in one transaction, or nothing.

        Every person that a changed resource names now or named before is asked to be looked at, for
        ``cause``; so is the person of a task of ours whose Task changed. A changed Patient's links join or
        part persons, and what was waiting for an identifier of his is his (F47). A resource that names nobody
        is stored and wakes nobody.
        """
        at = self._now(now)
        with self._writing(durable=False) as db:  # what is lost with the power is polled again
            arrivals = identified.told(db, source, arrivals)
            page = _compare(db, source, arrivals)
            _write(db, source, page)
            linked = _take_links(db, source, page, at)
            woken = linked | _named_by(db, source, page)
            aside = identified.waiting_rows(source, page.taken.values())
            woken |= _keep_unread(db, source, arrivals, [*quarantine, *aside], at)
            _clear_quarantine(db, source, page.good)
            woken |= _take_identifiers(db, source, page, linked, at)
            waiting = tuple(dict.fromkeys(a.ref for a in arrivals if a.waits))
            causes = {person: (cause, "link") if person in linked else (cause,) for person in sorted(woken)}
            renew(db, source, causes)
            if walk is not None:
                db.execute(queries.SAVE_WALK, rows.walk_values(walk))
            if page.inserts or page.updates or page.seen:
                db.execute(queries.RAISE_COUNTER, (max(a.received_seq for a in arrivals), "seq"))
        return Stored(page.changed, page.same, tuple(page.unsure), len(woken), waiting, len(aside))

    def snapshot(self, source: str, ref: str) -> Snapshot | None:
        """The newest version that is held of "Type/id"."""
        return self.snapshots(source, (ref,)).get(ref)

    def snapshots(self, source: str, refs: Iterable[str]) -> dict[str, Snapshot]:
        """What is held of ``refs``; what is not held is left out."""
        with self._reading() as db:
            found = db.execute(queries.SNAPSHOTS, (source, rows.listed(refs)))
            return {row["ref"]: rows.snapshot(row, source) for row in found}

    def received_at(self, source: str, refs: Iterable[str]) -> dict[str, datetime | None]:
        """When what is held of ``refs`` was received; what is not held is left out."""
        with self._reading() as db:
            found = db.execute(queries.RECEIVED_AT, (source, rows.listed(refs)))
            return {row[0]: rows.time(row[1]) for row in found}

    def inventory(self, source: str, type: str) -> list[Held]:
        """Version and digest of everything held of a type."""
        with self._reading() as db:
            return [rows.held(row) for row in db.execute(queries.INVENTORY, (source, type))]

    def read_for(self, source: str, type: str) -> frozenset[str]:
        """The patients for whom a type was read, and came."""
        with self._reading() as db:
            return frozenset(row[0] for row in db.execute(queries.READ_FOR, (source, type)))

    def inventory_of(self, source: str, refs: Iterable[str]) -> dict[str, Held]:
        """Version and digest of what is held of ``refs``, for a sweep to compare (F7)."""
        with self._reading() as db:
            found = db.execute(queries.INVENTORY_OF, (source, rows.listed(refs)))
            return {row["ref"]: rows.held(row) for row in found}

    def tell_traces(
        self, source: str, bases: Bases, edition_of: Callable[[str], str], limit: int = 2000
    ) -> int:
        """Tell traces of rows that were stored before there were any, or when something else was kept; how many.

        What waits to be read again, because more is kept of its type by now, may name anything.
        """
        with self._reading() as db:
            if db.execute(queries.UNTOLD, (source, 1)).fetchone() is None:
                return 0
        with self._writing(durable=False) as db:
            found = db.execute(queries.UNTOLD, (source, limit)).fetchall()
            values = [
                (source, row["patient"], row["ref"], 1, *_told_of(row, bases, edition_of(row["type"])))
                for row in found
            ]
            db.executemany(queries.NAME_PATIENT, values)
        return len(found)

    def forget_traces(self, source: str) -> None:
        """Let all traces of a source be told anew: what is kept of its resources is another."""
        with self._writing(durable=False) as db:
            db.execute(queries.FORGET_TRACES, (source,))

    def alive(self, source: str, type: str, *, after: str = "", limit: int = 1000) -> list[str]:
        """The next refs of a type that are held and not known to be deleted, in order."""
        with self._reading() as db:
            found = db.execute(queries.ALIVE_AFTER, (source, type, after, limit))
            return [row[0] for row in found]

    def stale_refs(self, source: str, type: str, edition: str, limit: int = 1000) -> list[str]:
        """Rows kept under another element set than ``edition``: they wait to be read again (F9)."""
        with self._reading() as db:
            found = db.execute(queries.STALE_REFS, (source, type, edition, limit))
            return [row[0] for row in found]

    def counts(self, source: str) -> dict[str, dict[str, int]]:
        """How many rows are held, by type and state."""
        result: dict[str, dict[str, int]] = {}
        with self._reading() as db:
            for row in db.execute(queries.COUNT_SNAPSHOTS, (source,)):
                result.setdefault(row["type"], {})[row["state"]] = row["number"]
        return result

    def open_work_refs(self, source: str) -> set[str]:
        """What every open task hangs on: its Task, focus, basedOn, opening and closing evidence (F7)."""
        with self._reading() as db:
            found = db.execute(queries.OPEN_TASKS, {"source": source})
            return {ref for row in found for ref in work_refs(rows.task(row))}


def work_refs(task: Task) -> set[str]:
    """The refs that a task hangs on, without their versions, its own Task among them."""
    named = (task.focus, *task.based_on, *task.opening, *task.closing)
    return {f"Task/{task.id}", *[ref.partition("@")[0] for ref in named if ref]}


def _compare(db: sqlite3.Connection, source: str, arrivals: Sequence[Arrival]) -> _Page:
    refs = [arrival.ref for arrival in arrivals]
    once = dict.fromkeys(refs)
    held = _held(db, source, once)
    again = len(once) < len(refs)  # a resource that comes twice in a page is compared with itself
    page = _Page()
    for ref, arrival in zip(refs, arrivals, strict=True):
        row = held.get(ref)
        if row is not None and _is_same(row, arrival):
            page.same += 1
            if arrival.version is None and arrival.sent_seq > max(row.seen_seq, page.seen.get(ref, 0)):
                page.seen[ref] = arrival.received_seq  # no version tells that nothing lay between
            if arrival.state is not _QUARANTINED:
                page.good.append(arrival)
        elif row is not None and arrival.sent_seq <= max(
            row.received_seq, row.seen_seq, page.seen.get(ref, 0)
        ):
            if _says_same(row, arrival):
                page.same += 1
            else:
                page.unsure[ref] = None
        else:
            new = _take_in(page, source, ref, row, arrival)
            if again:
                held[ref] = new.held()
    return page


def _held(db: sqlite3.Connection, source: str, refs: Iterable[str]) -> dict[str, _Row]:
    found = db.execute(queries.HELD_OF_PAGE, (source, rows.listed(refs)))
    return {row[0]: _Row(*row) for row in found}


def _is_same(row: _Row, arrival: Arrival) -> bool:
    return (
        row.version == arrival.version
        and row.edition == arrival.edition
        and row.in_scope == arrival.in_scope
        and _says_same(row, arrival)
        and _same_stamp(row, arrival)
    )


def _same_stamp(row: _Row, arrival: Arrival) -> bool:
    """Whether one number means one version: a server that lost it gives it to the next, with another stamp (F18)."""
    known = rows.time(row.last_updated)
    if arrival.version is None or arrival.last_updated is None or known is None:
        return True
    return abs(arrival.last_updated - known) < SAME_STAMP


def _says_same(row: _Row, arrival: Arrival) -> bool:
    if row.state != arrival.state.value:
        return False
    if arrival.state is _QUARANTINED:  # its content cannot be compared: its bytes are
        return row.version == arrival.version and row.digest == arrival.digest
    return row.kept_digest == arrival.kept_digest


def _take_in(page: _Page, source: str, ref: str, row: _Row | None, arrival: Arrival) -> _New:
    # What was read for somebody is no focus until the poll of its type shows it: that is news, too.
    enters = row is not None and arrival.in_scope and not row.in_scope
    told = row is None or enters or not _says_same(row, arrival)
    new = _new(source, ref, row, arrival)
    rows_now = page.inserts if row is None or ref in page.inserts else page.updates
    if not new.body and ref in rows_now:  # twice in one page: the second one cannot be read
        new = new._replace(body=rows_now[ref].body)
    rows_now[ref] = new
    page.taken[ref] = arrival
    page.seen.pop(ref, None)
    before = page.named[ref][0] if ref in page.named else row.patients if row else ""
    page.named[ref] = before, new.patients
    if told:
        page.wakes.add(ref)
        page.changed += 1
    else:
        page.same += 1
    if arrival.state is not _QUARANTINED:
        page.good.append(arrival)
    return new


def _new(source: str, ref: str, row: _Row | None, arrival: Arrival) -> _New:
    hidden = row is not None and arrival.state is _QUARANTINED and not arrival.waits
    seen, updated = _same_text(arrival.date), rows.text(arrival.last_updated)
    status = row.status if row and hidden else arrival.status
    return _New(
        source,
        ref,
        arrival.type,
        arrival.state.value,
        status,
        arrival.version,
        arrival.digest,
        row.kept_digest if row and hidden else arrival.kept_digest,
        row.edition if row and hidden else arrival.edition,
        arrival.in_scope,
        arrival.sent_seq,
        arrival.received_seq,
        arrival.walk_seq,
        arrival.received_seq,
        updated,
        row.first_seen if row else seen,
        _changed(row, arrival, status, seen if updated is None else min(updated, seen)),
        seen,
        _patients(row, arrival),
        None if hidden else _body(arrival),
    )


def _patients(row: _Row | None, arrival: Arrival) -> str:
    """Whom a row names: a tombstone, or what cannot be read, still belongs to whom it named."""
    patients = " ".join(arrival.patients)
    if row is None or not (
        arrival.state is _QUARANTINED or (arrival.state is SnapshotState.DELETED and not patients)
    ):
        return patients
    return row.patients


def _body(arrival: Arrival) -> str:
    return arrival.packed.decode() if arrival.packed else rows.packed(_bare_body(arrival))


def _changed(row: _Row | None, arrival: Arrival, status: str | None, since: str) -> str | None:
    """Since when the status is what it is: the earliest time that speaks for it, after the last change."""
    if row is None:
        return since
    moved = row.status != status or _ended(row.state) != _ended(arrival.state.value)
    unread = arrival.state is _QUARANTINED and not arrival.waits
    return max(since, row.changed or "") if moved and not unread else row.changed


@lru_cache(maxsize=64)
def _same_text(at: datetime) -> str:
    """A time as it is stored: that of an answer, which all of its rows share."""
    return time_text(at)


def _ended(state: str) -> bool:
    return state in ("deleted", "entered-in-error")


def _bare_body(arrival: Arrival) -> dict[str, str]:
    return {"resourceType": arrival.type, "id": arrival.id}


def _write(db: sqlite3.Connection, source: str, page: _Page) -> None:
    if page.inserts:
        # In the order of the table's key: a page touches each leaf of the tree once.
        db.executemany(queries.INSERT_SNAPSHOT, [page.inserts[ref] for ref in sorted(page.inserts)])
    if page.updates:
        db.executemany(queries.UPDATE_SNAPSHOT, page.updates.values())
    if page.seen:
        db.executemany(queries.SEEN_AGAIN, [(number, source, ref) for ref, number in page.seen.items()])
    if page.named:
        _rename(db, source, page)
    based = {
        a.ref: a for a in page.good if a.type == "Appointment" and _BASED in a.packed and a.ref in page.wakes
    }
    if based:
        page.strangers = _relate(db, source, based)


def _rename(db: sqlite3.Connection, source: str, page: _Page) -> None:
    """Write whom each resource names now, and whom it named before that: who stood there as named goes last."""
    moved = {ref: named for ref, named in page.named.items() if named[0] != named[1]}
    persons.know(db, source, dict.fromkeys(p for _, now in moved.values() for p in now.split()))
    former = [(ref, before) for ref, (before, _) in moved.items() if before]
    if former:
        db.executemany(queries.FORGET_FORMER, [(source, ref) for ref, _ in former])
        untold = (0, None, None, None, None, None, None, None)
        db.executemany(
            queries.NAME_PATIENT,
            [(source, patient, ref, *untold) for ref, before in former for patient in before.split()],
        )
    present = [
        (source, patient, ref, 1, *_traced(page[ref], page.taken[ref]))
        for ref, (_, now) in page.named.items()
        for patient in now.split()
    ]
    db.executemany(queries.NAME_PATIENT, sorted(present))


def _traced(new: _New, arrival: Arrival) -> tuple[Any, ...]:
    """The trace of a resource, as it stands beside each patient whom it names."""
    came = (new.received_seq, new.walk_seq, int(arrival.date.timestamp()))
    return _told(arrival.state, arrival.trace, new.first_seen, new.patients, came)


def _told(
    state: SnapshotState, trace: Trace, first_seen: str | None, patients: str, came: tuple[int, int, int]
) -> tuple[Any, ...]:
    """The columns of a trace. What several patients share is never over; what cannot be read may name anything."""
    if state is not SnapshotState.LIVE:
        trace = UNKNOWN_TRACE if state is _QUARANTINED else NO_TRACE
    made = trace.made
    if made is None:
        seen = rows.time(first_seen)
        made = int(seen.timestamp()) if seen else 0
    return trace.status, None if " " in patients else trace.ended, made, *came, trace.names


def _told_of(row: sqlite3.Row, bases: Bases, edition: str) -> tuple[Any, ...]:
    """The columns of the trace of a row that is held, whose type is kept under an ``edition`` now."""
    state = rows.STATES[row["state"]]
    trace = UNKNOWN_TRACE
    if state is SnapshotState.LIVE and row["edition"] == edition:
        trace = trace_of(row["type"], loads(row["body"]), bases)
    received = rows.time(row["received_at"])
    came = (row["received_seq"], row["walk_seq"], int(received.timestamp()) if received else NEVER)
    return _told(state, trace, row["first_seen"], row["patients"], came)


def _relate(db: sqlite3.Connection, source: str, visits: Mapping[str, Arrival]) -> set[str]:
    """Let visits that stand for an order of somebody else (a newborn's for its mother's) wake her, too (F11).

    Returns the refs of those visits.
    """
    bases = _bases(db, source)
    orders = {ref: _orders_of(visit, bases) for ref, visit in visits.items()}
    listed = rows.listed({order for named in orders.values() for order in named})
    owners = {row[0]: row[1].split() for row in db.execute(queries.OWNERS, (source, listed))}
    strangers = [
        (source, owner, ref)
        for ref, named in orders.items()
        for order in named
        for owner in owners.get(order, ())
        if owner not in visits[ref].patients
    ]
    if strangers:
        db.executemany(queries.RELATE_PATIENT, strangers)
    return {ref for _, _, ref in strangers}


def _orders_of(visit: Arrival, bases: Bases) -> set[str]:
    said = based_on(visit.packed)
    return {parse_reference(one, bases).local for one in (said if isinstance(said, list) else [said])} - {""}


def _named_by(db: sqlite3.Connection, source: str, page: _Page) -> set[str]:
    """Whom a page wakes: those its changed resources name or named, and those of our own Tasks."""
    if not page.wakes:
        return set()
    patients = {patient for ref in page.wakes for patient in page[ref].patients.split()}
    # What was not held before names nobody but whom it names now, and whom it was related to just now.
    held = [ref for ref in page.wakes if ref in page.updates or ref in page.strangers]
    if held:
        former = db.execute(queries.FORMER_PATIENTS, (source, rows.listed(held)))
        patients |= {row["patient"] for row in former}
    woken = set(persons.names(db, source, patients).values())
    ids = [ref.partition("/")[2] for ref in page.wakes if ref.startswith("Task/")]
    if ids:
        woken |= {row["person"] for row in db.execute(queries.TASK_PERSONS, (source, rows.listed(ids)))}
    return woken


def _take_links(db: sqlite3.Connection, source: str, page: _Page, now: datetime) -> set[str]:
    """Take in whom its Patients are linked to now; the persons who were joined or parted by it."""
    changed = [
        a
        for a in page.good
        if a.type == "Patient" and a.state is not SnapshotState.DELETED and a.ref in page.wakes
    ]
    if not changed:
        return set()
    bases = _bases(db, source)
    woken: set[str] = set()
    for patient in changed:
        woken |= persons.relink(db, source, patient.ref, persons.joined_by(patient.body, bases), now)
    return woken


def _take_identifiers(
    db: sqlite3.Connection, source: str, page: _Page, linked: set[str], now: datetime
) -> set[str]:
    """Take in whom the page's resources name by identifier, and who bears them; the persons who are woken (F47)."""
    identified.note_names(db, source, {ref: arrival.named for ref, arrival in page.taken.items()})
    patients = {
        ref: a for ref, a in page.taken.items() if a.type == "Patient" and a.state is not _QUARANTINED
    }
    marks = identified.note_bearers(db, source, patients)
    if linked:
        marks |= identified.marks_of(db, source, linked)
    found = list(identified.moved(db, source, marks)) if marks else []
    return _move(db, source, found, now) if found else set()


def _move(db: sqlite3.Connection, source: str, found: Sequence[identified.Moved], now: datetime) -> set[str]:
    """Give resources to the patients whom their identifiers mean by now; the persons of before and now."""
    listed = rows.listed([one.ref for one in found])
    held = _held(db, source, [one.ref for one in found])
    kept = {row["ref"]: rows.snapshot(row, source) for row in db.execute(queries.SNAPSHOTS, (source, listed))}
    page, bases = _Page(), _bases(db, source)
    for one in found:
        row, arrival = held[one.ref], _moved(kept[one.ref], one, bases)
        if row.state == arrival.state.value and arrival.waits:
            db.execute(queries.GIVE_REASON, (one.left, source, arrival.type, arrival.id)).fetchall()
            continue
        _take_in(page, source, one.ref, row, arrival)
        page.wakes.add(one.ref)
    _write(db, source, page)
    woken = _named_by(db, source, page)
    aside = identified.waiting_rows(source, page.taken.values())
    woken |= _keep_unread(db, source, list(page.taken.values()), aside, now)
    _clear_quarantine(db, source, page.good)
    return woken


def _moved(held: Snapshot, to: identified.Moved, bases: Bases) -> Arrival:
    """What is held of a resource, as if it came again, with the patients whom its identifiers mean now."""
    status = held.body.get("status")
    return Arrival(
        type=held.type,
        id=held.id,
        state=_QUARANTINED if to.left else SnapshotState.LIVE,
        status=status if isinstance(status, str) else None,
        packed=dumps(held.body),
        version=held.version,
        last_updated=held.last_updated,
        digest=held.digest,
        kept_digest=held.kept_digest,
        edition=held.edition,
        patients=to.patients,
        date=held.received_at or _EPOCH,
        sent_seq=held.sent_seq,
        received_seq=held.received_seq,
        walk_seq=held.walk_seq,
        in_scope=held.in_scope,
        named=Named((), to.left),
        trace=trace_of(held.type, held.body, bases),
    )


def _bases(db: sqlite3.Connection, source: str) -> Bases:
    row = db.execute(queries.SOURCE, (source,)).fetchone()
    return _bases_of(row["base_url"], rows.texts(row["aliases"])) if row else NO_BASES


@lru_cache(maxsize=64)  # parsed references are remembered by their bases
def _bases_of(base_url: str, aliases: tuple[str, ...]) -> Bases:
    return Bases(base_url, aliases)


def _keep_unread(
    db: sqlite3.Connection,
    source: str,
    arrivals: Sequence[Arrival],
    quarantine: Sequence[QuarantineRow],
    now: datetime,
) -> set[str]:
    """Keep what could not be read; the persons that it, or its last good version, names."""
    if not quarantine:
        return set()
    arrived = {arrival.ref for arrival in arrivals}
    for row in quarantine:
        values = quarantine_values(row, source, now)
        db.execute(queries.KEEP_IDENTIFIED if row.res_id else queries.KEEP_PLACED, values)
    hidden = [f"{row.type}/{row.res_id}" for row in quarantine if row.res_id]
    hidden = [ref for ref in hidden if ref not in arrived]
    db.executemany(queries.HIDE_SNAPSHOT, [(source, ref) for ref in hidden])
    patients = {patient for row in quarantine for patient in row.patients}
    for held in db.execute(queries.HELD_OF_PAGE, (source, rows.listed(hidden))):
        patients.update(held["patients"].split())
        for patient in held["patients"].split():
            db.execute(queries.HIDE_TRACE, (source, patient, held["ref"]))
    return set(persons.names(db, source, patients).values())


def quarantine_values(row: QuarantineRow, source: str, now: datetime) -> dict[str, Any]:
    """The columns of a quarantine entry."""
    return {
        "source": source,
        "type": row.type,
        "res_id": row.res_id,
        "version": row.version,
        "reason": row.reason,
        "place": row.place,
        "at": time_text(row.at or now),
        "patients": " ".join(row.patients),
        "raw": row.raw,
    }


def _clear_quarantine(db: sqlite3.Connection, source: str, good: Sequence[Arrival]) -> None:
    if not good:
        return
    kept = {row["ref"] for row in db.execute(queries.ANY_QUARANTINE, (source,))}
    if kept:
        db.executemany(queries.CLEAR_QUARANTINE, [(source, a.type, a.id) for a in good if a.ref in kept])

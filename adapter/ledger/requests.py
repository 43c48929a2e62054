"""Requests to look at a person, the next looks that become requests, and reads made for one person."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from adapter.ledger import persons, queries, rows
from adapter.ledger.core import Core
from adapter.ledger.fold import read_time, time_text
from adapter.ledger.wakes import renew
from adapter.model import Request


class Requests(Core):
    """The part of the ledger about who has to be looked at, and when."""

    def request(self, source: str, patients: Iterable[str], cause: str) -> int:
        """Ask for a look at the persons of ``patients`` ("Patient/id"); how many persons that are."""
        with self._writing() as db:
            woken = persons.names(db, source, patients)
            return renew(db, source, {person: (cause,) for person in sorted(set(woken.values()))})

    def request_everyone(self, source: str, cause: str, types: Iterable[str] | None = None) -> int:
        """Ask for a look at everyone of a source, or only those with ``types`` or open work."""
        with self._writing() as db:
            if types is None:
                found = {row[0] for row in db.execute(queries.ALL_PERSONS, (source,))}
            else:
                found = {
                    row[0] for row in db.execute(queries.PERSONS_WITH_TYPE, (source, rows.listed(types)))
                }
                found |= {row[0] for row in db.execute(queries.PERSONS_WITH_OPEN_TASKS, (source,))}
            return renew(db, source, {person: (cause,) for person in sorted(found)})

    def due_requests(self, source: str, now: datetime, limit: int = 100, *, but: str = "") -> list[Request]:
        """The persons to look at now, the most urgent first.

        In order of cause: read-back, due, resource (and any other), edition, sweep; within one, who waits
        longest. Next looks whose time has come become requests first. Left out: requests that back off, sets of
        linked patients too large to be one person, and what ``but`` is the only cause of.
        """
        at = time_text(now)
        with self._reading() as db:
            any_due = db.execute(queries.ANY_DUE_LOOK, (source, at)).fetchone()
        if any_due:
            self._wake_due(source, at)
        with self._reading() as db:
            return [rows.request(row) for row in db.execute(queries.DUE_REQUESTS, (source, at, but, limit))]

    def _wake_due(self, source: str, at: str) -> None:
        with self._writing() as db:
            due = [row[0] for row in db.execute(queries.DUE_LOOKS, (source, at))]
            renew(db, source, {person: ("due",) for person in due})
            db.execute(queries.END_DUE_LOOKS, (source, at))

    def waiting(self, source: str) -> list[str]:
        """Who waits for a look, back-off included, the most urgent first."""
        with self._reading() as db:
            return [row[0] for row in db.execute(queries.WAITING, (source,))]

    def how_many_wait(self, source: str) -> int:
        """How many wait for a look, back-off included."""
        with self._reading() as db:
            return int(db.execute(queries.HOW_MANY_WAIT, (source,)).fetchone()[0])

    def requests(self, source: str) -> list[Request]:
        """All requests, those that back off included."""
        with self._reading() as db:
            return [rows.request(row) for row in db.execute(queries.ALL_REQUESTS, (source,))]

    def stale_patients(self, source: str, before: datetime) -> list[str]:
        """The Patients of open work that were not read since ``before``: somebody may have died meanwhile."""
        values = {"source": source, "before": time_text(before)}
        with self._reading() as db:
            return [row[0] for row in db.execute(queries.STALE_PATIENTS_OF_OPEN_TASKS, values)]

    def requests_of(self, source: str, persons: Iterable[str]) -> list[Request]:
        """The requests of some persons, in no order."""
        with self._reading() as db:
            found = db.execute(queries.REQUESTS_OF, (source, rows.listed(persons)))
            return [rows.request(row) for row in found]

    def next_looks(self, source: str) -> dict[str, datetime]:
        """When each person is looked at again though nothing arrives."""
        with self._reading() as db:
            return {row[0]: read_time(row[1]) for row in db.execute(queries.NEXT_LOOKS, (source,))}

    def failed(self, request: Request, not_before: datetime) -> None:
        """A look raised: let the person rest until ``not_before`` and count the failure (F69).

        Does nothing where the request was renewed meanwhile.
        """
        self._rest(queries.FAIL_REQUEST, request, not_before)

    def postpone(self, request: Request, not_before: datetime) -> None:
        """Let a person rest without a failure: held changes, or evidence beyond the budget."""
        self._rest(queries.DELAY_REQUEST, request, not_before)

    def _rest(self, statement: str, request: Request, not_before: datetime) -> None:
        with self._writing() as db:
            db.execute(statement, (time_text(not_before), request.source, request.person, request.gen))

    def record_read(
        self,
        source: str,
        patient: str,
        type: str,
        *,
        at: datetime,
        seq: int,
        complete: bool,
        reason: str = "",
    ) -> None:
        """A type was read for one patient: ``at`` and ``seq`` are server time and number of its beginning.

        A complete one dates what is known. An incomplete one leaves the last complete date and keeps
        ``reason`` ("403"), which the chart shows as *blind* until a complete read comes.
        """
        when, tried = time_text(at), time_text(self._now())
        with self._writing(durable=False) as db:  # what is lost with the power is read again
            if complete:
                db.execute(queries.RECORD_READ, (source, patient, type, when, seq, tried))
            else:
                db.execute(queries.RECORD_FAILED_READ, (source, patient, type, reason or "incomplete", tried))

    def refused_reads(self, source: str) -> dict[str, str]:
        """Of each type whose last read was refused for somebody: the patient for whom it was tried longest ago."""
        with self._reading() as db:
            return {row[0]: row[1] for row in db.execute(queries.REFUSED_READS, (source,))}

    def forget_refusals(self, source: str, type: str) -> int:
        """A type can be read again: ask for a look at all for whom it was refused; how many persons that are."""
        with self._writing() as db:
            patients = [row[0] for row in db.execute(queries.FORGET_REFUSED, (source, type)).fetchall()]
            woken = persons.names(db, source, patients)
            return renew(db, source, {person: (f"seen:{type}",) for person in sorted(set(woken.values()))})

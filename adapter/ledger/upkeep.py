"""Quarantine, holds, runs and commands: what waits for a person, and what verbs ask of the engine."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from adapter.ledger import persons, queries, rows
from adapter.ledger.core import Core, only
from adapter.ledger.fold import time_text
from adapter.ledger.records import CommandRow, HoldRow, QuarantineRow, RunRow
from adapter.ledger.wakes import renew
from adapter.model import Json


class Upkeep(Core):
    """The part of the ledger about its own running."""

    def quarantine(self, source: str | None = None) -> list[QuarantineRow]:
        """What could not be read, all or of one source."""
        with self._reading() as db:
            return [rows.quarantine(row) for row in db.execute(queries.QUARANTINE, {"source": source})]

    def quarantined(self, id: int) -> QuarantineRow | None:
        """One entry, with the bytes as they came: to be shown; a retry reads the resource by its id (F48)."""
        with self._reading() as db:
            row = db.execute(queries.QUARANTINED, (id,)).fetchone()
        return rows.quarantine(row) if row else None

    def drop_quarantine(self, id: int) -> None:
        """Take one entry out; what is held of the resource stays unknown until it is read again."""
        with self._writing() as db:
            db.execute(queries.DROP_QUARANTINE, (id,))

    def expire_quarantine(self, before: datetime) -> int:
        """Drop the bytes of entries older than ``before``, never the entries (F49); how many."""
        with self._writing() as db:
            return db.execute(queries.EXPIRE_QUARANTINE, (time_text(before),)).rowcount

    def holds(self, *, all: bool = False) -> list[HoldRow]:
        """Holds that wait for a person; with ``all`` the released ones too."""
        with self._reading() as db:
            return [rows.hold(row) for row in db.execute(queries.HOLDS, {"all": all})]

    def hold(self, id: int) -> HoldRow | None:
        """One hold."""
        with self._reading() as db:
            row = db.execute(queries.HOLD, (id,)).fetchone()
        return rows.hold(row) if row else None

    def add_hold(
        self,
        source: str,
        cause: str,
        *,
        rule: str = "",
        direction: str = "",
        count: int = 0,
        tasks: Iterable[str] = (),
        now: datetime | None = None,
    ) -> int:
        """Write down that a set of changes waits; its number."""
        listed = rows.listed(sorted(tasks))
        with self._writing() as db:
            return persons.add_hold(db, source, cause, rule, direction, count, listed, self._now(now))

    def release_hold(self, id: int, now: datetime | None = None) -> HoldRow:
        """Release one hold, and ask to look at the persons that it kept from being looked at.

        Raises:
            LedgerError: where there is no such hold.
        """
        with self._writing() as db:
            row = rows.hold(only(db.execute(queries.HOLD, (id,)).fetchone(), f"hold {id}"))
            db.execute(queries.RELEASE_HOLD, (time_text(self._now(now)), id))
            held = [found[0] for found in db.execute(queries.HELD_PATIENTS, (id,))]
            db.execute(queries.FREE_PATIENTS, (id,))
            renew(db, row.source, {person: ("hold-released",) for person in sorted(held)})
            return rows.hold(db.execute(queries.HOLD, (id,)).fetchone())

    def begin_run(self, verb: str) -> int:
        """A verb begins to work; the run's number."""
        with self._writing() as db:
            return int(db.execute(queries.BEGIN_RUN, (verb, time_text(self._now()))).fetchall()[0][0])

    def end_run(self, id: int, summary: Json) -> None:
        """A run has ended with ``summary`` (counts and codes, no patient data)."""
        with self._writing() as db:
            db.execute(queries.END_RUN, (time_text(self._now()), rows.packed(summary), id))

    def runs(self, limit: int = 20) -> list[RunRow]:
        """The latest runs, newest first."""
        with self._reading() as db:
            return [rows.run(row) for row in db.execute(queries.RUNS, (limit,))]

    def add_command(self, verb: str, arguments: Json) -> int:
        """Ask the engine, which holds the lock, for something; it acts within a tick (F67)."""
        with self._writing() as db:
            values = (verb, rows.packed(arguments), time_text(self._now()))
            return int(db.execute(queries.ADD_COMMAND, values).fetchall()[0][0])

    def commands(self) -> list[CommandRow]:
        """What was asked and not yet done, in order."""
        with self._reading() as db:
            return [rows.command(row) for row in db.execute(queries.COMMANDS)]

    def end_command(self, id: int) -> None:
        """A command was carried out."""
        with self._writing() as db:
            db.execute(queries.END_COMMAND, (time_text(self._now()), id))

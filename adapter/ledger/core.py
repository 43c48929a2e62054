"""What every part of the ledger stands on: the database, the clock, the numbers, and one transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from adapter.clock import Clock, Sequence
from adapter.errors import LedgerError
from adapter.ledger import queries
from adapter.ledger.database import Database


class Core:
    """The base of the ledger's parts; :class:`adapter.ledger.store.Ledger` joins them."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        with database.reading() as db:
            self._stored_seq = counter(db, "seq")
        #: Numbers of requests and answers; they go on over restarts, with a gap (F40).
        self.seq = Sequence(self._stored_seq + 1)

    @contextmanager
    def transaction(self, *, durable: bool = True) -> Iterator[None]:
        """Several calls as one transaction: all of them are stored, or, after an exception, none.

        One that is not ``durable`` may be lost with the power, as each of its calls might be by itself.
        """
        with self._writing(durable=durable):
            yield

    @contextmanager
    def _writing(self, *, durable: bool = True) -> Iterator[sqlite3.Connection]:
        with self._database.writing(self._keep_numbers, durable=durable) as db:
            yield db

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._database.reading() as db:
            yield db

    def _keep_numbers(self, db: sqlite3.Connection) -> None:
        db.execute(queries.RAISE_COUNTER, (self.seq.last, "seq"))

    def _now(self, given: datetime | None = None) -> datetime:
        return given or self._clock.now()


def counter(db: sqlite3.Connection, name: str) -> int:
    """How far a counter has come."""
    return int(db.execute(queries.COUNTER, (name,)).fetchone()[0])


def draw(db: sqlite3.Connection, name: str, number: int = 1) -> int:
    """Take ``number`` numbers; the first of them. No number is ever given twice."""
    last = int(db.execute(queries.DRAW, (number, name)).fetchall()[0][0])
    return last - number + 1


def only(row: sqlite3.Row | None, what: str) -> sqlite3.Row:
    """The row that must be there.

    Raises:
        LedgerError: where it is not.
    """
    if row is None:
        raise LedgerError(f"the ledger holds no {what}")
    return row

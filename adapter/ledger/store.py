"""The ledger: one SQLite file with what the EHR said, what has to be done, and what has to be written."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from adapter.clock import Clock
from adapter.ledger import queries
from adapter.ledger.charts import Charts
from adapter.ledger.database import Database, held
from adapter.ledger.identified import Identified
from adapter.ledger.inspection import Inspection
from adapter.ledger.looks import Looks
from adapter.ledger.outbox import Outbox
from adapter.ledger.requests import Requests
from adapter.ledger.snapshots import Snapshots
from adapter.ledger.sources import Sources
from adapter.ledger.tasks import Tasks
from adapter.ledger.upkeep import Upkeep


class Ledger(Sources, Snapshots, Identified, Requests, Charts, Looks, Tasks, Outbox, Upkeep, Inspection):
    """One ledger file. Safe to use from several threads; close it at the end, or use it as a context manager.

    Polling, looking and delivering are done under :meth:`lock`; other verbs read, and write in short
    transactions beside it. No call sends a request to a server.
    """

    def __init__(self, database: Database, clock: Clock, path: Path) -> None:
        super().__init__(database, clock)
        self.path = path
        self.ledger_id = self._draw_id()

    @classmethod
    def open(cls, path: Path | str, *, clock: Clock, create: bool = True) -> Self:
        """Open a ledger, make it where there is none, and bring an older one up to date.

        Raises:
            LedgerError: where it was made by a newer Baton, is corrupt, cannot be written, or (with
            ``create``
                false) is not there.
        """
        place = Path(path)
        database = Database(place, clock=clock, create=create)
        try:
            return cls(database, clock, place)
        except BaseException:
            database.close()
            raise

    @contextmanager
    def lock(self, verb: str) -> Iterator[None]:
        """Hold the ledger alone for polling, looking and delivering.

        Raises:
            LedgerLocked: naming who holds it.
        """
        with held(self.path, verb, self._clock):
            yield

    def close(self) -> None:
        """Close every connection."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _draw_id(self) -> str:
        with self._reading() as db:
            row = db.execute(queries.META, ("ledger_id",)).fetchone()
        if row is None:
            with self._writing() as db:
                db.execute(queries.DRAW_META, ("ledger_id", secrets.token_hex(8)))
                row = db.execute(queries.META, ("ledger_id",)).fetchone()
        return str(row[0])

"""Sources and walks: what is remembered of each FHIR server, and how far each type was polled."""

from __future__ import annotations

from datetime import datetime
from functools import partial

from adapter.ledger import queries, rows
from adapter.ledger.core import Core
from adapter.ledger.records import SourceRow, WalkRow
from adapter.ledger.tasks import apply
from adapter.model import Event, EventKind


class Sources(Core):
    """The part of the ledger about sources."""

    def source(self, name: str) -> SourceRow | None:
        """What is remembered of a source; None where it was never saved."""
        with self._reading() as db:
            row = db.execute(queries.SOURCE, (name,)).fetchone()
        return rows.source(row) if row else None

    def sources(self) -> list[SourceRow]:
        """All sources, by name."""
        with self._reading() as db:
            return [rows.source(row) for row in db.execute(queries.SOURCES)]

    def save_source(self, row: SourceRow) -> None:
        """Keep ``row``, new or changed; whether it is paused only :meth:`pause_source` changes."""
        with self._writing() as db:
            db.execute(queries.SAVE_SOURCE, rows.source_values(row))

    def pause_source(self, name: str, *, paused: bool) -> bool:
        """Stop or restart writing to a source; false where there is no such source."""
        with self._writing() as db:
            return db.execute(queries.PAUSE_SOURCE, (int(paused), name)).rowcount == 1

    def rename_source(self, old: str, new: str, now: datetime) -> None:
        """Give a source another name everywhere; its key, and so every need and Task, stays what it was.

        Nothing happens where ``old`` is not held or ``new`` is.
        """
        if self.source(old) is None or self.source(new) is not None:
            return
        with self._writing() as db:
            tasks = [row["id"] for row in db.execute(queries.TASKS_OF_SOURCE, (old,))]
            for statement in queries.RENAME_SOURCE:
                db.execute(statement, (new, old))
            event = partial(Event, kind=EventKind.REVISED, at=now, set={"source": new}, why="source renamed")
            apply(db, [event(task) for task in tasks])

    def walk(self, source: str, type: str) -> WalkRow:
        """Where the poll of a type stands; a fresh row where it never began."""
        with self._reading() as db:
            row = db.execute(queries.WALK, (source, type)).fetchone()
        return rows.walk(row) if row else WalkRow(source=source, type=type)

    def walks(self, source: str) -> list[WalkRow]:
        """Every walk of a source, by type."""
        with self._reading() as db:
            return [rows.walk(row) for row in db.execute(queries.WALKS, (source,))]

    def save_walk(self, row: WalkRow) -> None:
        """Keep ``row`` by itself; with a page, :meth:`store` keeps both in one transaction."""
        # As a page's own: what is lost with the power is walked again.
        with self._writing(durable=False) as db:
            db.execute(queries.SAVE_WALK, rows.walk_values(row))

    def edition(self) -> str:
        """The hash of the mappings that are active; "" where none was ever activated."""
        with self._reading() as db:
            row = db.execute(queries.META, ("edition",)).fetchone()
        return str(row[0]) if row else ""

    def activate(self, edition: str) -> bool:
        """Make ``edition`` the active one; looks made under another are refused from now on (F14).

        True where it was another one before: then every person that it touches has to be looked at.
        """
        with self._writing() as db:
            row = db.execute(queries.META, ("edition",)).fetchone()
            if row and row[0] == edition:
                return False
            db.execute(queries.SET_META, ("edition", edition))
        return True

    def note(self, name: str) -> str:
        """A small text that a part of Baton asked to have kept; "" where there is none."""
        with self._reading() as db:
            row = db.execute(queries.META, (f"note:{name}",)).fetchone()
        return str(row[0]) if row else ""

    def keep_note(self, name: str, text: str) -> None:
        """Keep a small text (never patient data) under ``name``."""
        with self._writing() as db:
            db.execute(queries.SET_META, (f"note:{name}", text))

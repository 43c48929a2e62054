"""Checking, rebuilding and exporting a ledger."""

from __future__ import annotations

import base64
import os
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any, BinaryIO

import sqlite_utils

from adapter import fhirjson
from adapter.errors import LedgerError
from adapter.ledger import persons, queries, rows
from adapter.ledger.core import Core
from adapter.ledger.database import translated
from adapter.ledger.fold import FORMS, EventError, fold_all
from adapter.model import Task


class Inspection(Core):
    """The part of the ledger that looks at itself."""

    def rebuild(self, *, repair: bool = False) -> list[str]:
        """Fold all events and compare the rows with them, field by field; the differences, each one sentence.

        ``repair`` writes the rows anew from the events. Sentences hold ids and field names, no values.
        """
        with self._writing() as db:
            folded = fold_all(rows.event(row) for row in db.execute(queries.ALL_EVENTS))
            held = {row["id"]: rows.task(row) for row in db.execute(queries.TASKS, {"source": None})}
            found = [
                line for id in sorted({*folded, *held}) for line in _compare(id, folded.get(id), held.get(id))
            ]
            if repair and found:
                _rewrite(db, folded.values())
        return found

    def check(self) -> list[str]:
        """What is wrong with the file and its rows; empty where nothing is."""
        with self._reading() as db:
            return [*_file_faults(db), *_row_faults(db)]

    def export(self, dest: Path) -> None:
        """Write a whole copy to ``dest`` while the ledger is in use; readable by its owner only (F68).

        Raises:
            LedgerError: where ``dest`` exists or cannot be written.
        """
        if dest.exists():
            raise LedgerError(f"{dest} exists", remedy="name a new file")
        part = dest.with_name(dest.name + ".part")
        try:
            dest.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            os.close(os.open(part, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600))
        except OSError as error:
            raise LedgerError(f"{dest} cannot be written: {os.strerror(error.errno or 0)}") from None
        try:
            with translated(dest), closing(sqlite3.connect(part)) as copy:
                self._database.connection().backup(copy)
                copy.execute("PRAGMA journal_mode = DELETE")  # one file, whole by itself
            os.replace(part, dest)
        finally:
            part.unlink(missing_ok=True)

    def export_json(self, stream: BinaryIO) -> int:
        """Write every row of every table as one line of JSON, {"table": …, "row": {…}}; how many lines."""
        schema = sqlite_utils.Database(
            self._database.connection(), recursive_triggers=False, execute_plugins=False
        )
        names = sorted(name for name in schema.table_names() if not name.startswith("sqlite_"))
        lines = 0
        with self._reading() as db:
            for name in names:
                for row in db.execute(queries.WHOLE_TABLE.format(table=name)):
                    stream.write(fhirjson.dumps({"table": name, "row": _plain(row)}) + b"\n")
                    lines += 1
        return lines


def _plain(row: sqlite3.Row) -> dict[str, Any]:
    values = ((name, row[name]) for name in row.keys())  # noqa: SIM118 - a Row iterates over its values
    return {
        name: base64.b64encode(value).decode() if isinstance(value, bytes) else value
        for name, value in values
    }


def _compare(id: str, folded: Task | None, held: Task | None) -> list[str]:
    if folded is None:
        return [f"task {id}: a row without events"]
    if held is None:
        return [f"task {id}: events without a row"]
    return [
        f"task {id}: {name} is not what its events say"
        for name in (*FORMS, "row_version")
        if getattr(folded, name) != getattr(held, name)
    ]


def _rewrite(db: sqlite3.Connection, tasks: Iterable[Task]) -> None:
    for task in tasks:
        persons.know(db, task.source, (task.patient,))
        person = persons.names(db, task.source, (task.patient,))[task.patient]
        db.execute(queries.SAVE_TASK, rows.task_values(task, person))


def _file_faults(db: sqlite3.Connection) -> list[str]:
    found = [row[0] for row in db.execute(queries.INTEGRITY) if row[0] != "ok"]
    found += [
        f"table {row[0]}: a row names what is not there ({row[2]})"
        for row in db.execute(queries.FOREIGN_KEYS)
    ]
    return found


def _row_faults(db: sqlite3.Connection) -> list[str]:
    found = [f"outbox {row[0]}: nothing to write" for row in db.execute(queries.ORPHAN_WRITES)]
    found += [f"task {row[0]}: stands with the wrong person" for row in db.execute(queries.WRONG_PERSONS)]
    found += [
        f"source {row[0]}: need {row[1]} is open {row[2]} times" for row in db.execute(queries.TWICE_OPEN)
    ]
    counted = (
        (queries.WITHOUT_PATIENT_ROWS, "snapshots are not found by their patients"),
        (queries.STALE_TRACES, "snapshots are passed over by what a former version said"),
        (queries.BAD_BODIES, "snapshots hold no JSON"),
        (queries.LATE_SEQUENCE, "snapshots bear numbers that were not yet given"),
        (queries.LATE_GEN, "requests bear numbers that were not yet given"),
    )
    for statement, what in counted:
        number = db.execute(statement).fetchone()[0]
        if number:
            found.append(f"{number} {what}")
    try:
        fold_all(rows.event(row) for row in db.execute(queries.ALL_EVENTS))
    except EventError as error:
        found.append(f"events do not fold: {error.message}")
    return found

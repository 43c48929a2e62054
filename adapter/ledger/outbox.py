"""The outbox: one row per resource that has to be written, with the attempt committed before it is sent.

An entry is due, leased, unknown (its attempt may have been done) or parked. A lease of another incarnation,
or one that outlived every request, means *unknown*: who held it was killed (F15, F17).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from adapter.errors import LedgerError
from adapter.ledger import charts, queries, rows
from adapter.ledger.core import Core
from adapter.ledger.fold import read_time, time_text
from adapter.ledger.records import LONGEST_REQUEST_S, Attempt, OutboxRow
from adapter.ledger.tasks import apply, want
from adapter.model import Event, EventKind

_STALE = timedelta(minutes=30)  # longer than any delivery with all its retries
_PARKED = timedelta(days=1)  # a parked entry is tried again once a day (F21)


class LeaseTaken(LedgerError):
    """Another delivery of this resource is under way; or the entry is gone."""


class Outbox(Core):
    """The part of the ledger about what has to be written to the EHR."""

    def due_writes(self, source: str, now: datetime, limit: int = 100) -> list[OutboxRow]:
        """What may be tried now: due and unknown entries, parked ones once a day; Tasks before CarePlans.

        An entry in state *unknown* has to be looked at in the EHR before anything is sent for it.
        """
        self._void_leases(source, now)
        with self._reading() as db:
            found = db.execute(queries.DUE_WRITES, (source, time_text(now), limit))
            return [rows.outbox(row) for row in found]

    def _void_leases(self, source: str, now: datetime) -> None:
        values = {"source": source, "stale": time_text(now - _STALE)}
        with self._reading() as db:
            found = db.execute(queries.LEASED, values).fetchone()
        if not found:
            return
        with self._writing() as db:
            for row in db.execute(queries.LEASED, values).fetchall():
                over = read_time(row["attempt_at"]) + timedelta(seconds=LONGEST_REQUEST_S)
                db.execute(queries.DOUBT, (time_text(over), row["target"]))

    def begin(
        self, target: str, *, digest: str, values: Mapping[str, str], at: datetime, incarnation: str
    ) -> None:
        """Commit an attempt *before* it is sent: the digest of what it sets, and that of each element's
        value.

        Raises:
            LeaseTaken: where another delivery of this resource is under way.
        """
        if not self.begin_each([Attempt(target, digest, values, at, incarnation)]):
            raise LeaseTaken(f"{target} is being written by another delivery")

    def begin_each(self, attempts: Iterable[Attempt]) -> dict[str, bool]:
        """Commit attempts, each of another resource, in one transaction and *before* the first of them is sent.

        A resource of which another delivery is under way is left out. True where no attempt of the same digest is
        remembered from before: what :meth:`unsent` has to know.
        """
        with self._writing() as db:
            begun = ((one.target, _begin(db, one)) for one in attempts)
            return {target: new for target, new in begun if new is not None}

    def unsent(self, begun: Mapping[str, bool], not_before: datetime) -> None:
        """Take attempts back of which nothing was sent, as :meth:`begin_each` has told of them; they are due again."""
        with self._writing() as db:
            for target, new in begun.items():
                row = db.execute(queries.OUTBOX_ROW, (target,)).fetchone()
                if row is not None and new:  # of one that was lost earlier a version may come still
                    db.execute(queries.END_ATTEMPT, (target, row["attempt"]))
                db.execute(queries.UNSENT, (time_text(not_before), target))

    def done(self, target: str, *, sent: int, version: str, events: Sequence[Event] = ()) -> None:
        """The EHR acknowledged the write that carried wish number ``sent``, as ``version``.

        The row ends, or is due again where ``wanted`` has grown meanwhile. ``events`` are stored with it; a
        Task whose row does not know ``version`` by them is confirmed here.
        """
        # Lost with the power, it is learned again: the attempt before it is durable, and its digest is found there.
        with self._writing(durable=False) as db:
            row = db.execute(queries.OUTBOX_ROW, (target,)).fetchone()
            if row is not None:
                db.execute(queries.END_ATTEMPT, (target, row["attempt"]))
            apply(db, [*events, *_confirmation(db, target, version, events, self._clock.now())])
            if version and target.startswith("CarePlan/"):
                db.execute(queries.PLAN_SEEN, {"id": target.partition("/")[2], "version": version})
            db.execute(queries.MARK_SENT, (sent, target))
            db.execute(queries.END_WRITE, (target,))

    def unknown(self, target: str, not_before: datetime) -> None:
        """An attempt was sent and no answer came: look, after ``not_before``, before sending again."""
        with self._writing() as db:
            db.execute(queries.DOUBT, (time_text(not_before), target))

    def park(self, target: str, safe: str, digest: str = "") -> None:
        """The EHR will not take this content: wait until another is wanted, or a day.

        ``safe`` is the server's codes without its text, ``digest`` that of what was refused.
        """
        again = time_text(self._clock.now() + _PARKED)
        with self._writing() as db:
            self._answered(db, target)
            db.execute(queries.PARK, (safe, digest, again, target))

    def later(
        self,
        target: str,
        not_before: datetime,
        *,
        answered: bool = True,
        failed: bool = True,
        round: bool = False,
    ) -> None:
        """Try again after ``not_before``.

        ``answered`` is true where it is known that nothing was done (refused for now, nothing sent, or read
        back first); false keeps an *unknown* entry unknown. ``failed`` counts a failure, ``round`` a round of
        reading back first (F2).
        """
        values = {
            "target": target,
            "not_before": time_text(not_before),
            "answered": answered,
            "failure": int(failed),
            "round": int(round),
        }
        with self._writing() as db:
            if answered:
                self._answered(db, target)
            db.execute(queries.LATER, values)

    def _answered(self, db: sqlite3.Connection, target: str) -> None:
        """An attempt that is leased was answered with a no: no version can come from it."""
        row = db.execute(queries.OUTBOX_ROW, (target,)).fetchone()
        if row is not None and row["state"] == "leased":
            db.execute(queries.END_ATTEMPT, (target, row["attempt"]))

    def want(self, targets: Iterable[str]) -> None:
        """Wish for a write of each "Task/<id>" or "CarePlan/<id>" that the ledger holds."""
        with self._writing() as db:
            want(db, set(targets))

    def retry(self, target: str) -> None:
        """Make a parked or resting entry due at once."""
        with self._writing() as db:
            db.execute(queries.RETRY_WRITE, (target,))

    def drop(self, target: str) -> bool:
        """Take an entry out: nothing was sent, nothing has to be. False where a delivery is under way."""
        with self._writing() as db:
            return db.execute(queries.DROP_WRITE, (target,)).rowcount == 1

    def drop_outbox(self, source: str) -> int:
        """Drop every entry of a source: the first step of a recovery, before all own Tasks are read (F16)."""
        with self._writing() as db:
            return db.execute(queries.DROP_OUTBOX, (source,)).rowcount

    def outbox(self, state: str | None = None) -> list[OutboxRow]:
        """All entries, or those in one state."""
        with self._reading() as db:
            return [rows.outbox(row) for row in db.execute(queries.OUTBOX, {"state": state})]

    def outbox_row(self, target: str) -> OutboxRow | None:
        """One entry."""
        with self._reading() as db:
            row = db.execute(queries.OUTBOX_ROW, (target,)).fetchone()
        return rows.outbox(row) if row else None

    def written_values(self, ids: Iterable[str]) -> dict[str, frozenset[str]]:
        """Digests of every value ever written to tasks, by "Task/id#element" (F13)."""
        with self._reading() as db:
            return charts.written_values(db, [f"Task/{id}" for id in ids])

    def attempts(self, ids: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """Digests of writes to tasks that are under way or whose answer was lost, by "Task/id" (F15)."""
        with self._reading() as db:
            return charts.lost_attempts(db, [f"Task/{id}" for id in ids])


def _begin(db: sqlite3.Connection, attempt: Attempt) -> bool | None:
    """Take the lease and keep the attempt: whether it is a new one; None where the lease is taken."""
    target, digest, when = attempt.target, attempt.digest, time_text(attempt.at)
    if db.execute(queries.BEGIN_ATTEMPT, (digest, when, attempt.incarnation, target)).rowcount != 1:
        return None
    kept = {"target": target, "digest": digest, "at": when}
    new = db.execute(queries.KEEP_ATTEMPT, kept).rowcount == 1
    if not new:
        db.execute(queries.KEPT_AGAIN, kept)
    values = sorted(attempt.values.items())
    db.executemany(queries.KEEP_VALUE, [(target, element, value) for element, value in values])
    return new


def _confirmation(
    db: sqlite3.Connection, target: str, version: str, events: Sequence[Event], at: datetime
) -> list[Event]:
    kind, _, task = target.partition("/")
    if (
        kind != "Task"
        or not version
        or any(event.task == task and "seen_version" in event.set for event in events)
    ):
        return []
    row = db.execute(queries.TASK, (task,)).fetchone()
    if row is None or row["seen_version"] == version:
        return []
    return [
        Event(task=task, kind=EventKind.CONFIRMED, at=at, set={"seen_version": version}, why="acknowledged")
    ]

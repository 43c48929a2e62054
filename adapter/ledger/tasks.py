"""Tasks, their events and texts, and care plans. Task rows come about only by folding events."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence

from adapter.ledger import persons, queries, rows
from adapter.ledger.core import Core
from adapter.ledger.fold import fold
from adapter.model import Event, Plan, Task, Words


def apply(db: sqlite3.Connection, events: Sequence[Event]) -> dict[str, Task]:
    """Append events and bring the rows of their tasks up to them; the rows as they are now.

    Raises:
        EventError: where an event does not fit; the transaction around it stores nothing then.
    """
    if not events:
        return {}
    ids = {event.task for event in events}
    held = {row["id"]: rows.task(row) for row in db.execute(queries.TASKS_BY_ID, (rows.listed(ids),))}
    for event in events:
        held[event.task] = fold(held.get(event.task), event)
    people = _people(db, [held[task] for task in ids])
    db.executemany(queries.SAVE_TASK, [rows.task_values(held[task], people[task]) for task in sorted(ids)])
    db.executemany(queries.APPEND_EVENT, [rows.event_values(event) for event in events])
    return held


def _people(db: sqlite3.Connection, tasks: Iterable[Task]) -> dict[str, str]:
    by_source: dict[str, list[Task]] = {}
    for task in tasks:
        by_source.setdefault(task.source, []).append(task)
    found: dict[str, str] = {}
    for source, group in by_source.items():
        patients = dict.fromkeys(task.patient for task in group)
        persons.know(db, source, patients)
        names = persons.names(db, source, patients)
        found.update({task.id: names[task.patient] for task in group})
    return found


def save_plans(db: sqlite3.Connection, plans: Iterable[Plan]) -> None:
    """Upsert care plans, each one version further than the row that is held."""
    plans = list(plans)
    held = {
        row["id"]: row["row_version"]
        for row in db.execute(queries.PLANS_BY_ID, (rows.listed(plan.id for plan in plans),))
    }
    for plan in plans:
        persons.know(db, plan.source, (plan.patient,))
        person = persons.names(db, plan.source, (plan.patient,))[plan.patient]
        version = held.get(plan.id, 0) + 1
        held[plan.id] = version
        db.execute(queries.SAVE_PLAN, {**rows.plan_values(plan, person), "row_version": version})


def want(db: sqlite3.Connection, targets: Iterable[str]) -> None:
    """Wish for a write of each target: one row per resource, its ``wanted`` one further (F17)."""
    db.executemany(queries.WANT, [_wish(target) for target in sorted(targets)])


def _wish(target: str) -> dict[str, str]:
    kind, _, id = target.partition("/")
    return {"target": target, "kind": kind, "id": id}


def save_words(db: sqlite3.Connection, words: Mapping[str, Words]) -> None:
    """Keep the texts of tasks beside their rows."""
    db.executemany(
        queries.SAVE_WORDS,
        [
            {"task": task, "title": said.title, "next": said.next, "reason": said.reason}
            for task, said in words.items()
        ],
    )


class Tasks(Core):
    """The part of the ledger about what has to be done."""

    def task(self, id: str) -> Task | None:
        """One task row."""
        with self._reading() as db:
            row = db.execute(queries.TASK, (id,)).fetchone()
        return rows.task(row) if row else None

    def tasks_by_id(self, ids: Iterable[str]) -> dict[str, Task]:
        """Some task rows, by id; what the ledger does not hold is left out."""
        with self._reading() as db:
            return {row["id"]: rows.task(row) for row in db.execute(queries.TASKS_BY_ID, (rows.listed(ids),))}

    def tasks(
        self, source: str | None = None, *, open_only: bool = False, patient: str | None = None
    ) -> list[Task]:
        """Task rows: of one source, open ones (earliest due first), of a patient and all linked to it."""
        values = {"source": source, "patient": patient}
        statement = queries.TASKS_OF_PERSON if patient else queries.OPEN_TASKS if open_only else queries.TASKS
        with self._reading() as db:
            found = [rows.task(row) for row in db.execute(statement, values)]
        return [task for task in found if task.open] if open_only else found

    def task_events(self, id: str) -> list[Event]:
        """All that happened to a task, in order."""
        with self._reading() as db:
            return [rows.event(row) for row in db.execute(queries.TASK_EVENTS, (id,))]

    def events_after(self, seq: int, limit: int = 500) -> list[Event]:
        """What happened to any task after event number ``seq``."""
        with self._reading() as db:
            return [rows.event(row) for row in db.execute(queries.EVENTS_AFTER, (seq, limit))]

    def append(self, events: Sequence[Event], *, expected: Mapping[str, int] | None = None) -> bool:
        """Record what happened outside a look: a confirmation, an adoption, what a person did in the EHR.

        ``expected`` names the row_version that each task must still have (0: the ledger does not hold it);
        where one differs nothing is stored and the answer is False.

        Raises:
            EventError: where an event does not fit its task.
        """
        with self._writing() as db:
            if expected and not _fits(db, expected):
                return False
            apply(db, events)
        return True

    def words(self, ids: Iterable[str]) -> dict[str, Words]:
        """The texts of tasks, by task id; a task whose texts were never rendered is left out."""
        with self._reading() as db:
            found = db.execute(queries.WORDS, (rows.listed(ids),))
            return {row["task"]: Words(row["title"], row["next"], row["reason"]) for row in found}

    def plan(self, id: str) -> Plan | None:
        """One care plan."""
        with self._reading() as db:
            row = db.execute(queries.PLAN, (id,)).fetchone()
        return rows.plan(row) if row else None

    def plans(self, source: str | None = None) -> list[Plan]:
        """All care plans, or those of one source."""
        with self._reading() as db:
            return [rows.plan(row) for row in db.execute(queries.PLANS, {"source": source})]

    def plans_of(self, source: str, patient: str) -> list[Plan]:
        """The care plans of one patient, those of her linked Patients left out, oldest episode first."""
        with self._reading() as db:
            person = persons.names(db, source, [patient]).get(patient, patient)
            found = [
                rows.plan(row) for row in db.execute(queries.CHART_PLANS, (source, rows.listed([person])))
            ]
        return sorted((p for p in found if p.patient == patient), key=lambda plan: (plan.key, plan.episode))

    def save_plan(self, plan: Plan) -> bool:
        """Keep what was learned of a plan outside a look; False where the row has moved on since."""
        with self._writing() as db:
            row = db.execute(queries.PLAN, (plan.id,)).fetchone()
            if (row["row_version"] if row else 0) != plan.row_version:
                return False
            save_plans(db, (plan,))
        return True


def _fits(db: sqlite3.Connection, expected: Mapping[str, int]) -> bool:
    found = {
        row["id"]: row["row_version"] for row in db.execute(queries.TASKS_BY_ID, (rows.listed(expected),))
    }
    return all(found.get(task, 0) == version for task, version in expected.items())

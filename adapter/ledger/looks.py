"""Committing looks: what each one read is compared with what is true now, then stored whole or not.

One transaction for a page of persons. A result whose request was renewed, whose tasks or plans moved on, or
that was made under another edition is refused, and nothing of it is stored; the others are not touched by
that (F14).
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from adapter.ledger import queries, rows
from adapter.ledger.core import Core
from adapter.ledger.fold import EventError, time_text
from adapter.ledger.records import LookResult
from adapter.ledger.tasks import apply, save_plans, save_words, want
from adapter.model import EventKind, Request

_Versions = Mapping[str, Mapping[str, int]]  # person → id → row_version
_NONE: Mapping[str, int] = {}


class Looks(Core):
    """The part of the ledger that takes in what looks decided."""

    def commit_looks(self, results: Sequence[LookResult], now: datetime | None = None) -> list[Request]:
        """Store the results that still fit; the requests of the others, to be looked at again.

        Of each: events, task rows, words, plans, one more ``wanted`` per target, the next look; its request
        is ended. A look that changes nothing costs two rows.

        Raises:
            EventError: where a result is at fault in itself. Nothing of any result is stored: commit one by
            one
                then, and let the guilty person rest with :meth:`failed` (F69).
        """
        refused: list[Request] = []
        with self._writing(durable=False) as db:  # a look that is lost with the power is made again
            for source, group in _by_source(results).items():
                refused += _commit(db, source, group)
        return refused


def _by_source(results: Iterable[LookResult]) -> dict[str, list[LookResult]]:
    groups: dict[str, list[LookResult]] = defaultdict(list)
    for result in results:
        groups[result.request.source].append(result)
    return groups


def _commit(db: sqlite3.Connection, source: str, results: Sequence[LookResult]) -> list[Request]:
    fitting = _fitting(db, source, results)
    for result in fitting:
        _check(result)
    apply(db, [event for result in fitting for event in result.events])
    save_plans(db, [plan for result in fitting for plan in result.plans])
    save_words(db, {task: words for result in fitting for task, words in result.words.items()})
    want(db, [target for result in fitting for target in result.wants])
    _end(db, source, fitting)
    stored = {id(result) for result in fitting}
    return [result.request for result in results if id(result) not in stored]


def _end(db: sqlite3.Connection, source: str, results: Sequence[LookResult]) -> None:
    db.executemany(
        queries.END_REQUEST, [(source, result.request.person, result.request.gen) for result in results]
    )
    db.executemany(
        queries.SET_NEXT_LOOK,
        [(source, r.request.person, time_text(r.next_look)) for r in results if r.next_look is not None],
    )
    db.executemany(
        queries.END_NEXT_LOOK, [(source, r.request.person) for r in results if r.next_look is None]
    )


def _fitting(db: sqlite3.Connection, source: str, results: Sequence[LookResult]) -> list[LookResult]:
    people = rows.listed({result.request.person for result in results})
    gens = {row["person"]: row["gen"] for row in db.execute(queries.GENS_OF, (source, people))}
    tasks = _versions(db, queries.TASK_VERSIONS, source, people)
    plans = _versions(db, queries.PLAN_VERSIONS, source, people)
    edition = db.execute(queries.META, ("edition",)).fetchone()
    taken = _taken(db, results)
    fitting = []
    for result in results:
        person, opened = result.request.person, _opened(result)
        if (
            gens.get(person) == result.request.gen
            and (edition is None or edition[0] == result.edition)
            and result.expected == tasks.get(person, _NONE)
            and result.plan_versions == plans.get(person, _NONE)
            and not opened & taken
        ):
            fitting.append(result)
            taken |= opened
            del gens[person]  # a second result for the same person has read too little
    return fitting


def _versions(db: sqlite3.Connection, statement: str, source: str, people: str) -> _Versions:
    found: dict[str, dict[str, int]] = defaultdict(dict)
    for row in db.execute(statement, (source, people)):
        found[row["person"]][row["id"]] = row["row_version"]
    return found


def _opened(result: LookResult) -> set[str]:
    return {event.task for event in result.events if event.kind is EventKind.OPENED}


def _taken(db: sqlite3.Connection, results: Sequence[LookResult]) -> set[str]:
    """Which of the ids to be opened exist already, with whomever: nobody opens twice."""
    opened = {task for result in results for task in _opened(result)}
    if not opened:
        return set()
    return {row[0] for row in db.execute(queries.TASKS_THAT_EXIST, (rows.listed(opened),))}


def _check(result: LookResult) -> None:
    own = {
        *result.expected,
        *(e.task for e in result.events if e.kind in (EventKind.OPENED, EventKind.ADOPTED)),
    }
    foreign = {event.task for event in result.events} | set(result.words)
    if not foreign <= own:
        raise EventError("a look changes a task that it has not read")

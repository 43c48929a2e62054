"""Waking: how a wish to look at a person is written down, whoever has it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping

from adapter.ledger import queries, rows
from adapter.ledger.core import draw
from adapter.ledger.records import CAUSE_RANK

_ELSE = CAUSE_RANK["resource"]


def rank(causes: Iterable[str]) -> int:
    """How early a request is looked at: the most urgent of its causes."""
    return min((CAUSE_RANK.get(cause, _ELSE) for cause in causes), default=_ELSE)


def renew(db: sqlite3.Connection, source: str, wakes: Mapping[str, Iterable[str]]) -> int:
    """Ask for a look at each person, uniting its causes with those that wait; the number of persons.

    Every renewal takes a new number from the one counter, so that a look that began before cannot end it
    (F14). A new cause ends a back-off, because what failed may be healed; the mere time (due) does not.
    """
    if not wakes:
        return 0
    waiting = {
        row["person"]: row["causes"] for row in db.execute(queries.REQUESTS_OF, (source, rows.listed(wakes)))
    }
    gen = draw(db, "gen", len(wakes))
    values = []
    for number, (person, causes) in enumerate(wakes.items()):
        words = frozenset(cause.replace(" ", "-") for cause in causes)
        united = words.union(waiting.get(person, "").split())
        values.append(
            {
                "source": source,
                "person": person,
                "gen": gen + number,
                "rank": rank(words),
                "causes": " ".join(sorted(united)),
                "wakes": words != {"due"},
            }
        )
    db.executemany(queries.RENEW_REQUEST, values)
    return len(values)

"""Charts: all that a look may read, for many persons in one read transaction and a handful of statements."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from adapter.facts.history import Horizon, Row, left_out
from adapter.ledger import persons, queries, rows
from adapter.ledger.core import Core
from adapter.ledger.records import WalkRow
from adapter.ledger.snapshots import work_refs
from adapter.model import Chart, Known, Plan, Request, Snapshot, SourceFacts, Task


@dataclass(frozen=True, slots=True)
class _Read:
    at: datetime | None
    seq: int
    reason: str


@dataclass(frozen=True, slots=True)
class Reading:
    """What one reading of the ledger knows of some persons; each chart is made when it is asked for.

    A page of persons parsed at once costs twice what one after the other does: a chart that is let go before the
    next one is made is made in the memory that is still warm.
    """

    source: SourceFacts
    now: datetime
    edition: str
    people: Mapping[str, tuple[str, ...]]
    refs: Mapping[str, Mapping[str, None]]
    snapshots: Mapping[str, tuple[Any, ...]]  # rows by ref
    tasks: Mapping[str, list[Task]]
    plans: Mapping[str, list[Plan]]
    known: Mapping[str, dict[str, Known]]
    written: Mapping[str, frozenset[str]]
    attempts: Mapping[str, tuple[str, ...]]

    def chart(self, request: Request) -> Chart:
        """The chart of one of the persons who were read.

        Raises:
            NotJson: where the body of a row is damaged.
        """
        person = request.person
        tasks, patients = self.tasks.get(person, []), self.people[person]
        return Chart(
            source=self.source,
            person=person,
            patients=patients,
            snapshots=_snapshots(self.snapshots, self.refs[person], self.source.name),
            known=self.known[person],
            tasks=tuple(tasks),
            plans=tuple(self.plans.get(person, ())),
            now=self.now,
            edition=self.edition,
            request=request,
            written=_of_tasks(self.written, tasks),
            attempts={key: self.attempts[key] for key in _targets(tasks) if key in self.attempts},
        )


class Charts(Core):
    """The part of the ledger that looks read from."""

    def charts(
        self, requests: Sequence[Request], facts: SourceFacts, now: datetime, edition: str = ""
    ) -> list[Chart]:
        """One chart per request, as :meth:`reading` has them, with all history."""
        reading = self.reading(requests, facts, now, edition)
        return [reading.chart(request) for request in requests]

    def chart_of(self, patient: str, facts: SourceFacts, now: datetime, edition: str = "") -> Chart:
        """The chart of the person to whom a patient belongs, with all history, whether or not a look is asked for."""
        with self._reading() as db:
            person = persons.names(db, facts.name, [patient])[patient]
            request = Request(facts.name, person, 0, frozenset())
            return _read(db, [request], facts, now, edition, None).chart(request)

    def reading(
        self,
        requests: Sequence[Request],
        facts: SourceFacts,
        now: datetime,
        edition: str = "",
        horizon: Horizon | None = None,
    ) -> Reading:
        """What the charts of some persons are made of, all of the source that ``facts`` describes.

        In a chart: every snapshot that names one of the person's patients now or did in the version before, the
        Patients themselves, and whatever its tasks hang on, whomever that names by now: their own Task, and
        of open ones focus, basedOn and evidence; without digests and the numbers of their requests. With a
        ``horizon`` the history beyond it is left out, as far as nothing hangs on it (history.left_out). This
        reads one state of the ledger; the commit compares (F14).
        """
        with self._reading() as db:
            return _read(db, requests, facts, now, edition, horizon)


def _read(
    db: sqlite3.Connection,
    requests: Sequence[Request],
    facts: SourceFacts,
    now: datetime,
    edition: str,
    horizon: Horizon | None,
) -> Reading:
    source = facts.name
    people = persons.members(db, source, [request.person for request in requests])
    everyone = [patient for group in people.values() for patient in group]
    tasks, refs = _tasks(db, source, people)
    walked = {row.type: _walked(row) for row in map(rows.walk, db.execute(queries.WALKS, (source,)))}
    reads = _reads(db, source, everyone)
    known = {person: _known(walked, reads, patients) for person, patients in people.items()}
    refs_of = _named(db, source, people)
    for person, found in refs_of.items():
        out = _left_out(found, people[person], tasks.get(person, ()), known[person], horizon)
        refs[person].update([(row[0], None) for row in found if row[0] not in out])
        refs[person].update(dict.fromkeys(people[person]))
    targets = [f"Task/{task.id}" for group in tasks.values() for task in group]
    return Reading(
        source=facts,
        now=now,
        edition=edition,
        people=people,
        refs=refs,
        snapshots=_rows(db, source, refs),
        tasks=tasks,
        plans=_plans(db, source, people),
        known=known,
        written=written_values(db, targets),
        attempts=lost_attempts(db, targets),
    )


def _targets(tasks: Iterable[Task]) -> list[str]:
    return [f"Task/{task.id}" for task in tasks]


def _of_tasks(written: Mapping[str, frozenset[str]], tasks: Iterable[Task]) -> dict[str, frozenset[str]]:
    if not written:
        return {}
    own = frozenset(_targets(tasks))
    return {key: values for key, values in written.items() if key.partition("#")[0] in own}


def _tasks(
    db: sqlite3.Connection, source: str, people: Iterable[str]
) -> tuple[dict[str, list[Task]], dict[str, dict[str, None]]]:
    """Tasks by person, and the refs that each person's tasks bring into its chart."""
    tasks: dict[str, list[Task]] = defaultdict(list)
    refs: dict[str, dict[str, None]] = {person: {} for person in people}
    for row in db.execute(queries.CHART_TASKS, (source, rows.listed(refs))):
        task, person = rows.task(row), row["person"]
        tasks[person].append(task)
        named = sorted(work_refs(task)) if task.open else [f"Task/{task.id}"]
        refs[person].update(dict.fromkeys(named))
    return tasks, refs


def _named(
    db: sqlite3.Connection, source: str, people: Mapping[str, tuple[str, ...]]
) -> dict[str, list[Row]]:
    """What names each person's patients, with its trace."""
    found: dict[str, list[Row]] = {person: [] for person in people}
    person_of = {patient: found[person] for person, group in people.items() for patient in group}
    into = list(person_of.values())
    cursor = db.cursor()
    cursor.row_factory = None  # plain tuples: looks read a row of all that is held
    for row in cursor.execute(queries.CHART_REFS, (source, rows.listed(person_of))).fetchall():
        into[row[-1]].append(row)
    return found


def _left_out(
    named: list[Row],
    patients: Sequence[str],
    tasks: Iterable[Task],
    known: Mapping[str, Known],
    horizon: Horizon | None,
) -> Collection[str]:
    if horizon is None or len(patients) > 1:
        return ()
    return left_out(named, _spoken_of(tasks), known, horizon)


def _spoken_of(tasks: Iterable[Task]) -> set[str]:
    """What a person's tasks speak of, open and closed: what each hangs on, and what its need names."""
    found: set[str] = set()
    for task in tasks:
        found |= work_refs(task)
        found.add(task.need.rpartition(":")[2])
    return found


def _rows(
    db: sqlite3.Connection, source: str, refs: Mapping[str, Mapping[str, None]]
) -> dict[str, tuple[Any, ...]]:
    """The snapshots of all charts as rows, by ref."""
    cursor = db.cursor()
    cursor.row_factory = None
    wanted = dict.fromkeys([ref for group in refs.values() for ref in group])
    return {row[0]: row for row in cursor.execute(queries.CHART_ROWS, (source, rows.listed(wanted)))}


def _snapshots(held: Mapping[str, tuple[Any, ...]], refs: Iterable[str], source: str) -> dict[str, Snapshot]:
    return {ref: rows.charted(held[ref], source) for ref in refs if ref in held}


def _plans(db: sqlite3.Connection, source: str, people: Iterable[str]) -> dict[str, list[Plan]]:
    plans: dict[str, list[Plan]] = defaultdict(list)
    for row in db.execute(queries.CHART_PLANS, (source, rows.listed(people))):
        plans[row["person"]].append(rows.plan(row))
    return plans


def _reads(db: sqlite3.Connection, source: str, patients: Iterable[str]) -> dict[str, dict[str, _Read]]:
    """Reads made for one patient, by patient and type."""
    reads: dict[str, dict[str, _Read]] = defaultdict(dict)
    for row in db.execute(queries.READS_OF, (source, rows.listed(patients))):
        reads[row["patient"]][row["type"]] = _Read(rows.time(row["at"]), row["seq"], row["reason"])
    return reads


def _known(
    walked: Mapping[str, Known], reads: Mapping[str, Mapping[str, _Read]], patients: Sequence[str]
) -> dict[str, Known]:
    """Up to when absence may be believed: the later of the walk and of a read of *all* the patients."""
    known = dict(walked)
    own = [reads.get(patient, {}) for patient in patients]
    for type in {type for group in own for type in group}:
        found = [group[type] for group in own if type in group]
        known[type] = _with_reads(known.get(type, Known()), found, complete=len(found) == len(own))
    return known


def _walked(walk: WalkRow) -> Known:
    return Known(
        at=walk.known_at,
        seq=walk.known_seq,
        bounded=walk.bounded,
        declared_none=walk.declared_none,
        blind=walk.blind,
    )


def _with_reads(walked: Known, reads: Sequence[_Read], *, complete: bool) -> Known:
    refused = next((read.reason for read in reads if read.reason), "")
    times = [read.at for read in reads if read.at is not None]
    if complete and len(times) == len(reads):
        at, seq = min(times), min(read.seq for read in reads)
        # What a bounded walk hides, a read for the patient shows: it counts though the walk began later.
        if walked.bounded or walked.at is None or seq > walked.seq:
            return Known(at=at, seq=seq, declared_none=walked.declared_none, blind=refused)
    if refused and walked.at is None:
        return Known(declared_none=walked.declared_none, blind=walked.blind or refused)
    return walked


def written_values(db: sqlite3.Connection, targets: Iterable[str]) -> dict[str, frozenset[str]]:
    """Digests of all that was ever written: "Task/id#element" → digests."""
    found: dict[str, set[str]] = defaultdict(set)
    for row in db.execute(queries.WRITTEN_VALUES, (rows.listed(targets),)):
        found[f"{row['target']}#{row['element']}"].add(row["digest"])
    return {key: frozenset(values) for key, values in found.items()}


def lost_attempts(db: sqlite3.Connection, targets: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Digests of writes under way or without answer: "Task/id" → digests, the oldest first."""
    found: dict[str, list[str]] = defaultdict(list)
    for row in db.execute(queries.ATTEMPTS, (rows.listed(targets),)):
        found[row["target"]].append(row["digest"])
    return {key: tuple(values) for key, values in found.items()}

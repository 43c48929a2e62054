"""Between rows of the database and the records and dataclasses that the rest of Baton knows."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from datetime import datetime
from operator import attrgetter
from typing import Any

from msgspec import structs

from adapter import fhirjson
from adapter.ledger.fold import FORMS, read_time, time_text, to_json
from adapter.ledger.records import (
    CommandRow,
    Held,
    HoldRow,
    OutboxRow,
    QuarantineRow,
    RunRow,
    SourceRow,
    WalkRow,
)
from adapter.model import (
    Event,
    EventKind,
    Plan,
    Priority,
    Request,
    Snapshot,
    SnapshotState,
    Task,
    TaskStatus,
)

STATES = {state.value: state for state in SnapshotState}
_STATUSES = {status.value: status for status in TaskStatus}
_PRIORITIES = {priority.value: priority for priority in Priority}


def text(at: datetime | None) -> str | None:
    """A time as it is stored."""
    return None if at is None else time_text(at)


def time(stored: str | None) -> datetime | None:
    """A time from how it is stored."""
    return None if stored is None else read_time(stored)


def packed(value: Any) -> str:
    """A JSON value as it is stored."""
    return fhirjson.dumps(value).decode()


def listed(values: Iterable[str]) -> str:
    """Several texts as one argument for ``json_each``."""
    return fhirjson.dumps(list(values)).decode()


def texts(stored: str) -> tuple[str, ...]:
    """A stored list of texts."""
    return tuple(fhirjson.loads(stored)) if stored != "[]" else ()


def task_values(task: Task, person: str) -> tuple[Any, ...]:
    """The columns of a task row, in the order of ``queries.TASK_COLUMNS``."""
    *values, version = structs.astuple(task)
    for place, write in _WRITERS:
        values[place] = write(values[place])
    return (*values, person, version)


def task(row: sqlite3.Row) -> Task:
    """A task from its row: by place, in the order of ``queries.TASK_COLUMNS``, which is that of its own fields."""
    values = list(row)
    del values[len(FORMS)]  # the person
    for place, read in _READERS:
        values[place] = read(values[place])
    return Task(*values)


def _packed_texts(values: Any) -> str:
    return packed(to_json(values)) if values else "[]"


_code = attrgetter("value")
_WRITER_OF: Mapping[str, Any] = {
    "time": text,
    "texts": _packed_texts,
    "set": _packed_texts,
    "status": _code,
    "priority": _code,
}
_WRITERS = tuple(
    [(place, _WRITER_OF[form]) for place, form in enumerate(FORMS.values()) if form in _WRITER_OF]
)
_READER_OF: Mapping[str, Any] = {
    "bool": bool,
    "time": time,
    "texts": texts,
    "set": lambda stored: frozenset(texts(stored)),
    "status": _STATUSES.__getitem__,
    "priority": _PRIORITIES.__getitem__,
}
_READERS = tuple(
    [(place, _READER_OF[form]) for place, form in enumerate(FORMS.values()) if form in _READER_OF]
)
assert (*FORMS, "row_version") == Task.__struct_fields__


def event_values(event: Event) -> tuple[Any, ...]:
    """The columns of an event, its number left out."""
    return (
        event.task,
        event.kind.value,
        time_text(event.at),
        packed(event.set),
        event.why,
        packed(list(event.causes)),
        event.edition,
    )


def event(row: sqlite3.Row) -> Event:
    """An event from its row."""
    return Event(
        task=row["task"],
        kind=EventKind(row["kind"]),
        at=read_time(row["at"]),
        set=fhirjson.loads(row["set"]),
        why=row["why"],
        causes=texts(row["causes"]),
        edition=row["edition"],
        seq=row["seq"],
    )


def snapshot(row: Iterable[Any], source: str) -> Snapshot:
    """A snapshot from a row of ``queries.SNAPSHOTS``, by place."""
    *kept, digest, kept_digest, sent_seq = row
    return charted(kept, source, digest, kept_digest, sent_seq)


def charted(
    row: Iterable[Any], source: str, digest: str = "", kept_digest: str = "", sent_seq: int = 0
) -> Snapshot:
    """A snapshot from a row of ``queries.CHART_ROWS``: by place, for looks read most of what is held."""
    (
        ref,
        state,
        body,
        version,
        updated,
        edition,
        first,
        changed,
        received,
        seq,
        walk_seq,
        in_scope,
        patients,
    ) = row
    kind, _, ident = ref.partition("/")
    return Snapshot(
        source,
        kind,
        ident,
        STATES[state],
        fhirjson.loads(body),
        version,
        time(updated),
        digest,
        kept_digest,
        edition,
        time(first),
        time(changed),
        time(received),
        sent_seq,
        seq,
        walk_seq,
        bool(in_scope),
        tuple(patients.split()),
        ref,
    )


def request(row: sqlite3.Row) -> Request:
    """A request from its row."""
    return Request(
        source=row["source"],
        person=row["person"],
        gen=row["gen"],
        causes=frozenset(row["causes"].split()),
        not_before=time(row["not_before"]),
        failures=row["failures"],
    )


def plan_values(plan: Plan, person: str) -> dict[str, Any]:
    """The columns of a care plan."""
    return {
        "id": plan.id,
        "source": plan.source,
        "patient": plan.patient,
        "person": person,
        "key": plan.key,
        "programme": plan.programme,
        "episode": plan.episode,
        "status": plan.status,
        "started": text(plan.started),
        "ended": text(plan.ended),
        "mapping": plan.mapping,
        "seen_version": plan.seen_version,
        "gone": int(plan.gone),
    }


def plan(row: sqlite3.Row) -> Plan:
    """A care plan from its row."""
    return Plan(
        id=row["id"],
        source=row["source"],
        patient=row["patient"],
        key=row["key"],
        programme=row["programme"],
        episode=row["episode"],
        status=row["status"],
        started=time(row["started"]),
        ended=time(row["ended"]),
        mapping=row["mapping"],
        seen_version=row["seen_version"],
        gone=bool(row["gone"]),
        row_version=row["row_version"],
    )


def source_values(row: SourceRow) -> dict[str, Any]:
    """The columns of a source."""
    return {
        "name": row.name,
        "key": row.key,
        "base_url": row.base_url,
        "environment": row.environment,
        "namespace": row.namespace,
        "device": row.device,
        "epoch": row.epoch,
        "incarnation": row.incarnation,
        "pending": row.pending,
        "live_from": text(row.live_from),
        "adopted": int(row.adopted),
        "reread_day": row.reread_day,
        "paused": int(row.paused),
        "suspect": row.suspect,
        "aliases": packed(list(row.aliases)),
    }


def source(row: sqlite3.Row) -> SourceRow:
    """A source from its row."""
    values = {name: row[name] for name in row.keys()}  # noqa: SIM118 - a Row iterates over its values
    values.update(
        live_from=time(row["live_from"]),
        adopted=bool(row["adopted"]),
        paused=bool(row["paused"]),
        aliases=texts(row["aliases"]),
    )
    return SourceRow(**values)


def walk_values(row: WalkRow) -> dict[str, Any]:
    """The columns of a walk."""
    return {
        "source": row.source,
        "type": row.type,
        "query": row.query,
        "watermark": text(row.watermark),
        "known_at": text(row.known_at),
        "known_seq": row.known_seq,
        "bounded": int(row.bounded),
        "place": None if row.place is None else packed(row.place),
        "overlap_s": row.overlap_s,
        "anchor_ref": row.anchor_ref,
        "anchor_updated": text(row.anchor_updated),
        "blind": row.blind,
        "blind_since": text(row.blind_since),
        "note": row.note,
        "declared_none": int(row.declared_none),
    }


def held(row: sqlite3.Row) -> Held:
    """One row of an inventory."""
    return Held(
        ref=row["ref"],
        state=STATES[row["state"]],
        version=row["version"],
        kept_digest=row["kept_digest"],
        last_updated=time(row["last_updated"]),
        edition=row["edition"],
    )


def walk(row: sqlite3.Row) -> WalkRow:
    """A walk from its row."""
    return WalkRow(
        source=row["source"],
        type=row["type"],
        query=row["query"],
        watermark=time(row["watermark"]),
        known_at=time(row["known_at"]),
        known_seq=row["known_seq"],
        bounded=bool(row["bounded"]),
        place=None if row["place"] is None else fhirjson.loads(row["place"]),
        overlap_s=row["overlap_s"],
        anchor_ref=row["anchor_ref"],
        anchor_updated=time(row["anchor_updated"]),
        blind=row["blind"],
        blind_since=time(row["blind_since"]),
        note=row["note"],
        declared_none=bool(row["declared_none"]),
    )


def outbox(row: sqlite3.Row) -> OutboxRow:
    """An outbox entry from its row."""
    return OutboxRow(
        target=row["target"],
        source=row["source"],
        wanted=row["wanted"],
        sent=row["sent"],
        state=row["state"],
        attempt=row["attempt"],
        attempt_at=time(row["attempt_at"]),
        incarnation=row["incarnation"],
        not_before=time(row["not_before"]),
        failures=row["failures"],
        rounds=row["rounds"],
        parked=row["parked"],
    )


def quarantine(row: sqlite3.Row) -> QuarantineRow:
    """A quarantine entry from its row."""
    return QuarantineRow(
        id=row["id"],
        source=row["source"],
        type=row["type"],
        res_id=row["res_id"],
        version=row["version"],
        reason=row["reason"],
        place=row["place"],
        raw=row["raw"],
        at=time(row["at"]),
        patients=tuple(row["patients"].split()),
        tries=row["tries"],
    )


def hold(row: sqlite3.Row) -> HoldRow:
    """A hold from its row."""
    return HoldRow(
        id=row["id"],
        source=row["source"],
        cause=row["cause"],
        rule=row["rule"],
        direction=row["direction"],
        count=row["count"],
        created_at=time(row["created_at"]),
        released_at=time(row["released_at"]),
        tasks=texts(row["tasks"]),
    )


def run(row: sqlite3.Row) -> RunRow:
    """A run from its row."""
    return RunRow(
        id=row["id"],
        verb=row["verb"],
        began_at=read_time(row["began_at"]),
        ended_at=time(row["ended_at"]),
        summary=None if row["summary"] is None else fhirjson.loads(row["summary"]),
    )


def command(row: sqlite3.Row) -> CommandRow:
    """A command from its row."""
    return CommandRow(
        id=row["id"],
        verb=row["verb"],
        arguments=fhirjson.loads(row["arguments"]),
        at=read_time(row["at"]),
    )

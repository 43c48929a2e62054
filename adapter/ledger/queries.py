"""Every SQL statement of the ledger, named for what it answers or does.

Lists come in as one JSON argument (``json_each``), so that each statement has one text and one plan. No
statement says REPLACE: it would delete the row first and all that hangs on it (F14).
"""

from __future__ import annotations

from adapter.ledger.fold import FORMS

_CLOSED = "('rejected', 'cancelled', 'failed', 'completed', 'entered-in-error')"
#: Of a task row, in the order in which ``rows.task`` and ``rows.task_values`` have them.
TASK_COLUMNS = (*FORMS, "person", "row_version")
_TASK = ", ".join(f'"{name}"' for name in TASK_COLUMNS)
OPEN = f"gone = 0 AND status NOT IN {_CLOSED}"


def _upsert(
    table: str, keys: str, columns: list[str], once: tuple[str, ...] = (), *, by_place: bool = False
) -> str:
    """``by_place``: the values come in the order of ``columns``, which costs less than by name."""
    quoted = [f'"{name}"' for name in columns]
    values = ", ".join("?" if by_place else f":{name}" for name in columns)
    own = {f'"{name.strip()}"' for name in (*keys.split(","), *once)}
    news = ", ".join(f"{name} = excluded.{name}" for name in quoted if name not in own)
    return (
        f"INSERT INTO {table} ({', '.join(quoted)}) VALUES ({values}) "  # noqa: S608 - names of columns only
        f"ON CONFLICT ({keys}) DO UPDATE SET {news}"
    )


# --- the ledger itself

META = "SELECT value FROM meta WHERE name = ?"
SET_META = (
    "INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"
)
DRAW_META = "INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO NOTHING"
COUNTER = "SELECT value FROM counters WHERE name = ?"
DRAW = "UPDATE counters SET value = value + ? WHERE name = ? RETURNING value"
RAISE_COUNTER = "UPDATE counters SET value = max(value, ?) WHERE name = ?"

# --- sources and walks

SOURCE = "SELECT * FROM sources WHERE name = ?"
SOURCES = "SELECT * FROM sources ORDER BY name"
SAVE_SOURCE = _upsert(
    "sources",
    "name",
    [
        "name",
        "key",
        "base_url",
        "environment",
        "namespace",
        "device",
        "epoch",
        "incarnation",
        "pending",
        "live_from",
        "adopted",
        "reread_day",
        "paused",
        "suspect",
        "aliases",
    ],
    once=("paused",),  # a person's word: no row that the engine read before may take it back
)
PAUSE_SOURCE = "UPDATE sources SET paused = ? WHERE name = ?"
WALK = "SELECT * FROM walks WHERE source = ? AND type = ?"
WALKS = "SELECT * FROM walks WHERE source = ? ORDER BY type"
SAVE_WALK = _upsert(
    "walks",
    "source, type",
    [
        "source",
        "type",
        "query",
        "watermark",
        "known_at",
        "known_seq",
        "bounded",
        "place",
        "overlap_s",
        "anchor_ref",
        "anchor_updated",
        "blind",
        "blind_since",
        "note",
        "declared_none",
    ],
)

# --- snapshots

HELD_OF_PAGE = """
    SELECT ref, state, status, version, digest, kept_digest, edition, in_scope, received_seq, seen_seq,
           last_updated, first_seen, changed, patients
    FROM snapshots WHERE source = ? AND ref IN (SELECT value FROM json_each(?))"""
INSERT_SNAPSHOT = """
    INSERT INTO snapshots (source, ref, type, state, status, version, digest, kept_digest, edition, in_scope,
        sent_seq, received_seq, walk_seq, seen_seq, last_updated, first_seen, changed, received_at, patients,
        body)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
# By place, from the same row as INSERT_SNAPSHOT; first_seen (?16) stays as it is.
UPDATE_SNAPSHOT = """
    UPDATE snapshots SET state = ?4, status = ?5, version = ?6, digest = ?7, kept_digest = ?8, edition = ?9,
        in_scope = ?10, sent_seq = ?11, received_seq = ?12, walk_seq = ?13, seen_seq = ?14, last_updated = ?15,
        changed = ?17, received_at = ?18, patients = ?19, body = coalesce(?20, body)
    WHERE source = ?1 AND ref = ?2"""
SEEN_AGAIN = "UPDATE snapshots SET seen_seq = ? WHERE source = ? AND ref = ?"
HIDE_SNAPSHOT = "UPDATE snapshots SET state = 'quarantined' WHERE source = ? AND ref = ?"
FORGET_FORMER = """
    DELETE FROM snapshot_patients INDEXED BY snapshot_patients_former
    WHERE source = ? AND ref = ? AND now = 0"""
NAME_PATIENT = """
    INSERT INTO snapshot_patients
        (source, patient, ref, now, status, ended, made, seq, walk_seq, received, names)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (source, patient, ref) DO UPDATE SET now = excluded.now, status = excluded.status,
        ended = excluded.ended, made = excluded.made, seq = excluded.seq, walk_seq = excluded.walk_seq,
        received = excluded.received, names = excluded.names"""
FORGET_TRACES = "UPDATE snapshot_patients SET names = NULL WHERE source = ? AND now = 1 AND names IS NOT NULL"
HIDE_TRACE = "UPDATE snapshot_patients SET names = '?' WHERE source = ? AND patient = ? AND ref = ?"
UNTOLD = """
    SELECT s.*, n.patient FROM snapshot_patients n INDEXED BY snapshot_patients_untold
    CROSS JOIN snapshots s ON s.source = n.source AND s.ref = n.ref
    WHERE n.source = ? AND n.now = 1 AND n.names IS NULL LIMIT ?"""
RELATE_PATIENT = """
    INSERT INTO snapshot_patients (source, patient, ref, now) VALUES (?, ?, ?, 0)
    ON CONFLICT (source, patient, ref) DO NOTHING"""
OWNERS = """
    SELECT ref, patients FROM snapshots WHERE source = ? AND ref IN (SELECT value FROM json_each(?))"""
FORMER_PATIENTS = """
    SELECT ref, patient FROM snapshot_patients INDEXED BY snapshot_patients_former
    WHERE source = ? AND now = 0 AND ref IN (SELECT value FROM json_each(?))"""
# What looks read of a snapshot, in the order in which ``rows.charted`` takes it.
_CHARTED = """ref, state, body, version, last_updated, edition, first_seen, changed, received_at, received_seq,
    walk_seq, in_scope, patients"""
# ... and in the order in which ``rows.snapshot`` takes it.
SNAPSHOTS = f"""
    SELECT {_CHARTED}, digest, kept_digest, sent_seq
    FROM snapshots WHERE source = ? AND ref IN (SELECT value FROM json_each(?))"""  # noqa: S608
RECEIVED_AT = """
    SELECT ref, received_at FROM snapshots WHERE source = ? AND ref IN (SELECT value FROM json_each(?))"""
# "+ref", "+key": sorted afterwards. In the order of an index that begins with the source, SQLite would read every
# row of the source to find a few.
INVENTORY = """
    SELECT ref, state, version, kept_digest, last_updated, edition
    FROM snapshots WHERE source = ? AND type = ? ORDER BY +ref"""
INVENTORY_OF = """
    SELECT ref, state, version, kept_digest, last_updated, edition
    FROM snapshots WHERE source = ? AND ref IN (SELECT value FROM json_each(?))"""
ALIVE_AFTER = """
    SELECT ref FROM snapshots WHERE source = ? AND type = ? AND ref > ? AND state <> 'deleted'
    ORDER BY ref LIMIT ?"""
STALE_REFS = """
    SELECT ref FROM snapshots
    WHERE source = ? AND type = ? AND edition <> ? AND state IN ('live', 'quarantined')
    ORDER BY +ref LIMIT ?"""
COUNT_SNAPSHOTS = (
    "SELECT type, state, count(*) AS number FROM snapshots WHERE source = ? GROUP BY type, state"
)

# --- persons

KNOW_PATIENT = """
    INSERT INTO patients (source, patient, person) VALUES (?, ?, ?)
    ON CONFLICT (source, patient) DO NOTHING"""
PERSONS_OF = """
    SELECT patient, person, number, hold FROM patients
    WHERE source = ? AND patient IN (SELECT value FROM json_each(?))"""
PATIENTS_OF = """
    SELECT patient, person FROM patients
    WHERE source = ? AND person IN (SELECT value FROM json_each(?)) ORDER BY number"""
ALL_PERSONS = "SELECT DISTINCT person FROM patients WHERE source = ?"
PERSONS_WITH_TYPE = """
    SELECT DISTINCT p.person FROM snapshot_patients n
    CROSS JOIN snapshots s ON s.source = n.source AND s.ref = n.ref
    JOIN patients p ON p.source = n.source AND p.patient = n.patient
    WHERE n.source = ? AND n.now = 1 AND s.type IN (SELECT value FROM json_each(?))"""
PERSONS_WITH_OPEN_TASKS = f"SELECT DISTINCT person FROM tasks WHERE source = ? AND {OPEN}"  # noqa: S608
# All of a person's: who is not linked any more may be told by the other Patient alone.
STALE_PATIENTS_OF_OPEN_TASKS = f"""
    SELECT DISTINCT p.patient FROM patients p WHERE p.source = :source
        AND p.person IN (SELECT person FROM tasks WHERE source = :source AND {OPEN})
        AND NOT EXISTS (SELECT 1 FROM reads WHERE reads.source = p.source AND reads.patient = p.patient
            AND reads.type = 'Patient' AND reads.reason = '' AND reads.at > :before)"""  # noqa: S608
LINKS_OF = "SELECT other FROM links WHERE source = ? AND patient = ?"
NEIGHBOURS = """
    SELECT patient, other FROM links WHERE source = :source AND patient IN (SELECT value FROM json_each(:of))
    UNION
    SELECT patient, other FROM links WHERE source = :source AND other IN (SELECT value FROM json_each(:of))"""
CUT_LINKS = "DELETE FROM links WHERE source = ? AND patient = ?"
LINK = "INSERT INTO links (source, patient, other) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
NAME_PERSON = "UPDATE patients SET person = ?, hold = NULL WHERE source = ? AND patient = ?"
HOLD_PATIENT = "UPDATE patients SET hold = ? WHERE source = ? AND patient = ?"
FREE_PATIENTS = "UPDATE patients SET hold = NULL WHERE hold = ?"
HELD_PATIENTS = "SELECT DISTINCT person FROM patients WHERE hold = ?"
REKEY_TASKS = """
    UPDATE tasks SET person = (SELECT p.person FROM patients p
        WHERE p.source = tasks.source AND p.patient = tasks.patient)
    WHERE source = ? AND patient IN (SELECT value FROM json_each(?))"""
REKEY_PLANS = """
    UPDATE plans SET person = (SELECT p.person FROM patients p
        WHERE p.source = plans.source AND p.patient = plans.patient)
    WHERE source = ? AND patient IN (SELECT value FROM json_each(?))"""
REQUESTS_OF = "SELECT * FROM requests WHERE source = ? AND person IN (SELECT value FROM json_each(?))"
DROP_REQUESTS = "DELETE FROM requests WHERE source = ? AND person IN (SELECT value FROM json_each(?))"
NEXT_LOOKS_OF = (
    "SELECT person, at FROM next_looks WHERE source = ? AND person IN (SELECT value FROM json_each(?))"
)
DROP_NEXT_LOOKS = "DELETE FROM next_looks WHERE source = ? AND person IN (SELECT value FROM json_each(?))"

# --- patients by identifier

ANY_NAMED = "SELECT 1 FROM named_by_identifier WHERE source = ? LIMIT 1"
NAMED_BY = """
    SELECT ref, person, mark FROM named_by_identifier
    WHERE source = ? AND ref IN (SELECT value FROM json_each(?)) ORDER BY ref, person, mark"""
REFS_NAMING = """
    SELECT DISTINCT ref FROM named_by_identifier
    WHERE source = ? AND mark IN (SELECT value FROM json_each(?)) ORDER BY ref"""
NAME_IDENTIFIER = "INSERT INTO named_by_identifier (source, ref, person, mark) VALUES (?, ?, ?, ?)"
FORGET_NAMED = "DELETE FROM named_by_identifier WHERE source = ? AND ref IN (SELECT value FROM json_each(?))"
BEARERS = """
    SELECT i.mark, i.patient, coalesce(p.person, i.patient) AS person FROM patient_identifiers i
    LEFT JOIN patients p ON p.source = i.source AND p.patient = i.patient
    WHERE i.source = ? AND i.mark IN (SELECT value FROM json_each(?))"""
BORNE_BY = """
    SELECT patient, mark FROM patient_identifiers INDEXED BY patient_identifiers_by_patient
    WHERE source = ? AND patient IN (SELECT value FROM json_each(?))"""
BEAR = "INSERT INTO patient_identifiers (source, mark, patient) VALUES (?, ?, ?)"
BEAR_NO_MORE = "DELETE FROM patient_identifiers WHERE source = ? AND mark = ? AND patient = ?"
STATES_OF = """
    SELECT ref, state, patients FROM snapshots
    WHERE source = ? AND ref IN (SELECT value FROM json_each(?)) ORDER BY ref"""
WANT_IDENTIFIER = """
    INSERT INTO wanted_identifiers (source, mark, identifier, asked, ask_at) VALUES (?, ?, ?, 0, '')
    ON CONFLICT (source, mark) DO UPDATE SET ask_at = ''"""
# What was never asked for is asked for even where somebody bears it: there may be two of them.
IDENTIFIERS_TO_ASK = """
    SELECT w.identifier FROM wanted_identifiers w WHERE w.source = ? AND w.ask_at <= ? AND EXISTS (
        SELECT 1 FROM named_by_identifier n JOIN snapshots s ON s.source = n.source AND s.ref = n.ref
        WHERE n.source = w.source AND n.mark = w.mark AND (w.asked = 0 OR s.state = 'quarantined'))
    ORDER BY w.ask_at, w.mark LIMIT ?"""
TIMES_ASKED = "SELECT asked FROM wanted_identifiers WHERE source = ? AND mark = ?"
ASKED_FOR = "UPDATE wanted_identifiers SET asked = asked + 1, ask_at = ? WHERE source = ? AND mark = ?"
WANT_NO_MORE = """
    DELETE FROM wanted_identifiers WHERE source = :source AND mark IN (SELECT value FROM json_each(:marks))
        AND NOT EXISTS (SELECT 1 FROM named_by_identifier n
            WHERE n.source = wanted_identifiers.source AND n.mark = wanted_identifiers.mark)"""
ENTRY_REASON = "SELECT reason FROM quarantine WHERE source = ? AND type = ? AND res_id = ?"
GIVE_REASON = "UPDATE quarantine SET reason = ? WHERE source = ? AND type = ? AND res_id = ? RETURNING id"

# --- requests and next looks

RENEW_REQUEST = """
    INSERT INTO requests (source, person, gen, first_gen, rank, causes, not_before, failures)
    VALUES (:source, :person, :gen, :gen, :rank, :causes, NULL, 0)
    ON CONFLICT (source, person) DO UPDATE SET gen = excluded.gen, rank = min(rank, excluded.rank),
        causes = excluded.causes, not_before = CASE WHEN :wakes THEN NULL ELSE not_before END"""
DUE_REQUESTS = """
    SELECT r.* FROM requests r WHERE r.source = ? AND (r.not_before IS NULL OR r.not_before <= ?) AND r.causes <> ?
        AND NOT EXISTS (SELECT 1 FROM patients p
            WHERE p.source = r.source AND p.person = r.person AND p.hold IS NOT NULL)
    ORDER BY r.rank, r.first_gen LIMIT ?"""
WAITING = "SELECT person FROM requests WHERE source = ? ORDER BY rank, first_gen"
HOW_MANY_WAIT = "SELECT count(*) FROM requests WHERE source = ?"
ALL_REQUESTS = "SELECT * FROM requests WHERE source = ? ORDER BY rank, first_gen"
DUE_LOOKS = "SELECT person FROM next_looks WHERE source = ? AND at <= ? ORDER BY at"
ANY_DUE_LOOK = "SELECT 1 FROM next_looks WHERE source = ? AND at <= ? LIMIT 1"
END_DUE_LOOKS = "DELETE FROM next_looks WHERE source = ? AND at <= ?"
SET_NEXT_LOOK = """
    INSERT INTO next_looks (source, person, at) VALUES (?, ?, ?)
    ON CONFLICT (source, person) DO UPDATE SET at = excluded.at"""
END_NEXT_LOOK = "DELETE FROM next_looks WHERE source = ? AND person = ?"
NEXT_LOOKS = "SELECT person, at FROM next_looks WHERE source = ? ORDER BY at"
FAIL_REQUEST = """
    UPDATE requests SET not_before = ?, failures = failures + 1 WHERE source = ? AND person = ? AND gen = ?"""
DELAY_REQUEST = "UPDATE requests SET not_before = ? WHERE source = ? AND person = ? AND gen = ?"
END_REQUEST = "DELETE FROM requests WHERE source = ? AND person = ? AND gen = ?"
GENS_OF = "SELECT person, gen FROM requests WHERE source = ? AND person IN (SELECT value FROM json_each(?))"
RECORD_READ = """
    INSERT INTO reads (source, patient, type, at, seq, reason, tried) VALUES (?, ?, ?, ?, ?, '', ?)
    ON CONFLICT (source, patient, type) DO UPDATE SET at = excluded.at, seq = excluded.seq, reason = '',
        tried = excluded.tried
    WHERE excluded.seq >= reads.seq"""
RECORD_FAILED_READ = """
    INSERT INTO reads (source, patient, type, at, seq, reason, tried) VALUES (?, ?, ?, NULL, 0, ?, ?)
    ON CONFLICT (source, patient, type) DO UPDATE SET reason = excluded.reason, tried = excluded.tried"""
REFUSED_READS = """
    SELECT type, patient, min(tried) FROM reads WHERE source = ? AND reason <> '' GROUP BY type ORDER BY type"""
FORGET_REFUSED = """
    UPDATE reads SET reason = '' WHERE source = ? AND type = ? AND reason <> '' RETURNING patient"""
READ_FOR = "SELECT patient FROM reads WHERE source = ? AND type = ? AND at IS NOT NULL AND reason = ''"
READS_OF = "SELECT * FROM reads WHERE source = ? AND patient IN (SELECT value FROM json_each(?))"

# --- charts

CHART_TASKS = f"""
    SELECT {_TASK} FROM tasks WHERE source = ? AND person IN (SELECT value FROM json_each(?))
    ORDER BY +key, +generation"""  # noqa: S608
CHART_PLANS = """
    SELECT * FROM plans WHERE source = ? AND person IN (SELECT value FROM json_each(?))
    ORDER BY +key, +episode"""
CHART_ROWS = f"""
    SELECT {_CHARTED} FROM snapshots WHERE source = ? AND ref IN (SELECT value FROM json_each(?))"""  # noqa: S608
# Every patient in the order of refs: adapter.facts.history.Row, and last the patient's place among those asked for.
# What named him before, or names only an order of his, has no trace.
CHART_REFS = """
    SELECT p.ref, p.status, p.ended, p.made, coalesce(p.names, '?'), p.seq, p.walk_seq, p.received, json_each.key
    FROM json_each(?2)
    CROSS JOIN snapshot_patients p ON p.source = ?1 AND p.patient = json_each.value"""

# --- tasks, events, words, plans

TASK = f"SELECT {_TASK} FROM tasks WHERE id = ?"  # noqa: S608
TASKS_BY_ID = f"SELECT {_TASK} FROM tasks WHERE id IN (SELECT value FROM json_each(?))"  # noqa: S608
TASKS = f"""
    SELECT {_TASK} FROM tasks WHERE (:source IS NULL OR source = :source) ORDER BY source, key, generation"""  # noqa: S608
OPEN_TASKS = f"""
    SELECT {_TASK} FROM tasks WHERE (:source IS NULL OR source = :source) AND {OPEN}
    ORDER BY due IS NULL, due, source, key, generation"""  # noqa: S608
TASKS_OF_PERSON = f"""
    SELECT {_TASK} FROM tasks WHERE (:source IS NULL OR source = :source)
        AND (patient = :patient OR person IN (SELECT person FROM patients WHERE patient = :patient
            AND source = tasks.source))
    ORDER BY source, key, generation"""  # noqa: S608
TASK_PERSONS = "SELECT id, person FROM tasks WHERE source = ? AND id IN (SELECT value FROM json_each(?))"
TASK_VERSIONS = """
    SELECT person, id, row_version FROM tasks INDEXED BY tasks_by_person
    WHERE source = ? AND person IN (SELECT value FROM json_each(?))"""
TASKS_THAT_EXIST = "SELECT id FROM tasks WHERE id IN (SELECT value FROM json_each(?))"
SAVE_TASK = _upsert("tasks", "id", [*TASK_COLUMNS], by_place=True)
APPEND_EVENT = """
    INSERT INTO events (task, kind, at, "set", why, causes, edition) VALUES (?, ?, ?, ?, ?, ?, ?)"""
TASK_EVENTS = "SELECT * FROM events WHERE task = ? ORDER BY seq"
EVENTS_AFTER = "SELECT * FROM events WHERE seq > ? ORDER BY seq LIMIT ?"
ALL_EVENTS = "SELECT * FROM events ORDER BY task, seq"
SAVE_WORDS = _upsert("words", "task", ["task", "title", "next", "reason"])
WORDS = "SELECT * FROM words WHERE task IN (SELECT value FROM json_each(?))"
PLAN = "SELECT * FROM plans WHERE id = ?"
PLANS = "SELECT * FROM plans WHERE :source IS NULL OR source = :source ORDER BY source, key, episode"
PLANS_BY_ID = "SELECT * FROM plans WHERE id IN (SELECT value FROM json_each(?))"
PLAN_VERSIONS = """
    SELECT person, id, row_version FROM plans
    WHERE source = ? AND person IN (SELECT value FROM json_each(?))"""
_PLAN_COLUMNS = [
    "id",
    "source",
    "patient",
    "person",
    "key",
    "programme",
    "episode",
    "status",
    "started",
    "ended",
    "mapping",
    "seen_version",
    "gone",
    "row_version",
]
SAVE_PLAN = _upsert("plans", "id", _PLAN_COLUMNS)
PLAN_SEEN = """
    UPDATE plans SET seen_version = :version, row_version = row_version + 1
    WHERE id = :id AND seen_version <> :version"""

# --- outbox

WANT = """
    INSERT INTO outbox (target, source, wanted, sent, state, attempt, incarnation, failures, rounds, parked)
    SELECT :target, source, 1, 0, 'due', '', '', 0, 0, '' FROM
        (SELECT source FROM tasks WHERE :kind = 'Task' AND id = :id
         UNION ALL SELECT source FROM plans WHERE :kind = 'CarePlan' AND id = :id)
    WHERE true
    ON CONFLICT (target) DO UPDATE SET wanted = wanted + 1,
        failures = CASE state WHEN 'parked' THEN 0 ELSE failures END,
        parked = CASE state WHEN 'parked' THEN '' ELSE parked END,
        not_before = CASE state WHEN 'parked' THEN NULL ELSE not_before END,
        state = CASE state WHEN 'parked' THEN 'due' ELSE state END"""
LEASED = """
    SELECT target, attempt_at FROM outbox
    WHERE source = :source AND state = 'leased'
        AND (incarnation <> coalesce((SELECT incarnation FROM sources WHERE name = :source), '')
            OR attempt_at < :stale)"""
DOUBT = "UPDATE outbox SET state = 'unknown', not_before = ? WHERE target = ?"
DUE_WRITES = """
    SELECT * FROM outbox WHERE source = ? AND state <> 'leased' AND (not_before IS NULL OR not_before <= ?)
    ORDER BY substr(target, 1, 5) <> 'Task/', number LIMIT ?"""
OUTBOX_ROW = "SELECT * FROM outbox WHERE target = ?"
OUTBOX = "SELECT * FROM outbox WHERE :state IS NULL OR state = :state ORDER BY number"
BEGIN_ATTEMPT = """
    UPDATE outbox SET state = 'leased', attempt = ?, attempt_at = ?, incarnation = ?, not_before = NULL
    WHERE target = ? AND state <> 'leased'"""
KEEP_ATTEMPT = (
    "INSERT INTO attempts (target, digest, at) VALUES (:target, :digest, :at) ON CONFLICT DO NOTHING"
)
KEPT_AGAIN = "UPDATE attempts SET at = :at WHERE target = :target AND digest = :digest"
END_ATTEMPT = "DELETE FROM attempts WHERE target = ? AND digest = ?"
ATTEMPTS = "SELECT target, digest FROM attempts WHERE target IN (SELECT value FROM json_each(?)) ORDER BY at"
KEEP_VALUE = "INSERT INTO written_values (target, element, digest) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
WRITTEN_VALUES = """
    SELECT target, element, digest FROM written_values WHERE target IN (SELECT value FROM json_each(?))"""
MARK_SENT = """
    UPDATE outbox SET sent = max(sent, ?), state = 'due', attempt = '', not_before = NULL, failures = 0,
    rounds = 0,
        parked = ''
    WHERE target = ?"""
END_WRITE = "DELETE FROM outbox WHERE target = ? AND wanted <= sent"
PARK = "UPDATE outbox SET state = 'parked', parked = ?, attempt = ?, not_before = ? WHERE target = ?"
LATER = """
    UPDATE outbox SET state = CASE WHEN :answered OR state <> 'unknown' THEN 'due' ELSE state END,
        not_before = :not_before, failures = failures + :failure, rounds = rounds + :round
    WHERE target = :target"""
UNSENT = "UPDATE outbox SET state = 'due', not_before = ? WHERE target = ? AND state = 'leased'"
DROP_WRITE = "DELETE FROM outbox WHERE target = ? AND state <> 'leased'"
RETRY_WRITE = """
    UPDATE outbox SET state = 'due', not_before = NULL, failures = 0, rounds = 0, parked = ''
    WHERE target = ? AND state IN ('parked', 'due')"""
DROP_OUTBOX = "DELETE FROM outbox WHERE source = ?"

# --- quarantine, holds, runs, commands

_QUARANTINE = """
    INSERT INTO quarantine (source, type, res_id, version, reason, place, at, patients, tries, raw)
    VALUES (:source, :type, :res_id, :version, :reason, :place, :at, :patients, 1, :raw)"""
_AGAIN = """ DO UPDATE SET version = excluded.version, reason = excluded.reason, place = excluded.place,
        at = excluded.at, patients = excluded.patients, raw = excluded.raw, tries = tries + 1"""
KEEP_IDENTIFIED = f"{_QUARANTINE} ON CONFLICT (source, type, res_id) WHERE res_id <> '' {_AGAIN}"
KEEP_PLACED = f"{_QUARANTINE} ON CONFLICT (source, type, place) WHERE res_id = '' {_AGAIN}"
QUARANTINE = "SELECT * FROM quarantine WHERE :source IS NULL OR source = :source ORDER BY id"
QUARANTINED = "SELECT * FROM quarantine WHERE id = ?"
DROP_QUARANTINE = "DELETE FROM quarantine WHERE id = ?"
CLEAR_QUARANTINE = "DELETE FROM quarantine WHERE source = ? AND type = ? AND res_id = ?"
ANY_QUARANTINE = "SELECT type || '/' || res_id AS ref FROM quarantine WHERE source = ? AND res_id <> ''"
EXPIRE_QUARANTINE = "UPDATE quarantine SET raw = x'' WHERE at < ? AND length(raw) > 0"

HOLDS = "SELECT * FROM holds WHERE :all OR released_at IS NULL ORDER BY id"
HOLD = "SELECT * FROM holds WHERE id = ?"
ADD_HOLD = """
    INSERT INTO holds (source, cause, rule, direction, count, created_at, tasks)
    VALUES (:source, :cause, :rule, :direction, :count, :created_at, :tasks) RETURNING id"""
SAME_HOLD = """
    SELECT id FROM holds WHERE source = ? AND cause = ? AND rule = ? AND direction = ? AND tasks = ?
        AND released_at IS NULL"""
RELEASE_HOLD = "UPDATE holds SET released_at = ? WHERE id = ? AND released_at IS NULL"

BEGIN_RUN = "INSERT INTO runs (verb, began_at) VALUES (?, ?) RETURNING id"
END_RUN = "UPDATE runs SET ended_at = ?, summary = ? WHERE id = ?"
RUNS = "SELECT * FROM runs ORDER BY id DESC LIMIT ?"
ADD_COMMAND = "INSERT INTO commands (verb, arguments, at) VALUES (?, ?, ?) RETURNING id"
COMMANDS = "SELECT * FROM commands WHERE done_at IS NULL ORDER BY id"
END_COMMAND = "UPDATE commands SET done_at = ? WHERE id = ?"

# --- checks and exports

INTEGRITY = "PRAGMA integrity_check"
FOREIGN_KEYS = "PRAGMA foreign_key_check"
WHOLE_TABLE = 'SELECT * FROM "{table}"'  # filled in only with names that the schema itself gave

ORPHAN_WRITES = """
    SELECT target FROM outbox o WHERE NOT EXISTS (SELECT 1 FROM tasks WHERE 'Task/' || id = o.target)
        AND NOT EXISTS (SELECT 1 FROM plans WHERE 'CarePlan/' || id = o.target)"""
WRONG_PERSONS = """
    SELECT t.id FROM tasks t LEFT JOIN patients p ON p.source = t.source AND p.patient = t.patient
    WHERE p.person IS NULL OR p.person <> t.person"""
TWICE_OPEN = f"""
    SELECT source, key, count(*) AS number FROM tasks WHERE {OPEN}
    GROUP BY source, key HAVING number > 1"""  # noqa: S608
WITHOUT_PATIENT_ROWS = """
    SELECT count(*) FROM snapshots s WHERE s.patients <> '' AND NOT EXISTS
        (SELECT 1 FROM snapshot_patients n WHERE n.source = s.source AND n.ref = s.ref AND n.now = 1
            AND n.patient = substr(s.patients, 1, instr(s.patients || ' ', ' ') - 1))"""
STALE_TRACES = """
    SELECT count(*) FROM snapshot_patients n JOIN snapshots s ON s.source = n.source AND s.ref = n.ref
    WHERE n.now = 1 AND n.names IS NOT NULL AND n.seq <> s.received_seq"""
BAD_BODIES = "SELECT count(*) FROM snapshots WHERE NOT json_valid(body)"
LATE_SEQUENCE = """
    SELECT count(*) FROM snapshots WHERE received_seq > (SELECT value FROM counters WHERE name = 'seq')"""
LATE_GEN = "SELECT count(*) FROM requests WHERE gen > (SELECT value FROM counters WHERE name = 'gen')"

TASKS_OF_SOURCE = "SELECT id FROM tasks WHERE source = ? ORDER BY id"
# Task rows follow by an event of their own: they change in no other way.
RENAME_SOURCE = (
    "UPDATE sources SET name = ? WHERE name = ?",
    *(
        f"UPDATE {table} SET source = ? WHERE source = ?"  # noqa: S608 - the names stand here
        for table in (
            "walks",
            "snapshots",
            "snapshot_patients",
            "patients",
            "links",
            "requests",
            "next_looks",
            "reads",
            "plans",
            "outbox",
            "quarantine",
            "holds",
            "patient_identifiers",
            "named_by_identifier",
            "wanted_identifiers",
        )
    ),
)

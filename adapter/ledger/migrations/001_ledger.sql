-- The ledger. Times are ISO 8601 UTC with six decimals, so that text order is time order. Lists are JSON arrays.

CREATE TABLE counters (
    name  TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO counters (name, value) VALUES ('gen', 0), ('seq', 0);

CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE sources (
    name        TEXT PRIMARY KEY,
    key         TEXT NOT NULL UNIQUE,
    base_url    TEXT NOT NULL,
    environment TEXT NOT NULL,
    namespace   TEXT NOT NULL,
    device      TEXT NOT NULL,
    epoch       INTEGER NOT NULL,
    incarnation TEXT NOT NULL,
    pending     TEXT NOT NULL,
    live_from   TEXT,
    adopted     INTEGER NOT NULL,
    reread_day  TEXT NOT NULL,
    paused      INTEGER NOT NULL,
    suspect     TEXT NOT NULL,
    aliases     TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE walks (
    source         TEXT NOT NULL,
    type           TEXT NOT NULL,
    query          TEXT NOT NULL,
    watermark      TEXT,
    known_at       TEXT,
    known_seq      INTEGER NOT NULL,
    bounded        INTEGER NOT NULL,
    place          TEXT,
    overlap_s      REAL NOT NULL,
    anchor_ref     TEXT NOT NULL,
    anchor_updated TEXT,
    blind          TEXT NOT NULL,
    blind_since    TEXT,
    note           TEXT NOT NULL,
    declared_none  INTEGER NOT NULL,
    PRIMARY KEY (source, type)
) WITHOUT ROWID;

-- The body comes last: what a page is compared with lies before it, on the row's first page.
CREATE TABLE snapshots (
    source       TEXT NOT NULL,
    ref          TEXT NOT NULL,
    type         TEXT NOT NULL,
    state        TEXT NOT NULL,
    status       TEXT,
    version      TEXT,
    digest       TEXT NOT NULL,
    kept_digest  TEXT NOT NULL,
    edition      TEXT NOT NULL,
    in_scope     INTEGER NOT NULL,
    sent_seq     INTEGER NOT NULL,
    received_seq INTEGER NOT NULL,
    walk_seq     INTEGER NOT NULL,
    seen_seq     INTEGER NOT NULL,
    last_updated TEXT,
    first_seen   TEXT,
    changed      TEXT,
    received_at  TEXT,
    patients     TEXT NOT NULL,
    body         TEXT NOT NULL,
    PRIMARY KEY (source, ref)
);
CREATE INDEX snapshots_by_type ON snapshots (source, type);

-- now = 1: the newest version names the patient; 0: the one before it did.
CREATE TABLE snapshot_patients (
    source  TEXT NOT NULL,
    patient TEXT NOT NULL,
    ref     TEXT NOT NULL,
    now     INTEGER NOT NULL,
    PRIMARY KEY (source, patient, ref)
) WITHOUT ROWID;
CREATE INDEX snapshot_patients_by_ref ON snapshot_patients (source, ref);

-- Every patient ever named, in the order of first sight. The person is the name of its linked set.
CREATE TABLE patients (
    number  INTEGER PRIMARY KEY,
    source  TEXT NOT NULL,
    patient TEXT NOT NULL,
    person  TEXT NOT NULL,
    hold    INTEGER REFERENCES holds (id),
    UNIQUE (source, patient)
);
CREATE INDEX patients_by_person ON patients (source, person);

CREATE TABLE links (
    source  TEXT NOT NULL,
    patient TEXT NOT NULL,
    other   TEXT NOT NULL,
    PRIMARY KEY (source, patient, other)
) WITHOUT ROWID;
CREATE INDEX links_by_other ON links (source, other);

CREATE TABLE requests (
    source     TEXT NOT NULL,
    person     TEXT NOT NULL,
    gen        INTEGER NOT NULL UNIQUE,
    first_gen  INTEGER NOT NULL,
    rank       INTEGER NOT NULL,
    causes     TEXT NOT NULL,
    not_before TEXT,
    failures   INTEGER NOT NULL,
    PRIMARY KEY (source, person)
) WITHOUT ROWID;
CREATE INDEX requests_in_order ON requests (source, rank, first_gen);

CREATE TABLE next_looks (
    source TEXT NOT NULL,
    person TEXT NOT NULL,
    at     TEXT NOT NULL,
    PRIMARY KEY (source, person)
) WITHOUT ROWID;
CREATE INDEX next_looks_due ON next_looks (source, at);

CREATE TABLE reads (
    source  TEXT NOT NULL,
    patient TEXT NOT NULL,
    type    TEXT NOT NULL,
    at      TEXT,
    seq     INTEGER NOT NULL,
    reason  TEXT NOT NULL,
    tried   TEXT NOT NULL,
    PRIMARY KEY (source, patient, type)
) WITHOUT ROWID;

CREATE TABLE tasks (
    id              TEXT PRIMARY KEY,
    source          TEXT NOT NULL,
    patient         TEXT NOT NULL,
    person          TEXT NOT NULL,
    key             TEXT NOT NULL,
    generation      INTEGER NOT NULL,
    mapping         TEXT NOT NULL,
    mapping_version INTEGER NOT NULL,
    rule            TEXT NOT NULL,
    code            TEXT NOT NULL,
    need            TEXT NOT NULL,
    focus           TEXT NOT NULL,
    programme       TEXT NOT NULL,
    status          TEXT NOT NULL,
    priority        TEXT NOT NULL,
    opened_at       TEXT,
    opens           TEXT,
    due             TEXT,
    due_is_day      INTEGER NOT NULL,
    ends            TEXT,
    onset           TEXT,
    performer       TEXT NOT NULL,
    owner           TEXT NOT NULL,
    business_status TEXT NOT NULL,
    steps           TEXT NOT NULL,
    mine            TEXT NOT NULL,
    started         INTEGER NOT NULL,
    touched_at      TEXT,
    mark            TEXT NOT NULL,
    marked_at       TEXT,
    hold            TEXT NOT NULL,
    held_status     TEXT NOT NULL,
    "group"         TEXT NOT NULL,
    follows         TEXT NOT NULL,
    based_on        TEXT NOT NULL,
    opening         TEXT NOT NULL,
    closing         TEXT NOT NULL,
    closed_at       TEXT,
    closed_by       TEXT NOT NULL,
    renews          TEXT NOT NULL,
    turned          INTEGER NOT NULL,
    notes           INTEGER NOT NULL,
    seen_version    TEXT NOT NULL,
    gone            INTEGER NOT NULL,
    row_version     INTEGER NOT NULL
) WITHOUT ROWID;
CREATE UNIQUE INDEX tasks_one_per_generation ON tasks (source, key, generation);
CREATE INDEX tasks_by_person ON tasks (source, person, row_version);
CREATE INDEX tasks_by_patient ON tasks (source, patient);
CREATE INDEX tasks_open ON tasks (source, due)
    WHERE gone = 0 AND status NOT IN ('rejected', 'cancelled', 'failed', 'completed', 'entered-in-error');

-- Append-only: the truth from which the task rows can be made again.
CREATE TABLE events (
    seq     INTEGER PRIMARY KEY AUTOINCREMENT,
    task    TEXT NOT NULL REFERENCES tasks (id) DEFERRABLE INITIALLY DEFERRED,
    kind    TEXT NOT NULL,
    at      TEXT NOT NULL,
    "set"   TEXT NOT NULL,
    why     TEXT NOT NULL,
    causes  TEXT NOT NULL,
    edition TEXT NOT NULL
);
CREATE INDEX events_by_task ON events (task, seq);
CREATE TRIGGER events_keep BEFORE UPDATE ON events
    BEGIN SELECT RAISE(ABORT, 'events are never changed'); END;
CREATE TRIGGER events_stay BEFORE DELETE ON events
    BEGIN SELECT RAISE(ABORT, 'events are never deleted'); END;

CREATE TABLE words (
    task   TEXT PRIMARY KEY REFERENCES tasks (id) DEFERRABLE INITIALLY DEFERRED,
    title  TEXT NOT NULL,
    next   TEXT NOT NULL,
    reason TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE plans (
    id           TEXT PRIMARY KEY,
    source       TEXT NOT NULL,
    patient      TEXT NOT NULL,
    person       TEXT NOT NULL,
    key          TEXT NOT NULL,
    programme    TEXT NOT NULL,
    episode      INTEGER NOT NULL,
    status       TEXT NOT NULL,
    started      TEXT,
    ended        TEXT,
    mapping      TEXT NOT NULL,
    seen_version TEXT NOT NULL,
    gone         INTEGER NOT NULL,
    row_version  INTEGER NOT NULL
) WITHOUT ROWID;
CREATE UNIQUE INDEX plans_one_per_episode ON plans (source, key, episode);
CREATE INDEX plans_by_person ON plans (source, person, row_version);

CREATE TABLE outbox (
    number        INTEGER PRIMARY KEY,
    target        TEXT NOT NULL UNIQUE,
    source        TEXT NOT NULL,
    wanted        INTEGER NOT NULL,
    sent          INTEGER NOT NULL,
    state         TEXT NOT NULL CHECK (state IN ('due', 'leased', 'unknown', 'parked')),
    attempt       TEXT NOT NULL,
    attempt_at    TEXT,
    incarnation   TEXT NOT NULL,
    not_before    TEXT,
    failures      INTEGER NOT NULL,
    rounds        INTEGER NOT NULL,
    parked        TEXT NOT NULL
);
CREATE INDEX outbox_by_source ON outbox (source, state);

-- Digests of what was sent and not (yet) answered; a version equal to one of them is ours.
CREATE TABLE attempts (
    target TEXT NOT NULL,
    digest TEXT NOT NULL,
    at     TEXT NOT NULL,
    PRIMARY KEY (target, digest)
) WITHOUT ROWID;

-- Digests of every value ever written to an element that people may own.
CREATE TABLE written_values (
    target  TEXT NOT NULL,
    element TEXT NOT NULL,
    digest  TEXT NOT NULL,
    PRIMARY KEY (target, element, digest)
) WITHOUT ROWID;

CREATE TABLE quarantine (
    id       INTEGER PRIMARY KEY,
    source   TEXT NOT NULL,
    type     TEXT NOT NULL,
    res_id   TEXT NOT NULL,
    version  TEXT NOT NULL,
    reason   TEXT NOT NULL,
    place    TEXT NOT NULL,
    at       TEXT,
    patients TEXT NOT NULL,
    tries    INTEGER NOT NULL,
    raw      BLOB NOT NULL
);
CREATE UNIQUE INDEX quarantine_by_id ON quarantine (source, type, res_id) WHERE res_id <> '';
CREATE UNIQUE INDEX quarantine_by_place ON quarantine (source, type, place) WHERE res_id = '';

CREATE TABLE holds (
    id          INTEGER PRIMARY KEY,
    source      TEXT NOT NULL,
    cause       TEXT NOT NULL,
    rule        TEXT NOT NULL,
    direction   TEXT NOT NULL,
    count       INTEGER NOT NULL,
    created_at  TEXT NOT NULL,
    released_at TEXT,
    tasks       TEXT NOT NULL
);

CREATE TABLE runs (
    id       INTEGER PRIMARY KEY,
    verb     TEXT NOT NULL,
    began_at TEXT NOT NULL,
    ended_at TEXT,
    summary  TEXT
);

CREATE TABLE commands (
    id        INTEGER PRIMARY KEY,
    verb      TEXT NOT NULL,
    arguments TEXT NOT NULL,
    at        TEXT NOT NULL,
    done_at   TEXT
);

-- Who bears an identifier ("system|value"), by its digest: the identifiers themselves are not copied.
CREATE TABLE patient_identifiers (
    source  TEXT NOT NULL,
    mark    TEXT NOT NULL,
    patient TEXT NOT NULL,
    PRIMARY KEY (source, mark, patient)
) WITHOUT ROWID;
CREATE INDEX patient_identifiers_by_patient ON patient_identifiers (source, patient);

-- Which resources name a patient by identifiers alone; person: identifiers of one number mean the same one.
CREATE TABLE named_by_identifier (
    source TEXT NOT NULL,
    ref    TEXT NOT NULL,
    person INTEGER NOT NULL,
    mark   TEXT NOT NULL,
    PRIMARY KEY (source, ref, person, mark)
) WITHOUT ROWID;
CREATE INDEX named_by_identifier_by_mark ON named_by_identifier (source, mark);

-- The identifiers that resources name, to be searched for; ask_at: not before that.
CREATE TABLE wanted_identifiers (
    source     TEXT NOT NULL,
    mark       TEXT NOT NULL,
    identifier TEXT NOT NULL,
    asked      INTEGER NOT NULL,
    ask_at     TEXT NOT NULL,
    PRIMARY KEY (source, mark)
) WITHOUT ROWID;

-- Whom a resource names now stands in its own row: by resource, only whom it named before has to be found.
DROP INDEX snapshot_patients_by_ref;
CREATE INDEX snapshot_patients_former ON snapshot_patients (source, ref) WHERE now = 0;

-- What tells of a resource, beside whom it names, whether a look may pass over it (adapter.facts.history). names NULL:
-- it is not told yet, for it was stored before there was such a thing; nothing of that patient is passed over until it is.
ALTER TABLE snapshot_patients ADD COLUMN status TEXT;
ALTER TABLE snapshot_patients ADD COLUMN ended INTEGER;
ALTER TABLE snapshot_patients ADD COLUMN made INTEGER;
ALTER TABLE snapshot_patients ADD COLUMN seq INTEGER;
ALTER TABLE snapshot_patients ADD COLUMN walk_seq INTEGER;
ALTER TABLE snapshot_patients ADD COLUMN received INTEGER;
ALTER TABLE snapshot_patients ADD COLUMN names TEXT;
CREATE INDEX snapshot_patients_untold ON snapshot_patients (source, ref) WHERE names IS NULL AND now = 1;

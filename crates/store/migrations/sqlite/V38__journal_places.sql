-- A run's entries are found by their position first and the run second. Runs advance side by side,
-- so what is written together lies together, where each run's own stretch of an index would be one
-- page for every run that writes.
DROP INDEX journal_by_run;
CREATE UNIQUE INDEX journal_by_place ON journal (seq, run);
CREATE INDEX journal_blobs ON journal (run) WHERE payload_blob IS NOT NULL;

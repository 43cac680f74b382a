-- Large payloads are found without reading a run's journal.
CREATE INDEX journal_blobs ON journal (run) WHERE payload_blob IS NOT NULL;

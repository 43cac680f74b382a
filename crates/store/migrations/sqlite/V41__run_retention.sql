-- A run whose journal retention removed keeps its row: when, by which run, and whether the entries
-- are gone by now. A person's hold is the reason why a run is not removed, empty without one.

ALTER TABLE runs ADD COLUMN removed_at INTEGER;
ALTER TABLE runs ADD COLUMN removed_by BLOB;
ALTER TABLE runs ADD COLUMN emptied INTEGER NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN hold TEXT NOT NULL DEFAULT '';
CREATE INDEX runs_standing ON runs (run) WHERE removed_at IS NULL;
CREATE INDEX runs_to_empty ON runs (run) WHERE removed_at IS NOT NULL AND emptied = 0;

-- Leaves of the journal's tree, so that entries can go without it: the hashes of the entries from a
-- position on, one after the other, 32 bytes each. Ranges of a shard do not overlap, and none
-- crosses a border between subtrees of 256.
CREATE TABLE leaves (
    shard  INTEGER NOT NULL,
    first  INTEGER NOT NULL,
    hashes BLOB    NOT NULL,
    PRIMARY KEY (shard, first)
) STRICT;

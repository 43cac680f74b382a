-- The journal's Merkle tree: roots of complete subtrees of 256, 256², … entries (level 1, 2, …),
-- and the signed heads. Leaves are the journal's own hashes.

CREATE TABLE tree (
    shard    INTEGER NOT NULL,
    level    INTEGER NOT NULL,
    position INTEGER NOT NULL,
    hash     BLOB    NOT NULL,
    PRIMARY KEY (shard, level, position)
) STRICT, WITHOUT ROWID;

CREATE TABLE checkpoints (
    shard  INTEGER NOT NULL,
    size   INTEGER NOT NULL,
    origin TEXT    NOT NULL,
    root   BLOB    NOT NULL,
    note   TEXT    NOT NULL,
    at     INTEGER NOT NULL,
    PRIMARY KEY (shard, size)
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX journal_by_position ON journal (shard, lsn);

-- The order in which entries are committed: each has a shard and a position in it. The shard's row
-- holds the newest position and is changed in the transaction of the entry, so positions are given
-- in the order of commits, whoever writes.

CREATE TABLE shards (
    shard INTEGER NOT NULL PRIMARY KEY,
    lsn   INTEGER NOT NULL
) STRICT;
INSERT INTO shards (shard, lsn) SELECT 0, coalesce(max(lsn), 0) FROM journal;

ALTER TABLE journal ADD COLUMN shard INTEGER NOT NULL DEFAULT 0;

-- This database has one shard, so the primary key (lsn) is the order of positions already.

DROP INDEX journal_by_position;

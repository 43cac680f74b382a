-- Where a run comes from: the run that spawned it, or the run it shares its first entries with; and
-- the position up to which its journal does not count any more, because it continued as new.

ALTER TABLE runs ADD COLUMN parent BLOB;
ALTER TABLE runs ADD COLUMN forked_from BLOB;
ALTER TABLE runs ADD COLUMN fork_seq INTEGER NOT NULL DEFAULT -1;
ALTER TABLE runs ADD COLUMN base_seq INTEGER NOT NULL DEFAULT -1;
CREATE INDEX runs_by_parent ON runs (parent, run) WHERE parent IS NOT NULL;
CREATE INDEX runs_by_fork ON runs (forked_from, run) WHERE forked_from IS NOT NULL;

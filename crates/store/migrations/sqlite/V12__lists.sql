-- This database has one shard, so the primary key (lsn) is the order of positions already.

DROP INDEX journal_by_position;

-- Lists of a tenant's runs in a state.

CREATE INDEX runs_by_scope_and_state ON runs (organisation, workspace, state, run);

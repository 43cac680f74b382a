-- The journal's Merkle tree: roots of complete subtrees of 256, 256², … entries (level 1, 2, …),
-- and the signed heads. Leaves are the journal's own hashes. Both cover every tenant's entries, so
-- they are the engine's.

CREATE TABLE tree (
    shard    BIGINT NOT NULL,
    level    BIGINT NOT NULL,
    position BIGINT NOT NULL,
    hash     BYTEA  NOT NULL,
    PRIMARY KEY (shard, level, position)
);

CREATE TABLE checkpoints (
    shard  BIGINT           NOT NULL,
    size   BIGINT           NOT NULL,
    origin TEXT COLLATE "C" NOT NULL,
    root   BYTEA            NOT NULL,
    note   TEXT COLLATE "C" NOT NULL,
    at     BIGINT           NOT NULL,
    PRIMARY KEY (shard, size)
);

ALTER TABLE tree ENABLE ROW LEVEL SECURITY;
ALTER TABLE tree FORCE ROW LEVEL SECURITY;
CREATE POLICY engine ON tree TO matrix_engine USING (true);

ALTER TABLE checkpoints ENABLE ROW LEVEL SECURITY;
ALTER TABLE checkpoints FORCE ROW LEVEL SECURITY;
CREATE POLICY engine ON checkpoints TO matrix_engine USING (true);

-- Neither a root nor a signed head is ever changed or taken back.
GRANT SELECT, INSERT ON tree, checkpoints TO matrix_engine;

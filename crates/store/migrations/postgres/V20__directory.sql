-- The data directory whose files belong to this database. It is no tenant's, and never changes.

CREATE TABLE directory (
    one BIGINT           NOT NULL PRIMARY KEY CHECK (one = 1),
    id  TEXT COLLATE "C" NOT NULL
);

ALTER TABLE directory ENABLE ROW LEVEL SECURITY;
ALTER TABLE directory FORCE ROW LEVEL SECURITY;
CREATE POLICY engine ON directory TO matrix_engine USING (true);
GRANT SELECT, INSERT ON directory TO matrix_engine;

-- The last run of a name that only one run of a tenant may have at a time. A row is locked by
-- whoever starts a run of the name.

CREATE TABLE singletons (
    organisation TEXT COLLATE "C" NOT NULL,
    workspace    TEXT COLLATE "C" NOT NULL,
    name         TEXT COLLATE "C" NOT NULL,
    run          BYTEA,
    PRIMARY KEY (organisation, workspace, name)
);

ALTER TABLE singletons ENABLE ROW LEVEL SECURITY;
ALTER TABLE singletons FORCE ROW LEVEL SECURITY;
CREATE POLICY engine ON singletons TO matrix_engine USING (true);
GRANT SELECT, INSERT, UPDATE ON singletons TO matrix_engine;

-- What is asked of a file or a batch again and again, beside the runs that they are: whose it is, how
-- large, and how far. Times are microseconds since 1970.

CREATE TABLE model_files (
    organisation TEXT COLLATE "C" NOT NULL CHECK (organisation <> ''),
    workspace    TEXT COLLATE "C" NOT NULL CHECK (workspace <> ''),
    run          BYTEA            NOT NULL REFERENCES runs (run),
    owner        TEXT COLLATE "C" NOT NULL,
    filename     TEXT COLLATE "C" NOT NULL,
    bytes        BIGINT           NOT NULL,
    PRIMARY KEY (organisation, workspace, run)
);

CREATE INDEX model_files_by_owner ON model_files (organisation, workspace, owner, run);

CREATE TABLE model_batches (
    organisation TEXT COLLATE "C" NOT NULL CHECK (organisation <> ''),
    workspace    TEXT COLLATE "C" NOT NULL CHECK (workspace <> ''),
    run          BYTEA            NOT NULL REFERENCES runs (run),
    owner        TEXT COLLATE "C" NOT NULL,
    file         BYTEA            NOT NULL,
    endpoint     TEXT COLLATE "C" NOT NULL,
    metadata     TEXT COLLATE "C" NOT NULL,
    total        BIGINT           NOT NULL,
    completed    BIGINT           NOT NULL,
    failed       BIGINT           NOT NULL,
    output_bytes BIGINT           NOT NULL,
    error_bytes  BIGINT           NOT NULL,
    cancelled_at BIGINT,
    PRIMARY KEY (organisation, workspace, run)
) WITH (fillfactor = 50);

CREATE INDEX model_batches_by_owner ON model_batches (organisation, workspace, owner, run);

ALTER TABLE model_files ENABLE ROW LEVEL SECURITY;
ALTER TABLE model_files FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON model_files TO matrix_app
    USING (organisation = tenant_organisation() AND workspace = tenant_workspace());

ALTER TABLE model_batches ENABLE ROW LEVEL SECURITY;
ALTER TABLE model_batches FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON model_batches TO matrix_app
    USING (organisation = tenant_organisation() AND workspace = tenant_workspace());

GRANT SELECT, INSERT, DELETE ON model_files TO matrix_app;
GRANT SELECT, INSERT, UPDATE ON model_batches TO matrix_app;

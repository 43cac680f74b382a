-- What is asked of a file or a batch again and again, beside the runs that they are: whose it is, how
-- large, and how far. Times are microseconds since 1970.

CREATE TABLE model_files (
    organisation TEXT    NOT NULL,
    workspace    TEXT    NOT NULL,
    run          BLOB    NOT NULL REFERENCES runs (run),
    owner        TEXT    NOT NULL,
    filename     TEXT    NOT NULL,
    bytes        INTEGER NOT NULL,
    PRIMARY KEY (organisation, workspace, run)
) STRICT;

CREATE INDEX model_files_by_owner ON model_files (organisation, workspace, owner, run);

CREATE TABLE model_batches (
    organisation TEXT    NOT NULL,
    workspace    TEXT    NOT NULL,
    run          BLOB    NOT NULL REFERENCES runs (run),
    owner        TEXT    NOT NULL,
    file         BLOB    NOT NULL,
    endpoint     TEXT    NOT NULL,
    metadata     TEXT    NOT NULL,
    total        INTEGER NOT NULL,
    completed    INTEGER NOT NULL,
    failed       INTEGER NOT NULL,
    output_bytes INTEGER NOT NULL,
    error_bytes  INTEGER NOT NULL,
    cancelled_at INTEGER,
    PRIMARY KEY (organisation, workspace, run)
) STRICT;

CREATE INDEX model_batches_by_owner ON model_batches (organisation, workspace, owner, run);

-- What changes leave behind: artifacts, releases and deployments.

CREATE TABLE artifacts (
    run        BLOB    NOT NULL REFERENCES runs (run),
    name       TEXT    NOT NULL,
    digest     BLOB    NOT NULL,
    media_type TEXT    NOT NULL,
    size       INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (run, name)
) STRICT;
CREATE INDEX artifacts_by_digest ON artifacts (digest);

CREATE TABLE deployments (
    deployment   BLOB    NOT NULL PRIMARY KEY,
    run          BLOB    NOT NULL REFERENCES runs (run),
    organisation TEXT    NOT NULL,
    workspace    TEXT    NOT NULL,
    target       TEXT    NOT NULL,
    state        TEXT    NOT NULL,
    detail       TEXT    NOT NULL,
    created_at   INTEGER NOT NULL,
    updated_at   INTEGER NOT NULL
) STRICT;
CREATE INDEX deployments_by_target ON deployments (organisation, workspace, target, deployment);

CREATE TABLE releases (
    release      BLOB    NOT NULL PRIMARY KEY,
    run          BLOB    NOT NULL UNIQUE REFERENCES runs (run),
    organisation TEXT    NOT NULL,
    workspace    TEXT    NOT NULL,
    title        TEXT    NOT NULL,
    detail       TEXT    NOT NULL,
    created_at   INTEGER NOT NULL
) STRICT;

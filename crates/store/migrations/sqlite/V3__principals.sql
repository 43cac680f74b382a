-- Who may sign in, and the digests of their tokens.

CREATE TABLE principals (
    principal    BLOB    NOT NULL PRIMARY KEY,
    organisation TEXT    NOT NULL,
    workspace    TEXT    NOT NULL,
    kind         TEXT    NOT NULL,
    name         TEXT    NOT NULL,
    roles        TEXT    NOT NULL,
    state        TEXT    NOT NULL,
    created_at   INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX principals_by_name ON principals (organisation, workspace, kind, lower(name));

CREATE TABLE tokens (
    digest     BLOB    NOT NULL PRIMARY KEY,
    hint       INTEGER NOT NULL,
    principal  BLOB    NOT NULL REFERENCES principals (principal),
    created_at INTEGER NOT NULL,
    revoked_at INTEGER
) STRICT;
CREATE INDEX tokens_by_hint ON tokens (hint);
CREATE INDEX tokens_by_principal ON tokens (principal);

-- Runs, their journals and what is projected from them. Times are microseconds since 1970.

CREATE TABLE runs (
    run          BLOB    NOT NULL PRIMARY KEY,
    organisation TEXT    NOT NULL,
    workspace    TEXT    NOT NULL,
    kind         TEXT    NOT NULL,
    version      TEXT    NOT NULL,
    title        TEXT    NOT NULL,
    trace        TEXT    NOT NULL,
    state        TEXT    NOT NULL,
    waiting      TEXT,
    wake_at      INTEGER,
    owner        TEXT,
    epoch        INTEGER NOT NULL,
    crashes      INTEGER NOT NULL,
    head_seq     INTEGER NOT NULL,
    head_hash    BLOB    NOT NULL,
    created_at   INTEGER NOT NULL,
    updated_at   INTEGER NOT NULL
) STRICT;
CREATE INDEX runs_by_state ON runs (state, run);
CREATE INDEX runs_by_wake ON runs (wake_at) WHERE wake_at IS NOT NULL;
CREATE INDEX runs_by_scope ON runs (organisation, workspace, run);

CREATE TABLE journal (
    lsn            INTEGER NOT NULL PRIMARY KEY,
    run            BLOB    NOT NULL REFERENCES runs (run),
    seq            INTEGER NOT NULL,
    kind           TEXT    NOT NULL,
    path           TEXT    NOT NULL,
    fingerprint    TEXT    NOT NULL,
    actor          TEXT    NOT NULL,
    epoch          INTEGER NOT NULL,
    at             INTEGER NOT NULL,
    payload_digest BLOB    NOT NULL,
    hash           BLOB    NOT NULL,
    salt           BLOB,
    payload        BLOB,
    payload_blob   BLOB
) STRICT;
CREATE UNIQUE INDEX journal_by_run ON journal (run, seq);

CREATE TABLE inbox (
    id      INTEGER NOT NULL PRIMARY KEY,
    run     BLOB    NOT NULL REFERENCES runs (run),
    kind    TEXT    NOT NULL,
    path    TEXT    NOT NULL,
    payload BLOB    NOT NULL,
    actor   TEXT    NOT NULL,
    at      INTEGER NOT NULL
) STRICT;
CREATE INDEX inbox_by_run ON inbox (run, id);

CREATE TABLE workers (
    worker TEXT    NOT NULL PRIMARY KEY,
    beat   INTEGER NOT NULL
) STRICT;

CREATE TABLE approvals (
    approval     BLOB    NOT NULL PRIMARY KEY,
    run          BLOB    NOT NULL REFERENCES runs (run),
    name         TEXT    NOT NULL,
    state        TEXT    NOT NULL,
    subject      TEXT    NOT NULL,
    requested_at INTEGER NOT NULL,
    closed_at    INTEGER
) STRICT;
CREATE INDEX approvals_by_run ON approvals (run);
CREATE INDEX approvals_by_state ON approvals (state, approval);

CREATE TABLE audit (
    id           INTEGER NOT NULL PRIMARY KEY,
    at           INTEGER NOT NULL,
    organisation TEXT    NOT NULL,
    workspace    TEXT    NOT NULL,
    actor        TEXT    NOT NULL,
    action       TEXT    NOT NULL,
    subject      TEXT    NOT NULL,
    detail       TEXT    NOT NULL
) STRICT;

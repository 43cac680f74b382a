-- Steps that workers outside do: one row from the offer until what a worker reported is in the
-- journal. Times are microseconds since 1970.

CREATE TABLE tasks (
    task         BLOB    NOT NULL PRIMARY KEY,
    run          BLOB    NOT NULL REFERENCES runs (run),
    organisation TEXT    NOT NULL,
    workspace    TEXT    NOT NULL,
    path         TEXT    NOT NULL,
    queue        TEXT    NOT NULL,
    name         TEXT    NOT NULL,
    class        TEXT    NOT NULL,
    state        TEXT    NOT NULL,
    offer        TEXT    NOT NULL,
    lease_ms     INTEGER NOT NULL,
    timeout_ms   INTEGER,
    cancelled    INTEGER NOT NULL,
    losses       INTEGER NOT NULL,
    worker       TEXT,
    token        TEXT,
    beat         INTEGER NOT NULL,
    since        INTEGER NOT NULL,
    due_at       INTEGER,
    progress     TEXT,
    report       BLOB
) STRICT;
CREATE UNIQUE INDEX tasks_by_step ON tasks (run, path);
CREATE INDEX tasks_by_queue ON tasks (organisation, workspace, queue, task) WHERE state = 'offered';
CREATE INDEX tasks_held ON tasks (task) WHERE state <> 'offered';

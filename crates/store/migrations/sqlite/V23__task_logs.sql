-- What workers outside print while they do steps: beside the journal, not of it. Times are
-- microseconds since 1970.

CREATE TABLE task_logs (
    run    BLOB    NOT NULL REFERENCES runs (run),
    seq    INTEGER NOT NULL,
    path   TEXT    NOT NULL,
    worker TEXT    NOT NULL,
    at     INTEGER NOT NULL,
    text   TEXT    NOT NULL,
    PRIMARY KEY (run, seq)
) STRICT, WITHOUT ROWID;

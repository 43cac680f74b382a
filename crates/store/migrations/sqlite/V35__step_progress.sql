-- How far the steps under way are, in their own words: beside the journal, not of it, and gone when
-- their run is let go of. Times are microseconds since 1970.

CREATE TABLE step_progress (
    run      BLOB    NOT NULL REFERENCES runs (run),
    path     TEXT    NOT NULL,
    epoch    INTEGER NOT NULL,
    at       INTEGER NOT NULL,
    progress TEXT    NOT NULL,
    PRIMARY KEY (run, path)
) STRICT, WITHOUT ROWID;

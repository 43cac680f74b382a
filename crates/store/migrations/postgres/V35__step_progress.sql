-- How far the steps under way are, in their own words: beside the journal, not of it, and gone when
-- their run is let go of. Times are microseconds since 1970.

CREATE TABLE step_progress (
    run      BYTEA            NOT NULL REFERENCES runs (run),
    path     TEXT COLLATE "C" NOT NULL,
    epoch    BIGINT           NOT NULL,
    at       BIGINT           NOT NULL,
    progress TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (run, path)
);

ALTER TABLE step_progress ENABLE ROW LEVEL SECURITY;
ALTER TABLE step_progress FORCE ROW LEVEL SECURITY;
CREATE POLICY engine ON step_progress TO matrix_engine USING (true);
CREATE POLICY tenant ON step_progress TO matrix_app
    USING (EXISTS (SELECT FROM runs r WHERE r.run = step_progress.run));

GRANT SELECT, INSERT, UPDATE, DELETE ON step_progress TO matrix_engine, matrix_app;

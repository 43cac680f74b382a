-- What workers outside print while they do steps: beside the journal, not of it. Times are
-- microseconds since 1970.

CREATE TABLE task_logs (
    run    BYTEA            NOT NULL REFERENCES runs (run),
    seq    BIGINT           NOT NULL,
    path   TEXT COLLATE "C" NOT NULL,
    worker TEXT COLLATE "C" NOT NULL,
    at     BIGINT           NOT NULL,
    text   TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (run, seq)
);

ALTER TABLE task_logs ENABLE ROW LEVEL SECURITY;
ALTER TABLE task_logs FORCE ROW LEVEL SECURITY;
CREATE POLICY engine ON task_logs TO matrix_engine USING (true);
CREATE POLICY tenant ON task_logs TO matrix_app
    USING (EXISTS (SELECT FROM runs r WHERE r.run = task_logs.run));

GRANT SELECT, INSERT ON task_logs TO matrix_engine, matrix_app;

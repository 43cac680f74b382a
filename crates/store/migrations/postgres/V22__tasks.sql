-- Steps that workers outside do: one row from the offer until what a worker reported is in the
-- journal. Times are microseconds since 1970.

CREATE TABLE tasks (
    task         BYTEA            NOT NULL PRIMARY KEY,
    run          BYTEA            NOT NULL REFERENCES runs (run),
    organisation TEXT COLLATE "C" NOT NULL CHECK (organisation <> ''),
    workspace    TEXT COLLATE "C" NOT NULL CHECK (workspace <> ''),
    path         TEXT COLLATE "C" NOT NULL,
    queue        TEXT COLLATE "C" NOT NULL,
    name         TEXT COLLATE "C" NOT NULL,
    class        TEXT COLLATE "C" NOT NULL,
    state        TEXT COLLATE "C" NOT NULL,
    offer        TEXT COLLATE "C" NOT NULL,
    lease_ms     BIGINT           NOT NULL,
    timeout_ms   BIGINT,
    cancelled    BIGINT           NOT NULL,
    losses       BIGINT           NOT NULL,
    worker       TEXT COLLATE "C",
    token        TEXT COLLATE "C",
    beat         BIGINT           NOT NULL,
    since        BIGINT           NOT NULL,
    due_at       BIGINT,
    progress     TEXT COLLATE "C",
    report       BYTEA
) WITH (fillfactor = 70);
CREATE UNIQUE INDEX tasks_by_step ON tasks (run, path);
CREATE INDEX tasks_by_queue ON tasks (organisation, workspace, queue, task) WHERE state = 'offered';
CREATE INDEX tasks_held ON tasks (task) WHERE state <> 'offered';

ALTER TABLE tasks ENABLE ROW LEVEL SECURITY;
ALTER TABLE tasks FORCE ROW LEVEL SECURITY;
CREATE POLICY engine ON tasks TO matrix_engine USING (true);
CREATE POLICY tenant ON tasks TO matrix_app
    USING (organisation = tenant_organisation() AND workspace = tenant_workspace())
    WITH CHECK (organisation = tenant_organisation() AND workspace = tenant_workspace()
                AND EXISTS (SELECT FROM runs r WHERE r.run = tasks.run));

-- Offers are made and taken back by the engine alone; a tenant's workers lease, beat and report.
GRANT SELECT, INSERT, UPDATE, DELETE ON tasks TO matrix_engine;
GRANT SELECT, UPDATE ON tasks TO matrix_app;

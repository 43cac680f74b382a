-- Where a run queues: its flow is lane, organisation, workspace, capabilities it requires and
-- priority, with the byte 31 between them, so that one index finds every flow that has a run ready
-- without reading the runs. Times are microseconds since 1970.

ALTER TABLE runs ADD COLUMN flow TEXT COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE runs ADD COLUMN concurrency_key TEXT COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE runs ADD COLUMN queued_at BIGINT NOT NULL DEFAULT 0;

-- The owner of the tables may change no run while row-level security is forced.
ALTER TABLE runs NO FORCE ROW LEVEL SECURITY;
UPDATE runs SET flow = 'default' || chr(31) || organisation || chr(31) || workspace || chr(31)
                       || chr(31) || '5',
                queued_at = updated_at;
ALTER TABLE runs FORCE ROW LEVEL SECURITY;

-- The first two find what comes next. The others count who runs, so a slot is a row that runs and
-- goes when it does.
CREATE INDEX runs_ready_by_flow ON runs (flow, queued_at, run) WHERE state = 'ready';
CREATE INDEX runs_ready_by_key ON runs (flow, concurrency_key, queued_at, run)
    WHERE state = 'ready';
CREATE INDEX runs_running_by_flow ON runs (flow, run) WHERE state = 'running';
CREATE INDEX runs_running_by_key ON runs (organisation, workspace, concurrency_key, run)
    WHERE state = 'running';

-- What holds back a lane (of every tenant, so without one) or a key (of one tenant): until when its
-- rate is used up, and until when somebody paused it.
CREATE TABLE throttles (
    organisation TEXT COLLATE "C" NOT NULL,
    workspace    TEXT COLLATE "C" NOT NULL,
    subject      TEXT COLLATE "C" NOT NULL,
    name         TEXT COLLATE "C" NOT NULL,
    full_at      BIGINT           NOT NULL,
    paused_until BIGINT           NOT NULL,
    because      TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (organisation, workspace, subject, name)
);

-- Lanes are every tenant's, so the engine alone keeps them.
ALTER TABLE throttles ENABLE ROW LEVEL SECURITY;
ALTER TABLE throttles FORCE ROW LEVEL SECURITY;
CREATE POLICY engine ON throttles TO matrix_engine USING (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON throttles TO matrix_engine;

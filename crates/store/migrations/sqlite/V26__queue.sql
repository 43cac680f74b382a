-- Where a run queues: its flow is lane, organisation, workspace, capabilities it requires and
-- priority, with the byte 31 between them, so that one index finds every flow that has a run ready
-- without reading the runs. Times are microseconds since 1970.

ALTER TABLE runs ADD COLUMN flow TEXT NOT NULL DEFAULT '';
ALTER TABLE runs ADD COLUMN concurrency_key TEXT NOT NULL DEFAULT '';
ALTER TABLE runs ADD COLUMN queued_at INTEGER NOT NULL DEFAULT 0;

UPDATE runs SET flow = 'default' || char(31) || organisation || char(31) || workspace || char(31)
                       || char(31) || '5',
                queued_at = updated_at;

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
    organisation TEXT    NOT NULL,
    workspace    TEXT    NOT NULL,
    subject      TEXT    NOT NULL,
    name         TEXT    NOT NULL,
    full_at      INTEGER NOT NULL,
    paused_until INTEGER NOT NULL,
    because      TEXT    NOT NULL,
    PRIMARY KEY (organisation, workspace, subject, name)
) STRICT;

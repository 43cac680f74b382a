-- Who is told of events: what each subscription asks for, where it is sent, how far it has come and
-- which process does it. Times are microseconds since 1970.

CREATE TABLE subscriptions (
    subscription BYTEA            NOT NULL PRIMARY KEY,
    organisation TEXT COLLATE "C" NOT NULL CHECK (organisation <> ''),
    workspace    TEXT COLLATE "C" NOT NULL CHECK (workspace <> ''),
    name         TEXT COLLATE "C" NOT NULL,
    topics       TEXT COLLATE "C" NOT NULL,
    kind         TEXT COLLATE "C" NOT NULL,
    run          BYTEA,
    payloads     BIGINT           NOT NULL,
    destination  TEXT COLLATE "C" NOT NULL,
    caller       TEXT COLLATE "C" NOT NULL,
    cursor       TEXT COLLATE "C" NOT NULL,
    generation   BIGINT           NOT NULL,
    delivered    BIGINT           NOT NULL,
    delivered_at BIGINT,
    failures     BIGINT           NOT NULL,
    error        TEXT COLLATE "C",
    failed_at    BIGINT,
    owner        TEXT COLLATE "C",
    epoch        BIGINT           NOT NULL,
    beat         BIGINT           NOT NULL,
    created_at   BIGINT           NOT NULL,
    UNIQUE (organisation, workspace, name)
) WITH (fillfactor = 50);

-- The engine sends them for every tenant; a tenant makes, sees and removes its own.
ALTER TABLE subscriptions ENABLE ROW LEVEL SECURITY;
ALTER TABLE subscriptions FORCE ROW LEVEL SECURITY;
CREATE POLICY engine ON subscriptions TO matrix_engine USING (true);
CREATE POLICY tenant ON subscriptions TO matrix_app
    USING (organisation = tenant_organisation() AND workspace = tenant_workspace());

GRANT SELECT, UPDATE ON subscriptions TO matrix_engine;
GRANT SELECT, INSERT, UPDATE, DELETE ON subscriptions TO matrix_app;

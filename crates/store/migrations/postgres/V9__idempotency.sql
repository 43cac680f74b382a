-- Requests made with an idempotency key, so that the same request is carried out once. Times are
-- microseconds since 1970.

CREATE TABLE idempotency (
    organisation TEXT COLLATE "C" NOT NULL CHECK (organisation <> ''),
    workspace    TEXT COLLATE "C" NOT NULL CHECK (workspace <> ''),
    principal    TEXT COLLATE "C" NOT NULL,
    key          TEXT COLLATE "C" NOT NULL,
    request      BYTEA            NOT NULL,
    worker       TEXT COLLATE "C" NOT NULL,
    run          BYTEA            REFERENCES runs (run),
    created_at   BIGINT           NOT NULL,
    PRIMARY KEY (organisation, workspace, principal, key)
);
CREATE INDEX idempotency_by_age ON idempotency (created_at);

ALTER TABLE idempotency ENABLE ROW LEVEL SECURITY;
ALTER TABLE idempotency FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON idempotency TO matrix_app
    USING (organisation = tenant_organisation() AND workspace = tenant_workspace())
    WITH CHECK (organisation = tenant_organisation() AND workspace = tenant_workspace()
                AND (run IS NULL OR EXISTS (SELECT FROM runs r WHERE r.run = idempotency.run)));

GRANT SELECT, INSERT, UPDATE, DELETE ON idempotency TO matrix_app;

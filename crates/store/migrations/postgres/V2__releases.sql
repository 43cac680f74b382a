-- What changes leave behind: artifacts, releases and deployments.

CREATE TABLE artifacts (
    run        BYTEA            NOT NULL REFERENCES runs (run),
    name       TEXT COLLATE "C" NOT NULL,
    digest     BYTEA            NOT NULL,
    media_type TEXT COLLATE "C" NOT NULL,
    size       BIGINT           NOT NULL,
    created_at BIGINT           NOT NULL,
    PRIMARY KEY (run, name)
);
CREATE INDEX artifacts_by_digest ON artifacts (digest);

CREATE TABLE deployments (
    deployment   BYTEA            NOT NULL PRIMARY KEY,
    run          BYTEA            NOT NULL REFERENCES runs (run),
    organisation TEXT COLLATE "C" NOT NULL CHECK (organisation <> ''),
    workspace    TEXT COLLATE "C" NOT NULL CHECK (workspace <> ''),
    target       TEXT COLLATE "C" NOT NULL,
    state        TEXT COLLATE "C" NOT NULL,
    detail       TEXT COLLATE "C" NOT NULL,
    created_at   BIGINT           NOT NULL,
    updated_at   BIGINT           NOT NULL
);
CREATE INDEX deployments_by_target ON deployments (organisation, workspace, target, deployment);

CREATE TABLE releases (
    release      BYTEA            NOT NULL PRIMARY KEY,
    run          BYTEA            NOT NULL UNIQUE REFERENCES runs (run),
    organisation TEXT COLLATE "C" NOT NULL CHECK (organisation <> ''),
    workspace    TEXT COLLATE "C" NOT NULL CHECK (workspace <> ''),
    title        TEXT COLLATE "C" NOT NULL,
    detail       TEXT COLLATE "C" NOT NULL,
    created_at   BIGINT           NOT NULL
);

ALTER TABLE artifacts ENABLE ROW LEVEL SECURITY;
ALTER TABLE artifacts FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON artifacts TO matrix_app
    USING (EXISTS (SELECT FROM runs r WHERE r.run = artifacts.run));

-- What names both a tenant and a run names a run of that tenant.
ALTER TABLE deployments ENABLE ROW LEVEL SECURITY;
ALTER TABLE deployments FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON deployments TO matrix_app
    USING (organisation = tenant_organisation() AND workspace = tenant_workspace())
    WITH CHECK (organisation = tenant_organisation() AND workspace = tenant_workspace()
                AND EXISTS (SELECT FROM runs r WHERE r.run = deployments.run));

ALTER TABLE releases ENABLE ROW LEVEL SECURITY;
ALTER TABLE releases FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON releases TO matrix_app
    USING (organisation = tenant_organisation() AND workspace = tenant_workspace())
    WITH CHECK (organisation = tenant_organisation() AND workspace = tenant_workspace()
                AND EXISTS (SELECT FROM runs r WHERE r.run = releases.run));

GRANT SELECT, INSERT, UPDATE, DELETE ON artifacts, deployments, releases TO matrix_app;

-- Agents by name: every version of what each is. Times are microseconds since 1970.

CREATE TABLE agents (
    organisation TEXT COLLATE "C" NOT NULL CHECK (organisation <> ''),
    workspace    TEXT COLLATE "C" NOT NULL CHECK (workspace <> ''),
    name         TEXT COLLATE "C" NOT NULL,
    version      BIGINT           NOT NULL,
    state        TEXT COLLATE "C" NOT NULL,
    spec         TEXT COLLATE "C" NOT NULL,
    created_by   TEXT COLLATE "C" NOT NULL,
    created_at   BIGINT           NOT NULL,
    PRIMARY KEY (organisation, workspace, name, version)
);

ALTER TABLE agents ENABLE ROW LEVEL SECURITY;
ALTER TABLE agents FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON agents TO matrix_app
    USING (organisation = tenant_organisation() AND workspace = tenant_workspace());

GRANT SELECT, INSERT, UPDATE, DELETE ON agents TO matrix_app;

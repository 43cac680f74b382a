-- Who may sign in, and the digests of their tokens.

CREATE TABLE principals (
    principal    BYTEA            NOT NULL PRIMARY KEY,
    organisation TEXT COLLATE "C" NOT NULL CHECK (organisation <> ''),
    workspace    TEXT COLLATE "C" NOT NULL CHECK (workspace <> ''),
    kind         TEXT COLLATE "C" NOT NULL,
    name         TEXT COLLATE "C" NOT NULL,
    roles        TEXT COLLATE "C" NOT NULL,
    state        TEXT COLLATE "C" NOT NULL,
    created_at   BIGINT           NOT NULL
);
CREATE UNIQUE INDEX principals_by_name ON principals (organisation, workspace, kind, lower(name));

CREATE TABLE tokens (
    digest     BYTEA  NOT NULL PRIMARY KEY,
    hint       BIGINT NOT NULL,
    principal  BYTEA  NOT NULL REFERENCES principals (principal),
    created_at BIGINT NOT NULL,
    revoked_at BIGINT
);
CREATE INDEX tokens_by_hint ON tokens (hint);
CREATE INDEX tokens_by_principal ON tokens (principal);

ALTER TABLE principals ENABLE ROW LEVEL SECURITY;
ALTER TABLE principals FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON principals TO matrix_app
    USING (organisation = tenant_organisation() AND workspace = tenant_workspace());

ALTER TABLE tokens ENABLE ROW LEVEL SECURITY;
ALTER TABLE tokens FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON tokens TO matrix_app
    USING (EXISTS (SELECT FROM principals p WHERE p.principal = tokens.principal));

GRANT SELECT, INSERT, UPDATE ON principals, tokens TO matrix_app;

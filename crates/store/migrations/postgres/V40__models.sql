-- Models and routes by name, what may be spent on them, and what was. Money is in billionths of a US
-- dollar, times are microseconds since 1970.

CREATE TABLE models (
    organisation TEXT COLLATE "C" NOT NULL CHECK (organisation <> ''),
    workspace    TEXT COLLATE "C" NOT NULL CHECK (workspace <> ''),
    name         TEXT COLLATE "C" NOT NULL,
    version      TEXT COLLATE "C" NOT NULL,
    kind         TEXT COLLATE "C" NOT NULL,
    spec         TEXT COLLATE "C" NOT NULL,
    created_by   TEXT COLLATE "C" NOT NULL,
    created_at   BIGINT           NOT NULL,
    PRIMARY KEY (organisation, workspace, name, version)
);

-- Rises whenever a tenant's models change, so that who keeps them in memory sees it.
CREATE TABLE model_revisions (
    organisation TEXT COLLATE "C" NOT NULL CHECK (organisation <> ''),
    workspace    TEXT COLLATE "C" NOT NULL CHECK (workspace <> ''),
    revision     BIGINT           NOT NULL,
    PRIMARY KEY (organisation, workspace)
);

-- A subject's limit for a period, and what of it is spent and held in the window that began at
-- window_start.
CREATE TABLE budgets (
    organisation TEXT COLLATE "C" NOT NULL CHECK (organisation <> ''),
    workspace    TEXT COLLATE "C" NOT NULL CHECK (workspace <> ''),
    subject      TEXT COLLATE "C" NOT NULL,
    period       TEXT COLLATE "C" NOT NULL,
    money_limit  BIGINT,
    token_limit  BIGINT,
    window_start BIGINT           NOT NULL,
    money_spent  BIGINT           NOT NULL,
    money_held   BIGINT           NOT NULL,
    tokens_spent BIGINT           NOT NULL,
    tokens_held  BIGINT           NOT NULL,
    alerted      BIGINT           NOT NULL,
    PRIMARY KEY (organisation, workspace, subject, period)
) WITH (fillfactor = 50);

-- What a process has taken out of a budget and neither spent nor given back.
CREATE TABLE budget_holds (
    organisation TEXT COLLATE "C" NOT NULL CHECK (organisation <> ''),
    workspace    TEXT COLLATE "C" NOT NULL CHECK (workspace <> ''),
    subject      TEXT COLLATE "C" NOT NULL,
    period       TEXT COLLATE "C" NOT NULL,
    holder       TEXT COLLATE "C" NOT NULL,
    window_start BIGINT           NOT NULL,
    money        BIGINT           NOT NULL,
    tokens       BIGINT           NOT NULL,
    until        BIGINT           NOT NULL,
    PRIMARY KEY (organisation, workspace, subject, period, holder)
) WITH (fillfactor = 50);

-- Calls of an hour, by what they are told apart by.
CREATE TABLE model_usage (
    organisation TEXT COLLATE "C" NOT NULL CHECK (organisation <> ''),
    workspace    TEXT COLLATE "C" NOT NULL CHECK (workspace <> ''),
    hour         BIGINT           NOT NULL,
    model        TEXT COLLATE "C" NOT NULL,
    provider     TEXT COLLATE "C" NOT NULL,
    principal    TEXT COLLATE "C" NOT NULL,
    project      TEXT COLLATE "C" NOT NULL,
    agent        TEXT COLLATE "C" NOT NULL,
    calls        BIGINT           NOT NULL,
    failed       BIGINT           NOT NULL,
    cached       BIGINT           NOT NULL,
    estimated    BIGINT           NOT NULL,
    input        BIGINT           NOT NULL,
    output       BIGINT           NOT NULL,
    cache_read   BIGINT           NOT NULL,
    cache_write  BIGINT           NOT NULL,
    reasoning    BIGINT           NOT NULL,
    cost         BIGINT           NOT NULL,
    PRIMARY KEY (organisation, workspace, hour, model, provider, principal, project, agent)
) WITH (fillfactor = 50);

ALTER TABLE models ENABLE ROW LEVEL SECURITY;
ALTER TABLE models FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON models TO matrix_app
    USING (organisation = tenant_organisation() AND workspace = tenant_workspace());

ALTER TABLE model_revisions ENABLE ROW LEVEL SECURITY;
ALTER TABLE model_revisions FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON model_revisions TO matrix_app
    USING (organisation = tenant_organisation() AND workspace = tenant_workspace());

ALTER TABLE budgets ENABLE ROW LEVEL SECURITY;
ALTER TABLE budgets FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON budgets TO matrix_app
    USING (organisation = tenant_organisation() AND workspace = tenant_workspace());

ALTER TABLE budget_holds ENABLE ROW LEVEL SECURITY;
ALTER TABLE budget_holds FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON budget_holds TO matrix_app
    USING (organisation = tenant_organisation() AND workspace = tenant_workspace());

ALTER TABLE model_usage ENABLE ROW LEVEL SECURITY;
ALTER TABLE model_usage FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON model_usage TO matrix_app
    USING (organisation = tenant_organisation() AND workspace = tenant_workspace());

GRANT SELECT, INSERT, UPDATE, DELETE ON models, budgets, budget_holds TO matrix_app;
GRANT SELECT, INSERT, UPDATE ON model_revisions, model_usage TO matrix_app;

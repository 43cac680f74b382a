-- Models and routes by name, what may be spent on them, and what was. Money is in billionths of a US
-- dollar, times are microseconds since 1970.

CREATE TABLE models (
    organisation TEXT    NOT NULL,
    workspace    TEXT    NOT NULL,
    name         TEXT    NOT NULL,
    version      TEXT    NOT NULL,
    kind         TEXT    NOT NULL,
    spec         TEXT    NOT NULL,
    created_by   TEXT    NOT NULL,
    created_at   INTEGER NOT NULL,
    PRIMARY KEY (organisation, workspace, name, version)
) STRICT;

-- Rises whenever a tenant's models change, so that who keeps them in memory sees it.
CREATE TABLE model_revisions (
    organisation TEXT    NOT NULL,
    workspace    TEXT    NOT NULL,
    revision     INTEGER NOT NULL,
    PRIMARY KEY (organisation, workspace)
) STRICT;

-- A subject's limit for a period, and what of it is spent and held in the window that began at
-- window_start.
CREATE TABLE budgets (
    organisation TEXT    NOT NULL,
    workspace    TEXT    NOT NULL,
    subject      TEXT    NOT NULL,
    period       TEXT    NOT NULL,
    money_limit  INTEGER,
    token_limit  INTEGER,
    window_start INTEGER NOT NULL,
    money_spent  INTEGER NOT NULL,
    money_held   INTEGER NOT NULL,
    tokens_spent INTEGER NOT NULL,
    tokens_held  INTEGER NOT NULL,
    alerted      INTEGER NOT NULL,
    PRIMARY KEY (organisation, workspace, subject, period)
) STRICT;

-- What a process has taken out of a budget and neither spent nor given back.
CREATE TABLE budget_holds (
    organisation TEXT    NOT NULL,
    workspace    TEXT    NOT NULL,
    subject      TEXT    NOT NULL,
    period       TEXT    NOT NULL,
    holder       TEXT    NOT NULL,
    window_start INTEGER NOT NULL,
    money        INTEGER NOT NULL,
    tokens       INTEGER NOT NULL,
    until        INTEGER NOT NULL,
    PRIMARY KEY (organisation, workspace, subject, period, holder)
) STRICT;

-- Calls of an hour, by what they are told apart by.
CREATE TABLE model_usage (
    organisation TEXT    NOT NULL,
    workspace    TEXT    NOT NULL,
    hour         INTEGER NOT NULL,
    model        TEXT    NOT NULL,
    provider     TEXT    NOT NULL,
    principal    TEXT    NOT NULL,
    project      TEXT    NOT NULL,
    agent        TEXT    NOT NULL,
    calls        INTEGER NOT NULL,
    failed       INTEGER NOT NULL,
    cached       INTEGER NOT NULL,
    estimated    INTEGER NOT NULL,
    input        INTEGER NOT NULL,
    output       INTEGER NOT NULL,
    cache_read   INTEGER NOT NULL,
    cache_write  INTEGER NOT NULL,
    reasoning    INTEGER NOT NULL,
    cost         INTEGER NOT NULL,
    PRIMARY KEY (organisation, workspace, hour, model, provider, principal, project, agent)
) STRICT;

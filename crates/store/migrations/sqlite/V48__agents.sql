-- Agents by name: every version of what each is. Times are microseconds since 1970.

CREATE TABLE agents (
    organisation TEXT    NOT NULL,
    workspace    TEXT    NOT NULL,
    name         TEXT    NOT NULL,
    version      INTEGER NOT NULL,
    state        TEXT    NOT NULL,
    spec         TEXT    NOT NULL,
    created_by   TEXT    NOT NULL,
    created_at   INTEGER NOT NULL,
    PRIMARY KEY (organisation, workspace, name, version)
) STRICT;

-- The last run of a name that only one run of a tenant may have at a time. A row is locked by
-- whoever starts a run of the name.

CREATE TABLE singletons (
    organisation TEXT NOT NULL,
    workspace    TEXT NOT NULL,
    name         TEXT NOT NULL,
    run          BLOB,
    PRIMARY KEY (organisation, workspace, name)
) STRICT;

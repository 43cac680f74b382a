-- Who is told of events: what each subscription asks for, where it is sent, how far it has come and
-- which process does it. Times are microseconds since 1970.

CREATE TABLE subscriptions (
    subscription BLOB    NOT NULL PRIMARY KEY,
    organisation TEXT    NOT NULL,
    workspace    TEXT    NOT NULL,
    name         TEXT    NOT NULL,
    topics       TEXT    NOT NULL,
    kind         TEXT    NOT NULL,
    run          BLOB,
    payloads     INTEGER NOT NULL,
    destination  TEXT    NOT NULL,
    caller       TEXT    NOT NULL,
    cursor       TEXT    NOT NULL,
    generation   INTEGER NOT NULL,
    delivered    INTEGER NOT NULL,
    delivered_at INTEGER,
    failures     INTEGER NOT NULL,
    error        TEXT,
    failed_at    INTEGER,
    owner        TEXT,
    epoch        INTEGER NOT NULL,
    beat         INTEGER NOT NULL,
    created_at   INTEGER NOT NULL,
    UNIQUE (organisation, workspace, name)
) STRICT;

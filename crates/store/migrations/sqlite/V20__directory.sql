-- The data directory whose files belong to this database.

CREATE TABLE directory (
    one INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    id  TEXT    NOT NULL
) STRICT;

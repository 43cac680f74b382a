-- Requests made with an idempotency key, so that the same request is carried out once. A row
-- without a run is a request under way, or one whose process died before it was answered.
-- Times are microseconds since 1970.

CREATE TABLE idempotency (
    organisation TEXT    NOT NULL,
    workspace    TEXT    NOT NULL,
    principal    TEXT    NOT NULL,
    key          TEXT    NOT NULL,
    request      BLOB    NOT NULL,
    worker       TEXT    NOT NULL,
    run          BLOB    REFERENCES runs (run),
    created_at   INTEGER NOT NULL,
    PRIMARY KEY (organisation, workspace, principal, key)
) STRICT;
CREATE INDEX idempotency_by_age ON idempotency (created_at);

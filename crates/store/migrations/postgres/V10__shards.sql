-- The order in which entries are committed: each has a shard and a position in it. The shard's row
-- holds the newest position and is changed in the transaction of the entry, so positions are given
-- in the order of commits, whoever writes.

CREATE TABLE shards (
    shard BIGINT NOT NULL PRIMARY KEY,
    lsn   BIGINT NOT NULL
) WITH (fillfactor = 10);
INSERT INTO shards (shard, lsn) SELECT 0, coalesce(max(lsn), 0) FROM journal;

ALTER TABLE journal ADD COLUMN shard BIGINT NOT NULL DEFAULT 0;
CREATE INDEX journal_by_position ON journal (shard, lsn);

-- How many entries there are in all is no tenant's business, but whoever appends counts them.
GRANT SELECT, INSERT, UPDATE ON shards TO matrix_engine;
GRANT SELECT, UPDATE ON shards TO matrix_app;

-- Entries of runs whose month has no partition (yet). It is empty as long as months are made ahead.
CREATE TABLE journal_rest PARTITION OF journal DEFAULT;

-- The smallest run id of a moment: 48 bits of milliseconds, then zeros (UUIDv7).
CREATE FUNCTION run_bound(moment TIMESTAMP) RETURNS BYTEA LANGUAGE sql IMMUTABLE
    RETURN decode(lpad(to_hex((extract(epoch FROM moment) * 1000)::BIGINT), 12, '0')
                  || repeat('0', 20), 'hex');

-- Makes the partition of the month that lies so many months ahead of a time (microseconds since
-- 1970, UTC), and moves into it what was kept in the rest meanwhile. False if it is there. The
-- engine may call it; it may make no other table.
CREATE FUNCTION journal_month(at BIGINT, ahead BIGINT) RETURNS BOOLEAN
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = matrix, pg_temp
AS $$
DECLARE
    month TIMESTAMP := date_trunc('month', TIMESTAMP '1970-01-01'
                                           + make_interval(secs => at / 1000000))
                       + make_interval(months => ahead::INT);
    name  TEXT  := 'journal_' || to_char(month, 'YYYY_MM');
    first BYTEA := run_bound(month);
    after BYTEA := run_bound(month + INTERVAL '1 month');
BEGIN
    IF to_regclass('matrix.' || name) IS NOT NULL THEN
        RETURN FALSE;
    END IF;
    -- Two processes at once: the second one waits here and then finds it made.
    PERFORM pg_advisory_xact_lock(7223916);
    IF to_regclass('matrix.' || name) IS NOT NULL THEN
        RETURN FALSE;
    END IF;
    EXECUTE format('CREATE TABLE matrix.%I (LIKE matrix.journal INCLUDING DEFAULTS)', name);
    EXECUTE format(
        'WITH moved AS (DELETE FROM matrix.journal_rest WHERE run >= %L AND run < %L RETURNING *)
         INSERT INTO matrix.%I SELECT * FROM moved', first, after, name);
    EXECUTE format(
        'ALTER TABLE matrix.journal ATTACH PARTITION matrix.%I FOR VALUES FROM (%L) TO (%L)',
        name, first, after);
    RETURN TRUE;
END
$$;

REVOKE EXECUTE ON FUNCTION journal_month(BIGINT, BIGINT) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION journal_month(BIGINT, BIGINT) TO matrix_engine;

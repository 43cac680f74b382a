-- A run whose journal retention removed keeps its row: when, by which run, and whether the entries
-- are gone by now. A person's hold is the reason why a run is not removed, empty without one.

ALTER TABLE runs ADD COLUMN removed_at BIGINT;
ALTER TABLE runs ADD COLUMN removed_by BYTEA;
ALTER TABLE runs ADD COLUMN emptied BIGINT NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN hold TEXT COLLATE "C" NOT NULL DEFAULT '';
CREATE INDEX runs_standing ON runs (run) WHERE removed_at IS NULL;
CREATE INDEX runs_to_empty ON runs (run) WHERE removed_at IS NOT NULL AND emptied = 0;

-- Leaves of the journal's tree, so that entries can go without it: the hashes of the entries from a
-- position on, one after the other, 32 bytes each. Ranges of a shard do not overlap, and none
-- crosses a border between subtrees of 256. Parts of a value are read without the whole.
CREATE TABLE leaves (
    shard  BIGINT NOT NULL,
    first  BIGINT NOT NULL,
    hashes BYTEA  NOT NULL,
    PRIMARY KEY (shard, first)
);
ALTER TABLE leaves ALTER COLUMN hashes SET STORAGE EXTERNAL;

-- A leaf is never changed or taken back.
ALTER TABLE leaves ENABLE ROW LEVEL SECURITY;
ALTER TABLE leaves FORCE ROW LEVEL SECURITY;
CREATE POLICY engine ON leaves TO matrix_engine USING (true);
GRANT SELECT, INSERT ON leaves TO matrix_engine;

-- What workers printed goes with the run.
GRANT DELETE ON task_logs TO matrix_engine;

-- The functions below look with the owner's eyes at what may still need a run.
CREATE POLICY owner ON journal FOR SELECT TO matrix_owner USING (true);
CREATE POLICY owner ON leaves FOR SELECT TO matrix_owner USING (true);
CREATE POLICY owner ON checkpoints FOR SELECT TO matrix_owner USING (true);
CREATE POLICY owner ON releases FOR SELECT TO matrix_owner USING (true);
CREATE POLICY owner ON deployments FOR SELECT TO matrix_owner USING (true);

-- The month in which a run began.
CREATE FUNCTION run_month(run BYTEA) RETURNS TIMESTAMP LANGUAGE sql IMMUTABLE
    RETURN date_trunc('month', TIMESTAMP '1970-01-01' + make_interval(secs =>
        ('x' || lpad(encode(substr(run, 1, 6), 'hex'), 16, '0'))::BIT(64)::BIGINT / 1000.0));

-- Why the runs from one id up to another cannot lose their removed ones; nothing if they can. A run
-- is needed that has not ended, ended too late, is held, has a fork that stays, started a run that
-- goes on, or has a release or a deployment that is kept; the newest so many releases of a
-- workspace are.
CREATE FUNCTION journal_refusal(low BYTEA, high BYTEA, ended_before BIGINT, newest BIGINT)
    RETURNS TEXT LANGUAGE sql STABLE
RETURN CASE
    WHEN NOT EXISTS (
        SELECT FROM runs r WHERE r.run >= low AND r.run < high
           AND r.removed_at IS NOT NULL AND r.emptied = 0) THEN 'nothing'
    WHEN EXISTS (
        SELECT FROM runs r WHERE r.run >= low AND r.run < high
           AND r.state NOT IN ('succeeded', 'failed', 'cancelled')) THEN 'unfinished'
    WHEN EXISTS (
        SELECT FROM runs r WHERE r.run >= low AND r.run < high
           AND r.updated_at >= ended_before) THEN 'young'
    WHEN EXISTS (
        SELECT FROM runs r WHERE r.run >= low AND r.run < high
           AND r.removed_at IS NOT NULL AND r.emptied = 0
           AND (r.hold <> ''
                OR EXISTS (SELECT FROM runs f WHERE f.forked_from = r.run AND f.removed_at IS NULL)
                OR EXISTS (SELECT FROM runs c WHERE c.parent = r.run
                              AND c.state NOT IN ('succeeded', 'failed', 'cancelled'))
                OR EXISTS (SELECT FROM deployments d WHERE d.run = r.run
                              AND (d.state = 'active' OR (d.state = 'superseded' AND NOT EXISTS (
                                SELECT FROM deployments n
                                 WHERE n.organisation = d.organisation
                                   AND n.workspace = d.workspace AND n.target = d.target
                                   AND n.state = 'superseded' AND n.deployment > d.deployment))))
                OR EXISTS (SELECT FROM releases s WHERE s.run = r.run
                              AND (SELECT count(*) FROM releases n
                                    WHERE n.organisation = s.organisation
                                      AND n.workspace = s.workspace
                                      AND n.release > s.release) < newest)))
        THEN 'needed'
    END;

-- The table beside a month's partition into which what stays is copied: `RUN REMOVED KEPT` in its
-- comment says up to which run it was looked at, and how many entries go and stay.

-- Looks at the next so many runs of the month in which a run began, in the order of their ids:
-- makes sure that every entry that goes is below a signed head, with its hash among the leaves, and
-- copies what stays. 'more', or 'whole' with the number of entries that go and stay, or why the
-- month stays as it is.
CREATE FUNCTION journal_part(of_run BYTEA, ended_before BIGINT, newest BIGINT, most BIGINT)
    RETURNS TEXT LANGUAGE plpgsql SECURITY DEFINER SET search_path = matrix, pg_temp
AS $$
DECLARE
    month    TIMESTAMP := run_month(of_run);
    name     TEXT  := 'journal_' || to_char(month, 'YYYY_MM');
    beside   TEXT  := name || '_kept';
    low      BYTEA := run_bound(month);
    high     BYTEA := run_bound(month + INTERVAL '1 month');
    refusal  TEXT;
    note     TEXT;
    past     BYTEA := ''::BYTEA;
    upto     BYTEA;
    removed  BIGINT := 0;
    kept     BIGINT := 0;
    counted  BIGINT;
BEGIN
    PERFORM pg_advisory_xact_lock(7223918);
    IF to_regclass('matrix.' || name) IS NULL THEN
        RETURN 'no partition';
    END IF;
    refusal := journal_refusal(low, high, ended_before, newest);
    IF refusal IS NOT NULL THEN
        EXECUTE format('DROP TABLE IF EXISTS matrix.%I', beside);
        RETURN refusal;
    END IF;
    IF to_regclass('matrix.' || beside) IS NULL THEN
        EXECUTE format('CREATE TABLE matrix.%I (LIKE matrix.journal INCLUDING DEFAULTS)', beside);
    ELSE
        note := obj_description(to_regclass('matrix.' || beside), 'pg_class');
        past := decode(split_part(note, ' ', 1), 'hex');
        removed := split_part(note, ' ', 2)::BIGINT;
        kept := split_part(note, ' ', 3)::BIGINT;
    END IF;
    upto := (SELECT r.run FROM (SELECT run FROM runs
                                 WHERE run >= low AND run < high AND run > past
                                 ORDER BY run LIMIT most) r
              ORDER BY r.run DESC LIMIT 1);
    IF upto IS NULL THEN
        RETURN 'whole ' || removed || ' ' || kept;
    END IF;
    IF EXISTS (
        SELECT FROM runs r JOIN journal j ON j.run = r.run
         WHERE r.run >= low AND r.run > past AND r.run <= upto AND r.removed_at IS NOT NULL
           AND (j.lsn > coalesce((SELECT max(c.size) FROM checkpoints c
                                   WHERE c.shard = j.shard), 0)
                OR NOT EXISTS (
                    SELECT FROM leaves l
                     WHERE l.shard = j.shard AND l.first <= j.lsn AND l.first > j.lsn - 256
                       AND substr(l.hashes, ((j.lsn - l.first) * 32 + 1)::INT, 32) = j.hash)))
    THEN
        EXECUTE format('DROP TABLE IF EXISTS matrix.%I', beside);
        RETURN 'uncovered';
    END IF;
    SELECT count(*) INTO counted FROM runs r JOIN journal j ON j.run = r.run
     WHERE r.run >= low AND r.run > past AND r.run <= upto AND r.removed_at IS NOT NULL;
    removed := removed + counted;
    EXECUTE format(
        'INSERT INTO matrix.%I SELECT j.* FROM matrix.runs r JOIN matrix.journal j ON j.run = r.run
          WHERE r.run >= $1 AND r.run > $2 AND r.run <= $3 AND r.removed_at IS NULL', beside)
        USING low, past, upto;
    GET DIAGNOSTICS counted = ROW_COUNT;
    kept := kept + counted;
    EXECUTE format('COMMENT ON TABLE matrix.%I IS %L', beside,
                   encode(upto, 'hex') || ' ' || removed || ' ' || kept);
    RETURN 'more';
END
$$;

-- Puts the copy in the place of the partition of the month in which a run began: 'dropped' and the
-- SHA-256 over the hashes of what stays; 'busy' if somebody uses the journal for too long; or why
-- the month stays as it is. What was asked before is asked again, and what stays is compared with
-- its copy, while nobody can write.
CREATE FUNCTION journal_swap(of_run BYTEA, ended_before BIGINT, newest BIGINT) RETURNS TEXT
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = matrix, pg_temp SET lock_timeout = '500ms'
AS $$
DECLARE
    month    TIMESTAMP := run_month(of_run);
    name     TEXT  := 'journal_' || to_char(month, 'YYYY_MM');
    beside   TEXT  := name || '_kept';
    low      BYTEA := run_bound(month);
    high     BYTEA := run_bound(month + INTERVAL '1 month');
    refusal  TEXT;
    note     TEXT;
    past     BYTEA;
    differs  BOOLEAN;
    digest   TEXT;
BEGIN
    BEGIN
        PERFORM pg_advisory_xact_lock(7223918);
        -- While everybody else still can; what they could change of it is asked again below.
        refusal := journal_refusal(low, high, ended_before, newest);
        -- In the order in which whoever appends takes them.
        LOCK TABLE runs IN ACCESS EXCLUSIVE MODE;
        LOCK TABLE journal IN ACCESS EXCLUSIVE MODE;
    EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
        RETURN 'busy';
    END;
    IF refusal IS NULL AND EXISTS (
        SELECT FROM runs WHERE run >= low AND run < high
           AND state IN ('ready', 'running', 'waiting', 'paused'))
    THEN
        refusal := 'unfinished';
    END IF;
    IF refusal IS NOT NULL THEN
        EXECUTE format('DROP TABLE IF EXISTS matrix.%I', beside);
        RETURN refusal;
    END IF;
    IF to_regclass('matrix.' || beside) IS NULL OR to_regclass('matrix.' || name) IS NULL THEN
        RETURN 'stale';
    END IF;
    note := obj_description(to_regclass('matrix.' || beside), 'pg_class');
    past := decode(split_part(note, ' ', 1), 'hex');
    IF split_part(note, ' ', 3)::BIGINT > 100000 THEN
        EXECUTE format('DROP TABLE matrix.%I', beside);
        RETURN 'too much stays';
    END IF;
    EXECUTE format(
        'SELECT EXISTS (SELECT FROM matrix.runs WHERE run > $2 AND run < $3)
             OR EXISTS ((SELECT j.* FROM matrix.runs r JOIN matrix.journal j ON j.run = r.run
                          WHERE r.run >= $1 AND r.run < $3 AND r.removed_at IS NULL)
                        EXCEPT ALL SELECT * FROM matrix.%1$I)
             OR EXISTS (SELECT * FROM matrix.%1$I EXCEPT ALL
                        (SELECT j.* FROM matrix.runs r JOIN matrix.journal j ON j.run = r.run
                          WHERE r.run >= $1 AND r.run < $3 AND r.removed_at IS NULL))', beside)
        INTO differs USING low, past, high;
    IF differs THEN
        EXECUTE format('DROP TABLE matrix.%I', beside);
        RETURN 'stale';
    END IF;
    EXECUTE format(
        'SELECT encode(sha256(coalesce(string_agg(hash, ''''::BYTEA ORDER BY run, seq),
                                       ''''::BYTEA)), ''hex'') FROM matrix.%I', beside) INTO digest;
    EXECUTE format('DROP TABLE matrix.%I', name);
    EXECUTE format('COMMENT ON TABLE matrix.%I IS NULL', beside);
    -- Nobody reads it but through the journal, whose policies hold there.
    EXECUTE format('ALTER TABLE matrix.%I ENABLE ROW LEVEL SECURITY', beside);
    EXECUTE format('ALTER TABLE matrix.%I FORCE ROW LEVEL SECURITY', beside);
    EXECUTE format('ALTER TABLE matrix.%I RENAME TO %I', beside, name);
    EXECUTE format(
        'ALTER TABLE matrix.journal ATTACH PARTITION matrix.%I FOR VALUES FROM (%L) TO (%L)',
        name, low, high);
    RETURN 'dropped ' || digest;
END
$$;

REVOKE EXECUTE ON FUNCTION run_month(BYTEA) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION journal_refusal(BYTEA, BYTEA, BIGINT, BIGINT) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION journal_part(BYTEA, BIGINT, BIGINT, BIGINT) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION journal_swap(BYTEA, BIGINT, BIGINT) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION journal_part(BYTEA, BIGINT, BIGINT, BIGINT) TO matrix_engine;
GRANT EXECUTE ON FUNCTION journal_swap(BYTEA, BIGINT, BIGINT) TO matrix_engine;
GRANT EXECUTE ON FUNCTION run_month(BYTEA) TO matrix_engine;

//! The second wall: what the roles may do when no table module stands before them.

use matrix_store::postgres::migrate;
use matrix_store::tables::runs;
use matrix_store::{Database, Param, Statement, StoreError, Tx};

use crate::server::{LOGIN, Server};
use crate::site::{Site, caller, ours, principal, refused, run_row, theirs};

fn refusal(server: &Server, login: &str, database: &str) -> String {
    match Database::connect(&server.options(login, database)) {
        Err(StoreError::Unfit(text)) => text,
        other => panic!("{login} is not refused: {other:?}"),
    }
}

#[test]
fn a_login_that_could_see_past_its_tenant_is_refused() {
    let server = Server::start();
    let name = server.database();
    let text = refusal(&server, "admin", &name);
    assert!(text.contains("`admin` is a superuser"), "{text}");
    server.admin(&name, "CREATE ROLE sees_all LOGIN BYPASSRLS");
    server.admin(&name, "GRANT matrix_engine, matrix_app TO sees_all");
    assert!(refusal(&server, "sees_all", &name).contains("bypasses row-level security"));
    server.admin(&name, "CREATE ROLE owns LOGIN");
    server.admin(
        &name,
        "GRANT matrix_engine, matrix_app, matrix_owner TO owns",
    );
    assert!(refusal(&server, "owns", &name).contains("is a member of matrix_owner"));
    server.admin(&name, "CREATE ROLE half LOGIN");
    server.admin(&name, "GRANT matrix_engine TO half");
    assert!(refusal(&server, "half", &name).contains("is not a member of both"));

    server.admin("postgres", "CREATE DATABASE bare");
    let text = refusal(&server, LOGIN, "bare");
    assert!(
        text.contains("of version 0") && text.contains("migrate it"),
        "{text}"
    );
    migrate(&server.address("admin", "bare"), None).unwrap();
    migrate(&server.address("admin", "bare"), Some(LOGIN)).unwrap();
    drop(server.connect("bare"));
    server.admin(
        "bare",
        "INSERT INTO matrix.refinery_schema_history VALUES (999, 'later', '', '')",
    );
    assert!(refusal(&server, LOGIN, "bare").contains("a newer Matrix"));
    let refused = migrate(&server.address(LOGIN, &name), None).unwrap_err();
    assert!(
        refused.to_string().contains("could not be migrated"),
        "{refused}"
    );
}

/// Every table, with the number of its rows that a role sees.
const TABLES: &str = "
    SELECT relname FROM pg_class
    WHERE relnamespace = 'matrix'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition
          AND relname <> 'refinery_schema_history' ORDER BY relname";

/// Tables whose rows are nobody's in particular.
const SHARED: [&str; 8] = [
    "checkpoints",
    "directory",
    "leaves",
    "shards",
    "singletons",
    "throttles",
    "tree",
    "workers",
];

/// Tables of the engine.
const ENGINES: [&str; 16] = [
    "approvals",
    "checkpoints",
    "directory",
    "inbox",
    "journal",
    "leaves",
    "runs",
    "shards",
    "singletons",
    "step_progress",
    "subscriptions",
    "task_logs",
    "tasks",
    "throttles",
    "tree",
    "workers",
];

/// One row of ours in every table.
fn fill(site: &Site) {
    use matrix_store::tables::{
        approvals, audit, checkpoints, directory, idempotency, inbox, journal, principals, queue,
        releases, singletons, step_progress, subscriptions, task_logs, tasks, throttles, workers,
    };
    site.with_runs(&[1]);
    site.engine(|tx| {
        use crate::site::log;
        use crate::site::{
            approval, artifact, at, deployment, entry, message, release, run_id, task,
        };
        journal::insert(tx, &entry(1, 0))?;
        inbox::insert(tx, &message(1, "signal"))?;
        approvals::open(tx, &approval(1, 1))?;
        workers::beat(tx, "w")?;
        throttles::pause(tx, &queue::Slot::Lane("l".into()), at(1), "b")?;
        singletons::set(tx, &ours(), "s", run_id(1))?;
        tasks::offer(tx, &task(1, 1, "a#1"))?;
        task_logs::add(tx, &log(1, 1), 9)?;
        step_progress::say(tx, &crate::site::progress(1, "a#1"))?;
        releases::put_artifact(tx, &artifact(1, "a"))?;
        releases::put_deployment(tx, &deployment(1, 1, &ours(), "active"))?;
        releases::put_release(tx, &release(1, 1, &ours()))?;
        let ada = principal(1, &ours(), "Ada");
        principals::insert(tx, &ada)?;
        let token = matrix_core::Digest::of("token");
        principals::insert_token(tx, &ours(), ada.principal, &token, at(1))?;
        let key = idempotency::KeyRow {
            request: token,
            worker: "w".into(),
            run: Some(run_id(1)),
            created_at: at(1),
        };
        idempotency::record(tx, &caller(&ours()), "k", &key, at(0))?;
        checkpoints::keep_node(tx, 0, 1, 0, &token)?;
        checkpoints::keep_leaves(tx, 0, 1, &[token])?;
        let head = checkpoints::CheckpointRow {
            shard: 0,
            size: 1,
            origin: "o".into(),
            root: token,
            note: "n".into(),
            at: at(1),
        };
        checkpoints::insert(tx, &head)?;
        directory::claim(tx, "d")?;
        fill_models(tx)?;
        matrix_store::tables::agents::insert(tx, &crate::cases::agents::row(&ours(), "a", 1))?;
        subscriptions::insert(tx, &crate::cases::subscriptions::row(1, &ours(), "s"))?;
        audit::insert(tx, &caller(&ours()), at(1), "a", "s", "d")
    });
}

/// One row in every table of the model gateway.
fn fill_models(tx: &Tx<'_>) -> Result<(), StoreError> {
    use matrix_store::tables::{budgets, model_batches, model_usage, models};

    use crate::cases;
    use crate::site::at;
    models::put(tx, &cases::models::row(&ours(), "m", "1", 1))?;
    budgets::put(tx, &ours(), &cases::budgets::row("a"))?;
    cases::budgets::tell(tx, &ours(), "one", at(5), (1, 1))?;
    model_batches::put_file(tx, &ours(), &cases::model_batches::file(1))?;
    model_batches::put(tx, &ours(), &cases::model_batches::batch(1, 1))?;
    let (key, used) = (cases::model_usage::key("m"), cases::model_usage::used(1));
    model_usage::add(tx, &ours(), at(0), &key, &used)
}

#[test]
fn without_any_check_of_ours_a_tenant_sees_only_its_own_rows_and_the_engine_only_its_tables() {
    let server = Server::start();
    let site = Site::postgres(&server);
    fill(&site);
    let tables = server.admin("d0", TABLES);
    for table in tables.lines() {
        let forced = format!(
            "SELECT relrowsecurity AND relforcerowsecurity FROM pg_class
             WHERE oid = 'matrix.{table}'::regclass"
        );
        let exempt = table == "shards";
        assert_eq!(server.admin("d0", &forced) == "t", !exempt, "{table}");
        let count: &'static str = format!("SELECT count(*) FROM {table}").leak();
        let count = Statement::new("test.count", count);
        let seen = |database: &Database| {
            let rows = database.read_now::<_, StoreError, _>(|tx| tx.query(&count, &[]));
            rows.map(|rows| rows[0].get::<i64>(0).unwrap())
        };
        let (mine, other) = (
            seen(&site.database.within(&ours())),
            seen(&site.database.within(&theirs())),
        );
        if exempt {
            assert_eq!(mine.unwrap(), 1);
        } else if SHARED.contains(&table) {
            refused(mine);
            refused(other);
        } else {
            assert_eq!(mine.unwrap(), 1, "our own row of {table}");
            assert_eq!(other.unwrap(), 0, "another tenant sees {table}");
        }
        let engine = seen(&site.database);
        if ENGINES.contains(&table) {
            assert_eq!(engine.unwrap(), 1, "the engine's {table}");
        } else {
            refused(engine);
        }
    }
}

const RENAME: Statement = Statement::new("test.rename", "UPDATE runs SET title = 'x'");
const MOVE: Statement = Statement::new("test.move", "UPDATE runs SET organisation = $1");
const REWRITE: Statement = Statement::new("test.rewrite", "UPDATE journal SET hash = $1");
const SHORTEN: Statement = Statement::new("test.shorten", "DELETE FROM journal");
const DENY: Statement = Statement::new("test.deny", "UPDATE audit SET actor = 'nobody'");
const PARTITION: Statement = Statement::new("test.partition", "SELECT count(*) FROM journal_rest");
const TABLE: Statement = Statement::new("test.table", "CREATE TABLE mine (a INT)");

#[test]
fn without_any_check_of_ours_nobody_changes_what_is_not_theirs_or_never_changes() {
    let server = Server::start();
    let site = Site::postgres(&server);
    fill(&site);
    assert_eq!(site.theirs(|tx| tx.execute(&RENAME, &[])), 0);
    refused(site.try_ours(|tx| tx.execute(&MOVE, &[Param::Text("globex")])));
    for statement in [&SHORTEN, &DENY, &PARTITION, &TABLE] {
        refused(site.try_ours(|tx| tx.execute(statement, &[])));
        refused(site.try_engine(|tx| tx.execute(statement, &[])));
    }
    refused(site.try_ours(|tx| tx.execute(&REWRITE, &[Param::Blob(b"x")])));
    refused(site.try_engine(|tx| tx.execute(&REWRITE, &[Param::Blob(b"x")])));
    assert_eq!(site.ours(|tx| tx.execute(&RENAME, &[])), 1);
    // After all of these one connection still tells reaches apart.
    site.theirs(|tx| runs::insert(tx, &run_row(2, &theirs())));
    let seen = site.see(|tx| runs::list(tx, &ours(), &runs::Filter::default(), 9));
    assert_eq!(seen.len(), 1);
}

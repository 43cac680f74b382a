//! Retention: what ended long ago and nobody needs goes, whatever happens meanwhile, and everything
//! that stays, and everything that was signed, holds as before.

use std::time::Duration;

use matrix_core::{Problem, RunId};
use matrix_engine::error::RequestError;
use matrix_engine::retention::{self, Counted, Keeping, Reason, RunPrune};
use matrix_engine::runs::{self, RunFork, RunHold, RunRead};
use matrix_engine::seal::{self, SealError};
use matrix_engine::{NewChild, Step, journal};
use matrix_evidence::keys::{PublicKey, SigningKey};
use matrix_store::postgres::PostgresOptions;
use matrix_store::{Database, Statement, StoreError};
use serde_json::{Value, json};

use super::host::{Body, Host, Place, body, may};
use super::server::{LOGIN, Server};

const DAY: Duration = Duration::from_hours(24);

const KEEPING: Keeping = Keeping {
    runs: Some(Duration::from_hours(30 * 24)),
    releases: None,
};

/// What a signer needs to be one, and those outside to believe it.
struct Key(SigningKey);

impl Key {
    fn new() -> Self {
        Self(SigningKey::from_entropy([7; 32]).unwrap())
    }

    fn public(&self) -> PublicKey {
        self.0.public()
    }

    async fn seal(&self, host: &Host) {
        let (database, clock) = (host.engine.database(), &**host.engine.clock());
        let public = self.public();
        seal::seal(database, clock, "test/log", &self.0, &public)
            .await
            .unwrap();
    }
}

/// Some steps; with `child` it starts a run that waits, and does not.
fn steps() -> Vec<(&'static str, Body)> {
    let test = body(|run, input| async move {
        if input == json!("waits") {
            return run.signal::<Value>("go").await;
        }
        for number in 0..input.as_u64().unwrap_or(3) {
            let step = Step::read("count").input(&number);
            run.step(step, |_| async { Ok(number) }).await?;
        }
        if input == json!("child") {
            let child = NewChild::new("test", "a child", json!("waits")).detached();
            run.spawn("child", child).await?;
        }
        Ok(input)
    });
    vec![("test", test)]
}

async fn ended(host: &Host, input: Value) -> RunId {
    let run = host.create(input).await;
    host.reaches(run, "succeeded").await;
    run
}

async fn pruned(host: &Host) -> Value {
    let run = begin(host).await;
    host.reaches(run, "succeeded").await;
    host.result(run)
}

async fn begin(host: &Host) -> RunId {
    retention::begin(&host.engine, may(RunPrune), KEEPING)
        .await
        .unwrap()
}

fn rehearsed(host: &Host) -> (Counted, Vec<(Reason, u64)>) {
    let (database, now) = (host.engine.database(), host.engine.clock().now());
    let (going, kept) = retention::rehearse(database, now, &may(RunPrune), KEEPING).unwrap();
    (going, kept.into_iter().collect())
}

fn counted(runs: u64, entries: u64) -> Counted {
    Counted { runs, entries }
}

/// The code of whatever was refused.
fn code<T, E: Into<Problem>>(result: Result<T, E>) -> &'static str {
    let problem: Problem = result.err().unwrap().into();
    assert!(
        problem
            .detail
            .contains("was removed by retention on 2023-12-24T"),
        "{}",
        problem.detail
    );
    problem.code.text
}

fn fork_of(run: RunId) -> RunFork {
    RunFork {
        run,
        submitter: "user:ada".into(),
        step: None,
        input: None,
        version: None,
        title: None,
    }
}

async fn fork(host: &Host, run: RunId) -> Result<RunId, RequestError> {
    runs::fork(&host.engine, &may(fork_of(run)), Box::new(|_, _| Ok(()))).await
}

async fn hold(host: &Host, run: RunId, reason: Option<&str>) -> Result<(), RequestError> {
    let reason = reason.map(str::to_owned);
    runs::hold(&host.engine, &may(RunHold { run, reason })).await
}

fn entries_left(host: &Host, run: RunId) -> i64 {
    const COUNT: Statement =
        Statement::new("test.count", "SELECT count(*) FROM journal WHERE run = $1");
    let params = [matrix_store::Param::from(&run)];
    let count = |tx: &matrix_store::Tx<'_>| tx.query(&COUNT, &params)?[0].get(0);
    let database = host.engine.database();
    database.read_now::<_, StoreError, _>(count).unwrap()
}

#[tokio::test]
async fn what_ended_long_ago_goes_and_every_proof_holds_as_before() {
    let place = Place::new();
    let (host, key) = (place.host_of("a", &steps()), Key::new());
    // More than a tile of leaves, side by side with what stays.
    let stays = host.create(json!("waits")).await;
    let old = [ended(&host, json!(3)).await, ended(&host, json!(300)).await];
    host.reaches(stays, "waiting").await;
    key.seal(&host).await;
    let database = host.engine.database();
    let note = seal::newest(database).unwrap().join("\n");
    let before = seal::prove(database, old[1], 7).unwrap();
    place.clock.advance(40 * DAY);
    let young = ended(&host, json!(2)).await;
    assert_eq!(rehearsed(&host), (counted(2, 5 + 302), vec![]));
    let result = pruned(&host).await;
    assert_eq!(result["removed"], json!({ "runs": 2, "entries": 307 }));
    assert_eq!(result["emptied"], result["removed"]);
    assert_eq!(result["months"], json!([]));
    let accounted = || retention::accounted(database, host.engine.blobs());
    assert_eq!(accounted().unwrap(), 2);

    for run in old {
        assert_eq!(entries_left(&host, run), 0);
        let (read, blobs) = (may(RunRead { run }), host.engine.blobs());
        assert_eq!(code(runs::show(database, blobs, &read)), "RUN-0011");
        assert_eq!(
            code(runs::entries(database, blobs, &read, -1, 9)),
            "RUN-0011"
        );
        assert_eq!(code(journal::verify(database, blobs, run)), "RUN-0011");
        assert_eq!(code(host.engine.journal().read(run, -1)), "RUN-0011");
        assert_eq!(code(seal::prove(database, run, 1)), "RUN-0011");
        assert_eq!(code(fork(&host, run).await), "RUN-0011");
        assert_eq!(code(hold(&host, run, Some("late")).await), "RUN-0011");
        assert_eq!(host.row(run).state, "succeeded");
    }
    let keys = [key.public()];
    let check = |note: Option<&str>| seal::verify(database, note, &keys).unwrap();
    assert_eq!(check(Some(&note)).len(), 1, "what was signed before holds");
    seal::check(&before, &keys).unwrap();
    key.seal(&host).await;
    assert!(
        check(None)[0].checkpoint.size > 307,
        "what is signed now holds"
    );
    for run in [stays, young] {
        host.verify(run);
        let proof = seal::prove(database, run, 0).unwrap();
        assert_eq!(seal::check(&proof, &keys).unwrap().entry["run"], json!(run));
    }
    host.signal(stays, "go", json!("late")).await;
    host.reaches(stays, "succeeded").await;
    // What was removed cannot be told otherwise, and nothing else can be said to have been removed.
    tamper(
        &host,
        "UPDATE runs SET head_hash = zeroblob(32) WHERE removed_at IS NOT NULL",
    )
    .await;
    assert!(matches!(accounted(), Err(RequestError::Broken { .. })));
    // A hash that is kept is as bound as an entry is.
    tamper(&host, "UPDATE leaves SET hashes = zeroblob(length(hashes))").await;
    let forged = seal::verify(database, Some(&note), &keys);
    assert!(
        matches!(forged, Err(SealError::Rewritten { .. })),
        "{forged:?}"
    );
}

async fn tamper(host: &Host, sql: &'static str) {
    let statement = Statement::new("test.tamper", sql);
    let write = move |tx: &matrix_store::Tx<'_>| tx.execute(&statement, &[]);
    let database = host.engine.database();
    database.write::<_, StoreError, _>(write).await.unwrap();
}

#[tokio::test]
async fn what_somebody_needs_stays_until_nobody_does() {
    let place = Place::new();
    let (host, key) = (place.host_of("a", &steps()), Key::new());
    let (held, parent) = (
        ended(&host, json!(1)).await,
        ended(&host, json!("child")).await,
    );
    let origin = ended(&host, json!(2)).await;
    hold(&host, held, Some("an audit")).await.unwrap();
    assert_eq!(host.view(held).hold, "an audit");
    place.clock.advance(20 * DAY);
    let middle = fork(&host, origin).await.unwrap();
    host.reaches(middle, "succeeded").await;
    // Ids of one millisecond have no order; a line of forks would then go one removal later.
    place.clock.advance(Duration::from_secs(1));
    let last = fork(&host, middle).await.unwrap();
    host.reaches(last, "succeeded").await;
    place.clock.advance(20 * DAY);
    assert_eq!(
        rehearsed(&host).1[..2],
        [(Reason::Held, 1), (Reason::Forked, 1)]
    );
    // Without a signed head nothing goes; with one, what is needed stays.
    key.seal(&host).await;
    let result = pruned(&host).await;
    assert_eq!(result["removed"]["runs"], 0);
    assert_eq!(
        result["kept"],
        json!({ "held": 1, "forked": 1, "parent": 1 })
    );
    let children = host.view(parent).children;
    host.signal(children[0].run, "go", json!(1)).await;
    host.reaches(children[0].run, "succeeded").await;
    hold(&host, held, None).await.unwrap();
    key.seal(&host).await;
    let result = pruned(&host).await;
    assert_eq!(result["removed"]["runs"], 2);
    assert_eq!(result["kept"], json!({ "forked": 1 }));
    for run in [middle, last] {
        host.verify(run);
        assert_eq!(host.replayed(run).await, "same");
    }
    // A line of forks goes as one when its last one may; what was removed stays on record.
    place.clock.advance(40 * DAY);
    key.seal(&host).await;
    let (going, kept) = rehearsed(&host);
    assert_eq!((going.runs, &*kept), (4, &[(Reason::Record, 2)][..]));
    let result = pruned(&host).await;
    assert_eq!(result["removed"]["runs"], 4);
    assert_eq!(
        host.all()
            .iter()
            .filter(|row| row.removed_at.is_none())
            .count(),
        3
    );
}

#[tokio::test]
async fn a_removal_that_dies_at_any_moment_ends_as_if_it_had_not() {
    for turns in [0, 10, 60, 200] {
        let place = Place::new();
        let (host, key) = (place.host_of("a", &steps()), Key::new());
        let mut old = Vec::new();
        for _ in 0..55 {
            old.push(host.create(json!(0)).await);
        }
        for run in &old {
            host.reaches(*run, "succeeded").await;
        }
        key.seal(&host).await;
        place.clock.advance(40 * DAY);
        let run = begin(&host).await;
        assert_eq!(begin(&host).await, run, "one removal at a time");
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
        host.die().await;
        let host = place.host_of("b", &steps());
        host.reaches(run, "succeeded").await;
        let result = host.result(run);
        assert_eq!(
            result["removed"],
            json!({ "runs": 55, "entries": 110 }),
            "{turns}"
        );
        assert!(
            old.iter().all(|run| entries_left(&host, *run) == 0),
            "{turns}"
        );
        host.verify(run);
        assert_eq!(host.replayed(run).await, "same");
        seal::verify(host.engine.database(), None, &[key.public()]).unwrap();
        host.stop().await;
    }
}

/// On PostgreSQL a month goes as a whole, whenever the process that does it dies.
#[tokio::test]
async fn a_month_goes_and_what_stays_of_it_holds_whenever_the_host_dies() {
    let server = Server::start();
    for turns in [None, Some(0), Some(20), Some(400), Some(4_000)] {
        let name = server.database();
        let place = Place::over(|clock| {
            let options = PostgresOptions {
                clock,
                ..server.options(LOGIN, &name)
            };
            Database::connect(&options).unwrap()
        });
        let (mut host, key) = (place.host_of("a", &steps()), Key::new());
        let old = [ended(&host, json!(3)).await, ended(&host, json!(30)).await];
        let held = ended(&host, json!(4)).await;
        hold(&host, held, Some("an audit")).await.unwrap();
        key.seal(&host).await;
        let note = seal::newest(host.engine.database()).unwrap().join("\n");
        place.clock.advance(40 * DAY);
        let run = begin(&host).await;
        if let Some(turns) = turns {
            for _ in 0..turns {
                tokio::task::yield_now().await;
            }
            host.die().await;
            host = place.host_of("b", &steps());
        }
        host.reaches(run, "succeeded").await;
        let result = host.result(run);
        assert_eq!(result["removed"], json!({ "runs": 2, "entries": 5 + 32 }));
        let month = &result["months"][0];
        assert_eq!(month["month"], "2023_11", "{result}");
        let gone = (&month["removed"], &month["kept"]);
        assert_eq!(gone, (&json!(37), &json!(6)), "{result}");
        let left = "SELECT count(*) FROM matrix.journal_2023_11";
        assert_eq!(server.admin(&name, left), "6");
        assert!(old.iter().all(|run| entries_left(&host, *run) == 0));
        for run in old {
            let read = may(RunRead { run });
            let shown = runs::show(host.engine.database(), host.engine.blobs(), &read);
            assert_eq!(code(shown), "RUN-0011");
        }
        host.verify(held);
        assert_eq!(host.replayed(held).await, "same");
        assert_eq!(host.replayed(run).await, "same");
        key.seal(&host).await;
        let (database, keys) = (host.engine.database(), [key.public()]);
        for head in [Some(&*note), None] {
            seal::verify(database, head, &keys).unwrap();
        }
        let proof = seal::prove(database, held, 2).unwrap();
        seal::check(&proof, &keys).unwrap();
        host.stop().await;
    }
}

#[tokio::test]
async fn a_host_removes_once_a_day_and_leaves_no_run_when_nothing_is_due() {
    let place = Place::new();
    let (host, key) = (place.host_of("a", &steps()), Key::new());
    let old = ended(&host, json!(1)).await;
    key.seal(&host).await;
    let caring = tokio::spawn(retention::keep_up(
        host.engine.clone(),
        super::host::ada(),
        KEEPING,
    ));
    let ping = ended(&host, json!(1)).await;
    assert!(host.all().iter().all(|row| [old, ping].contains(&row.run)));
    caring.abort();
    key.seal(&host).await;
    place.clock.advance(40 * DAY);
    let caring = tokio::spawn(retention::keep_up(
        host.engine.clone(),
        super::host::ada(),
        KEEPING,
    ));
    super::host::until("it is removed", || host.row(old).removed_at.is_some()).await;
    caring.abort();
    // Kept for ever, nothing is looked at.
    retention::keep_up(host.engine.clone(), super::host::ada(), Keeping::default()).await;
}

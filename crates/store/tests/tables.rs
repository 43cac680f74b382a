//! The store through its public doors: statements, the writer, readers beside it.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::sync::Arc;

use matrix_core::{Caller, Digest, Principal, PrincipalKind, RunId, Scope, Timestamp};
use matrix_store::tables::runs::{Filter, Head, HeadMove, Release, RunRow, WakePaused};
use matrix_store::tables::{audit, runs};
use matrix_store::{Database, OpenMode, Param, Statement, StoreError, tables};

fn open(directory: &tempfile::TempDir) -> Database {
    Database::open(&directory.path().join("matrix.db"), OpenMode::Host).unwrap()
}

fn run_row(number: u8) -> RunRow {
    RunRow {
        run: RunId::from_bytes([number; 16]),
        scope: Scope::local(),
        kind: "test".into(),
        version: "1".into(),
        title: "a test".into(),
        trace: "0".repeat(32),
        state: "ready".into(),
        waiting: None,
        wake_at: None,
        owner: None,
        epoch: 0,
        crashes: 0,
        head_seq: 0,
        head_hash: Digest::of("head"),
        created_at: Timestamp::from_micros(1),
        updated_at: Timestamp::from_micros(1),
        placement: matrix_store::tables::queue::Placement::default(),
        lineage: matrix_store::tables::runs::Lineage::default(),
        removed_at: None,
        hold: String::new(),
    }
}

#[test]
fn every_statement_prepares_and_has_all_its_parameters() {
    let directory = tempfile::tempdir().unwrap();
    let database = open(&directory);
    for statement in tables::all_statements() {
        let highest = (1..=20)
            .rev()
            .find(|n| statement.sql.contains(&format!("${n}")))
            .unwrap_or(0);
        let zeros = vec![Param::Integer(0); highest];
        let outcome: Result<(), StoreError> =
            database.read_now(|tx| tx.query(statement, &zeros).map(drop));
        match outcome {
            Ok(()) => {}
            Err(StoreError::Unavailable(text)) if text.contains("readonly") => {}
            Err(error) => panic!("{}: {error}", statement.name),
        }
    }
}

#[tokio::test]
async fn an_epoch_fences_a_slow_owner_out() {
    let directory = tempfile::tempdir().unwrap();
    let database = open(&directory);
    let id = RunId::from_bytes([1; 16]);
    let at = Timestamp::from_micros(2);
    database
        .write::<_, StoreError, _>(|tx| runs::insert(tx, &run_row(1)))
        .await
        .unwrap();
    let claimed = database
        .write::<_, StoreError, _>(move |tx| runs::claim(tx, id, "a", at))
        .await
        .unwrap();
    assert!(claimed);
    let again = database
        .write::<_, StoreError, _>(move |tx| runs::claim(tx, id, "b", at))
        .await
        .unwrap();
    assert!(!again, "a claimed run was claimed a second time");
    let orphans = database
        .write::<_, StoreError, _>(move |tx| runs::orphan(tx, "a", at))
        .await
        .unwrap();
    assert_eq!(orphans, 1);
    let from = Head {
        epoch: 1,
        seq: 0,
        hash: Digest::of("x"),
    };
    let head = HeadMove {
        from,
        to: Head { seq: 1, ..from },
    };
    let moved = database
        .write::<_, StoreError, _>(move |tx| runs::move_head(tx, id, &head, at))
        .await
        .unwrap();
    assert!(!moved, "the old epoch still writes");
}

#[tokio::test]
async fn a_paused_run_is_woken_only_by_what_may_wake_it() {
    let directory = tempfile::tempdir().unwrap();
    let database = open(&directory);
    let (id, at) = (RunId::from_bytes([1; 16]), Timestamp::from_micros(2));
    let woken = database
        .write::<_, StoreError, _>(move |tx| {
            runs::insert(tx, &run_row(1))?;
            runs::claim(tx, id, "a", at)?;
            let release = Release {
                state: "paused",
                waiting: None,
                wake_at: None,
                stopped: "",
            };
            runs::release(tx, id, 1, &release, at)?;
            Ok((
                runs::wake(tx, id, WakePaused::No, at)?,
                runs::wake(tx, id, WakePaused::Yes, at)?,
            ))
        })
        .await
        .unwrap();
    assert_eq!(woken, (false, true));
}

#[tokio::test]
async fn a_failed_closure_leaves_nothing_and_its_neighbours_everything() {
    let directory = tempfile::tempdir().unwrap();
    let database = Arc::new(open(&directory));
    let caller = Caller {
        principal: Principal {
            kind: PrincipalKind::User,
            name: "ada".into(),
        },
        scope: Scope::local(),
        on_behalf_of: Vec::new(),
    };
    let mut writes = Vec::new();
    for number in 0..200_i64 {
        let (database, caller) = (Arc::clone(&database), caller.clone());
        writes.push(tokio::spawn(async move {
            database
                .write::<(), StoreError, _>(move |tx| {
                    let at = Timestamp::from_micros(number);
                    audit::insert(tx, &caller, at, "test", &number.to_string(), "")?;
                    if number % 2 == 0 {
                        Ok(())
                    } else {
                        Err(StoreError::Conflict("odd".into()))
                    }
                })
                .await
                .is_ok()
        }));
    }
    for (number, write) in writes.into_iter().enumerate() {
        assert_eq!(write.await.unwrap(), number % 2 == 0);
    }
    let acts: Vec<_> = database
        .read::<_, StoreError, _>(move |tx| audit::list(tx, &caller, 500))
        .await
        .unwrap();
    assert_eq!(acts.len(), 100);
    assert!(
        acts.iter()
            .all(|act| act.subject.parse::<i64>().unwrap() % 2 == 0)
    );
    assert!(
        database.commits() < 200,
        "writes that waited together were not committed together"
    );
}

#[tokio::test]
async fn a_reader_beside_the_host_sees_what_was_committed_and_cannot_write() {
    let directory = tempfile::tempdir().unwrap();
    let host = open(&directory);
    host.write::<_, StoreError, _>(|tx| runs::insert(tx, &run_row(1)))
        .await
        .unwrap();
    let path = directory.path().join("matrix.db");
    let reader = Database::open(&path, OpenMode::ReadOnly).unwrap();
    let listed = reader
        .read_now::<_, StoreError, _>(|tx| runs::list(tx, &Scope::local(), &Filter::default(), 10))
        .unwrap();
    assert_eq!(listed.len(), 1);
    let refused = reader
        .write::<_, StoreError, _>(|tx| runs::insert(tx, &run_row(2)))
        .await;
    assert!(matches!(refused, Err(StoreError::Unavailable(_))));
    let direct: Result<u64, StoreError> =
        reader.read_now(|tx| tx.execute(&Statement::new("test", "DELETE FROM journal"), &[]));
    assert!(direct.is_err());
}

#[tokio::test]
async fn another_tenants_runs_are_not_listed() {
    let directory = tempfile::tempdir().unwrap();
    let database = open(&directory);
    database
        .write::<_, StoreError, _>(|tx| runs::insert(tx, &run_row(1)))
        .await
        .unwrap();
    let other = Scope {
        organisation: "other".into(),
        workspace: "default".into(),
    };
    let listed = database
        .read_now::<_, StoreError, _>(|tx| runs::list(tx, &other, &Filter::default(), 10))
        .unwrap();
    assert!(listed.is_empty());
}

#[test]
fn no_statement_of_the_queue_reads_more_than_it_gives() {
    let directory = tempfile::tempdir().unwrap();
    let database = open(&directory);
    for statement in matrix_store::tables::queue::STATEMENTS {
        let explain: &'static str = format!("EXPLAIN QUERY PLAN {}", statement.sql).leak();
        let count = (1..=9)
            .rev()
            .find(|n| statement.sql.contains(&format!("${n}")));
        let explain = Statement::new("test.explain", explain);
        let params = vec![matrix_store::Param::Integer(1); count.unwrap_or(0)];
        let plan = database
            .read_now::<_, StoreError, _>(|tx| tx.query(&explain, &params))
            .unwrap();
        for step in plan {
            let step: String = step.get(3).unwrap();
            let table =
                step.contains("runs") || step.contains("SCAN r") || step.contains("SEARCH r");
            // All who run are looked at where all who run are asked for.
            let all = statement.name == "queue.running" && step.contains("runs_running_by");
            let by_index = step.starts_with("SEARCH") && step.contains("INDEX");
            let sorts = step.contains("TEMP B-TREE") && statement.name != "queue.running";
            assert!(
                (!table || by_index || all) && !sorts,
                "{}: {step}",
                statement.name
            );
        }
    }
}

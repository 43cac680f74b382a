//! A full disk: nothing recorded is lost, and the run goes on when there is room.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use matrix_engine::{EngineOptions, OnFullDisk, Step, journal};
use matrix_store::{Database, Statement, StoreError};
use serde_json::json;

use super::host::{Body, Host, Place, body, until};

/// As many pages as there are: the database is as full as on a disk without room.
const FULL: Statement = Statement::new("test.full", "PRAGMA max_page_count = 1");
const ROOM: Statement = Statement::new("test.room", "PRAGMA max_page_count = 1000000");

async fn set(database: &Database, room: &'static Statement) {
    let set = || database.write::<_, StoreError, _>(move |tx| tx.query(room, &[]).map(drop));
    // It may share a transaction with a write that does not fit, and is then refused with it; what
    // it says holds all the same.
    drop(set().await);
    set().await.unwrap();
}

struct Counts {
    first: AtomicU32,
    second: AtomicU32,
    gate: tokio::sync::Semaphore,
}

/// A small step, and one whose result needs new pages.
fn function() -> (Body, Arc<Counts>) {
    let counts = Arc::new(Counts {
        first: AtomicU32::new(0),
        second: AtomicU32::new(0),
        gate: tokio::sync::Semaphore::new(0),
    });
    let counted = Arc::clone(&counts);
    let body = body(move |run, _| {
        let counts = Arc::clone(&counted);
        async move {
            let first: u32 = run
                .step(Step::read("first"), |_| async {
                    Ok(counts.first.fetch_add(1, Ordering::SeqCst) + 1)
                })
                .await?;
            let second: String = run
                .step(Step::read("second"), |_| async {
                    drop(counts.gate.acquire().await);
                    counts.second.fetch_add(1, Ordering::SeqCst);
                    Ok("x".repeat(8_000))
                })
                .await?;
            Ok(json!([first, second.len()]))
        }
    });
    (body, counts)
}

async fn filled(place: &Place, host: &Host, counts: &Counts) -> matrix_core::RunId {
    let run = host.create(json!({})).await;
    let recorded = || host.view(run).steps.iter().any(|step| step.state == "done");
    until("the first step is recorded", recorded).await;
    set(host.engine.database(), &FULL).await;
    counts.gate.add_permits(1_000);
    until("the second step's result is refused", || {
        counts.second.load(Ordering::SeqCst) > 0
    })
    .await;
    assert!(place.path().exists());
    run
}

#[tokio::test]
async fn a_host_that_tries_again_goes_on_when_there_is_room_and_repeats_nothing_recorded() {
    let place = Place::new();
    let (function, counts) = function();
    let options = EngineOptions {
        on_full_disk: OnFullDisk::Retry,
        scheduling: matrix_engine::Scheduling::default(),
        ..Place::options("a")
    };
    let host = place.host_with(options, &function);
    let run = filled(&place, &host, &counts).await;
    // It is not only tried once.
    until("another attempt", || {
        counts.second.load(Ordering::SeqCst) > 1
    })
    .await;
    assert_eq!(host.engine.failure(), None);
    set(host.engine.database(), &ROOM).await;
    host.reaches(run, "succeeded").await;
    assert_eq!(host.result(run), json!([1, 8_000]));
    assert_eq!(
        counts.first.load(Ordering::SeqCst),
        1,
        "a recorded step was repeated"
    );
    assert_eq!(host.row(run).crashes, 0, "a full disk is nobody's death");
    journal::verify(host.engine.database(), host.engine.blobs(), run).unwrap();
}

#[tokio::test]
async fn a_host_that_stops_says_why_and_the_next_one_goes_on() {
    let place = Place::new();
    let (function, counts) = function();
    let host = place.host("a", &function);
    let run = filled(&place, &host, &counts).await;
    host.engine.stopped().await;
    let why = host.engine.failure().unwrap();
    assert!(why.contains("no space"), "{why}");
    host.die().await;
    let host = place.host("b", &function);
    host.reaches(run, "succeeded").await;
    assert_eq!(host.result(run), json!([1, 8_000]));
    assert_eq!(
        counts.first.load(Ordering::SeqCst),
        1,
        "a recorded step was repeated"
    );
    journal::verify(host.engine.database(), host.engine.blobs(), run).unwrap();
}

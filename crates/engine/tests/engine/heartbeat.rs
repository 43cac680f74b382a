//! Signs of life of a step under way: silence is given up, long work is not, and nobody is heard late.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use matrix_engine::run::{SILENT, UNHEARD};
use matrix_engine::runs::{self, RunRead};
use matrix_engine::stopped::{Cause, Stopped};
use matrix_engine::{EntryKind, RetryPolicy, Step, StepContext};
use matrix_store::StoreError;
use matrix_store::tables::{runs as table, workers};
use serde_json::json;
use tokio::sync::mpsc;

use super::host::{Body, Host, Place, body, may, until};

const MINUTE: Duration = Duration::from_mins(1);

/// What a step under test leaves for whoever looks from outside.
#[derive(Default)]
struct Seen {
    tries: AtomicU32,
    contexts: Mutex<Vec<StepContext>>,
}

impl Seen {
    fn tries(&self) -> u32 {
        self.tries.load(Ordering::SeqCst)
    }

    fn first(&self) -> StepContext {
        self.contexts.lock().unwrap()[0].clone()
    }
}

/// A run whose step hangs the first time, and gives how often it was tried the next.
fn hangs_once(step: fn() -> Step, seen: &Arc<Seen>) -> Body {
    let seen = Arc::clone(seen);
    body(move |run, _| {
        let seen = Arc::clone(&seen);
        async move {
            let step = step().heartbeat_timeout(MINUTE).retry(RetryPolicy {
                attempts: 3,
                base: Duration::ZERO,
                cap: Duration::ZERO,
            });
            run.step(step, move |context| {
                let seen = Arc::clone(&seen);
                async move {
                    seen.contexts.lock().unwrap().push(context);
                    let tries = seen.tries.fetch_add(1, Ordering::SeqCst) + 1;
                    if tries == 1 {
                        std::future::pending::<()>().await;
                    }
                    Ok(json!(tries))
                }
            })
            .await
        }
    })
}

fn entries(host: &Host, run: matrix_core::RunId) -> Vec<EntryKind> {
    let request = may(RunRead { run });
    let (database, blobs) = (host.engine.database(), host.engine.blobs());
    let entries = runs::entries(database, blobs, &request, -1, 100).unwrap();
    entries.iter().map(|entry| entry.kind).collect()
}

#[tokio::test]
async fn a_step_that_hangs_is_taken_back_and_tried_again() {
    let (place, seen) = (Place::new(), Arc::<Seen>::default());
    let host = place.host("a", &hangs_once(|| Step::read("hang"), &seen));
    let run = host.create(json!({})).await;
    until("it hangs", || seen.tries() == 1).await;
    place.clock.advance(MINUTE / 2);
    host.look_again(run).await;
    assert_eq!(host.row(run).state, "running", "it was given up too early");
    place.clock.advance(MINUTE / 2);
    host.reaches(run, "succeeded").await;
    assert_eq!(host.result(run), json!(2));
    let entries = host.engine.journal().read(run, -1).unwrap();
    let failed = entries
        .iter()
        .find(|entry| entry.kind == EntryKind::StepFailed);
    let failed = failed.unwrap().payload.clone().unwrap();
    assert_eq!(failed["error"]["code"], SILENT, "{failed}");
    // What is left of the first attempt is not heard any more.
    let late = seen.first().heartbeat().await.unwrap_err();
    assert_eq!(late.code, UNHEARD);
    let late = seen.first().progress(1, None, "still here").await;
    assert_eq!(late.unwrap_err().code, UNHEARD);
    host.verify(run);
}

#[tokio::test]
async fn a_step_that_changes_the_world_and_hangs_is_in_doubt() {
    let (place, seen) = (Place::new(), Arc::<Seen>::default());
    let host = place.host("a", &hangs_once(|| Step::external("pay"), &seen));
    let run = host.create(json!({})).await;
    until("it hangs", || seen.tries() == 1).await;
    place.clock.advance(MINUTE);
    host.reaches(run, "paused").await;
    assert_eq!(seen.tries(), 1, "it was paid twice");
    assert_eq!(Stopped::of(&host.row(run)).unwrap().cause, Cause::Doubt);
}

/// A run whose step says how far it is whenever it is told to go on.
fn works(seen: &Arc<Seen>) -> (Body, mpsc::UnboundedSender<u64>) {
    let (go, going) = mpsc::unbounded_channel::<u64>();
    let (seen, going) = (Arc::clone(seen), Arc::new(tokio::sync::Mutex::new(going)));
    let function = body(move |run, _| {
        let (seen, going) = (Arc::clone(&seen), Arc::clone(&going));
        async move {
            let step = Step::read("long").heartbeat_timeout(MINUTE);
            run.step(step, move |context| {
                let (seen, going) = (Arc::clone(&seen), Arc::clone(&going));
                async move {
                    seen.contexts.lock().unwrap().push(context.clone());
                    let mut going = going.lock().await;
                    while let Some(done) = going.recv().await {
                        context.progress(done, Some(5), "counting").await?;
                        seen.tries.fetch_add(1, Ordering::SeqCst);
                    }
                    Ok(json!("done"))
                }
            })
            .await
        }
    });
    (function, go)
}

#[tokio::test]
async fn a_step_that_beats_takes_longer_than_its_timeout_and_is_watched_without_an_entry() {
    let (place, seen) = (Place::new(), Arc::<Seen>::default());
    let (function, go) = works(&seen);
    let host = place.host("a", &function);
    let run = host.create(json!({})).await;
    until("it works", || !seen.contexts.lock().unwrap().is_empty()).await;
    for done in 1..=5_u64 {
        place.clock.advance(MINUTE * 2 / 3);
        go.send(done).unwrap();
        until("it beats", || u64::from(seen.tries()) == done).await;
    }
    let said = || {
        let request = may(RunRead { run });
        runs::steps_under_way(host.engine.database(), &request).unwrap()
    };
    until("somebody hears of it", || {
        said().get("long#1").is_some_and(|said| said["done"] == 5)
    })
    .await;
    assert_eq!(
        said()["long#1"],
        json!({ "done": 5, "total": 5, "message": "counting" })
    );
    assert_eq!(
        host.view(run).steps[0].progress,
        said().get("long#1").cloned()
    );
    assert_eq!(entries(&host, run), [EntryKind::RunStarted]);
    drop(go);
    host.reaches(run, "succeeded").await;
    assert_eq!(host.result(run), json!("done"));
    assert_eq!(seen.contexts.lock().unwrap().len(), 1, "it was tried again");
    assert!(said().is_empty());
    assert_eq!(host.view(run).steps[0].progress, None);
}

#[tokio::test]
async fn a_sign_of_life_after_the_run_was_lost_is_refused() {
    let (place, seen) = (Place::new(), Arc::<Seen>::default());
    let (function, _go) = works(&seen);
    let host = place.host("a", &function);
    let run = host.create(json!({})).await;
    until("it works", || !seen.contexts.lock().unwrap().is_empty()).await;
    let context = seen.first();
    context.heartbeat().await.unwrap();
    let (database, at) = (host.engine.database().clone(), host.row(run).updated_at);
    let stolen = database.write::<_, StoreError, _>(move |tx| {
        workers::beat(tx, "thief")?;
        table::requeue(tx, run, 1, at)?;
        table::claim(tx, run, "thief", at)
    });
    assert!(stolen.await.unwrap());
    // Whoever holds a lease is heard in memory until it writes.
    let refused = loop {
        match context.progress(1, None, "mine?").await {
            Ok(()) => tokio::task::yield_now().await,
            Err(refused) => break refused,
        }
    };
    assert_eq!(refused.code, UNHEARD);
    let row = host.row(run);
    assert_eq!((row.owner.as_deref(), row.epoch), (Some("thief"), 3));
    let said = database
        .read_now::<_, StoreError, _>(|tx| matrix_store::tables::step_progress::list(tx, run, 9));
    assert_eq!(said.unwrap(), []);
}

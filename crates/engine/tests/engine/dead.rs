//! Dead letters, and the same request to many runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use matrix_core::{Authorizer, Caller, Denied, RunId};
use matrix_engine::runs::{self, BulkAction, BulkPage, Fate, Filter, RunList, RunPause};
use matrix_engine::stopped::{Cause, Stopped};
use matrix_engine::{EffectClass, RetryPolicy, Step, StepError};
use matrix_store::StoreError;
use matrix_store::tables::audit;
use serde_json::{Value, json};

use super::host::{Anyone, Body, Host, Place, ada, body, may};

/// A run that does one step of this class, which fails until it is mended.
fn fragile(class: EffectClass, mended: &Arc<AtomicBool>) -> Body {
    let mended = Arc::clone(mended);
    body(move |run, _| {
        let mended = Arc::clone(&mended);
        async move {
            let step = match class {
                EffectClass::External => Step::external("call"),
                _ => Step::read("call"),
            };
            let step = step.retry(RetryPolicy {
                attempts: 3,
                base: Duration::ZERO,
                cap: Duration::ZERO,
            });
            run.step(step, move |_| {
                let mended = mended.load(Ordering::SeqCst);
                async move {
                    let error = StepError::transient("down", "the other side is down");
                    mended.then_some(json!("done")).ok_or(error)
                }
            })
            .await
        }
    })
}

fn dead(cause: &str) -> Filter {
    Filter {
        stopped: Some(cause.into()),
        ..Filter::default()
    }
}

fn found(host: &Host, filter: Filter) -> Vec<RunId> {
    let request = may(RunList { filter, limit: 100 });
    let rows = runs::list(host.engine.database(), &request).unwrap();
    rows.iter().map(|row| row.run).collect()
}

async fn bulk(
    host: &Host,
    authorizer: &dyn Authorizer,
    filter: Filter,
    action: BulkAction,
) -> BulkPage {
    let request = may(RunList { filter, limit: 3 });
    let done = runs::bulk(&host.engine, authorizer, &request, action, "all of them");
    done.await.unwrap()
}

fn fates(page: &BulkPage) -> Vec<String> {
    let fates = page.runs.iter().map(|handled| match &handled.fate {
        Fate::Done => "done".into(),
        Fate::Unchanged => "unchanged".into(),
        Fate::Refused(problem) => problem.code.text.to_owned(),
    });
    fates.collect()
}

#[tokio::test]
async fn whoever_stopped_by_itself_says_why_and_how_often_it_tried_and_others_do_not() {
    let (place, mended) = (Place::new(), Arc::default());
    let host = place.host("a", &fragile(EffectClass::Read, &mended));
    let run = host.create(json!({})).await;
    host.reaches(run, "paused").await;
    let stopped = Stopped::of(&host.row(run)).unwrap();
    assert_eq!(stopped.cause, Cause::Retries);
    assert_eq!(
        (stopped.step.as_deref(), stopped.tries),
        (Some("call#1"), 3)
    );
    assert_eq!(stopped.since, host.engine.clock().now());
    assert_eq!(found(&host, dead("")), [run]);
    assert_eq!(found(&host, dead("crashes")), []);

    // A person's word over it is theirs: it is no dead letter, but a run that somebody lets rest.
    mended.store(true, Ordering::SeqCst);
    let page = bulk(&host, &Anyone, dead("retries"), BulkAction::Retry).await;
    assert_eq!(fates(&page), ["done"]);
    host.reaches(run, "succeeded").await;
    assert_eq!(found(&host, dead("")), []);
    host.verify(run);
}

#[tokio::test]
async fn a_rest_that_a_person_asked_for_is_no_dead_letter_and_a_doubt_is_one() {
    let place = Place::new();
    let doubtful = fragile(EffectClass::External, &Arc::default());
    let host = place.host("a", &doubtful);
    let run = host.create(json!({})).await;
    host.reaches(run, "paused").await;
    assert_eq!(Stopped::of(&host.row(run)).unwrap().cause, Cause::Doubt);
    assert_eq!(found(&host, dead("doubt")), [run]);
    host.stop().await;

    let resting = body(|run, _| async move { Ok(json!(run.signal::<u32>("go").await?)) });
    let host = place.host("b", &resting);
    let other = host.create(json!({})).await;
    host.reaches(other, "waiting").await;
    let (submitter, reason) = (String::new(), "lunch".into());
    let asked = may(RunPause {
        run: other,
        submitter,
        reason,
    });
    runs::pause(&host.engine, &asked).await.unwrap();
    host.reaches(other, "paused").await;
    assert_eq!(found(&host, dead("")), [run]);
}

#[tokio::test]
async fn many_runs_are_asked_a_page_at_a_time_and_a_page_twice_does_nothing_twice() {
    let place = Place::new();
    let waiter = body(|run, _| async move { Ok(json!(run.signal::<u32>("go").await?)) });
    let host = place.host("a", &waiter);
    let mut all = Vec::new();
    for _ in 0..5 {
        place.clock.advance(Duration::from_millis(1));
        let run = host.create(json!({})).await;
        host.reaches(run, "waiting").await;
        all.push(run);
    }
    let rehearsed = {
        let request = may(RunList {
            filter: Filter::default(),
            limit: 3,
        });
        let (database, blobs) = (host.engine.database(), host.engine.blobs());
        runs::rehearse(database, blobs, &Anyone, &request, BulkAction::Pause).unwrap()
    };
    assert_eq!(fates(&rehearsed), ["done", "done", "done"]);
    assert_eq!(
        host.row(all[4]).state,
        "waiting",
        "a rehearsal paused a run"
    );

    let mut filter = Filter::default();
    let first = bulk(&host, &Anyone, filter.clone(), BulkAction::Pause).await;
    assert_eq!(
        first.runs.iter().map(|h| h.run).collect::<Vec<_>>(),
        [all[4], all[3], all[2]]
    );
    let again = bulk(&host, &Anyone, filter.clone(), BulkAction::Pause).await;
    assert_eq!(fates(&again), ["unchanged", "unchanged", "unchanged"]);
    filter.before = first.next;
    let second = bulk(&host, &Anyone, filter, BulkAction::Pause).await;
    assert_eq!(
        (fates(&second), second.next),
        (vec!["done".into(), "done".to_string()], None)
    );
    for run in &all {
        host.reaches(*run, "paused").await;
    }
    let asked = host
        .engine
        .database()
        .read_now::<_, StoreError, _>(|tx| audit::list(tx, &ada(), 100))
        .unwrap();
    let asked = asked.iter().filter(|row| row.action == "run_pause").count();
    assert_eq!(asked, 5, "the audit does not have each");
}

/// Lets the caller do nothing with one run.
struct AllBut(RunId, AtomicU32);

impl Authorizer for AllBut {
    fn decide(&self, caller: &Caller, action: &'static str, facts: &Value) -> Result<(), Denied> {
        self.1.fetch_add(1, Ordering::SeqCst);
        if facts["run"] != json!(self.0) {
            return Ok(());
        }
        Err(Denied {
            caller: caller.principal.to_string(),
            action,
            reason: "not this one".into(),
        })
    }
}

#[tokio::test]
async fn each_run_is_decided_about_by_itself() {
    let place = Place::new();
    let waiter = body(|run, _| async move { Ok(json!(run.signal::<u32>("go").await?)) });
    let host = place.host("a", &waiter);
    let mut made = Vec::new();
    for _ in 0..3 {
        place.clock.advance(Duration::from_millis(1));
        made.push(host.create(json!({})).await);
    }
    let [mine, theirs, over] = made[..] else {
        unreachable!("three were made");
    };
    for run in [mine, theirs, over] {
        host.reaches(run, "waiting").await;
    }
    host.signal(over, "go", json!(1)).await;
    host.reaches(over, "succeeded").await;
    let policy = AllBut(theirs, AtomicU32::new(0));
    let page = bulk(&host, &policy, Filter::default(), BulkAction::Cancel).await;
    assert_eq!(fates(&page), ["RUN-0002", "AUTH-0001", "done"]);
    assert_eq!(policy.1.load(Ordering::SeqCst), 3);
    host.reaches(mine, "cancelled").await;
    assert_eq!(host.row(theirs).state, "waiting");
    let retried = bulk(&host, &Anyone, Filter::default(), BulkAction::Retry).await;
    assert_eq!(fates(&retried), ["RUN-0002", "RUN-0003", "RUN-0002"]);
}

//! Pause, resume, cancel: heard whenever they come. Damage stays with the run that has it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use matrix_core::RunId;
use matrix_engine::runs::{self, RunCancel, RunPause, RunResume, RunRetry, RunSignal};
use matrix_engine::{EngineOptions, EntryKind, Step, journal};
use serde_json::json;

use super::host::{Body, Host, Place, body, may, until};

async fn pause(host: &Host, run: RunId) {
    let (submitter, reason) = (String::new(), "wait".into());
    let request = may(RunPause {
        run,
        submitter,
        reason,
    });
    drop(runs::pause(&host.engine, &request).await);
}

async fn resume(host: &Host, run: RunId) {
    let (submitter, reason) = (String::new(), String::new());
    let request = may(RunResume {
        run,
        submitter,
        reason,
    });
    drop(runs::resume(&host.engine, &request).await);
}

async fn cancel(host: &Host, run: RunId) {
    let (submitter, reason) = (String::new(), "enough".into());
    let request = may(RunCancel {
        run,
        submitter,
        reason,
    });
    runs::cancel(&host.engine, &request).await.unwrap();
}

async fn signal(host: &Host, run: RunId) {
    send(host, run, "go").await;
}

async fn send(host: &Host, run: RunId, name: &str) {
    let (name, value) = (name.to_owned(), json!(1));
    let request = may(RunSignal {
        run,
        submitter: String::new(),
        name,
        value,
    });
    runs::signal(&host.engine, &request).await.unwrap();
}

fn steps(number: u32) -> Body {
    body(move |run, _| async move {
        for step in 0..number {
            run.step(Step::read("s").input(&step), |_| async {
                tokio::task::yield_now().await;
                Ok(())
            })
            .await?;
        }
        Ok(json!("done"))
    })
}

fn waiter() -> Body {
    body(|run, _| async move { Ok(json!(run.signal::<u32>("go").await?)) })
}

#[tokio::test]
async fn a_resume_that_comes_while_the_run_is_being_paused_is_not_lost() {
    let place = Place::new();
    let host = place.host("a", &steps(12));
    for turns in 0..20 {
        let run = host.create(json!({})).await;
        pause(&host, run).await;
        for _ in 0..turns * 10 {
            tokio::task::yield_now().await;
        }
        resume(&host, run).await;
        host.reaches(run, "succeeded").await;
    }
}

#[tokio::test]
async fn a_run_that_rests_can_be_cancelled() {
    let place = Place::new();
    let host = place.host("a", &waiter());
    let run = host.create(json!({})).await;
    host.reaches(run, "waiting").await;
    pause(&host, run).await;
    host.reaches(run, "paused").await;
    send(&host, run, "other").await;
    host.look_again(run).await;
    assert_eq!(host.row(run).state, "paused", "a signal ended a rest");
    cancel(&host, run).await;
    host.reaches(run, "cancelled").await;
}

#[tokio::test]
async fn a_run_that_differs_from_its_journal_can_still_be_ended() {
    let place = Place::new();
    let host = place.host("a", &waiter());
    let run = host.create(json!({})).await;
    host.reaches(run, "waiting").await;
    signal(&host, run).await;
    host.reaches(run, "succeeded").await;

    let memory = Arc::new(AtomicU32::new(0));
    let forgetful = body(move |run, _| {
        let input = memory.fetch_add(1, Ordering::SeqCst);
        async move {
            run.step(Step::read("s").input(&input), |_| async { Ok(()) })
                .await?;
            Ok(json!(run.signal::<u32>("go").await?))
        }
    });
    host.die().await;
    let host = place.host("b", &forgetful);
    let run = host.create(json!({})).await;
    host.reaches(run, "waiting").await;
    signal(&host, run).await;
    host.reaches(run, "paused").await;
    assert!(host.why(run).contains("differs from the journal"));
    cancel(&host, run).await;
    host.reaches(run, "cancelled").await;
    let reason = host.result(run)["reason"].as_str().unwrap().to_owned();
    assert!(reason.starts_with("enough (nothing was undone"), "{reason}");
}

#[tokio::test]
async fn a_damaged_run_rests_alone() {
    let place = Place::new();
    let host = place.host("a", &waiter());
    let damaged = host.create(json!({ "large": "x".repeat(20_000) })).await;
    let erased = host.create(json!({})).await;
    let whole = host.create(json!({})).await;
    for run in [damaged, erased, whole] {
        host.reaches(run, "waiting").await;
    }
    let blobs = place.path().join("blobs");
    std::fs::rename(&blobs, place.path().join("elsewhere")).unwrap();
    journal::erase(host.engine.database(), erased, 0)
        .await
        .unwrap();
    for run in [damaged, erased, whole] {
        signal(&host, run).await;
    }
    host.reaches(whole, "succeeded").await;
    for run in [damaged, erased] {
        host.reaches(run, "paused").await;
    }
    let row = host.row(damaged);
    assert!(row.waiting.unwrap().contains("damaged"));
    assert_eq!(
        host.engine.failure(),
        None,
        "one run's damage stopped the host"
    );

    std::fs::rename(place.path().join("elsewhere"), &blobs).unwrap();
    resume(&host, damaged).await;
    host.reaches(damaged, "succeeded").await;
}

#[tokio::test]
async fn a_step_whose_result_was_erased_is_not_guessed_and_can_be_done_again() {
    let place = Place::new();
    let host = place.host(
        "a",
        &body(|run, _| async move {
            let found: Option<u32> = run
                .step(Step::read("find"), |_| async { Ok(Some(7)) })
                .await?;
            run.signal::<u32>("go").await?;
            Ok(json!(found))
        }),
    );
    let run = host.create(json!({})).await;
    host.reaches(run, "waiting").await;
    let entries = host.engine.journal().read(run, -1).unwrap();
    let found = entries
        .iter()
        .find(|entry| entry.kind == EntryKind::StepCompleted);
    let seq = found.unwrap().seq;
    journal::erase(host.engine.database(), run, seq)
        .await
        .unwrap();
    signal(&host, run).await;
    host.reaches(run, "paused").await;
    assert!(host.why(run).contains("was erased"), "{}", host.why(run));
    let retry = RunRetry {
        run,
        submitter: String::new(),
        step: Some("find#1".into()),
    };
    runs::retry(&host.engine, &may(retry)).await.unwrap();
    // The reset took the signal back, too.
    host.reaches(run, "waiting").await;
    signal(&host, run).await;
    host.reaches(run, "succeeded").await;
    assert_eq!(host.result(run), json!(7));
}

#[tokio::test]
async fn more_mail_than_one_page_is_heard_by_a_run_that_is_busy() {
    let place = Place::new();
    let begun = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&begun);
    let function = body(move |run, _| {
        let counted = Arc::clone(&counted);
        async move {
            let busy = run.step(Step::read("busy"), |mut context| {
                let counted = Arc::clone(&counted);
                async move {
                    counted.fetch_add(1, Ordering::SeqCst);
                    drop(context.cancelled.wait_for(|cancelled| *cancelled).await);
                    Ok(())
                }
            });
            busy.await?;
            run.step(Step::read("more"), |_| async { Ok(()) }).await?;
            Ok(json!("not cancelled"))
        }
    });
    let host = place.host("a", &function);
    let run = host.create(json!({})).await;
    until("the step begins", || begun.load(Ordering::SeqCst) == 1).await;
    host.die().await;
    // Nobody takes the run while its mail comes.
    let options = EngineOptions {
        concurrency: 0,
        ..Place::options("quiet")
    };
    let quiet = place.host_with(options, &function);
    for _ in 0..300 {
        signal(&quiet, run).await;
    }
    cancel(&quiet, run).await;
    quiet.die().await;
    let host = place.host("b", &function);
    host.reaches(run, "cancelled").await;
    let entries = host.engine.journal().read(run, -1).unwrap();
    let signals = |entry: &&matrix_engine::Entry| entry.kind == EntryKind::SignalReceived;
    assert_eq!(entries.iter().filter(signals).count(), 300);
}

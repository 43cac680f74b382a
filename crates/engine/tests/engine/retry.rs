//! Failed attempts: when the next one is made, and how often.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use matrix_engine::error::Retry;
use matrix_engine::runs::{self, RunCancel};
use matrix_engine::{Later, RetryPolicy, Step, StepError};
use serde_json::json;

use super::host::{Body, Place, body, may};

const HOUR: Duration = Duration::from_hours(1);

/// Fails this often with the other side's wish to wait an hour, then succeeds.
fn busy(times: u32, class: fn(&'static str) -> Step) -> (Body, Arc<AtomicU32>) {
    let attempts = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&attempts);
    let body = body(move |run, _| {
        let counted = Arc::clone(&counted);
        async move {
            let policy = RetryPolicy {
                attempts: 5,
                base: Duration::from_millis(1),
                cap: Duration::from_millis(1),
            };
            let made: u32 = run
                .step(class("busy").retry(policy), |context| {
                    let counted = Arc::clone(&counted);
                    async move {
                        let made = counted.fetch_add(1, Ordering::SeqCst) + 1;
                        assert_eq!(context.attempt, made, "attempts are counted from one");
                        if made > times {
                            return Ok(made);
                        }
                        Err(StepError {
                            retry: Retry::Later {
                                after_ms: Some(3_600_000),
                            },
                            ..StepError::transient("busy", "come back in an hour")
                        })
                    }
                })
                .await?;
            Ok(json!(made))
        }
    });
    (body, attempts)
}

#[tokio::test]
async fn the_other_sides_wish_to_wait_is_kept_across_hosts_and_the_clock_ends_it() {
    let place = Place::new();
    let (function, attempts) = busy(2, Step::read);
    let mut host = place.host("a", &function);
    let run = host.create(json!({})).await;
    for failed in 1..=2 {
        host.reaches(run, "waiting").await;
        let due = host.row(run).wake_at.unwrap();
        assert_eq!(due.since(host.engine.clock().now()), HOUR);
        host.die().await;
        host = place.host(&format!("after {failed}"), &function);
        host.look_again(run).await;
        assert_eq!(
            attempts.load(Ordering::SeqCst),
            failed,
            "an attempt was made early"
        );
        place.clock.advance(HOUR);
        host.engine.wake(run);
        if failed == 1 {
            let second = || attempts.load(Ordering::SeqCst) == 2;
            super::host::until("the second attempt", second).await;
        }
    }
    host.reaches(run, "succeeded").await;
    assert_eq!(host.result(run), json!(3));
}

#[tokio::test]
async fn a_run_that_waits_for_its_next_attempt_can_be_cancelled_at_once() {
    let place = Place::new();
    let (function, attempts) = busy(9, Step::read);
    let host = place.host("a", &function);
    let run = host.create(json!({})).await;
    host.reaches(run, "waiting").await;
    let request = may(RunCancel {
        run,
        submitter: String::new(),
        reason: "enough".into(),
    });
    runs::cancel(&host.engine, &request).await.unwrap();
    host.reaches(run, "cancelled").await;
    assert_eq!(attempts.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_metered_step_that_failed_by_itself_was_not_interrupted() {
    let place = Place::new();
    let (function, attempts) = busy(4, Step::metered);
    let host = place.host("a", &function);
    let run = host.create(json!({})).await;
    for made in 1..=4 {
        let waits = || attempts.load(Ordering::SeqCst) == made && host.row(run).state == "waiting";
        super::host::until("the next attempt", waits).await;
        place.clock.advance(HOUR);
        host.engine.wake(run);
    }
    host.reaches(run, "succeeded").await;
    assert_eq!(host.result(run), json!(5));
}

#[tokio::test]
async fn a_metered_step_is_sent_three_times_into_crashes_and_then_left_to_a_person() {
    let place = Place::new();
    let sent = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&sent);
    let function = body(move |run, _| {
        let counted = Arc::clone(&counted);
        async move {
            let never = run.step::<(), _, _>(Step::metered("ask"), |_| async {
                counted.fetch_add(1, Ordering::SeqCst);
                std::future::pending().await
            });
            never.await?;
            Ok(json!({}))
        }
    });
    let mut host = place.host("a", &function);
    let run = host.create(json!({})).await;
    for number in 1..=3 {
        super::host::until("it is sent", || sent.load(Ordering::SeqCst) == number).await;
        host.die().await;
        host = place.host(&format!("after {number}"), &function);
    }
    host.reaches(run, "paused").await;
    assert!(
        host.why(run).contains("interrupted 3 times"),
        "{}",
        host.why(run)
    );
    assert_eq!(sent.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_step_that_waits_for_its_turn_has_not_begun_whoever_dies_meanwhile() {
    let place = Place::new();
    let (turn, sent) = (
        Arc::new(AtomicBool::new(false)),
        Arc::<AtomicU32>::default(),
    );
    let (comes, counted) = (Arc::clone(&turn), Arc::clone(&sent));
    let function = body(move |run, _| {
        let (comes, counted) = (Arc::clone(&comes), Arc::clone(&counted));
        async move {
            let step = Step::metered("ask").turn(move || {
                let wait = Later {
                    because: "others are before it".into(),
                    after: HOUR,
                };
                let later = (!comes.load(Ordering::SeqCst)).then_some(wait);
                Box::pin(async move { later })
            });
            let made: u32 = run
                .step(step, |context| {
                    counted.fetch_add(1, Ordering::SeqCst);
                    async move { Ok(context.attempt) }
                })
                .await?;
            Ok(json!(made))
        }
    });
    let mut host = place.host("a", &function);
    let run = host.create(json!({})).await;
    for number in 1..=5 {
        host.reaches(run, "waiting").await;
        let waiting = host.view(run).waiting.unwrap();
        assert_eq!(waiting["for"], "turn");
        assert_eq!(waiting["because"], "others are before it");
        let begun = host.engine.journal().read(run, -1).unwrap().len();
        assert_eq!(
            begun, 1,
            "nothing is in the journal but the run's beginning"
        );
        host.die().await;
        host = place.host(&format!("after {number}"), &function);
        place.clock.advance(HOUR);
        host.engine.wake(run);
    }
    host.reaches(run, "waiting").await;
    turn.store(true, Ordering::SeqCst);
    place.clock.advance(HOUR);
    host.engine.wake(run);
    host.reaches(run, "succeeded").await;
    assert_eq!(host.result(run), json!(1), "its first attempt");
    assert_eq!(sent.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_run_that_waits_for_a_turn_can_be_cancelled_at_once() {
    let place = Place::new();
    let function = body(|run, _| async move {
        let step = Step::read("ask").turn(|| {
            let later = Later {
                because: "never".into(),
                after: HOUR,
            };
            Box::pin(async move { Some(later) })
        });
        run.step::<(), _, _>(step, |_| async { Ok(()) }).await?;
        Ok(json!({}))
    });
    let host = place.host("a", &function);
    let run = host.create(json!({})).await;
    host.reaches(run, "waiting").await;
    let request = may(RunCancel {
        run,
        submitter: String::new(),
        reason: "enough".into(),
    });
    runs::cancel(&host.engine, &request).await.unwrap();
    host.reaches(run, "cancelled").await;
}

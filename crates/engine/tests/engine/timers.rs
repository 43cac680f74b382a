//! Timers follow the clock that is passed in: not early, not lost, not late.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use matrix_engine::runs::{self, RunSignal};
use matrix_engine::{EntryKind, Run, RunError, Step};
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::host::{Place, body, may, until};

const HOUR: Duration = Duration::from_hours(1);
/// Just too long to be slept through in place.
const NAP: Duration = Duration::from_millis(2_001);
const MINUTE: Duration = Duration::from_mins(1);

async fn sleeper(run: Run, input: Value) -> Result<Value, RunError> {
    let hours = input.as_u64().unwrap_or(1);
    run.sleep("nap", HOUR * u32::try_from(hours).unwrap())
        .await?;
    Ok(json!("awake"))
}

#[tokio::test]
async fn a_long_sleep_parks_the_run_frees_its_memory_and_ends_when_the_clock_says_so() {
    let place = Place::new();
    let held = Arc::new(());
    let inside = Arc::clone(&held);
    let host = place.host(
        "a",
        &body(move |run, input| {
            let memory = Arc::clone(&inside);
            async move {
                let result = sleeper(run, input).await;
                drop(memory);
                result
            }
        }),
    );
    let due = host.engine.clock().now().plus(HOUR);
    let run = host.create(json!(1)).await;
    host.reaches(run, "waiting").await;
    let row = host.row(run);
    assert_eq!((row.wake_at, row.owner), (Some(due), None));
    assert_eq!(host.view(run).waiting.unwrap()["for"], "timer");
    until("the parked function is dropped", || {
        Arc::strong_count(&held) == 2
    })
    .await;
    place.clock.advance(59 * MINUTE);
    host.look_again(run).await;
    assert_eq!(host.row(run).state, "waiting", "a timer fired early");
    assert_eq!(host.row(run).wake_at, Some(due));
    place.clock.advance(MINUTE);
    host.engine.wake(run);
    host.reaches(run, "succeeded").await;
    let entries = host.engine.journal().read(run, -1).unwrap();
    let fired = entries.iter().find(|e| e.kind == EntryKind::TimerFired);
    assert!(fired.unwrap().at >= due);
}

#[tokio::test]
async fn runs_wake_in_the_order_of_their_timers_and_only_when_they_are_due() {
    let place = Place::new();
    let host = place.host("a", &body(sleeper));
    let mut runs = Vec::new();
    for hours in [3, 1, 2] {
        let run = host.create(json!(hours)).await;
        host.reaches(run, "waiting").await;
        runs.push((hours, run));
    }
    for passed in 1..=3 {
        place.clock.advance(HOUR);
        host.look_again(runs[0].1).await;
        for (hours, run) in &runs {
            if *hours == passed {
                host.reaches(*run, "succeeded").await;
            } else {
                let state = host.row(*run).state;
                let wanted = if *hours < passed {
                    "succeeded"
                } else {
                    "waiting"
                };
                assert_eq!(state, wanted, "{hours} h after {passed} h");
            }
        }
    }
}

#[tokio::test]
async fn a_clock_that_is_set_back_neither_fires_a_timer_early_nor_loses_it() {
    let place = Place::new();
    let host = place.host("a", &body(sleeper));
    let run = host.create(json!(1)).await;
    host.reaches(run, "waiting").await;
    let due = host.row(run).wake_at;
    place.clock.set_back(2 * HOUR);
    host.look_again(run).await;
    assert_eq!(
        (host.row(run).state.as_str(), host.row(run).wake_at),
        ("waiting", due)
    );
    host.die().await;
    let host = place.host("b", &body(sleeper));
    place.clock.advance(179 * MINUTE);
    host.look_again(run).await;
    assert_eq!(
        (host.row(run).state.as_str(), host.row(run).wake_at),
        ("waiting", due)
    );
    place.clock.advance(MINUTE);
    host.engine.wake(run);
    host.reaches(run, "succeeded").await;
    let entries = host.engine.journal().read(run, -1).unwrap();
    for kind in [EntryKind::TimerSet, EntryKind::TimerFired] {
        let times = entries.iter().filter(|entry| entry.kind == kind).count();
        assert_eq!(times, 1, "{kind:?}");
    }
}

#[tokio::test]
async fn a_timer_beside_another_wait_is_what_the_run_is_woken_by() {
    let place = Place::new();
    let host = place.host(
        "a",
        &body(|run, _| async move {
            let parts = vec![("signal".to_owned(), true), ("nap".to_owned(), false)];
            let parts = run.join("parts", 2, parts, |branch, signal| async move {
                if signal {
                    return branch.signal::<u32>("go").await;
                }
                branch.sleep("nap", HOUR).await?;
                branch.step(Step::read("after"), |_| async { Ok(1) }).await
            });
            Ok(json!(parts.await?))
        }),
    );
    let due = host.engine.clock().now().plus(HOUR);
    let run = host.create(json!({})).await;
    host.reaches(run, "waiting").await;
    assert_eq!(
        host.row(run).wake_at,
        Some(due),
        "the run was parked without its timer"
    );
    place.clock.advance(HOUR);
    host.engine.wake(run);
    let after = || host.view(run).steps.iter().any(|step| step.state == "done");
    until("the branch behind the timer goes on", after).await;
    host.reaches(run, "waiting").await;
    let (name, value) = ("go".into(), json!(2));
    runs::signal(
        &host.engine,
        &may(RunSignal {
            run,
            submitter: String::new(),
            name,
            value,
        }),
    )
    .await
    .unwrap();
    host.reaches(run, "succeeded").await;
    assert_eq!(host.result(run), json!([2, 1]));
}

#[tokio::test]
async fn a_timer_beside_a_step_in_flight_does_not_wait_for_it() {
    let place = Place::new();
    let (open, fired) = (Arc::new(Notify::new()), Arc::new(AtomicBool::new(false)));
    let (gate, flag) = (Arc::clone(&open), Arc::clone(&fired));
    let host = place.host(
        "a",
        &body(move |run, _| {
            let (gate, flag) = (Arc::clone(&gate), Arc::clone(&flag));
            async move {
                let parts = vec![("busy".to_owned(), true), ("nap".to_owned(), false)];
                let parts = run.join("parts", 2, parts, |branch, busy| {
                    let (gate, flag) = (Arc::clone(&gate), Arc::clone(&flag));
                    async move {
                        if busy {
                            let work = branch.step(Step::read("busy"), |_| async {
                                gate.notified().await;
                                Ok(())
                            });
                            return work.await;
                        }
                        branch.sleep("nap", NAP).await?;
                        flag.store(true, Ordering::SeqCst);
                        Ok(())
                    }
                });
                Ok(json!(parts.await?.len()))
            }
        }),
    );
    let run = host.create(json!({})).await;
    let set = || host.engine.journal().read(run, -1).unwrap().len() > 1;
    until("the timer is set", set).await;
    // By now the branch waits for it, beside the step.
    host.look_again(run).await;
    assert!(!fired.load(Ordering::SeqCst));
    // Nobody wakes the run: it looks at the clock by itself when the nap should be over.
    place.clock.advance(HOUR);
    until("the timer fires", || fired.load(Ordering::SeqCst)).await;
    assert_eq!(host.row(run).state, "running");
    open.notify_one();
    host.reaches(run, "succeeded").await;
}

#[tokio::test]
async fn a_function_that_gave_way_for_a_moment_is_not_parked_beside_a_wait() {
    let place = Place::new();
    let host = place.host(
        "a",
        &body(|run, _| async move {
            let gives_way = async {
                let mut gave = false;
                std::future::poll_fn(|context| {
                    if std::mem::replace(&mut gave, true) {
                        return Poll::Ready(());
                    }
                    context.waker().wake_by_ref();
                    Poll::Pending
                })
                .await;
                run.step(Step::read("after"), |_| async { Ok(1) }).await
            };
            let (signal, after): (Result<u32, RunError>, Result<u32, RunError>) =
                futures::join!(run.signal("go"), gives_way);
            Ok(json!([signal?, after?]))
        }),
    );
    let run = host.create(json!({})).await;
    host.reaches(run, "waiting").await;
    assert_eq!(
        host.view(run).steps.len(),
        1,
        "the run was parked too early"
    );
}

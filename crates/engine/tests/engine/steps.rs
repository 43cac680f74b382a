//! What a step promises: done once, recorded, answered from the journal.

use std::sync::Arc;
use std::time::Duration;

use matrix_engine::runs::{self, RunResume};
use matrix_engine::{RetryPolicy, RunError, Step, StepError, journal};
use serde_json::{Value, json};

use super::host::{Place, World, add, may, two_steps, with};

#[tokio::test]
async fn a_recorded_step_is_not_done_again_after_its_host_died() {
    let place = Place::new();
    let world = Arc::new(World::default());
    let host = place.host("a", &with(&world, two_steps));
    let run = host.create(json!({})).await;
    world.reached.notified().await;
    host.die().await;
    let host = place.host("b", &with(&world, two_steps));
    world.open.notify_one();
    assert_eq!(host.settled(run).await.state, "succeeded");
    assert_eq!(host.result(run), json!([1, 2]));
    assert_eq!(world.effects(), 2);
    let check = journal::verify(host.engine.database(), host.engine.blobs(), run).unwrap();
    assert_eq!((check.entries, check.erased), (4, 0));
}

#[tokio::test]
async fn a_drained_host_lets_go_at_a_step_boundary_and_the_next_goes_on() {
    let place = Place::new();
    let world = Arc::new(World::default());
    let host = place.host(
        "a",
        &with(&world, |run, world, _| {
            Box::pin(async move {
                for number in 0..3_u32 {
                    let world = &world;
                    run.step(Step::read("s").input(&number), |_| async move {
                        world.reached.notify_one();
                        world.open.notified().await;
                        Ok(add(world))
                    })
                    .await?;
                }
                Ok(json!("done"))
            })
        }),
    );
    let run = host.create(json!({})).await;
    world.reached.notified().await;
    host.engine.drain();
    world.open.notify_one();
    host.engine.stopped().await;
    assert_eq!(host.view(run).state, "ready");
    assert_eq!(
        world.effects(),
        1,
        "a step was cut off or a new one was begun"
    );
    host.die().await;
}

#[tokio::test]
async fn a_step_that_keeps_failing_rests_for_a_person_and_a_permanent_error_is_the_result() {
    let place = Place::new();
    let world = Arc::new(World::default());
    let host = place.host(
        "a",
        &with(&world, |run, world, input| {
            Box::pin(async move {
                let kind = input.as_str().unwrap_or_default().to_owned();
                let quick = RetryPolicy {
                    attempts: 3,
                    base: Duration::from_millis(1),
                    cap: Duration::from_millis(2),
                };
                let failed = run
                    .step::<(), _, _>(Step::read("s").retry(quick), |_| async {
                        add(&world);
                        if kind == "permanent" {
                            return Err(StepError::permanent("broken", "it is broken"));
                        }
                        Err(StepError::transient("busy", "the other side is busy"))
                    })
                    .await;
                match failed {
                    Err(RunError::Failed(error)) => Ok(json!({ "handled": error.code })),
                    other => other.map(|()| Value::Null),
                }
            })
        }),
    );
    let run = host.create(json!("transient")).await;
    let view = host.settled(run).await;
    assert_eq!((view.state.as_str(), world.effects()), ("paused", 3));
    assert!(
        view.waiting.unwrap()["because"]
            .as_str()
            .unwrap()
            .contains("failed 3 times")
    );
    let run = host.create(json!("permanent")).await;
    assert_eq!(host.settled(run).await.state, "succeeded");
    assert_eq!(host.result(run), json!({ "handled": "broken" }));
    assert_eq!(world.effects(), 4);
}

#[tokio::test]
async fn a_function_that_changed_under_its_run_rests_with_the_difference() {
    let place = Place::new();
    let world = Arc::new(World::default());
    let host = place.host("a", &with(&world, two_steps));
    let run = host.create(json!({})).await;
    world.reached.notified().await;
    host.die().await;
    let host = place.host(
        "b",
        &with(&world, |run, _, _| {
            Box::pin(async move {
                run.step::<u32, _, _>(Step::read("first").input(&"other"), |_| async { Ok(1) })
                    .await?;
                Ok(Value::Null)
            })
        }),
    );
    let view = host.settled(run).await;
    assert_eq!(view.state, "paused");
    assert!(
        view.waiting
            .unwrap()
            .to_string()
            .contains("differs from the journal")
    );
    host.die().await;
    let host = place.host_of_version("c", "2", &with(&world, two_steps));
    let resume = RunResume {
        run,
        submitter: String::new(),
        reason: String::new(),
    };
    runs::resume(&host.engine, &may(resume)).await.unwrap();
    while !host
        .view(run)
        .waiting
        .is_some_and(|w| w.to_string().contains("needs version 1"))
    {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn sleep_and_branches_are_recorded() {
    let place = Place::new();
    let world = Arc::new(World::default());
    let host = place.host(
        "a",
        &with(&world, |run, world, _| {
            Box::pin(async move {
                run.sleep("rest", Duration::from_millis(1)).await?;
                let items = (0..5_u32).map(|n| (format!("b{n}"), n)).collect();
                let results = run
                    .join("fan", 2, items, |branch, n| {
                        let world = Arc::clone(&world);
                        async move {
                            branch
                                .step(Step::read("s").input(&n), |_| {
                                    let world = Arc::clone(&world);
                                    async move {
                                        add(&world);
                                        Ok(n * n)
                                    }
                                })
                                .await
                        }
                    })
                    .await?;
                let twice = vec![("k".to_owned(), ()), ("k".to_owned(), ())];
                let clash = run.join("clash", 2, twice, |_, ()| async { Ok(()) }).await;
                Ok(json!([results, clash.is_err()]))
            })
        }),
    );
    let run = host.create(json!({})).await;
    let view = host.settled(run).await;
    assert_eq!(host.result(run), json!([[0, 1, 4, 9, 16], true]));
    assert_eq!(world.effects(), 5);
    assert!(
        view.steps.iter().any(|step| step.path == "fan/b3/s#1"),
        "{:?}",
        view.steps
    );
}

#[tokio::test]
async fn a_panic_in_a_function_rests_its_run_and_nothing_else() {
    let place = Place::new();
    let world = Arc::new(World::default());
    let host = place.host(
        "a",
        &with(&world, |_, _, input| {
            Box::pin(async move {
                assert!(input != json!("panic"), "told to");
                Ok(input)
            })
        }),
    );
    let bad = host.create(json!("panic")).await;
    let good = host.create(json!("fine")).await;
    assert_eq!(host.settled(bad).await.state, "paused");
    assert_eq!(host.settled(good).await.state, "succeeded");
}

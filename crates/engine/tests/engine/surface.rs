//! What a durable function can ask for beside steps: the first of several branches, times, versions,
//! and to start again.

use std::sync::Arc;
use std::time::Duration;

use matrix_core::{Clock, Timestamp};
use matrix_engine::runs::{self, RunCancel};
use matrix_engine::{NewChild, Run, RunError, Step, StepError};
use serde_json::{Value, json};

use super::host::{Body, Host, Place, World, add, body, may, until, with};

#[tokio::test]
async fn the_winner_of_a_race_stays_the_winner_and_the_losers_children_end() {
    let place = Place::new();
    let world = Arc::new(World::default());
    let functions = || {
        let racer = with(&world, |run, world, _| {
            Box::pin(async move {
                let lanes = ["quick", "slow"].map(|key| (key.to_owned(), key));
                let race = run.any("race", lanes.into(), |branch, lane| {
                    let world = Arc::clone(&world);
                    async move {
                        let child = NewChild::new("lane", lane, json!(lane));
                        let got: Value = branch.call("run", child).await?;
                        let step = Step::read("after").input(&got);
                        branch.step(step, |_| async { Ok(add(&world)) }).await
                    }
                });
                let won = Box::pin(race).await?;
                run.signal::<Value>("go").await?;
                Ok(json!(won))
            })
        });
        let lane = body(|run, input| async move {
            if input == json!("slow") {
                run.signal::<Value>("never").await?;
            }
            Ok(input)
        });
        vec![("test", racer), ("lane", lane)]
    };
    let host = place.host_of("a", &functions());
    let run = host.create(json!({})).await;
    until("the loser is cancelled", || {
        host.all().iter().any(|row| row.state == "cancelled")
    })
    .await;
    until("the run waits", || host.view(run).state == "waiting").await;
    host.die().await;
    let host = place.host_of("b", &functions());
    host.signal(run, "go", json!({})).await;
    host.reaches(run, "succeeded").await;
    assert_eq!(host.result(run), json!(["quick", 1]));
    assert_eq!((world.effects(), host.all().len()), (1, 3));
    assert_eq!(host.replayed(run).await, "same");
}

/// What a loser did is not what the next race of this name finds where its winner looks.
#[tokio::test]
async fn two_races_of_one_name_do_not_take_each_others_steps_after_a_crash() {
    let place = Place::new();
    let world = Arc::new(World::default());
    let functions = || {
        let racer = with(&world, |run, world, _| {
            Box::pin(async move {
                let mut won = Vec::new();
                for waits in ["worker", "waiter"] {
                    let lanes = ["waiter", "worker"].map(|key| (key.to_owned(), key));
                    let race = run.any("race", lanes.into(), |branch, lane| {
                        let world = Arc::clone(&world);
                        async move {
                            if lane == "waiter" {
                                let name = if waits == "worker" { "go" } else { "never" };
                                branch.signal::<Value>(name).await?;
                                return Ok(0);
                            }
                            let work =
                                branch.step(Step::read("work"), |_| async { Ok(add(&world)) });
                            let done = work.await?;
                            if waits == "worker" {
                                branch.signal::<Value>("never").await?;
                            }
                            Ok(done)
                        }
                    });
                    won.push(race.await?);
                }
                run.signal::<Value>("end").await?;
                Ok(json!(won))
            })
        });
        vec![("test", racer)]
    };
    let host = place.host_of("a", &functions());
    let run = host.create(json!({})).await;
    until("the worker waits", || {
        host.view(run).state == "waiting" && host.view(run).steps.len() == 1
    })
    .await;
    host.signal(run, "go", json!({})).await;
    until("the second race is over", || {
        host.view(run).state == "waiting" && host.view(run).steps.len() == 4
    })
    .await;
    host.die().await;
    let host = place.host_of("b", &functions());
    host.signal(run, "end", json!({})).await;
    host.reaches(run, "succeeded").await;
    assert_eq!(host.result(run), json!([["waiter", 0], ["worker", 2]]));
    assert_eq!(world.effects(), 2);
    assert_eq!(host.replayed(run).await, "same");
}

#[tokio::test]
async fn a_quorum_forgives_as_many_errors_as_it_can_and_no_more() {
    let place = Place::new();
    let voter = body(|run, input| async move {
        let needed = input
            .as_u64()
            .and_then(|n| usize::try_from(n).ok())
            .unwrap_or(0);
        let items = (0..3).map(|n| (format!("v{n}"), n)).collect();
        let votes = run
            .quorum("vote", needed, items, |branch, n: u32| async move {
                let step = Step::read("vote").input(&n);
                let work = |_| async move {
                    if n == 1 {
                        return Err(StepError::permanent("no", "it does not vote"));
                    }
                    Ok(n)
                };
                branch.step(step, work).await
            })
            .await?;
        Ok(json!(votes))
    });
    let host = place.host_of("a", &[("test", voter)]);
    let two = host.create(json!(2)).await;
    host.reaches(two, "succeeded").await;
    assert_eq!(host.result(two), json!([["v0", 0], ["v2", 2]]));
    for impossible in [3, 4, 0] {
        let run = host.create(json!(impossible)).await;
        host.reaches(run, "failed").await;
    }
}

#[tokio::test]
async fn times_and_chance_are_found_again() {
    let place = Place::new();
    let function = || {
        body(|run, _| async move {
            let (now, random) = (run.now().await?, run.random().await?);
            run.signal::<Value>("go").await?;
            let later = run.now().await?;
            Ok(json!([now, random, later]))
        })
    };
    let host = place.host("a", &function());
    let run = host.create(json!({})).await;
    until("it waits", || host.view(run).state == "waiting").await;
    let before = host.payload(run, "now#1");
    host.die().await;
    place.clock.advance(Duration::from_secs(90));
    let host = place.host("b", &function());
    host.signal(run, "go", json!({})).await;
    host.reaches(run, "succeeded").await;
    let result = host.result(run);
    assert_eq!(result[0], before);
    let micros = |value: &Value| value.as_i64().unwrap();
    assert_eq!(micros(&result[2]) - micros(&result[0]), 90_000_000);
    assert_eq!(result[1], host.payload(run, "random#1"));
}

#[tokio::test]
async fn a_run_sleeps_until_a_time_and_not_at_all_when_it_is_past() {
    let place = Place::new();
    let function = body(|run, input| async move {
        let due = Timestamp::from_micros(input.as_i64().unwrap_or_default());
        run.sleep_until("nap", due).await?;
        Ok(json!("up"))
    });
    let host = place.host("a", &function);
    let run = host.create(json!(0)).await;
    host.reaches(run, "succeeded").await;
    let due = place.clock.now().plus(Duration::from_mins(10));
    let run = host.create(json!(due)).await;
    until("it sleeps", || host.view(run).state == "waiting").await;
    place.clock.advance(Duration::from_secs(601));
    host.look_again(run).await;
    host.reaches(run, "succeeded").await;
}

#[tokio::test]
async fn a_run_that_was_further_than_a_change_of_its_function_keeps_the_old_way() {
    let place = Place::new();
    let old = body(|run, _| async move {
        run.step(Step::read("one"), |_| async { Ok(1) }).await?;
        run.signal::<Value>("go").await?;
        run.step(Step::read("two"), |_| async { Ok(7) }).await?;
        Ok(json!("old"))
    });
    let host = place.host("a", &old);
    let early = host.create(json!({})).await;
    until("it waits", || host.view(early).state == "waiting").await;
    host.die().await;
    // The change stands before the step that the early run has done.
    let new = || {
        body(|run, _| async move {
            let way = run.version("faster", 2).await?;
            run.step(Step::read("one"), |_| async { Ok(1) }).await?;
            run.signal::<Value>("go").await?;
            Ok(json!(way))
        })
    };
    let host = place.host("b", &new());
    let late = host.create(json!({})).await;
    until("the late one waits", || host.view(late).state == "waiting").await;
    host.signal(early, "go", json!({})).await;
    host.reaches(early, "succeeded").await;
    assert_eq!(host.result(early), json!(0));
    host.die().await;
    let host = place.host("c", &new());
    host.signal(late, "go", json!({})).await;
    host.reaches(late, "succeeded").await;
    assert_eq!(host.result(late), json!(2));
    assert_eq!(host.replayed(late).await, "same");
}

#[tokio::test]
async fn a_run_that_starts_again_has_its_new_input_and_its_signals_and_nothing_else() {
    let place = Place::new();
    let world = Arc::new(World::default());
    let counter = || {
        with(&world, |run, world, input| {
            Box::pin(async move {
                let at = input.as_u64().unwrap_or(0);
                run.step(Step::read("work").input(&at), |_| async { Ok(add(&world)) })
                    .await?;
                let by: u64 = run.signal("by").await?;
                if by == 0 {
                    return Ok(json!(at));
                }
                Err::<Value, RunError>(run.continue_as_new(json!(at + by)))
            })
        })
    };
    let host = place.host("a", &counter());
    let run = host.create(json!(0)).await;
    for by in [3, 4] {
        host.signal(run, "by", json!(by)).await;
    }
    until("it went on twice", || world.effects() == 3).await;
    until("it waits", || host.view(run).state == "waiting").await;
    let steps = host.view(run).steps;
    assert_eq!(steps.len(), 1, "{steps:?}");
    assert_eq!(host.replayed(run).await, "so_far");
    host.die().await;
    let host = place.host("b", &counter());
    for by in [5, 0] {
        host.signal(run, "by", json!(by)).await;
    }
    host.reaches(run, "succeeded").await;
    assert_eq!(host.result(run), json!(12));
    assert_eq!(world.effects(), 4);
    host.verify(run);
    assert_eq!(host.replayed(run).await, "same");
}

#[tokio::test]
async fn what_was_done_is_taken_back_in_reverse_once_when_the_run_is_cancelled() {
    let place = Place::new();
    let world = Arc::new(World::default());
    let saga = || {
        with(&world, |run, world, input| {
            Box::pin(async move {
                let saga = run.saga();
                let undone = |name: &'static str| {
                    let world = Arc::clone(&world);
                    move |_, given: u32| {
                        let world = Arc::clone(&world);
                        async move {
                            world.note(&format!("{name} {given}"));
                            if world.notes().len() == 1 {
                                // The first one is interrupted, and done again with its key.
                                world.reached.notify_one();
                                world.open.notified().await;
                            }
                            Ok(())
                        }
                    }
                };
                let body = async {
                    for name in ["room", "seat"] {
                        let step = Step::external(name);
                        saga.step(step, |_| async { Ok(add(&world)) }, undone(name))
                            .await?;
                    }
                    if input == json!("fails") {
                        return Err(StepError::permanent("full", "the train is full").into());
                    }
                    run.signal::<Value>("go").await
                };
                let outcome = body.await;
                saga.settle(outcome).await
            })
        })
    };
    let host = place.host("a", &saga());
    let run = host.create(json!({})).await;
    host.reaches(run, "waiting").await;
    let cancel = RunCancel {
        run,
        submitter: "user:ada".into(),
        reason: "enough".into(),
    };
    runs::cancel(&host.engine, &may(cancel)).await.unwrap();
    world.reached.notified().await;
    host.die().await;
    let host = place.host("b", &saga());
    host.reaches(run, "cancelled").await;
    assert_eq!(world.notes(), ["seat 2", "seat 2", "room 1"]);
    assert_eq!(host.replayed(run).await, "same");
    let failed = host.create(json!("fails")).await;
    host.reaches(failed, "failed").await;
    assert_eq!(world.notes()[3..], ["seat 4", "room 3"]);
}

/// Hears what came, three times, with a step and a wait between.
fn listens() -> Body {
    body(|run: Run, _| async move {
        let mut heard = Vec::new();
        for _ in 0..3 {
            heard.push(run.heard::<Value>("word").await?);
            run.step(Step::read("turn"), |_| async { Ok(1_u32) })
                .await?;
            run.signal::<Value>("go").await?;
        }
        Ok(json!(heard))
    })
}

#[tokio::test]
async fn what_was_heard_without_waiting_is_heard_again_in_the_same_place() {
    let place = Place::new();
    let host = place.host("a", &listens());
    let run = host.create(json!(null)).await;
    host.reaches(run, "waiting").await;
    for word in ["one", "two"] {
        host.signal(run, "word", json!(word)).await;
    }
    host.signal(run, "go", json!({})).await;
    let turn = |host: &Host, number: &str| {
        let path = format!("turn#{number}");
        host.view(run).steps.iter().any(|step| step.path == path)
    };
    until("the second turn is done", || turn(&host, "2")).await;
    host.reaches(run, "waiting").await;
    // Another owner hears it again, and in the same place.
    host.die().await;
    let host = place.host("b", &listens());
    host.signal(run, "word", json!("three")).await;
    host.signal(run, "go", json!({})).await;
    until("the third turn is done", || turn(&host, "3")).await;
    host.signal(run, "go", json!({})).await;
    host.reaches(run, "succeeded").await;
    assert_eq!(host.result(run), json!([[], ["one", "two"], ["three"]]));
    host.verify(run);
    assert_eq!(host.replayed(run).await, "same");
}

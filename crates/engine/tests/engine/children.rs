//! Runs that start runs: exactly one each, whatever happens to their hosts, and ended with what
//! started them.

use std::sync::Arc;

use matrix_engine::runs::{self, RunCancel, RunRetry};
use matrix_engine::{NewChild, RunError, Step, StepError};
use serde_json::{Value, json};

use super::host::{Body, Place, World, add, body, may, until, with};

fn child(input: Value) -> NewChild {
    NewChild::new("child", "a child", input)
}

/// A parent that calls one child and one that fails, and the functions of both.
fn family(world: &Arc<World>) -> Vec<(&'static str, Body)> {
    let parent = body(|run, _| async move {
        let sum: u32 = run.call("sum", child(json!([1, 2]))).await?;
        let failed = run.call::<Value>("bad", child(json!("bad"))).await;
        let Err(RunError::Failed(error)) = failed else {
            return Err(StepError::permanent("test", "the child did not fail").into());
        };
        Ok(json!([sum, error.code]))
    });
    let child = with(world, |run, world, input| {
        Box::pin(async move {
            if input == json!("bad") {
                return Err(StepError::permanent("broken", "it is broken").into());
            }
            world.reached.notify_one();
            let numbers: Vec<u32> = serde_json::from_value(input).unwrap_or_default();
            let sum = run
                .step(Step::read("add").input(&numbers), |_| async {
                    world.open.notified().await;
                    add(&world);
                    Ok(numbers.iter().sum::<u32>())
                })
                .await?;
            Ok(json!(sum))
        })
    });
    vec![("test", parent), ("child", child)]
}

#[tokio::test]
async fn a_parent_is_given_what_its_children_give_even_when_its_host_dies_while_they_work() {
    let place = Place::new();
    let world = Arc::new(World::default());
    let host = place.host_of("a", &family(&world));
    let run = host.create(json!({})).await;
    world.reached.notified().await;
    until("the parent waits", || host.view(run).state == "waiting").await;
    let waiting = host.view(run).waiting.unwrap();
    assert_eq!(waiting["for"], "child");
    host.die().await;
    let host = place.host_of("b", &family(&world));
    world.open.notify_one();
    host.reaches(run, "succeeded").await;
    assert_eq!(host.result(run), json!([3, "broken"]));
    assert_eq!(world.effects(), 1);
    assert_eq!(host.all().len(), 3, "a child was started twice");
    let traces: Vec<_> = host.all().into_iter().map(|row| row.trace).collect();
    assert!(
        traces.windows(2).all(|pair| pair[0] == pair[1]),
        "{traces:?}"
    );
    for row in host.all() {
        host.verify(row.run);
    }
}

#[tokio::test]
async fn what_a_cancelled_run_started_ends_with_it_but_for_the_detached() {
    let place = Place::new();
    let world = Arc::new(World::default());
    let functions = || {
        let parent = body(|run, _| async move {
            let bound = run.spawn("bound", child(json!(1))).await?;
            run.spawn("free", child(json!(2)).detached()).await?;
            bound.result::<Value>().await
        });
        let child = body(|run, _| async move { run.signal::<Value>("go").await });
        vec![("test", parent), ("child", child)]
    };
    let host = place.host_of("a", &functions());
    let run = host.create(json!({})).await;
    until("both children wait", || {
        let rows = host.all();
        rows.len() == 3 && rows.iter().all(|row| row.state == "waiting")
    })
    .await;
    let cancel = RunCancel {
        run,
        submitter: "user:ada".into(),
        reason: "enough".into(),
    };
    runs::cancel(&host.engine, &may(cancel)).await.unwrap();
    host.reaches(run, "cancelled").await;
    let state = |input: i64| {
        let rows = host.all();
        let of = |row: &matrix_store::tables::runs::RunRow| host.input(row.run) == json!(input);
        rows.into_iter().find(|row| of(row)).unwrap().state
    };
    until("the bound child is cancelled", || state(1) == "cancelled").await;
    assert_eq!(state(2), "waiting");
    world.open.notify_one();
}

#[tokio::test]
async fn a_reset_cancels_the_children_that_it_takes_back_and_does_not_hear_them() {
    let place = Place::new();
    let functions = || {
        let parent = body(|run, _| async move {
            run.step(Step::read("before"), |_| async { Ok(()) }).await?;
            run.call::<Value>("c", child(json!({}))).await
        });
        let child = body(|run, _| async move { run.signal::<Value>("go").await });
        vec![("test", parent), ("child", child)]
    };
    let host = place.host_of("a", &functions());
    let run = host.create(json!({})).await;
    until("the child waits", || {
        host.all()
            .iter()
            .filter(|row| row.state == "waiting")
            .count()
            == 2
    })
    .await;
    let children = || host.all().into_iter().filter(|row| row.kind == "child");
    let first = children().next().unwrap().run;
    let retry = RunRetry {
        run,
        submitter: "user:ada".into(),
        step: Some("before#1".into()),
    };
    runs::retry(&host.engine, &may(retry)).await.unwrap();
    until("there is another child", || host.all().len() == 3).await;
    until("the first child is cancelled", || {
        host.row(first).state == "cancelled"
    })
    .await;
    let second = children().find(|row| row.run != first).unwrap().run;
    until("the second child waits", || {
        host.row(second).state == "waiting"
    })
    .await;
    host.signal(second, "go", json!("heard")).await;
    host.reaches(run, "succeeded").await;
    assert_eq!(host.result(run), json!("heard"));
}

#[tokio::test]
async fn a_run_of_a_kind_that_nobody_has_and_one_too_deep_are_errors_of_the_parent() {
    let place = Place::new();
    let unknown = body(|run, _| async move {
        run.call::<Value>("c", NewChild::new("unheard", "x", json!({})))
            .await
    });
    let host = place.host_of("a", &[("test", unknown)]);
    let run = host.create(json!({})).await;
    host.reaches(run, "failed").await;
    host.die().await;
    let endless = body(|run, _| async move {
        run.call::<Value>("c", NewChild::new("test", "x", json!({})))
            .await
    });
    let place = Place::new();
    let host = place.host_of("a", &[("test", endless)]);
    let run = host.create(json!({})).await;
    host.reaches(run, "failed").await;
    assert_eq!(host.all().len(), 33);
}

/// A branch that is dropped may have started a run that nobody heard of any more.
#[tokio::test]
async fn what_a_dropped_branch_was_about_to_start_ends_with_its_run_but_for_the_detached() {
    let place = Place::new();
    let parent = body(|run, _| async move {
        // Polled in this order: both starts are under way when the error ends them.
        let branches = ["bound", "free", "fails"].map(|key| (key.to_owned(), key));
        let branches = run.join("b", 3, branches.into(), |branch, key| async move {
            match key {
                "bound" => branch.spawn("run", child(json!(1))).await.map(drop),
                "free" => branch
                    .spawn("run", child(json!(2)).detached())
                    .await
                    .map(drop),
                _ => Err(StepError::permanent("test", "one is enough").into()),
            }
        });
        branches.await.map(|_| json!(null))
    });
    let waits = body(|run, _| async move { run.signal::<Value>("go").await });
    let host = place.host_of("a", &[("test", parent), ("child", waits)]);
    let run = host.create(json!({})).await;
    host.reaches(run, "failed").await;
    let state = |input: i64| {
        let rows = host.all();
        let of = |row: &&matrix_store::tables::runs::RunRow| {
            row.run != run && host.input(row.run) == json!(input)
        };
        rows.iter().find(of).map(|row| row.state.clone())
    };
    until("the bound one is cancelled", || {
        state(1).as_deref() == Some("cancelled")
    })
    .await;
    until("the free one waits", || {
        state(2).as_deref() == Some("waiting")
    })
    .await;
    host.verify(run);
}

//! Steps that workers outside do: who is heard, what a lost worker means, and what is taken back.

use std::time::Duration;

use matrix_core::RunId;
use matrix_engine::runs::{self, RunRetry};
use matrix_engine::tasks::{
    self, Beat, LeaseRequest, Leased, Received, Reception, Report, Standing, TaskRead, TaskView,
    TaskWork,
};
use matrix_engine::{DurableFunction, Engine, EntryKind, Task, TaskFunction};
use serde_json::{Value, json};

use super::host::{Host, Place, ada, body, may, until};

async fn lease(engine: &Engine, max: usize) -> Vec<Leased> {
    let request = LeaseRequest {
        worker: "w".into(),
        queues: vec!["default".into()],
        names: Vec::new(),
        max,
        wait: Duration::from_secs(20),
    };
    let leased = tasks::lease(engine, &may(TaskWork), &request).await;
    let leased = leased.unwrap();
    assert!(!leased.is_empty(), "nothing is offered");
    leased
}

async fn beat(engine: &Engine, leased: &Leased) -> Standing {
    let beats = vec![Beat {
        task: leased.task,
        lease: leased.lease.clone(),
        progress: None,
    }];
    let standings = tasks::heartbeat(engine, &may(TaskWork), beats).await;
    standings.unwrap()[0].state
}

async fn done(engine: &Engine, leased: &Leased, value: Value) -> Reception {
    let received = vec![Received {
        task: leased.task,
        lease: leased.lease.clone(),
        report: Report::Done(value),
    }];
    let receptions = tasks::report(engine, &may(TaskWork), received).await;
    receptions.unwrap()[0]
}

fn open(engine: &Engine, run: RunId) -> Vec<TaskView> {
    tasks::list(engine.database(), &may(TaskRead { run })).unwrap()
}

/// Lets the heartbeat of a task stand still until somebody judges it.
async fn goes_silent(place: &Place, host: &Host, run: RunId, leased: &Leased) {
    until("the lease is lost", || {
        // Long enough for a lease in a few of the watcher's rounds, however slow they are.
        place.clock.advance(Duration::from_millis(20));
        let open = open(&host.engine, run);
        let held = |task: &TaskView| task.task == leased.task && task.state == "leased";
        !open.iter().any(held)
    })
    .await;
}

#[tokio::test]
async fn branches_wait_side_by_side_and_their_results_keep_their_order() {
    let place = Place::new();
    let function = body(|run, _| async move {
        let items = vec![
            ("a".to_owned(), 1),
            ("b".to_owned(), 2),
            ("c".to_owned(), 3),
        ];
        let work = |branch: matrix_engine::Run, number: u32| async move {
            let task = Task::read("double").input(&json!({ "number": number }));
            branch.remote::<u32>(task).await
        };
        let all = run.join("all", 3, items, work).await?;
        Ok(json!(all))
    });
    let host = place.host("one", &function);
    let run = host.create(json!({})).await;
    until("all are offered", || open(&host.engine, run).len() == 3).await;
    let mut leased = lease(&host.engine, 9).await;
    assert_eq!(leased.len(), 3);
    leased.reverse();
    for task in &leased {
        let number = task.offer["input"]["number"].as_u64().unwrap();
        let reception = done(&host.engine, task, json!(2 * number)).await;
        assert_eq!(reception, Reception::Accepted);
    }
    assert_eq!(host.settled(run).await.state, "succeeded");
    assert_eq!(host.result(run), json!([2, 4, 6]));
    let replay = host.replay(run, &function).await;
    assert!(matches!(replay.verdict, runs::ReplayVerdict::Same { .. }));
    host.stop().await;
}

#[tokio::test]
async fn what_costs_money_is_sent_a_bounded_number_of_times() {
    let place = Place::new();
    let function = body(|run, _| async move { run.remote(Task::metered("ask")).await });
    let host = place.host("one", &function);
    let run = host.create(json!({})).await;
    let mut keys = Vec::new();
    for send in 1..=3 {
        let leased = lease(&host.engine, 1).await.remove(0);
        assert_eq!(leased.offer["attempt"], send);
        keys.push(leased.offer["key"].clone());
        goes_silent(&place, &host, run, &leased).await;
        assert_eq!(done(&host.engine, &leased, json!(1)).await, Reception::Lost);
    }
    host.reaches(run, "paused").await;
    assert!(host.why(run).contains("costs money each time"));
    assert!(
        keys.windows(2).all(|pair| pair[0] == pair[1]),
        "one effect, one key"
    );
    let entries = host.engine.journal().read(run, -1).unwrap();
    let begun = entries
        .iter()
        .filter(|entry| entry.kind == EntryKind::StepBegun);
    assert_eq!(begun.count(), 3, "each sending is journaled");
    assert!(open(&host.engine, run).is_empty());
    host.stop().await;
}

#[tokio::test]
async fn a_step_done_again_from_an_earlier_one_takes_its_offers_back() {
    let place = Place::new();
    let function = body(|run, _| async move {
        let first: Value = run.remote(Task::read("first")).await?;
        run.remote(Task::read("second").input(&first)).await
    });
    let host = place.host("one", &function);
    let run = host.create(json!({})).await;
    let first = lease(&host.engine, 1).await.remove(0);
    done(&host.engine, &first, json!(1)).await;
    let second = lease(&host.engine, 1).await.remove(0);
    assert_eq!(beat(&host.engine, &second).await, Standing::Held);
    let again = RunRetry {
        run,
        submitter: String::new(),
        step: Some("first#1".into()),
    };
    runs::retry(&host.engine, &may(again)).await.unwrap();
    let first = lease(&host.engine, 9).await;
    assert_eq!(first.len(), 1);
    assert_eq!(first[0].offer["step"], "first#1");
    assert_eq!(beat(&host.engine, &second).await, Standing::Lost);
    assert_eq!(
        done(&host.engine, &second, json!("late")).await,
        Reception::Lost
    );
    done(&host.engine, &first[0], json!(2)).await;
    let second = lease(&host.engine, 1).await.remove(0);
    assert_eq!(second.offer["input"], 2);
    done(&host.engine, &second, json!("end")).await;
    assert_eq!(host.settled(run).await.state, "succeeded");
    assert_eq!(host.result(run), json!("end"));
    host.stop().await;
}

#[tokio::test]
async fn a_worker_may_speak_to_another_server_than_the_one_that_drives_the_run() {
    let place = Place::new();
    let journal = place.journal();
    let engine = |name: &str, concurrency| {
        let options = matrix_engine::EngineOptions {
            concurrency,
            ..Place::options(name)
        };
        let functions: Vec<std::sync::Arc<dyn DurableFunction>> =
            vec![std::sync::Arc::new(TaskFunction)];
        let engine = Engine::beside_others(journal.clone(), functions, options);
        let working = engine.clone();
        let task = tokio::spawn(async move { working.work().await });
        (engine, task)
    };
    let (driver, driving) = engine("driver", 4);
    let (other, idle) = engine("other", 0);
    let new = matrix_engine::NewRun {
        kind: tasks::KIND.into(),
        title: "a test".into(),
        input: json!({ "steps": [{ "name": "a", "effect": "external" }] }),
        caller: ada(),
        placing: matrix_engine::queue::Placing::default(),
    };
    let run = driver.create_run(new).await.unwrap();
    let leased = lease(&other, 1).await.remove(0);
    assert_eq!(beat(&other, &leased).await, Standing::Held);
    assert_eq!(done(&other, &leased, json!("x")).await, Reception::Accepted);
    // Durable at that moment, wherever the run's owner is.
    assert_ne!(done(&driver, &leased, json!("y")).await, Reception::Lost);
    let row = tokio::time::timeout(Duration::from_secs(20), driver.settled(run));
    assert_eq!(row.await.unwrap().unwrap().state, "succeeded");
    assert_eq!(done(&driver, &leased, json!("y")).await, Reception::Already);
    let entries = journal.read(run, -1).unwrap();
    assert_eq!(entries.last().unwrap().payload, Some(json!({ "a": "x" })));
    driver.drain();
    other.drain();
    driving.await.unwrap();
    idle.await.unwrap();
}

//! Which of the workers outside that wait gets a step.

use std::time::Duration;

use matrix_core::RunId;
use matrix_engine::tasks::{self, LeaseRequest, Leased, Received, Report, TaskWork};
use matrix_engine::{Engine, EngineOptions, Scheduling, Task, WorkerChoice};
use serde_json::{Value, json};

use super::host::{Body, Host, Place, body, may};

/// A worker that is to get nothing waits so long.
const SHORT: Duration = Duration::from_millis(400);
const LONG: Duration = Duration::from_secs(20);

async fn lease(engine: &Engine, worker: &str, max: usize, wait: Duration) -> Vec<Leased> {
    let request = LeaseRequest {
        worker: worker.into(),
        queues: vec!["default".into()],
        names: Vec::new(),
        max,
        wait,
    };
    let leased = tasks::lease(engine, &may(TaskWork), &request).await;
    leased.unwrap()
}

async fn done(engine: &Engine, leased: &Leased) {
    let received = vec![Received {
        task: leased.task,
        lease: leased.lease.clone(),
        report: Report::Done(json!(1)),
    }];
    tasks::report(engine, &may(TaskWork), received)
        .await
        .unwrap();
}

/// Two steps, one after the other.
fn two_steps() -> Body {
    body(|run, _| async move {
        let one: Value = run.remote(Task::read("one")).await?;
        let two: Value = run.remote(Task::read("two")).await?;
        Ok(json!([one, two]))
    })
}

fn host(place: &Place, workers: WorkerChoice) -> Host {
    let options = EngineOptions {
        scheduling: Scheduling {
            workers,
            ..Scheduling::default()
        },
        ..Place::options("host")
    };
    place.host_with(options, &two_steps())
}

async fn create(host: &Host) -> RunId {
    host.create(json!({})).await
}

#[tokio::test]
async fn who_has_least_gets_the_next_step_though_another_asked_first() {
    let place = Place::new();
    let host = host(&place, WorkerChoice::LeastLoaded);
    let engine = &host.engine;
    let (first, _) = tokio::join!(lease(engine, "busy", 1, LONG), create(&host));
    assert_eq!(first.len(), 1);
    let (busy, idle, _) = tokio::join!(
        lease(engine, "busy", 1, SHORT),
        lease(engine, "idle", 1, LONG),
        create(&host)
    );
    assert_eq!((busy.len(), idle.len()), (0, 1));
    host.stop().await;
}

#[tokio::test]
async fn with_affinity_the_worker_of_the_last_step_gets_the_next() {
    let place = Place::new();
    let host = host(&place, WorkerChoice::Affinity);
    let engine = &host.engine;
    let (first, _) = tokio::join!(lease(engine, "knows", 1, LONG), create(&host));
    let (other, knows, ()) = tokio::join!(
        lease(engine, "other", 1, SHORT),
        lease(engine, "knows", 1, LONG),
        done(engine, &first[0])
    );
    assert_eq!((other.len(), knows.len()), (0, 1));
    host.stop().await;
}

#[tokio::test]
async fn turns_go_round() {
    let place = Place::new();
    let host = host(&place, WorkerChoice::RoundRobin);
    let engine = &host.engine;
    let (first, _) = tokio::join!(lease(engine, "a", 1, LONG), create(&host));
    done(engine, &first[0]).await;
    let second = lease(engine, "b", 1, LONG).await;
    done(engine, &second[0]).await;
    // `b` was served last, and has nothing to do, as `a` has.
    let (b, a, _) = tokio::join!(
        lease(engine, "b", 1, SHORT),
        lease(engine, "a", 1, LONG),
        create(&host)
    );
    assert_eq!((b.len(), a.len()), (0, 1));
    host.stop().await;
}

#[tokio::test]
async fn what_is_left_to_a_worker_that_has_gone_is_given_to_another() {
    let place = Place::new();
    let host = host(&place, WorkerChoice::LeastLoaded);
    let engine = &host.engine;
    let (first, _) = tokio::join!(lease(engine, "busy", 1, LONG), create(&host));
    assert_eq!(first.len(), 1);
    // It waits without being polled, as one whose connection hangs.
    let mut gone = Box::pin(lease(engine, "gone", 1, LONG));
    assert!(futures::poll!(gone.as_mut()).is_pending());
    let (busy, _) = tokio::join!(lease(engine, "busy", 1, LONG), create(&host));
    assert_eq!(busy.len(), 1);
    drop(gone);
    host.stop().await;
}

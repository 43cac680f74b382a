//! What people say to runs: answers, signals, cancel and pause.

use std::sync::Arc;

use futures::future::BoxFuture;
use matrix_engine::runs::{
    self, Answer, ApprovalApprove, ApprovalReject, RunCancel, RunPause, RunResume, RunSignal,
};
use matrix_engine::{Run, RunError};
use matrix_store::StoreError;
use matrix_store::tables::approvals;
use serde_json::{Value, json};

use super::host::{Place, World, may, two_steps, with};

fn asks(run: Run, _: Arc<World>, _: Value) -> BoxFuture<'static, Result<Value, RunError>> {
    Box::pin(async move {
        let subject = json!({ "diff": "abc" });
        let first = run.approval("gate", &subject).await?;
        let second = run.approval("gate", &subject).await?;
        Ok(json!([
            first.verdict,
            second.verdict,
            run.decisions("gate", &subject)?.len()
        ]))
    })
}

#[tokio::test]
async fn an_approval_waits_through_restarts_and_takes_each_answer_once() {
    let place = Place::new();
    let world = Arc::new(World::default());
    let host = place.host("a", &with(&world, asks));
    let run = host.create(json!({})).await;
    assert_eq!(host.settled(run).await.state, "waiting");
    host.die().await;
    let host = place.host("b", &with(&world, asks));
    let open = host
        .engine
        .database()
        .read_now::<_, StoreError, _>(|tx| approvals::of_run(tx, run))
        .unwrap();
    assert_eq!(open.len(), 1);
    let answer = || Answer {
        approval: open[0].approval,
        reason: "looked at it".into(),
        self_approval: false,
    };
    runs::decide(&host.engine, &may(ApprovalApprove(answer())))
        .await
        .unwrap();
    runs::decide(&host.engine, &may(ApprovalReject(answer())))
        .await
        .unwrap();
    let mut state = host.settled(run).await.state;
    while state == "waiting" {
        state = host.settled(run).await.state;
        tokio::task::yield_now().await;
    }
    assert_eq!(state, "succeeded");
    assert_eq!(host.result(run), json!(["approve", "reject", 2]));
    let late = runs::decide(&host.engine, &may(ApprovalApprove(answer()))).await;
    assert!(late.is_err(), "an answer to a closed question was accepted");
}

#[tokio::test]
async fn signals_that_come_early_are_found_and_cancel_ends_a_waiting_run() {
    let place = Place::new();
    let world = Arc::new(World::default());
    let host = place.host(
        "a",
        &with(&world, |run, _, _| {
            Box::pin(async move {
                let one: u32 = run.signal("go").await?;
                let two: u32 = run.signal("go").await?;
                Ok(json!(one + two))
            })
        }),
    );
    let run = host.create(json!({})).await;
    for value in [20, 22] {
        let signal = RunSignal {
            run,
            submitter: String::new(),
            name: "go".into(),
            value: json!(value),
        };
        runs::signal(&host.engine, &may(signal)).await.unwrap();
    }
    let mut view = host.settled(run).await;
    while view.state == "waiting" {
        view = host.settled(run).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(host.result(run), json!(42));
    let run = host.create(json!({})).await;
    assert_eq!(host.settled(run).await.state, "waiting");
    let cancel = RunCancel {
        run,
        submitter: String::new(),
        reason: "changed my mind".into(),
    };
    runs::cancel(&host.engine, &may(cancel.clone()))
        .await
        .unwrap();
    let mut view = host.settled(run).await;
    while view.state == "waiting" {
        view = host.settled(run).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(view.state, "cancelled");
    assert_eq!(host.result(run), json!({ "reason": "changed my mind" }));
    assert!(runs::cancel(&host.engine, &may(cancel)).await.is_err());
}

#[tokio::test]
async fn a_paused_run_rests_until_it_is_resumed() {
    let place = Place::new();
    let world = Arc::new(World::default());
    let host = place.host("a", &with(&world, two_steps));
    let run = host.create(json!({})).await;
    world.reached.notified().await;
    let pause = RunPause {
        run,
        submitter: String::new(),
        reason: "wait".into(),
    };
    runs::pause(&host.engine, &may(pause)).await.unwrap();
    world.open.notify_one();
    // The step in flight is finished first; the function then returns without another boundary.
    let state = host.settled(run).await.state;
    assert!(state == "succeeded" || state == "paused", "{state}");
    if state == "paused" {
        let resume = RunResume {
            run,
            submitter: String::new(),
            reason: String::new(),
        };
        runs::resume(&host.engine, &may(resume)).await.unwrap();
        while host.view(run).state != "succeeded" {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(world.effects(), 2);
}

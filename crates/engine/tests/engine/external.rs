//! Steps that change the world: never twice without somebody knowing.

use std::sync::Arc;

use futures::future::BoxFuture;
use matrix_core::RunId;
use matrix_engine::runs::{self, RunRetry};
use matrix_engine::{Run, RunError, Step};
use serde_json::{Value, json};

use super::host::{Host, Place, World, add, may, with};

fn external(
    run: Run,
    world: Arc<World>,
    probed: Value,
) -> BoxFuture<'static, Result<Value, RunError>> {
    Box::pin(async move {
        let mut step = Step::external("pay");
        if let Some(found) = probed.get("found").cloned() {
            step = step.probe(move |_| {
                let found = serde_json::from_value::<Option<u32>>(found.clone()).unwrap();
                Box::pin(async move { Ok(found) })
            });
        }
        let paid: u32 = run
            .step(step, |_| async {
                let paid = add(&world);
                world.reached.notify_one();
                world.open.notified().await;
                Ok(paid)
            })
            .await?;
        Ok(json!(paid))
    })
}

async fn interrupted_payment(input: Value) -> (Place, Arc<World>, Host, RunId) {
    let place = Place::new();
    let world = Arc::new(World::default());
    let host = place.host("a", &with(&world, external));
    let run = host.create(input).await;
    world.reached.notified().await;
    host.die().await;
    let host = place.host("b", &with(&world, external));
    (place, world, host, run)
}

#[tokio::test]
async fn an_interrupted_payment_that_happened_is_not_made_again() {
    let (_place, world, host, run) = interrupted_payment(json!({ "found": 7 })).await;
    assert_eq!(host.settled(run).await.state, "succeeded");
    assert_eq!((host.result(run), world.effects()), (json!(7), 1));
}

#[tokio::test]
async fn an_interrupted_payment_that_did_not_happen_is_made() {
    let (_place, world, host, run) = interrupted_payment(json!({ "found": null })).await;
    world.open.notify_one();
    assert_eq!(host.settled(run).await.state, "succeeded");
    assert_eq!(world.effects(), 2);
}

#[tokio::test]
async fn an_interrupted_payment_nobody_can_probe_waits_for_a_person_who_may_repeat_it() {
    let (_place, world, host, run) = interrupted_payment(json!({})).await;
    let view = host.settled(run).await;
    assert_eq!(view.state, "paused");
    assert!(view.waiting.unwrap().to_string().contains("nobody but you"));
    assert_eq!(world.effects(), 1);
    runs::retry(
        &host.engine,
        &may(RunRetry {
            run,
            submitter: String::new(),
            step: None,
        }),
    )
    .await
    .unwrap();
    world.reached.notified().await;
    world.open.notify_one();
    assert_eq!(host.settled(run).await.state, "succeeded");
}

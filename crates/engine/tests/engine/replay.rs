//! A run's function over its journal again: the same end, and nothing done or written.

use std::sync::Arc;
use std::time::Duration;

use matrix_core::Digest;
use matrix_engine::runs::{self, ReplayVerdict, RunRead};
use matrix_engine::{RunError, Step, StepError};
use matrix_store::sql::Statement;
use matrix_store::{StoreError, params};
use serde_json::json;

use super::host::{Body, Place, World, add, may, two_steps, with};

/// Every kind of thing a function may ask for.
fn all_kinds(world: &Arc<World>) -> Body {
    with(world, |run, world, _| {
        Box::pin(async move {
            let first: u32 = run
                .step(Step::read("first"), |_| async { Ok(add(&world)) })
                .await?;
            run.sleep("rest", Duration::from_millis(1)).await?;
            let items = vec![("a".to_owned(), 1_u32), ("b".to_owned(), 2)];
            let parts = run
                .join("parts", 2, items, |branch, number| {
                    let world = &world;
                    async move {
                        let step = Step::external("part").input(&number);
                        let done = branch.step(step, |_| async {
                            add(world);
                            Ok(number)
                        });
                        done.await
                    }
                })
                .await?;
            let word: String = run.signal("word").await?;
            Ok(json!([first, parts, word]))
        })
    })
}

#[tokio::test]
async fn a_run_is_replayed_to_where_it_waits_and_to_its_end() {
    let place = Place::new();
    let world = Arc::new(World::default());
    let body = all_kinds(&world);
    let host = place.host("a", &body);
    let run = host.create(json!({})).await;
    host.reaches(run, "waiting").await;

    let effects = world.effects();
    let before = host.row(run);
    let replay = host.replay(run, &body).await;
    assert_eq!(replay.answered, 3, "{replay:?}");
    let next = "signal word".to_owned();
    assert_eq!(replay.verdict, ReplayVerdict::SoFar { next });
    assert_eq!(host.row(run), before, "a replay touched the run");

    let signal = may(runs::RunSignal {
        run,
        submitter: "user:ada".into(),
        name: "word".into(),
        value: json!("go"),
    });
    runs::signal(&host.engine, &signal).await.unwrap();
    host.reaches(run, "succeeded").await;
    let before = host.row(run);
    let replay = host.replay(run, &body).await;
    let result = Digest::of(r#"[1,[1,2],"go"]"#);
    assert_eq!(replay.verdict, ReplayVerdict::Same { result });
    assert_eq!((replay.answered, replay.unasked.len()), (3, 0));
    assert_eq!(replay.entries, u64::try_from(before.head_seq + 1).unwrap());
    assert_eq!(host.row(run), before, "a replay touched the run");
    assert_eq!(world.effects(), effects, "a replay did something");
}

#[tokio::test]
async fn a_function_that_was_changed_is_found_out() {
    let place = Place::new();
    let world = Arc::new(World::default());
    world.open.notify_one();
    let host = place.host("a", &with(&world, two_steps));
    let run = host.create(json!({})).await;
    assert_eq!(host.settled(run).await.state, "succeeded");

    let other_result = with(&world, |run, world, input| {
        Box::pin(async move {
            let result = two_steps(run, world, input).await?;
            Ok(json!([result, "and more"]))
        })
    });
    let other_input = with(&world, |run, _, _| {
        Box::pin(async move {
            let step = Step::read("first").input(&"something else");
            let number: u32 = run.step(step, |_| async { Ok(7) }).await?;
            Ok(json!(number))
        })
    });
    let another_step = with(&world, |run, world, input| {
        Box::pin(async move {
            two_steps(run.clone(), world, input).await?;
            let step = Step::read("third");
            let number: u32 = run.step(step, |_| async { Ok(3) }).await?;
            Ok(json!(number))
        })
    });
    let fails = with(&world, |_, _, _| {
        Box::pin(async move { Err(RunError::from(StepError::permanent("no", "not today"))) })
    });
    for (body, expected) in [
        (other_result, "a result (sha256 "),
        (other_input, "differs from the journal"),
        (another_step, "it asks for `third#1`"),
        (fails, "an error (sha256 "),
    ] {
        let replay = host.replay(run, &body).await;
        let ReplayVerdict::Differs { now, .. } = &replay.verdict else {
            unreachable!("{expected}: {replay:?}");
        };
        assert!(now.contains(expected), "{expected}: {replay:?}");
    }
    let nothing = with(&world, |_, _, _| Box::pin(async { Ok(json!([1, 2])) }));
    let replay = host.replay(run, &nothing).await;
    assert!(matches!(replay.verdict, ReplayVerdict::Same { .. }));
    assert_eq!(replay.unasked, ["first#1", "second#1"]);
    assert_eq!(world.effects(), 2, "a replay did something");
}

#[tokio::test]
async fn a_journal_that_was_changed_and_a_function_that_is_missing_are_refused() {
    let place = Place::new();
    let world = Arc::new(World::default());
    world.open.notify_one();
    let body = with(&world, two_steps);
    let host = place.host("a", &body);
    let run = host.create(json!({})).await;
    assert_eq!(host.settled(run).await.state, "succeeded");
    let request = || may(RunRead { run });
    let missing = runs::replay(host.engine.journal(), &request(), |_, _| None).await;
    let missing = missing.unwrap_err().to_string();
    assert!(missing.contains("version 1 of `test`"), "{missing}");

    let touch = Statement::new("test.path", "UPDATE journal SET path = 'x' WHERE seq = 1");
    let database = host.engine.database();
    let touched = database.write::<_, StoreError, _>(move |tx| tx.execute(&touch, params![]));
    touched.await.unwrap();
    let touched = host.try_replay(run, &body).await.unwrap_err().to_string();
    assert!(touched.contains("broken at entry 1"), "{touched}");
}

//! Forks: the first entries are shared, not copied, and from there on each run is its own.

use std::sync::Arc;

use matrix_core::RunId;
use matrix_engine::error::RequestError;
use matrix_engine::runs::{self, RunFork, RunRetry};
use matrix_engine::{Engine, Step, StepError};
use serde_json::{Value, json};

use super::host::{Body, Host, Place, World, add, body, may, until, with};

fn fork(run: RunId, step: Option<&str>) -> RunFork {
    RunFork {
        run,
        submitter: "user:ada".into(),
        step: step.map(str::to_owned),
        input: None,
        version: None,
        title: None,
    }
}

async fn try_fork(engine: &Engine, asked: RunFork) -> Result<RunId, RequestError> {
    runs::fork(engine, &may(asked), Box::new(|_, _| Ok(()))).await
}

async fn forked(host: &Host, asked: RunFork) -> RunId {
    try_fork(&host.engine, asked).await.unwrap()
}

/// Three steps; the second makes files, and the fourth is a question.
fn three(world: &Arc<World>) -> Body {
    with(world, |run, world, input| {
        Box::pin(async move {
            let mut given = Vec::new();
            for (name, step) in [
                ("one", Step::read("one")),
                ("files", Step::workspace("files")),
                ("three", Step::read("three")),
            ] {
                let step = step.input(&(name, &input));
                given.push(run.step(step, |_| async { Ok(add(&world)) }).await?);
            }
            let heard: Value = run.signal("go").await?;
            Ok(json!([given, heard, input]))
        })
    })
}

#[tokio::test]
async fn a_fork_does_only_what_comes_from_its_step_on_and_what_made_files() {
    let place = Place::new();
    let world = Arc::new(World::default());
    let host = place.host("a", &three(&world));
    let run = host.create(json!("x")).await;
    host.reaches(run, "waiting").await;
    host.signal(run, "go", json!("parent")).await;
    host.reaches(run, "succeeded").await;
    assert_eq!(host.result(run), json!([[1, 2, 3], "parent", "x"]));
    let entries = host.engine.journal().read(run, -1).unwrap().len();
    let other = forked(&host, fork(run, Some("three#1"))).await;
    host.reaches(other, "waiting").await;
    assert_eq!(host.view(other).steps.len(), 3);
    host.signal(other, "go", json!("fork")).await;
    host.reaches(other, "succeeded").await;
    assert_eq!(host.result(other), json!([[1, 4, 5], "fork", "x"]));
    let own = host.engine.journal().read(other, -1).unwrap();
    let shared = own[0].seq;
    assert_eq!(own.len(), 6, "the prefix was copied: {own:?}");
    assert!(shared > 1, "nothing is shared");
    assert_eq!(host.engine.journal().read(run, -1).unwrap().len(), entries);
    for run in [run, other] {
        host.verify(run);
        assert_eq!(host.replayed(run).await, "same");
    }
    // At its end, a fork shares what its parent heard.
    let last = forked(&host, fork(run, None)).await;
    host.reaches(last, "succeeded").await;
    assert_eq!(host.result(last), json!([[1, 6, 3], "parent", "x"]));
}

#[tokio::test]
async fn a_fork_shares_files_that_a_result_carries() {
    let place = Place::new();
    let world = Arc::new(World::default());
    let function = with(&world, |run, world, _| {
        Box::pin(async move {
            let files = Step::workspace("files").carries_files();
            let files: u32 = run.step(files, |_| async { Ok(add(&world)) }).await?;
            let last = Step::read("last");
            let last: u32 = run.step(last, |_| async { Ok(add(&world)) }).await?;
            Ok(json!([files, last]))
        })
    });
    let host = place.host("a", &function);
    let run = host.create(json!("x")).await;
    host.reaches(run, "succeeded").await;
    assert_eq!(host.result(run), json!([1, 2]));
    let other = forked(&host, fork(run, Some("last#1"))).await;
    host.reaches(other, "succeeded").await;
    assert_eq!(host.result(other), json!([1, 3]));
    assert_eq!(host.replayed(other).await, "same");
}

#[tokio::test]
async fn a_fork_of_a_fork_that_is_retried_and_dies_reads_every_stretch() {
    let place = Place::new();
    let world = Arc::new(World::default());
    let host = place.host("a", &three(&world));
    let run = host.create(json!("x")).await;
    host.reaches(run, "waiting").await;
    let second = forked(&host, fork(run, Some("three#1"))).await;
    host.reaches(second, "waiting").await;
    let third = forked(&host, fork(second, Some("three#1"))).await;
    host.reaches(third, "waiting").await;
    assert_eq!(world.effects(), 3 + 2 + 2);
    let retry = RunRetry {
        run: third,
        submitter: "user:ada".into(),
        step: Some("one#1".into()),
    };
    runs::retry(&host.engine, &may(retry)).await.unwrap();
    until("all three are done again", || world.effects() == 10).await;
    host.reaches(third, "waiting").await;
    host.die().await;
    let host = place.host("b", &three(&world));
    for (run, word) in [(third, "c"), (second, "b"), (run, "a")] {
        host.signal(run, "go", json!(word)).await;
        host.reaches(run, "succeeded").await;
        host.verify(run);
        assert_eq!(host.replayed(run).await, "same");
    }
    assert_eq!(world.effects(), 10);
    assert_eq!(host.result(third), json!([[8, 9, 10], "c", "x"]));
    assert_eq!(host.result(run), json!([[1, 2, 3], "a", "x"]));
    // The parent's own entry is what a fork of a fork is bound to, where it shares no more.
    let first = forked(&host, fork(third, Some("one#1"))).await;
    host.reaches(first, "waiting").await;
    assert_eq!(world.effects(), 13);
    host.verify(first);
}

#[tokio::test]
async fn another_input_is_for_functions_that_take_it_and_a_step_of_another_input_is_not_shared() {
    let place = Place::new();
    let world = Arc::new(World::default());
    let host = place.host("a", &three(&world));
    let run = host.create(json!("x")).await;
    host.reaches(run, "waiting").await;
    let with_input = |run, step, input| RunFork {
        input: Some(input),
        ..fork(run, step)
    };
    let refused = try_fork(&host.engine, with_input(run, None, json!("y"))).await;
    assert!(matches!(refused, Err(RequestError::FixedInput { .. })));
    host.die().await;
    let host = place.host_that_takes("b", "test", &three(&world));
    let same = forked(&host, with_input(run, Some("three#1"), json!("x"))).await;
    host.reaches(same, "waiting").await;
    // The first step is shared and was done with the other input.
    let other = forked(&host, with_input(run, Some("three#1"), json!("y"))).await;
    host.reaches(other, "paused").await;
    assert!(host.why(other).contains("one#1"), "{}", host.why(other));
    let whole = forked(&host, with_input(run, Some("one#1"), json!("y"))).await;
    host.reaches(whole, "waiting").await;
    host.signal(whole, "go", json!(1)).await;
    host.reaches(whole, "succeeded").await;
    assert_eq!(host.result(whole)[2], json!("y"));
}

#[tokio::test]
async fn nothing_that_is_not_there_is_forked() {
    let place = Place::new();
    let world = Arc::new(World::default());
    let host = place.host("a", &three(&world));
    let run = host.create(json!("x")).await;
    host.reaches(run, "waiting").await;
    let ask = |asked: RunFork| {
        let engine = host.engine.clone();
        async move { try_fork(&engine, asked).await.unwrap_err() }
    };
    let nobody = ask(fork(RunId::from_bytes([9; 16]), None)).await;
    assert!(matches!(nobody, RequestError::NotFound(_)));
    let step = ask(fork(run, Some("nine#1"))).await;
    assert!(matches!(step, RequestError::NoStep { .. }));
    let version = ask(RunFork {
        version: Some("99".into()),
        ..fork(run, None)
    })
    .await;
    assert!(matches!(version, RequestError::NoFunction { .. }));
}

#[tokio::test]
async fn a_run_that_started_again_is_forked_from_there_and_its_file_opens() {
    let place = Place::new();
    let twice = body(|run, input| async move {
        let step = Step::read("work").input(&input);
        run.step(step, |_| async { Ok(0) }).await?;
        if input == json!(1) {
            return Err(run.continue_as_new(json!(2)));
        }
        let failed: Result<(), _> = Err(StepError::permanent("end", "it ends here"));
        Ok(failed.map(|()| Value::Null)?)
    });
    let host = place.host("a", &twice);
    let run = host.create(json!(1)).await;
    host.reaches(run, "failed").await;
    let other = forked(&host, fork(run, Some("work#1"))).await;
    host.reaches(other, "failed").await;
    assert_eq!(host.view(other).steps.len(), 1);
    host.verify(other);
    let mut file = Vec::new();
    let request = may(matrix_engine::runs::RunRead { run: other });
    let (database, blobs) = (host.engine.database(), host.engine.blobs());
    matrix_engine::runfile::export(database, blobs, &request, |_| Vec::new(), &mut file).unwrap();
    let opened = matrix_engine::runfile::open(file.as_slice()).unwrap();
    assert_eq!(opened.view.state, "failed");
    assert_eq!(opened.entries.len(), 3);
}

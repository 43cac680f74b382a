//! Runs through their public doors: one process dies, the next goes on.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use matrix_core::system::{SystemClock, SystemEntropy};
use matrix_core::{
    Action, Authorised, Authorizer, Caller, Denied, Digest, Principal, PrincipalKind, RunId, Scope,
};
use matrix_engine::runs::{
    Answer, ApprovalApprove, ApprovalReject, RunCancel, RunPause, RunRead, RunResume, RunRetry,
    RunSignal, RunView,
};
use matrix_engine::{
    DurableFunction, Engine, EngineOptions, Journal, NewRun, OnFullDisk, RetryPolicy, Run,
    RunError, Step, StepError, journal, runs,
};
use matrix_store::tables::approvals;
use matrix_store::{Blobs, Database, OpenMode, StoreError};
use serde_json::{Value, json};
use tokio::sync::Notify;

struct Anyone;

impl Authorizer for Anyone {
    fn decide(&self, _: &Caller, _: &'static str, _: &Value) -> Result<(), Denied> {
        Ok(())
    }
}

fn ada() -> Caller {
    Caller {
        principal: Principal {
            kind: PrincipalKind::User,
            name: "ada".into(),
        },
        scope: Scope::local(),
        on_behalf_of: Vec::new(),
    }
}

fn may<A: Action>(action: A) -> Authorised<A> {
    Authorised::obtain(&Anyone, ada(), action).unwrap()
}

/// What the functions under test did to the world.
#[derive(Default)]
struct World {
    effects: AtomicU32,
    reached: Notify,
    open: Notify,
}

impl World {
    fn effects(&self) -> u32 {
        self.effects.load(Ordering::SeqCst)
    }
}

type Body =
    fn(Run, Arc<World>, Value) -> futures::future::BoxFuture<'static, Result<Value, RunError>>;

struct Function {
    version: &'static str,
    world: Arc<World>,
    body: Body,
}

#[async_trait]
impl DurableFunction for Function {
    fn kind(&self) -> &'static str {
        "test"
    }
    fn version(&self) -> &'static str {
        self.version
    }
    async fn execute(&self, run: Run, input: Value) -> Result<Value, RunError> {
        (self.body)(run, Arc::clone(&self.world), input).await
    }
}

struct Host {
    engine: Engine,
    task: tokio::task::JoinHandle<()>,
}

impl Host {
    fn start(directory: &Path, worker: &str, world: &Arc<World>, body: Body) -> Self {
        Self::start_version(directory, worker, world, body, "1")
    }

    fn start_version(
        directory: &Path,
        worker: &str,
        world: &Arc<World>,
        body: Body,
        version: &'static str,
    ) -> Self {
        let database = Database::open(&directory.join("db"), OpenMode::Host).unwrap();
        let blobs = Blobs::open(directory.join("blobs")).unwrap();
        let journal = Journal::new(
            database,
            blobs,
            Arc::new(SystemClock::start()),
            Arc::new(SystemEntropy),
        );
        let function = Function {
            version,
            world: Arc::clone(world),
            body,
        };
        let options = EngineOptions {
            worker: worker.into(),
            concurrency: 16,
            lease: Duration::from_secs(15),
            on_full_disk: OnFullDisk::Stop,
        };
        let engine = Engine::new(journal, vec![Arc::new(function)], options);
        let working = engine.clone();
        Self {
            engine,
            task: tokio::spawn(async move { working.work().await }),
        }
    }

    /// Dies without a word: everything in memory is gone, the data directory stays as it is.
    async fn die(self) {
        self.task.abort();
        drop(self.task.await);
    }

    async fn create(&self, input: Value) -> RunId {
        let new = NewRun {
            kind: "test".into(),
            title: "a test".into(),
            input,
            caller: ada(),
        };
        self.engine.create_run(new).await.unwrap()
    }

    async fn settled(&self, run: RunId) -> RunView {
        let settled = self.engine.settled(run);
        tokio::time::timeout(Duration::from_secs(20), settled)
            .await
            .unwrap()
            .unwrap();
        self.show(run)
    }

    fn show(&self, run: RunId) -> RunView {
        runs::show(
            self.engine.database(),
            self.engine.blobs(),
            &may(RunRead { run }),
        )
        .unwrap()
    }

    fn result(&self, run: RunId) -> Value {
        let entries = self.engine.journal().read(run, -1).unwrap();
        entries.last().unwrap().payload.clone().unwrap()
    }
}

fn add(world: &Arc<World>) -> u32 {
    world.effects.fetch_add(1, Ordering::SeqCst) + 1
}

fn two_steps(
    run: Run,
    world: Arc<World>,
    input: Value,
) -> futures::future::BoxFuture<'static, Result<Value, RunError>> {
    Box::pin(async move {
        let first: u32 = run
            .step(Step::read("first").input(&input), |_| async {
                Ok(add(&world))
            })
            .await?;
        let second: u32 = run
            .step(Step::read("second").input(&first), |_| async {
                world.reached.notify_one();
                world.open.notified().await;
                Ok(add(&world))
            })
            .await?;
        Ok(json!([first, second]))
    })
}

#[tokio::test]
async fn a_recorded_step_is_not_done_again_after_its_host_died() {
    let directory = tempfile::tempdir().unwrap();
    let world = Arc::new(World::default());
    let host = Host::start(directory.path(), "a", &world, two_steps);
    let run = host.create(json!({})).await;
    world.reached.notified().await;
    host.die().await;
    let host = Host::start(directory.path(), "b", &world, two_steps);
    world.open.notify_one();
    assert_eq!(host.settled(run).await.state, "succeeded");
    assert_eq!(host.result(run), json!([1, 2]));
    assert_eq!(world.effects(), 2);
    let check = journal::verify(host.engine.database(), host.engine.blobs(), run).unwrap();
    assert_eq!((check.entries, check.erased), (4, 0));
}

#[tokio::test]
async fn a_drained_host_lets_go_at_a_step_boundary_and_the_next_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let world = Arc::new(World::default());
    let host = Host::start(directory.path(), "a", &world, |run, world, _| {
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
    });
    let run = host.create(json!({})).await;
    world.reached.notified().await;
    host.engine.drain();
    world.open.notify_one();
    host.engine.stopped().await;
    assert_eq!(host.show(run).state, "ready");
    assert_eq!(
        world.effects(),
        1,
        "a step was cut off or a new one was begun"
    );
    host.die().await;
}

fn external(
    run: Run,
    world: Arc<World>,
    probed: Value,
) -> futures::future::BoxFuture<'static, Result<Value, RunError>> {
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

async fn interrupted_payment(input: Value) -> (tempfile::TempDir, Arc<World>, Host, RunId) {
    let directory = tempfile::tempdir().unwrap();
    let world = Arc::new(World::default());
    let host = Host::start(directory.path(), "a", &world, external);
    let run = host.create(input).await;
    world.reached.notified().await;
    host.die().await;
    let host = Host::start(directory.path(), "b", &world, external);
    (directory, world, host, run)
}

#[tokio::test]
async fn an_interrupted_payment_that_happened_is_not_made_again() {
    let (_directory, world, host, run) = interrupted_payment(json!({ "found": 7 })).await;
    assert_eq!(host.settled(run).await.state, "succeeded");
    assert_eq!((host.result(run), world.effects()), (json!(7), 1));
}

#[tokio::test]
async fn an_interrupted_payment_that_did_not_happen_is_made() {
    let (_directory, world, host, run) = interrupted_payment(json!({ "found": null })).await;
    world.open.notify_one();
    assert_eq!(host.settled(run).await.state, "succeeded");
    assert_eq!(world.effects(), 2);
}

#[tokio::test]
async fn an_interrupted_payment_nobody_can_probe_waits_for_a_person_who_may_repeat_it() {
    let (_directory, world, host, run) = interrupted_payment(json!({})).await;
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

#[tokio::test]
async fn a_step_that_keeps_failing_rests_for_a_person_and_a_permanent_error_is_the_result() {
    let directory = tempfile::tempdir().unwrap();
    let world = Arc::new(World::default());
    let host = Host::start(directory.path(), "a", &world, |run, world, input| {
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
    });
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

fn asks(
    run: Run,
    _: Arc<World>,
    _: Value,
) -> futures::future::BoxFuture<'static, Result<Value, RunError>> {
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
    let directory = tempfile::tempdir().unwrap();
    let world = Arc::new(World::default());
    let host = Host::start(directory.path(), "a", &world, asks);
    let run = host.create(json!({})).await;
    assert_eq!(host.settled(run).await.state, "waiting");
    host.die().await;
    let host = Host::start(directory.path(), "b", &world, asks);
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
    let directory = tempfile::tempdir().unwrap();
    let world = Arc::new(World::default());
    let host = Host::start(directory.path(), "a", &world, |run, _, _| {
        Box::pin(async move {
            let one: u32 = run.signal("go").await?;
            let two: u32 = run.signal("go").await?;
            Ok(json!(one + two))
        })
    });
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
    let directory = tempfile::tempdir().unwrap();
    let world = Arc::new(World::default());
    let host = Host::start(directory.path(), "a", &world, two_steps);
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
        while host.show(run).state != "succeeded" {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(world.effects(), 2);
}

#[tokio::test]
async fn a_function_that_changed_under_its_run_rests_with_the_difference() {
    let directory = tempfile::tempdir().unwrap();
    let world = Arc::new(World::default());
    let host = Host::start(directory.path(), "a", &world, two_steps);
    let run = host.create(json!({})).await;
    world.reached.notified().await;
    host.die().await;
    let host = Host::start(directory.path(), "b", &world, |run, _, _| {
        Box::pin(async move {
            run.step::<u32, _, _>(Step::read("first").input(&"other"), |_| async { Ok(1) })
                .await?;
            Ok(Value::Null)
        })
    });
    let view = host.settled(run).await;
    assert_eq!(view.state, "paused");
    assert!(
        view.waiting
            .unwrap()
            .to_string()
            .contains("differs from the journal")
    );
    host.die().await;
    let host = Host::start_version(directory.path(), "c", &world, two_steps, "2");
    let resume = RunResume {
        run,
        submitter: String::new(),
        reason: String::new(),
    };
    runs::resume(&host.engine, &may(resume)).await.unwrap();
    while !host
        .show(run)
        .waiting
        .is_some_and(|w| w.to_string().contains("needs version 1"))
    {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn sleep_and_branches_are_recorded() {
    let directory = tempfile::tempdir().unwrap();
    let world = Arc::new(World::default());
    let host = Host::start(directory.path(), "a", &world, |run, world, _| {
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
    });
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
async fn a_slow_owner_that_lost_its_run_cannot_write() {
    let directory = tempfile::tempdir().unwrap();
    let world = Arc::new(World::default());
    let slow = Host::start(directory.path(), "slow", &world, two_steps);
    let run = slow.create(json!({})).await;
    world.reached.notified().await;
    let quick_world = Arc::new(World::default());
    let quick = Host::start(directory.path(), "quick", &quick_world, two_steps);
    quick_world.reached.notified().await;
    world.open.notify_one();
    quick_world.open.notify_one();
    assert_eq!(quick.settled(run).await.state, "succeeded");
    // The first step's recorded result is 1; the slow owner's second result was refused.
    assert_eq!(quick.result(run), json!([1, 1]));
    let entries = quick.engine.journal().read(run, -1).unwrap();
    assert_eq!(entries.len(), 4, "the slow owner wrote too");
}

#[tokio::test]
async fn anyone_can_recompute_the_chain_with_a_stock_sha256_also_after_an_erasure() {
    let directory = tempfile::tempdir().unwrap();
    let world = Arc::new(World::default());
    let host = Host::start(directory.path(), "a", &world, two_steps);
    let run = host.create(json!({ "big": "x".repeat(100_000) })).await;
    world.open.notify_one();
    assert_eq!(host.settled(run).await.state, "succeeded");
    let recompute = || {
        let scope = r#"{"organisation":"local","workspace":"default"}"#;
        let mut hash = sha256(format!("matrix-journal-v1{run}{scope}").as_bytes());
        for entry in host.engine.journal().read(run, -1).unwrap() {
            let canonical = format!(
                concat!(
                    r#"{{"actor":"{}","epoch":{},"fingerprint":"{}","format":1,"kind":"{}","#,
                    r#""path":"{}","payload_digest":"{}","run":"{}","seq":{},"time":{}}}"#
                ),
                entry.actor,
                entry.epoch,
                entry.fingerprint,
                entry.kind.as_str(),
                entry.path,
                entry.payload_digest,
                entry.run,
                entry.seq,
                entry.at.as_micros()
            );
            hash = sha256(&[&hash[..], canonical.as_bytes()].concat());
            assert_eq!(Digest::from_bytes(hash), entry.hash, "entry {}", entry.seq);
        }
    };
    recompute();
    assert!(
        journal::erase(host.engine.database(), run, 0)
            .await
            .unwrap()
    );
    assert!(
        host.engine.journal().read(run, -1).unwrap()[0]
            .payload
            .is_none()
    );
    recompute();
    let check = journal::verify(host.engine.database(), host.engine.blobs(), run).unwrap();
    assert_eq!(check.erased, 1);
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    use sha2::Digest as _;
    sha2::Sha256::digest(bytes).into()
}

#[tokio::test]
async fn a_panic_in_a_function_rests_its_run_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let world = Arc::new(World::default());
    let host = Host::start(directory.path(), "a", &world, |_, _, input| {
        Box::pin(async move {
            assert!(input != json!("panic"), "told to");
            Ok(input)
        })
    });
    let bad = host.create(json!("panic")).await;
    let good = host.create(json!("fine")).await;
    assert_eq!(host.settled(bad).await.state, "paused");
    assert_eq!(host.settled(good).await.state, "succeeded");
}

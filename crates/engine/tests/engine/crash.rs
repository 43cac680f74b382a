//! A host dies at any moment, again and again; what it was asked to do happens as if it had not.
//!
//! The function under test uses everything a function can use. The world outside is slow (it gives
//! way to others in the middle of each effect) and counts what is done to it. A dead host is
//! sometimes only mute: it goes on beside its successor, as a partitioned machine would.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::BoxFuture;
use matrix_core::RunId;
use matrix_engine::runs::{self, Answer, ApprovalApprove, RunSignal};
use matrix_engine::{Entry, EntryKind, Run, RunError, Step, StepContext, StepError, journal};
use matrix_store::StoreError;
use matrix_store::tables::approvals;
use serde_json::{Value, json};

use super::host::{Body, Host, Place, Rng, body, may};

/// How the function under test deals with its payments. Only the first way is right; the others
/// are here to show that this test notices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Right,
    /// Without a step.
    Bare,
    /// As if paying changed nothing.
    AsRead,
    /// With a probe that finds nothing.
    BlindProbe,
    /// Told to the outside before it is recorded: the next step depends on memory.
    FromMemory,
}

#[derive(Default)]
struct Books {
    /// The newest owner that was heard of; older ones are refused.
    epoch: i64,
    payments: HashMap<String, u32>,
    /// Each owner has a work tree of its own.
    trees: HashMap<i64, Vec<u32>>,
    memory: u32,
}

struct Outside {
    books: Mutex<Books>,
    rng: Mutex<Rng>,
}

impl Outside {
    async fn slowly(&self) {
        let turns = self.rng.lock().unwrap().below(12);
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
    }

    async fn copy(&self, owner: i64, squares: &[u32]) -> Vec<u32> {
        self.books.lock().unwrap().trees.insert(owner, Vec::new());
        for square in squares {
            self.slowly().await;
            let mut books = self.books.lock().unwrap();
            books.trees.entry(owner).or_default().push(*square);
        }
        self.books.lock().unwrap().trees[&owner].clone()
    }

    async fn pay(&self, what: &str, context: Option<&StepContext>) -> Result<String, StepError> {
        self.slowly().await;
        {
            let mut books = self.books.lock().unwrap();
            let epoch = context.map_or(books.epoch, |context| context.epoch);
            if epoch < books.epoch {
                return Err(StepError::permanent("fenced", "an older owner"));
            }
            books.epoch = epoch;
            *books.payments.entry(what.to_owned()).or_default() += 1;
        }
        self.slowly().await;
        Ok(format!("receipt for {what}"))
    }

    async fn paid(&self, what: &str, context: &StepContext) -> Option<String> {
        self.slowly().await;
        let mut books = self.books.lock().unwrap();
        books.epoch = books.epoch.max(context.epoch);
        let paid = books.payments.contains_key(what);
        paid.then(|| format!("receipt for {what}"))
    }
}

async fn payment(
    run: &Run,
    outside: &Arc<Outside>,
    way: Way,
    what: &'static str,
) -> Result<String, RunError> {
    let step = match way {
        Way::Bare => return Ok(outside.pay(what, None).await?),
        Way::AsRead => Step::read(what),
        Way::BlindProbe => Step::external(what).probe(|_| Box::pin(async { Ok(None::<String>) })),
        Way::Right | Way::FromMemory => {
            let asked = Arc::clone(outside);
            Step::external(what).probe(move |context| {
                let asked = Arc::clone(&asked);
                Box::pin(async move { Ok(asked.paid(what, &context).await) })
            })
        }
    };
    run.step(step, |context| async move {
        outside.pay(what, Some(&context)).await
    })
    .await
}

async fn everything(run: Run, outside: Arc<Outside>, way: Way) -> Result<Value, RunError> {
    let items = (0..4_u32).map(|n| (format!("b{n}"), n)).collect();
    let squares: Vec<u32> = run
        .join("fan", 2, items, |branch, n| {
            let outside = Arc::clone(&outside);
            async move {
                let square = branch.step(Step::read("square").input(&n), |_| async {
                    outside.slowly().await;
                    Ok(n * n)
                });
                square.await
            }
        })
        .await?;
    let files: Vec<u32> = run
        .step(Step::workspace("files").input(&squares), |context| {
            let (outside, squares) = (&outside, &squares);
            async move { Ok(outside.copy(context.epoch, squares).await) }
        })
        .await?;
    let first = payment(&run, &outside, way, "order").await?;
    if way == Way::FromMemory {
        let memory = {
            let mut books = outside.books.lock().unwrap();
            books.memory += 1;
            books.memory
        };
        run.step(Step::read("seen").input(&memory), |_| async { Ok(()) })
            .await?;
    }
    // A timer, a signal and work side by side: the run is parked only when nothing is in flight.
    let mixed = ["nap", "signal", "work"].map(|name| (name.to_owned(), name));
    let mixed: Vec<u32> = run
        .join("mixed", 3, mixed.to_vec(), |branch, name| {
            let outside = Arc::clone(&outside);
            let part: BoxFuture<'static, Result<u32, RunError>> = Box::pin(async move {
                match name {
                    "nap" => {
                        branch.sleep("nap", Duration::from_mins(1)).await?;
                        branch.step(Step::read("after"), |_| async { Ok(1) }).await
                    }
                    "signal" => branch.signal("go").await,
                    _ => {
                        let work = branch.step(Step::read("work"), |_| async {
                            outside.slowly().await;
                            Ok(3)
                        });
                        work.await
                    }
                }
            });
            part
        })
        .await?;
    let decision = run.approval("gate", &json!({ "files": files })).await?;
    let second = payment(&run, &outside, way, "delivery").await?;
    Ok(json!([
        squares,
        files,
        first,
        mixed,
        decision.verdict,
        second
    ]))
}

fn expected() -> Value {
    json!([
        [0, 1, 4, 9],
        [0, 1, 4, 9],
        "receipt for order",
        [1, 2, 3],
        "approve",
        "receipt for delivery"
    ])
}

/// What the world outside has still to say to the run.
struct Inputs {
    signal: bool,
    approval: bool,
}

impl Inputs {
    async fn deliver(&mut self, rng: &mut Rng, place: &Place, host: &Host, run: RunId) {
        let engine = &host.engine;
        match rng.below(8) {
            0 if self.signal => {
                let (name, value) = ("go".into(), json!(2));
                let request = may(RunSignal {
                    run,
                    submitter: String::new(),
                    name,
                    value,
                });
                self.signal = runs::signal(engine, &request).await.is_err();
            }
            1 if self.approval => {
                let open = engine
                    .database()
                    .read_now::<_, StoreError, _>(|tx| approvals::of_run(tx, run));
                if let Some(row) = open.unwrap().first() {
                    let request = may(ApprovalApprove(Answer {
                        approval: row.approval,
                        reason: String::new(),
                        self_approval: false,
                    }));
                    self.approval = runs::decide(engine, &request).await.is_err();
                }
            }
            2 => {
                place.clock.advance(Duration::from_secs(25));
                engine.wake(run);
            }
            3 | 4 => {
                for _ in 0..rng.below(60) {
                    tokio::task::yield_now().await;
                }
            }
            _ => {
                let mut changes = engine.journal().subscribe();
                let pause = Duration::from_micros(rng.below(1_500));
                drop(tokio::time::timeout(pause, changes.changed()).await);
            }
        }
    }
}

/// One life of a run under a seed; says what went wrong.
async fn life(seed: u64, way: Way) -> Result<(), String> {
    let mut rng = Rng(seed);
    let outside = Arc::new(Outside {
        books: Mutex::default(),
        rng: Mutex::new(Rng(!seed)),
    });
    let seen = Arc::clone(&outside);
    let function: Body = body(move |run, _| everything(run, Arc::clone(&seen), way));
    let place = Place::new();
    let mut host = place.host("host-0", &function);
    let run = host.create(json!({})).await;
    let mut inputs = Inputs {
        signal: true,
        approval: true,
    };
    let mut mute: Option<Host> = None;
    // One more death would make the run one that kills its hosts.
    let deaths = rng.below(5);
    for death in 0..=deaths {
        let last = death == deaths;
        let turns = if last { 20_000 } else { rng.below(45) };
        for _ in 0..turns {
            let state = host.row(run).state;
            if matches!(&*state, "succeeded" | "failed" | "cancelled" | "paused") {
                break;
            }
            inputs.deliver(&mut rng, &place, &host, run).await;
        }
        if last {
            break;
        }
        if let Some(mute) = mute.take() {
            mute.die().await;
        }
        if rng.below(4) == 0 && death + 1 < deaths {
            mute = Some(host);
        } else {
            host.die().await;
        }
        host = place.host(&format!("host-{}", death + 1), &function);
    }
    let outcome = judge(&host, run, &outside);
    if let Some(mute) = mute {
        mute.die().await;
    }
    host.die().await;
    outcome
}

fn judge(host: &Host, run: RunId, outside: &Outside) -> Result<(), String> {
    let state = host.row(run).state;
    if state != "succeeded" {
        return Err(format!("the run is {state}: {}", host.why(run)));
    }
    if host.result(run) != expected() {
        return Err(format!("another result: {}", host.result(run)));
    }
    let books = outside.books.lock().unwrap();
    for what in ["order", "delivery"] {
        let times = books.payments.get(what).copied().unwrap_or(0);
        if times != 1 {
            return Err(format!("`{what}` was paid {times} times"));
        }
    }
    let entries = host.engine.journal().read(run, -1).unwrap();
    let copied = |entry: &&Entry| entry.kind == EntryKind::StepCompleted && entry.path == "files#1";
    let owner = entries.iter().find(copied).map(|entry| entry.epoch);
    let tree = owner.and_then(|owner| books.trees.get(&owner));
    if tree.is_none_or(|tree| tree != &[0, 1, 4, 9]) {
        return Err(format!("the recorded work tree holds {tree:?}"));
    }
    let once = [
        EntryKind::StepCompleted,
        EntryKind::TimerSet,
        EntryKind::TimerFired,
        EntryKind::ApprovalRequested,
        EntryKind::SignalReceived,
        EntryKind::RunCompleted,
    ];
    for kind in once {
        let mut paths: Vec<_> = entries
            .iter()
            .filter(|entry| entry.kind == kind)
            .map(|entry| &entry.path)
            .collect();
        let all = paths.len();
        paths.sort();
        paths.dedup();
        if paths.len() != all {
            return Err(format!("a second {} of one path", kind.as_str()));
        }
    }
    if !entries.is_sorted_by_key(|entry| entry.epoch) {
        return Err("an older owner wrote after a newer one".into());
    }
    journal::verify(host.engine.database(), host.engine.blobs(), run)
        .map(drop)
        .map_err(|error| error.to_string())
}

/// The first seed of a range under which something went wrong.
async fn first_failure(seeds: std::ops::Range<u64>, way: Way) -> Option<(u64, String)> {
    let seeds: Vec<_> = seeds.collect();
    for together in seeds.chunks(20) {
        let lives = together.iter().map(|seed| tokio::spawn(life(*seed, way)));
        let outcomes = futures::future::join_all(lives).await;
        for (seed, outcome) in together.iter().zip(outcomes) {
            if let Err(what) = outcome.unwrap() {
                return Some((*seed, what));
            }
        }
    }
    None
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_ends_the_same_wherever_its_hosts_die() {
    let failure = first_failure(0..200, Way::Right).await;
    assert_eq!(failure, None, "this seed and what went wrong");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn functions_that_break_the_rules_are_caught() {
    for way in [Way::Bare, Way::AsRead, Way::BlindProbe, Way::FromMemory] {
        let failure = first_failure(0..200, way).await;
        let (_, what) = failure.unwrap_or_else(|| panic!("{way:?} passed under every seed"));
        let wanted = if way == Way::FromMemory {
            "differs from the journal"
        } else {
            "was paid"
        };
        assert!(what.contains(wanted), "{way:?}: {what}");
    }
}

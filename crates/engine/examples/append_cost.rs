//! What a durable step costs: 1, 64 and 256 runs side by side, ten steps each, every step on disk
//! before the next begins.
//!
//! ```text
//! cargo run --release -p matrix-engine --example append_cost [DIRECTORY]
//! ```
//!
//! The directory (default: the system's temporary one) decides which disk is measured. A step's
//! time is from its beginning in the function to its recorded result, so with many runs it holds
//! the wait for the shared transaction.

#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a program that measures time and prints it"
)]

use std::error::Error;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use matrix_core::system::{SystemClock, SystemEntropy};
use matrix_core::{Caller, Principal, PrincipalKind, Scope};
use matrix_engine::{
    DurableFunction, Engine, EngineOptions, Journal, NewRun, OnFullDisk, Run, RunError, Step,
};
use matrix_store::{Blobs, Database, OpenMode};
use serde_json::{Value, json};

const STEPS: u32 = 10;

struct Steps {
    times: Arc<Mutex<Vec<Duration>>>,
}

#[async_trait]
impl DurableFunction for Steps {
    fn kind(&self) -> &'static str {
        "steps"
    }
    fn version(&self) -> &'static str {
        "1"
    }
    async fn execute(&self, run: Run, _: Value) -> Result<Value, RunError> {
        for number in 0..STEPS {
            let begun = Instant::now();
            run.step(
                Step::read("step").input(&number),
                |_| async move { Ok(number) },
            )
            .await?;
            let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
            times.push(begun.elapsed());
        }
        Ok(json!(STEPS))
    }
}

async fn measure(directory: &std::path::Path, runs: usize) -> Result<(), Box<dyn Error>> {
    let database = Database::open(&directory.join("db"), OpenMode::Host)?;
    let blobs = Blobs::open(directory.join("blobs"))?;
    let clock = Arc::new(SystemClock::start());
    let times = Arc::new(Mutex::new(Vec::new()));
    let function = Steps {
        times: Arc::clone(&times),
    };
    let options = EngineOptions {
        worker: "measure".into(),
        concurrency: runs,
        lease: Duration::from_secs(15),
        on_full_disk: OnFullDisk::Stop,
    };
    let journal = Journal::new(database, blobs, clock, Arc::new(SystemEntropy));
    let engine = Engine::new(journal, vec![Arc::new(function)], options);
    let new = || NewRun {
        kind: "steps".into(),
        title: "ten steps".into(),
        input: json!({}),
        caller: Caller {
            principal: Principal {
                kind: PrincipalKind::User,
                name: "measure".into(),
            },
            scope: Scope::local(),
            on_behalf_of: Vec::new(),
        },
    };
    let created =
        futures::future::try_join_all((0..runs).map(|_| engine.create_run(new()))).await?;
    let before = engine.database().commits();
    let begun = Instant::now();
    let working = engine.clone();
    let work = tokio::spawn(async move { working.work().await });
    for run in created {
        engine.settled(run).await?;
    }
    let took = begun.elapsed();
    let commits = engine.database().commits() - before;
    engine.drain();
    work.await?;
    let mut times = times.lock().unwrap_or_else(PoisonError::into_inner).clone();
    times.sort_unstable();
    let at = |percent: usize| {
        times
            .get(times.len() * percent / 100)
            .copied()
            .unwrap_or_default()
    };
    println!(
        "{runs:>4} runs: {:>7.0} steps/s   p50 {:>8.2?}   p99 {:>8.2?}   {:>6.1} steps per commit",
        f64::from(u32::try_from(times.len())?) / took.as_secs_f64(),
        at(50),
        at(99),
        f64::from(u32::try_from(times.len())?) / f64::from(u32::try_from(commits)?),
    );
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let place = std::env::args_os().nth(1).map(PathBuf::from);
    for runs in [1, 64, 256] {
        let directory = match &place {
            Some(place) => tempfile::tempdir_in(place)?,
            None => tempfile::tempdir()?,
        };
        measure(directory.path(), runs).await?;
    }
    Ok(())
}

//! What a durable step costs: runs side by side, every step on disk before the next begins.
//!
//! ```text
//! cargo run --release -p matrix-engine --example append_cost [DIRECTORY [RUNS STEPS]]
//! ```
//!
//! Without a number, 1, 64 and 256 runs are measured. The directory (default: the system's temporary
//! one) decides which disk is measured. A step's time is from its beginning in the function to its
//! recorded result, so with many runs it holds the wait for the shared transaction. The processor's
//! time is the whole process's, in its own and in the system's code.

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

struct Steps {
    count: u32,
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
        let mut times = Vec::new();
        for number in 0..self.count {
            let begun = Instant::now();
            run.step(
                Step::read("step").input(&number),
                |_| async move { Ok(number) },
            )
            .await?;
            times.push(begun.elapsed());
        }
        let mut all = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        all.append(&mut times);
        Ok(json!(self.count))
    }
}

/// The processor's time that this process has used: fields 14 and 15 of `proc_pid_stat(5)`, in
/// hundredths of a second.
fn processor_time() -> Result<Duration, Box<dyn Error>> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = stat.rsplit_once(')').ok_or("no name in /proc/self/stat")?;
    let ticks = fields.split_whitespace().skip(11).take(2);
    let ticks = ticks.map(str::parse::<u64>).sum::<Result<u64, _>>()?;
    Ok(Duration::from_millis(ticks * 10))
}

async fn measure(
    directory: &std::path::Path,
    runs: usize,
    count: u32,
) -> Result<(), Box<dyn Error>> {
    let database = Database::open(&directory.join("db"), OpenMode::Host)?;
    let blobs = Blobs::open(directory.join("blobs"))?;
    let clock = Arc::new(SystemClock::start());
    let times = Arc::new(Mutex::new(Vec::new()));
    let function = Steps {
        count,
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
        title: "steps".into(),
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
    let (begun, processor) = (Instant::now(), processor_time()?);
    let working = engine.clone();
    let work = tokio::spawn(async move { working.work().await });
    for run in created {
        engine.settled(run).await?;
    }
    let took = begun.elapsed();
    let processor = processor_time()?.saturating_sub(processor);
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
    let steps = f64::from(u32::try_from(times.len())?);
    println!(
        "{runs:>4} runs: {:>7.0} steps/s   p50 {:>8.2?}   p99 {:>8.2?}   max {:>8.2?}   {:>6.1} steps \
         per commit   {:>6.1} µs of processor per step",
        steps / took.as_secs_f64(),
        at(50),
        at(99),
        times.last().copied().unwrap_or_default(),
        steps / f64::from(u32::try_from(commits)?),
        processor.as_secs_f64() * 1e6 / steps,
    );
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut given = std::env::args_os().skip(1);
    let place = given.next().map(PathBuf::from);
    let mut number = || given.next()?.to_str()?.parse::<u32>().ok();
    let measured = match (number(), number()) {
        (Some(runs), Some(steps)) => vec![(runs, steps)],
        _ => vec![(1, 2_000), (64, 1_000), (256, 1_000)],
    };
    for (runs, steps) in measured {
        let directory = match &place {
            Some(place) => tempfile::tempdir_in(place)?,
            None => tempfile::tempdir()?,
        };
        measure(directory.path(), usize::try_from(runs)?, steps).await?;
    }
    Ok(())
}

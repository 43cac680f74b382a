//! What a durable step costs: runs side by side, every step on disk before the next begins.
//!
//! ```text
//! cargo run --release -p matrix-engine --example append_cost -- DIRECTORY RUNS STEPS BYTES
//! ```
//!
//! The directory decides which disk is measured; each step gives a text of this many bytes. Prints
//! one JSON object: steps in all, seconds, the process's own processor time in seconds (in its own
//! and in the system's code), how many steps shared a transaction, the median, the 99th percentile
//! and the longest of a step's time in microseconds, the bytes of the database at the end, and the
//! most memory that was resident. A step's time is from its beginning in the function to its
//! recorded result, so with many runs it holds the wait for the shared transaction.

#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a program that measures time and prints it"
)]

mod measured;

use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use matrix_core::system::{SystemClock, SystemEntropy};
use matrix_engine::{DurableFunction, Engine, Journal, Run, RunError, Step};
use matrix_store::{Blobs, Database, OpenMode};
use serde_json::{Value, json};

use crate::measured::{a_run, options, processor_time};

struct Steps {
    count: u32,
    text: String,
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
            run.step::<String, _, _>(Step::read("step").input(&number), |_| async {
                Ok(self.text.clone())
            })
            .await?;
            times.push(begun.elapsed());
        }
        let mut all = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        all.append(&mut times);
        Ok(json!(self.count))
    }
}

async fn measure(
    directory: &std::path::Path,
    runs: usize,
    count: u32,
    bytes: usize,
) -> Result<(), Box<dyn Error>> {
    let database = Database::open(&directory.join("db"), OpenMode::Host)?;
    let blobs = Blobs::open(directory.join("blobs"))?;
    let clock = Arc::new(SystemClock::start());
    let times = Arc::new(Mutex::new(Vec::new()));
    let function = Steps {
        count,
        text: "x".repeat(bytes),
        times: Arc::clone(&times),
    };
    let journal = Journal::new(database, blobs, clock, Arc::new(SystemEntropy));
    let engine = Engine::new(journal, vec![Arc::new(function)], options(runs));
    let created =
        futures::future::try_join_all((0..runs).map(|_| engine.create_run(a_run("steps")))).await?;
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
    let steps = u32::try_from(times.len())?;
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    drop(engine);
    let result = json!({
        "steps": steps,
        "seconds": took.as_secs_f64(),
        "processor": processor.as_secs_f64(),
        "per_commit": f64::from(steps) / f64::from(u32::try_from(commits)?),
        "p50": micros(at(50)),
        "p99": micros(at(99)),
        "longest": micros(times.last().copied().unwrap_or_default()),
        "bytes": std::fs::metadata(directory.join("db"))?.len(),
        "resident": resident()?,
    });
    println!("{result}");
    Ok(())
}

/// The most memory that this process had resident, in bytes: `VmHWM` of `proc_pid_status(5)`.
fn resident() -> Result<u64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    Ok(number
        .ok_or("no VmHWM in /proc/self/status")?
        .parse::<u64>()?
        * 1024)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let given: Vec<String> = std::env::args().skip(1).collect();
    let [directory, runs, steps, bytes] = &given[..] else {
        return Err("usage: append_cost DIRECTORY RUNS STEPS BYTES".into());
    };
    let directory = tempfile::tempdir_in(directory)?;
    measure(
        directory.path(),
        runs.parse()?,
        steps.parse()?,
        bytes.parse()?,
    )
    .await
}

//! What a job costs on PostgreSQL: runs without a step, created before, claimed and ended by so many
//! workers at once.
//!
//! ```text
//! cargo run --release -p matrix-engine --example job_cost -- DIRECTORY OWNER ADDRESS WORKERS JOBS
//! ```
//!
//! The directory keeps large payloads, of which there are none; the owner's address is that of an empty
//! database in which it may make tables and roles, the other one the login's that works, `measure`.
//! Prints one JSON object: jobs (as `steps`), seconds, and the process's own processor time in seconds.

#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a program that measures time and prints it"
)]

mod measured;

use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use matrix_core::Clock;
use matrix_core::system::{SystemClock, SystemEntropy};
use matrix_engine::{DurableFunction, Engine, Journal, Run, RunError};
use matrix_store::postgres::{Address, PostgresOptions, migrate};
use matrix_store::{Blobs, Database};
use serde_json::{Value, json};

use crate::measured::{a_run, options, processor_time};

struct Nothing;

#[async_trait]
impl DurableFunction for Nothing {
    fn kind(&self) -> &'static str {
        "nothing"
    }
    fn version(&self) -> &'static str {
        "1"
    }
    async fn execute(&self, _: Run, _: Value) -> Result<Value, RunError> {
        Ok(Value::Null)
    }
}

async fn measure(engine: Engine, jobs: usize) -> Result<(), Box<dyn Error>> {
    let mut created = Vec::with_capacity(jobs);
    while created.len() < jobs {
        let count = (jobs - created.len()).min(256);
        let some = (0..count).map(|_| engine.create_run(a_run("nothing")));
        created.extend(futures::future::try_join_all(some).await?);
    }
    let (begun, processor) = (Instant::now(), processor_time()?);
    let working = engine.clone();
    let work = tokio::spawn(async move { working.work().await });
    for run in created {
        engine.settled(run).await?;
    }
    let took = begun.elapsed();
    let processor = processor_time()?.saturating_sub(processor);
    engine.drain();
    work.await?;
    let result = json!({
        "steps": jobs,
        "seconds": took.as_secs_f64(),
        "processor": processor.as_secs_f64(),
    });
    println!("{result}");
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let given: Vec<String> = std::env::args().skip(1).collect();
    let [directory, owner, address, workers, jobs] = &given[..] else {
        return Err("usage: job_cost DIRECTORY OWNER ADDRESS WORKERS JOBS".into());
    };
    migrate(&Address::parse(owner)?, Some("measure"))?;
    let address = Address::parse(address)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    let postgres = PostgresOptions {
        address,
        clock: Arc::clone(&clock),
    };
    let database = Database::connect(&postgres)?;
    let blobs = Blobs::open(std::path::Path::new(directory).join("blobs"))?;
    let journal = Journal::new(database, blobs, clock, Arc::new(SystemEntropy));
    let engine = Engine::new(journal, vec![Arc::new(Nothing)], options(workers.parse()?));
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(measure(engine, jobs.parse()?))
}

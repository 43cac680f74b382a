//! What an append costs on each database: 1, 8, 64 and 256 runs side by side, each appending one
//! entry of 512 bytes after the other, each answered when it is durable.
//!
//! ```text
//! cargo run --release -p matrix-store --features postgres --example appends -- DIRECTORY
//! cargo run --release -p matrix-store --features postgres --example appends -- URL OWNER_URL
//! ```
//!
//! The first form measures SQLite in a directory that must be empty, the second a PostgreSQL
//! database, which it migrates by the owner's URL; the login of the first needs its roles by then.

#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a program that measures time and prints it"
)]

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::try_join_all;
use matrix_core::clock::{Clock, Entropy};
use matrix_core::system::{SystemClock, SystemEntropy};
use matrix_core::{Digest, RunId, Scope, Timestamp};
use matrix_store::postgres::{Address, PostgresOptions, migrate};
use matrix_store::tables::journal::{self, EntryRow};
use matrix_store::tables::runs::{self, Head, HeadMove, RunRow};
use matrix_store::{Database, OpenMode, StoreError};

/// How long each number of runs is measured.
const MEASURED: Duration = Duration::from_secs(5);

fn run_row(run: RunId) -> RunRow {
    RunRow {
        run,
        scope: Scope::local(),
        kind: "measure".into(),
        version: "1".into(),
        title: "appends".into(),
        trace: "0".repeat(32),
        state: "ready".into(),
        waiting: None,
        wake_at: None,
        owner: None,
        epoch: 0,
        crashes: 0,
        head_seq: -1,
        head_hash: Digest::of("genesis"),
        created_at: Timestamp::default(),
        updated_at: Timestamp::default(),
        placement: matrix_store::tables::queue::Placement::default(),
        lineage: matrix_store::tables::runs::Lineage::default(),
        removed_at: None,
        hold: String::new(),
    }
}

fn entry(run: RunId, seq: i64) -> EntryRow {
    EntryRow {
        lsn: 0,
        run,
        seq,
        kind: "step_done".into(),
        path: "a/step#1".into(),
        fingerprint: "f".repeat(32),
        actor: "worker:measure".into(),
        epoch: 0,
        at: Timestamp::default(),
        payload_digest: Digest::of("payload"),
        hash: Digest::of("hash"),
        salt: Some(vec![7; 32]),
        payload: Some(vec![b'x'; 512]),
        payload_blob: None,
    }
}

/// What the engine does for each append: the fence, the entry, the new head.
async fn append(database: &Database, run: RunId) -> Result<(), StoreError> {
    database
        .write(move |tx| {
            let gone = || StoreError::Unavailable("the run is gone".into());
            let head = runs::head(tx, run)?.ok_or_else(gone)?;
            let to = Head {
                seq: head.seq + 1,
                hash: Digest::of("hash"),
                ..head
            };
            let next = HeadMove { from: head, to };
            if !runs::move_head(tx, run, &next, Timestamp::default())? {
                return Err(gone());
            }
            journal::insert(tx, &entry(run, to.seq))
        })
        .await
}

async fn measure(database: &Database, count: usize) -> Result<(), Box<dyn Error>> {
    let (clock, entropy) = (SystemClock::start(), SystemEntropy);
    let new: Vec<RunId> = (0..count)
        .map(|_| RunId::generate(&clock as &dyn Clock, &entropy as &dyn Entropy))
        .collect();
    for run in new.iter().copied() {
        database
            .write::<_, StoreError, _>(move |tx| runs::insert(tx, &run_row(run)))
            .await?;
    }
    let (before, begun) = (database.commits(), Instant::now());
    let times = try_join_all(new.into_iter().map(|run| async move {
        let mut times = Vec::new();
        while begun.elapsed() < MEASURED {
            let asked = Instant::now();
            append(database, run).await?;
            times.push(asked.elapsed());
        }
        Ok::<_, StoreError>(times)
    }))
    .await?;
    let took = begun.elapsed().as_secs_f64();
    let mut times = times.concat();
    times.sort_unstable();
    let at = |percent: usize| times.get(times.len() * percent / 100).copied();
    let total = f64::from(u32::try_from(times.len())?);
    let commits = f64::from(u32::try_from(database.commits() - before)?);
    println!(
        "{count:>4} runs: {:>7.0} appends/s   p50 {:>9.2?}   p99 {:>9.2?}   {:>5.1} per commit",
        total / took,
        at(50).unwrap_or_default(),
        at(99).unwrap_or_default(),
        total / commits,
    );
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let database = match (arguments.next(), arguments.next()) {
        (Some(directory), None) => {
            Database::open(&Path::new(&directory).join("matrix.db"), OpenMode::Host)?
        }
        (Some(url), Some(owner)) => {
            migrate(&Address::parse(&owner)?, None)?;
            let address = Address::parse(&url)?;
            let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
            Database::connect(&PostgresOptions { address, clock })?
        }
        _ => return Err("say where: DIRECTORY, or URL OWNER_URL".into()),
    };
    for count in [1, 8, 64, 256] {
        measure(&database, count).await?;
    }
    Ok(())
}

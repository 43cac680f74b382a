//! The floor under a durable step: rows of a journal's size, inserted into SQLite directly, so many in
//! each transaction, every transaction on disk before the next begins. No run, no chain, no answer.
//!
//! ```text
//! cargo run --release -p matrix-store --example floor -- DIRECTORY BATCH COMMITS
//! ```
//!
//! Prints one JSON object: steps, seconds, and the process's own processor time in seconds.

#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a program that measures time and prints it"
)]

use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::{Connection, params};

/// The processor's time that this process has used: fields 14 and 15 of `proc_pid_stat(5)`, in
/// hundredths of a second.
fn processor_time() -> Result<Duration, Box<dyn Error>> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = stat.rsplit_once(')').ok_or("no name in /proc/self/stat")?;
    let ticks = fields.split_whitespace().skip(11).take(2);
    let ticks = ticks.map(str::parse::<u64>).sum::<Result<u64, _>>()?;
    Ok(Duration::from_millis(ticks * 10))
}

fn main() -> Result<(), Box<dyn Error>> {
    let usage = "usage: floor DIRECTORY BATCH COMMITS";
    let given: Vec<String> = std::env::args().skip(1).collect();
    let [directory, batch, commits] = &given[..] else {
        return Err(usage.into());
    };
    let (batch, commits): (i64, i64) = (batch.parse()?, commits.parse()?);
    let connection = Connection::open(Path::new(directory).join("floor"))?;
    connection.execute_batch(
        "PRAGMA journal_mode = WAL;
         PRAGMA synchronous = FULL;
         CREATE TABLE journal (lsn INTEGER PRIMARY KEY, run BLOB NOT NULL, seq INTEGER NOT NULL,
                               hash BLOB NOT NULL, payload BLOB NOT NULL) STRICT;
         CREATE UNIQUE INDEX journal_by_run ON journal (run, seq);",
    )?;
    let payload = [0x2a_u8; 177];
    let hash = [0x17_u8; 32];
    let (begun, processor) = (Instant::now(), processor_time()?);
    for commit in 0..commits {
        connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let mut insert = connection
            .prepare_cached("INSERT INTO journal (run, seq, hash, payload) VALUES (?, ?, ?, ?)")?;
        for row in 0..batch {
            // As many runs as rows in a transaction, each one step further.
            let run = row.to_be_bytes();
            insert.execute(params![run, commit, hash, payload])?;
        }
        connection.prepare_cached("COMMIT")?.execute([])?;
    }
    println!(
        r#"{{"steps":{},"seconds":{},"processor":{}}}"#,
        batch * commits,
        begun.elapsed().as_secs_f64(),
        processor_time()?.saturating_sub(processor).as_secs_f64(),
    );
    Ok(())
}

//! What the writer counts of its transactions.

use std::time::Instant;

use matrix_core::meter::{Counter, Histogram};

use crate::session::Session;
use crate::writer::{Job, commit};

/// Upper bounds of the number of closures in a transaction.
const BATCH: &[u64] = &[1, 2, 4, 8, 16, 32, 64, 128, 256, 512];

/// Upper bounds of the time a transaction takes, in microseconds.
const TOOK: &[u64] = &[
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000,
    5_000_000,
];

/// Transactions since the database was opened.
#[derive(Debug)]
pub struct Commits {
    /// Those that stand.
    pub stood: Counter,
    /// Those that did not.
    pub failed: Counter,
    /// How many closures were in one.
    pub batch: Histogram,
    /// How long one took until everybody was answered, in microseconds.
    pub took: Histogram,
}

impl Default for Commits {
    fn default() -> Self {
        Self {
            stood: Counter::default(),
            failed: Counter::default(),
            batch: Histogram::new(BATCH),
            took: Histogram::new(TOOK),
        }
    }
}

impl Commits {
    /// Runs and answers a batch, and counts it.
    pub(crate) fn commit(&self, session: &dyn Session, jobs: Vec<Job>) {
        self.batch.count(jobs.len() as u64);
        #[expect(
            clippy::disallowed_methods,
            reason = "nothing depends on it but a figure, and the writer has no clock"
        )]
        let began = Instant::now();
        if commit(session, jobs) {
            self.stood.add(1);
        } else {
            self.failed.add(1);
        }
        self.took.count_micros(began.elapsed());
    }
}

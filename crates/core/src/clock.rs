//! Time and chance as values that are passed in.

use std::time::Duration;

use crate::time::Timestamp;

/// A source of time.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// Wall-clock time; it may jump when the machine's clock is set.
    fn now(&self) -> Timestamp;

    /// Time since some fixed moment of this process; it never goes back.
    fn monotonic(&self) -> Duration;
}

/// A source of unpredictable bytes.
pub trait Entropy: Send + Sync + std::fmt::Debug {
    /// Fills the buffer; a machine without randomness stops the process.
    fn fill(&self, buffer: &mut [u8]);
}

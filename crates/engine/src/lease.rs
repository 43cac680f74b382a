//! How long an owner may rely on its heartbeat.
//!
//! Whoever watches an owner takes its runs when its counter stood still for a lease on the
//! *watcher's* monotonic clock. The owner cannot see that clock, so it counts on its own, from the
//! moment in which it *asked* for the last beat that was confirmed: that is never later than the
//! moment from which anybody else counts. In the last third of that time it begins nothing that
//! reaches the outside world; it beats first.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// One worker's lease on all its runs.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) worker: String,
    length: Duration,
    /// When the last confirmed beat was asked for, in microseconds of the worker's monotonic
    /// clock, plus one; zero before the first.
    asked: AtomicU64,
}

impl Lease {
    pub(crate) fn new(worker: String, length: Duration) -> Self {
        let asked = AtomicU64::new(0);
        Self {
            worker,
            length,
            asked,
        }
    }

    /// A beat that was asked for at this moment stands.
    pub(crate) fn confirm(&self, asked: Duration) {
        let micros = u64::try_from(asked.as_micros()).unwrap_or(u64::MAX - 1);
        self.asked.fetch_max(micros + 1, Ordering::AcqRel);
    }

    /// Whether the first two thirds of the lease are not over.
    pub(crate) fn is_fresh(&self, now: Duration) -> bool {
        let Some(asked) = self.asked.load(Ordering::Acquire).checked_sub(1) else {
            return false;
        };
        now.saturating_sub(Duration::from_micros(asked)) < self.length * 2 / 3
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_fresh_for_two_thirds_after_the_newest_beat_was_asked_for() {
        let second = Duration::from_secs(1);
        let lease = Lease::new("a".into(), 15 * second);
        assert!(!lease.is_fresh(Duration::ZERO), "it has never beaten");
        lease.confirm(Duration::ZERO);
        assert!(lease.is_fresh(Duration::ZERO));
        assert!(lease.is_fresh(9 * second));
        assert!(!lease.is_fresh(10 * second));
        lease.confirm(5 * second);
        lease.confirm(2 * second);
        assert!(lease.is_fresh(14 * second), "an older beat counted");
        assert!(!lease.is_fresh(15 * second));
    }
}

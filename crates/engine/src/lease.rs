//! How long an owner may rely on its heartbeat.
//!
//! Whoever watches an owner takes its runs when its counter stood still for a lease on the
//! *watcher's* monotonic clock. The owner cannot see that clock, so it counts on its own, from the
//! moment in which it *asked* for the last beat that was confirmed: that is never later than the
//! moment from which anybody else counts. In the last third of that time it begins nothing that
//! reaches the outside world; it beats first.
//!
//! A beat says that its worker lives, not which runs it still has. Where a lease passed between two
//! of them (the process was stopped, or cut off), every run may have been taken meanwhile, so what
//! was sure of a run before the *lapse* is not any more: its owner has to ask.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// One worker's lease on all its runs.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) worker: String,
    length: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// When the last confirmed beat was asked for, on the worker's monotonic clock.
    asked: Option<Duration>,
    /// How often a lease passed without a beat.
    lapses: u64,
}

/// That a run was its owner's own between two lapses of the owner's lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sure(u64);

impl Lease {
    pub(crate) fn new(worker: String, length: Duration) -> Self {
        Self {
            worker,
            length,
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A beat that was asked for and answered at these moments stands. What its transaction saw to be
    /// the worker's own is so until a lapse; nothing is where the answer itself took a lease.
    pub(crate) fn confirm(&self, asked: Duration, answered: Duration) -> Option<Sure> {
        let mut state = self.state();
        let passed = |since: Duration| answered.saturating_sub(since) >= self.length;
        if state.asked.is_none_or(passed) {
            state.lapses += 1;
        }
        state.asked = state.asked.max(Some(asked));
        (!passed(asked)).then_some(Sure(state.lapses))
    }

    /// Whether the first two thirds of the lease are not over, for a run that was sure.
    pub(crate) fn is_fresh(&self, now: Duration, sure: Option<Sure>) -> bool {
        let state = self.state();
        let fresh = |asked| now.saturating_sub(asked) < self.length * 2 / 3;
        sure == Some(Sure(state.lapses)) && state.asked.is_some_and(fresh)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_lease_is_fresh_for_two_thirds_after_the_newest_beat_was_asked_for() {
        let lease = Lease::new("a".into(), 15 * SECOND);
        assert!(!lease.is_fresh(Duration::ZERO, None), "it has never beaten");
        let sure = lease.confirm(Duration::ZERO, Duration::ZERO);
        assert!(lease.is_fresh(Duration::ZERO, sure));
        assert!(lease.is_fresh(9 * SECOND, sure));
        assert!(!lease.is_fresh(10 * SECOND, sure));
        assert_eq!(lease.confirm(5 * SECOND, 6 * SECOND), sure);
        assert_eq!(lease.confirm(2 * SECOND, 7 * SECOND), sure);
        assert!(lease.is_fresh(14 * SECOND, sure), "an older beat counted");
        assert!(!lease.is_fresh(15 * SECOND, sure));
    }

    #[test]
    fn what_was_sure_before_a_lease_passed_is_not_sure_after_it() {
        let lease = Lease::new("a".into(), 15 * SECOND);
        let before = lease.confirm(Duration::ZERO, Duration::ZERO);
        // It was asked for in time, but answered so late that somebody may have waited long enough.
        let after = lease.confirm(14 * SECOND, 15 * SECOND);
        assert!(!lease.is_fresh(16 * SECOND, before));
        assert!(lease.is_fresh(16 * SECOND, after));
        assert_eq!(
            lease.confirm(20 * SECOND, 35 * SECOND),
            None,
            "the answer took a lease"
        );
        assert!(!lease.is_fresh(21 * SECOND, after));
    }
}

//! A circuit breaker: who fails again and again is left alone for a while, then asked once.

use std::time::Duration;

/// So many failures in a row open it.
const FAILURES: u32 = 5;

/// How long it stays open first; it doubles each time that the probe fails.
const REST: Duration = Duration::from_secs(5);

/// The longest.
const REST_MAX: Duration = Duration::from_mins(5);

/// After how long a probe that nobody answered for is given up.
const PROBE_MAX: Duration = Duration::from_mins(10);

/// Whether a provider's model is asked. Times are of one monotonic clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Breaker {
    /// It is.
    #[default]
    Closed,
    /// It is, and failed so many times in a row.
    Failing(u32),
    /// It is left alone until a time, for so long.
    Open {
        /// Until when.
        until: Duration,
        /// For how long.
        rest: Duration,
    },
    /// One call finds out whether it is well again.
    Probing {
        /// Since when.
        since: Duration,
        /// For how long it was left alone.
        rest: Duration,
    },
}

/// What a breaker says to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// Go on.
    Pass,
    /// Not before so long.
    Wait(Duration),
}

impl Breaker {
    /// Asks for a call; the call that passes an open one is its probe.
    pub(super) fn ask(&mut self, now: Duration) -> Gate {
        match *self {
            Self::Closed | Self::Failing(_) => Gate::Pass,
            Self::Open { until, .. } if now < until => Gate::Wait(until.saturating_sub(now)),
            Self::Open { rest, .. } => {
                *self = Self::Probing { since: now, rest };
                Gate::Pass
            }
            Self::Probing { since, rest } if now.saturating_sub(since) > PROBE_MAX => {
                *self = Self::Probing { since: now, rest };
                Gate::Pass
            }
            Self::Probing { .. } => Gate::Wait(Duration::from_secs(1)),
        }
    }

    /// Whether a call would pass now.
    pub(super) fn peek(&self, now: Duration) -> Gate {
        let mut copy = *self;
        copy.ask(now)
    }

    /// A call was answered.
    pub(super) fn succeed(&mut self) {
        *self = Self::Closed;
    }

    /// A call failed in a way that says something about the provider.
    pub(super) fn fail(&mut self, now: Duration) {
        *self = match *self {
            Self::Closed => Self::Failing(1),
            Self::Failing(count) if count + 1 < FAILURES => Self::Failing(count + 1),
            Self::Failing(_) => Self::Open {
                until: now + REST,
                rest: REST,
            },
            Self::Probing { rest, .. } => {
                let rest = (rest * 2).min(REST_MAX);
                Self::Open {
                    until: now + rest,
                    rest,
                }
            }
            // A call that began before it was opened.
            open @ Self::Open { .. } => open,
        };
    }

    /// A probe ended without saying anything about the provider.
    pub(super) fn forget(&mut self, now: Duration) {
        if let Self::Probing { rest, .. } = *self {
            *self = Self::Open { until: now, rest };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn who_fails_five_times_is_left_alone_and_then_asked_once() {
        let mut breaker = Breaker::default();
        for _ in 0..5 {
            assert_eq!(breaker.ask(at(0)), Gate::Pass);
            breaker.fail(at(0));
        }
        assert_eq!(breaker.ask(at(1)), Gate::Wait(at(4)));
        assert_eq!(breaker.ask(at(5)), Gate::Pass);
        assert!(matches!(breaker.ask(at(5)), Gate::Wait(_)), "two probes");
        breaker.fail(at(6));
        assert_eq!(breaker.ask(at(7)), Gate::Wait(at(9)), "it rests longer");
        assert_eq!(breaker.ask(at(16)), Gate::Pass);
        breaker.succeed();
        assert_eq!(breaker, Breaker::Closed);
    }

    #[test]
    fn a_success_between_failures_counts() {
        let mut breaker = Breaker::default();
        for _ in 0..4 {
            breaker.fail(at(0));
        }
        breaker.succeed();
        breaker.fail(at(0));
        assert_eq!(breaker, Breaker::Failing(1));
    }

    proptest! {
        #[test]
        fn nobody_is_left_alone_for_ever(steps in proptest::collection::vec(0_u8..4, 0..60)) {
            let (mut breaker, mut now) = (Breaker::default(), Duration::ZERO);
            for step in steps {
                match step {
                    0 => drop(breaker.ask(now)),
                    1 => breaker.fail(now),
                    2 => breaker.succeed(),
                    _ => now += Duration::from_secs(3),
                }
            }
            let later = now + PROBE_MAX + REST_MAX + Duration::from_secs(1);
            prop_assert_eq!(breaker.ask(later), Gate::Pass);
        }
    }
}

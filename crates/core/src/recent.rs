//! What was found out a moment ago, for questions that are asked more often than they change.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Clock;

/// The most that is remembered at once; before more is, all that is old is forgotten.
const KEPT_MAX: usize = 10_000;

/// Values by key, each for a while after it was found out.
#[derive(Debug)]
pub struct Recent<K, V> {
    clock: Arc<dyn Clock>,
    lasts: Duration,
    kept: Mutex<HashMap<K, (V, Duration)>>,
}

impl<K: Eq + Hash, V: Clone> Recent<K, V> {
    /// Nothing yet; each value will last so long.
    pub fn new(clock: Arc<dyn Clock>, lasts: Duration) -> Self {
        Self {
            clock,
            lasts,
            kept: Mutex::default(),
        }
    }

    /// The value, if it was found out recently.
    pub fn get(&self, key: &K) -> Option<V> {
        let now = self.clock.monotonic();
        let kept = self.lock();
        let (value, until) = kept.get(key)?;
        (now < *until).then(|| value.clone())
    }

    /// Remembers a value.
    pub fn put(&self, key: K, value: V) {
        let now = self.clock.monotonic();
        let mut kept = self.lock();
        // Now and then, so that what is old is not kept for good.
        if kept.len() >= KEPT_MAX || kept.len() >= kept.capacity() {
            kept.retain(|_, (_, until)| now < *until);
        }
        if kept.len() >= KEPT_MAX {
            kept.clear();
        }
        kept.insert(key, (value, now.saturating_add(self.lasts)));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, (V, Duration)>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::time::Timestamp;

    #[derive(Debug, Default)]
    struct Hand(AtomicU64);

    impl Clock for Hand {
        fn now(&self) -> Timestamp {
            Timestamp::from_micros(0)
        }

        fn monotonic(&self) -> Duration {
            Duration::from_millis(self.0.load(Ordering::Relaxed))
        }
    }

    #[test]
    fn a_value_lasts_as_long_as_was_said_and_memory_stays_small() {
        let clock = Arc::new(Hand::default());
        let recent = Recent::new(clock.clone(), Duration::from_secs(1));
        recent.put("a", 1);
        clock.0.store(999, Ordering::Relaxed);
        assert_eq!(recent.get(&"a"), Some(1));
        assert_eq!(recent.get(&"b"), None);
        clock.0.store(1_000, Ordering::Relaxed);
        assert_eq!(recent.get(&"a"), None);

        let many = Recent::new(clock, Duration::from_secs(1));
        for number in 0..KEPT_MAX * 3 {
            many.put(number, ());
        }
        assert!(many.lock().len() <= KEPT_MAX);
    }
}

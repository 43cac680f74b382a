//! Tokens that are given for keys, kept until shortly before they end.
//!
//! Calls that need the same token at once wait for one of them to fetch it; what it hears is what
//! they all hear. A call that comes later fetches anew.

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use matrix_core::{Clock, Timestamp};
use sha2::{Digest as _, Sha256};

use super::ProviderError;
use crate::secret::Secret;

/// How long before its end a token is not used any more, because a call may take a while to arrive;
/// a quarter of its time if that is less.
const SPARE: Duration = Duration::from_mins(3);

/// The most keys whose tokens are kept; keys that were replaced are never asked for again.
const KEPT_MAX: usize = 256;

/// Where a token is kept: the digest of its key, and whether its giver may be at a private address.
pub(super) type TokenId = ([u8; 32], bool);

/// Tokens by their keys.
#[derive(Debug)]
pub(super) struct Tokens {
    clock: Arc<dyn Clock>,
    kept: Mutex<HashMap<TokenId, Arc<Slot>>>,
}

/// What is kept for one key.
#[derive(Debug, Default)]
struct Slot {
    /// How often a token was fetched, well or not.
    tries: AtomicU64,
    last: tokio::sync::Mutex<Last>,
}

#[derive(Debug, Default)]
enum Last {
    #[default]
    Nothing,
    Token {
        text: Secret,
        until: Timestamp,
    },
    Failed(ProviderError),
}

impl Tokens {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            kept: Mutex::default(),
        }
    }

    /// Where the token for a key is kept.
    pub(super) fn id(key: &Secret, private: bool) -> TokenId {
        (Sha256::digest(key.expose().as_bytes()).into(), private)
    }

    /// The token that is kept, or the one that `fetch` gives with the time that it is good.
    pub(super) async fn get(
        &self,
        id: TokenId,
        fetch: impl Future<Output = Result<(Secret, Duration), ProviderError>>,
    ) -> Result<Secret, ProviderError> {
        let slot = self.slot(id);
        let seen = slot.tries.load(Ordering::Acquire);
        let mut last = slot.last.lock().await;
        match &*last {
            Last::Token { text, until } if self.clock.now() < *until => return Ok(text.clone()),
            // It failed while this call waited for it.
            Last::Failed(error) if slot.tries.load(Ordering::Acquire) != seen => {
                return Err(error.clone());
            }
            _ => {}
        }
        let fetched = fetch.await;
        slot.tries.fetch_add(1, Ordering::Release);
        match fetched {
            Ok((text, good)) => {
                let until = self
                    .clock
                    .now()
                    .plus(good.saturating_sub(SPARE.min(good / 4)));
                *last = Last::Token {
                    text: text.clone(),
                    until,
                };
                Ok(text)
            }
            Err(error) => {
                *last = Last::Failed(error.clone());
                Err(error)
            }
        }
    }

    /// Keeps a token no longer, unless it was replaced by another one already.
    pub(super) async fn forget(&self, id: TokenId, refused: &Secret) {
        let slot = self.slot(id);
        let mut last = slot.last.lock().await;
        if matches!(&*last, Last::Token { text, .. } if text == refused) {
            *last = Last::Nothing;
        }
    }

    fn slot(&self, id: TokenId) -> Arc<Slot> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT_MAX && !kept.contains_key(&id) {
            kept.clear();
        }
        Arc::clone(kept.entry(id).or_default())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use futures::future::join_all;
    use matrix_core::system::SystemClock;

    use super::*;
    use crate::provider::Reason;

    #[tokio::test]
    async fn who_waited_for_a_failure_shares_it_and_who_comes_later_does_not() {
        let tokens = Tokens::new(Arc::new(SystemClock::start()));
        let id = Tokens::id(&Secret::new("key".into()), false);
        let fetched = AtomicUsize::new(0);
        let get = || {
            tokens.get(id, async {
                fetched.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
                Err(ProviderError::new(Reason::Failed, "no"))
            })
        };
        let all = join_all((0..5).map(|_| get())).await;
        assert!(all.iter().all(Result::is_err));
        assert_eq!(fetched.load(Ordering::Relaxed), 1);
        assert!(get().await.is_err());
        assert_eq!(fetched.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn only_the_token_that_was_refused_is_forgotten() {
        let tokens = Tokens::new(Arc::new(SystemClock::start()));
        let id = Tokens::id(&Secret::new("key".into()), false);
        let [one, two] = ["one", "two"].map(|text| Secret::new(text.into()));
        let give = |token: &Secret| {
            let given = (token.clone(), Duration::from_hours(1));
            async { Ok(given) }
        };
        assert_eq!(tokens.get(id, give(&one)).await, Ok(one.clone()));
        tokens.forget(id, &two).await;
        assert_eq!(tokens.get(id, give(&two)).await, Ok(one.clone()));
        tokens.forget(id, &one).await;
        assert_eq!(tokens.get(id, give(&two)).await, Ok(two));
    }
}

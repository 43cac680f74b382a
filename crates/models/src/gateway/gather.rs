//! Texts of several callers, asked for together.
//!
//! A provider takes many texts in one request, and callers often have one each. Whoever comes while
//! nobody is being answered goes at once. Whoever comes while others are waits for a few milliseconds,
//! with all who come meanwhile, or until there are as many texts as the provider takes; then they go
//! as one request. Each caller gets its own vectors and its share of what was used, and the shares add
//! up to what the provider counted.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use matrix_core::{Scope, Timestamp};
use tokio::sync::oneshot;

use crate::embed::{EmbedAnswer, EmbedRequest, TEXTS_MAX};
use crate::estimate;
use crate::provider::{ProviderError, Providers, Reason};
use crate::registry::Model;
use crate::usage::Usage;
use crate::wire::vectors;

/// How long callers wait for each other.
const WAIT: Duration = Duration::from_millis(5);

/// The most bytes of texts that are gathered in one request.
const BYTES_MAX: usize = 256 * 1024;

/// Requests that are gathered. Cloning is cheap.
#[derive(Clone)]
pub(super) struct Gather {
    providers: Providers,
    lanes: Arc<Mutex<HashMap<Key, Lane>>>,
}

/// What requests have in common that go together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    scope: Scope,
    model: String,
    since: Timestamp,
    dimensions: Option<u32>,
    purpose: Option<String>,
    user: Option<String>,
}

/// Callers of one kind.
#[derive(Debug, Default)]
struct Lane {
    /// How many requests are being answered.
    busy: usize,
    waiting: Vec<Waiter>,
    texts: usize,
    bytes: usize,
    /// Which gathering this is, for the one that ends it in time.
    turn: u64,
}

/// A caller that waits for its vectors.
#[derive(Debug)]
struct Waiter {
    request: EmbedRequest,
    answer: oneshot::Sender<Result<EmbedAnswer, ProviderError>>,
}

impl Waiter {
    fn bytes(&self) -> usize {
        self.request.texts.iter().map(String::len).sum()
    }

    fn tokens(&self) -> u64 {
        let texts = self.request.texts.iter();
        texts.map(|text| estimate::tokens(text).max(1)).sum()
    }
}

/// What is to be done after somebody came.
#[derive(Debug, Default)]
struct Joined {
    /// These go now, each as one request.
    go: Vec<Vec<Waiter>>,
    /// This gathering began, and is to end in time.
    began: Option<u64>,
}

impl Lane {
    /// Somebody comes. At most so many texts go together.
    fn join(&mut self, waiter: Waiter, most: usize) -> Joined {
        let (texts, bytes) = (waiter.request.texts.len(), waiter.bytes());
        let mut joined = Joined::default();
        if !self.waiting.is_empty() && (self.texts + texts > most || self.bytes + bytes > BYTES_MAX)
        {
            joined.go.push(self.take());
        }
        self.texts += texts;
        self.bytes += bytes;
        self.waiting.push(waiter);
        if self.busy == 0 || self.texts >= most || self.bytes >= BYTES_MAX {
            joined.go.push(self.take());
        } else if self.waiting.len() == 1 {
            joined.began = Some(self.turn);
        }
        joined
    }

    /// All who wait; they are being answered from now on.
    fn take(&mut self) -> Vec<Waiter> {
        self.busy += 1;
        self.turn += 1;
        (self.texts, self.bytes) = (0, 0);
        std::mem::take(&mut self.waiting)
    }
}

impl Gather {
    pub(super) fn new(providers: Providers) -> Self {
        Self {
            providers,
            lanes: Arc::default(),
        }
    }

    /// Asks for vectors, with others where there are any.
    pub(super) async fn embed(
        &self,
        scope: &Scope,
        model: &Arc<Model>,
        request: EmbedRequest,
    ) -> Result<EmbedAnswer, ProviderError> {
        let key = Key {
            scope: scope.clone(),
            model: model.full_name(),
            since: model.created_at,
            dimensions: request.dimensions,
            purpose: request.purpose.clone(),
            user: request.user.clone(),
        };
        let most = vectors::most(model.spec.provider.kind, &model.spec.model).min(TEXTS_MAX);
        let (answer, answered) = oneshot::channel();
        let joined = {
            let mut lanes = self.lock();
            let lane = lanes.entry(key.clone()).or_default();
            lane.join(Waiter { request, answer }, most)
        };
        // In tasks of their own: whoever asked first may hang up first.
        for waiters in joined.go {
            let (gather, model, key) = (self.clone(), Arc::clone(model), key.clone());
            tokio::spawn(async move { gather.send(&model, key, waiters).await });
        }
        if let Some(turn) = joined.began {
            let (gather, model) = (self.clone(), Arc::clone(model));
            tokio::spawn(async move {
                tokio::time::sleep(WAIT).await;
                let waiters = gather.due(&key, turn);
                gather.send(&model, key, waiters).await;
            });
        }
        let ending = |_| ProviderError::new(Reason::Failed, "the process is ending");
        answered.await.map_err(ending)?
    }

    /// Those of a gathering, if it did not end before its time.
    fn due(&self, key: &Key, turn: u64) -> Vec<Waiter> {
        let mut lanes = self.lock();
        // Another lane of the same kind may have been made meanwhile.
        let gathering = |lane: &&mut Lane| lane.turn == turn && !lane.waiting.is_empty();
        let lane = lanes.get_mut(key).filter(gathering);
        lane.map(Lane::take).unwrap_or_default()
    }

    /// Asks for all of them, and for those who came meanwhile.
    async fn send(&self, model: &Model, key: Key, mut waiters: Vec<Waiter>) {
        while !waiters.is_empty() {
            self.ask(model, waiters).await;
            let mut lanes = self.lock();
            let Some(lane) = lanes.get_mut(&key) else {
                return;
            };
            lane.busy = lane.busy.saturating_sub(1);
            waiters = match (lane.waiting.is_empty(), lane.busy) {
                (false, _) => lane.take(),
                (true, 0) => {
                    lanes.remove(&key);
                    return;
                }
                (true, _) => return,
            };
        }
    }

    async fn ask(&self, model: &Model, waiters: Vec<Waiter>) {
        let mut waiters: Vec<Waiter> = waiters
            .into_iter()
            .filter(|waiter| !waiter.answer.is_closed())
            .collect();
        let Some(first) = waiters.first_mut() else {
            return;
        };
        let mut together = EmbedRequest {
            texts: Vec::new(),
            ..first.request.clone()
        };
        for waiter in &waiters {
            together.texts.extend_from_slice(&waiter.request.texts);
        }
        let provider = self.providers.of(model);
        match provider.embed(model, &together).await {
            Ok(answer) => share(waiters, answer),
            // What is wrong with one of them is not the others' fault.
            Err(error) if is_ones_own(&error) && waiters.len() > 1 => {
                for waiter in waiters {
                    let answer = provider.embed(model, &waiter.request).await;
                    drop(waiter.answer.send(answer));
                }
            }
            Err(error) => {
                let mut echo = false;
                for waiter in waiters {
                    let error = ProviderError {
                        echo,
                        ..error.clone()
                    };
                    echo = true;
                    drop(waiter.answer.send(Err(error)));
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Lane>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether what is wrong may be wrong with one text alone.
fn is_ones_own(error: &ProviderError) -> bool {
    matches!(
        error.reason,
        Reason::Invalid | Reason::TooLong | Reason::Unsupported
    )
}

/// Gives everyone what is theirs. What was used is divided by how long the texts are, as it is
/// estimated; each has read a token at least, where there are as many.
fn share(waiters: Vec<Waiter>, answer: EmbedAnswer) {
    let all: u64 = waiters.iter().map(Waiter::tokens).sum();
    let count = waiters.len() as u64;
    let mut before = 0;
    let mut vectors = answer.vectors.into_iter();
    for waiter in waiters {
        let until = before + waiter.tokens();
        let part = |total: u64| portion(total, until, all) - portion(total, before, all);
        let usage = answer.usage.map(|usage| Usage {
            input: match usage.input.checked_sub(count) {
                Some(more) => 1 + part(more),
                None => part(usage.input),
            },
            output: part(usage.output),
            cache_read: part(usage.cache_read),
            cache_write: part(usage.cache_write),
            reasoning: part(usage.reasoning),
            tools: part(usage.tools),
        });
        before = until;
        let own = EmbedAnswer {
            model: answer.model.clone(),
            vectors: vectors.by_ref().take(waiter.request.texts.len()).collect(),
            usage,
        };
        drop(waiter.answer.send(Ok(own)));
    }
}

/// What falls on the first so many of all, rounded down.
fn portion(total: u64, until: u64, all: u64) -> u64 {
    let portion = u128::from(total) * u128::from(until) / u128::from(all.max(1));
    u64::try_from(portion).unwrap_or(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiter(texts: usize) -> Waiter {
        Waiter {
            request: EmbedRequest {
                texts: vec!["four".into(); texts],
                ..EmbedRequest::default()
            },
            answer: oneshot::channel().0,
        }
    }

    fn counts(joined: &Joined) -> Vec<usize> {
        joined.go.iter().map(Vec::len).collect()
    }

    #[test]
    fn the_first_goes_at_once_and_others_gather_until_there_are_enough() {
        let mut lane = Lane::default();
        let first = lane.join(waiter(1), 4);
        assert_eq!((counts(&first), first.began), (vec![1], None));
        let second = lane.join(waiter(1), 4);
        assert_eq!((counts(&second), second.began), (vec![], Some(1)));
        assert_eq!(counts(&lane.join(waiter(2), 4)), Vec::<usize>::new());
        // Two more do not fit to the three that wait; they wait for the next.
        let third = lane.join(waiter(2), 4);
        assert_eq!((counts(&third), third.began), (vec![2], Some(2)));
        assert_eq!(counts(&lane.join(waiter(2), 4)), [2]);
        // More than go together go alone.
        assert_eq!(counts(&lane.join(waiter(9), 4)), [1]);
    }

    #[test]
    fn shares_add_up() {
        for total in 0..50 {
            let parts = [3, 3, 1, 40].iter().scan(0, |before, tokens| {
                let part = portion(total, *before + tokens, 47) - portion(total, *before, 47);
                *before += tokens;
                Some(part)
            });
            assert_eq!(parts.sum::<u64>(), total);
        }
    }

    #[test]
    fn each_caller_has_read_something_and_all_of_them_what_was_counted() {
        for total in [3, 4, 50, 1_000] {
            let (waiters, answers): (Vec<Waiter>, Vec<_>) = ["a", "word", &"word ".repeat(500)]
                .into_iter()
                .map(|text| {
                    let (answer, answered) = oneshot::channel();
                    let request = EmbedRequest {
                        texts: vec![text.to_owned()],
                        ..EmbedRequest::default()
                    };
                    (Waiter { request, answer }, answered)
                })
                .unzip();
            let usage = Usage {
                input: total,
                ..Usage::default()
            };
            let answer = EmbedAnswer {
                model: "m".into(),
                vectors: vec![vec![1.0]; 3],
                usage: Some(usage),
            };
            share(waiters, answer);
            let read = answers.into_iter().map(|mut answered| {
                let own = answered.try_recv().unwrap().unwrap();
                assert_eq!(own.vectors.len(), 1);
                own.usage.unwrap().input
            });
            let read: Vec<u64> = read.collect();
            assert!(read.iter().all(|tokens| *tokens > 0), "{read:?}");
            assert_eq!(read.iter().sum::<u64>(), total);
        }
    }
}

//! Answers that are kept for the same question, where a route asks for it.
//!
//! Kept in this process's memory, for one tenant, under everything that was asked but for who asks.
//! Turns with tools are never kept: what a tool gives changes the world or comes from it. Of callers
//! that ask the same at once one asks the provider, and the others wait for its answer; streams do
//! not wait, and leave their answer for those who come later.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use matrix_core::{Clock, Digest, Scope};

use crate::chat::{ChatAnswer, ChatRequest, Choice, Finish, Part};

/// The most bytes of all answers together; the oldest make room.
const BYTES_MAX: usize = 64 * 1024 * 1024;

/// The largest answer that is kept.
const ANSWER_MAX: usize = 1024 * 1024;

/// Answers of this process.
#[derive(Debug)]
pub(super) struct Cache {
    clock: Arc<dyn Clock>,
    kept: Mutex<Kept>,
    flights: Mutex<HashMap<Digest, Arc<tokio::sync::Mutex<()>>>>,
}

#[derive(Debug, Default)]
struct Kept {
    answers: HashMap<Digest, Entry>,
    order: VecDeque<Digest>,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    hit: Hit,
    until: Duration,
    bytes: usize,
}

/// An answer that was kept.
#[derive(Debug, Clone)]
pub(super) struct Hit {
    /// The answer.
    pub(super) answer: ChatAnswer,
    /// Who gave it, by name and version.
    pub(super) model: String,
}

/// Where an answer is kept, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    key: Digest,
    lasts: Duration,
}

impl Place {
    /// The place of a question's answer; none for one that is not kept.
    pub(super) fn of(
        (scope, name, tags): (&Scope, &str, &[String]),
        request: &ChatRequest,
        lasts: Option<Duration>,
    ) -> Option<Self> {
        let lasts = lasts.filter(|lasts| !lasts.is_zero())?;
        let turns = request.messages.iter().flat_map(|message| &message.parts);
        let mut turns =
            turns.filter(|part| matches!(part, Part::ToolCall { .. } | Part::ToolResult { .. }));
        if !request.tools.is_empty() || turns.next().is_some() {
            return None;
        }
        let asked = ChatRequest {
            user: None,
            ..request.clone()
        };
        let asked = serde_json::to_vec(&asked).ok()?;
        let (organisation, workspace) = (scope.organisation.len(), scope.workspace.len());
        // Lengths stand before texts, so that no two questions look alike.
        let head = format!("{organisation} {workspace} {} {tags:?} ", name.len());
        let key = Digest::of_parts(&[
            head.as_bytes(),
            scope.organisation.as_bytes(),
            scope.workspace.as_bytes(),
            name.as_bytes(),
            &asked,
        ]);
        Some(Self { key, lasts })
    }
}

impl Cache {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            kept: Mutex::default(),
            flights: Mutex::default(),
        }
    }

    /// The answer at a place, if it is kept still.
    pub(super) fn get(&self, place: Place) -> Option<Hit> {
        let now = self.clock.monotonic();
        let kept = locked(&self.kept);
        let entry = kept.answers.get(&place.key)?;
        (now < entry.until).then(|| entry.hit.clone())
    }

    /// Keeps an answer that is whole.
    pub(super) fn put(&self, place: Place, answer: &ChatAnswer, model: &str) {
        let whole = |choice: &Choice| matches!(choice.finish, Finish::Stop | Finish::StopText(_));
        if answer.choices.is_empty() || !answer.choices.iter().all(whole) {
            return;
        }
        let bytes = serde_json::to_vec(answer).map_or(usize::MAX, |text| text.len());
        if bytes > ANSWER_MAX {
            return;
        }
        let hit = Hit {
            answer: answer.clone(),
            model: model.to_owned(),
        };
        let until = self.clock.monotonic().saturating_add(place.lasts);
        let mut kept = locked(&self.kept);
        kept.remove(&place.key);
        kept.bytes += bytes;
        kept.order.push_back(place.key);
        kept.answers.insert(place.key, Entry { hit, until, bytes });
        while kept.bytes > BYTES_MAX {
            let Some(oldest) = kept.order.front().copied() else {
                break;
            };
            kept.remove(&oldest);
        }
    }

    /// Whose turn it is to ask for the answer at a place.
    pub(super) fn flight(&self, place: Place) -> Arc<tokio::sync::Mutex<()>> {
        let mut flights = locked(&self.flights);
        // Nobody but this map has those that are over.
        flights.retain(|_, flight| Arc::strong_count(flight) > 1);
        Arc::clone(flights.entry(place.key).or_default())
    }
}

impl Kept {
    fn remove(&mut self, key: &Digest) {
        if let Some(entry) = self.answers.remove(key) {
            self.bytes = self.bytes.saturating_sub(entry.bytes);
            self.order.retain(|other| other != key);
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

//! Answers that are kept for the same question, where a route asks for it.
//!
//! Kept in this process's memory, for one tenant, under everything that was asked but for who asks.
//! Turns with tools are kept where the route says so only: what a tool gives changes the world or comes
//! from it. Of callers that ask the same at once one asks the provider, and the others wait for its
//! answer; streams do not wait, and leave their answer for those who come later.
//!
//! Where the route asks for it an answer is found by likeness, too: questions whose last words have
//! vectors near each other, and that are the same otherwise, are one group of [`Neighbours`].

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use matrix_core::{Clock, Digest, Scope, Timestamp};

use crate::chat::{ChatAnswer, ChatRequest, Choice, Finish, Message, Part, Role};
use crate::neighbours::Neighbours;
use crate::registry::{Route, Similar};

/// The most bytes of all answers and vectors together; the oldest make room.
const BYTES_MAX: usize = 256 * 1024 * 1024;

/// What keeping an answer costs beside its text and its vector, in bytes.
const ENTRY_BYTES: usize = 512;

/// The most bytes of words that are looked for by likeness. Many models that make vectors read 256 tokens
/// and drop the rest without a word, and what was dropped would be alike.
const WORDS_MAX: usize = 800;

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
    /// By when they were put there.
    order: BTreeMap<u64, Digest>,
    next: u64,
    /// By what is the same in their questions, and how long their vectors are.
    groups: HashMap<(Digest, usize), Neighbours<Digest>>,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    hit: Hit,
    until: Duration,
    bytes: usize,
    order: u64,
    group: Option<(Digest, usize)>,
}

/// An answer that was kept.
#[derive(Debug, Clone)]
pub(super) struct Hit {
    /// The answer.
    pub(super) answer: ChatAnswer,
    /// Who gave it, by name and version.
    pub(super) model: String,
}

/// What a route keeps.
#[derive(Debug, Clone)]
pub(super) struct Rule {
    /// Since when the route is as it is: as it was, it may have asked others.
    since: Timestamp,
    lasts: Duration,
    tools: bool,
    similar: Option<Similar>,
}

impl Rule {
    /// A route's rule, if it keeps anything.
    pub(super) fn of(route: &Route) -> Option<Self> {
        let spec = &route.spec;
        let seconds = spec.cache_seconds.filter(|seconds| *seconds > 0)?;
        Some(Self {
            since: route.created_at,
            lasts: Duration::from_secs(seconds),
            tools: spec.cache_tools,
            similar: spec.cache_similar.clone(),
        })
    }
}

/// Where an answer is kept, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    key: Digest,
    lasts: Duration,
    tools: bool,
}

/// By what else an answer is found.
#[derive(Debug, Clone)]
pub(super) struct Likeness {
    group: Digest,
    /// What makes the vectors, and how near they must be.
    pub(super) similar: Similar,
    /// The words that may be others.
    pub(super) words: String,
}

/// Who asks by which name: a tenant, a route and the tags.
pub(super) type Asking<'a> = (&'a Scope, &'a str, &'a [String]);

impl Place {
    /// The place of a question's answer; none for one that is not kept.
    pub(super) fn of(asking: Asking<'_>, request: &ChatRequest, rule: &Rule) -> Option<Self> {
        if !rule.tools && has_tools(request) {
            return None;
        }
        Some(Self {
            key: digest(asking, (rule, ""), request)?,
            lasts: rule.lasts,
            tools: rule.tools,
        })
    }
}

impl Likeness {
    /// What of a question may be worded differently; nothing where the route does not ask for it, with
    /// tools, and where the last word is no plain text of a user.
    pub(super) fn of(asking: Asking<'_>, request: &ChatRequest, rule: &Rule) -> Option<Self> {
        let similar = rule.similar.clone()?;
        let (last, before) = request.messages.split_last()?;
        if last.role != Role::User || has_tools(request) {
            return None;
        }
        let mut words = String::new();
        for part in &last.parts {
            let Part::Text { text, .. } = part else {
                return None;
            };
            words.push_str(text);
            words.push('\n');
        }
        if words.trim().is_empty() || words.len() > WORDS_MAX {
            return None;
        }
        let blank = Message {
            parts: Vec::new(),
            ..last.clone()
        };
        let rest = ChatRequest {
            messages: before.iter().cloned().chain([blank]).collect(),
            ..request.clone()
        };
        Some(Self {
            group: digest(asking, (rule, &similar.model), &rest)?,
            similar,
            words,
        })
    }
}

fn has_tools(request: &ChatRequest) -> bool {
    let mut parts = request.messages.iter().flat_map(|message| &message.parts);
    let of_tool = |part: &Part| matches!(part, Part::ToolCall { .. } | Part::ToolResult { .. });
    !request.tools.is_empty() || parts.any(of_tool)
}

/// Everything that was asked but for who asks.
fn digest(
    (scope, name, tags): Asking<'_>,
    (rule, by): (&Rule, &str),
    request: &ChatRequest,
) -> Option<Digest> {
    let asked = ChatRequest {
        user: None,
        ..request.clone()
    };
    let asked = serde_json::to_vec(&asked).ok()?;
    let (organisation, workspace) = (scope.organisation.len(), scope.workspace.len());
    // Lengths stand before texts, so that no two questions look alike.
    let (name_length, by_length) = (name.len(), by.len());
    let since = rule.since.as_micros();
    let head = format!("{organisation} {workspace} {name_length} {by_length} {since} {tags:?} ");
    Some(Digest::of_parts(&[
        head.as_bytes(),
        scope.organisation.as_bytes(),
        scope.workspace.as_bytes(),
        name.as_bytes(),
        by.as_bytes(),
        &asked,
    ]))
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

    /// The answer to the question that is most alike, if one is alike enough.
    pub(super) fn alike(&self, likeness: &Likeness, vector: &[f32]) -> Option<Hit> {
        let now = self.clock.monotonic();
        let kept = locked(&self.kept);
        let fresh = |key: &Digest| {
            let entry = kept.answers.get(key);
            entry.is_some_and(|entry| now < entry.until)
        };
        let group = kept.groups.get(&(likeness.group, vector.len()))?;
        let (key, _) = group.nearest(vector, likeness.similar.at_least, fresh)?;
        kept.answers.get(key).map(|entry| entry.hit.clone())
    }

    /// Keeps an answer that is whole, also for questions that are alike where there is a vector.
    pub(super) fn put(
        &self,
        (place, alike): (Place, Option<(&Likeness, &[f32])>),
        answer: &ChatAnswer,
        model: &str,
    ) {
        let whole = |choice: &Choice| match choice.finish {
            Finish::Stop | Finish::StopText(_) => true,
            Finish::Tools => place.tools,
            _ => false,
        };
        if answer.choices.is_empty() || !answer.choices.iter().all(whole) {
            return;
        }
        let bytes = serde_json::to_vec(answer).map_or(usize::MAX, |text| text.len());
        if bytes > ANSWER_MAX {
            return;
        }
        let bytes = bytes + alike.map_or(0, |(_, vector)| size_of_val(vector)) + ENTRY_BYTES;
        let hit = Hit {
            answer: answer.clone(),
            model: model.to_owned(),
        };
        let until = self.clock.monotonic().saturating_add(place.lasts);
        let mut kept = locked(&self.kept);
        kept.remove(&place.key);
        let group = alike.and_then(|(likeness, vector)| {
            let of = (likeness.group, vector.len());
            let group = kept.groups.entry(of);
            let group = group.or_insert_with(|| Neighbours::new(vector.len()));
            let there = group.put(place.key, vector);
            if group.is_empty() {
                kept.groups.remove(&of);
            }
            there.then_some(of)
        });
        let order = kept.next;
        kept.next += 1;
        kept.bytes += bytes;
        kept.order.insert(order, place.key);
        let entry = Entry {
            hit,
            until,
            bytes,
            order,
            group,
        };
        kept.answers.insert(place.key, entry);
        while kept.bytes > BYTES_MAX {
            let Some((_, oldest)) = kept.order.first_key_value() else {
                break;
            };
            let oldest = *oldest;
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
        let Some(entry) = self.answers.remove(key) else {
            return;
        };
        self.bytes = self.bytes.saturating_sub(entry.bytes);
        self.order.remove(&entry.order);
        let Some(group) = entry.group else {
            return;
        };
        if let Some(neighbours) = self.groups.get_mut(&group) {
            neighbours.remove(key);
            if neighbours.is_empty() {
                self.groups.remove(&group);
            }
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

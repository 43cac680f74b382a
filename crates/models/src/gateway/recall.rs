//! Whether a question was answered before, and where its answer will be kept.

use std::time::Duration;

use matrix_core::{Authorised, Money};

use super::cache::{Hit, Likeness, Place};
use super::call::{Trying, receipt};
use super::meters::Outcome;
use super::{Cached, Gateway, ModelUse, Receipt};
use crate::admission::Granted;
use crate::chat::{ChatAnswer, ChatRequest};
use crate::embed::EmbedRequest;
use crate::error::ModelError;
use crate::inference::Inference;
use crate::ledger::Ending;
use crate::registry::Entry;
use crate::usage::Usage;

/// The longest that a question waits for the vector by which others like it are found.
const PATIENCE: Duration = Duration::from_secs(2);

/// Where the answer to a question is kept.
#[derive(Debug)]
pub(super) struct Keeping {
    place: Place,
    alike: Option<(Likeness, Vec<f32>)>,
}

/// What is known of a question's answer.
pub(super) enum Recalled {
    /// It was given before.
    Hit(Hit, Box<Receipt>),
    /// It was not, and is kept here.
    Miss(Keeping),
}

impl Gateway {
    /// Where the answer to a question would be kept, if its route keeps it.
    pub(super) fn place(
        request: &Authorised<ModelUse>,
        chat: &ChatRequest,
        trying: &Trying,
    ) -> Option<Place> {
        let ModelUse { model, tags, .. } = request.action();
        let asking = (&request.caller().scope, model.as_str(), tags.as_slice());
        Place::of(asking, chat, trying.keeps.as_ref()?)
    }

    /// Looks for an answer: to the same question, then to one that is alike.
    pub(super) async fn recall(
        &self,
        request: &Authorised<ModelUse>,
        (place, chat): (Place, &ChatRequest),
        trying: &mut Trying,
    ) -> Result<Recalled, ModelError> {
        let cache = &self.shared.cache;
        if let Some(hit) = cache.get(place)
            && let Some(receipt) = self
                .remembered(request, (&hit, Cached::Same), trying)
                .await?
        {
            return Ok(Recalled::Hit(hit, Box::new(trying.recalled(receipt))));
        }
        let Some((likeness, vector)) = self.likeness(request, chat, trying).await else {
            return Ok(Recalled::Miss(Keeping { place, alike: None }));
        };
        if let Some(hit) = cache.alike(&likeness, &vector)
            && let Some(receipt) = self
                .remembered(request, (&hit, Cached::Similar), trying)
                .await?
        {
            return Ok(Recalled::Hit(hit, Box::new(trying.recalled(receipt))));
        }
        let alike = Some((likeness, vector));
        Ok(Recalled::Miss(Keeping { place, alike }))
    }

    /// The last words of a question as a vector, where its route looks for questions that are alike.
    /// Where there is none to be had, the question is asked as any other.
    async fn likeness(
        &self,
        request: &Authorised<ModelUse>,
        chat: &ChatRequest,
        trying: &mut Trying,
    ) -> Option<(Likeness, Vec<f32>)> {
        let ModelUse { model, tags, .. } = request.action();
        let asking = (&request.caller().scope, model.as_str(), tags.as_slice());
        let likeness = Likeness::of(asking, chat, trying.keeps.as_ref()?)?;
        let asked = ModelUse {
            model: likeness.similar.model.clone(),
            tags: Vec::new(),
            ..request.action().clone()
        };
        // As it decides who answers: whoever may ask for the route need not be allowed to ask this one.
        let asked = Authorised::obtain(&Granted, request.caller().clone(), asked).ok()?;
        let embed = EmbedRequest {
            texts: vec![likeness.words.clone()],
            ..EmbedRequest::default()
        };
        let embedding = Box::pin(self.embed(&asked, embed));
        let why = match tokio::time::timeout(PATIENCE, embedding).await {
            Ok(Ok((answer, receipt))) => {
                trying.aside = receipt.cost;
                let vector = answer.vectors.into_iter().next()?;
                return Some((likeness, vector));
            }
            Ok(Err(error)) => error.complaint().message,
            Err(_) => format!("no vector came within {PATIENCE:?}"),
        };
        let text = format!("questions that are alike were not looked for: {why}");
        trying.passed.push(text);
        None
    }

    /// Keeps an answer.
    pub(super) fn keep(&self, keeping: &Keeping, answer: &ChatAnswer, model: &str) {
        let alike = keeping.alike.as_ref();
        let alike = alike.map(|(likeness, vector)| (likeness, vector.as_slice()));
        self.shared.cache.put((keeping.place, alike), answer, model);
    }

    /// Notes that an answer was given again, which costs nothing; nothing if its model is gone.
    async fn remembered(
        &self,
        request: &Authorised<ModelUse>,
        (hit, cached): (&Hit, Cached),
        trying: &Trying,
    ) -> Result<Option<Receipt>, ModelError> {
        let caller = request.caller();
        let snapshot = self.shared.registry.snapshot(&caller.scope).await?;
        let Some(Entry::Model(model)) = snapshot.get(&hit.model) else {
            return Ok(None);
        };
        let who = (caller, &request.action().labels);
        let nothing = (&Usage::default(), Money::ZERO);
        self.shared.ledger.note(who, model, nothing, Ending::Cached);
        self.meter(model, Outcome::Cached, Duration::ZERO);
        let usage = hit.answer.usage.unwrap_or_default();
        self.tell(request, || Inference {
            operation: "chat".into(),
            outcome: Outcome::Cached.as_str().into(),
            answered: hit.answer.model.clone(),
            response: hit.answer.id.clone(),
            usage,
            redacted: trying.redacted.clone(),
            content: trying.noted(&hit.answer),
            ..Inference::of(request, model, self.shared.clock.now())
        });
        Ok(Some(Receipt {
            cached,
            ..receipt(model, usage, Ending::Cached, Money::ZERO, Vec::new())
        }))
    }
}

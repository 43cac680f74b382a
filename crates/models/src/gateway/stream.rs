//! One call, as it is being answered.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::{Stream, StreamExt};
use matrix_core::{Authorised, Money};

use super::cache::Hit;
use super::call::{counted, sum, wait, withhold};
use super::charge::Charge;
use super::meters::Outcome;
use super::plan::Needs;
use super::recall::{Keeping, Recalled};
use super::{Cached, Gateway, ModelUse, Receipt};
use crate::chat::ChatRequest;
use crate::delta::{Assembler, Delta, deltas};
use crate::error::{BLOCKED, ModelError};
use crate::inference::Content;
use crate::ledger::Ending;
use crate::provider::{DeltaStream, Dropped, ProviderError, Reason};
use crate::redact::{Counts, Flow, Refused, Screen};
use crate::usage::Usage;

/// Whether it is a word of the answer; before the first one another model can still be asked.
fn speaks(delta: &Delta) -> bool {
    !matches!(
        delta,
        Delta::Begin { .. } | Delta::Usage(_) | Delta::Extra(..)
    )
}

/// An answer as it is being written. Dropped before its end, it pays for what was written until
/// then, and its provider is told to stop.
pub struct Streaming {
    inner: DeltaStream,
    first: VecDeque<Vec<Delta>>,
    charge: Option<Charge>,
    /// Who answered, and for how much, once it is known.
    settled: Option<Receipt>,
    assembler: Assembler,
    dropped: Dropped,
    passed: Vec<String>,
    model: String,
    provider: &'static str,
    /// Where the answer is kept when it is whole.
    keep: Option<(Gateway, Keeping)>,
    /// What was paid before the model was asked.
    aside: Money,
    /// What is known of an answer that was kept from an earlier call.
    again: Option<Receipt>,
    /// What was kept back from the model.
    redacted: Counts,
    guarded: Box<Guarded>,
}

/// What is done with an answer on its way.
struct Guarded {
    gateway: Gateway,
    screen: Box<Screen>,
    screening: Option<Flow>,
    restoring: Option<Flow>,
    /// Why what comes next is not given out.
    refused: Option<Refused>,
}

impl Guarded {
    fn new(gateway: &Gateway, request: &Authorised<ModelUse>, screen: Box<Screen>) -> Self {
        let restoring = Flow::restoring(&screen);
        Self {
            gateway: gateway.clone(),
            screening: Flow::screening(&screen),
            // What is turned back is its asker's; a journal keeps it as the model knows it.
            restoring: restoring.filter(|_| !request.action().journaled),
            screen,
            refused: None,
        }
    }

    /// What may be kept and given out of what came.
    fn come(&mut self, deltas: Vec<Delta>) -> Vec<Delta> {
        let Some(flow) = &mut self.screening else {
            return deltas;
        };
        match flow.pass(deltas, &mut self.screen) {
            Ok(deltas) => deltas,
            Err(refused) => {
                self.refused = Some(refused);
                Vec::new()
            }
        }
    }

    /// The same as its asker hears it.
    fn go(&mut self, deltas: Vec<Delta>) -> Vec<Delta> {
        let Some(flow) = &mut self.restoring else {
            return deltas;
        };
        // Nothing is refused that is turned back.
        flow.pass(deltas, &mut self.screen).unwrap_or_default()
    }
}

impl std::fmt::Debug for Streaming {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Streaming")
            .field("model", &self.model)
            .finish_non_exhaustive()
    }
}

impl Gateway {
    /// Asks for an answer as it is being written; ready with its first words.
    pub async fn stream(
        &self,
        request: &Authorised<ModelUse>,
        mut chat: ChatRequest,
    ) -> Result<Streaming, ModelError> {
        let withheld = withhold(&mut chat);
        let screen = self.screen(request, &mut chat).await?;
        let needs = Needs::of_chat(&chat);
        let mut trying = self.trying(request, &needs, &screen).await?;
        trying.withheld = withheld;
        trying.content = self.noted(request, &screen, |record| Content::of_chat(&chat, record));
        let mut guarded = Box::new(Guarded::new(self, request, screen));
        let mut keep = None;
        if let Some(place) = Self::place(request, &chat, &trying) {
            match self.recall(request, (place, &chat), &mut trying).await? {
                Recalled::Hit(hit, receipt) => {
                    return Ok(Streaming::again(&hit, *receipt, guarded));
                }
                Recalled::Miss(keeping) => keep = Some((self.clone(), keeping)),
            }
        }
        loop {
            let Some(mut charge) = self.next(request, &mut trying, needs).await? else {
                return Err(trying.over());
            };
            // Before the first words nothing was written, unless the model thinks in secret.
            if !charge.thinks() {
                charge.unheard = 0;
            }
            chat.model.clone_from(&charge.model.spec.model);
            match self.begin(&charge, &chat).await {
                Ok((first, inner, mut dropped)) => {
                    dropped.extend(trying.withheld);
                    charge.meter_first();
                    let first = guarded.come(first);
                    let mut assembler = Assembler::default();
                    for delta in &first {
                        assembler.push(delta);
                        charge.heard.note(delta);
                    }
                    return Ok(Streaming {
                        inner,
                        first: VecDeque::from([first]),
                        model: charge.model.full_name(),
                        provider: charge.model.spec.provider.kind.as_str(),
                        charge: Some(charge),
                        settled: None,
                        assembler,
                        dropped,
                        passed: trying.passed,
                        keep,
                        aside: trying.aside,
                        again: None,
                        redacted: trying.redacted,
                        guarded,
                    });
                }
                Err(error) => {
                    charge.fail(&error);
                    trying.failed(&charge.model, error)?;
                }
            }
        }
    }

    /// The first words, once more where that may help soon.
    async fn begin(
        &self,
        charge: &Charge,
        chat: &ChatRequest,
    ) -> Result<(Vec<Delta>, DeltaStream, Dropped), ProviderError> {
        let model = &charge.model;
        let provider = self.shared.providers.of(model);
        let mut again = true;
        loop {
            let begun = async {
                let (mut inner, dropped) = provider.stream(model, chat).await?;
                let mut first = Vec::new();
                while !first.iter().any(speaks) {
                    match inner.next().await.transpose()? {
                        Some(deltas) => first.extend(deltas),
                        None => break,
                    }
                }
                Ok((first, inner, dropped))
            };
            match begun.await {
                Err(error) if again => match wait(&error) {
                    Some(wait) => tokio::time::sleep(wait).await,
                    None => return Err(error),
                },
                done => return done,
            }
            again = false;
        }
    }
}

impl Streaming {
    /// An answer that was kept, as it was written then.
    fn again(hit: &Hit, receipt: Receipt, guarded: Box<Guarded>) -> Self {
        Self {
            inner: futures::stream::empty().boxed(),
            first: VecDeque::from([deltas(&hit.answer)]),
            charge: None,
            settled: None,
            assembler: Assembler::default(),
            dropped: receipt.dropped.clone(),
            passed: Vec::new(),
            model: receipt.model.clone(),
            provider: receipt.provider,
            keep: None,
            aside: Money::ZERO,
            redacted: receipt.redacted.clone(),
            again: Some(receipt),
            guarded,
        }
    }

    /// Whether the answer was kept from an earlier call.
    pub fn cached(&self) -> Cached {
        let again = self.again.as_ref();
        again.map_or(Cached::No, |receipt| receipt.cached)
    }

    /// The model, by its name and version here.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// Its provider.
    pub fn provider(&self) -> &'static str {
        self.provider
    }

    /// What was asked and could not be said to the provider.
    pub fn dropped(&self) -> &[&'static str] {
        &self.dropped
    }

    /// Why models that came before were passed over.
    pub fn passed(&self) -> &[String] {
        &self.passed
    }

    /// How many things of each class were kept back from the model.
    pub fn redacted(&self) -> &Counts {
        &self.redacted
    }

    /// Takes note of what came, and settles at the end.
    fn note(&mut self, deltas: &mut Vec<Delta>) {
        for delta in deltas.iter() {
            self.assembler.push(delta);
            if let Some(charge) = &mut self.charge {
                charge.heard.note(delta);
            }
        }
        if self.assembler.ended() {
            self.settle(deltas);
        }
    }

    /// All is said, these words last. What was used is added to them where the provider did not say
    /// it.
    fn settle(&mut self, last: &mut Vec<Delta>) {
        let (usage, ending) = self.used();
        if ending == Ending::Estimated {
            let end = last.len().saturating_sub(1);
            last.insert(end, Delta::Usage(usage));
        }
        let noted = self
            .charge
            .as_ref()
            .is_some_and(|charge| charge.content.is_some());
        if self.keep.is_some() || noted {
            let mut answer = std::mem::take(&mut self.assembler).finish();
            answer.usage = Some(usage);
            if let Some((gateway, keeping)) = self.keep.take() {
                gateway.keep(&keeping, &answer, &self.model);
            }
            if let Some(charge) = &mut self.charge {
                charge.heard_words(&answer);
            }
        }
        self.guarded.gateway.screened(&self.guarded.screen);
        if let Some(mut charge) = self.charge.take() {
            charge.answered(Outcome::Answered);
            let cost = charge.settle(usage, ending);
            let cost = sum(cost, self.aside);
            self.settled = Some(Receipt {
                dropped: self.dropped.clone(),
                ..charge.receipt((usage, ending, cost), self.passed.clone())
            });
        }
    }

    /// What was used so far: as the provider says, or estimated. Some say what was read at the
    /// beginning and what was written at the end only.
    fn used(&self) -> (Usage, Ending) {
        let input = self.charge.as_ref().map_or(0, |charge| charge.needs.input);
        let (mut usage, ending) = counted(self.assembler.usage(), input);
        if ending == Ending::Estimated || !self.assembler.ended() {
            let written = (self.assembler.bytes() as u64).div_ceil(4);
            let unseen = self
                .charge
                .as_ref()
                .filter(|_| self.assembler.usage().is_none());
            let unseen = unseen.filter(|charge| charge.thinks() && !self.assembler.ended());
            let unseen = unseen.map_or(0, |charge| charge.unheard);
            usage.output = usage.output.max(written).max(unseen);
        }
        let ending = if self.assembler.ended() {
            ending
        } else {
            Ending::Estimated
        };
        (usage, ending)
    }

    /// The answer as a whole, for whoever wants it so in the end.
    pub async fn collect(mut self) -> Result<(crate::chat::ChatAnswer, Receipt), ModelError> {
        let mut assembler = Assembler::default();
        while let Some(next) = self.next().await {
            for delta in next? {
                assembler.push(&delta);
            }
        }
        let receipt = self.again.take().or_else(|| self.settled.take());
        let receipt = receipt.ok_or_else(|| ModelError::Provider {
            model: self.model.clone(),
            source: ProviderError::new(Reason::Broken, "the provider's answer has no end"),
        })?;
        Ok((assembler.finish(), receipt))
    }
}

impl Stream for Streaming {
    type Item = Result<Vec<Delta>, ModelError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(mut first) = self.first.pop_front() {
            // It was assembled when it came.
            if first.last() == Some(&Delta::End) && self.again.is_none() {
                self.settle(&mut first);
            }
            return Poll::Ready(Some(Ok(self.guarded.go(first))));
        }
        if let Some(refused) = self.guarded.refused.take() {
            return Poll::Ready(Some(Err(self.refuse(refused))));
        }
        if self.charge.is_none() {
            return Poll::Ready(None);
        }
        match ready!(self.inner.poll_next_unpin(context)) {
            Some(Ok(deltas)) => {
                let mut deltas = self.guarded.come(deltas);
                if let Some(refused) = self.guarded.refused.take() {
                    return Poll::Ready(Some(Err(self.refuse(refused))));
                }
                self.note(&mut deltas);
                Poll::Ready(Some(Ok(self.guarded.go(deltas))))
            }
            Some(Err(source)) => {
                let model = self.model.clone();
                self.broke(Some(&source));
                Poll::Ready(Some(Err(ModelError::Provider { model, source })))
            }
            None => {
                self.broke(None);
                Poll::Ready(None)
            }
        }
    }
}

impl Streaming {
    /// Nothing more is given out: what was written so far is paid for.
    fn refuse(&mut self, refused: Refused) -> ModelError {
        if let Some(charge) = &mut self.charge {
            charge.heard.error = Some(BLOCKED.text);
            charge.content = None;
        }
        self.broke(None);
        self.guarded.gateway.refused(refused)
    }

    /// The stream broke, or nobody listens any more: what was written so far is paid for.
    fn broke(&mut self, error: Option<&ProviderError>) {
        let (usage, _) = self.used();
        let Some(mut charge) = self.charge.take() else {
            return;
        };
        if let Some(error) = error {
            charge.heard.error = Some(error.code().text);
            // Nobody knows what was written behind what came.
            charge.blame(error);
            charge.settle(usage, Ending::Unknown);
        } else {
            charge.answered(Outcome::HungUp);
            charge.settle(usage, Ending::Estimated);
        }
    }
}

impl Drop for Streaming {
    fn drop(&mut self) {
        self.broke(None);
    }
}

#[cfg(test)]
mod tests {
    use crate::chat::Part;
    use crate::estimate;

    #[test]
    fn what_was_written_is_estimated_alike_in_a_stream_and_as_a_whole() {
        let part = Part::text("some words of an answer");
        let bytes = "some words of an answer".len() as u64;
        assert_eq!(estimate::parts(&[part]), bytes.div_ceil(4));
    }
}

//! One call, as a whole: plan, reserve, ask, settle; and again with the next model.

use std::sync::Arc;
use std::time::Duration;

use matrix_core::{Authorised, Money, canonical};
use matrix_store::tables::budgets::Amount;

use super::cache::{Hit, Rule};
use super::charge::{COST_MAX, Charge, Heard};
use super::meters::Outcome;
use super::plan::Needs;
use super::recall::Recalled;
use super::{Answered, Cached, Gateway, ModelUse, Receipt};
use crate::chat::{ChatAnswer, ChatRequest};
use crate::embed::{EmbedAnswer, EmbedRequest};
use crate::error::{BLOCKED, ModelError};
use crate::estimate;
use crate::inference::Content;
use crate::ledger::Ending;
use crate::provider::{Dropped, ProviderError, Reason};
use crate::redact::{Counts, Screen};
use crate::registry::{Model, Task};
use crate::rerank::{RerankAnswer, RerankRequest};
use crate::usage::Usage;

/// How often one model is asked before the next one is.
const TRIES: u32 = 2;

/// The longest that a provider's wish to wait is honoured by waiting.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// The most tokens that one call is believed to use.
const TOKENS_MAX: u64 = 1 << 36;

/// How long to wait where the provider does not say.
const WAIT: Duration = Duration::from_millis(250);

/// Fields of some providers that let another model answer than the one that was asked for, or
/// answer at another price than the one that is counted: they are the operator's to decide.
const WITHHELD: &[&str] = &[
    "models",
    "route",
    "fallbacks",
    "provider",
    "plugins",
    "transforms",
    "service_tier",
    "web_search_options",
    "functions",
    "function_call",
    "best_of",
];

/// Takes them out of a request; gives those that were there.
pub(super) fn withhold(chat: &mut ChatRequest) -> Dropped {
    let there = WITHHELD.iter().copied();
    there
        .filter(|name| chat.extra.shift_remove(*name).is_some())
        .collect()
}

/// What a model was tried for, and what is left to try.
pub(super) struct Trying {
    models: std::vec::IntoIter<Arc<Model>>,
    name: String,
    pub(super) passed: Vec<String>,
    last: Option<ModelError>,
    retry_after: Option<Duration>,
    /// Whether and how its answer is kept.
    pub(super) keeps: Option<Rule>,
    /// What was paid before a model was asked.
    pub(super) aside: Money,
    /// What is not handed on to any provider.
    pub(super) withheld: Dropped,
    /// What was kept back from the model.
    pub(super) redacted: Counts,
    /// What was asked, where it is noted.
    pub(super) content: Option<Arc<Content>>,
}

impl Trying {
    /// The call failed with this model: whether the next one may be tried.
    pub(super) fn failed(&mut self, model: &Model, error: ProviderError) -> Result<(), ModelError> {
        let passes = error.may_pass();
        // What is wrong between us and a provider is not told to askers.
        let why = format!("{}: {}", model.name, error.complaint().message);
        let error = ModelError::Provider {
            model: model.name.clone(),
            source: error,
        };
        if !passes {
            return Err(error);
        }
        self.passed.push(why);
        self.last = Some(error);
        Ok(())
    }

    /// The receipt of an answer that was kept, in place of this call.
    pub(super) fn recalled(&mut self, receipt: Receipt) -> Receipt {
        Receipt {
            cost: self.aside,
            dropped: std::mem::take(&mut self.withheld),
            passed: std::mem::take(&mut self.passed),
            redacted: self.redacted.clone(),
            ..receipt
        }
    }

    /// What was asked, and answered before, where it is noted.
    pub(super) fn noted(&self, answer: &ChatAnswer) -> Option<Content> {
        let asked = self.content.as_deref();
        asked.map(|asked| asked.with(answer))
    }

    /// All were tried.
    pub(super) fn over(self) -> ModelError {
        match self.last {
            Some(error) => error,
            None => ModelError::NoneLeft {
                name: self.name,
                why: self.passed.join("; "),
                retry_after: self.retry_after,
            },
        }
    }
}

impl Gateway {
    /// Asks for an answer as a whole.
    pub async fn chat(
        &self,
        request: &Authorised<ModelUse>,
        mut chat: ChatRequest,
    ) -> Result<Answered, ModelError> {
        let withheld = withhold(&mut chat);
        let mut screen = self.screen(request, &mut chat).await?;
        let journaled = request.action().journaled;
        let sent = journaled.then(|| canonical::digest(&(&request.action().model, &chat)));
        let answer = self.answer(request, (chat, withheld), &mut screen);
        let mut answered = Box::pin(answer).await?;
        // What is turned back is its asker's; a journal keeps it as the model knows it.
        if !journaled {
            screen.restore(&mut answered.answer);
        }
        answered.receipt.request = sent.and_then(Result::ok);
        Ok(answered)
    }

    /// An answer to what was looked at, kept or new, as the model knows it.
    async fn answer(
        &self,
        request: &Authorised<ModelUse>,
        (chat, withheld): (ChatRequest, Dropped),
        screen: &mut Screen,
    ) -> Result<Answered, ModelError> {
        let needs = Needs::of_chat(&chat);
        let mut trying = self.trying(request, &needs, screen).await?;
        trying.withheld = withheld;
        trying.content = self.noted(request, screen, |record| Content::of_chat(&chat, record));
        let Some(place) = Self::place(request, &chat, &trying) else {
            return self.attempt(request, (chat, needs), trying, screen).await;
        };
        let flight = self.shared.cache.flight(place);
        // The first one asks; the others wait for it once, and ask for themselves where it has left
        // nothing to keep.
        let turn = flight.try_lock();
        if turn.is_err() {
            drop(flight.lock().await);
        }
        match self.recall(request, (place, &chat), &mut trying).await? {
            Recalled::Hit(Hit { answer, .. }, receipt) => Ok(Answered {
                answer,
                receipt: *receipt,
            }),
            Recalled::Miss(keeping) => {
                let attempt = self.attempt(request, (chat, needs), trying, screen);
                let answered = attempt.await?;
                self.keep(&keeping, &answered.answer, &answered.receipt.model);
                drop(turn);
                Ok(answered)
            }
        }
    }

    async fn attempt(
        &self,
        request: &Authorised<ModelUse>,
        (mut chat, needs): (ChatRequest, Needs),
        mut trying: Trying,
        screen: &mut Screen,
    ) -> Result<Answered, ModelError> {
        loop {
            let Some(mut charge) = self.next(request, &mut trying, needs).await? else {
                return Err(trying.over());
            };
            chat.model.clone_from(&charge.model.spec.model);
            match self.patiently(&charge.model, &chat).await {
                Ok((mut answer, mut dropped)) => {
                    dropped.extend(trying.withheld);
                    charge.answered(Outcome::Answered);
                    // It is paid for, whatever is in it.
                    let looked = screen.answer(&mut answer);
                    self.screened(screen);
                    if looked.is_err() {
                        charge.heard.error = Some(BLOCKED.text);
                        charge.content = None;
                    }
                    let mut answered = receive(&mut charge, answer, dropped, trying.passed);
                    looked.map_err(|refused| self.refused(refused))?;
                    answered.receipt.cost = sum(answered.receipt.cost, trying.aside);
                    return Ok(answered);
                }
                Err(error) => {
                    charge.fail(&error);
                    trying.failed(&charge.model, error)?;
                }
            }
        }
    }

    /// Asks for vectors.
    pub async fn embed(
        &self,
        request: &Authorised<ModelUse>,
        mut embed: EmbedRequest,
    ) -> Result<(EmbedAnswer, Receipt), ModelError> {
        let screen = self.screen(request, &mut embed).await?;
        let needs = Needs::of_texts(&embed.texts, Task::Embed);
        let mut trying = self.trying(request, &needs, &screen).await?;
        let noted = |record| Content::of_texts(&embed.texts, record);
        trying.content = self.noted(request, &screen, noted);
        loop {
            let Some(mut charge) = self.next(request, &mut trying, needs).await? else {
                return Err(trying.over());
            };
            embed.model.clone_from(&charge.model.spec.model);
            let model = Arc::clone(&charge.model);
            let (scope, gather) = (&request.caller().scope, &self.shared.gather);
            match gather.embed(scope, &model, embed.clone()).await {
                Ok(answer) => {
                    charge.answered(Outcome::Answered);
                    charge.heard.model.clone_from(&answer.model);
                    let (usage, ending) = counted(answer.usage, needs.input);
                    let cost = charge.settle(usage, ending);
                    return Ok((answer, charge.receipt((usage, ending, cost), trying.passed)));
                }
                Err(error) => {
                    charge.fail(&error);
                    trying.failed(&model, error)?;
                }
            }
        }
    }

    /// Asks for an order of relevance.
    pub async fn rerank(
        &self,
        request: &Authorised<ModelUse>,
        mut rerank: RerankRequest,
    ) -> Result<(RerankAnswer, Receipt), ModelError> {
        let screen = self.screen(request, &mut rerank).await?;
        let mut needs = Needs::of_texts(&rerank.texts, Task::Rerank);
        let query = estimate::tokens(&rerank.query);
        needs.input += query;
        needs.longest += query;
        let mut trying = self.trying(request, &needs, &screen).await?;
        let noted = |record| {
            let texts = std::iter::once(&rerank.query).chain(&rerank.texts);
            Content::of_texts(texts, record)
        };
        trying.content = self.noted(request, &screen, noted);
        loop {
            let Some(mut charge) = self.next(request, &mut trying, needs).await? else {
                return Err(trying.over());
            };
            rerank.model.clone_from(&charge.model.spec.model);
            let model = Arc::clone(&charge.model);
            match self
                .shared
                .providers
                .of(&model)
                .rerank(&model, &rerank)
                .await
            {
                Ok(answer) => {
                    charge.answered(Outcome::Answered);
                    let (usage, ending) = counted(answer.usage, needs.input);
                    let cost = charge.pay(usage, answer.queries, ending);
                    return Ok((answer, charge.receipt((usage, ending, cost), trying.passed)));
                }
                Err(error) => {
                    charge.fail(&error);
                    trying.failed(&model, error)?;
                }
            }
        }
    }

    pub(super) async fn trying(
        &self,
        request: &Authorised<ModelUse>,
        needs: &Needs,
        screen: &Screen,
    ) -> Result<Trying, ModelError> {
        let plan = self.plan(request.caller(), request.action(), needs).await?;
        Ok(Trying {
            models: plan.models.into_iter(),
            name: request.action().model.clone(),
            passed: plan.passed,
            last: None,
            retry_after: None,
            keeps: plan.keeps,
            withheld: Dropped::new(),
            aside: Money::ZERO,
            redacted: screen.sent.clone(),
            content: None,
        })
    }

    /// The next model that may be asked, with what the call owes; nothing if all were tried.
    pub(super) async fn next(
        &self,
        request: &Authorised<ModelUse>,
        trying: &mut Trying,
        needs: Needs,
    ) -> Result<Option<Charge>, ModelError> {
        let (caller, labels) = (request.caller(), &request.action().labels);
        for model in trying.models.by_ref() {
            let Some(price) = model.price.clone() else {
                trying
                    .passed
                    .push(format!("{}: nobody said what it costs", model.name));
                trying.last = Some(ModelError::NoPrice(model.name.clone()));
                continue;
            };
            // Estimates may be twice what a provider counts.
            if let Some(context) = model.context.filter(|context| needs.longest / 2 > *context) {
                trying
                    .passed
                    .push(format!("{}: it reads {context} tokens", model.name));
                trying.last = Some(ModelError::TooLong {
                    model: model.name.clone(),
                    tokens: needs.longest,
                    context,
                });
                continue;
            }
            let output = needs.most(&model);
            let most = price.most(needs.input, output).as_nanos();
            let amount = Amount {
                money: most.saturating_add(price.queries(1).as_nanos()),
                tokens: i64::try_from(needs.input.saturating_add(output)).unwrap_or(i64::MAX),
            };
            let subjects = labels.subjects(caller);
            let purses = &self.shared.purses;
            // First, so that a call that nobody pays for uses up nothing of a key's limits.
            let reservation = purses.reserve(&caller.scope, &subjects, amount).await?;
            let attempt = match self.shared.board.begin(&caller.scope, &model, needs.input) {
                Ok(attempt) => attempt,
                Err(shut) => {
                    reservation.settle(Money::ZERO, 0);
                    trying.passed.push(format!("{}: {}", model.name, shut.why));
                    let sooner = trying
                        .retry_after
                        .map_or(shut.retry_after, |at| at.min(shut.retry_after));
                    trying.retry_after = Some(sooner);
                    continue;
                }
            };
            return Ok(Some(Charge {
                gateway: self.clone(),
                request: request.clone(),
                model,
                price,
                reservation: Some(reservation),
                attempt,
                needs,
                unheard: output,
                began: self.shared.clock.now(),
                reserved: Money::from_nanos(amount.money).min(COST_MAX),
                outcome: Outcome::HungUp,
                heard: Heard::default(),
                redacted: trying.redacted.clone(),
                content: trying.content.clone(),
            }));
        }
        Ok(None)
    }

    /// Asks a model, once more where that may help soon.
    async fn patiently(
        &self,
        model: &Model,
        chat: &ChatRequest,
    ) -> Result<(ChatAnswer, Dropped), ProviderError> {
        let provider = self.shared.providers.of(model);
        let mut tries = 1;
        loop {
            match provider.chat(model, chat).await {
                Err(error) if tries < TRIES => match wait(&error) {
                    Some(wait) => tokio::time::sleep(wait).await,
                    None => return Err(error),
                },
                done => return done,
            }
            tries += 1;
        }
    }

    pub(super) fn meter(&self, model: &Model, outcome: Outcome, took: Duration) {
        self.shared.meters.call(model, outcome, took);
    }
}

/// Two costs together.
pub(super) fn sum(one: Money, other: Money) -> Money {
    Money::from_nanos(one.as_nanos().saturating_add(other.as_nanos()))
}

/// How long to wait before the same model is asked again; nothing where that does not help.
pub(super) fn wait(error: &ProviderError) -> Option<Duration> {
    match error.reason {
        Reason::Busy { retry_after } => {
            let wait = retry_after.unwrap_or(WAIT);
            (wait <= WAIT_MAX).then_some(wait)
        }
        Reason::Failed | Reason::Unreachable => Some(WAIT),
        _ => None,
    }
}

/// What was used: as the provider says, or estimated.
pub(super) fn counted(usage: Option<Usage>, input: u64) -> (Usage, Ending) {
    let usage = usage.map(|usage| Usage {
        input: usage.input.min(TOKENS_MAX),
        output: usage.output.min(TOKENS_MAX),
        cache_read: usage.cache_read.min(TOKENS_MAX),
        cache_write: usage.cache_write.min(TOKENS_MAX),
        reasoning: usage.reasoning.min(TOKENS_MAX),
        tools: usage.tools.min(TOKENS_MAX),
    });
    let tools = usage.map_or(0, |usage| usage.tools);
    if let Some(usage) = usage.filter(|usage| usage.total() > 0) {
        (usage, Ending::Counted)
    } else {
        let usage = Usage {
            input,
            tools,
            ..Usage::default()
        };
        (usage, Ending::Estimated)
    }
}

fn receive(
    charge: &mut Charge,
    mut answer: ChatAnswer,
    dropped: Dropped,
    passed: Vec<String>,
) -> Answered {
    let (mut usage, ending) = counted(answer.usage, charge.needs.input);
    if ending == Ending::Estimated {
        let parts = answer
            .choices
            .iter()
            .map(|choice| estimate::parts(&choice.parts));
        usage.output = parts.sum();
    }
    answer.usage = Some(usage);
    charge.hear(&answer);
    let cost = charge.settle(usage, ending);
    let receipt = Receipt {
        dropped,
        ..charge.receipt((usage, ending, cost), passed)
    };
    Answered { answer, receipt }
}

pub(super) fn receipt(
    model: &Model,
    usage: Usage,
    ending: Ending,
    cost: Money,
    passed: Vec<String>,
) -> Receipt {
    Receipt {
        model: model.full_name(),
        provider: model.spec.provider.kind.as_str(),
        usage,
        estimated: ending == Ending::Estimated,
        cached: Cached::No,
        reserved: Money::ZERO,
        cost,
        dropped: Vec::new(),
        passed,
        redacted: Counts::new(),
        request: None,
    }
}

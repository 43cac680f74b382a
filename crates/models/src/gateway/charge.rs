//! What a call owes, from its reservation until it is settled: exactly once, however the call ends.

use std::sync::Arc;

use matrix_core::{Authorised, Money, Timestamp};

use super::call::receipt;
use super::meters::Outcome;
use super::plan::Needs;
use super::{Gateway, ModelUse, Receipt};
use crate::budget::Reservation;
use crate::chat::ChatAnswer;
use crate::delta::Delta;
use crate::inference::{Content, Inference, Trace, span};
use crate::ledger::Ending;
use crate::price::Price;
use crate::provider::{ProviderError, Reason};
use crate::redact::Counts;
use crate::registry::Model;
use crate::route::Attempt;
use crate::usage::Usage;

/// The most that one call is believed to cost: a million dollars.
pub(super) const COST_MAX: Money = Money::from_nanos(1_000_000_000_000_000);

/// A call that is about to be made, or under way: it owes what it reserved.
#[derive(Debug)]
pub(super) struct Charge {
    pub(super) gateway: Gateway,
    pub(super) request: Authorised<ModelUse>,
    pub(super) model: Arc<Model>,
    pub(super) price: Price,
    pub(super) reservation: Option<Reservation>,
    pub(super) attempt: Attempt,
    pub(super) needs: Needs,
    /// How many tokens it may have written for an asker who does not listen any more.
    pub(super) unheard: u64,
    pub(super) began: Timestamp,
    pub(super) reserved: Money,
    pub(super) outcome: Outcome,
    pub(super) heard: Heard,
    /// What was kept back from the model.
    pub(super) redacted: Counts,
    /// What was asked, where it is noted.
    pub(super) content: Option<Arc<Content>>,
}

/// What the provider said of its answer, beside the answer.
#[derive(Debug, Default)]
pub(super) struct Heard {
    pub(super) model: String,
    pub(super) response: String,
    pub(super) finish: Vec<String>,
    /// The code of its error.
    pub(super) error: Option<&'static str>,
    /// What was asked and answered, where it is noted.
    pub(super) content: Option<Content>,
}

impl Heard {
    /// Takes note of a piece of a stream.
    pub(super) fn note(&mut self, delta: &Delta) {
        match delta {
            Delta::Begin { id, model } => {
                self.response.clone_from(id);
                self.model.clone_from(model);
            }
            Delta::Finish { reason, .. } => self.finish.push(reason.word()),
            _ => {}
        }
    }
}

impl Charge {
    /// It was answered: what was used is paid for.
    pub(super) fn settle(&mut self, usage: Usage, ending: Ending) -> Money {
        self.pay(usage, 0, ending)
    }

    /// The same with questions that are paid for as such.
    pub(super) fn pay(&mut self, usage: Usage, queries: u64, ending: Ending) -> Money {
        let read = self.price.cost(&usage).as_nanos();
        let asked = self.price.queries(queries).as_nanos();
        let cost = Money::from_nanos(read.saturating_add(asked)).min(COST_MAX);
        if let Some(reservation) = self.reservation.take() {
            reservation.settle(cost, usage.total());
            let who = (self.request.caller(), &self.request.action().labels);
            let ledger = &self.gateway.shared.ledger;
            ledger.note(who, &self.model, (&usage, cost), ending);
            self.gateway.shared.meters.paid(&self.model, &usage, cost);
            self.tell((&usage, cost), ending);
        }
        cost
    }

    /// Tells of the call whoever listens.
    fn tell(&mut self, (usage, cost): (&Usage, Money), ending: Ending) {
        let outcome = match ending {
            Ending::Failed | Ending::Unknown => Outcome::Failed,
            _ => self.outcome,
        };
        let took = self.attempt.took().as_micros();
        let heard = std::mem::take(&mut self.heard);
        let asked = self.content.as_deref();
        self.gateway.tell(&self.request, || Inference {
            took_us: u64::try_from(took).unwrap_or(u64::MAX),
            operation: self.needs.operation().to_owned(),
            outcome: outcome.as_str().to_owned(),
            error: heard.error.map(str::to_owned),
            answered: heard.model,
            response: heard.response,
            finish: heard.finish,
            usage: *usage,
            estimated: ending == Ending::Estimated,
            unknown: ending == Ending::Unknown,
            reserved: self.reserved,
            cost,
            redacted: self.redacted.clone(),
            content: heard.content.or_else(|| asked.cloned()),
            ..Inference::of(&self.request, &self.model, self.began)
        });
    }

    /// Takes note of what an answer says of itself.
    pub(super) fn hear(&mut self, answer: &ChatAnswer) {
        self.heard.model.clone_from(&answer.model);
        self.heard.response.clone_from(&answer.id);
        let finish = answer.choices.iter().map(|choice| choice.finish.word());
        self.heard.finish = finish.collect();
        self.heard_words(answer);
    }

    /// Takes note of what an answer says, where that is noted.
    pub(super) fn heard_words(&mut self, answer: &ChatAnswer) {
        let asked = self.content.as_deref();
        self.heard.content = asked.map(|asked| asked.with(answer));
    }

    pub(super) fn receipt(
        &self,
        (usage, ending, cost): (Usage, Ending, Money),
        passed: Vec<String>,
    ) -> Receipt {
        Receipt {
            reserved: self.reserved,
            redacted: self.redacted.clone(),
            ..receipt(&self.model, usage, ending, cost, passed)
        }
    }

    /// It failed. Where it was sent and nobody knows what came of it, the most that it can have used is
    /// paid: a provider that goes on without a listener finishes what it was asked for.
    pub(super) fn fail(&mut self, error: &ProviderError) {
        self.blame(error);
        self.heard.error = Some(error.code().text);
        if error.leaves_unknown() {
            let usage = Usage {
                input: self.needs.input,
                output: self.unheard,
                ..Usage::default()
            };
            self.pay(usage, self.needs.queries, Ending::Unknown);
        } else {
            self.pay(Usage::default(), 0, Ending::Failed);
        }
        self.gateway
            .meter(&self.model, Outcome::Failed, self.attempt.took());
    }

    /// What a failure says of the provider, and of our key.
    pub(super) fn blame(&mut self, error: &ProviderError) {
        match error.reason {
            Reason::Refused(refusal) if !error.echo => self.attempt.refuse(refusal),
            _ if error.is_ill() => self.attempt.fail(),
            _ => {}
        }
    }

    /// Whether the model writes what nobody sees before it answers.
    pub(super) fn thinks(&self) -> bool {
        let mut can = self.model.capabilities.iter();
        can.any(|can| can == "reasoning")
    }

    pub(super) fn answered(&mut self, outcome: Outcome) {
        self.attempt.succeed();
        self.outcome = outcome;
        self.gateway
            .meter(&self.model, outcome, self.attempt.took());
    }

    pub(super) fn meter_first(&self) {
        self.gateway.shared.meters.first(self.attempt.took());
    }
}

/// Its asker hung up before there was an answer. Nobody knows what the provider wrote by then: of an
/// answer as a whole, which it may finish, the most that it can cost is paid.
impl Drop for Charge {
    fn drop(&mut self) {
        if self.reservation.is_some() {
            let usage = Usage {
                input: self.needs.input,
                output: self.unheard,
                ..Usage::default()
            };
            self.pay(usage, self.needs.queries, Ending::Estimated);
            self.gateway
                .meter(&self.model, Outcome::HungUp, self.attempt.took());
        }
    }
}

impl Gateway {
    /// Tells of a call whoever listens, a tracing system and, unless a run's journal has it, the log.
    pub(super) fn tell(&self, request: &Authorised<ModelUse>, call: impl FnOnce() -> Inference) {
        let shared = &self.shared;
        let asks = request.action();
        let log = shared.log.as_ref().filter(|_| !asks.journaled);
        if log.is_none() && shared.spans.is_none() {
            return;
        }
        let call = call();
        if let Some(sink) = &shared.spans {
            let (mut id, mut trace) = ([0; 8], [0; 16]);
            shared.entropy.fill(&mut id);
            shared.entropy.fill(&mut trace);
            let fresh = || Trace {
                trace: format!("{:032x}", u128::from_be_bytes(trace)),
                parent: [0; 8],
            };
            let trace = asks.trace.clone().unwrap_or_else(fresh);
            sink.take(span(&call, trace, id));
        }
        if let Some(log) = log {
            log.note(&request.caller().scope, call);
        }
    }
}

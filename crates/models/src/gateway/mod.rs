//! The one door: from a name and a question to an answer, its price and who gave it.
//!
//! What must not go on is taken out of a request first ([`screening`]). Then a call is planned (which models, in which order: [`plan`]), and then tried: reserve what it may
//! cost, ask, settle what it did cost. Another model is tried only before the first byte of an
//! answer; after that a failure is the caller's to see. Whoever hangs up pays for what was written
//! until then, because the provider is told to stop and what it wrote was counted.

mod cache;
mod call;
mod charge;
mod gather;
mod meters;
mod plan;
mod recall;
mod screening;
mod stream;
mod turn;

use std::sync::Arc;

use matrix_core::{Action, Authorised, Authorizer, Clock, Digest, Entropy, Money, Scope};
use matrix_engine::spans::SpanSink;
use matrix_store::{Database, StoreError};
use serde_json::{Value, json};

pub use self::meters::{CallMeter, Meters, Outcome, Paid};
pub(crate) use self::plan::Needs;
pub use self::screening::Guards;
pub use self::stream::Streaming;
use crate::admission::Remembered;
use crate::budget::{Labels, Purses};
use crate::chat::ChatAnswer;
use crate::inference::{CallLog, Trace};
use crate::ledger::Ledger;
use crate::provider::{Providers, Reason};
use crate::redact::Counts;
use crate::registry::{Model, Registry};
use crate::route::Board;
use crate::usage::Usage;

/// Asks a model.
#[derive(Debug, Clone, Default)]
pub struct ModelUse {
    /// The name that is asked for: a model's, a route's, `auto` or `task:code`.
    pub model: String,
    /// What the call is for.
    pub labels: Labels,
    /// Words by which routes choose.
    pub tags: Vec<String>,
    /// Of which trace it is a part; without one it is a trace of its own.
    pub trace: Option<Trace>,
    /// Whether it is a step of a run, whose journal has it.
    pub journaled: bool,
}

impl Action for ModelUse {
    const NAME: &'static str = "model_use";

    fn facts(&self) -> Value {
        // A version of a model is the model.
        let name = self.model.split('@').next().unwrap_or_default();
        let mut facts = json!({ "model": name });
        let named = [
            ("project", &self.labels.project),
            ("agent", &self.labels.agent),
            ("run", &self.labels.run),
        ];
        for (name, label) in named {
            if let Some(label) = label {
                facts[name] = label.as_str().into();
            }
        }
        facts
    }
}

/// The gateway of this process. Cloning is cheap.
#[derive(Clone)]
pub struct Gateway {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateway").finish_non_exhaustive()
    }
}

struct Shared {
    registry: Registry,
    authorizer: Remembered,
    purses: Purses,
    ledger: Ledger,
    providers: Providers,
    gather: gather::Gather,
    board: Board,
    meters: Meters,
    cache: cache::Cache,
    guarding: screening::Guarding,
    spans: Option<Arc<dyn SpanSink>>,
    log: Option<CallLog>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

/// Of what a gateway is made.
pub struct GatewayParts {
    /// Where models, budgets and usage are kept.
    pub database: Database,
    /// Which models there are.
    pub registry: Registry,
    /// Who answers.
    pub providers: Providers,
    /// What must not go to models.
    pub guards: Guards,
    /// Who decides which models a caller may ask, where the caller left the choice to us.
    pub authorizer: Arc<dyn Authorizer>,
    /// The name of this process, which no other one has.
    pub holder: String,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Chance.
    pub entropy: Arc<dyn Entropy>,
    /// Who is told what takes its time.
    pub spans: Option<Arc<dyn SpanSink>>,
    /// Where calls from outside are noted, in a process that has runs.
    pub log: Option<CallLog>,
}

/// An answer, and what is known of it here.
#[derive(Debug, Clone, PartialEq)]
pub struct Answered {
    /// The answer.
    pub answer: ChatAnswer,
    /// Who gave it, and for how much.
    pub receipt: Receipt,
}

/// Whether an answer was kept from an earlier call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Cached {
    /// It is new.
    #[default]
    No,
    /// The same was asked.
    Same,
    /// What was asked was alike.
    Similar,
}

impl Cached {
    /// Its word, if it was kept.
    pub const fn as_str(self) -> Option<&'static str> {
        match self {
            Self::No => None,
            Self::Same => Some("hit"),
            Self::Similar => Some("similar"),
        }
    }
}

/// Who answered, and for how much.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The model, by its name and version here.
    pub model: String,
    /// Its provider.
    pub provider: &'static str,
    /// What was used; estimated where the provider did not say.
    pub usage: Usage,
    /// Whether it was estimated.
    pub estimated: bool,
    /// Whether the answer was kept from an earlier call; it costs nothing then, but for looking.
    pub cached: Cached,
    /// What was reserved for it.
    pub reserved: Money,
    /// What it cost.
    pub cost: Money,
    /// What was asked and could not be said to the provider.
    pub dropped: Vec<&'static str>,
    /// Why models that came before were passed over.
    pub passed: Vec<String>,
    /// How many things of each class were kept back from the model.
    pub redacted: Counts,
    /// The digest of the request as it was sent, of a call that a run's journal has.
    pub request: Option<Digest>,
}

impl Gateway {
    /// Puts it together.
    pub fn new(parts: GatewayParts) -> Self {
        let GatewayParts {
            database,
            registry,
            providers,
            guards,
            authorizer,
            holder,
            clock,
            entropy,
            spans,
            log,
        } = parts;
        Self {
            shared: Arc::new(Shared {
                registry,
                authorizer: Remembered::new(authorizer, Arc::clone(&clock)),
                purses: Purses::new(database.clone(), Arc::clone(&clock), holder),
                ledger: Ledger::new(database, Arc::clone(&clock)),
                guarding: screening::Guarding::new(guards, providers.way()),
                gather: gather::Gather::new(providers.clone()),
                providers,
                cache: cache::Cache::new(Arc::clone(&clock)),
                board: Board::new(Arc::clone(&clock)),
                spans,
                log,
                clock,
                meters: Meters::default(),
                entropy,
            }),
        }
    }

    /// Who decides who may ask which model; what it allowed it remembers for a moment.
    pub fn authorizer(&self) -> &dyn Authorizer {
        &self.shared.authorizer
    }

    /// Which models there are.
    pub fn registry(&self) -> &Registry {
        &self.shared.registry
    }

    /// What this process has taken out of budgets.
    pub fn purses(&self) -> &Purses {
        &self.shared.purses
    }

    /// What was used.
    pub fn ledger(&self) -> &Ledger {
        &self.shared.ledger
    }

    /// What was counted.
    pub fn meters(&self) -> &Meters {
        &self.shared.meters
    }

    /// How each model does.
    pub fn board(&self) -> &Board {
        &self.shared.board
    }

    /// Calls from outside that are not in a journal yet.
    pub fn log(&self) -> Option<&CallLog> {
        self.shared.log.as_ref()
    }

    /// Writes what was used and spent since it was last called; whoever composes the process calls
    /// it about once a second.
    pub async fn flush(&self) -> Result<(), StoreError> {
        let (ledger, purses) = (&self.shared.ledger, &self.shared.purses);
        ledger.flush().await.and(purses.flush().await)
    }

    /// Writes all, and gives back what was taken out of budgets: the process ends.
    pub async fn close(&self) -> Result<(), StoreError> {
        let (ledger, purses) = (&self.shared.ledger, &self.shared.purses);
        ledger.flush().await.and(purses.give_back().await)
    }

    /// Whether a name leads to a model, a route or a choice.
    pub async fn knows(&self, scope: &Scope, name: &str) -> Result<bool, StoreError> {
        let snapshot = self.shared.registry.snapshot(scope).await?;
        Ok(snapshot.get(name).is_some() || plan::is_choice(name))
    }

    /// Asks a model's provider which models it has, without asking any for anything; this tells
    /// whether it can be reached and accepts the key.
    pub async fn probe(
        &self,
        request: &Authorised<ModelUse>,
    ) -> Result<Vec<String>, crate::error::ModelError> {
        let name = &request.action().model;
        let snapshot = self
            .shared
            .registry
            .snapshot(&request.caller().scope)
            .await?;
        let model: Arc<Model> = match snapshot.get(name) {
            Some(crate::registry::Entry::Model(model)) => Arc::clone(model),
            _ => return Err(crate::error::ModelError::NoModel(name.clone())),
        };
        let provider = self.shared.providers.of(&model);
        let listed = provider.list(&model).await;
        let (board, scope) = (&self.shared.board, &request.caller().scope);
        match &listed {
            Ok(_) => board.tried(scope, &model, None),
            Err(error) => {
                if let Reason::Refused(refusal) = error.reason {
                    board.tried(scope, &model, Some(refusal));
                }
            }
        }
        listed.map_err(|source| {
            let model = name.clone();
            crate::error::ModelError::Provider { model, source }
        })
    }
}

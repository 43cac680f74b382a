//! What is told of calls: to a tracing system, and to whoever subscribes to `model.inference.completed`.
//!
//! Inside a run a call is a step, and the run's journal has it ([`ask`]). A call from outside is noted
//! here, and told about once a second to a run of the kind `model_log` ([`ModelLog`]) as a signal, so that
//! it is an entry of a journal like everything else that happened, and an event by that. It has no
//! word of what was asked or answered, unless a policy says so ([`Content`]).

mod ask;
mod content;
mod log;
mod semantic;

use matrix_core::{Authorised, Money, Timestamp};
use matrix_engine::spans::SpanId;
use serde::{Deserialize, Serialize};

pub use self::ask::{Recorded, ask, ask_known};
pub(crate) use self::ask::{failed, may, within};
pub use self::content::{Content, Said};
pub use self::log::{CallLog, ModelLog, TOPICS};
pub(crate) use self::semantic::span;
use crate::gateway::ModelUse;
use crate::redact::Counts;
use crate::registry::Model;
use crate::usage::Usage;

/// Of which trace a call is a part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// The trace, 32 hexadecimal digits.
    pub trace: String,
    /// The span in which the call is made.
    pub parent: SpanId,
}

/// A call, as it is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inference {
    /// When it was made.
    pub at: Timestamp,
    /// How long it took, in microseconds.
    pub took_us: u64,
    /// `chat`, `embeddings` or `rerank`.
    pub operation: String,
    /// `answered`, `failed`, `cached` or `hung_up`.
    pub outcome: String,
    /// The code of its error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The model, by its name and version here.
    pub model: String,
    /// Its provider.
    pub provider: String,
    /// What the provider calls the model that was asked.
    pub asked: String,
    /// What it calls the model that answered.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub answered: String,
    /// The provider's id of the answer.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub response: String,
    /// Why its answers ended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub finish: Vec<String>,
    /// Who asked.
    pub principal: String,
    /// For which project.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// By which agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// In which run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// What was used.
    pub usage: Usage,
    /// Whether that was estimated.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub estimated: bool,
    /// Whether nobody knows what was used, because it failed after it was sent.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unknown: bool,
    /// What was reserved for it.
    pub reserved: Money,
    /// What it cost.
    pub cost: Money,
    /// How many things of each class were kept back from the model.
    #[serde(default, skip_serializing_if = "Counts::is_empty")]
    pub redacted: Counts,
    /// What was asked and answered, where a policy has it noted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Content>,
}

impl Inference {
    /// A call of which nothing is known but who asked whom, for what, and when.
    pub(crate) fn of(request: &Authorised<ModelUse>, model: &Model, at: Timestamp) -> Self {
        let labels = &request.action().labels;
        Self {
            at,
            took_us: 0,
            operation: String::new(),
            outcome: String::new(),
            error: None,
            model: model.full_name(),
            provider: model.spec.provider.kind.as_str().to_owned(),
            asked: model.spec.model.clone(),
            answered: String::new(),
            response: String::new(),
            finish: Vec::new(),
            principal: request.caller().principal.to_string(),
            project: labels.project.clone(),
            agent: labels.agent.clone(),
            run: labels.run.clone(),
            usage: Usage::default(),
            estimated: false,
            unknown: false,
            reserved: Money::ZERO,
            cost: Money::ZERO,
            redacted: Counts::new(),
            content: None,
        }
    }
}

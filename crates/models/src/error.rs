//! Why a model was not asked, or did not answer.

use std::time::Duration;

use matrix_core::problem::DENIED;
use matrix_core::{Code, Denied, Problem};
use matrix_engine::error::{ENDED, RequestError};
use matrix_store::StoreError;
use matrix_store::error::UNAVAILABLE;

use crate::provider::ProviderError;
use crate::registry::InvalidSpec;
use crate::wire::{Complaint, WireError};

/// No model or route has the name.
pub const NO_MODEL: Code = Code::new("MODEL-0001", 404, 6, "no such model");
/// A model, route or budget was described wrongly.
pub const BAD_SPEC: Code = Code::new("MODEL-0002", 400, 2, "not a description of a model");
/// A request is not what its protocol says.
pub const BAD_REQUEST: Code = Code::new("MODEL-0003", 400, 2, "not a request of this protocol");
/// A request asks for something that the model's provider does not have.
pub const UNSUPPORTED: Code = Code::new("MODEL-0004", 422, 2, "not possible with this model");
/// Nobody said what the model costs.
pub const NO_PRICE: Code = Code::new("MODEL-0005", 409, 1, "price unknown");
/// A budget is spent.
pub const SPENT: Code = Code::new("MODEL-0006", 402, 4, "budget spent");
/// The provider refuses or fails.
pub const UPSTREAM: Code = Code::new("MODEL-0007", 502, 1, "provider failed");
/// The provider wants fewer calls.
pub const BUSY: Code = Code::new("MODEL-0008", 429, 1, "provider wants fewer calls");
/// The provider does not answer in time.
pub const SLOW: Code = Code::new("MODEL-0009", 504, 3, "provider did not answer in time");
/// No model of a route can be asked at present.
pub const NONE_LEFT: Code = Code::new("MODEL-0010", 503, 1, "no model can be asked");
/// A key is not where it should be.
pub const NO_KEY: Code = Code::new("MODEL-0011", 503, 1, "key of a provider missing");
/// The request is larger than the model reads.
pub const TOO_LONG: Code = Code::new("MODEL-0012", 413, 2, "longer than the model reads");
/// There is no such budget.
pub const NO_BUDGET: Code = Code::new("MODEL-0013", 404, 6, "no such budget");

/// There is no such file or batch.
pub const NO_FILE: Code = Code::new("MODEL-0014", 404, 6, "no such file or batch");

/// There is no room for another file or batch.
pub const FULL: Code = Code::new("MODEL-0017", 403, 4, "too many files or batches");
/// Something is in a request, or in an answer, that must not go on.
pub const BLOCKED: Code = Code::new("MODEL-0015", 422, 4, "content not let through");
/// The service that redacts does not.
pub const REDACTOR: Code = Code::new("MODEL-0016", 503, 1, "redaction not to be had");

/// Why a model was not asked, or did not answer.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// No model or route has the name.
    #[error("there is no model `{0}`")]
    NoModel(String),
    /// A description is wrong.
    #[error(transparent)]
    Spec(#[from] InvalidSpec),
    /// A request is wrong, or impossible with this model.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// Nobody said what the model costs.
    #[error("nobody said what `{0}` costs")]
    NoPrice(String),
    /// A budget is spent.
    #[error("the {period} budget of {subject} has {left} left, and this call may need {needed}")]
    Spent {
        /// Whose.
        subject: String,
        /// Of which period.
        period: String,
        /// What is left.
        left: String,
        /// What the call may need.
        needed: String,
    },
    /// The request is larger than the model reads.
    #[error("the request is about {tokens} tokens, and `{model}` reads {context}")]
    TooLong {
        /// The model.
        model: String,
        /// About how many tokens.
        tokens: u64,
        /// How many it reads.
        context: u64,
    },
    /// The provider refuses or fails.
    #[error("`{model}`: {source}")]
    Provider {
        /// The model.
        model: String,
        /// What it said.
        source: ProviderError,
    },
    /// No model of a route can be asked at present.
    #[error("none of the models of `{name}` can be asked: {why}")]
    NoneLeft {
        /// The name that was asked for.
        name: String,
        /// What is in the way of each.
        why: String,
        /// When one may be.
        retry_after: Option<Duration>,
    },
    /// Something is in it that must not go on. What it is stays unsaid.
    #[error("{place} holds something of the class `{class}`, which is not let through here")]
    Blocked {
        /// Of which class.
        class: String,
        /// Where.
        place: String,
    },
    /// Requests are to be redacted by a service that does not.
    #[error("the service that redacts requests did not: {0}")]
    Redactor(String),
    /// There is no such budget.
    #[error("there is no {period} budget of {subject}")]
    NoBudget {
        /// Whose.
        subject: String,
        /// Of which period.
        period: String,
    },
    /// There is no such file or batch of the caller's.
    #[error("you have no file or batch `{0}`")]
    NoFile(String),
    /// There is no room for another file or batch.
    #[error("this workspace has {held} {what} of {most} that it may have")]
    Full {
        /// Of what.
        what: &'static str,
        /// How many there are.
        held: u64,
        /// How many there may be.
        most: u64,
    },
    /// A run cannot be had or steered.
    #[error(transparent)]
    Run(#[from] RequestError),
    /// The policies do not allow it.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// Storage fails.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ModelError {
    /// How long to wait before asking again, where that is known.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Provider { source, .. } => source.retry_after(),
            Self::NoneLeft { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// Its code; whatever storage says of itself, for a call it is not to be had.
    pub fn code(&self) -> Code {
        match self {
            Self::NoModel(_) => NO_MODEL,
            Self::Spec(_) => BAD_SPEC,
            Self::Wire(WireError::Unsupported(_)) => UNSUPPORTED,
            Self::Wire(_) => BAD_REQUEST,
            Self::NoPrice(_) => NO_PRICE,
            Self::Spent { .. } => SPENT,
            Self::TooLong { .. } => TOO_LONG,
            Self::Provider { source, .. } => source.code(),
            Self::NoneLeft { .. } => NONE_LEFT,
            Self::Blocked { .. } => BLOCKED,
            Self::Redactor(_) => REDACTOR,
            Self::NoBudget { .. } => NO_BUDGET,
            Self::NoFile(_) => NO_FILE,
            Self::Full { .. } => FULL,
            Self::Run(RequestError::Ended { .. }) => ENDED,
            Self::Denied(_) => DENIED,
            Self::Run(_) | Self::Store(_) => UNAVAILABLE,
        }
    }

    /// The same for a client of a model protocol. `kind` is in `OpenAI`'s words; other protocols
    /// choose theirs by the status.
    pub fn complaint(&self) -> Complaint {
        let (status, kind, code) = match self {
            Self::NoModel(_) => (404, "invalid_request_error", Some("model_not_found")),
            Self::Spec(_) | Self::Wire(_) => (400, "invalid_request_error", None),
            Self::TooLong { .. } => (
                400,
                "invalid_request_error",
                Some("context_length_exceeded"),
            ),
            Self::NoPrice(_) => (403, "invalid_request_error", Some("price_unknown")),
            Self::Spent { .. } => (402, "insufficient_quota", Some("budget_spent")),
            Self::Provider { source, .. } => return source.complaint(),
            Self::NoneLeft { .. } => (503, "server_error", Some("no_model_available")),
            Self::Blocked { .. } => (400, "invalid_request_error", Some("content_blocked")),
            Self::Redactor(_) => (503, "server_error", Some("redaction_unavailable")),
            Self::NoBudget { .. } | Self::NoFile(_) => (404, "invalid_request_error", None),
            Self::Full { .. } => (403, "insufficient_quota", Some("quota_exceeded")),
            Self::Run(RequestError::Ended { .. }) => (409, "invalid_request_error", None),
            Self::Denied(_) => (403, "permission_error", Some("not_allowed")),
            Self::Run(_) | Self::Store(_) => (503, "server_error", Some("storage")),
        };
        let message = match self {
            // What storage says is for the operator's log.
            Self::Store(_) | Self::Run(RequestError::Store(_)) => {
                "the gateway's storage does not answer".to_owned()
            }
            // And so is what is wrong with a service of the operator's.
            Self::Redactor(_) => "the service that redacts requests does not answer".to_owned(),
            other => other.to_string(),
        };
        Complaint {
            status,
            kind: kind.into(),
            code: code.map(str::to_owned),
            message,
        }
    }
}

impl From<ModelError> for Problem {
    fn from(error: ModelError) -> Self {
        let problem = Self::new(error.code(), error.to_string());
        match error {
            ModelError::NoModel(_) => problem.help("see `matrix model list`, or add it"),
            ModelError::NoPrice(_) => problem.help(
                "say it with `matrix model add … --price-input … --price-output …`, or --free",
            ),
            ModelError::Spent { .. } => {
                problem.help("raise it with `matrix model budget set`, or wait")
            }
            ModelError::Full { .. } => {
                problem.help("remove files, wait for batches, or raise the limit where Matrix runs")
            }
            ModelError::Blocked { .. } => problem
                .help("take it out, or ask whoever set the `guard` of the route or directory"),
            ModelError::Redactor(_) => {
                problem.help("look at the service that `[models.hook]` names, then ask again")
            }
            ModelError::TooLong { .. } => problem.help("send less, or ask another model"),
            ModelError::Denied(denied) => denied.into(),
            ModelError::Store(error) => error.into(),
            ModelError::Run(error) => error.into(),
            _ => problem,
        }
    }
}

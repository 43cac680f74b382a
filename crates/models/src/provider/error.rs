//! What goes wrong with a provider.

use std::time::Duration;

use matrix_core::Code;

use crate::error::{BAD_REQUEST, BUSY, NO_KEY, SLOW, TOO_LONG, UNSUPPORTED, UPSTREAM};
use crate::secret::NoSecret;
use crate::wire::{Complaint, WireError};

/// The most characters of what a provider says that are repeated.
const MESSAGE_MAX: usize = 2_000;

/// Why a provider did not answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ProviderError {
    /// What sort of failure.
    pub reason: Reason,
    /// What happened, in words.
    pub message: String,
    /// What the provider itself said, if it did.
    pub complaint: Option<Box<Complaint>>,
    /// Whether a part of the request was answered before, which the provider is paid for.
    pub partly: bool,
    /// Whether somebody else was told the same for the same request, so that it happened once.
    pub echo: bool,
}

/// What sort of failure; routing decides by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The request is wrong; no other attempt helps.
    Invalid,
    /// The request asks for what this provider does not have; another may.
    Unsupported,
    /// The request is longer than the model reads; another may read more.
    TooLong,
    /// Our key is missing, or is none.
    Key,
    /// Our key was refused; asking with it again does not help soon.
    Refused(Refusal),
    /// The provider does not know the model.
    NoModel,
    /// Fewer calls are wanted.
    Busy {
        /// Until when, if it says so.
        retry_after: Option<Duration>,
    },
    /// The provider fails.
    Failed,
    /// It cannot be reached.
    Unreachable,
    /// It does not answer in time.
    Slow,
    /// What it says is not its protocol, or ends in the middle.
    Broken,
}

/// For what a key was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// For everything: it is not good, or nobody pays for it.
    Everything,
    /// For the model that was asked; others may answer to it.
    Model,
}

impl ProviderError {
    /// A failure in our words.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            complaint: None,
            partly: false,
            echo: false,
        }
    }

    /// From a provider's status and words.
    pub(crate) fn told(complaint: Complaint, retry_after: Option<Duration>) -> Self {
        let reason = match complaint.status {
            401 | 402 => Reason::Refused(Refusal::Everything),
            403 => Reason::Refused(Refusal::Model),
            404 => Reason::NoModel,
            408 | 504 => Reason::Slow,
            429 => Reason::Busy { retry_after },
            // Bedrock says so of a model that fails.
            424 => Reason::Failed,
            400..=499 => Reason::Invalid,
            503 | 529 if retry_after.is_some() => Reason::Busy { retry_after },
            _ => Reason::Failed,
        };
        if matches!(reason, Reason::Refused(_)) {
            // Some repeat the key, or a part of it.
            let text = format!("the provider answered {} to our key", complaint.status);
            return Self::new(reason, text);
        }
        let said: String = complaint.message.chars().take(MESSAGE_MAX).collect();
        let message = format!("the provider answered {}: {said}", complaint.status);
        Self {
            reason,
            message,
            complaint: Some(Box::new(complaint)),
            partly: false,
            echo: false,
        }
    }

    /// Whether the same request may succeed at once, with the same provider or another one.
    pub fn may_pass(&self) -> bool {
        !matches!(self.reason, Reason::Invalid)
    }

    /// Whether the request was sent and nobody knows what came of it, or what it used.
    pub fn leaves_unknown(&self) -> bool {
        matches!(self.reason, Reason::Slow | Reason::Broken) || self.partly
    }

    /// Whether it says something about the provider's health.
    pub fn is_ill(&self) -> bool {
        let ill = matches!(
            self.reason,
            Reason::Failed | Reason::Unreachable | Reason::Slow | Reason::Broken
        );
        ill && !self.echo
    }

    /// How long to wait, if the provider says so.
    pub fn retry_after(&self) -> Option<Duration> {
        match self.reason {
            Reason::Busy { retry_after } => retry_after,
            _ => None,
        }
    }

    pub(crate) fn code(&self) -> Code {
        match self.reason {
            Reason::Invalid => BAD_REQUEST,
            Reason::Unsupported => UNSUPPORTED,
            Reason::TooLong => TOO_LONG,
            Reason::Key | Reason::Refused(_) => NO_KEY,
            Reason::Busy { .. } => BUSY,
            Reason::Slow => SLOW,
            Reason::NoModel | Reason::Failed | Reason::Unreachable | Reason::Broken => UPSTREAM,
        }
    }

    /// For a client of a model protocol. What is wrong with the request is handed on in the
    /// provider's words; what is wrong between us and the provider is not the client's.
    pub fn complaint(&self) -> Complaint {
        let (status, kind) = match self.reason {
            Reason::Invalid => {
                let status = self.complaint.as_ref().map_or(400, |said| said.status);
                (status, "invalid_request_error")
            }
            Reason::Unsupported | Reason::TooLong => (400, "invalid_request_error"),
            Reason::NoModel => (404, "invalid_request_error"),
            Reason::Busy { .. } => (429, "rate_limit_error"),
            Reason::Slow => (504, "timeout_error"),
            Reason::Key
            | Reason::Refused(_)
            | Reason::Failed
            | Reason::Unreachable
            | Reason::Broken => (502, "server_error"),
        };
        let said = self.complaint.as_deref();
        let ours = matches!(self.reason, Reason::Invalid | Reason::Busy { .. });
        let own = said.filter(|said| ours && said.status >= 400);
        Complaint {
            status,
            kind: own.map_or_else(|| kind.to_owned(), |said| said.kind.clone()),
            code: match self.reason {
                Reason::TooLong => Some("context_length_exceeded".into()),
                _ => own.and_then(|said| said.code.clone()),
            },
            message: match (self.reason, own) {
                (Reason::Key | Reason::Refused(_), _) => {
                    "the gateway's key for this model is not accepted".into()
                }
                (_, Some(said)) => said.message.clone(),
                (_, None) => self.message.clone(),
            },
        }
    }
}

impl From<WireError> for ProviderError {
    fn from(error: WireError) -> Self {
        match error {
            WireError::Unsupported(why) => Self::new(Reason::Unsupported, why),
            WireError::Told { kind, message } => {
                let words = ["rate_limit", "overloaded", "throttling"];
                let busy = words.iter().any(|word| kind.contains(word));
                let reason = if busy {
                    Reason::Busy { retry_after: None }
                } else {
                    Reason::Failed
                };
                Self::new(reason, format!("the provider said {kind}: {message}"))
            }
            other => Self::new(Reason::Broken, format!("the provider's answer {other}")),
        }
    }
}

impl From<NoSecret> for ProviderError {
    fn from(error: NoSecret) -> Self {
        Self::new(Reason::Key, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_for_one_model_may_pass_with_another() {
        let error = ProviderError::new(Reason::TooLong, "too long");
        assert!(error.may_pass() && !error.is_ill());
        assert_eq!(error.code(), TOO_LONG);
        let complaint = error.complaint();
        assert_eq!(complaint.status, 400);
        assert_eq!(complaint.code.as_deref(), Some("context_length_exceeded"));
    }
}

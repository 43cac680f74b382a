//! `/api/v1/approvals`: questions to people, and their answers.

pub(crate) mod approve;
pub(crate) mod list;
pub(crate) mod reject;

use matrix_changes::service::Asked;
use serde::Deserialize;

/// What a path names: a question, or a change for its open question.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Decided(pub(crate) Asked);

impl TryFrom<String> for Decided {
    type Error = matrix_core::id::InvalidId;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse().map(Self)
    }
}

//! Texts in order of their relevance for a question.

use serde::{Deserialize, Serialize};

use crate::usage::Usage;

/// The most texts of one request.
pub const TEXTS_MAX: usize = 1_000;

/// What a model is asked to put in order.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RerankRequest {
    /// The model's name, as the asker says it; on the way to a provider, as the provider does.
    pub model: String,
    /// The question.
    pub query: String,
    /// The texts.
    pub texts: Vec<String>,
    /// How many of them are wanted; nothing is all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top: Option<u32>,
}

/// The texts that were wanted, the most relevant first.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RerankAnswer {
    /// The provider's id of the answer.
    pub id: String,
    /// The model that answered, as the provider names it.
    pub model: String,
    /// Which text, and how relevant it is.
    pub ranks: Vec<Rank>,
    /// What it used, if the provider said so.
    pub usage: Option<Usage>,
    /// How many questions the provider charges for.
    pub queries: u64,
}

/// How relevant a text is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Rank {
    /// Its place among those that were sent, from 0.
    pub index: usize,
    /// More is more relevant; only those of one answer compare.
    pub score: f64,
}

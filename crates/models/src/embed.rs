//! Texts as vectors.

use serde::{Deserialize, Serialize};

use crate::usage::Usage;

/// The most texts of one request.
pub const TEXTS_MAX: usize = 2_048;

/// Gives a vector the length one, unless it is nothing but zeros.
pub(crate) fn normalise(vector: &mut [f32]) {
    let norm = vector
        .iter()
        .map(|number| number * number)
        .sum::<f32>()
        .sqrt();
    if norm > 0.0 {
        for number in vector {
            *number /= norm;
        }
    }
}

/// What a model is asked to turn into vectors.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct EmbedRequest {
    /// The model's name, as the asker says it; on the way to a provider, as the provider does.
    pub model: String,
    /// The texts.
    pub texts: Vec<String>,
    /// How long each vector is to be, where the model can choose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dimensions: Option<u32>,
    /// What the texts are: `query`, `document`, or a word of the provider's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<String>,
    /// Who asks, as a name that the provider may keep.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

/// One vector for each text, in their order.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct EmbedAnswer {
    /// The model that answered, as the provider names it.
    pub model: String,
    /// The vectors.
    pub vectors: Vec<Vec<f32>>,
    /// What it used, if the provider said so.
    pub usage: Option<Usage>,
}

//! What a call used, in tokens.

use serde::{Deserialize, Serialize};

/// Tokens of a call. Parts are counted in their whole: what was read from a cache is part of the
/// input, thoughts are part of the output.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// Everything the model read.
    pub input: u64,
    /// Everything it wrote.
    pub output: u64,
    /// Of the input, what the provider had in its cache.
    pub cache_read: u64,
    /// Of the input, what it put there.
    pub cache_write: u64,
    /// Of the output, thoughts.
    pub reasoning: u64,
    /// How often tools of the provider's own were used, such as a search, which it is paid for beside
    /// the tokens.
    #[serde(skip_serializing_if = "is_none")]
    pub tools: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_none(count: &u64) -> bool {
    *count == 0
}

impl Usage {
    /// Input and output.
    pub fn total(&self) -> u64 {
        self.input.saturating_add(self.output)
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            input: self.input.saturating_add(other.input),
            output: self.output.saturating_add(other.output),
            cache_read: self.cache_read.saturating_add(other.cache_read),
            cache_write: self.cache_write.saturating_add(other.cache_write),
            reasoning: self.reasoning.saturating_add(other.reasoning),
            tools: self.tools.saturating_add(other.tools),
        }
    }

    /// The larger of each number: providers repeat their count while they answer, and none shrinks.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self {
            input: self.input.max(other.input),
            output: self.output.max(other.output),
            cache_read: self.cache_read.max(other.cache_read),
            cache_write: self.cache_write.max(other.cache_write),
            reasoning: self.reasoning.max(other.reasoning),
            tools: self.tools.max(other.tools),
        }
    }
}

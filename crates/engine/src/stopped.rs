//! Why a run stopped by itself, so that it rests until a person looks at it: a dead letter.
//!
//! What is recorded with the pause is what a list needs: the cause, the step, and how often it was
//! tried. A pause that a person asked for has none of this, so the two are told apart by what is in
//! the journal.

use matrix_core::{RunId, Timestamp};
use matrix_store::tables::runs::RunRow;
use serde::{Deserialize, Serialize};

use crate::wait::Waiting;

/// Why a run cannot go on by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// Its owners died while they drove it, one after the other.
    Crashes,
    /// Every attempt of a step that its retry policy allows has failed.
    Retries,
    /// Nobody knows whether a step that changes the world, or costs money, has happened.
    Doubt,
    /// Its function did something else than its journal recorded.
    Divergence,
    /// This program does not have its function in the version it is pinned to.
    Function,
    /// What it needs was erased.
    Erased,
    /// What it did could not be taken back.
    Undo,
    /// Its journal or its inbox cannot be read.
    Damage,
    /// Its function panicked.
    Panic,
}

impl Cause {
    /// Every cause.
    pub const ALL: [Self; 9] = [
        Self::Crashes,
        Self::Retries,
        Self::Doubt,
        Self::Divergence,
        Self::Function,
        Self::Erased,
        Self::Undo,
        Self::Damage,
        Self::Panic,
    ];

    /// Its word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Crashes => "crashes",
            Self::Retries => "retries",
            Self::Doubt => "doubt",
            Self::Divergence => "divergence",
            Self::Function => "function",
            Self::Erased => "erased",
            Self::Undo => "undo",
            Self::Damage => "damage",
            Self::Panic => "panic",
        }
    }

    /// The cause of this word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|cause| cause.as_str() == word)
    }

    /// What a person does next about a run that stopped for it.
    pub fn next(self, run: RunId) -> String {
        match self {
            Self::Crashes => {
                format!("look into the log for what kills its host; then `matrix run resume {run}`")
            }
            Self::Retries => format!(
                "mend what the step needs; then `matrix run retry {run}` begins its attempts anew"
            ),
            Self::Doubt => format!(
                "find out whether it happened; if not, `matrix run retry {run}` does it again, if \
                 so, `matrix run cancel {run}` ends the run"
            ),
            Self::Divergence => format!(
                "resume it with the function that it began with, or do the step again: \
                 `matrix run retry {run}`"
            ),
            Self::Function => {
                format!("use a Matrix that has the function; then `matrix run resume {run}`")
            }
            Self::Erased => format!("`matrix run retry {run}` does the step again"),
            Self::Undo => format!(
                "take it back by hand, then `matrix run cancel {run}`; or mend what it needs, then \
                 `matrix run retry {run}`"
            ),
            Self::Damage => format!("see where it is damaged: `matrix journal verify {run}`"),
            Self::Panic => format!(
                "the log says where; with a program that is mended, `matrix run resume {run}`"
            ),
        }
    }
}

/// How a run stopped by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stopped {
    /// Why.
    pub cause: Cause,
    /// The step it stopped at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// How often the step was tried, or how many owners the run has had that died; zero where
    /// nothing was tried.
    #[serde(default)]
    pub tries: u32,
    /// Since when.
    #[serde(default)]
    pub since: Timestamp,
}

impl Stopped {
    /// How a run that rests stopped; nothing if it does not rest, or a person let it.
    pub fn of(row: &RunRow) -> Option<Self> {
        let waiting = row.waiting.as_deref().filter(|_| row.state == "paused")?;
        let waiting: Waiting = serde_json::from_str(waiting).ok()?;
        waiting.stopped
    }

    pub(crate) fn new(cause: Cause) -> Self {
        Self {
            cause,
            step: None,
            tries: 0,
            since: Timestamp::default(),
        }
    }

    pub(crate) fn at(cause: Cause, step: &str, tries: u32) -> Self {
        Self {
            step: Some(step.to_owned()),
            tries,
            ..Self::new(cause)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_one_word_in_the_journal_in_lists_and_in_filters() {
        for cause in Cause::ALL {
            let word = serde_json::to_value(cause).unwrap();
            assert_eq!(word, cause.as_str());
            assert_eq!(Cause::parse(cause.as_str()), Some(cause));
            assert!(cause.next(RunId::from_bytes([1; 16])).contains("matrix "));
        }
        assert_eq!(Cause::parse(""), None);
    }
}

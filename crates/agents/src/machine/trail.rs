//! Whether an agent gets anywhere.
//!
//! Three ways of standing still are known from agents in the field: the same calls with the same
//! results again and again, two of them by turns, and nothing but failures. Each is first told to the
//! model, and ends the run where that does not help.

use std::collections::VecDeque;

use matrix_core::Digest;

use super::{Call, Observed};

/// How many turns are remembered; enough for the longest rule.
const KEPT: usize = 16;

/// After how many repetitions the model is told, and after how many it is stopped.
const SAME: (usize, usize) = (3, 5);
/// The same for pairs of turns.
const PAIRS: (usize, usize) = (3, 5);
/// The same for turns in which every call failed.
const FAILED: (usize, usize) = (5, 10);

/// What a turn did and what came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sign {
    digest: Digest,
    failed: bool,
}

impl Sign {
    pub(super) fn of(calls: &[Call], results: &[Observed]) -> Self {
        let mut text = String::new();
        for call in calls {
            text.push_str(&call.tool);
            text.push('\0');
            match &call.arguments {
                Ok(arguments) => text.push_str(&arguments.to_string()),
                Err(why) => text.push_str(why),
            }
            text.push('\0');
        }
        for result in results {
            text.push_str(&result.output);
            text.push('\0');
        }
        Self {
            digest: Digest::of(text),
            failed: results.iter().all(|result| result.failed),
        }
    }
}

/// The newest turns.
#[derive(Debug, Clone, Default)]
pub(super) struct Trail {
    signs: VecDeque<Sign>,
}

impl Trail {
    pub(super) fn walk(&mut self, sign: Sign) {
        if self.signs.len() == KEPT {
            self.signs.pop_front();
        }
        self.signs.push_back(sign);
    }

    /// How many of the newest turns are the same one.
    fn same(&self) -> usize {
        let mut newest = self.signs.iter().rev();
        let Some(first) = newest.next() else {
            return 0;
        };
        1 + newest
            .take_while(|sign| sign.digest == first.digest)
            .count()
    }

    /// How many of the newest pairs of turns are the same pair of different ones.
    fn pairs(&self) -> usize {
        let newest: Vec<Digest> = self.signs.iter().rev().map(|sign| sign.digest).collect();
        let (Some(a), Some(b)) = (newest.first(), newest.get(1)) else {
            return 0;
        };
        if a == b {
            return 0;
        }
        let pairs = newest.chunks_exact(2);
        pairs
            .take_while(|pair| pair[0] == *a && pair[1] == *b)
            .count()
    }

    fn failed(&self) -> usize {
        self.signs
            .iter()
            .rev()
            .take_while(|sign| sign.failed)
            .count()
    }

    /// Why it is of no use to go on.
    pub(super) fn is_stuck(&self) -> Option<String> {
        if self.same() >= SAME.1 {
            return Some(format!(
                "it made the same calls with the same results {} times",
                SAME.1
            ));
        }
        if self.pairs() >= PAIRS.1 {
            return Some(format!(
                "it went back and forth between two calls {} times",
                PAIRS.1
            ));
        }
        if self.failed() >= FAILED.1 {
            return Some(format!("every call of its last {} turns failed", FAILED.1));
        }
        None
    }

    /// What it is told when it begins to stand still.
    pub(super) fn nudge(&self) -> Option<&'static str> {
        if self.same() == SAME.0 {
            return Some(
                "You have made the same calls several times, with the same results. Doing it again will not change anything: try another way, or say what keeps you from the goal.",
            );
        }
        if self.pairs() == PAIRS.0 {
            return Some(
                "You are going back and forth between the same two steps. Stop, think about what you want to find out, and try another way.",
            );
        }
        if self.failed() == FAILED.0 {
            return Some(
                "Every call of your last turns failed. Read what the errors say, and try something simpler.",
            );
        }
        None
    }
}

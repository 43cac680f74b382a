//! What may be spent, by whom, in which time.
//!
//! Before a call the most that it can cost is taken out of every budget that it falls under, and
//! after it what it did cost is settled. Processes take slices out of a budget with a transaction
//! each ([`purses`]), and reserve from them in memory ([`purse`]), so that a call waits for no disk,
//! and processes together never spend more than there is, but for a call that cost more than it was
//! reserved for.

mod period;
mod purse;
mod purses;
mod service;
mod slice;

pub use period::Period;
pub use purse::Reservation;
pub use purses::Purses;
pub use service::{
    BudgetRemove, BudgetSet, BudgetView, Limits, list_budgets, remove_budget, set_budget,
};

use matrix_core::Caller;
use matrix_store::tables::budgets::ORGANISATION;

use crate::registry::InvalidSpec;

/// The most characters of a subject.
const SUBJECT_MAX: usize = 200;

/// Whose calls a budget counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Labels {
    /// The project that a call is for.
    pub project: Option<String>,
    /// The agent that makes it.
    pub agent: Option<String>,
    /// The run that it is a step of.
    pub run: Option<String>,
}

impl Labels {
    /// Every subject under which a call falls.
    pub fn subjects(&self, caller: &Caller) -> Vec<String> {
        let mut subjects = vec![
            ORGANISATION.to_owned(),
            "workspace".to_owned(),
            format!("key:{}", caller.principal),
        ];
        let named = [
            ("project", &self.project),
            ("agent", &self.agent),
            ("run", &self.run),
        ];
        for (kind, name) in named {
            subjects.extend(name.as_ref().map(|name| format!("{kind}:{name}")));
        }
        for behind in &caller.on_behalf_of {
            subjects.push(format!("key:{behind}"));
        }
        subjects
    }
}

/// Whether a text names somebody whose calls can be counted.
pub(crate) fn check_subject(subject: &str) -> Result<(), InvalidSpec> {
    let refused = |why: &str| Err(InvalidSpec::new("subject", why));
    if subject.len() > SUBJECT_MAX || subject.chars().any(char::is_control) {
        return refused("is too long, or has characters that are not text");
    }
    match subject.split_once(':') {
        None if matches!(subject, ORGANISATION | "workspace") => Ok(()),
        Some(("project" | "agent" | "run", name)) if !name.is_empty() => Ok(()),
        Some(("key", principal)) if principal.contains(':') => Ok(()),
        _ => refused(
            "must be `organisation`, `workspace`, `project:NAME`, `agent:NAME`, `run:ID` or \
             `key:KIND:NAME`, such as `key:service:ci` or `key:user:ada`",
        ),
    }
}

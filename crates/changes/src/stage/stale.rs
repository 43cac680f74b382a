//! Why a question to people counts no more: which of the things it was about has changed.

use matrix_core::canonical;
use matrix_evidence::predicate::change::Bindings;
use serde::{Deserialize, Serialize};

use super::gate::Question;
use crate::target::DryRun;

/// How much of a digest a sentence shows.
const SHORT_CHARS: usize = 12;

/// Why the question before the open one went stale.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stale {
    /// In a few words: `the policy changed (1f0c… → 93ab…)`.
    pub because: String,
    /// What changed; at least one.
    pub changed: Vec<Changed>,
}

impl Stale {
    /// The same as a line for a person.
    pub fn line(&self) -> String {
        format!("an earlier question went stale: {}", self.because)
    }
}

/// One thing that approvals bind to, before and after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// `plan`, `patch`, `tree`, `evidence`, `policy` or `dry_run`.
    pub what: String,
    /// What it was.
    pub from: String,
    /// What it is.
    pub to: String,
}

impl Question {
    /// What a question about these things says of the one before it: why that went stale, or, where
    /// nothing changed, what that one said itself.
    pub(super) fn became_stale(&self, now: &Bindings, dry_run: &DryRun) -> Option<Stale> {
        let before = &self.bindings;
        if before == now {
            return self.stale.clone();
        }
        let digests = [
            ("plan", before.plan, now.plan),
            ("patch", before.patch, now.patch),
            ("evidence", before.evidence, now.evidence),
            ("policy", before.policy, now.policy),
            ("dry_run", before.dry_run, now.dry_run),
        ];
        let different = digests.iter().filter(|(_, from, to)| from != to);
        let mut changed: Vec<Changed> = different
            .map(|(what, from, to)| Changed::new(what, from, to))
            .collect();
        if before.tree != now.tree {
            changed.push(Changed::new("tree", &before.tree, &now.tree));
        }
        let sentences: Vec<String> = changed
            .iter()
            .map(|changed| changed.sentence(&self.dry_run, dry_run))
            .collect();
        Some(Stale {
            because: sentences.join("; "),
            changed,
        })
    }
}

impl Changed {
    fn new(what: &str, from: &impl ToString, to: &impl ToString) -> Self {
        Self {
            what: what.into(),
            from: from.to_string(),
            to: to.to_string(),
        }
    }

    fn sentence(&self, before: &DryRun, now: &DryRun) -> String {
        let short = |text: &str| text.chars().take(SHORT_CHARS).collect::<String>();
        let (from, to) = (short(&self.from), short(&self.to));
        let what = match &*self.what {
            "plan" => "the plan changed".to_owned(),
            "patch" => "the diff changed".to_owned(),
            "evidence" => "the evidence changed".to_owned(),
            "policy" => "the policy changed".to_owned(),
            "dry_run" => format!("the dry run changed: {}", difference(before, now)),
            other => format!("the {other} changed"),
        };
        format!("{what} ({from} → {to})")
    }
}

/// What about a dry run is another now.
fn difference(before: &DryRun, now: &DryRun) -> String {
    let target = &now.target;
    if before.replaces != now.replaces {
        return match (before.replaces, now.replaces) {
            (_, Some(id)) => format!("target `{target}` holds {id} now"),
            (_, None) => format!("target `{target}` is empty now"),
        };
    }
    let same = |one: &DryRun| canonical::digest(&one.config).ok();
    if same(before) != same(now) || before.environment != now.environment {
        return format!("target `{target}` is configured differently");
    }
    format!("other files of target `{target}` would change")
}

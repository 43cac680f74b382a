//! Who redacts.

use async_trait::async_trait;

use super::class::Counts;
use super::detect::find;
use super::rules::{Action, Policy};
use super::texts::{Place, Written};
use super::vault::{Vault, unescaped};

/// From how many bytes on texts are looked at on a thread of their own: below, a thread costs more than
/// the work.
const ASIDE: usize = 128 * 1024;

/// A text on its way to a model.
#[derive(Debug, Clone)]
pub(crate) struct Piece {
    /// Where it stands.
    pub(crate) place: Place,
    /// How it is written.
    pub(crate) written: Written,
    /// It.
    pub(crate) text: String,
}

/// What was found in one call so far.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// What stands in place of what.
    pub(crate) vault: Vault,
    /// How many of each class.
    pub(crate) counts: Counts,
    /// How many texts the operator's service changed.
    pub(crate) hooked: u64,
}

/// Why a call does not go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Something is in it that must not be.
    Blocked {
        /// Of which class.
        class: String,
        /// Where.
        place: String,
    },
    /// Whoever should have looked could not.
    Unavailable(String),
}

impl Refused {
    pub(super) fn blocked(class: impl Into<String>, place: Place) -> Self {
        Self::Blocked {
            class: class.into(),
            place: place.to_string(),
        }
    }
}

/// Looks at texts, and gives them back without what must not go on.
#[async_trait]
pub(crate) trait Redactor: Send + Sync {
    /// As many texts as it was given, in their order.
    async fn redact(
        &self,
        pieces: Vec<Piece>,
        found: Found,
    ) -> Result<(Vec<Piece>, Found), Refused>;
}

/// Our own patterns, by a policy.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patterns(pub(super) Policy);

#[async_trait]
impl Redactor for Patterns {
    async fn redact(
        &self,
        mut pieces: Vec<Piece>,
        mut found: Found,
    ) -> Result<(Vec<Piece>, Found), Refused> {
        let policy = self.0;
        let bytes: usize = pieces.iter().map(|piece| piece.text.len()).sum();
        let work = move || {
            for piece in &mut pieces {
                let at = (piece.place, piece.written);
                if let Some(text) = rewritten(&piece.text, at, &policy, &mut found)? {
                    piece.text = text;
                }
            }
            Ok((pieces, found))
        };
        if bytes < ASIDE {
            return work();
        }
        let done = tokio::task::spawn_blocking(work).await;
        done.map_err(|_| Refused::Unavailable("the process is ending".into()))?
    }
}

/// A text with placeholders in place of what is redacted in it; nothing if it stays as it is.
pub(super) fn rewritten(
    text: &str,
    (place, written): (Place, Written),
    policy: &Policy,
    found: &mut Found,
) -> Result<Option<String>, Refused> {
    let findings = find(text, policy);
    if findings.is_empty() {
        return Ok(None);
    }
    let mut rewritten = String::with_capacity(text.len());
    let mut copied = 0;
    for finding in findings {
        let class = finding.class;
        let action = policy.action(class);
        if written == Written::Address && action != Action::Block {
            continue;
        }
        *found.counts.entry(class).or_default() += 1;
        if action == Action::Block {
            return Err(Refused::blocked(class.as_str(), place));
        }
        let raw = text.get(finding.range.clone()).unwrap_or_default();
        let value = match written {
            Written::Json => unescaped(raw),
            Written::Plain | Written::Address => None,
        };
        let value = value.as_deref().unwrap_or(raw);
        let returns = action == Action::Restore;
        rewritten.push_str(text.get(copied..finding.range.start).unwrap_or_default());
        rewritten.push_str(found.vault.placeholder(class, value, returns));
        copied = finding.range.end;
    }
    rewritten.push_str(text.get(copied..).unwrap_or_default());
    Ok(Some(rewritten))
}

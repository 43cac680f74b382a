//! One call, from its request to its answer.

use super::class::{Class, Counts};
use super::port::{Found, Patterns, Piece, Redactor, Refused, rewritten};
use super::rules::{Action, Policy};
use super::texts::{Place, Texts, Written};
use crate::chat::ChatAnswer;

/// What holds for one call, and what was found in it.
#[derive(Debug)]
pub(crate) struct Screen {
    /// What holds.
    pub(crate) policy: Policy,
    /// How many of each class were found in the request.
    pub(crate) sent: Counts,
    /// What stands in place of what; and what was found in the answer.
    pub(crate) found: Found,
}

impl Screen {
    /// Nothing was looked at yet.
    pub(crate) fn new(policy: Policy) -> Self {
        Self {
            policy,
            sent: Counts::new(),
            found: Found::default(),
        }
    }

    /// Looks at a request: with our patterns, and then the operator's service, if there is one.
    pub(crate) async fn request(
        &mut self,
        texts: &mut impl Texts,
        hook: Option<&dyn Redactor>,
    ) -> Result<(), Refused> {
        if self.policy.is_idle() && hook.is_none() {
            return Ok(());
        }
        let mut pieces = Vec::new();
        texts.visit(&mut |place, written, text| {
            pieces.push(Piece {
                place,
                written,
                text: std::mem::take(text),
            });
        });
        let ours = Patterns(self.policy);
        let redactors = [Some(&ours as &dyn Redactor), hook];
        for redactor in redactors.into_iter().flatten() {
            let found = std::mem::take(&mut self.found);
            (pieces, self.found) = redactor.redact(pieces, found).await?;
        }
        let mut pieces = pieces.into_iter();
        texts.visit(&mut |_, _, text| {
            if let Some(piece) = pieces.next() {
                *text = piece.text;
            }
        });
        self.sent = std::mem::take(&mut self.found.counts);
        Ok(())
    }

    /// Looks at an answer as a whole, where answers are looked at. The probabilities of its tokens would
    /// tell what it said.
    pub(crate) fn answer(&mut self, answer: &mut ChatAnswer) -> Result<(), Refused> {
        if !self.policy.answers {
            return Ok(());
        }
        let mut refused = Ok(());
        answer.visit(&mut |place, written, text| {
            if refused.is_ok() {
                match self.answered(text, (place, written)) {
                    Ok(Some(changed)) => *text = changed,
                    Ok(None) => {}
                    Err(error) => refused = Err(error),
                }
            }
        });
        for choice in &mut answer.choices {
            choice.logprobs = None;
        }
        refused
    }

    /// A text of an answer.
    pub(super) fn answered(
        &mut self,
        text: &str,
        at: (Place, Written),
    ) -> Result<Option<String>, Refused> {
        rewritten(text, at, &self.policy.of_answers(), &mut self.found)
    }

    /// Turns placeholders back, for the asker.
    pub(crate) fn restore(&self, answer: &mut ChatAnswer) {
        let vault = &self.found.vault;
        if !vault.returns() {
            return;
        }
        answer.visit(&mut |_, written, text| {
            if let Some(restored) = vault.restored(text, written == Written::Json) {
                *text = restored;
            }
        });
    }
}

/// A text without anything of the classes that `which` takes, for a record of it.
pub(crate) fn cleaned(text: String, which: fn(Class) -> bool) -> String {
    let policy = Policy::every(Action::Redact, which);
    let at = (Place::Field, Written::Plain);
    // Nothing is refused by this policy.
    match rewritten(&text, at, &policy, &mut Found::default()) {
        Ok(Some(cleaned)) => cleaned,
        Ok(None) => text,
        Err(_) => String::new(),
    }
}

//! Asking a person.

use std::future::Future;

use matrix_core::id::ApprovalId;
use matrix_core::{RunId, Timestamp, canonical};
use matrix_store::tables::approvals::{self, ApprovalRow};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Run, waiting};
use crate::entry::{Draft, EntryKind};
use crate::error::{RunError, StepError};
use crate::journal::Beside;

/// What a person said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Yes.
    Approve,
    /// No.
    Reject,
}

/// A person's answer to a question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// The question.
    pub approval: ApprovalId,
    /// The answer.
    pub verdict: Verdict,
    /// Who, as `user:name`.
    pub actor: String,
    /// When.
    pub at: Timestamp,
    /// Why, in the person's words.
    pub reason: String,
    /// Whether the submitter approved their own change, as a directory's only user.
    pub self_approval: bool,
    /// Position in the journal.
    pub seq: i64,
}

impl Run {
    /// Asks a person. The same name and subject are the same question; each call gives the next
    /// answer to it. Asking with another subject makes the earlier question stale. It never
    /// expires.
    pub fn approval<S: Serialize>(
        &self,
        name: &str,
        subject: &S,
    ) -> impl Future<Output = Result<Decision, RunError>> + Send + use<S> {
        let path = self.address(&format!("approval:{name}"));
        let question = self.question(name, subject);
        let (run, name) = (self.clone(), name.to_owned());
        async move {
            let (id, index, subject) = question?;
            match run.execution.board.look(|history| history.requested(&path)) {
                Some(asked) if asked == id => {}
                Some(asked) => {
                    return Err(RunError::Diverged {
                        path,
                        recorded: asked.to_string(),
                        now: id.to_string(),
                    });
                }
                None => {
                    run.boundary(&path).await?;
                    run.ask(&path, &name, id, subject).await?;
                }
            }
            let wait = waiting("approval", &id.to_string(), "a person must decide", None);
            run.execution
                .board
                .wait(wait, move |history| {
                    let decision = history.decisions(id).get(index).cloned();
                    decision.map(Ok).or_else(|| history.cancel.clone().map(Err))
                })
                .await
                .map_err(RunError::Cancelled)
        }
    }

    /// A question's id, how many answers to it were taken before, and its subject. Fixed when it
    /// is asked, as addresses are.
    fn question<S: Serialize>(
        &self,
        name: &str,
        subject: &S,
    ) -> Result<(ApprovalId, usize, Value), RunError> {
        let subject = serde_json::to_value(subject)
            .map_err(|error| StepError::permanent("not_json", error.to_string()))?;
        let id = approval_id(self.id(), name, &subject)?;
        let mut seen = self.occurrences();
        let count = seen.entry(format!("approval answers {id}")).or_insert(0);
        *count += 1;
        Ok((id, *count as usize - 1, subject))
    }

    async fn ask(
        &self,
        path: &str,
        name: &str,
        id: ApprovalId,
        subject: Value,
    ) -> Result<(), RunError> {
        let at = self.execution.journal.clock.now();
        let row = ApprovalRow {
            approval: id,
            run: self.id(),
            name: name.to_owned(),
            state: "open".into(),
            subject: subject.to_string(),
            requested_at: at,
            closed_at: None,
        };
        let payload = json!({ "approval": id, "name": name, "subject": subject });
        let draft = Draft::at(EntryKind::ApprovalRequested, path, payload);
        let beside: Beside = Box::new(move |tx| {
            approvals::close_others(tx, row.run, Some(id), "stale", at)?;
            approvals::open(tx, &row)
        });
        self.append(draft, Some(beside)).await
    }

    /// The answers that were given to a question so far, oldest first.
    pub fn decisions<S: Serialize>(
        &self,
        name: &str,
        subject: &S,
    ) -> Result<Vec<Decision>, RunError> {
        let subject = serde_json::to_value(subject)
            .map_err(|error| StepError::permanent("not_json", error.to_string()))?;
        let id = approval_id(self.id(), name, &subject)?;
        Ok(self
            .execution
            .board
            .look(|history| history.decisions(id).to_vec()))
    }
}

/// The id of a question: from the run, its name and what it is about.
pub fn approval_id(run: RunId, name: &str, subject: &Value) -> Result<ApprovalId, RunError> {
    let digest = canonical::digest(&(run, name, subject))?;
    let mut bytes = [0_u8; 16];
    bytes.copy_from_slice(&digest.as_bytes()[..16]);
    Ok(ApprovalId::from_bytes(bytes))
}

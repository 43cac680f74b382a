//! A person's answer to a run's question.

use matrix_core::id::ApprovalId;
use matrix_core::{Action, Authorised};
use matrix_store::StoreError;
use matrix_store::tables::approvals;
use matrix_store::tables::runs::WakePaused;
use serde_json::json;

use super::message::{Mail, send};
use crate::engine::Engine;
use crate::entry::EntryKind;
use crate::error::RequestError;
use crate::run::Verdict;

/// An answer to a run's question.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The question.
    pub approval: ApprovalId,
    /// Why, in the person's words.
    pub reason: String,
    /// Whether the caller submitted what is asked about.
    pub self_approval: bool,
}

/// An action that answers a question: yes and no are two rights.
pub trait Deciding: Action {
    /// What the answer is.
    const VERDICT: Verdict;

    /// To which question, and why.
    fn answer(&self) -> &Answer;
}

/// Says yes to a run's question.
#[derive(Debug, Clone)]
pub struct ApprovalApprove(pub Answer);

impl Action for ApprovalApprove {
    const NAME: &'static str = "change_approve";
}

impl Deciding for ApprovalApprove {
    const VERDICT: Verdict = Verdict::Approve;

    fn answer(&self) -> &Answer {
        &self.0
    }
}

/// Says no to a run's question.
#[derive(Debug, Clone)]
pub struct ApprovalReject(pub Answer);

impl Action for ApprovalReject {
    const NAME: &'static str = "change_reject";
}

impl Deciding for ApprovalReject {
    const VERDICT: Verdict = Verdict::Reject;

    fn answer(&self) -> &Answer {
        &self.0
    }
}

/// Accepts the answer to a question that is still open.
pub async fn decide<A: Deciding>(
    engine: &Engine,
    request: &Authorised<A>,
) -> Result<(), RequestError> {
    let Answer {
        approval,
        reason,
        self_approval,
    } = request.action().answer().clone();
    let row = engine
        .storage()
        .look::<_, StoreError, _>(move |tx| approvals::get(tx, approval))
        .await?
        .ok_or_else(|| RequestError::NoApproval(approval.to_string()))?;
    if row.state != "open" {
        let (run, state) = (row.run, format!("past this question ({})", row.state));
        return Err(RequestError::WrongState {
            run,
            state,
            verb: "answered",
        });
    }
    let payload = json!({
        "approval": approval,
        "verdict": A::VERDICT,
        "reason": reason,
        "self_approval": self_approval,
    });
    let mail = Mail {
        run: row.run,
        kind: EntryKind::ApprovalDecided,
        path: row.name,
        payload,
        paused: WakePaused::No,
        action: A::NAME,
        letters: Vec::new(),
    };
    send(engine, request.caller(), mail).await
}

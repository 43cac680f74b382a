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

/// Answers a run's question.
#[derive(Debug, Clone)]
pub struct ApprovalDecide {
    /// The question.
    pub approval: ApprovalId,
    /// The answer.
    pub verdict: Verdict,
    /// Why, in the person's words.
    pub reason: String,
    /// Whether the caller submitted what is asked about.
    pub self_approval: bool,
}

impl Action for ApprovalDecide {
    const NAME: &'static str = "change_approve";
}

/// Accepts the answer to a question that is still open.
pub async fn decide(
    engine: &Engine,
    request: &Authorised<ApprovalDecide>,
) -> Result<(), RequestError> {
    let ApprovalDecide {
        approval,
        verdict,
        reason,
        self_approval,
    } = request.action().clone();
    let row = engine
        .database()
        .read::<_, StoreError, _>(move |tx| approvals::get(tx, approval))
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
        "verdict": verdict,
        "reason": reason,
        "self_approval": self_approval,
    });
    let mail = Mail {
        run: row.run,
        kind: EntryKind::ApprovalDecided,
        path: row.name,
        payload,
        paused: WakePaused::No,
        action: match verdict {
            Verdict::Approve => "change_approve",
            Verdict::Reject => "change_reject",
        },
    };
    send(engine, request.caller(), mail).await
}

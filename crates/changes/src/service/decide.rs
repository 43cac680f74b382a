//! A person's yes or no to a change that waits for one.

use matrix_core::id::ApprovalId;
use matrix_core::{Action, Authorised, Authorizer, RunId};
use matrix_engine::Engine;
use matrix_engine::error::RequestError;
use matrix_engine::runs::{self as engine_runs, Answer, ApprovalApprove, ApprovalReject};
use matrix_store::StoreError;
use matrix_store::tables::approvals::{self, ApprovalRow};

use crate::error::ChangeError;
use crate::stage::gate::Question;

/// Which change, by its run or by the question's own id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// The change.
    Run(RunId),
    /// The question.
    Approval(ApprovalId),
}

impl std::str::FromStr for Asked {
    type Err = matrix_core::id::InvalidId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.starts_with("apr_") {
            text.parse().map(Self::Approval)
        } else {
            text.parse().map(Self::Run)
        }
    }
}

/// Approves a change.
#[derive(Debug, Clone)]
pub struct ChangeApprove {
    /// Which.
    pub asked: Asked,
    /// Why, in the person's words.
    pub reason: String,
}

impl Action for ChangeApprove {
    const NAME: &'static str = "change_approve";
}

/// Rejects a change.
#[derive(Debug, Clone)]
pub struct ChangeReject {
    /// Which.
    pub asked: Asked,
    /// Why, in the person's words.
    pub reason: String,
}

impl Action for ChangeReject {
    const NAME: &'static str = "change_reject";
}

/// Approves what is asked now. The submitter may do so only where policy lets an explicit
/// self-approval serve, and it is recorded as such.
pub async fn approve(
    engine: &Engine,
    authorizer: &dyn Authorizer,
    request: &Authorised<ChangeApprove>,
) -> Result<RunId, ChangeError> {
    let ChangeApprove { asked, reason } = request.action();
    let row = question(engine, *asked, request.caller())?;
    let question: Question = serde_json::from_str(&row.subject).map_err(StoreError::corrupt)?;
    let caller = request.caller();
    let own =
        question.submitter == caller.principal || caller.on_behalf_of.contains(&question.submitter);
    if own && !question.self_approval_allowed {
        let (caller, run) = (caller.principal.to_string(), row.run.to_string());
        return Err(ChangeError::OwnChange { caller, run });
    }
    let decision = ApprovalApprove(Answer {
        approval: row.approval,
        reason: reason.clone(),
        self_approval: own,
    });
    let decision =
        Authorised::obtain(authorizer, caller.clone(), decision).map_err(RequestError::Denied)?;
    engine_runs::decide(engine, &decision).await?;
    Ok(row.run)
}

/// Rejects what is asked now; the change ends unreleased.
pub async fn reject(
    engine: &Engine,
    authorizer: &dyn Authorizer,
    request: &Authorised<ChangeReject>,
) -> Result<RunId, ChangeError> {
    let ChangeReject { asked, reason } = request.action();
    let row = question(engine, *asked, request.caller())?;
    let decision = ApprovalReject(Answer {
        approval: row.approval,
        reason: reason.clone(),
        self_approval: false,
    });
    let decision = Authorised::obtain(authorizer, request.caller().clone(), decision)
        .map_err(RequestError::Denied)?;
    engine_runs::decide(engine, &decision).await?;
    Ok(row.run)
}

fn question(
    engine: &Engine,
    asked: Asked,
    caller: &matrix_core::Caller,
) -> Result<ApprovalRow, ChangeError> {
    let found = engine.database().read_now::<_, StoreError, _>(|tx| {
        let row = match asked {
            Asked::Approval(id) => approvals::get(tx, id)?,
            Asked::Run(run) => approvals::of_run(tx, run)?
                .into_iter()
                .find(|row| row.state == "open"),
        };
        // A question of another scope is one that is not there.
        let Some(row) = row else { return Ok(None) };
        let run = matrix_store::tables::runs::get(tx, row.run)?;
        Ok(run.filter(|run| run.scope == caller.scope).map(|_| row))
    })?;
    found.ok_or_else(|| match asked {
        Asked::Run(run) => ChangeError::NothingToDecide(run.to_string()),
        Asked::Approval(id) => RequestError::NoApproval(id.to_string()).into(),
    })
}

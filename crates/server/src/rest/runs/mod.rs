//! `/api/v1/runs`: runs of every kind, their journals, and what can be asked of them.

pub(crate) mod body;
pub(crate) mod bulk;
pub(crate) mod cancel;
pub(crate) mod entries;
pub(crate) mod events;
pub(crate) mod filter;
pub(crate) mod fork;
pub(crate) mod hold;
pub(crate) mod list;
pub(crate) mod pause;
pub(crate) mod prune;
pub(crate) mod resume;
pub(crate) mod retry;
pub(crate) mod show;
pub(crate) mod signal;
pub(crate) mod why;

use matrix_core::{Action, Authorised, Caller, RunId};

use crate::problem::Failure;
use crate::server::{Server, blocking};

/// Asks whether the caller may steer a run; the action is made with the name of its submitter,
/// because people may steer their own.
async fn authorise_steering<A: Action>(
    server: &Server,
    caller: Caller,
    run: RunId,
    action: impl FnOnce(String) -> A,
) -> Result<Authorised<A>, Failure> {
    let database = server.database().clone();
    let submitter = blocking(move || matrix_engine::runs::submitter_of(&database, run)).await?;
    server.authorise(caller, action(submitter))
}

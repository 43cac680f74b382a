//! `POST /api/v1/runs/{run}/signal`.

use axum::extract::State;
use matrix_core::RunId;
use matrix_engine::runs::{self, RunSignal};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::authorise_steering;
use crate::edge::guard::SignedIn;
use crate::edge::read::{Body, Named};
use crate::problem::Failure;
use crate::rest::answer::Accepted;
use crate::server::Server;

/// A named value for a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Signal {
    /// The signal's name, 1 to 200 characters.
    #[schema(min_length = 1, max_length = 200)]
    pub name: String,
    /// The value; null when absent.
    #[serde(default)]
    pub value: Value,
}

/// The most characters of a signal's name.
const NAME_MAX: usize = 200;

/// Sends a named value to a run; one that does not wait for it yet finds it later.
#[utoipa::path(
    post, path = "/api/v1/runs/{run}/signal", operation_id = "run_signal", tag = "runs",
    params(("run" = String, Path, description = "The run's id.")),
    request_body(content = Signal),
    responses((status = 202, description = "Durable; the run finds it.", body = Accepted)),
)]
pub(crate) async fn signal(
    State(server): State<Server>,
    SignedIn(caller): SignedIn,
    Named(run): Named<RunId>,
    Body(Signal { name, value }): Body<Signal>,
) -> Result<Accepted, Failure> {
    if name.is_empty() || name.chars().count() > NAME_MAX {
        let detail = format!("a signal's name has 1 to {NAME_MAX} characters");
        return Err(Failure::malformed(detail));
    }
    let action = |submitter| RunSignal {
        submitter,
        run,
        name,
        value,
    };
    let request = authorise_steering(&server, caller, run, action).await?;
    runs::signal(server.engine(), &request).await?;
    Ok(Accepted::by(run))
}

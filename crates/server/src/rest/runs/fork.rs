//! `POST /api/v1/runs/{run}/fork`.

use axum::extract::State;
use axum::http::HeaderMap;
use matrix_core::RunId;
use matrix_engine::runs::{self, RunFork};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::authorise_steering;
use crate::edge::guard::SignedIn;
use crate::edge::read::{Body, Named};
use crate::idempotency::{Key, Ledger, digest_of};
use crate::problem::Failure;
use crate::rest::answer::Accepted;
use crate::server::Server;

/// From where a run goes another way, and how.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Fork {
    /// The address of the first step that the new run does itself; absent means that it goes on where
    /// the other one's journal ends now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// Another input; only for kinds of runs that take one as it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Value>,
    /// Another version of the function.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// One line for people; absent means that of the other run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 200)]
    pub title: Option<String>,
}

/// The most characters of a title.
const TITLE_MAX: usize = 200;

/// Starts a new run that shares the first entries of another one, copies nothing, and goes its own way
/// from there. Questions to people and what was decided are not shared. With an `Idempotency-Key` the
/// same request, made again within a day, gives the same run.
#[utoipa::path(
    post, path = "/api/v1/runs/{run}/fork", operation_id = "run_fork", tag = "runs",
    params(("run" = String, Path, description = "The run to be forked."),
           ("Idempotency-Key" = Option<String>, Header,
            description = "1 to 255 visible ASCII characters, new for each request.")),
    request_body(content = Fork, description = "May be empty."),
    responses((status = 202, description = "The new run is durable.", body = Accepted)),
)]
pub(crate) async fn fork(
    State(server): State<Server>,
    SignedIn(caller): SignedIn,
    Named(run): Named<RunId>,
    headers: HeaderMap,
    Body(asked): Body<Fork>,
) -> Result<Accepted, Failure> {
    let key = Key::of(&headers)?;
    if let Some(title) = &asked.title
        && (title.is_empty() || title.chars().count() > TITLE_MAX)
    {
        let detail = format!("a title has between one and {TITLE_MAX} characters");
        return Err(Failure::malformed(detail));
    }
    let digest = digest_of(&(run, &asked))?;
    let Fork {
        step,
        input,
        version,
        title,
    } = asked;
    let action = |submitter| RunFork {
        run,
        submitter,
        step,
        input,
        version,
        title,
    };
    let request = authorise_steering(&server, caller.clone(), run, action).await?;
    let engine = server.engine().clone();
    let work = |beside| async move { Ok(runs::fork(&engine, &request, beside).await?) };
    let forked = Ledger::of(&server).once(caller, key, digest, work).await?;
    Ok(Accepted::by(forked))
}

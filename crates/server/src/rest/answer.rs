//! Answers that several endpoints give.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use matrix_core::RunId;
use matrix_core::id::{ApprovalId, DeploymentId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Addresses of what belongs to a thing, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Links(BTreeMap<String, String>);

impl Links {
    /// The address of this name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    fn of<const N: usize>(links: [(&str, String); N]) -> Self {
        let links = links.map(|(name, address)| (name.to_owned(), address));
        Self(BTreeMap::from(links))
    }
}

/// Links of a run of any kind.
pub(crate) fn run_links(run: RunId) -> Links {
    let base = format!("/api/v1/runs/{run}");
    Links::of([
        ("self", base.clone()),
        ("entries", format!("{base}/entries")),
        ("events", format!("{base}/events")),
    ])
}

/// Links of a change.
pub(crate) fn job_links(run: RunId) -> Links {
    Links::of([
        ("self", format!("/api/v1/jobs/{run}")),
        ("run", format!("/api/v1/runs/{run}")),
        ("events", format!("/api/v1/runs/{run}/events")),
        ("artifacts", format!("/api/v1/artifacts/{run}")),
    ])
}

/// Links of an artifact. Names are made of path segments whose unusual characters are escaped.
pub(crate) fn artifact_links(run: RunId, name: &str) -> Links {
    let mut address = format!("/api/v1/artifacts/{run}/");
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            address.push(char::from(byte));
        } else {
            // Writing to a text cannot fail.
            let _ = write!(address, "%{byte:02X}");
        }
    }
    Links::of([("self", address), ("job", format!("/api/v1/jobs/{run}"))])
}

/// Links of a question to people.
pub(crate) fn approval_links(approval: ApprovalId, run: RunId) -> Links {
    let base = format!("/api/v1/approvals/{approval}");
    Links::of([
        ("approve", format!("{base}/approve")),
        ("reject", format!("{base}/reject")),
        ("job", format!("/api/v1/jobs/{run}")),
    ])
}

/// Links of a deployment.
pub(crate) fn deployment_links(deployment: DeploymentId, run: RunId) -> Links {
    let base = format!("/api/v1/deployments/{deployment}");
    Links::of([
        ("rollback", format!("{base}/rollback")),
        ("stop", format!("{base}/stop")),
        ("job", format!("/api/v1/jobs/{run}")),
    ])
}

/// Links of a schedule.
pub(crate) fn schedule_links(name: &str, run: RunId) -> Links {
    let base = format!("/api/v1/schedules/{name}");
    let run = format!("/api/v1/runs/{run}");
    Links::of([
        ("self", base.clone()),
        ("fire", format!("{base}/fire")),
        ("pause", format!("{run}/pause")),
        ("resume", format!("{run}/resume")),
        ("run", run),
    ])
}

/// A request that is durable and will be carried out by the run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Accepted {
    /// The run.
    #[schema(value_type = String, example = "run_01k6g0000000000000000000aa")]
    pub run: RunId,
    /// Where to look on.
    pub links: Links,
}

impl Accepted {
    pub(crate) fn by(run: RunId) -> Self {
        let links = run_links(run);
        Self { run, links }
    }
}

impl IntoResponse for Accepted {
    /// 202, with the run's address in `Location`.
    fn into_response(self) -> Response {
        let location = self.links.get("self").unwrap_or_default().to_owned();
        let mut response = (StatusCode::ACCEPTED, Json(self)).into_response();
        if let Ok(location) = HeaderValue::from_str(&location) {
            response.headers_mut().insert(header::LOCATION, location);
        }
        response
    }
}

/// A failure (RFC 9457). Some have more members, such as the run's id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProblemBody {
    /// `urn:matrix:error:` and the code.
    pub r#type: String,
    /// The stable code, such as `RUN-0001`; `docs/errors/` has a page for each.
    pub code: String,
    /// A few words that never change with the case.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened to which thing.
    pub detail: String,
    /// What to do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// The request's id, as the log has it.
    pub request_id: String,
    /// What the command line exits with for this code.
    pub exit_code: u8,
    /// Other members.
    #[serde(flatten)]
    #[schema(ignore)]
    pub members: serde_json::Map<String, serde_json::Value>,
}

/// Why something is done, in the caller's words.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Reason {
    /// Why; at most 4096 characters.
    #[serde(default)]
    #[schema(max_length = 4096)]
    pub reason: String,
}

/// The most characters of a reason.
const REASON_MAX: usize = 4096;

impl Reason {
    /// The text, unless it is too long.
    pub(crate) fn checked(self) -> Result<String, crate::problem::Failure> {
        if self.reason.chars().count() > REASON_MAX {
            let detail = format!("a reason may have at most {REASON_MAX} characters");
            return Err(crate::problem::Failure::malformed(detail));
        }
        Ok(self.reason)
    }
}

//! `GET /api/v1/deployments`.

use axum::extract::State;
use matrix_changes::intake::name_of;
use matrix_changes::service::{self, DeploymentList};
use matrix_core::id::DeploymentId;
use matrix_core::{RunId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use crate::edge::guard::SignedIn;
use crate::edge::read::Asked;
use crate::problem::Failure;
use crate::rest::answer::{Links, deployment_links};
use crate::rest::page::{self, Page};
use crate::server::{Server, blocking};

/// One application of a change to a target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Deployment {
    /// Its id.
    #[schema(value_type = String)]
    pub deployment: DeploymentId,
    /// The change that made it.
    #[schema(value_type = String)]
    pub run: RunId,
    /// The repository whose target it is on: its path on the server's machine. Null if the record
    /// of the change was erased.
    pub repository: Option<String>,
    /// The target's name in that repository; another one may use the same name.
    pub target: String,
    /// `active`, `superseded`, `rolled_back`, `failed` or `stopped`.
    pub state: String,
    /// What the target's adapter says.
    pub detail: Value,
    /// When it was made, in microseconds since 1970.
    #[schema(value_type = i64)]
    pub created_at: Timestamp,
    /// When its state last changed, in microseconds since 1970.
    #[schema(value_type = i64)]
    pub updated_at: Timestamp,
    /// What can be done with it.
    pub links: Links,
}

impl From<service::Deployment> for Deployment {
    fn from(found: service::Deployment) -> Self {
        let service::Deployment { row, repository } = found;
        Self {
            deployment: row.deployment,
            run: row.run,
            repository,
            target: row.target,
            state: row.state,
            detail: serde_json::from_str(&row.detail).unwrap_or(Value::Null),
            created_at: row.created_at,
            updated_at: row.updated_at,
            links: deployment_links(row.deployment, row.run),
        }
    }
}

/// Which deployments.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct DeploymentQuery {
    /// Only deployments to targets of this name.
    target: Option<String>,
    /// Only deployments to targets of this repository: its path on the server's machine.
    repository: Option<String>,
    /// Where the page begins: `next` of the page before.
    #[param(value_type = Option<String>)]
    cursor: Option<DeploymentId>,
    /// How many items at most, 1 to 200; 50 when absent.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
}

/// Deployments, newest first.
#[utoipa::path(
    get, path = "/api/v1/deployments", operation_id = "deployment_list", tag = "deployments",
    params(DeploymentQuery),
    responses((status = 200, description = "A page of deployments.", body = Page<Deployment>)),
)]
pub(crate) async fn list(
    State(server): State<Server>,
    SignedIn(caller): SignedIn,
    Asked(query): Asked<DeploymentQuery>,
) -> Result<Page<Deployment>, Failure> {
    let limit = page::limit(query.limit);
    let action = DeploymentList {
        before: query.cursor,
        target: query.target.unwrap_or_default(),
        repository: query
            .repository
            .map(|path| name_of(path.as_ref()))
            .unwrap_or_default(),
        limit: limit + 1,
    };
    let request = server.authorise(caller, action)?;
    let found =
        blocking(move || service::deployments(server.database(), server.blobs(), &request)).await?;
    Ok(Page::cut(found, limit, |found| found.row.deployment.to_string()).map(Deployment::from))
}

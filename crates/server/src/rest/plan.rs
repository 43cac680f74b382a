//! `POST /api/v1/plan`: looks at a plan without doing anything.

use axum::Json;
use axum::extract::State;
use matrix_changes::service::{PlanCheck, plan_check};
use matrix_core::Digest;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::edge::guard::SignedIn;
use crate::edge::read::Body;
use crate::problem::Failure;
use crate::server::{Server, blocking};

/// A plan's text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanText {
    /// YAML or JSON.
    pub plan: String,
    /// The file's name, for messages; its extension tells JSON from YAML.
    #[serde(default = "plan_name")]
    #[schema(default = "plan.yaml")]
    pub plan_name: String,
}

/// The name of a plan that came without one.
pub(crate) fn plan_name() -> String {
    "plan.yaml".into()
}

/// A plan that can be used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CheckedPlan {
    /// The plan as it is understood, with all defaults; it has a JSON Schema of its own.
    pub plan: Value,
    /// The digest of its meaning.
    #[schema(value_type = String)]
    pub digest: Digest,
}

/// Validates a plan, and gives it back as it is understood or everything that is wrong with it.
#[utoipa::path(
    post, path = "/api/v1/plan", operation_id = "change_plan", tag = "changes",
    request_body = PlanText,
    responses((status = 200, description = "The plan can be used.", body = CheckedPlan)),
)]
pub(crate) async fn plan(
    State(server): State<Server>,
    SignedIn(caller): SignedIn,
    Body(text): Body<PlanText>,
) -> Result<Json<CheckedPlan>, Failure> {
    let action = PlanCheck {
        plan: text.plan.into_bytes(),
        plan_name: text.plan_name,
    };
    let request = server.authorise(caller, action)?;
    let checked = blocking(move || plan_check(&request)).await?;
    let plan = serde_json::to_value(checked.plan).map_err(|error| {
        tracing::error!(%error, "a plan has no JSON form");
        Failure::internal()
    })?;
    let digest = checked.digest;
    Ok(Json(CheckedPlan { plan, digest }))
}

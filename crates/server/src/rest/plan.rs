//! `POST /api/v1/plan`: looks at a plan without doing anything.

use std::path::PathBuf;

use axum::Json;
use axum::extract::State;
use matrix_changes::LooseHunk;
use matrix_changes::forecast::{CheckForecast, Forecast, PatchForecast};
use matrix_changes::intake::Submission;
use matrix_changes::plan::Plan;
use matrix_changes::service::{PlanCheck, PlanForecast, plan_check, plan_forecast};
use matrix_core::Digest;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::edge::guard::SignedIn;
use crate::edge::read::Body;
use crate::problem::Failure;
use crate::server::{Server, blocking};

/// A plan's text, and what to try it on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanText {
    /// YAML or JSON.
    pub plan: String,
    /// The file's name, for messages; its extension tells JSON from YAML.
    #[serde(default = "plan_name")]
    #[schema(default = "plan.yaml")]
    pub plan_name: String,
    /// The repository's absolute path on the server's machine. With it the plan is applied to a
    /// look at its base revision, and the answer tells what would come of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// Where to deploy; it wins over the plan's target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
}

/// The name of a plan that came without one.
pub(crate) fn plan_name() -> String {
    "plan.yaml".into()
}

/// A repository's path as a request gives it.
pub(crate) fn repository_at(text: &str) -> Result<PathBuf, Failure> {
    let path = PathBuf::from(text);
    if path.is_absolute() {
        Ok(path)
    } else {
        Err(Failure::malformed(
            "`repository` is an absolute path on the server's machine",
        ))
    }
}

/// A plan that can be used. What follows the digest is there when a repository was named.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CheckedPlan {
    /// The plan as it is understood, with all defaults; it has a JSON Schema of its own.
    pub plan: Value,
    /// The digest of its meaning.
    #[schema(value_type = String)]
    pub digest: Digest,
    /// The repository, by the name that a change of it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// The commit that the plan's base revision names now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
    /// What the plan makes of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patch: Option<PlannedPatch>,
    /// The checks there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checks: Option<Vec<PlannedCheck>>,
    /// `low`, `medium`, `high` or `critical`, as far as the patch alone tells; what the checks find
    /// can only raise it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub risk: Option<String>,
    /// Why the risk is what it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub risk_reasons: Option<Vec<String>>,
    /// The target's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// What the target would get, without what a build adds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dry_run: Option<Value>,
    /// The dry run's digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub dry_run_digest: Option<Digest>,
}

/// What a plan makes of its base revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlannedPatch {
    /// The git tree of the result.
    pub tree: String,
    /// SHA-256 of the canonical diff.
    #[schema(value_type = String)]
    pub digest: Digest,
    /// How many paths differ.
    pub files: usize,
    /// Lines that come.
    pub added_lines: u64,
    /// Lines that go.
    pub deleted_lines: u64,
    /// Hunks that did not stand where they said, to the byte.
    pub loose: Vec<Loose>,
}

/// A hunk of a diff that was placed with some tolerance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Loose {
    /// Which of the plan's operations, from 0.
    pub operation: usize,
    /// The file.
    pub path: String,
    /// Which of the diff's hunks, from 1.
    pub hunk: usize,
    /// The line of the base's file that it begins at, from 1.
    pub line: usize,
    /// How many lines below the place that its header names; null where the header names none.
    pub offset: Option<i64>,
    /// How many of the outermost context lines were left out, 0 to 2.
    pub fuzz: usize,
    /// What was overlooked in the others: `exact` (nothing), `line_ends`, `trailing_space` or
    /// `indentation`.
    pub alike: String,
}

/// A check there is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlannedCheck {
    /// Its name, such as `test_results/cargo`.
    pub check: String,
    /// What it gives evidence of.
    pub kind: String,
    /// The revisions it would run on: `base`, `head`.
    pub sides: Vec<String>,
}

/// A value's word in JSON.
fn word(value: impl Serialize) -> String {
    let value = serde_json::to_value(value).unwrap_or_default();
    value.as_str().unwrap_or_default().to_owned()
}

impl From<LooseHunk> for Loose {
    fn from(hunk: LooseHunk) -> Self {
        let LooseHunk {
            operation,
            path,
            fit,
        } = hunk;
        Self {
            operation,
            path,
            hunk: fit.hunk,
            line: fit.line,
            offset: fit.offset,
            fuzz: fit.fuzz,
            alike: word(fit.alike),
        }
    }
}

impl From<PatchForecast> for PlannedPatch {
    fn from(patch: PatchForecast) -> Self {
        Self {
            tree: patch.tree.to_string(),
            digest: patch.digest,
            files: patch.files,
            added_lines: patch.added_lines,
            deleted_lines: patch.deleted_lines,
            loose: patch.loose.into_iter().map(Loose::from).collect(),
        }
    }
}

impl From<CheckForecast> for PlannedCheck {
    fn from(check: CheckForecast) -> Self {
        Self {
            check: check.check,
            kind: check.kind.to_string(),
            sides: check.sides.into_iter().map(word).collect(),
        }
    }
}

impl CheckedPlan {
    fn alone(plan: &Plan, digest: Digest) -> Result<Self, Failure> {
        Ok(Self {
            plan: json(plan)?,
            digest,
            repository: None,
            base: None,
            patch: None,
            checks: None,
            risk: None,
            risk_reasons: None,
            target: None,
            dry_run: None,
            dry_run_digest: None,
        })
    }

    fn with(forecast: Forecast) -> Result<Self, Failure> {
        let checks = forecast.checks.into_iter().map(PlannedCheck::from);
        Ok(Self {
            repository: Some(forecast.repository),
            base: Some(forecast.base),
            patch: Some(forecast.patch.into()),
            checks: Some(checks.collect()),
            risk: Some(forecast.risk.to_string()),
            risk_reasons: Some(forecast.risk_reasons),
            target: Some(forecast.target),
            dry_run: Some(json(&forecast.dry_run)?),
            dry_run_digest: Some(forecast.dry_run_digest),
            ..Self::alone(&forecast.plan, forecast.digest)?
        })
    }
}

fn json(value: &impl Serialize) -> Result<Value, Failure> {
    serde_json::to_value(value).map_err(|error| {
        tracing::error!(%error, "a plan has no JSON form");
        Failure::internal()
    })
}

/// Validates a plan, and gives it back as it is understood or everything that is wrong with it.
/// With a repository it is tried, too: the answer tells the patch, the checks there are, the least
/// risk and what the target would get. Nothing is started or kept.
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
    let (plan, plan_name) = (text.plan.into_bytes(), text.plan_name);
    let Some(repository) = text.repository else {
        let action = PlanCheck { plan, plan_name };
        let request = server.authorise(caller, action)?;
        let checked = blocking(move || plan_check(&request)).await?;
        return Ok(Json(CheckedPlan::alone(&checked.plan, checked.digest)?));
    };
    let action = PlanForecast(Submission {
        repository: repository_at(&repository)?,
        plan,
        plan_name,
        target: text.target,
    });
    let request = server.authorise(caller, action)?;
    let forecast = plan_forecast(server.workshop(), &request).await?;
    Ok(Json(CheckedPlan::with(forecast)?))
}

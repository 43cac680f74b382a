//! `/api/v1/budgets`.

use axum::Json;
use axum::extract::State;
use matrix_core::Money;
use matrix_models::budget::{self, BudgetRemove, BudgetSet, BudgetView, Limits};
use matrix_models::registry::ModelRead;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::edge::guard::SignedIn;
use crate::edge::read::Body;
use crate::problem::Failure;
use crate::server::Server;

/// What may be spent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BudgetOrder {
    /// Whose calls count: `organisation`, `workspace`, `project:NAME`, `agent:NAME`, `run:ID`,
    /// `key:user:ada` or `key:service:ci`.
    pub subject: String,
    /// `total`, `hour`, `day` or `month`, which begin in UTC.
    pub period: String,
    /// The most money, in US dollars: `12.50`.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub money: Option<Money>,
    /// The most tokens, read and written.
    #[serde(default)]
    pub tokens: Option<u64>,
}

/// A budget that is to count no more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BudgetRemoval {
    /// Whose.
    pub subject: String,
    /// Of which period.
    pub period: String,
}

/// A budget as it stands in its present window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Budget {
    /// Whose.
    pub subject: String,
    /// For how long.
    pub period: String,
    /// The most money, in US dollars.
    #[schema(value_type = Option<String>)]
    pub money: Option<Money>,
    /// The most tokens.
    pub tokens: Option<u64>,
    /// When its window began, in microseconds since 1970.
    pub since: i64,
    /// What was spent, in US dollars.
    #[schema(value_type = String)]
    pub money_spent: Money,
    /// The same in tokens.
    pub tokens_spent: u64,
    /// What servers have set aside and may spend, in US dollars.
    #[schema(value_type = String)]
    pub money_held: Money,
    /// The same in tokens.
    pub tokens_held: u64,
}

/// Every budget.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Budgets {
    /// By subject and period.
    pub budgets: Vec<Budget>,
}

impl From<BudgetView> for Budget {
    fn from(view: BudgetView) -> Self {
        Self {
            subject: view.subject,
            period: view.period.to_string(),
            money: view.limits.money,
            tokens: view.limits.tokens,
            since: view.since.as_micros(),
            money_spent: view.spent,
            tokens_spent: view.tokens_spent,
            money_held: view.held,
            tokens_held: view.tokens_held,
        }
    }
}

/// Every budget, as it stands.
#[utoipa::path(
    get, path = "/api/v1/budgets", operation_id = "budget_list", tag = "models",
    responses((status = 200, description = "The budgets.", body = Budgets)),
)]
pub(crate) async fn list(
    State(server): State<Server>,
    SignedIn(caller): SignedIn,
) -> Result<Json<Budgets>, Failure> {
    let request = server.authorise(caller, ModelRead)?;
    // What this process has spent and not yet told.
    server.models().flush().await?;
    let budgets = budget::list_budgets(server.models().purses(), &request).await?;
    let budgets = budgets.into_iter().map(Budget::from).collect();
    Ok(Json(Budgets { budgets }))
}

/// Sets the limits of a budget, which is made if there is none. What was spent stays.
#[utoipa::path(
    post, path = "/api/v1/budgets", operation_id = "budget_set", tag = "models",
    request_body = BudgetOrder,
    responses((status = 200, description = "The limits hold.", body = Budgets)),
)]
pub(crate) async fn set(
    State(server): State<Server>,
    SignedIn(caller): SignedIn,
    Body(order): Body<BudgetOrder>,
) -> Result<Json<Budgets>, Failure> {
    let action = BudgetSet {
        subject: order.subject.clone(),
        period: order
            .period
            .parse()
            .map_err(matrix_models::ModelError::from)?,
        limits: Limits {
            money: order.money,
            tokens: order.tokens,
        },
    };
    let request = server.authorise(caller.clone(), action)?;
    let purses = server.models().purses();
    budget::set_budget(purses, &request).await?;
    let request = server.authorise(caller, ModelRead)?;
    let all = budget::list_budgets(purses, &request).await?;
    let this = all.into_iter().map(Budget::from);
    let this = this.filter(|one| one.subject == order.subject && one.period == order.period);
    Ok(Json(Budgets {
        budgets: this.collect(),
    }))
}

/// Removes a budget; its subject is limited by the others only.
#[utoipa::path(
    post, path = "/api/v1/budgets/remove", operation_id = "budget_remove", tag = "models",
    request_body = BudgetRemoval,
    responses((status = 200, description = "It counts no more.", body = BudgetRemoval)),
)]
pub(crate) async fn remove(
    State(server): State<Server>,
    SignedIn(caller): SignedIn,
    Body(order): Body<BudgetRemoval>,
) -> Result<Json<BudgetRemoval>, Failure> {
    let action = BudgetRemove {
        subject: order.subject.clone(),
        period: order
            .period
            .parse()
            .map_err(matrix_models::ModelError::from)?,
    };
    let request = server.authorise(caller, action)?;
    budget::remove_budget(server.models().purses(), &request).await?;
    Ok(Json(order))
}

//! Setting, removing and listing budgets.

use matrix_core::{Action, Authorised, Money, Timestamp};
use matrix_store::StoreError;
use matrix_store::tables::audit;
use matrix_store::tables::budgets::{self, Amount, BudgetKey, BudgetRow};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::check_subject;
use super::period::Period;
use super::purses::{BUDGETS_MAX, Purses};
use crate::error::ModelError;
use crate::registry::{InvalidSpec, ModelRead};

/// Sets the limits of a budget.
#[derive(Debug, Clone)]
pub struct BudgetSet {
    /// Whose.
    pub subject: String,
    /// For how long.
    pub period: Period,
    /// The limits.
    pub limits: Limits,
}

/// What may be spent; what is not said is not limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Money.
    pub money: Option<Money>,
    /// Tokens read and written.
    pub tokens: Option<u64>,
}

impl Action for BudgetSet {
    const NAME: &'static str = "budget_set";

    fn facts(&self) -> Value {
        json!({ "subject": self.subject })
    }
}

/// Removes a budget.
#[derive(Debug, Clone)]
pub struct BudgetRemove {
    /// Whose.
    pub subject: String,
    /// Of which period.
    pub period: Period,
}

impl Action for BudgetRemove {
    const NAME: &'static str = "budget_remove";

    fn facts(&self) -> Value {
        json!({ "subject": self.subject })
    }
}

/// A budget as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BudgetView {
    /// Whose.
    pub subject: String,
    /// For how long.
    pub period: Period,
    /// The limits.
    pub limits: Limits,
    /// When its window began.
    pub since: Timestamp,
    /// What was spent in it.
    pub spent: Money,
    /// The same in tokens.
    pub tokens_spent: u64,
    /// What processes have taken and may spend.
    pub held: Money,
    /// The same in tokens.
    pub tokens_held: u64,
}

/// Sets the limits of a budget.
pub async fn set_budget(
    purses: &Purses,
    request: &Authorised<BudgetSet>,
) -> Result<(), ModelError> {
    let BudgetSet {
        subject,
        period,
        limits,
    } = request.action().clone();
    check_subject(&subject)?;
    if limits.money.is_none() && limits.tokens.is_none() {
        return Err(
            InvalidSpec::new("limits", "must say how much money or how many tokens").into(),
        );
    }
    let caller = request.caller().clone();
    let now = purses.clock().now();
    let tokens = limits
        .tokens
        .map(|tokens| i64::try_from(tokens).unwrap_or(i64::MAX));
    let row = BudgetRow {
        key: BudgetKey {
            subject: subject.clone(),
            period: period.as_str().into(),
        },
        money_limit: limits.money.map(Money::as_nanos),
        token_limit: tokens,
        window_start: period.window(now),
        spent: Amount::default(),
        held: Amount::default(),
        alerted: 0,
    };
    let scope = caller.scope.clone();
    let database = purses.database().within(&scope);
    database
        .write_alone::<_, ModelError, _>(move |tx| {
            let all = budgets::list(tx, &caller.scope, BUDGETS_MAX)?;
            let full = i64::try_from(all.len()).unwrap_or(i64::MAX) >= BUDGETS_MAX;
            if full && !all.iter().any(|other| other.key == row.key) {
                let why = format!("would be one more than {BUDGETS_MAX} budgets");
                return Err(InvalidSpec::new("subject", why).into());
            }
            budgets::put(tx, &caller.scope, &row)?;
            let words = serde_json::to_string(&limits).unwrap_or_default();
            let detail = format!("{period} {words}");
            audit::insert(tx, &caller, now, "budget_set", &subject, &detail)?;
            Ok(())
        })
        .await?;
    purses.forget(&scope);
    Ok(())
}

/// Removes a budget; its subject is not limited by it any more.
pub async fn remove_budget(
    purses: &Purses,
    request: &Authorised<BudgetRemove>,
) -> Result<(), ModelError> {
    let BudgetRemove { subject, period } = request.action().clone();
    let (caller, now) = (request.caller().clone(), purses.clock().now());
    let scope = caller.scope.clone();
    let database = purses.database().within(&scope);
    database
        .write_alone::<_, ModelError, _>(move |tx| {
            let key = BudgetKey {
                subject: subject.clone(),
                period: period.as_str().into(),
            };
            if !budgets::remove(tx, &caller.scope, &key)? {
                return Err(ModelError::NoBudget {
                    subject,
                    period: period.to_string(),
                });
            }
            audit::insert(tx, &caller, now, "budget_remove", &key.subject, &key.period)?;
            Ok(())
        })
        .await?;
    purses.forget(&scope);
    Ok(())
}

/// Every budget, as it stands in its present window.
pub async fn list_budgets(
    purses: &Purses,
    request: &Authorised<ModelRead>,
) -> Result<Vec<BudgetView>, ModelError> {
    let scope = request.caller().scope.clone();
    let now = purses.clock().now();
    let database = purses.database().within(&scope);
    let rows = database
        .read::<_, StoreError, _>(move |tx| budgets::list(tx, &scope, BUDGETS_MAX))
        .await?;
    Ok(rows.into_iter().filter_map(|row| view(row, now)).collect())
}

fn view(row: BudgetRow, now: Timestamp) -> Option<BudgetView> {
    let period: Period = row.key.period.parse().ok()?;
    let window = period.window(now);
    // A window that has passed is reset with the next call.
    let (spent, held) = if row.window_start < window {
        (Amount::default(), Amount::default())
    } else {
        (row.spent, row.held)
    };
    let tokens = |tokens: i64| u64::try_from(tokens).unwrap_or(0);
    Some(BudgetView {
        subject: row.key.subject,
        period,
        limits: Limits {
            money: row.money_limit.map(Money::from_nanos),
            tokens: row.token_limit.map(tokens),
        },
        since: window,
        spent: Money::from_nanos(spent.money),
        tokens_spent: tokens(spent.tokens),
        held: Money::from_nanos(held.money),
        tokens_held: tokens(held.tokens),
    })
}

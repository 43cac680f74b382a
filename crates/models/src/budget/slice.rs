//! How much a process takes out of a budget, and what is said of a budget that is being used up.

use matrix_core::{Caller, Money, Principal, PrincipalKind, Scope, Timestamp};
use matrix_store::tables::audit;
use matrix_store::tables::budgets::{self, Amount, BudgetKey, BudgetRow};
use matrix_store::{StoreError, Tx};

use crate::error::ModelError;

/// Into how many slices what is left of a budget is cut: the less is left, the smaller they are.
const SLICES: i64 = 16;

/// Shares of a budget, in percent, of which somebody is told.
const ALERTS: [i64; 4] = [100, 90, 75, 50];

/// No less than nothing.
pub(super) fn floor(amount: Amount) -> Amount {
    Amount {
        money: amount.money.max(0),
        tokens: amount.tokens.max(0),
    }
}

/// Whether there is room for an amount beside what can be reserved already.
pub(super) fn room(row: &BudgetRow, free: Amount, amount: Amount) -> bool {
    row.room().covers(needs(row, free, amount))
}

/// What is missing.
fn needs(row: &BudgetRow, free: Amount, amount: Amount) -> Amount {
    let missing = floor(amount - free);
    Amount {
        money: if row.money_limit.is_some() {
            missing.money
        } else {
            0
        },
        tokens: if row.token_limit.is_some() {
            missing.tokens
        } else {
            0
        },
    }
}

/// The slice that is taken: what is missing, and a share of what is left, if there is room at all.
pub(super) fn grant(row: &BudgetRow, free: Amount, amount: Amount) -> Amount {
    let (room, needs) = (row.room(), needs(row, free, amount));
    if !room.covers(needs) {
        return Amount::default();
    }
    let share = |limit: Option<i64>, room: i64, needs: i64| match limit {
        Some(_) => (room / SLICES).max(needs).min(room).max(0),
        None => 0,
    };
    Amount {
        money: share(row.money_limit, room.money, needs.money),
        tokens: share(row.token_limit, room.tokens, needs.tokens),
    }
}

/// Tells once of each share of the budget that is spent.
pub(super) fn alert(
    tx: &Tx<'_>,
    scope: &Scope,
    row: &BudgetRow,
    now: Timestamp,
) -> Result<(), StoreError> {
    let share = |spent: i64, limit: Option<i64>| match limit {
        Some(limit) if limit > 0 => {
            i64::try_from(i128::from(spent) * 100 / i128::from(limit)).unwrap_or(i64::MAX)
        }
        Some(_) => 100,
        None => 0,
    };
    let percent = share(row.spent.money, row.money_limit);
    let percent = percent.max(share(row.spent.tokens, row.token_limit));
    let reached = ALERTS.into_iter().find(|alert| percent >= *alert);
    let Some(reached) = reached.filter(|reached| row.alerted < *reached) else {
        return Ok(());
    };
    if budgets::alerted(tx, scope, &row.key, reached)? {
        let BudgetKey { subject, period } = &row.key;
        tracing::warn!(
            subject,
            period,
            percent = reached,
            "a budget is being used up"
        );
        let detail = format!("{reached} % of the {period} budget are spent");
        audit::insert(tx, &gateway(scope), now, "budget_alert", subject, &detail)?;
    }
    Ok(())
}

/// Who tells of it.
fn gateway(scope: &Scope) -> Caller {
    Caller {
        principal: Principal {
            kind: PrincipalKind::ServiceAccount,
            name: "model-gateway".into(),
        },
        scope: scope.clone(),
        on_behalf_of: Vec::new(),
    }
}

/// What is said to a call for which there is no room.
pub(super) fn spent(key: &BudgetKey, row: &BudgetRow, left: Amount, amount: Amount) -> ModelError {
    let short_of_money = row.money_limit.is_some() && left.money < amount.money;
    let words = |amount: Amount| {
        if short_of_money {
            format!("${}", Money::from_nanos(amount.money.max(0)))
        } else {
            format!("{} tokens", amount.tokens.max(0))
        }
    };
    ModelError::Spent {
        subject: key.subject.clone(),
        period: key.period.clone(),
        left: words(left),
        needed: words(amount),
    }
}

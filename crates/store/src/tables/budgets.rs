//! What may be spent in a period, what was, and what processes have taken to spend.
//!
//! A process takes a slice out of a budget ([`hold`]), spends from it in memory, and says now and
//! then how much it spent ([`settle`]). A slice is gone from the budget at once, so processes never
//! spend more together than there is, and none asks the database for each call. What a process held
//! when it died counts as spent ([`expire`]): nobody knows better.
//!
//! A budget of an organisation counts the calls of all its workspaces, so there is one of each period;
//! it stands in a workspace of its own ([`home`]), which every workspace of the organisation reaches.

use matrix_core::{Scope, Timestamp};

use crate::error::StoreError;
use crate::params;
use crate::sql::{Row, Statement, Tx};

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT subject, period, money_limit, token_limit, window_start, money_spent, \
             money_held, tokens_spent, tokens_held, alerted FROM budgets \
             WHERE organisation = $1 AND ",
            $rest
        )
    };
}

/// Whose budget counts the calls of a whole organisation.
pub const ORGANISATION: &str = "organisation";

/// The workspace of what belongs to a whole organisation; nobody's own has this name.
const WHOLE: &str = "*";

/// Where a budget stands: that of a whole organisation in a workspace of its own.
pub fn home(scope: &Scope, key: &BudgetKey) -> Scope {
    Scope {
        organisation: scope.organisation.clone(),
        workspace: place(scope, key).to_owned(),
    }
}

fn place<'a>(scope: &'a Scope, key: &BudgetKey) -> &'a str {
    if key.subject == ORGANISATION {
        WHOLE
    } else {
        &scope.workspace
    }
}

const PUT: Statement = Statement::new(
    "budgets.put",
    "INSERT INTO budgets (organisation, workspace, subject, period, money_limit, token_limit,
                          window_start, money_spent, money_held, tokens_spent, tokens_held, alerted)
     VALUES ($1, $2, $3, $4, $5, $6, $7, 0, 0, 0, 0, 0)
     ON CONFLICT (organisation, workspace, subject, period) DO UPDATE
         SET money_limit = $5, token_limit = $6, alerted = 0",
);
const REMOVE: Statement = Statement::new(
    "budgets.remove",
    "DELETE FROM budgets
     WHERE organisation = $1 AND workspace = $2 AND subject = $3 AND period = $4",
);
const LET_GO: Statement = Statement::new(
    "budgets.let_go",
    "DELETE FROM budget_holds
     WHERE organisation = $1 AND workspace = $2 AND subject = $3 AND period = $4",
);
const LIST: Statement = Statement::new(
    "budgets.list",
    select!("workspace IN ($2, '*') ORDER BY subject, period LIMIT $3"),
);
const LOCK: Statement = Statement::new(
    "budgets.lock",
    select!("workspace = $2 AND subject = $3 AND period = $4"),
)
.on_postgres(select!(
    "workspace = $2 AND subject = $3 AND period = $4 FOR NO KEY UPDATE"
));
const WINDOW: Statement = Statement::new(
    "budgets.window",
    "UPDATE budgets SET window_start = $5, money_spent = 0, money_held = 0, tokens_spent = 0,
                        tokens_held = 0, alerted = 0
     WHERE organisation = $1 AND workspace = $2 AND subject = $3 AND period = $4",
);
const MOVE: Statement = Statement::new(
    "budgets.move",
    "UPDATE budgets SET money_spent = money_spent + $5, money_held = money_held + $6,
                        tokens_spent = tokens_spent + $7, tokens_held = tokens_held + $8
     WHERE organisation = $1 AND workspace = $2 AND subject = $3 AND period = $4",
);
const ALERTED: Statement = Statement::new(
    "budgets.alerted",
    "UPDATE budgets SET alerted = $5
     WHERE organisation = $1 AND workspace = $2 AND subject = $3 AND period = $4 AND alerted < $5",
);
const HOLD: Statement = Statement::new(
    "budgets.hold",
    "INSERT INTO budget_holds (organisation, workspace, subject, period, holder, window_start,
                               money, tokens, until)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
     ON CONFLICT (organisation, workspace, subject, period, holder) DO UPDATE
         SET window_start = $6, money = $7, tokens = $8, until = $9",
);
const HELD: Statement = Statement::new(
    "budgets.held",
    "SELECT window_start, money, tokens FROM budget_holds
     WHERE organisation = $1 AND workspace = $2 AND subject = $3 AND period = $4 AND holder = $5",
);
const EXPIRED: Statement = Statement::new(
    "budgets.expired",
    "SELECT holder, window_start, money, tokens FROM budget_holds
     WHERE organisation = $1 AND workspace = $2 AND subject = $3 AND period = $4 AND until < $5",
);
const FORGET: Statement = Statement::new(
    "budgets.forget",
    "DELETE FROM budget_holds
     WHERE organisation = $1 AND workspace = $2 AND subject = $3 AND period = $4 AND holder = $5",
);

/// Every statement of these tables.
pub const STATEMENTS: &[Statement] = &[
    PUT, REMOVE, LET_GO, LIST, LOCK, WINDOW, MOVE, ALERTED, HOLD, HELD, EXPIRED, FORGET,
];

/// Money, in billionths of a US dollar, and tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amount {
    /// Billionths of a US dollar.
    pub money: i64,
    /// Tokens.
    pub tokens: i64,
}

impl Amount {
    /// The smaller of each.
    #[must_use]
    pub fn min(self, other: Self) -> Self {
        Self {
            money: self.money.min(other.money),
            tokens: self.tokens.min(other.tokens),
        }
    }

    /// Whether both are at least as large as another's.
    pub fn covers(self, other: Self) -> bool {
        self.money >= other.money && self.tokens >= other.tokens
    }
}

impl std::ops::Add for Amount {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            money: self.money.saturating_add(other.money),
            tokens: self.tokens.saturating_add(other.tokens),
        }
    }
}

impl std::ops::Sub for Amount {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self {
            money: self.money.saturating_sub(other.money),
            tokens: self.tokens.saturating_sub(other.tokens),
        }
    }
}

/// Which budget.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BudgetKey {
    /// Whose calls it counts: `workspace`, `project:x`, `key:service:ci`.
    pub subject: String,
    /// How long its window is: `total`, `hour`, `day`, `month`.
    pub period: String,
}

/// A budget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BudgetRow {
    /// Which.
    pub key: BudgetKey,
    /// The most money of a window.
    pub money_limit: Option<i64>,
    /// The most tokens of a window.
    pub token_limit: Option<i64>,
    /// When its window began.
    pub window_start: Timestamp,
    /// What was spent in it.
    pub spent: Amount,
    /// What processes have taken and may spend.
    pub held: Amount,
    /// The highest share, in percent, of which somebody was told.
    pub alerted: i64,
}

impl BudgetRow {
    /// What is neither spent nor held.
    pub fn room(&self) -> Amount {
        let limit = Amount {
            money: self.money_limit.unwrap_or(i64::MAX),
            tokens: self.token_limit.unwrap_or(i64::MAX),
        };
        limit - self.spent - self.held
    }
}

fn budget(row: &Row) -> Result<BudgetRow, StoreError> {
    Ok(BudgetRow {
        key: BudgetKey {
            subject: row.get(0)?,
            period: row.get(1)?,
        },
        money_limit: row.get(2)?,
        token_limit: row.get(3)?,
        window_start: row.get(4)?,
        spent: Amount {
            money: row.get(5)?,
            tokens: row.get(7)?,
        },
        held: Amount {
            money: row.get(6)?,
            tokens: row.get(8)?,
        },
        alerted: row.get(9)?,
    })
}

/// Sets the limits of a budget, which is made if there is none; what was spent stays.
pub fn put(tx: &Tx<'_>, scope: &Scope, row: &BudgetRow) -> Result<(), StoreError> {
    let params = params![
        &scope.organisation,
        place(scope, &row.key),
        &row.key.subject,
        &row.key.period,
        row.money_limit,
        row.token_limit,
        row.window_start
    ];
    tx.within(scope, |tx| tx.execute(&PUT, params).map(drop))
}

/// Removes a budget; false if there is none.
pub fn remove(tx: &Tx<'_>, scope: &Scope, key: &BudgetKey) -> Result<bool, StoreError> {
    let params = params![
        &scope.organisation,
        place(scope, key),
        &key.subject,
        &key.period
    ];
    tx.within(scope, |tx| {
        // In the order in which everybody else locks them.
        let removed = tx.execute(&REMOVE, params)? > 0;
        tx.execute(&LET_GO, params)?;
        Ok(removed)
    })
}

/// A tenant's budgets.
pub fn list(tx: &Tx<'_>, scope: &Scope, limit: i64) -> Result<Vec<BudgetRow>, StoreError> {
    let params = params![&scope.organisation, &scope.workspace, limit];
    tx.within(scope, |tx| {
        tx.query(&LIST, params)?.iter().map(budget).collect()
    })
}

/// One budget as it is in the window that began at a time; nobody else changes it before the
/// transaction ends.
pub fn lock(
    tx: &Tx<'_>,
    scope: &Scope,
    key: &BudgetKey,
    window: Timestamp,
) -> Result<Option<BudgetRow>, StoreError> {
    let (organisation, workspace) = (&scope.organisation, place(scope, key));
    let params = params![organisation, workspace, &key.subject, &key.period];
    tx.within(scope, |tx| {
        let Some(mut row) = tx
            .query_one(&LOCK, params)?
            .as_ref()
            .map(budget)
            .transpose()?
        else {
            return Ok(None);
        };
        if row.window_start < window {
            let params = params![organisation, workspace, &key.subject, &key.period, window];
            tx.execute(&WINDOW, params)?;
            tx.execute(&LET_GO, &params[..4])?;
            row = BudgetRow {
                window_start: window,
                spent: Amount::default(),
                held: Amount::default(),
                alerted: 0,
                ..row
            };
        }
        Ok(Some(row))
    })
}

/// Moves amounts: `spent` more was spent, `held` more is held; either may be negative.
fn shift(
    tx: &Tx<'_>,
    scope: &Scope,
    key: &BudgetKey,
    spent: Amount,
    held: Amount,
) -> Result<(), StoreError> {
    let params = params![
        &scope.organisation,
        place(scope, key),
        &key.subject,
        &key.period,
        spent.money,
        held.money,
        spent.tokens,
        held.tokens
    ];
    tx.execute(&MOVE, params).map(drop)
}

/// A process's slice of a budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slice {
    /// The window it was taken in.
    pub window: Timestamp,
    /// What is left of it.
    pub amount: Amount,
}

/// A process's slice, if it has one.
pub fn held(
    tx: &Tx<'_>,
    scope: &Scope,
    key: &BudgetKey,
    holder: &str,
) -> Result<Option<Slice>, StoreError> {
    let params = params![
        &scope.organisation,
        place(scope, key),
        &key.subject,
        &key.period,
        holder
    ];
    tx.within(scope, |tx| {
        let row = tx.query_one(&HELD, params)?;
        row.map(|row| {
            Ok(Slice {
                window: row.get(0)?,
                amount: Amount {
                    money: row.get(1)?,
                    tokens: row.get(2)?,
                },
            })
        })
        .transpose()
    })
}

/// A process spent, and holds so much from now on, until a time: what it said before is replaced.
/// Of a slice that was taken in an earlier window, what was spent counts in the present one.
pub fn settle(
    tx: &Tx<'_>,
    scope: &Scope,
    key: &BudgetKey,
    (holder, until): (&str, Timestamp),
    (spent, keeps): (Amount, Slice),
) -> Result<(), StoreError> {
    let before = held(tx, scope, key, holder)?;
    let before = before.filter(|slice| slice.window == keeps.window);
    let before = before.map_or(Amount::default(), |slice| slice.amount);
    let (organisation, workspace) = (&scope.organisation, place(scope, key));
    tx.within(scope, |tx| {
        shift(tx, scope, key, spent, keeps.amount - before)?;
        if keeps.amount == Amount::default() {
            let params = params![organisation, workspace, &key.subject, &key.period, holder];
            return tx.execute(&FORGET, params).map(drop);
        }
        let params = params![
            organisation,
            workspace,
            &key.subject,
            &key.period,
            holder,
            keeps.window,
            keeps.amount.money,
            keeps.amount.tokens,
            until
        ];
        tx.execute(&HOLD, params).map(drop)
    })
}

/// Counts as spent what processes hold that said nothing since a time; gives how much.
pub fn expire(
    tx: &Tx<'_>,
    scope: &Scope,
    key: &BudgetKey,
    now: Timestamp,
) -> Result<Amount, StoreError> {
    let (organisation, workspace) = (&scope.organisation, place(scope, key));
    let params = params![organisation, workspace, &key.subject, &key.period, now];
    tx.within(scope, |tx| {
        let mut lost = Amount::default();
        for row in tx.query(&EXPIRED, params)? {
            let holder: String = row.get(0)?;
            lost = lost
                + Amount {
                    money: row.get(2)?,
                    tokens: row.get(3)?,
                };
            let params = params![organisation, workspace, &key.subject, &key.period, &holder];
            tx.execute(&FORGET, params)?;
        }
        if lost != Amount::default() {
            shift(tx, scope, key, lost, Amount::default() - lost)?;
        }
        Ok(lost)
    })
}

/// Somebody is told that so many percent are spent; false if that was said already.
pub fn alerted(
    tx: &Tx<'_>,
    scope: &Scope,
    key: &BudgetKey,
    percent: i64,
) -> Result<bool, StoreError> {
    let params = params![
        &scope.organisation,
        place(scope, key),
        &key.subject,
        &key.period,
        percent
    ];
    tx.within(scope, |tx| Ok(tx.execute(&ALERTED, params)? > 0))
}

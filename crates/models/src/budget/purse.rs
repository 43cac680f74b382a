//! What this process has taken out of budgets, in memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use matrix_core::{Caller, Clock, Money, Principal, PrincipalKind, Scope, Timestamp};
use matrix_store::tables::audit;
use matrix_store::tables::budgets::{self, Amount, BudgetKey, BudgetRow, Slice};
use matrix_store::{Database, StoreError, Tx};

use super::period::Period;
use crate::error::ModelError;

/// After how long a process that says nothing has died.
const SILENCE: Duration = Duration::from_mins(2);

/// How often a process that holds something says that it lives.
const BEAT: Duration = Duration::from_secs(30);

/// Into how many slices what is left of a budget is cut: the less is left, the smaller they are.
const SLICES: i64 = 16;

/// How often the list of budgets is read.
const LOOK: Duration = Duration::from_secs(1);

/// The most budgets of a tenant.
pub(super) const BUDGETS_MAX: i64 = 10_000;

/// Shares of a budget, in percent, of which somebody is told.
const ALERTS: [i64; 4] = [100, 90, 75, 50];

/// What this process has taken out of budgets. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Purses {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    database: Database,
    clock: Arc<dyn Clock>,
    /// The name of this process among those that hold.
    holder: String,
    tenants: Mutex<HashMap<Scope, Known>>,
    purses: Mutex<HashMap<(Scope, BudgetKey), Arc<Purse>>>,
}

/// A tenant's budgets, as they were read.
#[derive(Debug, Clone)]
struct Known {
    keys: Arc<Vec<BudgetKey>>,
    looked: Duration,
}

/// What was taken out of one budget.
#[derive(Debug, Default)]
struct Purse {
    state: Mutex<State>,
    /// One transaction at a time fills it.
    filling: tokio::sync::Mutex<()>,
}

#[derive(Debug, Clone, Copy, Default)]
struct State {
    window: Option<Timestamp>,
    /// Which of the two is limited; the other one is counted and never refused.
    limits: (bool, bool),
    /// What can be reserved.
    free: Amount,
    /// What is reserved by calls under way.
    reserved: Amount,
    /// What was spent and the budget has not heard of.
    spent: Amount,
    /// When the budget last heard anything.
    said: Duration,
    /// Whether anything was reserved since.
    used: bool,
}

impl State {
    /// What can be reserved, whether or not it is limited.
    fn takes(&self, amount: Amount) -> bool {
        (!self.limits.0 || self.free.money >= amount.money)
            && (!self.limits.1 || self.free.tokens >= amount.tokens)
    }

    /// Only what is limited.
    fn limited(&self, amount: Amount) -> Amount {
        Amount {
            money: if self.limits.0 { amount.money } else { 0 },
            tokens: if self.limits.1 { amount.tokens } else { 0 },
        }
    }
}

/// What a call may spend at most, taken out of every budget under which it falls. Dropped without
/// [`Reservation::settle`], all of it counts as spent: whoever forgets it does not make it cheaper.
#[derive(Debug)]
pub struct Reservation {
    purses: Vec<(Arc<Purse>, Option<Timestamp>)>,
    amount: Amount,
    settled: bool,
}

impl Reservation {
    /// What was reserved.
    pub fn amount(&self) -> Amount {
        self.amount
    }

    /// Says what the call cost; what is left can be reserved again.
    pub fn settle(mut self, cost: Money, tokens: u64) {
        self.settled = true;
        let tokens = i64::try_from(tokens).unwrap_or(i64::MAX);
        let money = cost.as_nanos();
        self.spend(Amount { money, tokens });
    }

    fn spend(&self, cost: Amount) {
        for (purse, window) in &self.purses {
            let mut state = purse.lock();
            state.spent = state.spent + cost;
            if state.window == *window {
                let amount = state.limited(self.amount);
                let over = state.limited(cost);
                state.reserved = state.reserved - amount;
                state.free = state.free + amount - over;
            }
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if !self.settled {
            self.spend(self.amount);
        }
    }
}

impl Purse {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reserves, if enough was taken out in this window.
    fn reserve(&self, amount: Amount, window: Timestamp) -> bool {
        let mut state = self.lock();
        if state.window != Some(window) || !state.takes(amount) {
            return false;
        }
        let limited = state.limited(amount);
        state.free = state.free - limited;
        state.reserved = state.reserved + limited;
        state.used = true;
        true
    }
}

impl Purses {
    /// Nothing is taken yet. No other process has the same name.
    pub fn new(database: Database, clock: Arc<dyn Clock>, holder: String) -> Self {
        Self {
            shared: Arc::new(Shared {
                database,
                clock,
                holder,
                tenants: Mutex::default(),
                purses: Mutex::default(),
            }),
        }
    }

    /// Takes the most that a call may cost out of every budget of these subjects.
    pub async fn reserve(
        &self,
        scope: &Scope,
        subjects: &[String],
        amount: Amount,
    ) -> Result<Reservation, ModelError> {
        let keys = self.keys(scope).await?;
        let mut reservation = Reservation {
            purses: Vec::new(),
            amount,
            settled: false,
        };
        for key in keys.iter().filter(|key| subjects.contains(&key.subject)) {
            match self.take(scope, key, amount).await {
                Ok(taken) => reservation.purses.extend(taken),
                Err(error) => {
                    reservation.settle(Money::ZERO, 0);
                    return Err(error);
                }
            }
        }
        Ok(reservation)
    }

    /// Reads the list of budgets again with the next call, because this process changed it.
    pub(super) fn forget(&self, scope: &Scope) {
        self.tenants().remove(scope);
    }

    /// Tells the database what was spent, and gives back what nobody used of late. Whoever composes
    /// the process calls it about once a second.
    pub async fn flush(&self) -> Result<(), StoreError> {
        self.say(Keep::Used).await
    }

    /// Tells the database what was spent, and gives back all that no call has reserved.
    pub async fn give_back(&self) -> Result<(), StoreError> {
        self.say(Keep::Reserved).await
    }

    async fn take(
        &self,
        scope: &Scope,
        key: &BudgetKey,
        amount: Amount,
    ) -> Result<Option<(Arc<Purse>, Option<Timestamp>)>, ModelError> {
        let Ok(period) = key.period.parse::<Period>() else {
            return Ok(None);
        };
        let purse = self.purse(scope, key);
        let window = period.window(self.shared.clock.now());
        let taken = (Arc::clone(&purse), Some(window));
        if purse.reserve(amount, window) {
            return Ok(Some(taken));
        }
        let _filling = purse.filling.lock().await;
        // Somebody else may have filled it meanwhile.
        if purse.reserve(amount, window) {
            return Ok(Some(taken));
        }
        let Some(row) = self.fill(scope, key, &purse, (amount, window)).await? else {
            // It was removed, and nobody counts any more.
            return Ok(None);
        };
        if purse.reserve(amount, window) {
            return Ok(Some(taken));
        }
        let left = row.room() + purse.lock().free;
        Err(spent(key, &row, left, amount))
    }

    /// Takes a slice that is large enough for an amount, if there is one; gives the budget as it was
    /// found.
    async fn fill(
        &self,
        scope: &Scope,
        key: &BudgetKey,
        purse: &Arc<Purse>,
        (amount, window): (Amount, Timestamp),
    ) -> Result<Option<BudgetRow>, StoreError> {
        let now = self.shared.clock.now();
        let before = {
            let mut state = purse.lock();
            if state.window != Some(window) {
                // What was taken in an earlier window went with it; what was spent did not.
                state.window = Some(window);
                state.free = Amount::default();
                state.reserved = Amount::default();
            }
            *state
        };
        let (of, what, holder) = (scope.clone(), key.clone(), self.shared.holder.clone());
        let work = move |tx: &Tx<'_>| {
            let Some(mut row) = budgets::lock(tx, &of, &what, window)? else {
                return Ok(None);
            };
            let said = (holder.as_str(), now.plus(SILENCE));
            let keeps = Slice {
                window,
                amount: floor(before.free + before.reserved),
            };
            budgets::settle(tx, &of, &what, said, (before.spent, keeps))?;
            if !room(&row, before, amount) {
                budgets::expire(tx, &of, &what, now)?;
            }
            row = budgets::lock(tx, &of, &what, window)?.unwrap_or(row);
            alert(tx, &of, &row, now)?;
            let grant = grant(&row, before, amount);
            if grant != Amount::default() {
                let amount = keeps.amount + grant;
                let keeps = Slice { window, amount };
                budgets::settle(tx, &of, &what, said, (Amount::default(), keeps))?;
            }
            Ok(Some((row, grant)))
        };
        let database = self.shared.database.within(scope);
        let found = database.write::<_, StoreError, _>(work).await?;
        let Some((row, grant)) = found else {
            return Ok(None);
        };
        let mut state = purse.lock();
        state.limits = (row.money_limit.is_some(), row.token_limit.is_some());
        state.spent = state.spent - before.spent;
        state.free = state.limited(state.free + grant);
        state.said = self.shared.clock.monotonic();
        Ok(Some(row))
    }

    async fn say(&self, keep: Keep) -> Result<(), StoreError> {
        let all: Vec<_> = {
            let purses = self.purses();
            purses
                .iter()
                .map(|(key, purse)| (key.clone(), Arc::clone(purse)))
                .collect()
        };
        let mut failed = Ok(());
        for ((scope, key), purse) in all {
            if let Err(error) = self.say_one(&scope, &key, &purse, keep).await {
                failed = Err(error);
            }
        }
        failed
    }

    async fn say_one(
        &self,
        scope: &Scope,
        key: &BudgetKey,
        purse: &Arc<Purse>,
        keep: Keep,
    ) -> Result<(), StoreError> {
        let _filling = purse.filling.lock().await;
        let monotonic = self.shared.clock.monotonic();
        let (before, returned) = {
            let mut state = purse.lock();
            let Some(window) = state.window else {
                return Ok(());
            };
            let idle = !std::mem::take(&mut state.used);
            let returned = if idle || keep == Keep::Reserved {
                floor(state.free)
            } else {
                Amount::default()
            };
            let silent = monotonic.saturating_sub(state.said) >= BEAT;
            let holds = state.free + state.reserved != Amount::default();
            let news = state.spent != Amount::default() || returned != Amount::default();
            let keeps_quiet = !holds || !silent;
            if !news && keeps_quiet {
                return Ok(());
            }
            // Nobody reserves what is being given back.
            state.free = state.free - returned;
            (
                Saying {
                    state: *state,
                    window,
                },
                returned,
            )
        };
        let (of, what, holder) = (scope.clone(), key.clone(), self.shared.holder.clone());
        let now = self.shared.clock.now();
        let until = now.plus(SILENCE);
        let said = self
            .shared
            .database
            .within(scope)
            .write::<_, StoreError, _>(move |tx| {
                let Some(row) = budgets::lock(tx, &of, &what, before.window)? else {
                    return Ok(());
                };
                // After the window has passed nothing of it is held, and what was spent counts now.
                let amount = if row.window_start == before.window {
                    floor(before.state.free + before.state.reserved)
                } else {
                    Amount::default()
                };
                let window = row.window_start;
                let keeps = Slice { window, amount };
                let spent = before.state.spent;
                budgets::settle(tx, &of, &what, (&holder, until), (spent, keeps))?;
                if let Some(row) = budgets::lock(tx, &of, &what, window)? {
                    alert(tx, &of, &row, now)?;
                }
                Ok(())
            })
            .await;
        let mut state = purse.lock();
        match said {
            Ok(()) => {
                state.spent = state.spent - before.state.spent;
                state.said = monotonic;
            }
            Err(_) => state.free = state.free + returned,
        }
        said
    }

    /// The budgets of a tenant, at most a second old.
    async fn keys(&self, scope: &Scope) -> Result<Arc<Vec<BudgetKey>>, StoreError> {
        let now = self.shared.clock.monotonic();
        if let Some(known) = self.tenants().get(scope)
            && now.saturating_sub(known.looked) < LOOK
        {
            return Ok(Arc::clone(&known.keys));
        }
        let of = scope.clone();
        let database = self.shared.database.within(scope);
        let rows = database
            .read::<_, StoreError, _>(move |tx| budgets::list(tx, &of, BUDGETS_MAX))
            .await?;
        let keys: Arc<Vec<BudgetKey>> = Arc::new(rows.into_iter().map(|row| row.key).collect());
        let known = Known {
            keys: Arc::clone(&keys),
            looked: now,
        };
        self.tenants().insert(scope.clone(), known);
        Ok(keys)
    }

    fn purse(&self, scope: &Scope, key: &BudgetKey) -> Arc<Purse> {
        let mut purses = self.purses();
        Arc::clone(purses.entry((scope.clone(), key.clone())).or_default())
    }

    fn tenants(&self) -> std::sync::MutexGuard<'_, HashMap<Scope, Known>> {
        self.shared
            .tenants
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn purses(&self) -> std::sync::MutexGuard<'_, HashMap<(Scope, BudgetKey), Arc<Purse>>> {
        self.shared
            .purses
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn database(&self) -> &Database {
        &self.shared.database
    }

    pub(super) fn clock(&self) -> &dyn Clock {
        &*self.shared.clock
    }
}

/// What is kept when a process tells what it spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keep {
    /// Everything, where something was reserved of late.
    Used,
    /// What is reserved.
    Reserved,
}

/// What is being told.
#[derive(Debug, Clone, Copy)]
struct Saying {
    state: State,
    window: Timestamp,
}

/// No less than nothing: a call that cost more than was reserved leaves a hole in memory, and the
/// budget hears of it as spent.
fn floor(amount: Amount) -> Amount {
    Amount {
        money: amount.money.max(0),
        tokens: amount.tokens.max(0),
    }
}

/// Whether there is room for an amount beside what the purse has.
fn room(row: &BudgetRow, before: State, amount: Amount) -> bool {
    row.room().covers(needs(row, before, amount))
}

/// What is missing in the purse.
fn needs(row: &BudgetRow, before: State, amount: Amount) -> Amount {
    let missing = floor(amount - before.free);
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
fn grant(row: &BudgetRow, before: State, amount: Amount) -> Amount {
    let (room, needs) = (row.room(), needs(row, before, amount));
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
fn alert(tx: &Tx<'_>, scope: &Scope, row: &BudgetRow, now: Timestamp) -> Result<(), StoreError> {
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

fn spent(key: &BudgetKey, row: &BudgetRow, left: Amount, amount: Amount) -> ModelError {
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

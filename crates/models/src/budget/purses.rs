//! What this process has taken out of all budgets.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use matrix_core::{Clock, Scope, Timestamp};
use matrix_store::tables::budgets::{self, Amount, BudgetKey, BudgetRow, Slice};
use matrix_store::{Database, StoreError, Tx};
use tokio::sync::OwnedMutexGuard;

use super::period::Period;
use super::purse::{Purse, Reservation, State, Taken};
use super::slice::{alert, floor, grant, room, spent};
use crate::error::ModelError;

/// After how long a process that says nothing has died.
const SILENCE: Duration = Duration::from_mins(2);

/// How often a process that holds something says that it lives.
const BEAT: Duration = Duration::from_secs(30);

/// How often the list of budgets is read.
const LOOK: Duration = Duration::from_secs(1);

/// The most budgets of a tenant.
pub(super) const BUDGETS_MAX: i64 = 10_000;

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
    /// By where their budgets stand: workspaces share that of their organisation.
    purses: Mutex<HashMap<(Scope, BudgetKey), Arc<Purse>>>,
}

/// A tenant's budgets, as they were read.
#[derive(Debug, Clone)]
struct Known {
    keys: Arc<Vec<BudgetKey>>,
    looked: Duration,
}

/// What came of an attempt to take more out of a budget.
enum Filled {
    /// There is no such budget any more.
    Gone,
    /// There is enough, unless another call is faster.
    Enough,
    /// There is not; the budget, and what of it is here.
    Short(Box<BudgetRow>, Amount),
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
        let mut reservation = Reservation::default();
        for key in keys.iter().filter(|key| subjects.contains(&key.subject)) {
            if let Some(taken) = self.take(scope, key, amount).await? {
                reservation.take(taken);
            }
        }
        Ok(reservation.owing(amount))
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
    ) -> Result<Option<Taken>, ModelError> {
        let Ok(period) = key.period.parse::<Period>() else {
            return Ok(None);
        };
        let purse = self.purse(scope, key);
        loop {
            // A clock that is set back does not bring a window back.
            let window = period.window(self.shared.clock.now());
            let window = purse.lock().window.map_or(window, |at| at.max(window));
            if let Some(taken) = purse.reserve(amount, window) {
                return Ok(Some(taken));
            }
            let filling = Arc::clone(&purse.filling).lock_owned().await;
            // Somebody else may have filled it meanwhile.
            if let Some(taken) = purse.reserve(amount, window) {
                return Ok(Some(taken));
            }
            let wanted = (amount, window);
            match self.fill_whole(scope, key, &purse, wanted, filling).await? {
                Filled::Gone => return Ok(None),
                Filled::Enough => {}
                Filled::Short(row, free) => {
                    return Err(spent(key, &row, row.room() + free, amount));
                }
            }
        }
    }

    /// Fills a purse in a task of its own: an asker who hangs up meanwhile leaves nothing half said.
    async fn fill_whole(
        &self,
        scope: &Scope,
        key: &BudgetKey,
        purse: &Arc<Purse>,
        wanted: (Amount, Timestamp),
        filling: OwnedMutexGuard<()>,
    ) -> Result<Filled, StoreError> {
        let (purses, purse) = (self.clone(), Arc::clone(purse));
        let (scope, key) = (scope.clone(), key.clone());
        let task = tokio::spawn(async move {
            let filled = purses.fill(&scope, &key, &purse, wanted).await;
            drop(filling);
            filled
        });
        let stopped = |_| StoreError::Unavailable("the process is ending".into());
        task.await.map_err(stopped)?
    }

    /// Tells a budget what was spent, and takes a slice that is large enough for an amount, if there
    /// is one.
    async fn fill(
        &self,
        scope: &Scope,
        key: &BudgetKey,
        purse: &Arc<Purse>,
        (amount, window): (Amount, Timestamp),
    ) -> Result<Filled, StoreError> {
        let now = self.shared.clock.now();
        let (before, hole) = {
            let mut state = purse.lock();
            if state.window != Some(window) {
                // What was taken in an earlier window went with it; what was spent did not.
                state.window = Some(window);
                state.free = Amount::default();
                state.reserved = Amount::default();
            }
            mended(*state)
        };
        let (of, what, holder) = (scope.clone(), key.clone(), self.shared.holder.clone());
        let work = move |tx: &Tx<'_>| {
            if budgets::lock(tx, &of, &what, window)?.is_none() {
                return Ok(None);
            }
            let said = (holder.as_str(), now.plus(SILENCE));
            let amount_kept = before.free + before.reserved;
            let keeps = |amount| Slice { window, amount };
            let telling = (before.spent, keeps(amount_kept));
            budgets::settle(tx, &of, &what, said, telling)?;
            budgets::expire(tx, &of, &what, now)?;
            let Some(row) = budgets::lock(tx, &of, &what, window)? else {
                return Ok(None);
            };
            alert(tx, &of, &row, now)?;
            let grant = grant(&row, before.free, amount);
            if grant != Amount::default() {
                let telling = (Amount::default(), keeps(amount_kept + grant));
                budgets::settle(tx, &of, &what, said, telling)?;
            }
            Ok(Some((row, grant)))
        };
        let database = self.shared.database.within(scope);
        let Some((row, grant)) = database.write_alone::<_, StoreError, _>(work).await? else {
            self.lose(scope, key);
            return Ok(Filled::Gone);
        };
        let mut state = purse.lock();
        state.limits = (row.money_limit.is_some(), row.token_limit.is_some());
        state.spent = state.spent - before.spent;
        state.free = state.limited(state.free + hole + grant);
        state.said = self.shared.clock.monotonic();
        Ok(if room(&row, before.free, amount) {
            Filled::Enough
        } else {
            Filled::Short(Box::new(row), state.free)
        })
    }

    async fn say(&self, keep: Keep) -> Result<(), StoreError> {
        let mut all: Vec<_> = {
            let purses = self.purses();
            purses
                .iter()
                .map(|(key, purse)| (key.clone(), Arc::clone(purse)))
                .collect()
        };
        // Rows are locked in one order by every process.
        all.sort_by(|((_, a), _), ((_, b), _)| a.cmp(b));
        let mut failed = Ok(());
        for ((_, key), purse) in all {
            if let Err(error) = self.say_one(&purse.scope, &key, &purse, keep).await {
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
        let Some(saying) = Saying::of(purse, keep, monotonic) else {
            return Ok(());
        };
        let (of, what, holder) = (scope.clone(), key.clone(), self.shared.holder.clone());
        let now = self.shared.clock.now();
        let (before, window) = (saying.state, saying.window);
        let work = move |tx: &Tx<'_>| {
            let Some(row) = budgets::lock(tx, &of, &what, window)? else {
                return Ok(None);
            };
            // After the window has passed nothing of it is held, and what was spent counts now.
            let amount = if row.window_start == window {
                before.free + before.reserved
            } else {
                Amount::default()
            };
            let window = row.window_start;
            let keeps = Slice { window, amount };
            let said = (holder.as_str(), now.plus(SILENCE));
            budgets::settle(tx, &of, &what, said, (before.spent, keeps))?;
            if let Some(row) = budgets::lock(tx, &of, &what, window)? {
                alert(tx, &of, &row, now)?;
            }
            Ok(Some((row.money_limit.is_some(), row.token_limit.is_some())))
        };
        let database = self.shared.database.within(scope);
        let said = database.write_alone::<_, StoreError, _>(work).await;
        let mut state = purse.lock();
        match said {
            Ok(Some(limits)) => {
                state.limits = limits;
                state.spent = state.spent - before.spent;
                state.free = state.limited(state.free + saying.hole);
                state.said = monotonic;
            }
            Ok(None) => {
                drop(state);
                self.lose(scope, key);
            }
            Err(error) => {
                state.free = state.free + saying.returned;
                return Err(error);
            }
        }
        Ok(())
    }

    /// Forgets what was taken out of a budget that is no more.
    fn lose(&self, scope: &Scope, key: &BudgetKey) {
        self.purses()
            .remove(&(budgets::home(scope, key), key.clone()));
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
        let made = || Arc::new(Purse::of(scope.clone()));
        let place = (budgets::home(scope, key), key.clone());
        Arc::clone(purses.entry(place).or_insert_with(made))
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
    hole: Amount,
    returned: Amount,
}

impl Saying {
    /// What there is to tell, if anything; what is given back is reserved by nobody from now on.
    fn of(purse: &Purse, keep: Keep, now: Duration) -> Option<Self> {
        let mut state = purse.lock();
        let window = state.window?;
        let idle = !std::mem::take(&mut state.used);
        let returned = if idle || keep == Keep::Reserved {
            floor(state.free)
        } else {
            Amount::default()
        };
        let silent = now.saturating_sub(state.said) >= BEAT;
        let holds = state.free + state.reserved != Amount::default();
        let news = state.spent != Amount::default() || returned != Amount::default();
        let keeps_quiet = !holds || !silent;
        if !news && keeps_quiet {
            return None;
        }
        state.free = state.free - returned;
        let (state, hole) = mended(*state);
        Some(Self {
            state,
            window,
            hole,
            returned,
        })
    }
}

/// A purse as its budget hears of it. What calls cost beyond what they had reserved is told as spent
/// and missing here no longer.
fn mended(state: State) -> (State, Amount) {
    let hole = floor(Amount::default() - state.free);
    let free = state.free + hole;
    (State { free, ..state }, hole)
}

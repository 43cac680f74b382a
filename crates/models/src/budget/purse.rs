//! What was taken out of one budget, in memory, and what calls have reserved of it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use matrix_core::{Money, Scope, Timestamp};
use matrix_store::tables::budgets::Amount;

/// What was taken out of one budget.
#[derive(Debug)]
pub(super) struct Purse {
    /// Who first took something: in whose name the budget is told.
    pub(super) scope: Scope,
    state: Mutex<State>,
    /// One transaction at a time fills it.
    pub(super) filling: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct State {
    pub(super) window: Option<Timestamp>,
    /// Which of the two is limited; the other one is counted and never refused.
    pub(super) limits: (bool, bool),
    /// What can be reserved. It is less than nothing after a call that cost more than it had
    /// reserved, until the budget has heard of that.
    pub(super) free: Amount,
    /// What is reserved by calls under way.
    pub(super) reserved: Amount,
    /// What was spent and the budget has not heard of.
    pub(super) spent: Amount,
    /// When the budget last heard anything.
    pub(super) said: Duration,
    /// Whether anything was reserved since.
    pub(super) used: bool,
}

impl Default for State {
    /// Until the budget was read, everything is limited and there is nothing.
    fn default() -> Self {
        Self {
            window: None,
            limits: (true, true),
            free: Amount::default(),
            reserved: Amount::default(),
            spent: Amount::default(),
            said: Duration::ZERO,
            used: false,
        }
    }
}

impl State {
    /// What can be reserved, whether or not it is limited.
    fn takes(&self, amount: Amount) -> bool {
        (!self.limits.0 || self.free.money >= amount.money)
            && (!self.limits.1 || self.free.tokens >= amount.tokens)
    }

    /// Only what is limited.
    pub(super) fn limited(&self, amount: Amount) -> Amount {
        Amount {
            money: if self.limits.0 { amount.money } else { 0 },
            tokens: if self.limits.1 { amount.tokens } else { 0 },
        }
    }
}

impl Purse {
    /// Nothing was taken out yet.
    pub(super) fn of(scope: Scope) -> Self {
        Self {
            scope,
            state: Mutex::default(),
            filling: Arc::default(),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reserves, if enough was taken out in this window.
    pub(super) fn reserve(self: &Arc<Self>, amount: Amount, window: Timestamp) -> Option<Taken> {
        let mut state = self.lock();
        if state.window != Some(window) || !state.takes(amount) {
            return None;
        }
        let amount = state.limited(amount);
        state.free = state.free - amount;
        state.reserved = state.reserved + amount;
        state.used = true;
        Some(Taken {
            purse: Arc::clone(self),
            window,
            amount,
        })
    }
}

/// What is reserved of one budget.
#[derive(Debug)]
pub(super) struct Taken {
    purse: Arc<Purse>,
    window: Timestamp,
    /// Of what was limited then.
    amount: Amount,
}

impl Taken {
    /// So much was spent, and nothing is reserved any more.
    fn spend(&self, cost: Amount) {
        let mut state = self.purse.lock();
        state.spent = state.spent + cost;
        if state.window == Some(self.window) {
            state.reserved = state.reserved - self.amount;
            state.free = state.free + self.amount - state.limited(cost);
        }
    }
}

/// What a call may spend at most, taken out of every budget under which it falls. Dropped without
/// [`Reservation::settle`], all of it counts as spent: whoever forgets it does not make it cheaper.
#[derive(Debug, Default)]
pub struct Reservation {
    taken: Vec<Taken>,
    /// What counts as spent when nobody says what was; nothing until all is taken.
    owed: Amount,
}

impl Reservation {
    /// One more budget.
    pub(super) fn take(&mut self, taken: Taken) {
        self.taken.push(taken);
    }

    /// It is whole: a call may be made for it.
    pub(super) fn owing(mut self, amount: Amount) -> Self {
        self.owed = amount;
        self
    }

    /// What was reserved.
    pub fn amount(&self) -> Amount {
        self.owed
    }

    /// Says what the call cost; what is left can be reserved again.
    pub fn settle(mut self, cost: Money, tokens: u64) {
        let tokens = i64::try_from(tokens).unwrap_or(i64::MAX);
        let money = cost.as_nanos();
        self.owed = Amount { money, tokens };
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        for taken in &self.taken {
            taken.spend(self.owed);
        }
    }
}

//! Names that only one run of a tenant has at a time, and keys under which nobody begins.

use std::time::Duration;

use matrix_core::{RunId, Scope, Timestamp};
use matrix_store::tables::runs::{self, Release};
use matrix_store::tables::singletons;
use matrix_store::{StoreError, Tx};
use serde_json::json;

use super::create::Birth;
use super::{Beside, Engine, lock};
use crate::entry::{Draft, EntryKind};
use crate::error::RequestError;
use crate::journal::{AppendError, Fence, Sealed, append_in};
use crate::queue::{Again, Singleton};
use crate::storage::Purpose;
use crate::wait::Waiting;
use crate::worker::is_terminal;

/// The longest time that a key is paused by one word.
pub(crate) const PAUSE_MAX: Duration = Duration::from_hours(24);

/// What became of a request for a run.
enum Created {
    /// It is there; another one that had not begun gave way to it.
    New(Option<RunId>),
    /// The one that is there already does.
    Joined(RunId),
}

impl Engine {
    /// Writes a run that has a name, as far as the name's rule lets it be.
    pub(super) async fn give_name(
        &self,
        birth: Birth,
        singleton: Singleton,
        beside: Beside,
    ) -> Result<RunId, RequestError> {
        let (run, at) = (birth.run(), birth.at);
        let reason = json!({ "reason": format!("run {run} of the same name took its place") });
        let given_up = Draft::new(EntryKind::RunCancelled, reason);
        let actor = birth.caller.principal.to_string();
        let given_up = self.journal().seal(given_up, &actor, at)?;
        let created = self
            .storage()
            .write::<_, RequestError, _>(Purpose::Create(run), move |tx| {
                let scope = birth.row.scope.clone();
                let gave_way = match take_name(tx, &scope, &singleton, given_up, at)? {
                    Taken::Free(former) => former,
                    Taken::By(other) => {
                        beside(tx, other)?;
                        return Ok(Created::Joined(other));
                    }
                };
                singletons::set(tx, &scope, &singleton.name, run)?;
                birth.write(tx, "run_create")?;
                if let Some(debounce) = singleton.debounce() {
                    rest(tx, run, &singleton.name, at, debounce)?;
                }
                beside(tx, run)?;
                Ok(Created::New(gave_way))
            })
            .await?;
        let gave_way = match created {
            Created::Joined(other) => return Ok(other),
            Created::New(gave_way) => gave_way,
        };
        #[cfg(debug_assertions)]
        self.journal()
            .crash_if(crate::journal::CrashPoint::After(0));
        self.journal().announce();
        self.new_work(run);
        if let Some(former) = gave_way {
            lock(&self.shared.settling).remove(&former);
        }
        Ok(run)
    }
}

/// Whether a name can be had.
enum Taken {
    /// It can; a run that had it and had not begun has ended for that.
    Free(Option<RunId>),
    /// This run has it, and the newcomer joins it.
    By(RunId),
}

/// Takes a name, as far as its rule lets it be taken.
fn take_name(
    tx: &Tx<'_>,
    scope: &Scope,
    singleton: &Singleton,
    given_up: Sealed,
    at: Timestamp,
) -> Result<Taken, RequestError> {
    let last = singletons::lock(tx, scope, &singleton.name)?;
    let last = last.map(|run| runs::get(tx, run)).transpose()?.flatten();
    let Some(other) = last.filter(|row| !is_terminal(&row.state)) else {
        return Ok(Taken::Free(None));
    };
    match singleton.again {
        Again::Refuse => Err(RequestError::NameTaken {
            run: other.run,
            name: singleton.name.clone(),
        }),
        Again::Join => Ok(Taken::By(other.run)),
        Again::Replace => {
            let has_begun = other.epoch > 0 || !append_unowned(tx, other.run, given_up, at)?;
            if has_begun {
                return Ok(Taken::Free(None));
            }
            let end = Release {
                state: "cancelled",
                waiting: None,
                wake_at: None,
                stopped: "",
            };
            runs::release(tx, other.run, 0, &end, at)?;
            Ok(Taken::Free(Some(other.run)))
        }
    }
}

/// Appends to a run that nobody has owned; false if somebody owns it by now.
fn append_unowned(
    tx: &Tx<'_>,
    run: RunId,
    entry: Sealed,
    at: Timestamp,
) -> Result<bool, StoreError> {
    match append_in(tx, Fence { run, epoch: 0 }, vec![entry], at) {
        Ok(_) => Ok(true),
        Err(AppendError::Refused) => Ok(false),
        Err(AppendError::Store(error)) => Err(error),
    }
}

/// Lets a new run wait for a newer one of its name.
fn rest(
    tx: &Tx<'_>,
    run: RunId,
    name: &str,
    at: Timestamp,
    debounce: Duration,
) -> Result<(), StoreError> {
    let until = at.plus(debounce);
    let waiting = Waiting {
        what: "debounce".into(),
        name: name.into(),
        because: "a newer one of its name may take its place".into(),
        until: Some(until),
        stopped: None,
    };
    let waiting = serde_json::to_string(&waiting).map_err(StoreError::corrupt)?;
    let release = Release {
        state: "waiting",
        waiting: Some(&waiting),
        wake_at: Some(until),
        stopped: "",
    };
    runs::release(tx, run, 0, &release, at).map(drop)
}

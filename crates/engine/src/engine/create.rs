//! How a run comes to be: its row, its first entry and its audit row, in one transaction.

use std::sync::Arc;

use matrix_core::{Caller, RunId, Timestamp};
use matrix_store::tables::audit;
use matrix_store::tables::queue::Placement;
use matrix_store::tables::runs::{self, Lineage, RunRow};
use matrix_store::{StoreError, Tx};
use serde_json::Value;

use super::{Beside, Engine};
use crate::entry::{Draft, EntryKind};
use crate::error::RequestError;
use crate::history::{Origin, Started};
use crate::journal::{AppendError, Fence, Journal, Sealed, append_in};
use crate::lineage::before_first;
use crate::queue::Placing;
use crate::storage::Purpose;
use crate::worker::DurableFunction;

/// A run to be created.
#[derive(Debug, Clone)]
pub struct NewRun {
    /// The durable function's kind.
    pub kind: String,
    /// One line for people.
    pub title: String,
    /// What it is given.
    pub input: Value,
    /// Who asks for it.
    pub caller: Caller,
    /// Where it queues.
    pub placing: Placing,
}

/// The durable functions that a program has, the newest version of each kind last. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Functions(Arc<[Arc<dyn DurableFunction>]>);

impl Functions {
    pub(crate) fn new(functions: Vec<Arc<dyn DurableFunction>>) -> Self {
        Self(functions.into())
    }

    /// The function of a kind and version.
    pub(crate) fn find(&self, kind: &str, version: &str) -> Option<Arc<dyn DurableFunction>> {
        let found = self
            .0
            .iter()
            .find(|function| function.kind() == kind && function.version() == version);
        found.cloned()
    }

    /// The function that new runs of a kind start with.
    pub(crate) fn newest(&self, kind: &str) -> Option<&Arc<dyn DurableFunction>> {
        self.0.iter().rev().find(|function| function.kind() == kind)
    }

    /// The version that new runs of a kind are pinned to; empty for a kind that this program lacks.
    pub(crate) fn version_of(&self, kind: &str) -> String {
        self.newest(kind)
            .map_or_else(String::new, |function| function.version().to_owned())
    }
}

/// A run that is about to exist.
pub(crate) struct Birth {
    pub(super) row: RunRow,
    first: Sealed,
    pub(super) caller: Caller,
    pub(super) at: Timestamp,
}

/// What a birth is made of, beside what was asked for.
pub(crate) struct Parents {
    pub(crate) version: String,
    pub(crate) origin: Origin,
    /// Empty for a trace of its own.
    pub(crate) trace: String,
    /// Entries of the run it is forked from that do not count.
    pub(crate) base_seq: i64,
    /// Where it queues, if not where it was asked to.
    pub(crate) placement: Option<Placement>,
}

impl Parents {
    /// None: a caller asks for it.
    pub(crate) fn none(version: String) -> Self {
        Self {
            version,
            origin: Origin::Asked,
            trace: String::new(),
            base_seq: -1,
            placement: None,
        }
    }
}

impl Birth {
    pub(crate) fn of(journal: &Journal, new: NewRun, parents: Parents) -> Result<Self, StoreError> {
        let run = RunId::generate(&*journal.clock, &*journal.entropy);
        let Parents {
            version,
            origin,
            mut trace,
            base_seq,
            placement,
        } = parents;
        if trace.is_empty() {
            let mut random = [0_u8; 16];
            journal.entropy.fill(&mut random);
            trace = format!("{:032x}", u128::from_be_bytes(random));
        }
        let mut lineage = Lineage::default();
        let mut fork = None;
        match &origin {
            Origin::Asked => {}
            Origin::ChildOf { run, .. } => lineage.parent = Some(*run),
            Origin::ForkOf(point) => {
                (lineage.forked_from, lineage.fork_seq) = (Some(point.run), point.seq);
                lineage.base_seq = base_seq;
                fork = Some(point);
            }
        }
        let at = journal.clock.now();
        let scope = new.caller.scope.clone();
        let row = RunRow {
            run,
            kind: new.kind.clone(),
            version: version.clone(),
            title: new.title.clone(),
            trace: trace.clone(),
            state: "ready".into(),
            waiting: None,
            wake_at: None,
            owner: None,
            epoch: 0,
            crashes: 0,
            head_seq: lineage.fork_seq,
            head_hash: before_first(run, &scope, fork)?,
            created_at: at,
            updated_at: at,
            scope,
            placement: Placement {
                queued_at: at,
                ..placement.unwrap_or_else(|| new.placing.placement(at))
            },
            lineage,
            removed_at: None,
            hold: String::new(),
        };
        let caller = new.caller.clone();
        let started = Started {
            kind: new.kind,
            version,
            title: new.title,
            input: new.input,
            caller: new.caller,
            trace,
            origin,
        };
        let payload = serde_json::to_value(started).map_err(StoreError::corrupt)?;
        let actor = caller.principal.to_string();
        let first = journal.seal(Draft::new(EntryKind::RunStarted, payload), &actor, at)?;
        Ok(Self {
            row,
            first,
            caller,
            at,
        })
    }

    pub(crate) fn run(&self) -> RunId {
        self.row.run
    }

    /// The kind of its function.
    pub(crate) fn kind(&self) -> &str {
        &self.row.kind
    }

    /// Writes the run, within a transaction.
    pub(crate) fn write(self, tx: &Tx<'_>, action: &str) -> Result<(), StoreError> {
        let Self {
            row,
            first,
            caller,
            at,
        } = self;
        let run = row.run;
        if let Some(from) = row.lineage.forked_from
            && !runs::stands(tx, from)?
        {
            let at = runs::get(tx, from)?.and_then(|row| row.removed_at);
            let at = at.unwrap_or_default();
            return Err(StoreError::Removed { run: from, at });
        }
        runs::insert(tx, &row)?;
        match append_in(tx, Fence { run, epoch: 0 }, vec![first], at) {
            Ok(_) => {}
            Err(AppendError::Store(error)) => return Err(error),
            Err(AppendError::Refused) => return Err(StoreError::corrupt("a new run")),
        }
        audit::insert(tx, &caller, at, action, &run.to_string(), &row.kind)
    }
}

impl Engine {
    /// Creates a run with its first entry and audit row; it is durable when this returns. Where
    /// its name is taken and the newcomer joins, that is the run of that name.
    pub async fn create_run(&self, new: NewRun) -> Result<RunId, RequestError> {
        self.create_run_beside(new, Box::new(|_, _| Ok(()))).await
    }

    /// [`Self::create_run`] with something that stands exactly if the run does: it is written in
    /// the run's own transaction, and its error is the run's end before it began.
    pub async fn create_run_beside(
        &self,
        new: NewRun,
        beside: Beside,
    ) -> Result<RunId, RequestError> {
        let placing = new.placing.clone();
        placing.check(&self.shared.options.scheduling.rules)?;
        let parents = Parents::none(self.functions().version_of(&new.kind));
        let birth = Birth::of(self.journal(), new, parents)?;
        match placing.singleton {
            None => self.give_birth(birth, "run_create", beside).await,
            Some(singleton) => self.give_name(birth, singleton, beside).await,
        }
    }

    /// Writes a run and tells everyone.
    pub(crate) async fn give_birth(
        &self,
        birth: Birth,
        action: &'static str,
        beside: Beside,
    ) -> Result<RunId, RequestError> {
        let (run, kind) = (birth.run(), birth.kind().to_owned());
        self.storage()
            .write::<_, StoreError, _>(Purpose::Create(run), move |tx| {
                birth.write(tx, action)?;
                beside(tx, run)
            })
            .await?;
        #[cfg(debug_assertions)]
        self.journal()
            .crash_if(crate::journal::CrashPoint::After(0));
        self.meters().create(&kind);
        self.journal().announce();
        self.new_work(run);
        Ok(run)
    }
}

//! Runs that a run starts.

use std::future::Future;

use matrix_core::{RunId, canonical};
use matrix_store::tables::queue::Placement;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::execute::decode;
use super::{Run, waiting};
use crate::engine::{Birth, Engine, NewRun, Parents};
use crate::entry::{Draft, EntryKind};
use crate::error::{RunError, StepError};
use crate::history::{Ended, Origin, Spawned};
use crate::journal::Beside;
use crate::queue::Placing;
use crate::worker::Letter;

/// The most runs that may stand between a run and one that a caller asked for.
const DEPTH_MAX: u32 = 32;

/// A run that another run starts, on behalf of the same caller.
#[derive(Debug, Clone, Serialize)]
pub struct NewChild {
    kind: String,
    title: String,
    input: Value,
    detached: bool,
}

impl NewChild {
    /// A run of a kind, with one line for people, that ends with the run that starts it.
    pub fn new(kind: impl Into<String>, title: impl Into<String>, input: Value) -> Self {
        Self {
            kind: kind.into(),
            title: title.into(),
            input,
            detached: false,
        }
    }

    /// It goes on when the run that starts it has ended.
    #[must_use]
    pub fn detached(mut self) -> Self {
        self.detached = true;
        self
    }
}

/// A run that was started by this one.
#[derive(Debug, Clone)]
pub struct Child {
    parent: Run,
    path: String,
    run: RunId,
}

impl Run {
    /// Starts another run and goes on; the new run exists exactly if this run's journal says so.
    pub fn spawn(
        &self,
        name: &str,
        child: NewChild,
    ) -> impl Future<Output = Result<Child, RunError>> + Send + use<> {
        let path = self.address(&format!("child:{name}"));
        let run = self.clone();
        async move {
            let fingerprint = canonical::digest(&child)?.to_string();
            let recorded = run
                .execution
                .board
                .look(|history| history.child(&path).cloned());
            let spawned = match recorded {
                Some(known) if known.fingerprint != fingerprint => {
                    return Err(RunError::Diverged {
                        path,
                        recorded: format!("a run of kind `{}`", known.spawned.kind),
                        now: format!("a run of kind `{}`, or another input", child.kind),
                    });
                }
                Some(known) => known.spawned.run,
                None => {
                    run.boundary(&path).await?;
                    run.start(&path, fingerprint, child).await?
                }
            };
            Ok(Child {
                parent: run,
                path,
                run: spawned,
            })
        }
    }

    /// Starts another run and waits for what it gives.
    pub fn call<T: DeserializeOwned + Send>(
        &self,
        name: &str,
        child: NewChild,
    ) -> impl Future<Output = Result<T, RunError>> + Send + use<T> {
        let spawned = self.spawn(name, child);
        async move { spawned.await?.result().await }
    }

    async fn start(
        &self,
        path: &str,
        fingerprint: String,
        child: NewChild,
    ) -> Result<RunId, RunError> {
        let engine = self.engine(path)?;
        let started = &self.execution.started;
        let depth = match &started.origin {
            Origin::ChildOf { depth, .. } => depth + 1,
            Origin::Asked | Origin::ForkOf(_) => 1,
        };
        if depth > DEPTH_MAX {
            return Err(StepError::permanent(
                "too_deep",
                format!("runs that start runs may be nested {DEPTH_MAX} deep"),
            )
            .into());
        }
        let functions = engine.functions();
        if functions.newest(&child.kind).is_none() {
            let what = format!(
                "this program has no function for runs of kind `{}`",
                child.kind
            );
            return Err(StepError::permanent("no_function", what).into());
        }
        let parents = Parents {
            version: functions.version_of(&child.kind),
            origin: Origin::ChildOf {
                run: self.id(),
                path: path.to_owned(),
                depth,
            },
            trace: started.trace.clone(),
            base_seq: -1,
            // It queues where the run that starts it does, but holds no key of it.
            placement: Some(Placement {
                key: String::new(),
                ..self.execution.placement.clone()
            }),
        };
        let spawned = |run| Spawned {
            run,
            kind: child.kind.clone(),
            detached: child.detached,
        };
        let new = NewRun {
            kind: child.kind.clone(),
            title: child.title.clone(),
            input: child.input.clone(),
            caller: started.caller.clone(),
            placing: Placing::default(),
        };
        let birth = Birth::of(&self.execution.journal, new, parents)?;
        let run = birth.run();
        let payload = serde_json::to_value(spawned(run))
            .map_err(|error| StepError::permanent("not_json", error.to_string()))?;
        let draft = Draft {
            kind: EntryKind::ChildSpawned,
            path: path.to_owned(),
            fingerprint,
            payload,
        };
        let kind = birth.kind().to_owned();
        let beside: Beside = Box::new(move |tx| birth.write(tx, "run_spawn"));
        self.append(draft, Some(beside)).await?;
        engine.meters().create(&kind);
        engine.new_work(run);
        Ok(run)
    }

    /// The engine that executes this run; a replay has none.
    pub(super) fn engine(&self, path: &str) -> Result<&Engine, RunError> {
        self.execution
            .engine
            .as_ref()
            .ok_or_else(|| RunError::Unrecorded { path: path.into() })
    }
}

impl Child {
    /// The run that was started.
    pub fn id(&self) -> RunId {
        self.run
    }

    /// Waits until it has ended, and gives what it gave. An error of its function, and its
    /// cancellation, is an error that will not go away (`child_cancelled`).
    pub fn result<T: DeserializeOwned + Send>(
        &self,
    ) -> impl Future<Output = Result<T, RunError>> + Send + use<T> {
        let Self { parent, path, run } = self.clone();
        async move {
            let because = format!("run {run}, which it started, has not ended");
            let wait = waiting("child", &run.to_string(), &because, None);
            let (at, shielded) = (path.clone(), parent.shielded);
            let ended = parent
                .execution
                .board
                .wait(wait, move |history| {
                    let child = history.child(&at);
                    let ended = child.and_then(|child| child.ended.clone());
                    let cancel = || history.cancel.clone().filter(|_| !shielded);
                    ended.map(Ok).or_else(|| cancel().map(Err))
                })
                .await
                .map_err(RunError::Cancelled)?;
            match ended {
                Ended::Completed(value) => decode(&path, value, ""),
                Ended::Failed(error) => Err(error.into()),
                Ended::Cancelled(reason) => Err(StepError::permanent(
                    "child_cancelled",
                    format!("run {run} was cancelled: {reason}"),
                )
                .into()),
            }
        }
    }

    /// Asks it to end at its next step boundary.
    pub fn cancel(
        &self,
        reason: &str,
    ) -> impl Future<Output = Result<(), RunError>> + Send + use<> {
        self.parent.cancel_run(self.run, reason)
    }
}

impl Run {
    /// Asks another run of the same tenant, such as one that was started before this one started
    /// again, to end at its next step boundary.
    pub fn cancel_run(
        &self,
        run: RunId,
        reason: &str,
    ) -> impl Future<Output = Result<(), RunError>> + Send + use<> {
        let path = self.address("cancel");
        let (this, reason) = (self.clone(), reason.to_owned());
        async move {
            if this.recorded::<RunId>(&path)?.is_some() {
                return Ok(());
            }
            this.boundary(&path).await?;
            let letter = Letter::cancel(run, &reason)?;
            this.post(&path, json!(run), vec![letter]).await
        }
    }

    /// Records something with letters to other runs, in one transaction.
    pub(super) async fn post(
        &self,
        path: &str,
        payload: Value,
        letters: Vec<Letter>,
    ) -> Result<(), RunError> {
        let (from, now) = (self.id(), self.execution.journal.clock.now());
        let told: Vec<RunId> = letters.iter().map(|letter| letter.to).collect();
        let beside: Beside = Box::new(move |tx| {
            letters
                .into_iter()
                .try_for_each(|letter| letter.post(tx, from, now))
        });
        let draft = Draft::at(EntryKind::StepCompleted, path, payload);
        self.append(draft, Some(beside)).await?;
        if let Some(engine) = &self.execution.engine {
            engine.wake_all(told);
        }
        Ok(())
    }
}

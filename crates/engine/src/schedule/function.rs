//! What a schedule does: it sleeps until it is due, starts a run, and starts again.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use matrix_core::{RunId, Timestamp};
use matrix_store::tables::runs;
use matrix_store::{Database, StoreError};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{CATCH_UP_MAX, CatchUp, KIND, Overlap, Prepared, Schedule, Starter};
use crate::error::{RunError, StepError};
use crate::run::{NewChild, Run};
use crate::step::{RetryPolicy, Step};
use crate::stopped::{Cause, Stopped};
use crate::worker::{DurableFunction, is_terminal};

/// The signal that makes a schedule start a run at once.
pub(super) const FIRE: &str = "fire";

/// How late a start may be without having been missed: hosts sleep, and clocks are set.
const GRACE: Duration = Duration::from_mins(1);

/// How soon a run that must have ended first is looked at again; doubled up to [`LOOK_MAX`].
const LOOK: Duration = Duration::from_secs(5);

/// How late the end of a run that must have ended first is noticed.
const LOOK_MAX: Duration = Duration::from_mins(1);

/// What a schedule is given, and gives itself when it starts again.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) schedule: Schedule,
    /// Times up to this one are dealt with.
    pub(super) after: Timestamp,
    /// The run that was started last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) last: Option<RunId>,
    /// How many runs were started.
    #[serde(default)]
    pub(super) started: u64,
}

/// The function of schedules.
pub struct ScheduleFunction {
    database: Database,
    starters: Vec<Arc<dyn Starter>>,
}

impl std::fmt::Debug for ScheduleFunction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kinds: Vec<_> = self.starters.iter().map(|starter| starter.kind()).collect();
        f.debug_tuple("ScheduleFunction").field(&kinds).finish()
    }
}

/// A moment in which a schedule acts.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Due {
    /// When it is due; nothing if never again.
    at: Option<Timestamp>,
    /// When the run is to be started.
    start: Timestamp,
}

impl ScheduleFunction {
    /// The function over a database, with those who know what requests mean.
    pub fn new(database: Database, starters: Vec<Arc<dyn Starter>>) -> Self {
        Self { database, starters }
    }

    pub(super) fn starter(&self, kind: &str) -> Option<&Arc<dyn Starter>> {
        self.starters.iter().find(|starter| starter.kind() == kind)
    }

    /// The next time, and when its run is to be started.
    async fn due(&self, run: &Run, state: &State) -> Result<Due, RunError> {
        let chance = if state.schedule.jitter_s > 0 {
            run.random().await?
        } else {
            0
        };
        let after = state.after;
        let step =
            Step::read("due").input(&(&state.schedule.cron, &state.schedule.timezone, after));
        run.step(step, |_| async {
            let cron = state.schedule.cron().map_err(|error| never(&error))?;
            let at = cron.next(after).map_err(|error| never(&error))?;
            let jitter = u64::from(state.schedule.jitter_s) * 1_000;
            let late = Duration::from_millis((jitter * chance) >> 32);
            let start = at.unwrap_or(after).plus(late);
            Ok(Due { at, start })
        })
        .await
    }

    /// Sleeps until a time, or until somebody asks for a run; whether that was so.
    async fn sleep(run: &Run, until: Timestamp) -> Result<bool, RunError> {
        let both = ["timer", FIRE].map(|key| (key.to_owned(), key));
        let (woken, ()) = run
            .any("wake", both.into(), |branch, key| {
                let top = run.clone();
                async move {
                    if key == FIRE {
                        top.signal::<Value>(FIRE).await.map(drop)
                    } else {
                        branch.sleep_until("due", until).await
                    }
                }
            })
            .await?;
        Ok(woken == FIRE)
    }

    /// The times that passed and are to be made up for, and the newest of all that passed. What
    /// passes while those are dealt with is not among them: the next turn has it.
    async fn missed(
        &self,
        run: &Run,
        state: &State,
        due: Timestamp,
    ) -> Result<(Vec<Timestamp>, Timestamp), RunError> {
        let now = run.now().await?;
        let schedule = &state.schedule;
        let step = Step::read("times").input(&(due, now));
        let times: Vec<Timestamp> = run
            .step(step, |_| async {
                let cron = schedule.cron().map_err(|error| never(&error))?;
                let mut times = vec![due];
                let mut last = due;
                // Of a long time, the newest count.
                while let Some(next) = cron
                    .next(last)
                    .map_err(|error| never(&error))?
                    .filter(|next| *next <= now)
                {
                    times.push(next);
                    last = next;
                    if times.len() > 2 * CATCH_UP_MAX as usize {
                        times.drain(..CATCH_UP_MAX as usize);
                    }
                }
                Ok(times)
            })
            .await?;
        let newest = times.last().copied().unwrap_or(due);
        let on_time = now.since(newest) <= GRACE + Duration::from_secs(schedule.jitter_s.into());
        let wanted = match schedule.catch_up {
            CatchUp::Skip if !on_time => Vec::new(),
            CatchUp::Skip | CatchUp::One => vec![newest],
            CatchUp::All => {
                let first = times.len().saturating_sub(CATCH_UP_MAX as usize);
                times.get(first..).unwrap_or_default().to_vec()
            }
        };
        Ok((wanted, newest))
    }

    /// Starts one run, unless the one before stands in its way.
    async fn start(&self, run: &Run, state: &mut State) -> Result<(), RunError> {
        if let Some(last) = state.last
            && !self.make_way(run, last, state.schedule.overlap).await?
        {
            return Ok(());
        }
        let schedule = &state.schedule;
        let step = Step::read("prepare")
            .input(&(&schedule.kind, &schedule.request))
            .retry(RetryPolicy {
                attempts: 5,
                ..RetryPolicy::default()
            });
        let prepared: Result<Prepared, RunError> = run
            .step(step, |_| async {
                match self.starter(&schedule.kind) {
                    Some(starter) => starter.prepare(run.caller(), &schedule.request).await,
                    None => Ok(Prepared {
                        input: schedule.request.clone(),
                    }),
                }
            })
            .await;
        let prepared = match prepared {
            Ok(prepared) => prepared,
            // It stands in the journal, and the next time is another one.
            Err(RunError::Failed(error)) => {
                tracing::warn!(%error, schedule = schedule.title, "nothing was started");
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let new = NewChild::new(&schedule.kind, &schedule.title, prepared.input).detached();
        match run.spawn("start", new).await {
            Ok(child) => {
                state.last = Some(child.id());
                state.started += 1;
                Ok(())
            }
            Err(RunError::Failed(error)) => Err(RunError::needs_person(
                Stopped::at(Cause::Retries, "start", 1),
                format!("nothing can be started: {error}"),
            )),
            Err(error) => Err(error),
        }
    }

    /// Whether another run may be started beside the last one, or after it.
    async fn make_way(&self, run: &Run, last: RunId, overlap: Overlap) -> Result<bool, RunError> {
        if overlap == Overlap::Allow {
            return Ok(true);
        }
        if self.has_ended(run, last).await? {
            return Ok(true);
        }
        match overlap {
            Overlap::Allow => Ok(true),
            Overlap::Skip => {
                tracing::info!(%last, "nothing is started: the last run has not ended");
                Ok(false)
            }
            Overlap::Replace => {
                run.cancel_run(last, "its schedule starts the next one")
                    .await?;
                Ok(true)
            }
            Overlap::Wait => {
                let mut look = LOOK;
                while !self.has_ended(run, last).await? {
                    run.sleep("look", look).await?;
                    look = (look * 2).min(LOOK_MAX);
                }
                Ok(true)
            }
        }
    }

    async fn has_ended(&self, run: &Run, last: RunId) -> Result<bool, RunError> {
        run.step(Step::read("ended").input(&last), |_| async {
            let row = self
                .database
                .read::<_, StoreError, _>(move |tx| runs::get(tx, last))
                .await?;
            Ok(row.is_none_or(|row| is_terminal(&row.state)))
        })
        .await
    }
}

fn never(error: &super::CronError) -> StepError {
    StepError::permanent("schedule", error.to_string())
}

#[async_trait]
impl DurableFunction for ScheduleFunction {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn version(&self) -> &'static str {
        "1"
    }

    /// One time, and then again as new, so that a schedule of years has a history of one day.
    async fn execute(&self, run: Run, input: Value) -> Result<Value, RunError> {
        let mut state: State = serde_json::from_value(input)
            .map_err(|error| StepError::permanent("input", error.to_string()))?;
        let Due { at, start } = self.due(&run, &state).await?;
        let Some(due) = at else {
            return Ok(json!({ "started": state.started }));
        };
        if Self::sleep(&run, start).await? {
            self.start(&run, &mut state).await?;
        } else {
            let (times, newest) = self.missed(&run, &state, due).await?;
            for _ in &times {
                self.start(&run, &mut state).await?;
            }
            state.after = newest;
        }
        let next = serde_json::to_value(state)
            .map_err(|error| StepError::permanent("input", error.to_string()))?;
        Err(run.continue_as_new(next))
    }
}

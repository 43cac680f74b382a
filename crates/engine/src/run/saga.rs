//! Steps that are taken back when the run cannot go on (a saga: Garcia-Molina and Salem, 1987).

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Run;
use crate::error::{RunError, StepError};
use crate::step::{Step, StepContext};
use crate::stopped::{Cause, Stopped};

type Undo = Box<dyn Fn(StepContext) -> BoxFuture<'static, Result<(), StepError>> + Send + Sync>;

/// Steps with what takes each of them back.
pub struct Saga {
    run: Run,
    done: Mutex<Vec<(String, Arc<Undo>)>>,
}

impl std::fmt::Debug for Saga {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Saga")
            .field("run", &self.run.id())
            .finish_non_exhaustive()
    }
}

impl Run {
    /// Begins steps that are taken back together.
    pub fn saga(&self) -> Saga {
        Saga {
            run: self.clone(),
            done: Mutex::default(),
        }
    }
}

impl Saga {
    /// [`Run::step`], and how to take it back. `undo` is given what the step gave; it is a step of
    /// its own and may be repeated with the same key, so it must be idempotent.
    pub fn step<T, F, Fut, U, UFut>(
        &self,
        step: Step,
        work: F,
        undo: U,
    ) -> impl Future<Output = Result<T, RunError>> + Send + use<'_, T, F, Fut, U, UFut>
    where
        T: Serialize + DeserializeOwned + Clone + Send + Sync + 'static,
        F: Fn(StepContext) -> Fut + Send + Sync,
        Fut: Future<Output = Result<T, StepError>> + Send,
        U: Fn(StepContext, T) -> UFut + Send + Sync + 'static,
        UFut: Future<Output = Result<(), StepError>> + Send + 'static,
    {
        let path = self.run.address(&step.name);
        let run = self.run.clone();
        async move {
            let given: T = run.execute(path.clone(), step, work).await?;
            let result = given.clone();
            let undo: Undo = Box::new(move |context| Box::pin(undo(context, result.clone())));
            let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
            done.push((path, Arc::new(undo)));
            Ok(given)
        }
    }

    /// Ends the saga with what its function gave. After an error of the function, or when the run is
    /// cancelled, every step that was done is taken back, the latest first; a request to cancel does
    /// not stop that. What cannot be taken back waits for a person.
    pub async fn settle<T>(self, outcome: Result<T, RunError>) -> Result<T, RunError> {
        let error = match outcome {
            Err(error @ (RunError::Failed(_) | RunError::Cancelled(_))) => error,
            other => return other,
        };
        let done = self.done.into_inner();
        let mut done = done.unwrap_or_else(PoisonError::into_inner);
        // Branches may have come to their ends in another order before.
        let began = |path: &str| {
            let board = &self.run.execution.board;
            board.look(|history| history.step(path).map(|step| step.first_seq))
        };
        done.sort_by_key(|(path, _)| began(path));
        let run = self.run.shielded();
        for (path, undo) in done.into_iter().rev() {
            let step = Step::idempotent(format!("undo/{}", path.replace('#', "."))).input(&path);
            let taken = run.step(step, |context| undo(context)).await;
            match taken {
                Ok(()) => {}
                Err(RunError::Failed(why)) => {
                    return Err(RunError::needs_person(
                        Stopped::at(Cause::Undo, &path, 1),
                        format!("`{path}` could not be taken back: {why} (after: {error})"),
                    ));
                }
                Err(other) => return Err(other),
            }
        }
        Err(error)
    }
}

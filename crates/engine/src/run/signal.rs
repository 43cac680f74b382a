//! Waiting for a value that somebody sends.

use std::future::Future;
use std::sync::PoisonError;

use serde::de::DeserializeOwned;
use serde_json::json;

use super::execute::decode;
use super::{Run, waiting};
use crate::entry::{Draft, EntryKind};
use crate::error::RunError;

impl Run {
    /// The next value sent to the run under a signal's name.
    pub fn signal<T: DeserializeOwned + Send>(
        &self,
        name: &str,
    ) -> impl Future<Output = Result<T, RunError>> + Send + use<T> {
        let path = self.address(&format!("signal:{name}"));
        let index: usize = path
            .rsplit('#')
            .next()
            .and_then(|count| count.parse().ok())
            .unwrap_or(1)
            - 1;
        let (run, name) = (self.clone(), name.to_owned());
        async move {
            let wanted = name.clone();
            let because = format!("`matrix run signal {} {name}` sends it", run.id());
            let wait = waiting("signal", &name, &because, None);
            let received = run
                .execution
                .board
                .wait(wait, move |history| {
                    let value = history.signals(&name).get(index).cloned();
                    value.map(Ok).or_else(|| history.cancel.clone().map(Err))
                })
                .await;
            let value = received.map_err(RunError::Cancelled)?;
            run.take(&wanted, index + 1);
            decode(&path, value, "")
        }
    }

    /// The values sent to the run under a signal's name since the last of them was taken, without
    /// waiting for any. How many there were is an entry, unless there were none; so every later
    /// execution hears the same ones in the same place. A function that hears a name waits for no
    /// [`signal`](Self::signal) of it.
    pub fn heard<T: DeserializeOwned + Send>(
        &self,
        name: &str,
    ) -> impl Future<Output = Result<Vec<T>, RunError>> + Send + use<T> {
        let path = self.address(&format!("heard:{name}"));
        let (run, name) = (self.clone(), name.to_owned());
        async move {
            let from = run.taken(&name);
            let count = match run.recorded(&path)? {
                Some(count) => count,
                // The journal is further than here, so nothing was heard here.
                None if run.has_unasked() => 0,
                None => run.hear(&name, &path, from).await?,
            };
            let values = run.execution.board.look(|history| {
                let sent = history.signals(&name).iter();
                sent.skip(from).take(count).cloned().collect::<Vec<_>>()
            });
            run.take(&name, from + count);
            let decoded = values.into_iter().map(|value| decode(&path, value, ""));
            decoded.collect()
        }
    }

    /// How many values there are behind the first `from`, recorded if there are any.
    async fn hear(&self, name: &str, path: &str, from: usize) -> Result<usize, RunError> {
        if self.execution.is_replay {
            return Ok(0);
        }
        let sent = self
            .execution
            .board
            .look(|history| history.signals(name).len());
        let count = sent.saturating_sub(from);
        if count > 0 {
            let draft = Draft::at(EntryKind::StepCompleted, path, json!(count));
            self.append(draft, None).await?;
        }
        Ok(count)
    }

    /// How many values of a name the function has been given.
    fn taken(&self, name: &str) -> usize {
        let taken = self.execution.taken.lock();
        let taken = taken.unwrap_or_else(PoisonError::into_inner);
        taken.get(name).copied().unwrap_or(0)
    }

    fn take(&self, name: &str, count: usize) {
        let taken = self.execution.taken.lock();
        let mut taken = taken.unwrap_or_else(PoisonError::into_inner);
        let known = taken.entry(name.to_owned()).or_default();
        *known = (*known).max(count);
    }
}

//! The first of several branches.

use std::collections::BTreeMap;
use std::future::Future;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use serde_json::json;

use super::Run;
use crate::error::{RunError, StepError};
use crate::worker::Letter;

impl Run {
    /// Runs branches side by side until the first has a result, and gives its key and result. See
    /// [`Self::quorum`].
    pub fn any<T, I, F, Fut>(
        &self,
        name: &str,
        items: Vec<(String, I)>,
        work: F,
    ) -> impl Future<Output = Result<(String, T), RunError>>
    where
        F: Fn(Self, I) -> Fut,
        Fut: Future<Output = Result<T, RunError>>,
    {
        let chosen = self.quorum(name, 1, items, work);
        async move {
            let first = chosen.await?.into_iter().next();
            first.ok_or_else(|| nothing_to_choose().into())
        }
    }

    /// Runs branches side by side until `needed` of them have a result, and gives those by key in
    /// the order in which they came. Which they were is recorded, so every later execution chooses
    /// the same. The others end where they are; runs that they started are asked to end. A branch
    /// that fails does not count; the last error is the result when too few are left.
    pub fn quorum<T, I, F, Fut>(
        &self,
        name: &str,
        needed: usize,
        items: Vec<(String, I)>,
        work: F,
    ) -> impl Future<Output = Result<Vec<(String, T)>, RunError>>
    where
        F: Fn(Self, I) -> Fut,
        Fut: Future<Output = Result<T, RunError>>,
    {
        let path = self.address(&format!("{name}/chosen"));
        let parent = self.branches(name);
        async move {
            let given = items.len();
            let mut branches: BTreeMap<String, I> = items.into_iter().collect();
            if branches.len() != given {
                return Err(super::same_keys(&parent.branch).into());
            }
            if needed == 0 || needed > given {
                return Err(nothing_to_choose().into());
            }
            if let Some(keys) = parent.recorded::<Vec<String>>(&path)? {
                let mut results = Vec::with_capacity(keys.len());
                for key in keys {
                    let item = branches.remove(&key).ok_or_else(|| RunError::Diverged {
                        path: path.clone(),
                        recorded: format!("the branch `{key}`"),
                        now: "branches without it".into(),
                    })?;
                    let result = work(parent.branch(&key), item).await?;
                    results.push((key, result));
                }
                return Ok(results);
            }
            let start = |(key, item): (String, I)| {
                let future = work(parent.branch(&key), item);
                async move { (key, future.await) }
            };
            let mut running: FuturesUnordered<_> = branches.into_iter().map(start).collect();
            let mut results = Vec::with_capacity(needed);
            while let Some((key, result)) = running.next().await {
                match result {
                    Ok(result) => results.push((key, result)),
                    Err(error @ RunError::Failed(_)) if results.len() + running.len() < needed => {
                        return Err(error);
                    }
                    Err(RunError::Failed(_)) => {}
                    Err(error) => return Err(error),
                }
                // Where nothing is recorded as chosen, another branch's error may have come first.
                if results.len() == needed && !parent.execution.is_replay {
                    break;
                }
            }
            drop(running);
            let keys: Vec<&String> = results.iter().map(|(key, _)| key).collect();
            let payload = json!(keys);
            let letters = parent.letters_to_losers(&keys)?;
            parent.post(&path, payload, letters).await?;
            Ok(results)
        }
    }

    /// Asks the runs to end that were started in branches of this one, but for the chosen.
    fn letters_to_losers(&self, chosen: &[&String]) -> Result<Vec<Letter>, RunError> {
        let live: Vec<_> = self.execution.board.look(|history| {
            let live = history.live_children().into_iter();
            let ours = live.filter_map(|(path, child)| {
                let key = path.strip_prefix(&self.branch)?.split('/').next()?;
                let lost = !chosen.iter().any(|chosen| *chosen == key);
                (lost && !child.spawned.detached).then_some(child.spawned.run)
            });
            ours.collect()
        });
        let reason = format!("run {} has chosen another branch", self.id());
        live.into_iter()
            .map(|run| Letter::cancel(run, &reason).map_err(RunError::from))
            .collect()
    }
}

fn nothing_to_choose() -> StepError {
    StepError::permanent("quorum", "more branches are needed than there are")
}

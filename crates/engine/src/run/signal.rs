//! Waiting for a value that somebody sends.

use std::future::Future;
use std::sync::PoisonError;

use serde::de::DeserializeOwned;

use super::execute::decode;
use super::{Run, waiting};
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
            let mut taken = run
                .execution
                .taken
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            let count = taken.entry(wanted).or_default();
            *count = (*count).max(index + 1);
            drop(taken);
            decode(&path, value, "")
        }
    }
}

//! What replay must find again: times, random numbers, versions.

use std::future::Future;

use matrix_core::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::Run;
use super::execute::decode;
use crate::entry::{Draft, EntryKind};
use crate::error::RunError;
use crate::stopped::{Cause, Stopped};

impl Run {
    /// The time, which every later execution finds the same.
    pub fn now(&self) -> impl Future<Output = Result<Timestamp, RunError>> + Send + use<> {
        let clock = std::sync::Arc::clone(&self.execution.journal.clock);
        self.remember("now", move || clock.now())
    }

    /// A random number that every later execution finds the same. It is no secret: it stands in the
    /// journal.
    pub fn random(&self) -> impl Future<Output = Result<u64, RunError>> + Send + use<> {
        let entropy = std::sync::Arc::clone(&self.execution.journal.entropy);
        // Half of 64 bits, so that every reader of JSON takes it for the same number.
        self.remember("random", move || {
            let mut random = [0_u8; 4];
            entropy.fill(&mut random);
            u64::from(u32::from_le_bytes(random))
        })
    }

    /// Which way this run takes where its function has changed: `newest` for a run that comes here
    /// for the first time, 0 for one whose journal is already further than here, because an older
    /// function went on without asking. What it was once, it stays.
    pub fn version(
        &self,
        name: &str,
        newest: u32,
    ) -> impl Future<Output = Result<u32, RunError>> + Send + use<> {
        let base = format!("{}version:{name}", self.branch);
        let path = format!("{base}#1");
        let mut seen = self.occurrences();
        seen.insert(base, 1);
        drop(seen);
        let run = self.clone();
        async move {
            if let Some(known) = run.recorded(&path)? {
                return Ok(known);
            }
            let was_here = run.has_unasked();
            if run.execution.is_replay && was_here {
                return Ok(0);
            }
            let version = if was_here { 0 } else { newest };
            let draft = Draft::at(EntryKind::StepCompleted, &path, json!(version));
            run.append(draft, None).await?;
            Ok(version)
        }
    }

    /// Whether the journal has something that this execution has not asked for yet.
    pub(super) fn has_unasked(&self) -> bool {
        let seen = self.occurrences();
        self.execution.board.look(|history| {
            history.addresses().any(|path| {
                let asked = path.rsplit_once('#').and_then(|(base, number)| {
                    let number: u32 = number.parse().ok()?;
                    seen.get(base).map(|count| number <= *count)
                });
                asked != Some(true)
            })
        })
    }

    /// What is recorded at an address, if anything is.
    pub(super) fn recorded<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>, RunError> {
        let record = self
            .execution
            .board
            .look(|history| history.step(path).cloned());
        let Some(record) = record else {
            return Ok(None);
        };
        if record.erased {
            return Err(RunError::needs_person(
                Stopped::at(Cause::Erased, path, 0),
                format!("what `{path}` was is erased, so the run cannot go on from it"),
            ));
        }
        record
            .outcome
            .map(|outcome| decode(path, outcome?, ""))
            .transpose()
    }

    fn remember<T, F>(
        &self,
        name: &str,
        make: F,
    ) -> impl Future<Output = Result<T, RunError>> + Send + use<T, F>
    where
        T: serde::Serialize + DeserializeOwned + Send,
        F: FnOnce() -> T + Send,
    {
        let path = self.address(name);
        let run = self.clone();
        async move {
            if let Some(known) = run.recorded(&path)? {
                return Ok(known);
            }
            run.boundary(&path).await?;
            let made = make();
            let draft = Draft::at(EntryKind::StepCompleted, &path, json!(made));
            run.append(draft, None).await?;
            Ok(made)
        }
    }
}

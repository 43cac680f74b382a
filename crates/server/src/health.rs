//! Whether this process is alive, and whether it can do its work.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use matrix_store::StoreError;

use crate::server::Server;

/// How a part of the host does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum HealthState {
    /// It works.
    Ok,
    /// It is not known yet; work that needs it waits.
    Pending,
    /// It works, but not as it should, or not for long.
    Degraded,
    /// It does not work.
    Failed,
}

/// One part of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HealthPart {
    /// How it does.
    pub state: HealthState,
    /// More for people.
    pub detail: String,
}

/// What the host reports about parts that only it knows.
#[derive(Debug, Default)]
pub struct HealthBoard {
    parts: Mutex<BTreeMap<String, HealthPart>>,
}

impl HealthBoard {
    /// Says how a part does; the latest word counts.
    pub fn report(&self, part: &str, state: HealthState, detail: impl Into<String>) {
        let detail = detail.into();
        self.parts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(part.to_owned(), HealthPart { state, detail });
    }

    fn parts(&self) -> BTreeMap<String, HealthPart> {
        self.parts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// The least free space, in bytes, with which a change can be expected to end well.
const SPACE_MIN: u64 = 512 * 1024 * 1024;

/// Whether requests can be served: storage answers, and the engine takes work.
pub(crate) fn ready(server: &Server) -> BTreeMap<String, HealthPart> {
    BTreeMap::from([
        ("storage".to_owned(), storage(server)),
        ("engine".to_owned(), engine(server)),
    ])
}

/// Everything that is known.
pub(crate) fn detailed(server: &Server) -> BTreeMap<String, HealthPart> {
    let mut parts = server.health().parts();
    parts.extend(ready(server));
    parts.insert("disk".to_owned(), disk(server));
    parts
}

/// The worst of the parts.
pub(crate) fn worst(parts: &BTreeMap<String, HealthPart>) -> HealthState {
    let states = parts.values().map(|part| part.state);
    states.max().unwrap_or(HealthState::Ok)
}

fn part(state: HealthState, detail: impl Into<String>) -> HealthPart {
    let detail = detail.into();
    HealthPart { state, detail }
}

fn storage(server: &Server) -> HealthPart {
    let read = server
        .database()
        .read_now::<_, StoreError, _>(|tx| matrix_store::tables::queue::flows(tx, "", 1));
    match read {
        Ok(_) => part(HealthState::Ok, "the database answers"),
        Err(error) => part(HealthState::Failed, error.to_string()),
    }
}

fn engine(server: &Server) -> HealthPart {
    match server.engine().failure() {
        None => part(HealthState::Ok, "runs are driven"),
        Some(failure) => part(HealthState::Failed, failure),
    }
}

fn disk(server: &Server) -> HealthPart {
    let free = rustix::fs::statvfs(&server.host().data_directory)
        .map(|stat| stat.f_bavail.saturating_mul(stat.f_frsize));
    match free {
        Ok(free) if free < SPACE_MIN => {
            part(HealthState::Degraded, format!("{free} bytes are free"))
        }
        Ok(free) => part(HealthState::Ok, format!("{free} bytes are free")),
        Err(error) => part(HealthState::Failed, error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_part_decides_and_the_latest_word_counts() {
        let board = HealthBoard::default();
        assert_eq!(worst(&board.parts()), HealthState::Ok);
        board.report("sandbox", HealthState::Pending, "being tested");
        board.report("disk", HealthState::Ok, "");
        assert_eq!(worst(&board.parts()), HealthState::Pending);
        board.report("sandbox", HealthState::Failed, "a probe escaped");
        assert_eq!(worst(&board.parts()), HealthState::Failed);
        board.report("sandbox", HealthState::Ok, "");
        assert_eq!(worst(&board.parts()), HealthState::Ok);
    }
}

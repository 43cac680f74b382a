//! What the programs that measure the engine share.

use std::error::Error;
use std::time::Duration;

use matrix_core::{Caller, Principal, PrincipalKind, Scope};
use matrix_engine::queue::Placing;
use matrix_engine::{EngineOptions, NewRun, OnFullDisk, Scheduling};
use serde_json::json;

/// The processor's time that this process has used: fields 14 and 15 of `proc_pid_stat(5)`, in
/// hundredths of a second.
pub(crate) fn processor_time() -> Result<Duration, Box<dyn Error>> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = stat.rsplit_once(')').ok_or("no name in /proc/self/stat")?;
    let ticks = fields.split_whitespace().skip(11).take(2);
    let ticks = ticks.map(str::parse::<u64>).sum::<Result<u64, _>>()?;
    Ok(Duration::from_millis(ticks * 10))
}

/// A run of a kind that needs nothing to begin.
pub(crate) fn a_run(kind: &str) -> NewRun {
    NewRun {
        kind: kind.into(),
        title: kind.into(),
        input: json!({}),
        placing: Placing::default(),
        caller: Caller {
            principal: Principal {
                kind: PrincipalKind::User,
                name: "measure".into(),
            },
            scope: Scope::local(),
            on_behalf_of: Vec::new(),
        },
    }
}

/// An engine that drives so many runs at once.
pub(crate) fn options(concurrency: usize) -> EngineOptions {
    EngineOptions {
        worker: "measure".into(),
        concurrency,
        lease: Duration::from_secs(15),
        on_full_disk: OnFullDisk::Stop,
        scheduling: Scheduling::default(),
    }
}

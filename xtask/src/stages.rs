//! Stages: work in a fixed order, each announced, each with its duration; the first that fails is
//! the last that runs.

use std::time::Duration;

use anyhow::{Context, Result};

use crate::machine::Stopwatch;
use crate::say;

/// The stages done so far.
pub(crate) struct Stages {
    done: Vec<(&'static str, Duration)>,
    whole: Stopwatch,
}

impl Stages {
    /// None yet.
    pub(crate) fn new() -> Self {
        Self {
            done: Vec::new(),
            whole: Stopwatch::start(),
        }
    }

    /// Runs a stage.
    pub(crate) fn stage<T>(
        &mut self,
        name: &'static str,
        work: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        say::progress(&format!("\n── {name}"));
        let watch = Stopwatch::start();
        let result = work();
        let took = watch.elapsed();
        self.done.push((name, took));
        let mark = if result.is_ok() { "done" } else { "failed" };
        say::progress(&format!("── {name}: {mark} in {}", show(took)));
        result.with_context(|| format!("the stage `{name}` failed"))
    }

    /// The stages with their durations, as a table.
    pub(crate) fn summary(&self) -> String {
        let mut lines: Vec<String> = self
            .done
            .iter()
            .map(|(name, took)| format!("{name:<16}{:>10}", show(*took)))
            .collect();
        lines.push(format!("{:<16}{:>10}", "all", show(self.whole.elapsed())));
        lines.join("\n")
    }
}

/// A duration for people.
pub(crate) fn show(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if seconds >= 60 {
        format!("{} min {:02} s", seconds / 60, seconds % 60)
    } else {
        format!("{:.1} s", duration.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_short() {
        assert_eq!(show(Duration::from_millis(1250)), "1.2 s");
        assert_eq!(show(Duration::from_secs(125)), "2 min 05 s");
    }

    #[test]
    fn a_failed_stage_is_named_and_listed() {
        let mut stages = Stages::new();
        let error = stages
            .stage("format", || Err::<(), _>(anyhow::anyhow!("no")))
            .unwrap_err();
        assert_eq!(format!("{error:#}"), "the stage `format` failed: no");
        assert!(stages.summary().starts_with("format"));
    }
}

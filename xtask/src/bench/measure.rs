//! Timing whole commands.

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::machine::Stopwatch;
use crate::process::describe;
use crate::say;

/// How long something took, over and over.
#[derive(Debug, Clone)]
pub(crate) struct Samples(Vec<Duration>);

impl Samples {
    /// From durations in any order; there must be one.
    pub(crate) fn new(mut durations: Vec<Duration>) -> Result<Self> {
        if durations.is_empty() {
            bail!("nothing was measured; at least one round is needed");
        }
        durations.sort();
        Ok(Self(durations))
    }

    /// The duration that `percent` of the rounds did not exceed (nearest rank).
    pub(crate) fn percentile(&self, percent: usize) -> Duration {
        let rank = (self.0.len() * percent).div_ceil(100).max(1);
        self.0.get(rank - 1).copied().unwrap_or_default()
    }

    /// The shortest.
    pub(crate) fn min(&self) -> Duration {
        self.percentile(0)
    }
}

/// Runs the makers' commands in turn, so that a busy moment of the machine meets all of them, and
/// gives the samples in the same order. A command that fails is an error: a failure is no time.
pub(crate) fn in_turn(
    rounds: usize,
    makers: &mut [&mut dyn FnMut() -> Result<Command>],
) -> Result<Vec<Samples>> {
    let mut all = vec![Vec::with_capacity(rounds); makers.len()];
    // The first round warms the caches and is not counted.
    for round in 0..=rounds {
        for (maker, samples) in makers.iter_mut().zip(&mut all) {
            let took = once(&mut maker()?)?;
            if round > 0 {
                samples.push(took);
            }
        }
    }
    all.into_iter().map(Samples::new).collect()
}

fn once(command: &mut Command) -> Result<Duration> {
    let what = describe(command);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(Stdio::null());
    let watch = Stopwatch::start();
    let status = command
        .status()
        .with_context(|| format!("cannot start `{what}`"))?;
    let took = watch.elapsed();
    if !status.success() {
        bail!("`{what}` ended with {status}");
    }
    Ok(took)
}

/// Prints a table; the last column is each row's median over the first row's.
pub(crate) fn table(title: &str, rows: &[(&str, &Samples)]) {
    say::line(&format!(
        "{title:<36}{:>10}{:>10}{:>10}{:>10}",
        "min ms", "median", "p95", "ratio"
    ));
    let first = rows.first().map_or(0.0, |(_, samples)| median_ms(samples));
    for (name, samples) in rows {
        say::line(&format!(
            "{name:<36}{:>10.2}{:>10.2}{:>10.2}{:>9.2}×",
            ms(samples.min()),
            median_ms(samples),
            ms(samples.percentile(95)),
            median_ms(samples) / first
        ));
    }
}

fn median_ms(samples: &Samples) -> f64 {
    ms(samples.percentile(50))
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let durations = (1..=20).rev().map(Duration::from_millis).collect();
        let samples = Samples::new(durations).unwrap();
        assert_eq!(samples.min(), Duration::from_millis(1));
        assert_eq!(samples.percentile(50), Duration::from_millis(10));
        assert_eq!(samples.percentile(95), Duration::from_millis(19));
        assert_eq!(samples.percentile(100), Duration::from_millis(20));
        assert!(Samples::new(Vec::new()).is_err());
    }

    #[test]
    fn a_command_that_fails_gives_no_time() {
        let mut fails = || Ok(Command::new("false"));
        assert!(in_turn(1, &mut [&mut fails]).is_err());
        let mut works = || Ok(Command::new("true"));
        assert_eq!(in_turn(3, &mut [&mut works]).unwrap()[0].0.len(), 3);
    }
}

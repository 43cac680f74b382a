//! Contenders for the same work: programs that do it in an empty folder and print one JSON object.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::process;
use crate::say;

/// A program that does the work: `PROGRAM before… FOLDER after…`.
pub(super) struct Contender {
    /// What the table calls it.
    pub(super) name: &'static str,
    /// The program.
    pub(super) program: PathBuf,
    /// Its arguments before the folder.
    pub(super) before: Vec<String>,
    /// Its arguments after the folder.
    pub(super) after: Vec<String>,
}

/// Arguments as a contender takes them.
pub(super) fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// Lets all contenders do the work in turn, so many rounds, each after what makes the ground even,
/// and prints each one's median round, by units in a second. The last column is its units in a second
/// over the first one's.
pub(super) fn hold(
    (title, unit): (&str, &str),
    contenders: &[Contender],
    rounds: usize,
    (folder, even): (&Path, &dyn Fn() -> Result<()>),
) -> Result<()> {
    let mut results: Vec<Vec<Value>> = contenders.iter().map(|_| Vec::new()).collect();
    for _ in 0..rounds.max(1) {
        for (contender, results) in contenders.iter().zip(&mut results) {
            even()?;
            results.push(contender.measure(folder)?);
        }
    }
    say::line(&format!(
        "\n{title:<40}{:>9}{:>10}{:>9}{:>9}{:>11}{:>9}{:>9}{:>8}{:>8}",
        format!("{unit}/s"),
        "CPU µs",
        "p50 ms",
        "p99 ms",
        "longest ms",
        "disk MB",
        "RAM MB",
        "idle %",
        "ratio"
    ));
    let mut first = None;
    for (contender, rounds) in contenders.iter().zip(&mut results) {
        rounds.sort_by(|one, other| rate(one).total_cmp(&rate(other)));
        let Some(median) = rounds.get(rounds.len() / 2) else {
            continue;
        };
        let first = *first.get_or_insert(rate(median));
        say::line(&row(contender.name, median, first));
    }
    Ok(())
}

fn row(name: &str, result: &Value, first: f64) -> String {
    let number = |name: &str, scale: f64| {
        let number = result.get(name).and_then(Value::as_f64);
        number.map_or_else(|| "–".to_owned(), |number| format!("{:.2}", number * scale))
    };
    format!(
        "{name:<40}{:>9.0}{:>10.1}{:>9}{:>9}{:>11}{:>9}{:>9}{:>8}{:>7.2}×",
        rate(result),
        member(result, "processor") * 1e6 / member(result, "steps").max(1.0),
        number("p50", 1e-3),
        number("p99", 1e-3),
        number("longest", 1e-3),
        number("bytes", 1e-6),
        number("resident", 1e-6),
        number("idle", 100.0),
        rate(result) / first,
    )
}

impl Contender {
    /// One round in an empty folder.
    fn measure(&self, folder: &Path) -> Result<Value> {
        if folder.exists() {
            std::fs::remove_dir_all(folder)?;
        }
        std::fs::create_dir_all(folder)?;
        let mut command = Command::new(&self.program);
        command.args(&self.before).arg(folder).args(&self.after);
        let said = process::read(&mut command)?;
        let last = said.lines().last().unwrap_or_default();
        serde_json::from_str(last).with_context(|| format!("{} printed `{last}`", self.name))
    }
}

fn member(result: &Value, name: &str) -> f64 {
    result.get(name).and_then(Value::as_f64).unwrap_or_default()
}

/// Units in a second.
fn rate(result: &Value) -> f64 {
    member(result, "steps") / member(result, "seconds").max(f64::MIN_POSITIVE)
}

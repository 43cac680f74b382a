//! Durable steps: ours in one process, beside bare SQLite (the floor that no journal on it can go
//! below) and beside two libraries of durable execution on SQLite, in turn, each step or batch on
//! disk before the next begins.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::process;
use crate::say;
use crate::tools;
use crate::workspace::Workspace;

const REQUIREMENTS: &str = "xtask/peers/requirements.txt";

/// What one program is asked to do.
struct Contender {
    name: &'static str,
    program: PathBuf,
    before: Vec<String>,
    after: &'static [&'static str],
}

/// Measures all contenders in turn and prints each one's median round, by steps in a second.
pub(crate) fn run(workspace: &Workspace, rounds: usize) -> Result<()> {
    let ours = example(workspace, "matrix-engine", "append_cost")?;
    let floor = example(workspace, "matrix-store", "floor")?;
    let python = tools::environment(workspace, "peers", REQUIREMENTS)?.join("bin/python");
    let script = |name: &str| {
        let script = workspace.root.join("xtask/peers").join(name);
        vec![script.display().to_string()]
    };
    let own = |name, after| Contender {
        name,
        program: ours.clone(),
        before: Vec::new(),
        after,
    };
    let bare = |name, after| Contender {
        name,
        program: floor.clone(),
        before: Vec::new(),
        after,
    };
    let peer = |name, file, after| Contender {
        name,
        program: python.clone(),
        before: script(file),
        after,
    };
    let groups = [
        (
            "durable steps of 177 bytes",
            vec![
                bare("SQLite, 128 rows a transaction", &["128", "2000"][..]),
                own("Matrix, 256 runs", &["256", "800", "177"]),
                own("Matrix, 64 runs", &["64", "1600", "177"]),
                bare("SQLite, 1 row a transaction", &["1", "4000"]),
                own("Matrix, 1 run", &["1", "4000", "177"]),
            ],
        ),
        (
            "workflows of 3 steps, 32 at once",
            vec![
                own("Matrix, 32 runs, 200 steps each", &["32", "200", "177"]),
                peer("DBOS on SQLite", "dbos_steps.py", &["32", "200"]),
            ],
        ),
        (
            "800 steps of 1 KB, one after the other",
            vec![
                own("Matrix", &["1", "800", "1024"]),
                peer("LangGraph, SqliteSaver", "langgraph_steps.py", &["800"]),
            ],
        ),
    ];
    for (title, contenders) in groups {
        let mut results: Vec<Vec<Value>> = contenders.iter().map(|_| Vec::new()).collect();
        for _ in 0..rounds.max(1) {
            for (contender, results) in contenders.iter().zip(&mut results) {
                results.push(contender.measure(&workspace.target.join("bench/engine"))?);
            }
        }
        table(title, &contenders, &mut results);
    }
    Ok(())
}

fn example(workspace: &Workspace, package: &str, name: &str) -> Result<PathBuf> {
    process::run(workspace.cargo().args([
        "build",
        "--locked",
        "--release",
        "--package",
        package,
        "--example",
        name,
    ]))?;
    Ok(workspace.target.join("release/examples").join(name))
}

impl Contender {
    /// One round in an empty directory.
    fn measure(&self, folder: &Path) -> Result<Value> {
        if folder.exists() {
            std::fs::remove_dir_all(folder)?;
        }
        std::fs::create_dir_all(folder)?;
        let mut command = Command::new(&self.program);
        command.args(&self.before).arg(folder).args(self.after);
        let said = process::read(&mut command)?;
        let last = said.lines().last().unwrap_or_default();
        serde_json::from_str(last).with_context(|| format!("{} printed `{last}`", self.name))
    }
}

/// Prints the median round of each contender; the last column is its steps in a second over the
/// first row's.
fn table(title: &str, contenders: &[Contender], results: &mut [Vec<Value>]) {
    say::line(&format!(
        "\n{title:<40}{:>9}{:>12}{:>10}{:>10}{:>11}{:>9}{:>8}",
        "steps/s", "CPU µs/step", "p50 ms", "p99 ms", "longest ms", "MB", "ratio"
    ));
    let mut first = None;
    for (contender, rounds) in contenders.iter().zip(results) {
        rounds.sort_by(|one, other| rate(one).total_cmp(&rate(other)));
        let Some(median) = rounds.get(rounds.len() / 2) else {
            continue;
        };
        let number = |name: &str, scale: f64| {
            let number = median.get(name).and_then(Value::as_f64);
            number.map_or_else(|| "–".to_owned(), |number| format!("{:.2}", number * scale))
        };
        let per_step = member(median, "processor") * 1e6 / member(median, "steps").max(1.0);
        say::line(&format!(
            "{:<40}{:>9.0}{:>12.1}{:>10}{:>10}{:>11}{:>9}{:>7.2}×",
            contender.name,
            rate(median),
            per_step,
            number("p50", 1e-3),
            number("p99", 1e-3),
            number("longest", 1e-3),
            number("bytes", 1e-6),
            rate(median) / *first.get_or_insert(rate(median)),
        ));
    }
}

fn member(result: &Value, name: &str) -> f64 {
    result.get(name).and_then(Value::as_f64).unwrap_or_default()
}

/// Steps in a second.
fn rate(result: &Value) -> f64 {
    member(result, "steps") / member(result, "seconds").max(f64::MIN_POSITIVE)
}

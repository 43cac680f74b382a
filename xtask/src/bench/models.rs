//! Our gateway to models beside two peers, and beside asking the provider itself: the same provider,
//! the same clients, in turn. They share the machine's cores with both, so that the processor time
//! of an answer says more than how long it took.

mod figures;
mod gateways;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use self::figures::{Rounds, Row, added, over, rows, table};
use self::gateways::Gateway;
use super::engine;
use crate::process;
use crate::say;
use crate::workspace::Workspace;

/// How long each round is counted, in seconds, after as many of [`WARM`] that are not.
const SECONDS: &str = "5";

const WARM: &str = "2";

/// As many as ask at once when a gateway is to do what it can.
const MANY: &str = "32";

/// As many as wait for the beginning of a stream at once, and as read on.
const FEW: &str = "4";

const SOME: &str = "16";

/// Chunks of a stream that has hardly more than a beginning, and of one that has a middle.
const SHORT: &str = "4";

const LONG: &str = "200";

/// Measures all in turn and prints a table for each question.
pub(crate) fn run(workspace: &Workspace, rounds: usize) -> Result<()> {
    let (program, clients) = build(workspace)?;
    let folder = workspace.target.join("bench/models");
    let provider = gateways::provider(&clients)?;
    let matrix = gateways::matrix(&program, &folder.join("matrix"), &provider)?;
    let mut all = vec![&provider, &matrix];
    let peers = [
        ("Portkey", gateways::portkey(workspace, &provider)),
        ("LiteLLM", gateways::litellm(workspace, &folder, &provider)),
    ];
    for (name, peer) in &peers {
        match peer {
            Ok(peer) => all.push(peer),
            Err(why) => say::line(&format!("{name} is skipped, because {why:#}")),
        }
    }
    let bench = Bench { clients, rounds };
    let most = bench.most(&all);
    bench.half(&all, &most);
    bench.beginnings(&all);
    bench.chunks(&all);
    bench.kept(&provider, &matrix);
    alike(workspace)
}

/// Finding the question that is most alike among many, in memory.
fn alike(workspace: &Workspace) -> Result<()> {
    let program = engine::example(workspace, "matrix-models", "similar_cost")?;
    let said = process::read(Command::new(program).args(["100000", "384"]))?;
    let found: Value = serde_json::from_str(&said).context("the search did not print its time")?;
    let number = |name: &str| found.get(name).and_then(Value::as_f64).unwrap_or_default();
    say::line(&format!(
        "\nthe question most alike among {} vectors of {}: p50 {:.0} µs, p99 {:.0} µs, found {} of {}; \
         {:.0} µs to keep one",
        number("entries"),
        number("length"),
        number("p50_us"),
        number("p99_us"),
        number("found"),
        number("searches"),
        number("put_us"),
    ));
    Ok(())
}

/// Both programs at once, so that nothing is compiled twice.
fn build(workspace: &Workspace) -> Result<(PathBuf, PathBuf)> {
    process::run(
        workspace
            .cargo()
            .args(["build", "--locked", "--release"])
            .args(["--package", "matrix", "--bin", "matrix"])
            .args(["--package", "matrix-server", "--example", "model_load"]),
    )?;
    let release = workspace.target.join("release");
    Ok((release.join("matrix"), release.join("examples/model_load")))
}

/// Who is asked for which model, and how.
struct Asked<'a> {
    gateway: &'a Gateway,
    model: &'a str,
    how: Vec<String>,
}

impl<'a> Asked<'a> {
    fn new(gateway: &'a Gateway, how: &[&str]) -> Self {
        Self {
            gateway,
            model: "bench",
            how: how.iter().map(|word| (*word).to_owned()).collect(),
        }
    }

    fn once(&self, clients: &Path) -> Result<Value> {
        let mut command = Command::new(clients);
        command.arg("load").args(self.gateway.words(self.model));
        command.args(["--warm", WARM, "--seconds", SECONDS]);
        let said = process::read(command.args(&self.how))?;
        serde_json::from_str(&said).context("the clients did not print what they measured")
    }
}

/// What all questions have in common.
struct Bench {
    clients: PathBuf,
    rounds: usize,
}

impl Bench {
    /// Asks all in turn, so many rounds.
    fn in_turn(&self, all: &[Asked<'_>]) -> Vec<Rounds> {
        let mut rounds: Vec<Rounds> = all.iter().map(|_| Rounds(Vec::new())).collect();
        for _ in 0..self.rounds.max(1) {
            for (asked, rounds) in all.iter().zip(&mut rounds) {
                match asked.once(&self.clients) {
                    Ok(round) => rounds.0.push(round),
                    Err(why) => say::warning(&format!("{}: {why:#}", asked.gateway.name)),
                }
            }
        }
        rounds
    }

    /// Asks all of them the same way.
    fn all(&self, all: &[&Gateway], how: &[&str]) -> Vec<Rounds> {
        let asked = all.iter().map(|gateway| Asked::new(gateway, how));
        self.in_turn(&asked.collect::<Vec<_>>())
    }

    /// As much as each can; gives how many answers in a second that is.
    fn most(&self, all: &[&Gateway]) -> Vec<Option<f64>> {
        let rounds = self.all(all, &["--connections", MANY]);
        let ours = rounds.get(1).and_then(Rounds::processor);
        let columns = [
            "answers/s",
            "CPU µs",
            "per CPU s",
            "CPU ratio",
            "p50 ms",
            "p99 ms",
            "longest",
            "start MB",
            "idle MB",
            "loaded MB",
        ];
        let rows = rows(all, &rounds, |gateway, rounds| {
            let processor = rounds.processor();
            vec![
                rounds.rate(),
                processor,
                processor.map(|micros| 1e6 / micros),
                over(processor, ours),
                rounds.scaled("p50", 1e-3),
                rounds.scaled("p99", 1e-3),
                rounds.scaled("longest", 1e-3),
                Some(gateway.held.0 * 1e-6),
                Some(gateway.held.1 * 1e-6),
                rounds.scaled("resident", 1e-6),
            ]
        });
        let title = format!("whole answers, {MANY} connections");
        table(&title, &columns, &rows);
        rounds.iter().map(Rounds::rate).collect()
    }

    /// Each gateway at half of what it can, and the provider itself at the same rate.
    fn half(&self, all: &[&Gateway], most: &[Option<f64>]) {
        let Some((provider, gateways)) = all.split_first() else {
            return;
        };
        for (gateway, most) in gateways.iter().zip(most.iter().skip(1)) {
            let Some(most) = most else { continue };
            let rate = format!("{:.0}", (most / 2.0).max(1.0));
            let both = [*provider, *gateway];
            let rounds = self.all(&both, &["--connections", MANY, "--rate", &rate]);
            let rows = rows(&both, &rounds, |_, of| {
                let times = ["p50", "p99", "longest"];
                let mut cells = vec![of.processor()];
                cells.extend(times.map(|name| of.scaled(name, 1e-3)));
                cells.extend(added(of, rounds.first(), ["p50", "p99"]));
                cells
            });
            let columns = [
                "CPU µs",
                "p50 ms",
                "p99 ms",
                "longest",
                "added p50",
                "added p99",
            ];
            table(
                &format!("whole answers, {rate} a second are due"),
                &columns,
                &rows,
            );
        }
    }

    /// When a stream begins.
    fn beginnings(&self, all: &[&Gateway]) {
        let rounds = self.all(all, &["--connections", FEW, "--stream", SHORT]);
        let rows = rows(all, &rounds, |_, of| {
            let names = ["first_p50", "first_p99"];
            let mut cells = vec![of.rate(), of.processor()];
            cells.extend(names.map(|name| of.scaled(name, 1e-3)));
            cells.extend(added(of, rounds.first(), names));
            cells
        });
        let columns = [
            "streams/s",
            "CPU µs",
            "p50 ms",
            "p99 ms",
            "added p50",
            "added p99",
        ];
        table(
            &format!("first chunk of a stream, {FEW} connections"),
            &columns,
            &rows,
        );
    }

    /// What the chunks of a stream cost, with their share of its beginning and end.
    fn chunks(&self, all: &[&Gateway]) {
        let rounds = self.all(all, &["--connections", SOME, "--stream", LONG]);
        let ours = rounds.get(1).and_then(Rounds::processor_of_events);
        let rows = rows(all, &rounds, |_, rounds| {
            let processor = rounds.processor_of_events();
            vec![
                rounds.events(),
                processor,
                over(processor, ours),
                rounds.scaled("resident", 1e-6),
            ]
        });
        let columns = ["chunks/s", "CPU µs", "CPU ratio", "loaded MB"];
        table(
            &format!("streams of {LONG} chunks, {SOME} connections"),
            &columns,
            &rows,
        );
    }

    /// The same question again, one after the other.
    fn kept(&self, provider: &Gateway, matrix: &Gateway) {
        let one = ["--connections", "1"];
        let kept = Asked {
            model: "kept",
            ..Asked::new(matrix, &one)
        };
        let rounds = self.in_turn(&[Asked::new(provider, &one), Asked::new(matrix, &one), kept]);
        let names = [
            "the provider itself",
            "Matrix",
            "Matrix, the answer was kept",
        ];
        let rows: Vec<_> = names
            .iter()
            .zip(&rounds)
            .map(|(name, rounds)| Row {
                name: (*name).to_owned(),
                cells: vec![
                    rounds.rate(),
                    rounds.processor(),
                    rounds.scaled("p50", 1e-3),
                    rounds.scaled("p99", 1e-3),
                ],
            })
            .collect();
        let columns = ["answers/s", "CPU µs", "p50 ms", "p99 ms"];
        table("whole answers, 1 connection", &columns, &rows);
    }
}

//! `nightly`: what takes too long for every day. Property tests with many more cases, the simulated
//! engine under many more seeds, writers for minutes, the tests that are marked to be ignored because
//! they soak, real models on this machine, and every benchmark.
//!
//! A seed under which the engine fails is printed with what repeats it alone.

use std::path::Path;

use anyhow::Result;

use crate::bench;
use crate::say;
use crate::stages::Stages;
use crate::test::{Count, Runner};
use crate::tools;
use crate::workspace::Workspace;

/// How many cases each property is tried with; by day it is 256.
const CASES: &str = "20000";

/// How many seeds the engine is simulated under; by day it is 300.
const SEEDS: &str = "10000";

/// How long many writers share one database; by day it is 30 seconds.
const WRITERS_SECONDS: &str = "300";

/// Runs it all.
pub(crate) fn run() -> Result<()> {
    let workspace = Workspace::read()?;
    let mut stages = Stages::new();
    let mut count = Count::default();
    let tools = stages.stage("test tools", || tools::prepare(&workspace))?;
    let result = stages.stage("tests", || {
        let runner = Runner::find();
        let mut command = runner.command(&workspace);
        command.env(tools::VARIABLE, &tools);
        command.env("PROPTEST_CASES", CASES);
        command.env("MATRIX_SIMULATION_SEEDS", SEEDS);
        command.env("MATRIX_WRITERS_SECONDS", WRITERS_SECONDS);
        match runner {
            Runner::Nextest => command.args(["--profile", "nightly", "--run-ignored", "all"]),
            Runner::Cargo => command.args(["--", "--include-ignored"]),
        };
        runner.run(&mut command, &mut count)
    });
    let local = stages.stage("local models", || {
        local_models(&workspace, &tools, &mut count)
    });
    say::line(&format!("{} passed, {} failed", count.passed, count.failed));
    result?;
    local?;
    for name in bench::Name::ALL {
        stages.stage("benchmark", || bench::run(name, None))?;
    }
    say::progress(&format!("\n{}", stages.summary()));
    Ok(())
}

/// Tests of models on this machine, with real ones. They take minutes to build, which is why no other
/// command does it.
fn local_models(workspace: &Workspace, tools: &Path, count: &mut Count) -> Result<()> {
    let weights = match tools::weights(workspace, tools) {
        Ok(weights) => weights,
        Err(error) => {
            say::line(&format!("local models: skipped, because {error:#}"));
            return Ok(());
        }
    };
    let runner = Runner::find();
    let mut command = runner.package(workspace, "matrix-models", "local-models");
    command.env(tools::WEIGHTS_VARIABLE, weights);
    // Tests run beside each other; threads that wait without sleep would wait for the other test.
    command.env("CANDLE_NUM_THREADS", "1");
    runner.run(&mut command, count)
}

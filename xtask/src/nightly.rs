//! `nightly`: what takes too long for every day. Property tests with many more cases, the tests
//! that are marked to be ignored because they soak, and every benchmark.

use anyhow::Result;

use crate::bench;
use crate::say;
use crate::stages::Stages;
use crate::test::{Count, Runner};
use crate::tools;
use crate::workspace::Workspace;

/// How many cases each property is tried with; by day it is 256.
const CASES: &str = "20000";

/// Runs it all.
pub(crate) fn run() -> Result<()> {
    let workspace = Workspace::read()?;
    let mut stages = Stages::new();
    let mut count = Count::default();
    let tools = stages.stage("test tools", || tools::prepare(&workspace))?;
    let result = stages.stage("tests", || {
        let runner = Runner::find();
        let mut command = runner.command(&workspace);
        command.env(tools::VARIABLE, tools);
        command.env("PROPTEST_CASES", CASES);
        match runner {
            Runner::Nextest => command.args(["--run-ignored", "all"]),
            Runner::Cargo => command.args(["--", "--include-ignored"]),
        };
        runner.run(&mut command, &mut count)
    });
    say::line(&format!("{} passed, {} failed", count.passed, count.failed));
    result?;
    for name in bench::Name::ALL {
        stages.stage("benchmark", || bench::run(name, None))?;
    }
    say::progress(&format!("\n{}", stages.summary()));
    Ok(())
}

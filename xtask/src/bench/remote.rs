//! Runs of three steps that a Node process of its own does: ours beside Restate's server, each with
//! its worker and the same load, every step on disk before the next begins.

use anyhow::Result;

use super::contest::{self, Contender};
use super::node;
use crate::workspace::Workspace;

/// Measures both in turn, with 64 runs at once and with one.
pub(crate) fn run(workspace: &Workspace, rounds: usize) -> Result<()> {
    let program = workspace.build("release")?;
    let node = node::program()?;
    let peers = node::install(workspace, "remote")?;
    let script = |name: &str| peers.join(name).display().to_string();
    let matrix = |after: &[&str]| Contender {
        name: "Matrix",
        program: node.clone(),
        before: vec![script("matrix_runs.mjs"), program.display().to_string()],
        after: contest::words(after),
    };
    let restate = |after: &[&str]| Contender {
        name: "Restate",
        program: node.clone(),
        before: vec![script("restate_runs.mjs")],
        after: contest::words(after),
    };
    let folder = workspace.target.join("bench/remote");
    for (title, after) in [
        ("runs of 3 remote steps, 64 at once", &["64", "6000"][..]),
        ("runs of 3 remote steps, one at a time", &["1", "500"][..]),
    ] {
        let contenders = [restate(after), matrix(after)];
        contest::hold((title, "runs"), &contenders, rounds, (&folder, &|| Ok(())))?;
    }
    Ok(())
}

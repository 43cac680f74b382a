//! Durable steps: ours in one process, beside bare SQLite (the floor that no journal on it can go
//! below) and beside two libraries of durable execution on SQLite, in turn, each step or batch on
//! disk before the next begins.

use std::path::PathBuf;

use anyhow::Result;

use super::contest::{self, Contender};
use crate::process;
use crate::tools;
use crate::workspace::Workspace;

const REQUIREMENTS: &str = "xtask/peers/requirements.txt";

/// Measures all contenders in turn and prints each one's median round, by steps in a second.
pub(crate) fn run(workspace: &Workspace, rounds: usize) -> Result<()> {
    let ours = example(workspace, "matrix-engine", "append_cost")?;
    let floor = example(workspace, "matrix-store", "floor")?;
    let python = tools::environment(workspace, "peers", &[REQUIREMENTS])?.join("bin/python");
    let script = |name: &str| {
        let script = workspace.root.join("xtask/peers").join(name);
        vec![script.display().to_string()]
    };
    let own = |name, after: &[&str]| Contender {
        name,
        program: ours.clone(),
        before: Vec::new(),
        after: contest::words(after),
    };
    let bare = |name, after: &[&str]| Contender {
        name,
        program: floor.clone(),
        before: Vec::new(),
        after: contest::words(after),
    };
    let peer = |name, file, after: &[&str]| Contender {
        name,
        program: python.clone(),
        before: script(file),
        after: contest::words(after),
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
    let folder = workspace.target.join("bench/engine");
    for (title, contenders) in groups {
        contest::hold((title, "steps"), &contenders, rounds, (&folder, &|| Ok(())))?;
    }
    Ok(())
}

/// An example of a package, built as it is measured.
pub(super) fn example(workspace: &Workspace, package: &str, name: &str) -> Result<PathBuf> {
    process::run(
        workspace
            .cargo()
            .args(["build", "--locked", "--release", "--package", package])
            .args(["--example", name]),
    )?;
    Ok(workspace.target.join("release/examples").join(name))
}

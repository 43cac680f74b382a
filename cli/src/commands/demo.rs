//! `matrix demo`: the main job on an example with a real defect.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use include_dir::{Dir, include_dir};
use matrix_core::{Code, Problem};
use serde_json::{Value, json};

use super::Context;
use super::change::{run_of, text_of};
use crate::config::{Origin, Sourced};
use crate::door::Door;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output;
use crate::watch::BEGINNING;

/// The demo could not be set up.
const DEMO_FAILED: Code = Code::new("CLI-0004", 500, 1, "demo could not be set up");

static EXAMPLE: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/../examples/rust");

fn failed(error: impl std::fmt::Display) -> Problem {
    Problem::new(
        DEMO_FAILED,
        format!("the demo could not be set up: {error}"),
    )
    .help("it needs git, and a directory for temporary files")
}

pub(super) async fn demo(context: &Context, keep: Option<PathBuf>) -> Result<Exit, Failure> {
    let asked = &context.config.data_dir;
    let named = matches!(asked.origin, Origin::Flag(_)).then(|| asked.value.clone());
    let place = match (keep, &named) {
        (Some(place), _) => std::path::absolute(place).map_err(failed)?,
        (None, Some(data)) => data.join("demo"),
        (None, None) => tempfile::Builder::new()
            .prefix("matrix-demo-")
            .tempdir()
            .map_err(failed)?
            .keep(),
    };
    std::fs::create_dir_all(&place).map_err(failed)?;
    let repository = place.join("ledger");
    if !repository.exists() {
        let source = EXAMPLE
            .get_dir("repository")
            .ok_or_else(|| failed("no example"))?;
        extract(source, source.path(), &repository).map_err(failed)?;
        git(&repository).await?;
    }
    let plan = EXAMPLE
        .get_file("plans/fix.yaml")
        .ok_or_else(|| failed("no example plan"))?;
    output::note(format_args!(
        "The ledger's report adds up to more than its book; a test says so."
    ));
    output::note(format_args!(
        "A person wrote a plan that mends it. Everything is in {}.",
        place.display()
    ));
    output::note("");
    let mut config = context.config.clone();
    // Its data directory is its own, and so is what it records.
    config.database = Sourced {
        value: None,
        origin: Origin::Default,
    };
    config.blobs = Sourced {
        value: None,
        origin: Origin::Default,
    };
    config.data_dir = Sourced {
        value: named.unwrap_or_else(|| place.join("data")),
        origin: Origin::Default,
    };
    let context = Context {
        config,
        environment: context.environment.clone(),
        json: context.json,
        clock: std::sync::Arc::clone(&context.clock),
    };
    let repository = text_of(&repository)?;
    let body = json!({
        "repository": repository,
        "plan": plan.contents_utf8().unwrap_or_default(),
        "plan_name": "fix.yaml",
    });
    let door = Door::open(&context.config, &context.environment).await?;
    let first = change(&context, door, &body).await?;
    if !matches!(first, Exit::Done) {
        return Ok(first);
    }
    second(&context, &place, &repository).await
}

/// The same defect, mended by the coding agent. Its model is a written conversation, because a demo has
/// no key; what it does with its tools is real.
async fn second(context: &Context, place: &Path, repository: &str) -> Result<Exit, Failure> {
    let script = EXAMPLE.get_file("agent/fix.json");
    let script = script.ok_or_else(|| failed("no example script"))?;
    let path = place.join("agent.json");
    std::fs::write(&path, script.contents()).map_err(failed)?;
    output::note("");
    output::note(format_args!(
        "Now the coding agent is given the goal alone. Its model is played from a script; its tools are real."
    ));
    output::note("");
    let model = json!({
        "name": "played",
        "model": {
            "provider": { "kind": "scripted", "script": text_of(&path)? },
            "model": "played",
            "tasks": ["code"],
            "price": "free",
        },
    });
    let goal = json!({
        "repository": repository,
        "goal": "The total of a report agrees with the ledger.",
        "model": "played",
    });
    let door = Door::open(&context.config, &context.environment).await?;
    if let Err(problem) = door.post("/api/v1/models", &model).await {
        door.close().await;
        return Err(problem);
    }
    change(context, door, &goal).await
}

/// Submits a change and follows it to its end.
async fn change(context: &Context, door: Door, body: &Value) -> Result<Exit, Failure> {
    let run = match door.post("/api/v1/execute", body).await {
        Ok(answer) => run_of(&answer)?,
        Err(problem) => {
            door.close().await;
            return Err(problem);
        }
    };
    context.see_through(door, run, BEGINNING).await
}

fn extract(directory: &Dir<'_>, top: &Path, place: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(place)?;
    for file in directory.files() {
        let path = place.join(file.path().strip_prefix(top).unwrap_or(file.path()));
        std::fs::write(path, file.contents())?;
    }
    for inner in directory.dirs() {
        let path = place.join(inner.path().strip_prefix(top).unwrap_or(inner.path()));
        extract(inner, inner.path(), &path)?;
    }
    Ok(())
}

/// Makes the example a repository with one commit, the same each time.
async fn git(repository: &Path) -> Result<(), Problem> {
    for arguments in [
        &["init", "--quiet", "--initial-branch=main"][..],
        &["add", "--all"],
        &["commit", "--quiet", "--message=A ledger"],
    ] {
        let status = tokio::process::Command::new("git")
            .args([
                "-c",
                "core.hooksPath=/dev/null",
                "-c",
                "commit.gpgSign=false",
            ])
            .args(arguments)
            .current_dir(repository)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_AUTHOR_NAME", "Ledger team")
            .env("GIT_AUTHOR_EMAIL", "ledger@example.org")
            .env("GIT_AUTHOR_DATE", "2026-01-01T00:00:00Z")
            .env("GIT_COMMITTER_NAME", "Ledger team")
            .env("GIT_COMMITTER_EMAIL", "ledger@example.org")
            .env("GIT_COMMITTER_DATE", "2026-01-01T00:00:00Z")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status()
            .await
            .map_err(failed)?;
        if !status.success() {
            return Err(failed(format_args!(
                "git {} ended with {status}",
                arguments.join(" ")
            )));
        }
    }
    Ok(())
}

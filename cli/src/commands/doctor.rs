//! `matrix doctor`: what this machine can do.

use std::sync::Arc;

use matrix_core::system::SystemEntropy;
use matrix_core::{Entropy, Problem};
use matrix_sandbox::Sandbox;
use matrix_sandbox::spec::{ProbeSet, Profile};
use matrix_sandbox::toolchain::{Search, Toolchains};
use matrix_store::{Age, Database};
use serde_json::{Value, json};

use super::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::place::is_hosted;
use crate::{output, reader};

pub(super) async fn doctor(context: &Context, full: bool) -> Result<Exit, Failure> {
    let mut report = serde_json::Map::new();
    let mut good = place(context, &mut report);
    good &= database(context, &mut report);
    good &= blobs(context, &mut report);
    match matrix_worktree::Git::find(context.environment.path()).await {
        Ok(git) => say(context, &mut report, "git", true, git.version()),
        Err(error) => {
            good = false;
            say(context, &mut report, "git", false, &error.to_string());
        }
    }
    let search = Search {
        env: context.environment.all().clone(),
    };
    let toolchains = Toolchains::find(&search).await;
    for (ecosystem, toolchain) in toolchains.all() {
        say(
            context,
            &mut report,
            &format!("{ecosystem:?}").to_lowercase(),
            true,
            &toolchain.version,
        );
    }
    good &= sandbox(context, full, &mut report).await?;
    if context.json {
        report.insert("good".into(), good.into());
        output::json(&report);
    }
    Ok(if good { Exit::Done } else { Exit::Failed })
}

/// Where everything is kept, and what decided that.
fn place(context: &Context, report: &mut serde_json::Map<String, Value>) -> bool {
    let layout = reader::layout(&context.config);
    let hosted = if is_hosted(&layout) {
        ", hosted now"
    } else {
        ""
    };
    let (good, state) = match std::fs::metadata(layout.root()) {
        Ok(data) if !data.is_dir() => (false, "it is not a directory".to_owned()),
        Ok(_) if layout.database().is_file() => match Database::age(&layout.database()) {
            Ok(Age::Same) => (true, format!("in use{hosted}")),
            Ok(Age::Older) => (hosted.is_empty(), format!("of an older program{hosted}")),
            Ok(Age::Newer) => (false, format!("of a newer program{hosted}")),
            Err(error) => (false, error.to_string()),
        },
        Ok(_) if layout.identity().is_file() => (true, format!("in use{hosted}")),
        Ok(_) => (true, "empty".to_owned()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            (true, "made by the first change".to_owned())
        }
        Err(error) => (false, error.to_string()),
    };
    let from = &context.config.data_dir.origin;
    let detail = format!("{} ({from}; {state})", layout.root().display());
    say(context, report, "data", good, &detail);
    let file = &context.config.file;
    let detail = match &file.value {
        Some(path) => format!("{} ({})", path.display(), file.origin),
        None => "no file; variables and defaults only".to_owned(),
    };
    say(context, report, "config", true, &detail);
    good
}

/// Whether the database can be used, where one is configured.
fn database(context: &Context, report: &mut serde_json::Map<String, Value>) -> bool {
    let Some(configured) = &context.config.database.value else {
        return true;
    };
    let origin = &context.config.database.origin;
    let (good, state) = match Database::connect_for_reading(configured.address()) {
        Ok(_) => (true, "it can be used".to_owned()),
        Err(error) => (false, error.to_string()),
    };
    let detail = format!("{configured} ({origin}; {state})");
    say(context, report, "database", good, &detail);
    good
}

/// Whether the store of the blobs can be used, where one is configured.
fn blobs(context: &Context, report: &mut serde_json::Map<String, Value>) -> bool {
    let layout = reader::layout(&context.config);
    let means: (_, Arc<dyn Entropy>) = (Arc::clone(&context.clock), Arc::new(SystemEntropy));
    let configured = &context.config.blobs;
    let Some(tried) = crate::blobs::state(&context.config, &layout, means) else {
        return true;
    };
    let (good, state) = match tried {
        Ok(()) => (true, "it can be written and read".to_owned()),
        Err(problem) => (false, problem.to_string()),
    };
    let address = configured.value.iter().map(ToString::to_string);
    let address: String = address.collect();
    let detail = format!("{address} ({}; {state})", configured.origin);
    say(context, report, "blobs", good, &detail);
    good
}

fn say(
    context: &Context,
    report: &mut serde_json::Map<String, Value>,
    what: &str,
    good: bool,
    detail: &str,
) {
    report.insert(what.into(), json!({ "good": good, "detail": detail }));
    if !context.json {
        let mark = if good { "✓" } else { "✗" };
        output::line(format_args!("{mark} {what:<10} {detail}"));
    }
}

async fn sandbox(
    context: &Context,
    full: bool,
    report: &mut serde_json::Map<String, Value>,
) -> Result<bool, Problem> {
    let scratch = reader::layout(&context.config).sandbox();
    let clock = std::sync::Arc::clone(&context.clock);
    let options = matrix_sandbox::Options::new("/proc/self/exe", scratch, clock);
    let sandbox = match Sandbox::detect(options) {
        Ok(sandbox) => sandbox,
        Err(error) => {
            say(context, report, "sandbox", false, &error.to_string());
            return Ok(false);
        }
    };
    let set = if full { ProbeSet::Full } else { ProbeSet::Fast };
    let test = sandbox.self_test(Profile::Check, set).await?;
    let held = test.probes.iter().filter(|probe| probe.held).count();
    let detail = format!(
        "{held} of {} ways out are shut ({} ms)",
        test.probes.len(),
        test.duration_ms
    );
    say(context, report, "sandbox", test.held(), &detail);
    if !context.json {
        for (name, mechanism) in &test.mechanisms {
            output::line(format_args!("    {name}: {mechanism}"));
        }
        for probe in test.probes.iter().filter(|probe| full || !probe.held) {
            let mark = if probe.held { "✓" } else { "✗" };
            output::line(format_args!("    {mark} {} {}", probe.name, probe.detail));
        }
    }
    report.insert("sandbox_test".into(), json!(test));
    Ok(test.held())
}

//! `matrix policy`.

use matrix_changes::service::ChangeRead;
use serde_json::json;

use super::{Context, change};
use crate::args::PolicyCommand;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output;
use crate::reader::{self, Reader};

pub(super) fn policy(context: &Context, command: &PolicyCommand) -> Result<Exit, Failure> {
    let PolicyCommand::Explain { run, built_in } = command;
    if *built_in {
        let text = matrix_identity::policy::DEFAULT_POLICY;
        if context.json {
            output::json(&json!({ "policy": text }));
        } else {
            output::bytes(text.as_bytes());
        }
        return Ok(Exit::Done);
    }
    if let Some(run) = run {
        let reader = Reader::open(&context.config)?;
        reader.may(ChangeRead { run: *run })?;
        let view = change::view(&reader, *run)?;
        if context.json {
            output::json(
                &json!({ "run": run, "risk": view.risk, "risk_reasons": view.risk_reasons,
                "verdict": view.verdict, "verdict_reasons": view.verdict_reasons }),
            );
            return Ok(Exit::Done);
        }
        let none = "the gate has not looked yet";
        output::line(format_args!(
            "risk     {}",
            view.risk.as_deref().unwrap_or(none)
        ));
        view.risk_reasons
            .iter()
            .for_each(|reason| output::line(format_args!("  {reason}")));
        output::line(format_args!("verdict  {}", view.verdict.unwrap_or(none)));
        view.verdict_reasons
            .iter()
            .for_each(|reason| output::line(format_args!("  {reason}")));
        return Ok(Exit::Done);
    }
    let directory = reader::layout(&context.config).policy();
    let engine = matrix_identity::PolicyEngine::load(&directory)?;
    let policies = engine.policies();
    if context.json {
        output::json(&json!({ "digest": engine.digest(), "policies": policies }));
        return Ok(Exit::Done);
    }
    let cells: Vec<_> = policies
        .iter()
        .map(|policy| {
            vec![
                policy.id.clone(),
                policy.file.clone(),
                policy.reason.clone(),
            ]
        })
        .collect();
    output::table(&["policy", "file", "reason"], &cells);
    output::line(format_args!("digest {}", engine.digest()));
    Ok(Exit::Done)
}

//! `matrix deployment`.

use std::path::Path;

use matrix_changes::intake::name_of;
use matrix_changes::service::{self, Deployment, DeploymentList, DeploymentRead, deployments};
use matrix_core::id::DeploymentId;
use serde_json::{Value, json};

use super::{Context, part};
use crate::args::{DeploymentCommand, ListArgs};
use crate::door::Door;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output;
use crate::reader::Reader;

pub(super) async fn deployment(
    context: &Context,
    command: DeploymentCommand,
) -> Result<Exit, Failure> {
    let (deployment, verb) = match command {
        DeploymentCommand::List { target, repo, page } => {
            return list(context, &target, repo.as_deref(), &page);
        }
        DeploymentCommand::Logs { deployment } => return logs(context, deployment).await,
        DeploymentCommand::Rollback { deployment } => (deployment, "rollback"),
        DeploymentCommand::Stop { deployment } => (deployment, "stop"),
    };
    Reader::open(&context.config)?;
    let door = Door::open(&context.config, &context.environment).await?;
    let path = format!("/api/v1/deployments/{deployment}/{verb}");
    let answer = door.post(&path, &json!({})).await;
    door.close().await;
    let answer = answer?;
    if context.json {
        output::json(&answer);
    } else {
        output::line(format_args!("{deployment} {}", done(verb, &answer)));
    }
    Ok(Exit::Done)
}

/// What an act on a deployment came to.
fn done(verb: &str, answer: &Value) -> String {
    match (verb, answer["active"].as_str()) {
        ("rollback", Some(previous)) => format!("was taken back; {previous} is active again"),
        ("rollback", None) => "was taken back; nothing was there before".into(),
        _ => "is stopped".into(),
    }
}

async fn logs(context: &Context, deployment: DeploymentId) -> Result<Exit, Failure> {
    let reader = Reader::open(&context.config)?;
    let request = reader.may(DeploymentRead { deployment })?;
    let workshop = reader
        .workshop(&context.config, &context.environment)
        .await?;
    let bytes = service::logs(&workshop, &request).await?;
    if context.json {
        let text = String::from_utf8_lossy(&bytes);
        output::json(&json!({ "deployment": deployment, "text": text }));
    } else {
        output::bytes(&bytes);
    }
    Ok(Exit::Done)
}

fn list(
    context: &Context,
    target: &str,
    repository: Option<&Path>,
    page: &ListArgs<DeploymentId>,
) -> Result<Exit, Failure> {
    let reader = Reader::open(&context.config)?;
    let repository = repository.map(name_of).unwrap_or_default();
    let fetch = |before, limit| {
        let request = reader.may(DeploymentList {
            before,
            target: target.to_owned(),
            repository: repository.clone(),
            limit,
        })?;
        Ok(deployments(&reader.database, &reader.blobs, &request)?)
    };
    let id = |found: &Deployment| found.row.deployment;
    let (found, next) = part(page.limit, page.after, id, fetch)?;
    if context.json {
        let list: Vec<_> = found
            .iter()
            .map(|Deployment { row, repository }| {
                json!({ "deployment": row.deployment, "run": row.run, "target": row.target,
                    "repository": repository, "state": row.state, "created_at": row.created_at })
            })
            .collect();
        output::json(&json!({ "deployments": list, "next": next }));
        return Ok(Exit::Done);
    }
    let cells: Vec<_> = found
        .into_iter()
        .map(|Deployment { row, repository }| {
            vec![
                row.deployment.to_string(),
                row.target,
                row.state,
                row.created_at.to_rfc3339_seconds(),
                row.run.to_string(),
                repository.unwrap_or_else(|| "erased".into()),
            ]
        })
        .collect();
    let head = [
        "deployment",
        "target",
        "state",
        "created",
        "run",
        "repository",
    ];
    output::table(&head, &cells);
    if let Some(next) = next {
        output::note(format_args!("there are more: --after {next}"));
    }
    Ok(Exit::Done)
}

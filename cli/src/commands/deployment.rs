//! `matrix deployment`.

use matrix_changes::service::{self, DeploymentList, DeploymentRead, deployments};
use matrix_core::id::DeploymentId;
use serde_json::json;

use super::Context;
use crate::args::DeploymentCommand;
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
        DeploymentCommand::List { target, limit } => return list(context, target, limit),
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
        output::line(format_args!("{deployment} {verb}: done"));
    }
    Ok(Exit::Done)
}

async fn logs(context: &Context, deployment: DeploymentId) -> Result<Exit, Failure> {
    let reader = Reader::open(&context.config)?;
    let request = reader.may(DeploymentRead { deployment })?;
    let workshop = reader
        .workshop(&context.config, &context.environment)
        .await?;
    output::bytes(&service::logs(&workshop, &request).await?);
    Ok(Exit::Done)
}

fn list(context: &Context, target: String, limit: u32) -> Result<Exit, Failure> {
    let reader = Reader::open(&context.config)?;
    let rows = deployments(
        &reader.database,
        &reader.may(DeploymentList { target, limit })?,
    )?;
    if context.json {
        let list: Vec<_> = rows
            .iter()
            .map(|row| {
                json!({ "deployment": row.deployment, "run": row.run, "target": row.target,
                    "state": row.state, "created_at": row.created_at })
            })
            .collect();
        output::json(&json!({ "deployments": list }));
    } else {
        let cells: Vec<_> = rows
            .iter()
            .map(|row| {
                vec![
                    row.deployment.to_string(),
                    row.target.clone(),
                    row.state.clone(),
                    row.created_at.to_rfc3339_seconds(),
                    row.run.to_string(),
                ]
            })
            .collect();
        output::table(&["deployment", "target", "state", "created", "run"], &cells);
    }
    Ok(Exit::Done)
}

//! `matrix deployment`.

use matrix_changes::service::{self, DeploymentList, DeploymentRead, deployments};
use matrix_core::id::DeploymentId;
use matrix_store::tables::releases::DeploymentRow;
use serde_json::json;

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
        DeploymentCommand::List { target, page } => return list(context, &target, &page),
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
    let bytes = service::logs(&workshop, &request).await?;
    if context.json {
        let text = String::from_utf8_lossy(&bytes);
        output::json(&json!({ "deployment": deployment, "text": text }));
    } else {
        output::bytes(&bytes);
    }
    Ok(Exit::Done)
}

fn list(context: &Context, target: &str, page: &ListArgs<DeploymentId>) -> Result<Exit, Failure> {
    let reader = Reader::open(&context.config)?;
    let fetch = |before, limit| {
        let request = reader.may(DeploymentList {
            before,
            target: target.to_owned(),
            limit,
        })?;
        Ok(deployments(&reader.database, &request)?)
    };
    let id = |row: &DeploymentRow| row.deployment;
    let (rows, next) = part(page.limit, page.after, id, fetch)?;
    if context.json {
        let list: Vec<_> = rows
            .iter()
            .map(|row| {
                json!({ "deployment": row.deployment, "run": row.run, "target": row.target,
                    "state": row.state, "created_at": row.created_at })
            })
            .collect();
        output::json(&json!({ "deployments": list, "next": next }));
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
        if let Some(next) = next {
            output::note(format_args!("there are more: --after {next}"));
        }
    }
    Ok(Exit::Done)
}

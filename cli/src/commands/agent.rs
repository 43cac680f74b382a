//! `matrix agent`.

use std::path::Path;

use matrix_agents::error::BAD_DEFINITION;
use matrix_agents::function::DIRECTIVE;
use matrix_agents::service::{self, AgentRead, Agents};
use matrix_agents::{Definition, Toolbox};
use matrix_core::{Problem, RunId};
use matrix_store::StoreError;
use serde_json::{Value, json};

use super::Context;
use super::change::{UNREADABLE, detached, run_of, text_of};
use crate::args::{AgentCommand, AgentRunArgs};
use crate::door::Door;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::reader::Reader;
use crate::watch::BEGINNING;
use crate::{agents, output};

/// The run has not ended, or changed nothing.
const NO_PATCH: &str = "changed nothing";

pub(super) async fn agent(context: &Context, command: AgentCommand) -> Result<Exit, Failure> {
    match command {
        AgentCommand::Run(arguments) => run(context, &arguments).await,
        AgentCommand::List => list(context),
        AgentCommand::Show { name } => show(context, &name),
        AgentCommand::Add { file } => add(context, &file).await,
        AgentCommand::Stop { name } => steer(context, &name, "stop", "begins nothing more").await,
        AgentCommand::Start { name } => steer(context, &name, "start", "may begin again").await,
        AgentCommand::Remove { name } => {
            let door = Door::open(&context.config, &context.environment).await?;
            let answer = door.delete(&address(&name)).await;
            door.close().await;
            answer?;
            Ok(told(context, &name, "is removed"))
        }
        AgentCommand::Tell { run, text } => tell(context, run, &text).await,
        AgentCommand::Patch { run, operations } => patch(context, run, operations),
        AgentCommand::Tools => Ok(tools(context)),
    }
}

/// The address of an agent; what is no name is refused by the host.
fn address(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.@".contains(c);
    let name: String = name
        .chars()
        .map(|c| if plain(c) { c } else { '_' })
        .collect();
    format!("/api/v1/agents/{name}")
}

async fn run(context: &Context, arguments: &AgentRunArgs) -> Result<Exit, Failure> {
    let repository = arguments.repo.as_deref().map(text_of).transpose()?;
    let mut body = json!({
        "goal": arguments.goal,
        "placing": arguments.placing.placing(),
    });
    let given = [
        ("repository", &repository),
        ("revision", &arguments.revision),
        ("model", &arguments.model),
        ("project", &arguments.project),
    ];
    for (name, value) in given {
        if let Some(value) = value {
            body[name] = value.as_str().into();
        }
    }
    let door = if arguments.detach {
        Door::background(&context.config, &context.environment).await?
    } else {
        Door::open(&context.config, &context.environment).await?
    };
    let path = format!("{}/runs", address(&arguments.name));
    let answer = match door.post(&path, &body).await {
        Ok(answer) => answer,
        Err(problem) => {
            door.close().await;
            return Err(problem);
        }
    };
    let run = run_of(&answer)?;
    if arguments.detach {
        detached(context, run);
        return Ok(Exit::Done);
    }
    context.see_through(door, run, BEGINNING).await
}

async fn add(context: &Context, file: &Path) -> Result<Exit, Failure> {
    let unreadable = |why: String| {
        Problem::new(
            UNREADABLE,
            format!("{} cannot be read: {why}", file.display()),
        )
    };
    let length = std::fs::metadata(file).map_err(|error| unreadable(error.to_string()))?;
    if length.len() > matrix_agents::definition::BYTES_MAX as u64 {
        return Err(unreadable("it is too long for a definition".into()).into());
    }
    let text = std::fs::read_to_string(file).map_err(|error| unreadable(error.to_string()))?;
    // What is wrong with a definition is said without touching a data directory.
    Definition::parse(&text).and_then(|read| read.check(&Toolbox::built_in()))?;
    let door = Door::open(&context.config, &context.environment).await?;
    let answer = door
        .post("/api/v1/agents", &json!({ "definition": text }))
        .await;
    door.close().await;
    let answer = answer?;
    if context.json {
        output::json(&answer);
        return Ok(Exit::Done);
    }
    let name = answer["name"].as_str().unwrap_or_default();
    let how = if answer["is_new"] == true {
        "is"
    } else {
        "was already"
    };
    output::line(format_args!("{name} {how} version {}", answer["version"]));
    Ok(Exit::Done)
}

async fn steer(context: &Context, name: &str, verb: &str, how: &str) -> Result<Exit, Failure> {
    let door = Door::open(&context.config, &context.environment).await?;
    let path = format!("{}/{verb}", address(name));
    let answer = door.post(&path, &Value::Null).await;
    door.close().await;
    answer?;
    Ok(told(context, name, how))
}

/// A person's words for an agent at work.
async fn tell(context: &Context, run: RunId, text: &str) -> Result<Exit, Failure> {
    if text.trim().is_empty() {
        let nothing = Problem::new(matrix_agents::error::BAD_GOAL, "there is nothing to say");
        return Err(nothing.into());
    }
    // Only what works as an agent hears it.
    agents::result(&Reader::open(&context.config)?, run)?;
    let door = Door::open(&context.config, &context.environment).await?;
    let body = json!({ "name": DIRECTIVE, "value": text });
    let answer = door
        .post(&format!("/api/v1/runs/{run}/signal"), &body)
        .await;
    door.close().await;
    answer?;
    if context.json {
        output::json(&json!({ "run": run }));
    } else {
        output::line(format_args!("{run} reads it before its next answer"));
    }
    Ok(Exit::Done)
}

fn told(context: &Context, name: &str, how: &str) -> Exit {
    if context.json {
        output::json(&json!({ "name": name }));
    } else {
        output::line(format_args!("{name} {how}"));
    }
    Exit::Done
}

fn known(context: &Context, reader: &Reader) -> Agents {
    let clock = std::sync::Arc::clone(&context.clock);
    Agents::new(reader.database.clone(), clock, Toolbox::built_in())
}

fn list(context: &Context) -> Result<Exit, Failure> {
    let reader = Reader::open(&context.config)?;
    let request = reader.may(AgentRead)?;
    let agents = service::list(&known(context, &reader), &request)?;
    if context.json {
        output::json(&json!({ "items": agents }));
        return Ok(Exit::Done);
    }
    let cells: Vec<Vec<String>> = agents
        .into_iter()
        .map(|agent| {
            vec![
                agent.name,
                agent.version.to_string(),
                agent.state,
                agent.definition.model,
                agent.definition.description,
            ]
        })
        .collect();
    output::table(&["agent", "version", "state", "model", "for"], &cells);
    Ok(Exit::Done)
}

fn show(context: &Context, name: &str) -> Result<Exit, Failure> {
    let reader = Reader::open(&context.config)?;
    let request = reader.may(AgentRead)?;
    let agent = service::show(&known(context, &reader), &request, name)?;
    if context.json {
        output::json(&json!(agent));
        return Ok(Exit::Done);
    }
    let text = agent.definition.to_yaml();
    output::line(
        text.map_err(|error| Problem::new(BAD_DEFINITION, error.to_string()))?
            .trim_end(),
    );
    Ok(Exit::Done)
}

fn patch(context: &Context, run: RunId, operations: bool) -> Result<Exit, Failure> {
    let reader = Reader::open(&context.config)?;
    let done = agents::result(&reader, run)?;
    let nothing = || {
        let what = format!("the run {run} has not ended well, or {NO_PATCH}");
        Problem::new(matrix_engine::error::WRONG_STATE, what)
            .help(format!("`matrix run show {run}` says how it is"))
    };
    let facts = done.and_then(|done| done.patch).ok_or_else(nothing)?;
    let digest = if operations {
        facts.operations
    } else {
        facts.diff
    };
    let bytes = reader.blobs.get(&digest)?;
    let bytes =
        bytes.ok_or_else(|| StoreError::corrupt(format_args!("blob {digest} is missing")))?;
    if context.json {
        let text = String::from_utf8_lossy(&bytes);
        let what = if operations {
            serde_json::from_slice(&bytes).map_err(StoreError::corrupt)?
        } else {
            Value::from(text.as_ref())
        };
        output::json(
            &json!({ "run": run, "tree": facts.tree, "files": facts.files, "patch": what }),
        );
    } else {
        output::bytes(&bytes);
    }
    Ok(Exit::Done)
}

fn tools(context: &Context) -> Exit {
    let toolbox = Toolbox::built_in();
    if context.json {
        let all: Vec<Value> = toolbox
            .declarations()
            .map(|tool| {
                json!({ "name": tool.name, "description": tool.description,
                    "parameters": tool.parameters, "effect": tool.effect.as_str() })
            })
            .collect();
        output::json(&json!({ "items": all }));
        return Exit::Done;
    }
    let cells: Vec<Vec<String>> = toolbox
        .declarations()
        .map(|tool| {
            let first = tool.description.split(". ").next().unwrap_or_default();
            vec![
                tool.name.to_owned(),
                tool.effect.as_str().to_owned(),
                first.trim_end_matches('.').to_owned(),
            ]
        })
        .collect();
    output::table(&["tool", "effect", "what it does"], &cells);
    Exit::Done
}

//! `matrix config`.

use serde_json::Value;

use super::Context;
use crate::args::ConfigCommand;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output;

pub(super) fn config(context: &Context, command: &ConfigCommand) -> Result<Exit, Failure> {
    let ConfigCommand::Show { origin } = command;
    let all = serde_json::to_value(&context.config).map_err(matrix_store::StoreError::corrupt)?;
    if context.json {
        output::json(&all);
        return Ok(Exit::Done);
    }
    let empty = serde_json::Map::new();
    let cells: Vec<Vec<String>> = all
        .as_object()
        .unwrap_or(&empty)
        .iter()
        .map(|(name, sourced)| {
            let mut row = vec![name.clone(), text(&sourced["value"])];
            if *origin {
                row.push(from(&sourced["origin"]));
            }
            row
        })
        .collect();
    let head: &[&str] = if *origin {
        &["key", "value", "from"]
    } else {
        &["key", "value"]
    };
    output::table(head, &cells);
    Ok(Exit::Done)
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn from(origin: &Value) -> String {
    match origin {
        Value::Object(map) => {
            let parts: Vec<_> = map
                .iter()
                .map(|(kind, what)| format!("{kind} {}", text(what)))
                .collect();
            parts.join(" ")
        }
        other => text(other),
    }
}

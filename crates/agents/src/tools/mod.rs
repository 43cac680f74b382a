//! What an agent can do, beside answering.
//!
//! A tool is declared ([`Declaration`]) with its schema and its effect class; it works at a
//! [`Bench`] and gives what the model is to be told. What the model did wrong, a file that is not
//! there, a command that fails: all of that is a result. An error is what is nobody's fault here,
//! and the step is tried again.

mod edit;
mod files;
mod shell;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use matrix_engine::{EffectClass, StepError};
use matrix_models::chat;
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::workspace::Bench;

/// The most characters that a tool tells the model; of more, the beginning and the end.
pub(crate) const OUTPUT_MAX: usize = 24_000;

/// What a tool is.
#[derive(Debug, Clone)]
pub struct Declaration {
    /// Its name.
    pub name: &'static str,
    /// When and how to call it, for the model.
    pub description: &'static str,
    /// The JSON schema of its arguments.
    pub parameters: Value,
    /// What a crash in the middle of it means.
    pub effect: EffectClass,
    /// Raised when it does something else than before.
    pub version: u32,
}

/// What a call gave.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Output {
    /// What the model is told.
    pub text: String,
    /// Whether it failed.
    pub failed: bool,
    /// The whole of it, where the model is told a part.
    pub whole: Option<Vec<u8>>,
}

impl Output {
    /// It went well.
    pub(crate) fn good(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            ..Self::default()
        }
    }

    /// It did not, and why.
    pub(crate) fn bad(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            failed: true,
            whole: None,
        }
    }
}

/// Something that an agent can do.
#[async_trait]
pub trait Tool: Send + Sync {
    /// What it is.
    fn declaration(&self) -> &Declaration;

    /// Does it.
    async fn call(&self, bench: &Bench<'_>, arguments: &Value) -> Result<Output, StepError>;
}

/// The tools there are. Cloning is cheap.
#[derive(Clone, Default)]
pub struct Toolbox {
    tools: Arc<BTreeMap<&'static str, Arc<dyn Tool>>>,
}

impl std::fmt::Debug for Toolbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

impl Toolbox {
    /// The tools that every agent may be given.
    pub fn built_in() -> Self {
        let tools: [Arc<dyn Tool>; 6] = [
            Arc::new(files::ListFiles::new()),
            Arc::new(files::ReadFile::new()),
            Arc::new(files::SearchFiles::new()),
            Arc::new(files::WriteFile::new()),
            Arc::new(edit::EditFile::new()),
            Arc::new(shell::Shell::new()),
        ];
        let named = tools
            .into_iter()
            .map(|tool| (tool.declaration().name, tool));
        Self {
            tools: Arc::new(named.collect()),
        }
    }

    /// A tool.
    pub fn get(&self, name: &str) -> Option<&Arc<dyn Tool>> {
        self.tools.get(name)
    }

    /// Their names, in order.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.tools.keys().copied()
    }

    /// What each of them is.
    pub fn declarations(&self) -> impl Iterator<Item = &Declaration> {
        self.tools.values().map(|tool| tool.declaration())
    }
}

/// A tool as the model is told of it.
pub(crate) fn offered(declaration: &Declaration) -> chat::Tool {
    chat::Tool::Function {
        name: declaration.name.into(),
        description: Some(declaration.description.into()),
        parameters: Some(declaration.parameters.clone()),
        strict: None,
        opaque: chat::Opaque::default(),
    }
}

/// The schema of a tool's arguments, in the dialect that every provider reads.
fn schema<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft07().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    let schema = settings.into_generator().into_root_schema_for::<T>();
    let mut schema = serde_json::to_value(schema).unwrap_or_else(|_| json!({ "type": "object" }));
    if let Some(object) = schema.as_object_mut() {
        object.remove("title");
        object.remove("description");
    }
    schema
}

/// A call's arguments, or what is wrong with them.
fn read<T: DeserializeOwned>(arguments: &Value) -> Result<T, Output> {
    let read = serde_json::from_value(arguments.clone());
    read.map_err(|error| {
        Output::bad(format!(
            "the arguments do not fit the tool's schema: {error}"
        ))
    })
}

/// A text cut in the middle, if it is too long for a model.
pub(crate) fn excerpt(text: &str) -> String {
    let length = text.chars().count();
    if length <= OUTPUT_MAX {
        return text.to_owned();
    }
    let half = OUTPUT_MAX / 2;
    let front: String = text.chars().take(half).collect();
    let back: String = text.chars().skip(length - half).collect();
    let left = length - 2 * half;
    format!("{front}\n[… {left} characters are left out here …]\n{back}")
}

/// A path as the model says it, as it is inside: relative ones begin at the work tree.
fn inside(path: &str) -> Result<std::path::PathBuf, Output> {
    use std::path::{Component, Path};
    if path.len() > 4096 || path.contains('\0') {
        return Err(Output::bad("that is no path"));
    }
    let joined = Path::new("/work").join(path);
    let mut plain = std::path::PathBuf::from("/");
    for part in joined.components() {
        match part {
            Component::Normal(name) => plain.push(name),
            Component::ParentDir => {
                plain.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    Ok(plain)
}

/// The same for a path that is to be written: only the work tree is kept.
fn writable(path: &str) -> Result<std::path::PathBuf, Output> {
    let place = inside(path)?;
    if place.starts_with("/work") && place != std::path::Path::new("/work") {
        Ok(place)
    } else {
        Err(Output::bad(format!(
            "`{path}` is not in the work tree; only files below /work can be written"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_where_they_are_meant() {
        let at = |path: &str| inside(path).unwrap().display().to_string();
        assert_eq!(at("src/a.rs"), "/work/src/a.rs");
        assert_eq!(at("./a/../b"), "/work/b");
        assert_eq!(at("/tmp/x"), "/tmp/x");
        for path in [
            "../etc/passwd",
            "/etc/passwd",
            "",
            ".",
            "a/../../x",
            "/work/..",
        ] {
            assert!(writable(path).is_err(), "{path}");
        }
        assert!(writable("a").is_ok());
    }

    #[test]
    fn long_texts_lose_their_middle_and_say_so() {
        let long = format!("begin{}end", "ä".repeat(OUTPUT_MAX));
        let cut = excerpt(&long);
        assert!(cut.starts_with("begin") && cut.ends_with("end"));
        assert!(
            cut.contains("8 characters are left out"),
            "{}",
            &cut[12_000..12_200]
        );
        assert_eq!(excerpt("short"), "short");
    }

    #[test]
    fn every_tool_says_what_it_takes() {
        for declaration in Toolbox::built_in().declarations() {
            let schema = &declaration.parameters;
            assert_eq!(schema["type"], "object", "{schema}");
            assert_eq!(schema["additionalProperties"], false, "{schema}");
            assert!(
                schema["properties"].as_object().is_some_and(|all| {
                    all.values()
                        .all(|property| property["description"].is_string())
                }),
                "{schema}"
            );
        }
    }
}

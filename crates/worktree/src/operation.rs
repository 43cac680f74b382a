//! What a plan may do to a tree, in the form in which plans write it.
//!
//! ```yaml
//! - update: { path: src/round.rs, diff: "@@ …" }
//! - create: { path: tests/half.rs, content: "…", mode: "0644" }
//! - delete: { path: old.txt }
//! - move:   { from: a.rs, to: b.rs }
//! ```

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One step of a patch. No two operations of a patch touch the same path, so their order does not
/// matter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// Changes a file that exists; its mode stays.
    Update(Update),
    /// Adds a file that does not exist, with the directories above it.
    Create(Create),
    /// Removes a file or a symbolic link.
    Delete(Delete),
    /// Gives a file another path; content and mode stay.
    Move(Move),
}

/// A new content for a file: the whole of it, or a unified diff against the base revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "UpdateForm", into = "UpdateForm")]
pub enum Update {
    /// Hunks in unified form. Line numbers may be absent or wrong where the context is unique.
    Diff {
        /// The file, from the repository's top.
        path: String,
        /// The hunks.
        diff: String,
    },
    /// The whole new content.
    Content {
        /// The file, from the repository's top.
        path: String,
        /// The content.
        content: String,
    },
}

impl Update {
    /// The file.
    pub fn path(&self) -> &str {
        match self {
            Self::Diff { path, .. } | Self::Content { path, .. } => path,
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct UpdateForm {
    path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    diff: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    content: Option<String>,
}

impl TryFrom<UpdateForm> for Update {
    type Error = &'static str;

    fn try_from(form: UpdateForm) -> Result<Self, Self::Error> {
        let path = form.path;
        match (form.diff, form.content) {
            (Some(diff), None) => Ok(Self::Diff { path, diff }),
            (None, Some(content)) => Ok(Self::Content { path, content }),
            (None, None) => Err("an update needs `diff` or `content`"),
            (Some(_), Some(_)) => Err("an update takes `diff` or `content`, not both"),
        }
    }
}

impl From<Update> for UpdateForm {
    fn from(update: Update) -> Self {
        let (path, diff, content) = match update {
            Update::Diff { path, diff } => (path, Some(diff), None),
            Update::Content { path, content } => (path, None, Some(content)),
        };
        Self {
            path,
            diff,
            content,
        }
    }
}

impl JsonSchema for Update {
    fn schema_name() -> Cow<'static, str> {
        "Update".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let form = |key: &str, meaning: &str| {
            serde_json::json!({
                "type": "object",
                "properties": {
                    "path": { "type": "string", "description": "The file, from the repository's top." },
                    key: { "type": "string", "description": meaning },
                },
                "required": ["path", key],
                "additionalProperties": false,
            })
        };
        schemars::json_schema!({
            "description": "A new content for a file that exists: the whole of it, or a unified diff.",
            "oneOf": [
                form("diff", "Hunks in unified form; line numbers may be absent or wrong."),
                form("content", "The whole new content."),
            ],
        })
    }
}

/// A new file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Create {
    /// The file, from the repository's top.
    pub path: String,
    /// The whole content.
    pub content: String,
    /// Whether it can be executed.
    #[serde(default)]
    pub mode: FileMode,
}

/// A file to remove.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Delete {
    /// The file, from the repository's top.
    pub path: String,
}

/// A file to rename.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Move {
    /// The file, from the repository's top.
    pub from: String,
    /// Its new path, where nothing may be.
    pub to: String,
}

/// The two modes that git keeps for files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
pub enum FileMode {
    /// Cannot be executed.
    #[default]
    #[serde(rename = "0644")]
    Regular,
    /// Can be executed.
    #[serde(rename = "0755")]
    Executable,
}

impl Operation {
    /// The name plans use.
    pub const fn verb(&self) -> &'static str {
        match self {
            Self::Update(_) => "update",
            Self::Create(_) => "create",
            Self::Delete(_) => "delete",
            Self::Move(_) => "move",
        }
    }

    /// Every path it touches.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        let (first, second) = match self {
            Self::Update(update) => (update.path(), None),
            Self::Create(create) => (create.path.as_str(), None),
            Self::Delete(delete) => (delete.path.as_str(), None),
            Self::Move(renamed) => (renamed.from.as_str(), Some(renamed.to.as_str())),
        };
        std::iter::once(first).chain(second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<Operation, serde_json::Error> {
        serde_json::from_str(json)
    }

    #[test]
    fn each_form_is_read_and_written_alike() {
        for json in [
            r#"{"update":{"path":"a","diff":"@@ @@\n-x\n+y\n"}}"#,
            r#"{"update":{"path":"a","content":""}}"#,
            r#"{"create":{"path":"a","content":"x","mode":"0755"}}"#,
            r#"{"delete":{"path":"a"}}"#,
            r#"{"move":{"from":"a","to":"b"}}"#,
        ] {
            let operation = parse(json).unwrap();
            assert_eq!(serde_json::to_string(&operation).unwrap(), json);
        }
    }

    #[test]
    fn half_and_double_forms_are_refused() {
        for json in [
            r#"{"update":{"path":"a"}}"#,
            r#"{"update":{"path":"a","diff":"","content":""}}"#,
            r#"{"update":{"path":"a","content":"","mode":"0644"}}"#,
            r#"{"create":{"path":"a","content":"","mode":"0777"}}"#,
            r#"{"delete":{"path":"a","force":true}}"#,
            r#"{"chmod":{"path":"a"}}"#,
        ] {
            assert!(parse(json).is_err(), "{json}");
        }
    }
}

//! A plan's text as a tree of values that know where they stand.
//!
//! Only what both YAML and JSON have: maps with text keys, lists, scalars. A document has limits on
//! size, depth and number of values, and nothing in it refers to anything else in it.

use super::problem::{PLAN_SYNTAX, PLAN_TOO_LARGE, Place, PlanFault};
use super::{PLAN_BYTES, json, yaml};

/// How deep lists and maps may be nested; the form needs four.
pub(super) const DEPTH: usize = 16;
/// How many values a document may have; the largest allowed plan needs a third of it.
pub(super) const VALUES: usize = 20_000;

/// A value and where it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) value: Value,
    /// Text that stands line by line as it is, one line of the document for each of its own.
    pub(super) is_block: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

/// A key and where it stands; keys of a map are unique.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) place: Place,
    pub(super) name: String,
}

/// Text, or something that a schema may read as a number or as nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Scalar {
    /// Text in quotes or in a block.
    Text(String),
    /// A YAML scalar without quotes: text unless it stands for nothing.
    Plain(String),
    /// A JSON number, `true`, `false` or `null`.
    Literal(String),
}

impl Value {
    /// What it is, for messages.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Scalar(Scalar::Text(_)) => "text",
            Self::Scalar(Scalar::Plain(text)) if is_nothing(text) => "nothing",
            Self::Scalar(Scalar::Plain(_)) => "a plain value",
            Self::Scalar(Scalar::Literal(text)) if text == "null" => "nothing",
            Self::Scalar(Scalar::Literal(_)) => "a number, `true` or `false`",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
        }
    }
}

/// How YAML writes nothing.
pub(super) fn is_nothing(plain: &str) -> bool {
    matches!(plain, "" | "~" | "null" | "Null" | "NULL")
}

/// Counts what has been read.
#[derive(Debug, Default)]
pub(super) struct Budget {
    values: usize,
}

impl Budget {
    /// One more value at a depth.
    pub(super) fn spend(&mut self, place: Place, depth: usize) -> Result<(), PlanFault> {
        self.values += 1;
        if depth > DEPTH {
            return Err(PlanFault::new(
                PLAN_TOO_LARGE,
                place,
                format!("lists and maps are nested more than {DEPTH} deep"),
            ));
        }
        if self.values > VALUES {
            return Err(PlanFault::new(
                PLAN_TOO_LARGE,
                place,
                format!("the plan has more than {VALUES} values"),
            ));
        }
        Ok(())
    }
}

/// Reads a document.
pub(super) fn read(bytes: &[u8], file_name: &str) -> Result<Node, PlanFault> {
    if bytes.len() > PLAN_BYTES {
        return Err(PlanFault::new(
            PLAN_TOO_LARGE,
            Place::START,
            format!(
                "the plan has {} bytes; {PLAN_BYTES} are allowed",
                bytes.len()
            ),
        ));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let before = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
        PlanFault::new(PLAN_SYNTAX, end_of(&before), "the plan is not UTF-8 here")
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.trim().is_empty() {
        return Err(PlanFault::new(
            PLAN_SYNTAX,
            Place::START,
            "the plan is empty",
        ));
    }
    let lower = file_name.to_ascii_lowercase();
    let is_json = match lower.rsplit_once('.') {
        Some((_, "json")) => true,
        Some((_, "yaml" | "yml")) => false,
        _ => text.trim_start().starts_with('{'),
    };
    if is_json {
        json::read(text)
    } else {
        yaml::read(text)
    }
}

/// The place after the end of a text.
pub(super) fn end_of(text: &str) -> Place {
    let last = text.rsplit('\n').next().unwrap_or("");
    Place {
        line: text.matches('\n').count() + 1,
        column: last.chars().count() + 1,
    }
}

/// Adds a member to a map, unless it is there already.
pub(super) fn add(members: &mut Vec<(Key, Node)>, key: Key, value: Node) -> Result<(), PlanFault> {
    if let Some((first, _)) = members.iter().find(|(other, _)| other.name == key.name) {
        let shown: String = key.name.chars().take(60).collect();
        return Err(PlanFault::new(
            PLAN_SYNTAX,
            key.place,
            format!(
                "`{shown}` is given twice; first in line {}",
                first.place.line
            ),
        ));
    }
    members.push((key, value));
    Ok(())
}

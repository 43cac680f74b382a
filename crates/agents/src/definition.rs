//! What an agent is: a document that people write, read and change.

use std::collections::BTreeSet;

use matrix_core::Money;
use matrix_models::chat::{Message, Role};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::AgentError;
use crate::tools::Toolbox;

/// The most bytes of a definition.
pub const BYTES_MAX: usize = 256 * 1024;

/// The most characters of a name.
const NAME_MAX: usize = 64;

/// When an agent works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AgentKind {
    /// It is given a goal and works until it is done.
    #[default]
    Autonomous,
}

impl AgentKind {
    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Autonomous => "autonomous",
        }
    }
}

/// A turn that shows the model how it is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Example {
    /// What is asked.
    pub user: String,
    /// What is answered.
    pub assistant: String,
}

/// The most that one run of an agent may use. What is not said is the default.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Answers of the model.
    pub turns: u32,
    /// Calls of tools.
    pub tool_calls: u32,
    /// Tokens, read and written, of all answers together.
    pub tokens: u64,
    /// Money, in the currency of prices: `"2.50"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub cost: Option<Money>,
    /// Minutes from the beginning to the end of the last call of a tool.
    pub minutes: u32,
    /// Calls of tools at once.
    pub parallel: u32,
    /// Tokens of one answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer_tokens: Option<u64>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            turns: 100,
            tool_calls: 400,
            tokens: 5_000_000,
            cost: None,
            minutes: 120,
            parallel: 4,
            answer_tokens: None,
        }
    }
}

/// An agent, as its file says it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Definition {
    /// Its name: letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// When it works.
    #[serde(default, rename = "type")]
    pub kind: AgentKind,
    /// What it is for, in a line for people.
    #[serde(default)]
    pub description: String,
    /// Its instructions.
    pub prompt: String,
    /// Turns that come before the first real one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub examples: Vec<Example>,
    /// The model it asks: a model's name, a route's, `auto`, or a kind of task such as `task:code`.
    #[serde(default = "default_model")]
    pub model: String,
    /// The tools that it has; all others do not exist for it.
    #[serde(default)]
    pub tools: BTreeSet<String>,
    /// The most that one run may use.
    #[serde(default)]
    pub limits: Limits,
}

fn default_model() -> String {
    "auto".into()
}

impl Definition {
    /// Reads a definition in YAML or JSON.
    pub fn parse(text: &str) -> Result<Self, AgentError> {
        let bad = |why: String| AgentError::Definition(why);
        if text.len() > BYTES_MAX {
            return Err(bad(format!("it has more than {BYTES_MAX} bytes")));
        }
        let read = serde_saphyr::from_str(text);
        // Behind the first line is a picture of the place, which may be in a file that is none of ours.
        let first = |error: serde_saphyr::Error| {
            let text = error.to_string();
            text.lines().next().unwrap_or_default().to_owned()
        };
        read.map_err(|error| bad(first(error)))
    }

    /// The same as YAML.
    pub fn to_yaml(&self) -> Result<String, AgentError> {
        let text = serde_saphyr::to_string(self);
        text.map_err(|error| AgentError::Definition(error.to_string()))
    }

    /// Whether it can work: names and limits, and tools that exist.
    pub fn check(&self, toolbox: &Toolbox) -> Result<(), AgentError> {
        let bad = |why: String| Err(AgentError::Definition(why));
        let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if self.name.is_empty() || self.name.len() > NAME_MAX || !self.name.chars().all(letter) {
            return bad(format!(
                "`name` has 1 to {NAME_MAX} letters, digits and `-`, `_`, `.`"
            ));
        }
        if self.prompt.trim().is_empty() {
            return bad("`prompt` says nothing".into());
        }
        if self.model.is_empty() || self.model.len() > 200 {
            return bad("`model` names a model, a route, `auto` or a kind of task".into());
        }
        if let Some(unknown) = self.tools.iter().find(|name| toolbox.get(name).is_none()) {
            let known: Vec<&str> = toolbox.names().collect();
            return bad(format!(
                "`tools` names `{unknown}`, which does not exist; there are {}",
                known.join(", ")
            ));
        }
        let Limits {
            turns,
            tool_calls,
            tokens,
            minutes,
            parallel,
            ..
        } = self.limits;
        if turns == 0 || tool_calls == 0 || tokens == 0 || minutes == 0 {
            return bad("a limit of 0 leaves nothing to do".into());
        }
        if !(1..=32).contains(&parallel) {
            return bad("`limits.parallel` is from 1 to 32".into());
        }
        if turns > 10_000 || tool_calls > 100_000 {
            return bad("`limits` allow at most 10000 turns and 100000 calls of tools".into());
        }
        Ok(())
    }

    /// What every conversation of it begins with.
    pub(crate) fn opening(&self) -> Vec<Message> {
        let mut messages = vec![Message::text(Role::System, &self.prompt)];
        for example in &self.examples {
            messages.push(Message::text(Role::User, &example.user));
            messages.push(Message::text(Role::Assistant, &example.assistant));
        }
        messages
    }
}

/// The agents that are there without anybody adding them; one that is added under their name takes
/// their place.
pub fn shipped() -> Vec<Definition> {
    let texts = [include_str!("../definitions/coder.yaml")];
    let read = texts.iter().map(|text| Definition::parse(text));
    // A test reads them all.
    read.filter_map(Result::ok).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shipped_can_work() {
        let toolbox = Toolbox::built_in();
        let shipped = shipped();
        assert_eq!(shipped.len(), 1);
        for definition in shipped {
            definition.check(&toolbox).unwrap();
        }
    }

    #[test]
    fn what_cannot_work_is_refused_with_the_reason() {
        let toolbox = Toolbox::built_in();
        let whole = "name: a\nprompt: p\n";
        Definition::parse(whole).unwrap().check(&toolbox).unwrap();
        for (text, says) in [
            ("name: a", "prompt"),
            ("name: a\nprompt: p\nmodle: x", "modle"),
            ("name: a b\nprompt: p", "`name`"),
            ("name: a\nprompt: ' '", "`prompt`"),
            ("name: a\nprompt: p\ntools: [fly]", "`fly`"),
            ("name: a\nprompt: p\nlimits: {turns: 0}", "limit of 0"),
            ("name: a\nprompt: p\nlimits: {parallel: 99}", "parallel"),
            ("name: a\nprompt: p\ntype: magic", "magic"),
            ("[1, 2", ""),
        ] {
            let refused = Definition::parse(text).and_then(|read| read.check(&toolbox));
            let why = refused.unwrap_err().to_string();
            assert!(why.contains(says), "{text}: {why}");
        }
    }
}

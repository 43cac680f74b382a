//! What was asked and answered, where a policy has it noted beside a call.

use serde::{Deserialize, Serialize};

use crate::chat::{ChatAnswer, ChatRequest, Part, Role};
use crate::redact::{Class, Record, cleaned};

/// The most bytes of one text that are noted: all of a call fit into one event.
const TEXT_MAX: usize = 4 * 1024;

/// The most texts of one call: the newest count.
const TEXTS_MAX: usize = 8;

/// What was asked and answered. Without secrets whatever the policy is: a journal forgets nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// What was asked, the newest last.
    pub asked: Vec<Said>,
    /// What was answered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub answered: Vec<Said>,
    /// How it is noted.
    #[serde(skip)]
    record: Record,
}

/// One text, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// `system`, `user`, `assistant`, `tool`, or `text` of a request for vectors or an order.
    pub role: String,
    /// It, as far as it is noted.
    pub text: String,
}

impl Content {
    /// What a conversation says.
    pub(crate) fn of_chat(request: &ChatRequest, record: Record) -> Self {
        let skipped = request.messages.len().saturating_sub(TEXTS_MAX);
        let messages = request.messages.iter().skip(skipped);
        let asked = messages.map(|message| {
            let role = match message.role {
                Role::System | Role::Developer => "system",
                Role::User => "user",
                Role::Assistant => "assistant",
                Role::Tool => "tool",
            };
            said(role, words(&message.parts), record)
        });
        Self {
            asked: asked.collect(),
            answered: Vec::new(),
            record,
        }
    }

    /// What is to be turned into vectors, or put in order.
    pub(crate) fn of_texts<'a>(
        texts: impl IntoIterator<Item = &'a String>,
        record: Record,
    ) -> Self {
        let asked = texts.into_iter().take(TEXTS_MAX);
        let asked = asked.map(|text| said("text", shortened(text), record));
        Self {
            asked: asked.collect(),
            answered: Vec::new(),
            record,
        }
    }

    /// The same with an answer to it.
    pub(crate) fn with(&self, answer: &ChatAnswer) -> Self {
        let choices = answer.choices.iter().take(TEXTS_MAX);
        let answered = choices.map(|choice| said("assistant", words(&choice.parts), self.record));
        Self {
            answered: answered.collect(),
            ..self.clone()
        }
    }
}

fn said(role: &str, text: String, record: Record) -> Said {
    let text = match record {
        Record::None => String::new(),
        Record::Redacted => cleaned(text, |_| true),
        Record::Full => cleaned(text, Class::is_secret),
    };
    Said {
        role: role.to_owned(),
        text,
    }
}

/// What parts say, in words.
fn words(parts: &[Part]) -> String {
    let mut all = String::new();
    for part in parts {
        if all.len() > TEXT_MAX {
            break;
        }
        if !all.is_empty() {
            all.push('\n');
        }
        match part {
            Part::Text { text, .. } | Part::Refusal { text } => all.push_str(&shortened(text)),
            Part::ToolCall {
                name, arguments, ..
            } => {
                all.push_str(name);
                all.push_str(&shortened(arguments));
            }
            Part::ToolResult { parts, .. } => all.push_str(&words(parts)),
            Part::Reasoning { .. } => all.push_str("(thoughts)"),
            Part::Image { .. } => all.push_str("(picture)"),
            Part::File { .. } => all.push_str("(document)"),
            Part::Audio { .. } => all.push_str("(sound)"),
            Part::Other { .. } => all.push_str("(other)"),
        }
    }
    shortened(&all)
}

/// The beginning of a text, without signs that nobody sees and JSON writes long. What would be cut in
/// two and then not be known any more is left out.
fn shortened(text: &str) -> String {
    let unseen = |letter: char| letter.is_control() && letter != '\n' && letter != '\t';
    if text.len() <= TEXT_MAX {
        return text.replace(unseen, " ");
    }
    let mut end = TEXT_MAX;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let kept = text.get(..end).unwrap_or_default();
    let end = kept.rfind(char::is_whitespace).unwrap_or(0);
    let kept = kept.get(..end).unwrap_or_default();
    format!("{} …", kept.replace(unseen, " "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::Message;

    #[test]
    fn what_is_long_is_cut_where_nothing_is_cut_in_two() {
        let address = "ada@example.org";
        let mut text = "word\u{1} ".repeat(TEXT_MAX / 6);
        text.truncate(TEXT_MAX - 5);
        let text = format!("{text} {address} and more");
        let request = ChatRequest {
            messages: vec![Message::text(Role::User, text); TEXTS_MAX + 3],
            ..ChatRequest::default()
        };
        let content = Content::of_chat(&request, Record::Full);
        assert_eq!(content.asked.len(), TEXTS_MAX);
        let noted = &content.asked[0].text;
        assert!(noted.ends_with(" …"), "{noted}");
        assert!(
            !noted.contains("ada") && !noted.contains('\u{1}'),
            "{noted}"
        );
        assert!(noted.len() <= TEXT_MAX + 8, "{}", noted.len());
        let written = serde_json::to_string(&content).unwrap();
        assert!(written.len() < 100 * 1024, "it fits into an event");
    }
}

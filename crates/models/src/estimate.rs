//! How many tokens something is, before anybody counted.
//!
//! No tokenizer of every provider is public, so these are estimates: a token of English is four
//! bytes, of anything else less. They are used for what is reserved before a call, rounded up, and
//! for what was used where a provider does not say it; what a provider counts goes before them.

use crate::chat::{ChatRequest, Part, Tool};

/// What a message costs beside its words.
const MESSAGE: u64 = 4;

/// A picture, as most providers count one that is looked at closely.
const IMAGE: u64 = 1_600;

/// A document that is only an address.
const FILE: u64 = 10_000;

/// What is assumed an answer to need where nobody says.
pub const ANSWER: u64 = 4_096;

/// Tokens of a text.
pub fn tokens(text: &str) -> u64 {
    let (mut plain, mut other) = (0_u64, 0_u64);
    for byte in text.bytes() {
        if byte.is_ascii() {
            plain += 1;
        } else {
            other += 1;
        }
    }
    plain.div_ceil(4) + other.div_ceil(2)
}

/// Tokens of a request.
pub fn request(request: &ChatRequest) -> u64 {
    let messages: u64 = request
        .messages
        .iter()
        .map(|message| MESSAGE + parts(&message.parts))
        .sum();
    let tools: u64 = request.tools.iter().map(tool).sum();
    let format = request.format.as_ref().map_or(0, |format| match format {
        crate::chat::Format::Json => 0,
        crate::chat::Format::Schema { schema, .. } => tokens(&schema.to_string()),
    });
    messages + tools + format
}

/// Tokens of parts.
pub fn parts(parts: &[Part]) -> u64 {
    parts.iter().map(part).sum()
}

fn part(part: &Part) -> u64 {
    match part {
        Part::Text { text, .. } | Part::Reasoning { text, .. } | Part::Refusal { text } => {
            tokens(text)
        }
        Part::Image { .. } => IMAGE,
        Part::File { source, .. } => match source {
            crate::chat::Source::Data { data, .. } => (data.len() as u64).div_ceil(8),
            _ => FILE,
        },
        Part::Audio { data, .. } => (data.len() as u64).div_ceil(1_000),
        Part::ToolCall {
            name, arguments, ..
        } => MESSAGE + tokens(name) + tokens(arguments),
        Part::ToolResult { parts, .. } => MESSAGE + self::parts(parts),
        Part::Other { value, .. } => tokens(&value.to_string()),
    }
}

fn tool(tool: &Tool) -> u64 {
    match tool {
        Tool::Function {
            name,
            description,
            parameters,
            ..
        } => {
            let description = description.as_deref().map_or(0, tokens);
            let parameters = parameters
                .as_ref()
                .map_or(0, |value| tokens(&value.to_string()));
            MESSAGE + tokens(name) + description + parameters
        }
        Tool::Provider { value, .. } => tokens(&value.to_string()),
    }
}

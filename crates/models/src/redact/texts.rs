//! Every text of a request or an answer, and where it stands.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::chat::{ChatAnswer, ChatRequest, Format, Opaque, Part, Source, Tool};
use crate::embed::EmbedRequest;
use crate::rerank::RerankRequest;

/// The longest text inside a JSON value that is looked at although it is nothing but letters of base64:
/// what is longer is a signature or a picture, and would not survive a change.
const WORD_MAX: usize = 512;

/// Where a text stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// In a part of a message.
    Message {
        /// Which message, from 0.
        index: usize,
        /// Which part of it.
        part: usize,
    },
    /// In the description of a tool.
    Tool(usize),
    /// Among the texts of a request for vectors or an order of relevance.
    Text(usize),
    /// In the question of a request for an order of relevance.
    Query,
    /// In the shape that the answer is to have, a stop text, the asker's name, or another field.
    Field,
    /// In an answer.
    Answer(usize),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Message { index, part } => write!(f, "message {index}, part {part}"),
            Self::Tool(index) => write!(f, "tool {index}"),
            Self::Text(index) => write!(f, "text {index}"),
            Self::Query => f.write_str("the query"),
            Self::Field => f.write_str("a field of the request"),
            Self::Answer(index) => write!(f, "answer {index}"),
        }
    }
}

/// How a text is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Written {
    /// As it is.
    Plain,
    /// As JSON that stands in a text.
    Json,
    /// As an address that somebody is to fetch, who would find nothing if it were changed.
    Address,
}

/// Somebody who looks at texts, and may change them.
pub(crate) type Visitor<'a> = dyn FnMut(Place, Written, &mut String) + 'a;

/// What has texts.
pub(crate) trait Texts {
    /// Shows every text, in an order that stays when a conversation grows.
    fn visit(&mut self, visitor: &mut Visitor<'_>);
}

impl Texts for ChatRequest {
    fn visit(&mut self, visitor: &mut Visitor<'_>) {
        for (index, one) in self.tools.iter_mut().enumerate() {
            tool(Place::Tool(index), one, visitor);
        }
        for (index, message) in self.messages.iter_mut().enumerate() {
            for (number, one) in message.parts.iter_mut().enumerate() {
                let place = Place::Message {
                    index,
                    part: number,
                };
                part(place, one, visitor);
            }
            if let Some(name) = &mut message.name {
                visitor(Place::Field, Written::Plain, name);
            }
        }
        if let Some(Format::Schema {
            description,
            schema,
            ..
        }) = &mut self.format
        {
            if let Some(description) = description {
                visitor(Place::Field, Written::Plain, description);
            }
            value(Place::Field, schema, visitor);
        }
        for stop in &mut self.sampling.stop {
            visitor(Place::Field, Written::Plain, stop);
        }
        if let Some(user) = &mut self.user {
            visitor(Place::Field, Written::Plain, user);
        }
        for field in self.extra.values_mut() {
            value(Place::Field, field, visitor);
        }
    }
}

impl Texts for EmbedRequest {
    fn visit(&mut self, visitor: &mut Visitor<'_>) {
        for (index, text) in self.texts.iter_mut().enumerate() {
            visitor(Place::Text(index), Written::Plain, text);
        }
        if let Some(user) = &mut self.user {
            visitor(Place::Field, Written::Plain, user);
        }
    }
}

impl Texts for RerankRequest {
    fn visit(&mut self, visitor: &mut Visitor<'_>) {
        visitor(Place::Query, Written::Plain, &mut self.query);
        for (index, text) in self.texts.iter_mut().enumerate() {
            visitor(Place::Text(index), Written::Plain, text);
        }
    }
}

impl Texts for ChatAnswer {
    fn visit(&mut self, visitor: &mut Visitor<'_>) {
        for (index, choice) in self.choices.iter_mut().enumerate() {
            for one in &mut choice.parts {
                part(Place::Answer(index), one, visitor);
            }
        }
    }
}

/// Every text of a part.
pub(crate) fn part(place: Place, part: &mut Part, visitor: &mut Visitor<'_>) {
    match part {
        Part::Text { text, opaque: more } | Part::Reasoning { text, opaque: more } => {
            visitor(place, Written::Plain, text);
            opaque(place, more, visitor);
        }
        Part::Refusal { text } => visitor(place, Written::Plain, text),
        Part::Image {
            source: from,
            opaque: more,
            ..
        } => {
            source(place, from, visitor);
            opaque(place, more, visitor);
        }
        Part::File {
            source: from,
            name,
            opaque: more,
        } => {
            source(place, from, visitor);
            if let Some(name) = name {
                visitor(place, Written::Plain, name);
            }
            opaque(place, more, visitor);
        }
        Part::ToolCall {
            arguments,
            opaque: more,
            ..
        } => {
            visitor(place, Written::Json, arguments);
            opaque(place, more, visitor);
        }
        Part::ToolResult {
            parts,
            opaque: more,
            ..
        } => {
            for one in parts {
                self::part(place, one, visitor);
            }
            opaque(place, more, visitor);
        }
        Part::Other { value: other, .. } => value(place, other, visitor),
        Part::Audio { .. } => {}
    }
}

fn tool(place: Place, tool: &mut Tool, visitor: &mut Visitor<'_>) {
    match tool {
        Tool::Function {
            description,
            parameters,
            opaque: more,
            ..
        } => {
            if let Some(description) = description {
                visitor(place, Written::Plain, description);
            }
            if let Some(parameters) = parameters {
                value(place, parameters, visitor);
            }
            opaque(place, more, visitor);
        }
        Tool::Provider { value: other, .. } => value(place, other, visitor),
    }
}

/// An address is a text, and so is a document that is one.
fn source(place: Place, source: &mut Source, visitor: &mut Visitor<'_>) {
    match source {
        Source::Url(url) => visitor(place, Written::Address, url),
        Source::Data { media_type, data } => {
            let textual = media_type.starts_with("text/") || media_type.ends_with("json");
            let bytes = textual.then(|| STANDARD.decode(&*data));
            let text = bytes.and_then(Result::ok).map(String::from_utf8);
            if let Some(Ok(mut text)) = text {
                let before = text.clone();
                visitor(place, Written::Plain, &mut text);
                if text != before {
                    *data = STANDARD.encode(text);
                }
            }
        }
        Source::Id(_) => {}
    }
}

fn opaque(place: Place, opaque: &mut Opaque, visitor: &mut Visitor<'_>) {
    for field in opaque.values_mut() {
        value(place, field, visitor);
    }
}

/// Whether a text is bytes in base64.
fn is_bytes(text: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=_-".contains(&byte);
    text.len() > WORD_MAX && (text.starts_with("data:") || text.bytes().all(letter))
}

/// Every text of a JSON value.
fn value(place: Place, value: &mut Value, visitor: &mut Visitor<'_>) {
    match value {
        Value::String(text) => {
            if !is_bytes(text) {
                visitor(place, Written::Plain, text);
            }
        }
        Value::Array(items) => {
            for item in items {
                self::value(place, item, visitor);
            }
        }
        Value::Object(fields) => {
            for field in fields.values_mut() {
                self::value(place, field, visitor);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

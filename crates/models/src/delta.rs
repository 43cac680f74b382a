//! An answer while it is being written.
//!
//! A stream is a sequence of [`Delta`]s. [`Assembler`] puts them together: the answer it gives is
//! the one that the same request gives without a stream. Only [`Delta::End`] ends a stream well;
//! one that stops before it was cut.

use serde_json::{Map, Value};

use crate::chat::{ChatAnswer, Choice, Finish, Opaque, Part, Protocol};
use crate::usage::Usage;

/// The most parts of one answer, and the most answers.
pub const PARTS_MAX: usize = 4096;

/// Something new in an answer. Parts are numbered within their choice in the order of their
/// beginning.
#[derive(Debug, Clone, PartialEq)]
pub enum Delta {
    /// The answer's id and model; the first of all.
    Begin {
        /// The provider's id of the answer.
        id: String,
        /// The model, as the provider names it.
        model: String,
    },
    /// A part begins. Its kind is that of `part`, which holds nothing yet but names, ids and what
    /// only providers understand.
    Part {
        /// Which answer.
        choice: usize,
        /// Which part of it.
        part: usize,
        /// The part as it begins.
        begun: Part,
    },
    /// More of a part's text: words, thoughts, a refusal, or a call's arguments.
    Text {
        /// Which answer.
        choice: usize,
        /// Which part of it.
        part: usize,
        /// What comes next.
        text: String,
    },
    /// What only providers understand, of a part that has begun.
    Opaque {
        /// Which answer.
        choice: usize,
        /// Which part of it.
        part: usize,
        /// It.
        opaque: Opaque,
    },
    /// More probabilities of tokens.
    Logprobs {
        /// Which answer.
        choice: usize,
        /// As the provider says them.
        value: Value,
    },
    /// An answer ends.
    Finish {
        /// Which answer.
        choice: usize,
        /// Why.
        reason: Finish,
    },
    /// What was used so far; the largest numbers count.
    Usage(Usage),
    /// Fields that only one protocol has.
    Extra(Protocol, Map<String, Value>),
    /// All is said.
    End,
}

/// Puts an answer together.
#[derive(Debug, Default)]
pub struct Assembler {
    answer: ChatAnswer,
    choices: Vec<Building>,
    ended: bool,
}

#[derive(Debug, Default)]
struct Building {
    parts: Vec<Option<Part>>,
    finish: Option<Finish>,
    logprobs: Option<Value>,
}

impl Assembler {
    /// Takes the next delta in. What refers to a part that never began is dropped.
    pub fn push(&mut self, delta: &Delta) {
        match delta {
            Delta::Begin { id, model } => {
                self.answer.id.clone_from(id);
                self.answer.model.clone_from(model);
            }
            Delta::Part {
                choice,
                part,
                begun,
            } => {
                if let Some(slot) = self.slot(*choice, *part) {
                    *slot = Some(begun.clone());
                }
            }
            Delta::Text { choice, part, text } => {
                if let Some(Some(part)) = self.slot(*choice, *part) {
                    append(part, text);
                }
            }
            Delta::Opaque {
                choice,
                part,
                opaque,
            } => {
                if let Some(Some(part)) = self.slot(*choice, *part)
                    && let Some(mine) = opaque_of(part)
                {
                    mine.merge(opaque);
                }
            }
            Delta::Logprobs { choice, value } => {
                if let Some(building) = self.choice(*choice) {
                    building.logprobs = Some(match building.logprobs.take() {
                        Some(before) => joined(before, value),
                        None => value.clone(),
                    });
                }
            }
            Delta::Finish { choice, reason } => {
                if let Some(building) = self.choice(*choice) {
                    building.finish = Some(reason.clone());
                }
            }
            Delta::Usage(usage) => {
                let before = self.answer.usage.unwrap_or_default();
                self.answer.usage = Some(before.max(*usage));
            }
            Delta::Extra(protocol, fields) => {
                self.answer.protocol = Some(*protocol);
                for (name, value) in fields {
                    self.answer.extra.insert(name.clone(), value.clone());
                }
            }
            Delta::End => self.ended = true,
        }
    }

    /// Whether [`Delta::End`] has come.
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// The usage that was said so far.
    pub fn usage(&self) -> Option<Usage> {
        self.answer.usage
    }

    /// How many bytes of text, thoughts and arguments came.
    pub fn bytes(&self) -> usize {
        let parts = self.choices.iter().flat_map(|choice| &choice.parts);
        parts
            .flatten()
            .map(|part| match part {
                Part::Text { text, .. } | Part::Reasoning { text, .. } | Part::Refusal { text } => {
                    text.len()
                }
                Part::ToolCall {
                    name, arguments, ..
                } => name.len() + arguments.len(),
                _ => 0,
            })
            .sum()
    }

    /// The answer, as far as it came.
    pub fn finish(self) -> ChatAnswer {
        let choices = self.choices.into_iter().map(|building| Choice {
            parts: building.parts.into_iter().flatten().collect(),
            finish: building.finish.unwrap_or(Finish::Stop),
            logprobs: building.logprobs,
        });
        ChatAnswer {
            choices: choices.collect(),
            ..self.answer
        }
    }

    fn choice(&mut self, choice: usize) -> Option<&mut Building> {
        if choice >= PARTS_MAX {
            return None;
        }
        while self.choices.len() <= choice {
            self.choices.push(Building::default());
        }
        self.choices.get_mut(choice)
    }

    fn slot(&mut self, choice: usize, part: usize) -> Option<&mut Option<Part>> {
        let building = self.choice(choice)?;
        if part >= PARTS_MAX {
            return None;
        }
        while building.parts.len() <= part {
            building.parts.push(None);
        }
        building.parts.get_mut(part)
    }
}

/// The deltas of an answer that came as a whole, as a stream would have brought it.
pub fn deltas(answer: &ChatAnswer) -> Vec<Delta> {
    let mut all = vec![Delta::Begin {
        id: answer.id.clone(),
        model: answer.model.clone(),
    }];
    for (number, choice) in answer.choices.iter().enumerate() {
        for (part, whole) in choice.parts.iter().enumerate() {
            let (begun, text) = split(whole);
            all.push(Delta::Part {
                choice: number,
                part,
                begun,
            });
            if let Some(text) = text.filter(|text| !text.is_empty()) {
                all.push(Delta::Text {
                    choice: number,
                    part,
                    text,
                });
            }
        }
        if let Some(value) = &choice.logprobs {
            all.push(Delta::Logprobs {
                choice: number,
                value: value.clone(),
            });
        }
        all.push(Delta::Finish {
            choice: number,
            reason: choice.finish.clone(),
        });
    }
    if let (Some(protocol), false) = (answer.protocol, answer.extra.is_empty()) {
        all.push(Delta::Extra(protocol, answer.extra.clone()));
    }
    if let Some(usage) = answer.usage {
        all.push(Delta::Usage(usage));
    }
    all.push(Delta::End);
    all
}

/// A part as it begins, and its text.
fn split(part: &Part) -> (Part, Option<String>) {
    let mut begun = part.clone();
    let text = match &mut begun {
        Part::Text { text, .. } | Part::Reasoning { text, .. } | Part::Refusal { text } => {
            Some(std::mem::take(text))
        }
        Part::ToolCall { arguments, .. } => Some(std::mem::take(arguments)),
        _ => None,
    };
    (begun, text)
}

fn append(part: &mut Part, more: &str) {
    match part {
        Part::Text { text, .. } | Part::Reasoning { text, .. } | Part::Refusal { text } => {
            text.push_str(more);
        }
        Part::ToolCall { arguments, .. } => arguments.push_str(more),
        _ => {}
    }
}

fn opaque_of(part: &mut Part) -> Option<&mut Opaque> {
    match part {
        Part::Text { opaque, .. }
        | Part::Image { opaque, .. }
        | Part::File { opaque, .. }
        | Part::Reasoning { opaque, .. }
        | Part::ToolCall { opaque, .. }
        | Part::ToolResult { opaque, .. } => Some(opaque),
        Part::Audio { .. } | Part::Refusal { .. } | Part::Other { .. } => None,
    }
}

/// Lists of probabilities one after the other, field by field.
fn joined(mut before: Value, more: &Value) -> Value {
    if let (Value::Object(fields), Value::Object(others)) = (&mut before, more) {
        for (name, other) in others {
            match (fields.get_mut(name), other) {
                (Some(Value::Array(mine)), Value::Array(theirs)) => mine.extend_from_slice(theirs),
                (Some(Value::Null) | None, _) => {
                    fields.insert(name.clone(), other.clone());
                }
                _ => {}
            }
        }
    }
    before
}

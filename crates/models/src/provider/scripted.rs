//! A written conversation that is played: for tests and demonstrations. It is no model, and says so
//! in its name.
//!
//! The script is a JSON file: a list of turns. A turn has what it answers to (`when`, a text that the
//! newest message of the asker contains; without it, it answers to anything) and what it says:
//! `text`, `reasoning`, `tools` (a list of `name` and `arguments`), `vectors`. Which turn is next
//! depends on the request alone: the first one that fits, of those that the conversation has not
//! reached yet, counted by the model's messages in it. So the same request always gets the same
//! answer.

use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use futures::StreamExt;
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{DeltaStream, Dropped, Provider, ProviderError, Reason};
use crate::chat::{ChatAnswer, ChatRequest, Choice, Finish, Opaque, Part, Role};
use crate::delta::deltas;
use crate::embed::{EmbedAnswer, EmbedRequest, normalise};
use crate::estimate;
use crate::registry::Model;
use crate::rerank::{Rank, RerankAnswer, RerankRequest};
use crate::usage::Usage;

/// The most bytes of a script.
const SCRIPT_MAX: u64 = 4 * 1024 * 1024;

/// How long a vector of words is.
const DIMENSIONS: usize = 64;

/// Plays written conversations.
#[derive(Debug, Default)]
pub struct Scripted {
    played: AtomicU64,
}

/// A script.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Script {
    turns: Vec<Turn>,
}

/// What is said when.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Turn {
    /// A text that the newest message contains.
    when: Option<String>,
    /// What is thought first.
    reasoning: Option<String>,
    /// What is said.
    text: Option<String>,
    /// What is called.
    tools: Vec<Call>,
    /// An error instead of an answer: a status of HTTP and a text.
    error: Option<Failure>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Call {
    name: String,
    #[serde(default)]
    arguments: Value,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Failure {
    status: u16,
    message: String,
}

async fn script(model: &Model) -> Result<Script, ProviderError> {
    let path = model.spec.provider.script.clone().unwrap_or_default();
    let failed = |why: String| {
        let text = format!("the script `{path}` cannot be played: {why}");
        ProviderError::new(Reason::Invalid, text)
    };
    let data = tokio::fs::metadata(&path).await;
    let data = data.map_err(|error| failed(error.to_string()))?;
    if !data.is_file() || data.len() > SCRIPT_MAX {
        let why = format!("it is no file of {SCRIPT_MAX} bytes at most");
        return Err(failed(why));
    }
    let text = tokio::fs::read_to_string(&path).await;
    let text = text.map_err(|error| failed(error.to_string()))?;
    serde_json::from_str(&text).map_err(|_| failed("it is no script".into()))
}

/// The newest words of the asker or of a tool.
fn newest(request: &ChatRequest) -> String {
    let asked = request.messages.iter().rev();
    let asked = asked.filter(|message| matches!(message.role, Role::User | Role::Tool));
    asked
        .take(1)
        .flat_map(|message| &message.parts)
        .map(words)
        .collect::<Vec<_>>()
        .join("\n")
}

fn words(part: &Part) -> String {
    match part {
        Part::Text { text, .. } => text.clone(),
        Part::ToolResult { parts, .. } => parts.iter().map(words).collect::<Vec<_>>().join("\n"),
        _ => String::new(),
    }
}

impl Scripted {
    async fn play(
        &self,
        model: &Model,
        request: &ChatRequest,
    ) -> Result<ChatAnswer, ProviderError> {
        if request.sampling.count.is_some_and(|count| count > 1) {
            let text = "a script has one answer to a request; ask several times for several";
            return Err(ProviderError::new(Reason::Unsupported, text));
        }
        let script = script(model).await?;
        let said = request.messages.iter();
        let said = said
            .filter(|message| message.role == Role::Assistant)
            .count();
        let newest = newest(request);
        let fits = |turn: &&Turn| turn.when.as_ref().is_none_or(|when| newest.contains(when));
        // Turns that name what they answer to are found wherever they stand.
        let named = script
            .turns
            .iter()
            .filter(|turn| turn.when.is_some())
            .find(fits);
        let plain = script.turns.iter().filter(|turn| turn.when.is_none());
        let Some(turn) = named
            .or_else(|| plain.clone().nth(said))
            .or(plain.clone().next_back())
        else {
            let text = "the script has no turn for this conversation";
            return Err(ProviderError::new(Reason::Invalid, text));
        };
        if let Some(failure) = &turn.error {
            let complaint = crate::wire::Complaint {
                status: failure.status,
                kind: "scripted".into(),
                code: None,
                message: failure.message.clone(),
            };
            return Err(ProviderError::told(complaint, None));
        }
        let number = self.played.fetch_add(1, Ordering::Relaxed);
        Ok(answer(model, request, turn, number))
    }
}

fn answer(model: &Model, request: &ChatRequest, turn: &Turn, number: u64) -> ChatAnswer {
    let mut parts = Vec::new();
    if let Some(text) = turn.reasoning.clone() {
        parts.push(Part::Reasoning {
            text,
            opaque: Opaque::default(),
        });
    }
    parts.extend(turn.text.clone().map(Part::text));
    let before = request.messages.iter().flat_map(|message| &message.parts);
    let calls = before
        .filter(|part| matches!(part, Part::ToolCall { .. }))
        .count();
    for (index, call) in turn.tools.iter().enumerate() {
        let arguments = match &call.arguments {
            Value::Null => "{}".to_owned(),
            arguments => arguments.to_string(),
        };
        parts.push(Part::ToolCall {
            id: format!("call_{}", calls + index),
            name: call.name.clone(),
            arguments,
            opaque: Opaque::default(),
        });
    }
    let finish = if turn.tools.is_empty() {
        Finish::Stop
    } else {
        Finish::Tools
    };
    let choice = Choice {
        parts,
        finish,
        logprobs: None,
    };
    let thought = turn.reasoning.as_deref().map_or(0, estimate::tokens);
    ChatAnswer {
        id: format!("scripted-{number}"),
        model: format!("scripted:{}", model.spec.model),
        usage: Some(Usage {
            input: estimate::request(request),
            output: estimate::parts(&choice.parts),
            reasoning: thought,
            ..Usage::default()
        }),
        choices: vec![choice],
        ..ChatAnswer::default()
    }
}

#[async_trait]
impl Provider for Scripted {
    async fn chat(
        &self,
        model: &Model,
        request: &ChatRequest,
    ) -> Result<(ChatAnswer, Dropped), ProviderError> {
        Ok((self.play(model, request).await?, Vec::new()))
    }

    async fn stream(
        &self,
        model: &Model,
        request: &ChatRequest,
    ) -> Result<(DeltaStream, Dropped), ProviderError> {
        let deltas = deltas(&self.play(model, request).await?);
        let each = futures::stream::iter(deltas.into_iter().map(|delta| Ok(vec![delta])));
        Ok((each.boxed(), Vec::new()))
    }

    /// Words that two texts share bring their vectors together; nothing is understood.
    async fn embed(
        &self,
        model: &Model,
        request: &EmbedRequest,
    ) -> Result<EmbedAnswer, ProviderError> {
        let length = request
            .dimensions
            .map_or(DIMENSIONS, |length| length as usize);
        let vectors = request
            .texts
            .iter()
            .map(|text| vector(text, length.clamp(1, 4096)));
        Ok(EmbedAnswer {
            model: format!("scripted:{}", model.spec.model),
            vectors: vectors.collect(),
            usage: Some(Usage {
                input: request
                    .texts
                    .iter()
                    .map(|text| estimate::tokens(text))
                    .sum(),
                ..Usage::default()
            }),
        })
    }

    async fn rerank(
        &self,
        model: &Model,
        request: &RerankRequest,
    ) -> Result<RerankAnswer, ProviderError> {
        let asked = vector(&request.query, DIMENSIONS);
        let mut ranks: Vec<Rank> = request
            .texts
            .iter()
            .enumerate()
            .map(|(index, text)| {
                let found = vector(text, DIMENSIONS);
                let score = asked
                    .iter()
                    .zip(&found)
                    .map(|(a, b)| f64::from(a * b))
                    .sum();
                Rank { index, score }
            })
            .collect();
        ranks.sort_by(|a, b| b.score.total_cmp(&a.score));
        ranks.truncate(request.top.map_or(usize::MAX, |top| top as usize));
        Ok(RerankAnswer {
            id: format!("scripted-{}", self.played.fetch_add(1, Ordering::Relaxed)),
            model: format!("scripted:{}", model.spec.model),
            ranks,
            usage: None,
            queries: 1,
        })
    }

    async fn list(&self, model: &Model) -> Result<Vec<String>, ProviderError> {
        Ok(vec![model.spec.model.clone()])
    }
}

/// A place for each word, by its hash; the length of the whole is 1.
fn vector(text: &str, length: usize) -> Vec<f32> {
    let mut vector = vec![0.0_f32; length];
    let words = text.split(|letter: char| !letter.is_alphanumeric());
    for word in words.filter(|word| !word.is_empty()) {
        let digest = Sha256::digest(word.to_lowercase().as_bytes());
        let place = digest
            .iter()
            .take(4)
            .fold(0_usize, |sum, byte| (sum << 8) | usize::from(*byte));
        if let Some(number) = vector.get_mut(place % length) {
            *number += 1.0;
        }
    }
    normalise(&mut vector);
    vector
}

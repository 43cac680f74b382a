//! One conversation and its answer, in words that belong to no provider.
//!
//! Every protocol is read into these types and written from them, so a client of one protocol can
//! talk to a provider of another. What only one provider understands, such as the signature of its
//! thoughts, travels in [`Opaque`] beside the part it belongs to, never inside a text or an id.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::usage::Usage;

/// What a model is asked.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ChatRequest {
    /// The model's name, as the asker says it; on the way to a provider, as the provider does.
    pub model: String,
    /// The conversation, oldest first. Instructions are messages of their own role.
    pub messages: Vec<Message>,
    /// What the model may call.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<Tool>,
    /// Whether it must.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_choice: Option<ToolChoice>,
    /// Whether it may call several at once; nothing leaves that to the provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parallel_tools: Option<bool>,
    /// What the answer must look like.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    /// The most tokens of the answer, thoughts included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u64>,
    /// How the next token is chosen.
    #[serde(default)]
    pub sampling: Sampling,
    /// How much the model thinks first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<Reasoning>,
    /// Who asks, as a name that the provider may keep.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Fields that only the asker's protocol has; they reach a provider of the same protocol, and
    /// no other.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub extra: Map<String, Value>,
    /// Which protocol that is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
}

/// A protocol between a client and a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// `OpenAI`'s chat completions, which many servers speak.
    OpenaiChat,
    /// `OpenAI`'s responses.
    OpenaiResponses,
    /// `Anthropic`'s messages.
    Anthropic,
    /// `Google`'s `generateContent`, of Gemini and of Vertex AI.
    Gemini,
    /// `Ollama`'s own.
    Ollama,
    /// Amazon Bedrock's `Converse`.
    Bedrock,
}

/// How the next token is chosen. What is not said is the provider's choice.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sampling {
    /// 0 takes the likeliest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// From the likeliest that have this probability together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
    /// From so many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_k: Option<u64>,
    /// The same seed asks for the same answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<i64>,
    /// Against what was said often.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frequency_penalty: Option<f64>,
    /// Against what was said at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub presence_penalty: Option<f64>,
    /// Texts at which the answer ends.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stop: Vec<String>,
    /// How many answers; nothing is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
}

/// How much a model thinks before it answers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Reasoning {
    /// In words: `none`, `minimal`, `low`, `medium`, `high`, or one that only the provider knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effort: Option<String>,
    /// In tokens; 0 is not at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    /// Whether a summary of the thoughts is wanted, and which: `auto`, `concise`, `detailed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
}

/// Whose message it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Instructions.
    System,
    /// Instructions, where a protocol tells those of the developer apart.
    Developer,
    /// Who asks.
    User,
    /// The model.
    Assistant,
    /// What tools gave; its parts are [`Part::ToolResult`].
    Tool,
}

/// One message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Whose.
    pub role: Role,
    /// What it says, in order.
    pub parts: Vec<Part>,
    /// A name that tells several of one role apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

impl Message {
    /// A message of one text.
    pub fn text(role: Role, text: impl Into<String>) -> Self {
        Self {
            role,
            parts: vec![Part::text(text)],
            name: None,
        }
    }
}

/// A piece of a message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Part {
    /// Words.
    Text {
        /// The words.
        text: String,
        /// What only providers understand.
        #[serde(default, skip_serializing_if = "Opaque::is_empty")]
        opaque: Opaque,
    },
    /// A picture.
    Image {
        /// Where it is.
        source: Source,
        /// How closely it is looked at: `auto`, `low`, `high`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        detail: Option<String>,
        /// What only providers understand.
        #[serde(default, skip_serializing_if = "Opaque::is_empty")]
        opaque: Opaque,
    },
    /// A document, such as a PDF.
    File {
        /// Where it is.
        source: Source,
        /// Its name.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        /// What only providers understand.
        #[serde(default, skip_serializing_if = "Opaque::is_empty")]
        opaque: Opaque,
    },
    /// Sound.
    Audio {
        /// `wav`, `mp3`.
        format: String,
        /// The bytes in base64.
        data: String,
    },
    /// What the model thought. Without a text it is known to its provider alone.
    Reasoning {
        /// The thoughts, or their summary.
        text: String,
        /// What proves them to their provider.
        #[serde(default, skip_serializing_if = "Opaque::is_empty")]
        opaque: Opaque,
    },
    /// The model calls a tool.
    ToolCall {
        /// By which its result is found.
        id: String,
        /// The tool.
        name: String,
        /// The arguments as the model wrote them: JSON, unless it erred.
        arguments: String,
        /// What only providers understand.
        #[serde(default, skip_serializing_if = "Opaque::is_empty")]
        opaque: Opaque,
    },
    /// What a tool gave.
    ToolResult {
        /// The call's id.
        call: String,
        /// Texts and pictures.
        parts: Vec<Part>,
        /// Whether the tool failed.
        #[serde(default)]
        failed: bool,
        /// What only providers understand.
        #[serde(default, skip_serializing_if = "Opaque::is_empty")]
        opaque: Opaque,
    },
    /// Why the model will not answer.
    Refusal {
        /// In its words.
        text: String,
    },
    /// Something that one protocol has and the others do not, such as a search that the provider
    /// made; it reaches nobody else.
    Other {
        /// Whose it is.
        protocol: Protocol,
        /// As it came.
        value: Value,
    },
}

impl Part {
    /// Plain words.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text {
            text: text.into(),
            opaque: Opaque::default(),
        }
    }
}

/// Where bytes are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// At an address.
    Url(String),
    /// Here, in base64.
    Data {
        /// What they are: `image/png`.
        media_type: String,
        /// The bytes.
        data: String,
    },
    /// At the provider, which gave it this id.
    Id(String),
}

/// What only providers understand, by the family of each: `openai`, `anthropic`, `google`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Opaque(BTreeMap<String, Map<String, Value>>);

impl Opaque {
    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Keeps a field for a family.
    pub fn set(&mut self, family: &str, field: &str, value: Value) {
        let fields = self.0.entry(family.to_owned()).or_default();
        fields.insert(field.to_owned(), value);
    }

    /// The same, for a new one.
    #[must_use]
    pub fn with(mut self, family: &str, field: &str, value: Value) -> Self {
        self.set(family, field, value);
        self
    }

    /// A family's field.
    pub fn get(&self, family: &str, field: &str) -> Option<&Value> {
        self.0.get(family)?.get(field)
    }

    /// A family's field that is a text.
    pub fn text(&self, family: &str, field: &str) -> Option<&str> {
        self.get(family, field)?.as_str()
    }

    /// Every field, whoever's it is.
    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut Value> {
        self.0.values_mut().flat_map(Map::values_mut)
    }

    /// Takes in what another one has; its word counts where both have one.
    pub fn merge(&mut self, other: &Self) {
        for (family, fields) in &other.0 {
            let mine = self.0.entry(family.clone()).or_default();
            for (field, value) in fields {
                mine.insert(field.clone(), value.clone());
            }
        }
    }

    /// As clients carry it, where a protocol has no place of its own: the field `extra_content`.
    pub fn to_value(&self) -> Value {
        let families = self.0.iter();
        Value::Object(
            families
                .map(|(family, fields)| (family.clone(), Value::Object(fields.clone())))
                .collect(),
        )
    }

    /// From what clients carried; what is of another shape is nobody's.
    pub fn from_value(value: Value) -> Self {
        serde_json::from_value(value).unwrap_or_default()
    }
}

/// Something the model may call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Tool {
    /// A function of the asker's.
    Function {
        /// Its name.
        name: String,
        /// When to call it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        description: Option<String>,
        /// A JSON schema of its arguments; nothing is no arguments.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        parameters: Option<Value>,
        /// Whether the arguments must fit the schema exactly.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        strict: Option<bool>,
        /// What only providers understand.
        #[serde(default, skip_serializing_if = "Opaque::is_empty")]
        opaque: Opaque,
    },
    /// A tool that the provider itself has; it reaches nobody else.
    Provider {
        /// Whose it is.
        protocol: Protocol,
        /// As it came.
        value: Value,
    },
}

/// Whether the model calls a tool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToolChoice {
    /// As it likes.
    Auto,
    /// It does not.
    None,
    /// It does, whichever.
    Required,
    /// It calls this one.
    Named(String),
}

/// What the answer must look like.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Format {
    /// Some JSON object.
    Json,
    /// JSON of a schema.
    Schema {
        /// The schema's name.
        name: String,
        /// What it is for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        description: Option<String>,
        /// The schema.
        schema: Value,
        /// Whether it must fit exactly.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        strict: Option<bool>,
    },
}

/// What a model answered.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ChatAnswer {
    /// The provider's id of the answer.
    pub id: String,
    /// The model that answered, as the provider names it.
    pub model: String,
    /// The answers; one, unless more were asked for.
    pub choices: Vec<Choice>,
    /// What it used, if the provider said so.
    pub usage: Option<Usage>,
    /// Fields that only one protocol has, such as a fingerprint of the system.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub extra: Map<String, Value>,
    /// Which protocol that is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
}

/// One of the answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    /// What it says, in order.
    pub parts: Vec<Part>,
    /// Why it ends.
    pub finish: Finish,
    /// Probabilities of its tokens, as the provider says them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logprobs: Option<Value>,
}

impl Choice {
    /// Its words, without thoughts.
    pub fn text(&self) -> String {
        self.parts
            .iter()
            .filter_map(|part| match part {
                Part::Text { text, .. } => Some(text.as_str()),
                _ => None,
            })
            .collect()
    }
}

/// Why an answer ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    /// The model had said all.
    Stop,
    /// One of the asker's texts was reached; which one, if the provider says so.
    StopText(Option<String>),
    /// The most tokens were reached.
    Length,
    /// Tools are called.
    Tools,
    /// The provider's filter ended it.
    Filter,
    /// The model will not answer.
    Refusal,
    /// A word of the provider's that is handed on as it is.
    Other(String),
}

impl Finish {
    /// Its word, as a tracing system is told.
    pub fn word(&self) -> String {
        let word = match self {
            Self::Stop | Self::StopText(_) => "stop",
            Self::Length => "length",
            Self::Tools => "tool_calls",
            Self::Filter => "content_filter",
            Self::Refusal => "refusal",
            Self::Other(word) => word,
        };
        word.to_owned()
    }
}

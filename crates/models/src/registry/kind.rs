//! The providers that are known, by their words.

use serde::{Deserialize, Serialize};

use super::spec::InvalidSpec;

/// Who answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProviderKind {
    /// `OpenAI`.
    Openai,
    /// A server that speaks `OpenAI`'s chat completions.
    OpenaiCompatible,
    /// Azure `OpenAI`.
    Azure,
    /// `Anthropic`.
    Anthropic,
    /// Google's Gemini API.
    Gemini,
    /// Google Cloud's Vertex AI.
    Vertex,
    /// Amazon Bedrock.
    Bedrock,
    /// `Ollama`.
    Ollama,
    /// Cohere: embeddings and ranking.
    Cohere,
    /// Hugging Face's inference: embeddings and ranking.
    HuggingFace,
    /// A model on this machine, from a file, without a server.
    Local,
    /// A written conversation that is played: for tests and demonstrations, not a model.
    Scripted,
}

impl ProviderKind {
    /// Every kind.
    pub const ALL: [Self; 12] = [
        Self::Openai,
        Self::OpenaiCompatible,
        Self::Azure,
        Self::Anthropic,
        Self::Gemini,
        Self::Vertex,
        Self::Bedrock,
        Self::Ollama,
        Self::Cohere,
        Self::HuggingFace,
        Self::Local,
        Self::Scripted,
    ];

    /// Its word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Openai => "openai",
            Self::OpenaiCompatible => "openai_compatible",
            Self::Azure => "azure",
            Self::Anthropic => "anthropic",
            Self::Gemini => "gemini",
            Self::Vertex => "vertex",
            Self::Bedrock => "bedrock",
            Self::Ollama => "ollama",
            Self::Cohere => "cohere",
            Self::HuggingFace => "hugging_face",
            Self::Local => "local",
            Self::Scripted => "scripted",
        }
    }

    /// Its own address; those that stand somewhere else for everyone have none.
    pub const fn home(self) -> Option<&'static str> {
        match self {
            Self::Openai => Some("https://api.openai.com/v1"),
            Self::Anthropic => Some("https://api.anthropic.com/v1"),
            Self::Gemini => Some("https://generativelanguage.googleapis.com/v1beta"),
            Self::Ollama => Some("http://127.0.0.1:11434"),
            Self::Cohere => Some("https://api.cohere.com"),
            Self::HuggingFace => Some("https://router.huggingface.co"),
            Self::Vertex
            | Self::Bedrock
            | Self::OpenaiCompatible
            | Self::Azure
            | Self::Local
            | Self::Scripted => None,
        }
    }

    /// Its name in the catalogue of prices.
    pub const fn catalogue(self) -> Option<&'static str> {
        match self {
            Self::Openai => Some("openai"),
            Self::Azure => Some("azure"),
            Self::Anthropic => Some("anthropic"),
            Self::Gemini => Some("gemini"),
            Self::Vertex => Some("vertex_ai"),
            Self::Bedrock => Some("bedrock"),
            Self::Cohere => Some("cohere"),
            Self::OpenaiCompatible
            | Self::Ollama
            | Self::HuggingFace
            | Self::Local
            | Self::Scripted => None,
        }
    }
}

impl std::fmt::Display for ProviderKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for ProviderKind {
    type Err = InvalidSpec;

    fn from_str(text: &str) -> Result<Self, InvalidSpec> {
        let found = Self::ALL.into_iter().find(|kind| kind.as_str() == text);
        found.ok_or_else(|| {
            let all = Self::ALL.map(Self::as_str).join(", ");
            InvalidSpec::new("provider", format!("is none of {all}"))
        })
    }
}

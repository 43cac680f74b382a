//! What providers say, as `transcripts/*/SOURCES.md` tells.

use matrix_models::registry::ProviderKind;

/// Kinds of providers, and where their transcripts are.
pub(crate) const KINDS: [(ProviderKind, &str); 8] = [
    (ProviderKind::Openai, "openai"),
    (ProviderKind::OpenaiCompatible, "openai"),
    (ProviderKind::Azure, "openai"),
    (ProviderKind::Anthropic, "anthropic"),
    (ProviderKind::Gemini, "gemini"),
    (ProviderKind::Vertex, "gemini"),
    (ProviderKind::Ollama, "ollama"),
    (ProviderKind::Bedrock, "bedrock"),
];

/// What an answer has: plain words, one call, calls at once, thoughts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Has {
    Words,
    Call,
    Calls,
    Thoughts,
}

pub(crate) const ALL: [Has; 4] = [Has::Words, Has::Call, Has::Calls, Has::Thoughts];

fn name(of: &str, has: Has) -> &'static str {
    match (of, has) {
        (_, Has::Words) => "text",
        (_, Has::Call) => "tool",
        ("anthropic" | "responses", Has::Calls) => "tools",
        (_, Has::Calls) => "calls",
        ("anthropic" | "ollama", Has::Thoughts) => "thinking",
        (_, Has::Thoughts) => "thoughts",
    }
}

pub(crate) fn file(of: &str, file: &str) -> String {
    let place = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/transcripts/");
    let text = std::fs::read_to_string(format!("{place}{of}/{file}")).unwrap();
    // Some providers end their lines with two characters; parsers have tests of that.
    text.replace("\r\n", "\n")
}

/// An answer as a whole.
pub(crate) fn whole(of: &str, has: Has) -> String {
    file(of, &format!("{}.json", name(of, has)))
}

/// The same as it is being written.
pub(crate) fn streamed(of: &str, has: Has) -> String {
    let end = match of {
        "ollama" => "ndjson",
        "bedrock" => "frames",
        _ => "sse",
    };
    file(of, &format!("{}.{end}", name(of, has)))
}

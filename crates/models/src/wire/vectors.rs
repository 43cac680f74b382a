//! Embeddings, as each provider says them.

use serde_json::{Value, json};

use super::{Fields, WireError, fields};
use crate::embed::{EmbedAnswer, EmbedRequest};
use crate::registry::ProviderKind;
use crate::usage::Usage;

/// The most texts that a provider takes at once.
pub(crate) fn most(kind: ProviderKind, model: &str) -> usize {
    match kind {
        ProviderKind::Vertex if model.contains("gemini-embedding") => 1,
        ProviderKind::Vertex => 250,
        ProviderKind::Gemini => 100,
        // As many as its servers take unless they are told otherwise.
        ProviderKind::HuggingFace => 32,
        ProviderKind::Bedrock if model.contains("titan-embed") => 1,
        ProviderKind::Cohere | ProviderKind::Bedrock => 96,
        _ => usize::MAX,
    }
}

/// Puts the answers to the parts of a request together.
pub(crate) fn joined(answers: Vec<EmbedAnswer>) -> Result<EmbedAnswer, WireError> {
    let mut answers = answers.into_iter();
    let mut all = answers.next().unwrap_or_default();
    for answer in answers {
        all.vectors.extend(answer.vectors);
        // What one of them used and nobody knows is not known of all of them.
        all.usage = all
            .usage
            .zip(answer.usage)
            .map(|(before, more)| before.plus(more));
    }
    of_one_length(&all.vectors)?;
    Ok(all)
}

fn of_one_length(vectors: &[Vec<f32>]) -> Result<(), WireError> {
    let length = vectors.first().map_or(0, Vec::len);
    if length == 0 || vectors.iter().any(|vector| vector.len() != length) {
        return Err(WireError::invalid("embeddings", "are of different lengths"));
    }
    Ok(())
}

/// A request in a provider's words.
pub(crate) fn encode(kind: ProviderKind, request: &EmbedRequest) -> Result<Value, WireError> {
    let mut body = match kind {
        ProviderKind::Gemini => {
            let name = format!("models/{}", request.model);
            let requests = request.texts.iter().map(|text| {
                let mut one = json!({ "model": name, "content": { "parts": [{ "text": text }] } });
                if let Some(length) = request.dimensions {
                    one["outputDimensionality"] = length.into();
                }
                if let Some(purpose) = gemini_purpose(request) {
                    one["taskType"] = purpose.into();
                }
                one
            });
            return Ok(json!({ "requests": requests.collect::<Vec<_>>() }));
        }
        ProviderKind::Vertex => {
            let instances = request.texts.iter().map(|text| {
                let mut one = json!({ "content": text });
                if let Some(purpose) = gemini_purpose(request) {
                    one["task_type"] = purpose.into();
                }
                one
            });
            let mut body = json!({ "instances": instances.collect::<Vec<_>>() });
            if let Some(length) = request.dimensions {
                body["parameters"] = json!({ "outputDimensionality": length });
            }
            return Ok(body);
        }
        ProviderKind::Cohere => json!({
            "model": request.model,
            "texts": request.texts,
            "input_type": cohere_purpose(request),
            "embedding_types": ["float"],
        }),
        ProviderKind::HuggingFace if request.dimensions.is_some() => {
            return Err(WireError::Unsupported(
                "this provider's vectors have one length; leave `dimensions` out".into(),
            ));
        }
        ProviderKind::HuggingFace => return Ok(json!({ "inputs": request.texts })),
        ProviderKind::Bedrock => return bedrock(request),
        ProviderKind::Anthropic => {
            return Err(WireError::Unsupported("Anthropic has no vectors".into()));
        }
        _ => json!({ "model": request.model, "input": request.texts }),
    };
    if let Some(length) = request.dimensions {
        let name = if kind == ProviderKind::Cohere {
            "output_dimension"
        } else {
            "dimensions"
        };
        body[name] = length.into();
    }
    if let (Some(user), ProviderKind::Openai | ProviderKind::Azure) = (&request.user, kind) {
        body["user"] = user.as_str().into();
    }
    Ok(body)
}

fn cohere_purpose(request: &EmbedRequest) -> &str {
    match request.purpose.as_deref() {
        Some("query") => "search_query",
        Some("document") | None => "search_document",
        Some(other) => other,
    }
}

/// Bedrock hands a request on in the words of the model's maker; the address names the model.
fn bedrock(request: &EmbedRequest) -> Result<Value, WireError> {
    let (mut body, length) = if request.model.contains("titan-embed") {
        let text = request.texts.first().map_or("", String::as_str);
        (json!({ "inputText": text }), "dimensions")
    } else if request.model.contains("cohere.embed") {
        let body = json!({
            "texts": request.texts,
            "input_type": cohere_purpose(request),
            "embedding_types": ["float"],
        });
        (body, "output_dimension")
    } else {
        return Err(WireError::Unsupported(
            "of Bedrock's models those of Titan and of Cohere are asked for vectors".into(),
        ));
    };
    if let Some(dimensions) = request.dimensions {
        body[length] = dimensions.into();
    }
    Ok(body)
}

fn gemini_purpose(request: &EmbedRequest) -> Option<String> {
    Some(match request.purpose.as_deref()? {
        "query" => "RETRIEVAL_QUERY".to_owned(),
        "document" => "RETRIEVAL_DOCUMENT".to_owned(),
        other => other.to_uppercase(),
    })
}

/// A provider's answer; an error unless there is a vector for each text.
pub(crate) fn decode(
    kind: ProviderKind,
    body: Value,
    texts: usize,
) -> Result<EmbedAnswer, WireError> {
    let mut answer = match kind {
        ProviderKind::HuggingFace => EmbedAnswer {
            vectors: list(body)?,
            ..EmbedAnswer::default()
        },
        _ => read(kind, fields(body)?)?,
    };
    if answer.vectors.len() != texts {
        let why = format!("has {} vectors for {texts} texts", answer.vectors.len());
        return Err(WireError::invalid("embeddings", why));
    }
    of_one_length(&answer.vectors)?;
    if kind == ProviderKind::HuggingFace {
        answer.usage = None;
    }
    Ok(answer)
}

fn read(kind: ProviderKind, mut body: Fields) -> Result<EmbedAnswer, WireError> {
    let mut usage = None;
    let vectors = match kind {
        ProviderKind::Gemini => {
            body.each("embeddings", |one| vector(fields(one)?.any("values")))?
        }
        ProviderKind::Vertex => {
            let mut tokens = 0;
            let vectors = body.each("predictions", |one| {
                let mut found = fields(one)?.object("embeddings")?;
                let found = found.as_mut();
                let found = found.ok_or_else(|| WireError::invalid("embeddings", "is missing"))?;
                let count = found.inside("statistics", |mut said| said.whole("token_count"))?;
                tokens += count.flatten().unwrap_or(0);
                vector(found.any("values"))
            })?;
            usage = Some(read_only(tokens));
            vectors
        }
        ProviderKind::Bedrock => {
            if let Some(tokens) = body.whole("inputTextTokenCount")? {
                usage = Some(read_only(tokens));
            }
            match body.any("embedding") {
                Some(one) => vec![vector(Some(one))?],
                None => match body.any("embeddings") {
                    Some(Value::Object(mut by_type)) => {
                        list(by_type.shift_remove("float").unwrap_or_default())?
                    }
                    all => list(all.unwrap_or_default())?,
                },
            }
        }
        ProviderKind::Cohere => {
            let found = body.inside("embeddings", |mut by_type| {
                by_type.each("float", |one| vector(Some(one)))
            })?;
            let billed = body.inside("meta", |mut meta| {
                meta.inside("billed_units", |mut units| units.whole("input_tokens"))
            })?;
            usage = billed.flatten().flatten().map(read_only);
            found.unwrap_or_default()
        }
        ProviderKind::Ollama => {
            let counted = body.whole("prompt_eval_count")?;
            usage = counted.map(read_only);
            body.each("embeddings", |one| vector(Some(one)))?
        }
        _ => {
            usage = body.inside("usage", |mut usage| {
                Ok(Usage {
                    input: usage.whole("prompt_tokens")?.unwrap_or(0),
                    ..Usage::default()
                })
            })?;
            let mut all = body.each("data", |one| {
                let mut one = fields(one)?;
                Ok((
                    one.whole("index")?.unwrap_or(0),
                    vector(one.any("embedding"))?,
                ))
            })?;
            all.sort_by_key(|(index, _)| *index);
            all.into_iter().map(|(_, vector)| vector).collect()
        }
    };
    Ok(EmbedAnswer {
        model: body.text("model")?.unwrap_or_default(),
        vectors,
        usage,
    })
}

fn read_only(input: u64) -> Usage {
    Usage {
        input,
        ..Usage::default()
    }
}

fn list(body: Value) -> Result<Vec<Vec<f32>>, WireError> {
    let Value::Array(list) = body else {
        return Err(WireError::invalid("", "must be a list of vectors"));
    };
    list.into_iter().map(|one| vector(Some(one))).collect()
}

fn vector(value: Option<Value>) -> Result<Vec<f32>, WireError> {
    let refused = || WireError::invalid("embedding", "must be a list of numbers");
    let Some(Value::Array(numbers)) = value else {
        return Err(refused());
    };
    let number = |value: &Value| {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "vectors are kept in single precision"
        )]
        value.as_f64().map(|number| number as f32)
    };
    numbers
        .iter()
        .map(|value| number(value).ok_or_else(refused))
        .collect()
}

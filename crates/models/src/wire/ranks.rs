//! Ranking, as each provider says it.

use serde_json::{Value, json};

use super::{WireError, fields};
use crate::registry::ProviderKind;
use crate::rerank::{Rank, RerankAnswer, RerankRequest};
use crate::usage::Usage;

/// A request in a provider's words.
pub(crate) fn encode(kind: ProviderKind, request: &RerankRequest) -> Value {
    if kind == ProviderKind::HuggingFace {
        return json!({ "query": request.query, "texts": request.texts });
    }
    let mut body = json!({ "query": request.query, "documents": request.texts });
    match kind {
        // The address names the model, and the body its maker's version.
        ProviderKind::Bedrock if request.model.contains("cohere.") => {
            body["api_version"] = 2.into();
        }
        ProviderKind::Bedrock => {}
        _ => body["model"] = request.model.as_str().into(),
    }
    if let Some(top) = request.top {
        body["top_n"] = top.into();
    }
    body
}

/// A provider's answer; a rank of a text that was not sent is an error.
pub(crate) fn decode(body: Value, texts: usize) -> Result<RerankAnswer, WireError> {
    let mut answer = RerankAnswer {
        queries: 1,
        ..RerankAnswer::default()
    };
    let list = match body {
        Value::Array(list) => list,
        other => {
            let mut body = fields(other)?;
            answer.id = body.text("id")?.unwrap_or_default();
            answer.model = body.text("model")?.unwrap_or_default();
            let billed = body.inside("meta", |mut meta| {
                meta.inside("billed_units", |mut units| units.whole("search_units"))
            })?;
            answer.queries = billed.flatten().flatten().unwrap_or(1);
            let total = body.inside("usage", |mut usage| usage.whole("total_tokens"))?;
            answer.usage = total.flatten().map(|input| Usage {
                input,
                ..Usage::default()
            });
            body.list("results")?
        }
    };
    for item in list {
        let mut item = fields(item)?;
        let index = item.whole("index")?;
        let index = index.and_then(|index| usize::try_from(index).ok());
        let index = index.filter(|index| *index < texts);
        let index = index.ok_or_else(|| WireError::invalid("index", "is of no text"))?;
        let score = match item.number("relevance_score")? {
            Some(score) => Some(score),
            None => item.number("score")?,
        };
        let score = score.ok_or_else(|| WireError::invalid("relevance_score", "is missing"))?;
        answer.ranks.push(Rank { index, score });
    }
    answer.ranks.sort_by(|a, b| b.score.total_cmp(&a.score));
    Ok(answer)
}

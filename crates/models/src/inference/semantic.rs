//! A call as a span, in the names of OpenTelemetry's semantic conventions for generative AI (release
//! 1.37, `gen_ai.*`). The names stand here and nowhere else, because they are still being changed.

use matrix_core::Timestamp;
use matrix_engine::spans::{Said, Span, SpanId, SpanKind};

use super::{Inference, Trace};

/// Providers that the conventions know by another name than we do.
const PROVIDERS: [(&str, &str); 5] = [
    ("azure", "azure.ai.openai"),
    ("gemini", "gcp.gemini"),
    ("vertex", "gcp.vertex_ai"),
    ("bedrock", "aws.bedrock"),
    ("hugging_face", "huggingface"),
];

/// The span of a call.
pub(crate) fn span(call: &Inference, trace: Trace, id: SpanId) -> Span {
    let known = PROVIDERS.iter().find(|(ours, _)| *ours == call.provider);
    let provider = known.map_or(call.provider.as_str(), |(_, theirs)| theirs);
    let whole = |number: u64| Said::Whole(i64::try_from(number).unwrap_or(i64::MAX));
    let mut attributes: Vec<(&'static str, Said)> = vec![
        ("gen_ai.operation.name", call.operation.as_str().into()),
        ("gen_ai.provider.name", provider.into()),
        ("gen_ai.request.model", call.asked.as_str().into()),
        ("gen_ai.usage.input_tokens", whole(call.usage.input)),
        ("gen_ai.usage.output_tokens", whole(call.usage.output)),
        ("matrix.model", call.model.as_str().into()),
        ("matrix.model.outcome", call.outcome.as_str().into()),
        ("matrix.model.cost", call.cost.to_string().into()),
    ];
    let texts = [
        ("gen_ai.response.model", &call.answered),
        ("gen_ai.response.id", &call.response),
    ];
    let known = texts.into_iter().filter(|(_, text)| !text.is_empty());
    attributes.extend(known.map(|(name, text)| (name, text.as_str().into())));
    if !call.finish.is_empty() {
        let reasons = Said::Texts(call.finish.clone());
        attributes.push(("gen_ai.response.finish_reasons", reasons));
    }
    let labels = [
        ("matrix.project", &call.project),
        ("gen_ai.agent.name", &call.agent),
        ("matrix.run", &call.run),
        ("error.type", &call.error),
    ];
    for (name, label) in labels {
        attributes.extend(label.as_ref().map(|label| (name, label.as_str().into())));
    }
    let took = i64::try_from(call.took_us).unwrap_or(i64::MAX);
    Span {
        kind: SpanKind::Client,
        trace: trace.trace,
        id,
        parent: Some(trace.parent).filter(|parent| *parent != [0; 8]),
        continues: None,
        name: format!("{} {}", call.operation, call.asked),
        began: call.at,
        ended: Timestamp::from_micros(call.at.as_micros().saturating_add(took)),
        attributes,
        error: call.error.clone(),
    }
}

//! Tools of a provider's own, which it is paid for beside the tokens.

use matrix_models::registry::{Api, ProviderKind};
use serde_json::{Value, json};

use crate::site::{Site, spec};
use crate::upstream::{self, Upstream};

fn anthropic(searches: u64) -> Value {
    json!({ "id": "a", "type": "message", "role": "assistant", "model": "m",
        "content": [{ "type": "text", "text": "Found." }], "stop_reason": "end_turn",
        "usage": { "input_tokens": 10, "output_tokens": 2,
            "server_tool_use": { "web_search_requests": searches } } })
}

fn gemini(searches: u64) -> Value {
    let queries: Vec<String> = (0..searches).map(|number| format!("q{number}")).collect();
    json!({ "responseId": "a", "modelVersion": "m",
        "candidates": [{ "index": 0, "content": { "role": "model", "parts": [{ "text": "Found." }] },
            "finishReason": "STOP", "groundingMetadata": { "webSearchQueries": queries } }],
        "usageMetadata": { "promptTokenCount": 10, "candidatesTokenCount": 2,
            "totalTokenCount": 12 } })
}

fn responses(searches: u64) -> Value {
    let search = |number: u64| {
        json!({ "type": "web_search_call", "id": format!("ws_{number}"), "status": "completed",
            "action": { "type": "search", "query": "q" } })
    };
    let mut output: Vec<Value> = (0..searches).map(search).collect();
    output.push(
        json!({ "type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
        "content": [{ "type": "output_text", "text": "Found.", "annotations": [] }] }),
    );
    json!({ "id": "a", "object": "response", "model": "m", "status": "completed",
        "output": output, "usage": { "input_tokens": 10, "output_tokens": 2, "total_tokens": 12 } })
}

/// A stream of the same answer.
fn streamed(kind: ProviderKind, answer: &Value) -> String {
    match kind {
        ProviderKind::Anthropic => {
            let mut begun = answer.clone();
            begun["content"] = json!([]);
            begun["stop_reason"] = Value::Null;
            begun["usage"] = json!({ "input_tokens": 10, "output_tokens": 1 });
            let events = [
                json!({ "type": "message_start", "message": begun }),
                json!({ "type": "content_block_start", "index": 0,
                    "content_block": { "type": "text", "text": "" } }),
                json!({ "type": "content_block_delta", "index": 0,
                    "delta": { "type": "text_delta", "text": "Found." } }),
                json!({ "type": "content_block_stop", "index": 0 }),
                json!({ "type": "message_delta", "delta": { "stop_reason": "end_turn" },
                    "usage": answer["usage"] }),
                json!({ "type": "message_stop" }),
            ];
            let event = |event: &Value| {
                let name = event["type"].as_str().unwrap();
                format!("event: {name}\ndata: {event}\n\n")
            };
            events.iter().map(event).collect()
        }
        ProviderKind::Gemini => format!("data: {answer}\n\n"),
        _ => {
            let created = json!({ "type": "response.created", "response": answer });
            let ended = json!({ "type": "response.completed", "response": answer });
            format!("data: {created}\n\ndata: {ended}\n\n")
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_providers_own_tools_cost_is_missing_and_said_to_be() {
    for (kind, answer) in [
        (ProviderKind::Anthropic, anthropic as fn(u64) -> Value),
        (ProviderKind::Gemini, gemini),
        (ProviderKind::Openai, responses),
    ] {
        for searches in [0, 2] {
            let answer = answer(searches);
            let upstream = Upstream::playing([
                upstream::whole(&answer.to_string()),
                upstream::stream(&streamed(kind, &answer)),
            ])
            .await;
            let site = Site::new().await;
            let mut spec = spec(kind, &upstream.url());
            if kind == ProviderKind::Openai {
                spec.provider.api = Api::Responses;
            }
            site.add("m", &spec).await;
            let whole = site.chat("m").await.unwrap().receipt;
            let (_, streamed) = site.stream("m").await.unwrap().collect().await.unwrap();
            for receipt in [whole, streamed] {
                assert_eq!(receipt.usage.tools, searches, "{kind}");
                assert_eq!(
                    (receipt.usage.input, receipt.usage.output),
                    (10, 2),
                    "{kind}"
                );
            }
            let used = site.used().await.remove(0);
            let marked = if searches > 0 { 2 } else { 0 };
            assert_eq!(
                (used.calls, used.incomplete),
                (2, marked),
                "{kind} {searches}"
            );
            assert_eq!(site.charged().await, (20, 4, 0), "{kind}");
        }
    }
}

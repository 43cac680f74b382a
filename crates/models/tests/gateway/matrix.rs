//! Every client's protocol, at every kind of provider: an answer is the same and costs the same,
//! whether it comes as a whole or as it is being written.

use futures::StreamExt;
use matrix_models::chat::{ChatAnswer, Finish, Part};
use matrix_models::delta::Assembler;
use matrix_models::price::Price;
use matrix_models::registry::{Api, ModelSpec, PriceRule, ProviderKind};
use matrix_models::usage::Usage;
use matrix_models::wire::anthropic::Anthropic;
use matrix_models::wire::bedrock::Converse;
use matrix_models::wire::gemini::Gemini;
use matrix_models::wire::ollama::Ollama;
use matrix_models::wire::openai::{Dialect, OpenaiChat};
use matrix_models::wire::responses::Responses;
use matrix_models::wire::sse::Parser;
use matrix_models::wire::{ClientWire, Delivery, ProviderWire};
use serde_json::{Value, json};

use crate::site::{Site, asking, spec};
use crate::transcripts::{ALL, Has, KINDS, streamed, whole};
use crate::upstream::{self, Upstream};

const OPENAI: OpenaiChat = OpenaiChat {
    dialect: Dialect::Compatible,
};
const ANTHROPIC: Anthropic = Anthropic {
    max_tokens: 4096,
    marks: false,
};

/// A protocol, from the side of a client: how it asks, and how it reads what it is told.
struct Client {
    name: &'static str,
    asks: fn(Has, bool) -> Value,
    ours: &'static dyn ClientWire,
    its: &'static dyn ProviderWire,
}

const CLIENTS: [Client; 3] = [
    Client {
        name: "openai",
        asks: openai,
        ours: &OPENAI,
        its: &OPENAI,
    },
    Client {
        name: "anthropic",
        asks: anthropic,
        ours: &ANTHROPIC,
        its: &ANTHROPIC,
    },
    Client {
        name: "responses",
        asks: responses,
        ours: &Responses,
        its: &Responses,
    },
];

const QUESTION: &str = "What is it like outside?";

fn schema() -> Value {
    json!({ "type": "object", "properties": { "location": { "type": "string" } } })
}

fn openai(has: Has, stream: bool) -> Value {
    let mut body = json!({
        "model": "m",
        "max_completion_tokens": 4096,
        "messages": [
            { "role": "system", "content": "Be brief." },
            { "role": "user", "content": QUESTION },
        ],
        "stream": stream,
    });
    if stream {
        body["stream_options"] = json!({ "include_usage": true });
    }
    if matches!(has, Has::Call | Has::Calls) {
        let function = json!({
            "name": "get_weather", "description": "The weather.", "parameters": schema(),
        });
        body["tools"] = json!([{ "type": "function", "function": function }]);
        body["tool_choice"] = json!("auto");
    }
    if has == Has::Thoughts {
        body["reasoning_effort"] = json!("low");
    }
    body
}

fn anthropic(has: Has, stream: bool) -> Value {
    let mut body = json!({
        "model": "m",
        "max_tokens": 4096,
        "system": "Be brief.",
        "messages": [{ "role": "user", "content": [{ "type": "text", "text": QUESTION }] }],
        "stream": stream,
    });
    if matches!(has, Has::Call | Has::Calls) {
        body["tools"] = json!([{
            "name": "get_weather", "description": "The weather.", "input_schema": schema(),
        }]);
        body["tool_choice"] = json!({ "type": "auto" });
    }
    if has == Has::Thoughts {
        body["thinking"] = json!({ "type": "enabled", "budget_tokens": 1024 });
    }
    body
}

fn responses(has: Has, stream: bool) -> Value {
    let mut body = json!({
        "model": "m",
        "max_output_tokens": 4096,
        "instructions": "Be brief.",
        "input": [{ "role": "user", "content": [{ "type": "input_text", "text": QUESTION }] }],
        "store": false,
        "stream": stream,
    });
    if matches!(has, Has::Call | Has::Calls) {
        body["tools"] = json!([{
            "type": "function", "name": "get_weather", "description": "The weather.",
            "parameters": schema(), "strict": false,
        }]);
        body["tool_choice"] = json!("auto");
    }
    if has == Has::Thoughts {
        body["reasoning"] = json!({ "effort": "low", "summary": "auto" });
    }
    body
}

/// What counts in an answer, whoever words it.
#[derive(Debug, PartialEq)]
struct Said {
    text: String,
    thoughts: String,
    calls: Vec<(String, Value)>,
    finish: Finish,
    usage: Option<Usage>,
}

fn said(answer: &ChatAnswer) -> Said {
    let choice = &answer.choices[0];
    let mut thoughts = String::new();
    let mut calls = Vec::new();
    for part in &choice.parts {
        match part {
            Part::Reasoning { text, .. } => thoughts.push_str(text),
            Part::ToolCall {
                name, arguments, ..
            } => {
                let arguments = match arguments.as_str() {
                    "" => json!({}),
                    text => serde_json::from_str(text).unwrap(),
                };
                calls.push((name.clone(), arguments));
            }
            _ => {}
        }
    }
    Said {
        text: choice.text(),
        thoughts,
        calls,
        finish: choice.finish.clone(),
        usage: answer.usage,
    }
}

fn bedrock() -> Converse {
    Converse {
        model: "m".into(),
        max_tokens: 4096,
        caches: false,
    }
}

/// A provider's answer, read without a gateway.
fn meant(place: &str, body: &str) -> Said {
    let body = serde_json::from_str(body).unwrap();
    let answer = match place {
        "anthropic" => ANTHROPIC.decode(body),
        "gemini" => Gemini.decode(body),
        "ollama" => Ollama.decode(body),
        "bedrock" => bedrock().decode(body),
        "responses" => Responses.decode(body),
        _ => OPENAI.decode(body),
    };
    said(&answer.unwrap())
}

async fn as_a_whole(site: &Site, client: &Client, has: Has) -> ChatAnswer {
    let asked = client.ours.asked((client.asks)(has, false)).unwrap();
    assert_eq!(asked.delivery, Delivery::Whole);
    let answered = site
        .gateway
        .chat(&asking("whole"), asked.request)
        .await
        .unwrap();
    let used = site.used().await;
    let line = used.iter().find(|line| line.model == "whole").unwrap();
    assert_eq!(line.cost, answered.receipt.cost);
    assert!(!answered.receipt.estimated);
    client
        .its
        .decode(client.ours.answer(&answered.answer, 0))
        .unwrap()
}

async fn as_it_is_written(site: &Site, client: &Client, has: Has) -> ChatAnswer {
    let asked = client.ours.asked((client.asks)(has, true)).unwrap();
    assert_eq!(asked.delivery, Delivery::Stream);
    let mut stream = site
        .gateway
        .stream(&asking("streamed"), asked.request)
        .await
        .unwrap();
    let (mut writer, mut bytes) = (client.ours.writer(0, Delivery::Stream), Vec::new());
    while let Some(deltas) = stream.next().await {
        for delta in deltas.unwrap() {
            writer.write(&delta, &mut bytes);
        }
    }
    let (mut parser, mut events) = (Parser::default(), Vec::new());
    parser.push(&bytes, &mut events).unwrap();
    let (mut reader, mut deltas) = (client.its.reader(), Vec::new());
    for event in &events {
        reader.read(event, &mut deltas).unwrap();
    }
    reader.close(&mut deltas).unwrap();
    let mut assembler = Assembler::default();
    for delta in &deltas {
        assembler.push(delta);
    }
    assert!(assembler.ended());
    assembler.finish()
}

/// A model of a kind that speaks as its transcripts do.
fn described(of: ProviderKind, place: &str, url: &str) -> ModelSpec {
    let mut spec = spec(of, url);
    if place == "responses" {
        spec.provider.api = Api::Responses;
    }
    if (of, place) == (ProviderKind::Vertex, "anthropic") {
        spec.model = "claude-sonnet-4@20250514".into();
    }
    spec.price = PriceRule::Fixed(Price {
        input: 3_000_001,
        output: 15_000_007,
        cache_read: Some(300_003),
        cache_write: Some(3_750_009),
        ..Price::default()
    });
    spec
}

/// One question, asked both ways.
async fn check(client: &Client, of: ProviderKind, place: &str, has: Has) {
    let what = format!("{} at {of}, {has:?}", client.name);
    let upstream = Upstream::start().await;
    let site = Site::new().await;
    let spec = described(of, place, &upstream.url());
    site.add("whole", &spec).await;
    site.add("streamed", &spec).await;
    let body = whole(place, has);
    upstream.then(upstream::whole(&body));
    let answer = as_a_whole(&site, client, has).await;
    upstream.then(upstream::stream(&streamed(place, has)));
    let pieces = as_it_is_written(&site, client, has).await;

    let (answer, pieces) = (said(&answer), said(&pieces));
    assert_eq!(pieces, answer, "{what}");
    let meant = meant(place, &body);
    assert_eq!(answer.text, meant.text, "{what}");
    assert_eq!(answer.thoughts, meant.thoughts, "{what}");
    assert_eq!(answer.calls, meant.calls, "{what}");
    assert_eq!(answer.finish, meant.finish, "{what}");
    let totals = |said: &Said| said.usage.map(|usage| (usage.input, usage.output));
    assert_eq!(totals(&answer), totals(&meant), "{what}");
    assert_eq!(
        answer.calls.len(),
        match has {
            Has::Calls => 2,
            Has::Call => 1,
            Has::Words | Has::Thoughts => 0,
        }
    );
    assert!(
        has != Has::Thoughts || !answer.thoughts.is_empty(),
        "{what}"
    );

    let used = site.used().await;
    assert_eq!(used.len(), 2, "{what}");
    let (streamed, whole) = (&used[0], &used[1]);
    assert_eq!(streamed.cost, whole.cost, "{what}");
    assert_eq!(
        (streamed.calls, streamed.failed, streamed.estimated),
        (1, 0, 0)
    );
    let asked = upstream.asked();
    for asked in &asked {
        let sent = asked.body.to_string();
        assert!(
            sent.contains(QUESTION) && sent.contains("Be brief."),
            "{what}"
        );
        let calls = matches!(has, Has::Call | Has::Calls);
        assert_eq!(sent.contains("get_weather"), calls, "{what}");
    }
    let streams = |place: usize| {
        let flag = asked[place].body.get("stream").and_then(Value::as_bool);
        let path = &asked[place].path;
        let named = ["streamGenerateContent", "converse-stream"];
        flag == Some(true) || named.iter().any(|name| path.contains(name))
    };
    assert_eq!((streams(0), streams(1)), (false, true), "{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_the_same_as_a_whole_and_as_it_is_written() {
    for client in &CLIENTS {
        for (of, place) in KINDS {
            for has in ALL {
                check(client, of, place, has).await;
            }
        }
        // OpenAI's own models speak two protocols, and so do those of Vertex AI.
        for has in [Has::Words, Has::Calls, Has::Thoughts] {
            check(client, ProviderKind::Openai, "responses", has).await;
            check(client, ProviderKind::Azure, "responses", has).await;
            check(client, ProviderKind::Vertex, "anthropic", has).await;
        }
    }
}

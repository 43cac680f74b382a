//! Several answers to one request (`n`): who gives them, streamed as whole, at which price, and who says
//! that it does not.

use futures::StreamExt;
use matrix_models::chat::{ChatAnswer, Finish};
use matrix_models::delta::Assembler;
use matrix_models::redact::GuardSpec;
use matrix_models::registry::{Api, ModelAdd, ProviderKind, RouteSpec, add_route};
use matrix_models::wire::openai::{Dialect, OpenaiChat};
use matrix_models::wire::sse::Parser;
use matrix_models::wire::{ClientWire, Delivery, ProviderWire};
use matrix_models::{Gateway, ModelError, Receipt};
use serde_json::{Value, json};

use crate::site::{READ, Site, WRITTEN, allowed, asking, spec};
use crate::upstream::{self, Upstream, whole};

const OPENAI: OpenaiChat = OpenaiChat {
    dialect: Dialect::Compatible,
};

/// What is answered: the second one is cut at its length.
const WORDS: [&str; 2] = ["Blue, as [email_1] says.", "Grey and"];

/// The only protocol of clients that has a word for it.
fn asked(stream: bool) -> Value {
    json!({
        "model": "m", "n": 2, "max_completion_tokens": 50, "stream": stream,
        "stream_options": if stream { json!({ "include_usage": true }) } else { Value::Null },
        "messages": [{ "role": "user", "content": "What colour is it? Ask ada@example.org." }],
    })
}

fn openai(stream: bool) -> String {
    let usage = json!({ "prompt_tokens": 9, "completion_tokens": 13, "total_tokens": 22 });
    let choice = |index: usize, reason: &str| {
        let message = json!({ "role": "assistant", "content": WORDS[index] });
        json!({ "index": index, "message": message, "finish_reason": reason })
    };
    if !stream {
        let choices = json!([choice(0, "stop"), choice(1, "length")]);
        return json!({
            "id": "a", "object": "chat.completion", "created": 1, "model": "m",
            "choices": choices, "usage": usage,
        })
        .to_string();
    }
    let chunk = |choices: Value, usage: &Value| {
        let chunk = json!({
            "id": "a", "object": "chat.completion.chunk", "created": 1, "model": "m",
            "choices": choices, "usage": usage,
        });
        format!("data: {chunk}\n\n")
    };
    let mut all = String::new();
    for (index, piece) in mixed() {
        let delta = json!({ "role": "assistant", "content": piece });
        let choices = json!([{ "index": index, "delta": delta, "finish_reason": null }]);
        all.push_str(&chunk(choices, &Value::Null));
    }
    for (index, reason) in [(1, "length"), (0, "stop")] {
        let choices = json!([{ "index": index, "delta": {}, "finish_reason": reason }]);
        all.push_str(&chunk(choices, &Value::Null));
    }
    all.push_str(&chunk(json!([]), &usage));
    all.push_str("data: [DONE]\n\n");
    all
}

fn gemini(stream: bool) -> String {
    let usage = json!({ "promptTokenCount": 9, "candidatesTokenCount": 13, "totalTokenCount": 22 });
    let candidate = |index: usize, text: &str, reason: Option<&str>| {
        let content = json!({ "role": "model", "parts": [{ "text": text }] });
        json!({ "index": index, "content": content, "finishReason": reason })
    };
    let body = |candidates: Value| {
        json!({
            "candidates": candidates, "usageMetadata": usage, "modelVersion": "m", "responseId": "a",
        })
    };
    if !stream {
        let first = candidate(0, WORDS[0], Some("STOP"));
        return body(json!([first, candidate(1, WORDS[1], Some("MAX_TOKENS"))])).to_string();
    }
    let pieces = mixed().into_iter();
    let mut events: Vec<Value> = pieces
        .map(|(index, piece)| body(json!([candidate(index, &piece, None)])))
        .collect();
    let first = candidate(0, "", Some("STOP"));
    events.push(body(json!([first, candidate(1, "", Some("MAX_TOKENS"))])));
    let events = events.into_iter();
    let events: Vec<String> = events.map(|event| format!("data: {event}\n\n")).collect();
    events.concat()
}

/// Both answers in pieces, one piece of each in turn.
fn mixed() -> Vec<(usize, String)> {
    let cut = |index: usize| {
        let letters: Vec<char> = WORDS[index].chars().collect();
        let pieces = letters.chunks(4).map(|piece| piece.iter().collect());
        pieces.collect::<Vec<String>>()
    };
    let (first, second) = (cut(0), cut(1));
    let most = first.len().max(second.len());
    let each = (0..most).flat_map(|turn| {
        let of = |index: usize, all: &Vec<String>| all.get(turn).map(|it| (index, it.clone()));
        [of(0, &first), of(1, &second)].into_iter().flatten()
    });
    each.collect()
}

/// A route `kept` to a model, which turns addresses back.
async fn site(kind: ProviderKind, api: Api, url: &str) -> Site {
    let site = Site::new().await;
    let mut spec = spec(kind, url);
    spec.provider.api = api;
    match kind {
        ProviderKind::Bedrock => spec.provider.key = Some(site.key("bedrock", "an-api-key")),
        ProviderKind::Scripted => {
            spec.provider.base_url = None;
            spec.provider.script = Some("/no/such/script".into());
        }
        ProviderKind::Vertex if api == Api::Responses => {
            spec.provider.api = Api::Chat;
            spec.model = "claude-sonnet-4@20250514".into();
        }
        _ => {}
    }
    site.add("m", &spec).await;
    let guard: GuardSpec =
        serde_json::from_value(json!({ "redact": { "email": "restore" } })).unwrap();
    let route = RouteSpec {
        cache_seconds: None,
        guard,
        ..crate::cache::route()
    };
    let add = allowed(ModelAdd {
        name: "kept".into(),
        version: "1".into(),
    });
    add_route(site.gateway.registry(), &add, &route)
        .await
        .unwrap();
    site
}

/// What a client hears as a whole.
async fn as_a_whole(gateway: &Gateway) -> Result<(ChatAnswer, Receipt), ModelError> {
    let request = OPENAI.asked(asked(false)).unwrap().request;
    let answered = gateway.chat(&asking("kept"), request).await?;
    let heard = OPENAI.decode(OPENAI.answer(&answered.answer, 0)).unwrap();
    Ok((heard, answered.receipt))
}

/// What a client hears as it is being written.
async fn as_it_is_written(gateway: &Gateway) -> Result<ChatAnswer, ModelError> {
    let request = OPENAI.asked(asked(true)).unwrap().request;
    let mut stream = gateway.stream(&asking("kept"), request).await?;
    let (mut writer, mut bytes) = (OPENAI.writer(0, Delivery::Stream), Vec::new());
    while let Some(deltas) = stream.next().await {
        for delta in deltas? {
            writer.write(&delta, &mut bytes);
        }
    }
    let (mut parser, mut events) = (Parser::default(), Vec::new());
    parser.push(&bytes, &mut events).unwrap();
    let (mut reader, mut deltas) = (OPENAI.reader(), Vec::new());
    for event in &events {
        reader.read(event, &mut deltas).unwrap();
    }
    reader.close(&mut deltas).unwrap();
    let mut assembler = Assembler::default();
    for delta in &deltas {
        assembler.push(delta);
    }
    assert!(assembler.ended());
    Ok(assembler.finish())
}

fn said(answer: &ChatAnswer) -> Vec<(String, Finish)> {
    let choices = answer.choices.iter();
    choices
        .map(|choice| (choice.text(), choice.finish.clone()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn several_answers_are_the_same_streamed_and_whole_and_all_are_paid_for() {
    type Speaks = fn(bool) -> String;
    for (kind, speaks, named) in [
        (ProviderKind::Openai, openai as Speaks, "/n"),
        (ProviderKind::OpenaiCompatible, openai, "/n"),
        (ProviderKind::Azure, openai, "/n"),
        (
            ProviderKind::Gemini,
            gemini,
            "/generationConfig/candidateCount",
        ),
        (
            ProviderKind::Vertex,
            gemini,
            "/generationConfig/candidateCount",
        ),
    ] {
        let provider = Upstream::start().await;
        let site = site(kind, Api::Chat, &provider.url()).await;
        provider.then(whole(&speaks(false)));
        let (answer, receipt) = as_a_whole(&site.gateway).await.unwrap();
        provider.then(upstream::stream(&speaks(true)));
        let written = as_it_is_written(&site.gateway).await.unwrap();

        let words = [
            ("Blue, as ada@example.org says.".to_owned(), Finish::Stop),
            ("Grey and".to_owned(), Finish::Length),
        ];
        assert_eq!(said(&answer), words, "{kind}");
        assert_eq!(said(&written), words, "{kind}");
        assert_eq!(written.usage, answer.usage, "{kind}");
        assert_eq!(receipt.cost.as_nanos(), 9 * READ + 13 * WRITTEN, "{kind}");
        // Each may be as long as was asked for.
        assert!(receipt.reserved.as_nanos() >= 2 * 50 * WRITTEN, "{kind}");
        assert_eq!(site.charged().await, (18, 26, 0), "{kind}");
        for asked in provider.asked() {
            assert_eq!(
                asked.body.pointer(named),
                Some(&json!(2)),
                "{kind}: {}",
                asked.text
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_gives_one_answer_says_so_and_nobody_pays() {
    for (kind, api) in [
        (ProviderKind::Openai, Api::Responses),
        (ProviderKind::Azure, Api::Responses),
        (ProviderKind::Anthropic, Api::Chat),
        // Anthropic's model there.
        (ProviderKind::Vertex, Api::Responses),
        (ProviderKind::Bedrock, Api::Chat),
        (ProviderKind::Ollama, Api::Chat),
        (ProviderKind::Scripted, Api::Chat),
    ] {
        let provider = Upstream::start().await;
        let site = site(kind, api, &provider.url()).await;
        let whole = as_a_whole(&site.gateway).await.map(|_| ());
        let written = as_it_is_written(&site.gateway).await.map(|_| ());
        for error in [whole.unwrap_err(), written.unwrap_err()] {
            assert_eq!(error.code().text, "MODEL-0004", "{kind}: {error}");
            let text = error.to_string();
            assert!(
                text.contains("several times"),
                "{kind} says what to do: {text}"
            );
            assert_eq!(error.complaint().status, 400, "{kind}");
        }
        assert_eq!(provider.count(), 0, "{kind}");
        assert_eq!(site.charged().await, (0, 0, 2), "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_goes_on_to_who_gives_several() {
    let provider = Upstream::always(whole(&openai(false))).await;
    let site = site(ProviderKind::Openai, Api::Chat, &provider.url()).await;
    site.model("a", ProviderKind::Anthropic, &provider.url())
        .await;
    site.route("both", &["a", "m"]).await;
    let request = OPENAI.asked(asked(false)).unwrap().request;
    let answered = site.gateway.chat(&asking("both"), request).await.unwrap();
    assert_eq!(answered.receipt.model, "m@1");
    assert_eq!((answered.answer.choices.len(), provider.count()), (2, 1));
}

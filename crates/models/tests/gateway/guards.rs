//! What must not go to a model: what providers are sent, what askers hear, and what is kept and noted.

use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt;
use matrix_engine::queue::Placing;
use matrix_engine::{DurableFunction, EntryKind, NewRun, Run, RunError};
use matrix_models::chat::{ChatAnswer, ChatRequest, Message, Part, Role, Source, Tool};
use matrix_models::delta::Assembler;
use matrix_models::embed::EmbedRequest;
use matrix_models::inference::{CallLog, ModelLog, ask};
use matrix_models::redact::GuardSpec;
use matrix_models::registry::{ModelAdd, ProviderKind, RouteSpec, add_route};
use matrix_models::rerank::RerankRequest;
use matrix_models::{Gateway, Guards, ModelError, ModelUse};
use serde_json::{Value, json};

use crate::cache::route;
use crate::site::{Site, allowed, asking, caller, question};
use crate::told::{Ears, Working};
use crate::upstream::{self, Upstream, whole};

/// Something that is found, written in two parts so that nobody takes this file for one that holds it.
fn key() -> String {
    ["AKIA", "IOSFODNN7EXAMPLE"].concat()
}

const ADA: &str = "ada@example.org";
const BOB: &str = "bob@example.org";

fn guard(said: Value) -> GuardSpec {
    serde_json::from_value(said).unwrap()
}

/// A gateway with a model `m` at an upstream, and a route `kept` to it with this guard.
async fn site(said: Value) -> (Site, Upstream) {
    let site = Site::new().await;
    let upstream = Upstream::start().await;
    site.model("m", ProviderKind::OpenaiCompatible, &upstream.url())
        .await;
    let spec = RouteSpec {
        guard: guard(said),
        ..route()
    };
    let add = allowed(ModelAdd {
        name: "kept".into(),
        version: "1".into(),
    });
    add_route(site.gateway.registry(), &add, &spec)
        .await
        .unwrap();
    (site, upstream)
}

fn asks(text: &str) -> ChatRequest {
    ChatRequest {
        messages: vec![Message::text(Role::User, text)],
        ..question()
    }
}

/// An answer of a provider: words, and the arguments of a call.
fn answer(text: &str, arguments: &str) -> String {
    let function = json!({ "name": "write", "arguments": arguments });
    let calls = json!([{ "id": "c1", "type": "function", "function": function }]);
    let message = if arguments.is_empty() {
        json!({ "role": "assistant", "content": text })
    } else {
        json!({ "role": "assistant", "content": text, "tool_calls": calls })
    };
    json!({
        "id": "a", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{ "index": 0, "message": message, "finish_reason": "stop" }],
        "usage": { "prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15 },
    })
    .to_string()
}

/// The same as it is written, in pieces of so many letters.
fn written(text: &str, arguments: &str, size: usize) -> String {
    let pieces = |text: &str| -> Vec<String> {
        let letters: Vec<char> = text.chars().collect();
        letters
            .chunks(size)
            .map(|piece| piece.iter().collect())
            .collect()
    };
    let mut deltas = vec![json!({ "role": "assistant", "content": "" })];
    deltas.extend(
        pieces(text)
            .into_iter()
            .map(|piece| json!({ "content": piece })),
    );
    if !arguments.is_empty() {
        let function = json!({ "name": "write", "arguments": "" });
        let call = json!({ "index": 0, "id": "c1", "type": "function", "function": function });
        deltas.push(json!({ "tool_calls": [call] }));
        deltas.extend(pieces(arguments).into_iter().map(
            |piece| json!({ "tool_calls": [{ "index": 0, "function": { "arguments": piece } }] }),
        ));
    }
    let chunk = |choices: Value, usage: Value| {
        let chunk = json!({
            "id": "a", "object": "chat.completion.chunk", "created": 1, "model": "m",
            "choices": choices, "usage": usage,
        });
        format!("data: {chunk}\n\n")
    };
    let mut all: String = deltas
        .into_iter()
        .map(|delta| chunk(json!([{ "index": 0, "delta": delta }]), Value::Null))
        .collect();
    let ended = json!([{ "index": 0, "delta": {}, "finish_reason": "stop" }]);
    let usage = json!({ "prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15 });
    all.push_str(&chunk(ended, Value::Null));
    all.push_str(&chunk(json!([]), usage));
    all.push_str("data: [DONE]\n\n");
    all
}

/// An answer as it is being written, put together.
async fn gathered(
    gateway: &Gateway,
    model: &str,
    request: ChatRequest,
) -> Result<ChatAnswer, ModelError> {
    let mut stream = gateway.stream(&asking(model), request).await?;
    let mut assembler = Assembler::default();
    while let Some(deltas) = stream.next().await {
        for delta in deltas? {
            assembler.push(&delta);
        }
    }
    assert!(assembler.ended());
    Ok(assembler.finish())
}

/// The words of an answer, and the arguments of its call.
fn said(answer: &ChatAnswer) -> (String, String) {
    let choice = &answer.choices[0];
    let arguments = choice.parts.iter().find_map(|part| match part {
        Part::ToolCall { arguments, .. } => Some(arguments.clone()),
        _ => None,
    });
    (choice.text(), arguments.unwrap_or_default())
}

/// A conversation with something in every place that has texts.
fn everywhere(value: &str) -> ChatRequest {
    use base64::Engine as _;
    let document = base64::engine::general_purpose::STANDARD.encode(format!("it is {value}"));
    let parts = vec![
        Part::text(format!("user says {value}")),
        Part::File {
            source: Source::Data {
                media_type: "text/plain".into(),
                data: document,
            },
            name: Some(format!("{value}.txt")),
            opaque: matrix_models::chat::Opaque::default(),
        },
    ];
    let call = Part::ToolCall {
        id: "c".into(),
        name: "look".into(),
        arguments: json!({ "for": value }).to_string(),
        opaque: matrix_models::chat::Opaque::default(),
    };
    let result = Part::ToolResult {
        call: "c".into(),
        parts: vec![Part::text(format!("found {value}"))],
        failed: false,
        opaque: matrix_models::chat::Opaque::default(),
    };
    let message = |role, parts| Message {
        role,
        parts,
        name: None,
    };
    let mut request = ChatRequest {
        messages: vec![
            Message::text(Role::System, format!("system says {value}")),
            message(Role::User, parts),
            message(Role::Assistant, vec![call]),
            message(Role::Tool, vec![result]),
        ],
        tools: vec![Tool::Function {
            name: "look".into(),
            description: Some(format!("looks for {value}")),
            parameters: Some(json!({ "type": "object", "description": format!("as {value}") })),
            strict: None,
            opaque: matrix_models::chat::Opaque::default(),
        }],
        user: Some(value.to_owned()),
        ..question()
    };
    request
        .extra
        .insert("metadata".into(), json!({ "who": value }));
    request
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_is_kept_back_reaches_a_provider_from_any_place() {
    for value in [key(), ADA.to_owned()] {
        let (site, upstream) = site(json!({
            "redact": { "secrets": "redact", "personal": "redact" },
        }))
        .await;
        upstream.keep_saying(whole(&answer("Fine.", "")));
        let answered = site.gateway.chat(&asking("kept"), everywhere(&value)).await;
        let answered = answered.unwrap();
        upstream.keep_saying(upstream::stream(&written("Fine.", "", 2)));
        gathered(&site.gateway, "kept", everywhere(&value))
            .await
            .unwrap();
        for asked in upstream.asked() {
            let sent = asked.text;
            assert!(!sent.contains(&value), "{sent}");
            let places = sent.matches("_1]").count();
            assert!(places >= 7, "{places} of them: {sent}");
        }
        let found: u64 = answered.receipt.redacted.values().sum();
        assert_eq!(found, 10);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_turned_back_is_whole_in_words_and_in_json_however_it_is_cut() {
    let quoted = "password = 'say \"c0rrect!\"'";
    let text = "Use [provider_key_1] or [provider_key_2], [credential_1] for [ada].";
    let arguments = r#"{"set":"[credential_1]","key":"[provider_key_1]"}"#;
    let asked = || asks(&format!("{quoted}; the key is {}", key()));
    let words = format!(
        "Use {} or [provider_key_2], say \"c0rrect!\" for [ada].",
        key()
    );
    let set = json!({ "set": "say \"c0rrect!\"", "key": key() });

    let (site, upstream) = site(json!({ "redact": { "secrets": "restore" } })).await;
    upstream.then(whole(&answer(text, arguments)));
    let answered = site.gateway.chat(&asking("kept"), asked()).await.unwrap();
    let (heard, called) = said(&answered.answer);
    assert_eq!(heard, words);
    assert_eq!(serde_json::from_str::<Value>(&called).unwrap(), set);
    for size in [1, 2, 3, 5, 7, 100] {
        upstream.then(upstream::stream(&written(text, arguments, size)));
        // Each asks for itself: an answer that calls is not kept.
        let answer = gathered(&site.gateway, "kept", asked()).await.unwrap();
        assert_eq!(said(&answer), (heard.clone(), called.clone()), "by {size}");
    }
    for asked in upstream.asked() {
        assert!(!asked.text.contains("c0rrect") && !asked.text.contains(&key()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_must_not_go_on_is_refused_before_anybody_is_asked_or_paid() {
    let (site, upstream) = site(json!({ "redact": { "provider_key": "block" } })).await;
    let mut request = asks("Hi");
    request.messages.push(Message {
        role: Role::User,
        parts: vec![Part::text("first"), Part::text(format!("then {}", key()))],
        name: None,
    });
    let whole = site.gateway.chat(&asking("kept"), request.clone()).await;
    let stream = site.gateway.stream(&asking("kept"), request).await;
    for error in [whole.unwrap_err(), stream.unwrap_err()] {
        assert_eq!(error.code().text, "MODEL-0015");
        let text = error.to_string();
        assert!(
            text.contains("message 1, part 1") && text.contains("`provider_key`"),
            "{text}"
        );
        assert!(
            !format!("{error:?} {text}").contains(&key()),
            "the value is not repeated"
        );
        assert_eq!(error.complaint().code.as_deref(), Some("content_blocked"));
    }
    assert_eq!(upstream.count(), 0);
    assert_eq!(site.charged().await, (0, 0, 0));
    let counted = site.gateway.meters().redactions();
    assert_eq!(counted, [(("provider_key".to_owned(), "block"), 2)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn kept_answers_hold_no_values_and_each_asker_hears_their_own() {
    let (site, upstream) = site(json!({ "redact": { "email": "restore" } })).await;
    upstream.keep_saying(whole(&answer("I wrote to [email_1].", "")));
    for (who, cached) in [(ADA, false), (BOB, true)] {
        let asked = asks(&format!("Write to {who}"));
        let answered = site.gateway.chat(&asking("kept"), asked.clone()).await;
        let answered = answered.unwrap();
        assert_eq!(said(&answered.answer).0, format!("I wrote to {who}."));
        assert_eq!(answered.receipt.cached.as_str().is_some(), cached, "{who}");
        let streamed = gathered(&site.gateway, "kept", asked).await.unwrap();
        assert_eq!(said(&streamed).0, format!("I wrote to {who}."));
    }
    assert_eq!(
        upstream.count(),
        1,
        "they asked the same, as far as the model knows"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_value_has_the_same_placeholder_in_every_turn() {
    let (site, upstream) = site(json!({ "redact": { "email": "redact" } })).await;
    upstream.keep_saying(whole(&answer("Done.", "")));
    let mut request = asks(&format!("Write to {BOB}, not to {ADA}"));
    site.gateway
        .chat(&asking("m"), request.clone())
        .await
        .unwrap();
    site.gateway
        .chat(&asking("kept"), request.clone())
        .await
        .unwrap();
    request
        .messages
        .push(Message::text(Role::Assistant, "Done."));
    request
        .messages
        .push(Message::text(Role::User, format!("And {ADA}?")));
    site.gateway.chat(&asking("kept"), request).await.unwrap();
    let asked = upstream.asked();
    let said =
        |turn: usize, message: usize| asked[turn].body["messages"][message]["content"].clone();
    assert_eq!(
        said(0, 0),
        format!("Write to {BOB}, not to {ADA}"),
        "nobody said so of the model"
    );
    assert_eq!(said(1, 0), "Write to [email_1], not to [email_2]");
    assert_eq!(said(2, 0), said(1, 0));
    assert_eq!(said(2, 2), "And [email_2]?");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_operator_says_holds_for_every_name() {
    let (site, upstream) = site(json!({ "redact": { "email": "allow" } })).await;
    upstream.keep_saying(whole(&answer("Done.", "")));
    let guards = Guards {
        spec: guard(json!({ "redact": { "email": "redact" } })),
        hook: None,
    };
    let strict = site.guarded(guards);
    for name in ["m", "kept", "auto"] {
        let asked = asks(&format!("Write to {ADA}"));
        match strict.chat(&asking(name), asked).await {
            Ok(_) => {}
            // No model is meant for that.
            Err(ModelError::NoModel(_)) => assert_eq!(name, "auto"),
            Err(error) => panic!("{error}"),
        }
    }
    let asked = upstream.asked();
    assert_eq!(asked.len(), 2);
    for asked in asked {
        assert!(!asked.text.contains(ADA), "{}", asked.text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_looked_at_where_that_is_asked_for() {
    let text = format!("Try {}\nor ask {ADA}.\n", key());
    let rules = json!({ "redact": { "secrets": "redact", "email": "redact" }, "answers": true });
    let (site, upstream) = site(rules).await;
    upstream.then(whole(&answer(&text, "")));
    let answered = site.gateway.chat(&asking("kept"), asks("1")).await.unwrap();
    let heard = said(&answered.answer).0;
    assert_eq!(heard, "Try [provider_key_1]\nor ask [email_1].\n");
    for size in [1, 4, 100] {
        upstream.then(upstream::stream(&written(&text, "", size)));
        let asked = asks(&format!("2 by {size}"));
        let answer = gathered(&site.gateway, "kept", asked).await.unwrap();
        assert_eq!(said(&answer).0, heard, "by {size}");
    }
    let counted = site.gateway.meters().redactions();
    assert_eq!(counted[1], (("provider_key".to_owned(), "redact"), 4));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_must_not_go_on_ends_and_is_paid_for() {
    let text = format!("First line.\nThen {}\nand more.\n", key());
    let rules = json!({ "redact": { "secrets": "block" }, "answers": true });
    let (site, upstream) = site(rules).await;
    upstream.then(whole(&answer(&text, "")));
    let error = site
        .gateway
        .chat(&asking("kept"), asks("1"))
        .await
        .unwrap_err();
    assert_eq!(error.code().text, "MODEL-0015");
    assert!(error.to_string().contains("answer 0"), "{error}");

    upstream.then(upstream::stream(&written(&text, "", 3)));
    let mut stream = site
        .gateway
        .stream(&asking("kept"), asks("2"))
        .await
        .unwrap();
    let mut heard = String::new();
    let error = loop {
        match stream.next().await.unwrap() {
            Ok(deltas) => {
                for delta in deltas {
                    if let matrix_models::delta::Delta::Text { text, .. } = delta {
                        heard.push_str(&text);
                    }
                }
            }
            Err(error) => break error,
        }
    };
    assert_eq!(
        (heard.as_str(), error.code().text),
        ("First line.\n", "MODEL-0015")
    );
    assert!(stream.next().await.is_none());
    let (read, wrote, failed) = site.charged().await;
    assert!(
        read >= 10 && wrote >= 5 && failed == 0,
        "{read} {wrote} {failed}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_for_vectors_and_for_an_order_are_looked_at() {
    let (site, upstream) = site(json!({ "redact": { "personal": "redact" } })).await;
    let vectors = json!({
        "object": "list", "model": "m", "usage": { "prompt_tokens": 2, "total_tokens": 2 },
        "data": [{ "object": "embedding", "index": 0, "embedding": [1.0] }],
    });
    upstream.then(whole(&vectors.to_string()));
    let embed = EmbedRequest {
        texts: vec![format!("about {ADA}")],
        ..EmbedRequest::default()
    };
    site.gateway.embed(&asking("kept"), embed).await.unwrap();
    let ranks = json!({ "id": "r", "results": [{ "index": 0, "relevance_score": 0.5 }] });
    upstream.then(whole(&ranks.to_string()));
    let rerank = RerankRequest {
        query: format!("who is {BOB}?"),
        texts: vec![format!("about {ADA}")],
        ..RerankRequest::default()
    };
    site.gateway.rerank(&asking("kept"), rerank).await.unwrap();
    let asked = upstream.asked();
    assert_eq!(asked[0].body["input"][0], "about [email_1]");
    assert_eq!(asked[1].body["query"], "who is [email_1]?");
    assert_eq!(asked[1].body["documents"][0], "about [email_2]");
}

/// Asks once, with something that is kept back.
struct Asks(Gateway);

#[async_trait]
impl DurableFunction for Asks {
    fn kind(&self) -> &'static str {
        "asks"
    }

    fn version(&self) -> &'static str {
        "1"
    }

    async fn execute(&self, run: Run, _: Value) -> Result<Value, RunError> {
        let asked = ModelUse {
            model: "kept".into(),
            ..ModelUse::default()
        };
        let request = asks(&format!("Write to {ADA}"));
        let recorded = ask(&run, &self.0, ("turn", &asked), &request).await?;
        Ok(serde_json::to_value(recorded).unwrap())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_counts_what_was_kept_back_and_does_not_have_it() {
    let (site, upstream) = site(json!({ "redact": { "email": "restore" } })).await;
    upstream.keep_saying(whole(&answer("I wrote to [email_1].", "")));
    let working = Working::start(site.engine(vec![Arc::new(Asks(site.gateway.clone()))]));
    let new = NewRun {
        kind: "asks".into(),
        title: "asks".into(),
        input: json!({}),
        caller: caller(),
        placing: Placing::default(),
    };
    let run = working.engine.create_run(new).await.unwrap();
    assert_eq!(working.settled(run).await, "succeeded");
    let journal = working.journal(run);
    let all = serde_json::to_string(&journal).unwrap();
    assert!(!all.contains(ADA), "{all}");
    assert!(all.contains("I wrote to [email_1]."), "{all}");
    let done = |entry: &&matrix_engine::Entry| entry.kind == EntryKind::StepCompleted;
    let step = journal.iter().rfind(done).unwrap();
    let step = step.payload.clone().unwrap();
    assert!(
        step.to_string().contains(r#""redacted":{"email":1}"#),
        "{step}"
    );
}

/// What the log's journal says of one call, by the record that a route asks for.
async fn noted(record: Value) -> Value {
    let said = json!({ "redact": { "email": "allow" }, "record": record });
    let (site, upstream) = site(said).await;
    let log = CallLog::default();
    let gateway = site.telling(Arc::new(Ears::default()), &log);
    let working = Working::start(site.engine(vec![Arc::new(ModelLog)]));
    let asked = || asks(&format!("Tell {ADA}: password = \"Sommer2024!\""));
    upstream.then(whole(&answer(&format!("{BOB} has {}", key()), "")));
    gateway.chat(&asking("kept"), asked()).await.unwrap();
    upstream.then(upstream::stream(&written(
        &format!("{BOB} has {}", key()),
        "",
        4,
    )));
    let once_more = ChatRequest {
        max_tokens: Some(999),
        ..asked()
    };
    gathered(&gateway, "kept", once_more).await.unwrap();
    log.flush(&working.engine, &caller()).await.unwrap();
    let run = working.runs("model_log")[0];
    working.settled(run).await;
    let journal = working.journal(run);
    let mut told = journal
        .iter()
        .filter(|entry| entry.kind == EntryKind::SignalReceived);
    let calls = told.next().unwrap().payload.clone().unwrap()["calls"].clone();
    assert_eq!(calls.as_array().unwrap().len(), 2);
    assert_eq!(
        calls[0]["content"], calls[1]["content"],
        "streamed as whole"
    );
    calls[0].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn words_are_noted_by_policy_alone_and_never_a_secret() {
    assert_eq!(noted(json!("none")).await.get("content"), None);
    assert_eq!(noted(Value::Null).await.get("content"), None);
    let content = |asked: &str, answered: &str| {
        json!({
            "asked": [{ "role": "user", "text": asked }],
            "answered": [{ "role": "assistant", "text": answered }],
        })
    };
    let call = noted(json!("redacted")).await;
    let clean = content(
        "Tell [email_1]: password = \"[credential_1]\"",
        "[email_1] has [provider_key_1]",
    );
    assert_eq!(call["content"], clean);
    let call = noted(json!("full")).await;
    let full = content(
        &format!("Tell {ADA}: password = \"[credential_1]\""),
        &format!("{BOB} has [provider_key_1]"),
    );
    assert_eq!(call["content"], full);
}

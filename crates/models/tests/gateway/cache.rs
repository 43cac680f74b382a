//! Answers that are kept for the same question.

use std::sync::Arc;
use std::time::Duration;

use matrix_models::chat::{ChatRequest, Message, Opaque, Part, Role, Tool};
use matrix_models::redact::GuardSpec;
use matrix_models::registry::{
    ModelAdd, ProviderKind, RouteSpec, Similar, Strategy, Target, add_route,
};
use matrix_models::{Cached, ModelUse};
use serde_json::json;

use crate::site::{READ, Site, allowed, asking, question, spec};
use crate::transcripts::{self, Has};
use crate::upstream::{PATIENCE, Step, Upstream, status, whole};

/// A route that keeps answers for ten minutes, and what stands behind it.
async fn keeping() -> (Site, Upstream) {
    let site = Site::new().await;
    let upstream = Upstream::always(whole(&transcripts::whole("openai", Has::Words))).await;
    site.model("m", ProviderKind::Openai, &upstream.url()).await;
    add(&site, route()).await;
    (site, upstream)
}

pub(crate) fn route() -> RouteSpec {
    RouteSpec {
        targets: vec![Target {
            model: "m".into(),
            weight: 1,
            tags: Vec::new(),
        }],
        strategy: Strategy::Ordered,
        fallbacks: None,
        cache_seconds: Some(600),
        cache_tools: false,
        cache_similar: None,
        guard: GuardSpec::default(),
    }
}

pub(crate) async fn add(site: &Site, spec: RouteSpec) {
    let add = allowed(ModelAdd {
        name: "kept".into(),
        version: "1".into(),
    });
    add_route(site.gateway.registry(), &add, &spec)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_question_is_paid_for_once_and_a_stream_gets_the_same_answer() {
    let (site, upstream) = keeping().await;
    let first = site.chat("kept").await.unwrap();
    let second = site.chat("kept").await.unwrap();
    let (streamed, _) = site.stream("kept").await.unwrap().collect().await.unwrap();
    assert_eq!(first.receipt.cached, Cached::No);
    assert_eq!(second.receipt.cached, Cached::Same);
    assert_eq!(first.answer, second.answer);
    assert_eq!(streamed.choices, first.answer.choices);
    assert_eq!(streamed.usage, first.answer.usage);
    assert_eq!(second.receipt.cost.as_nanos(), 0);
    assert_eq!(upstream.count(), 1);
    let line = site.used().await.remove(0);
    assert_eq!((line.calls, line.cached), (3, 2));
    assert_eq!(line.cost, first.receipt.cost);
    // The model itself keeps nothing, and neither does time.
    site.chat("m").await.unwrap();
    site.clock.advance(Duration::from_mins(10));
    site.chat("kept").await.unwrap();
    assert_eq!(upstream.count(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_question_and_turns_with_tools_are_asked_anew() {
    let (site, upstream) = keeping().await;
    site.chat("kept").await.unwrap();
    let warm = ChatRequest {
        sampling: matrix_models::chat::Sampling {
            temperature: Some(0.5),
            ..Default::default()
        },
        ..question()
    };
    let tools = ChatRequest {
        tools: vec![Tool::Function {
            name: "t".into(),
            description: None,
            parameters: None,
            strict: None,
            opaque: Opaque::default(),
        }],
        ..question()
    };
    let mut longer = question();
    longer.messages[0].parts.push(Part::text("!"));
    for (asked, count) in [(warm, 2), (longer, 3), (tools.clone(), 4), (tools, 5)] {
        let answered = site.gateway.chat(&asking("kept"), asked).await.unwrap();
        assert_eq!(answered.receipt.cached, Cached::No);
        assert_eq!(upstream.count(), count);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_ask_the_same_at_once_one_asks_the_provider() {
    let (site, upstream) = keeping().await;
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let mut reply = whole(&transcripts::whole("openai", Has::Words));
    reply.insert(0, Step::Gate(Arc::clone(&gate)));
    upstream.keep_saying(reply);
    let asked: ModelUse = asking("kept").action().clone();
    let calls = (0..50).map(|_| {
        let (gateway, asked) = (site.gateway.clone(), allowed(asked.clone()));
        tokio::spawn(async move { gateway.chat(&asked, question()).await.unwrap() })
    });
    let calls: Vec<_> = calls.collect();
    gate.add_permits(50);
    let all = futures::future::join_all(calls);
    let all = tokio::time::timeout(PATIENCE, all).await.unwrap();
    let paid = all.into_iter().map(Result::unwrap);
    assert_eq!(
        paid.filter(|call| call.receipt.cached == Cached::No)
            .count(),
        1
    );
    assert_eq!(upstream.count(), 1);
}

/// An answer with one vector, as `OpenAI` writes it.
fn vector(numbers: [f32; 3]) -> Vec<Step> {
    let body = json!({ "object": "list", "model": "e", "usage": { "prompt_tokens": 2, "total_tokens": 2 },
        "data": [{ "object": "embedding", "index": 0, "embedding": numbers }] });
    whole(&body.to_string())
}

fn saying(text: &str) -> ChatRequest {
    ChatRequest {
        messages: vec![
            Message::text(Role::System, "Be brief."),
            Message::text(Role::User, text),
        ],
        ..question()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_in_other_words_gets_the_same_answer_where_the_route_says_so() {
    let (site, upstream) = keeping().await;
    let vectors = Upstream::playing([
        vector([1.0, 0.0, 0.0]),
        vector([0.99, 0.05, 0.0]),
        vector([0.0, 1.0, 0.0]),
        vector([1.0, 0.01, 0.0]),
        vector([1.0, 0.0, 0.0]),
    ])
    .await;
    site.model("e", ProviderKind::Openai, &vectors.url()).await;
    let similar = Similar {
        model: "e".into(),
        at_least: 0.95,
    };
    add(
        &site,
        RouteSpec {
            cache_similar: Some(similar),
            ..route()
        },
    )
    .await;
    let ask = async |chat: ChatRequest| site.gateway.chat(&asking("kept"), chat).await.unwrap();
    let first = ask(saying("Where is the key?")).await;
    assert_eq!(first.receipt.cached, Cached::No);
    let again = ask(saying("Where can I find the key?")).await;
    assert_eq!(again.receipt.cached, Cached::Similar);
    assert_eq!(again.answer, first.answer);
    // Two tokens were read to look for it.
    assert_eq!(again.receipt.cost.as_nanos(), 2 * READ);
    let other = ask(saying("What is the weather?")).await;
    assert_eq!(other.receipt.cached, Cached::No);
    // Other instructions are another question, whatever its last words are.
    let mut strict = saying("Where would the key be?");
    strict.messages[0] = Message::text(Role::System, "Be long.");
    assert_eq!(ask(strict).await.receipt.cached, Cached::No);
    let kept = asking("kept");
    let streamed = site.gateway.stream(&kept, saying("The key, where?"));
    let (answer, receipt) = streamed.await.unwrap().collect().await.unwrap();
    assert_eq!(
        (answer.choices, receipt.cached),
        (first.answer.choices.clone(), Cached::Similar)
    );
    assert_eq!((upstream.count(), vectors.count()), (3, 5));
    // The same words need no vector.
    let same = ask(saying("Where is the key?")).await;
    assert_eq!(
        (same.receipt.cached, same.receipt.cost.as_nanos()),
        (Cached::Same, 0)
    );
    assert_eq!(vectors.count(), 5);
    let lines = site.used().await;
    let paid: i64 = lines.iter().map(|line| line.cost.as_nanos()).sum();
    let told = [&first, &again, &other].map(|answered| answered.receipt.cost.as_nanos());
    assert!(paid > told.iter().sum(), "{lines:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_no_vector_can_be_had_the_question_is_asked_and_says_so() {
    let (site, upstream) = keeping().await;
    let vectors = Upstream::always(status(500, "", "{}")).await;
    site.model("e", ProviderKind::Openai, &vectors.url()).await;
    let similar = Similar {
        model: "e".into(),
        at_least: 0.95,
    };
    let spec = RouteSpec {
        cache_similar: Some(similar.clone()),
        ..route()
    };
    add(&site, spec).await;
    let answered = site.chat("kept").await.unwrap();
    assert_eq!((answered.receipt.cached, upstream.count()), (Cached::No, 1));
    let passed = answered.receipt.passed.join(";");
    assert!(passed.contains("alike"), "{passed}");

    for (at_least, model) in [(0.2, "e"), (1.5, "e"), (0.9, "nobody"), (0.9, "kept")] {
        let spec = RouteSpec {
            cache_similar: Some(Similar {
                model: model.into(),
                at_least,
            }),
            ..route()
        };
        let add = allowed(ModelAdd {
            name: "kept".into(),
            version: "1".into(),
        });
        let added = add_route(site.gateway.registry(), &add, &spec).await;
        assert!(added.is_err(), "{model} {at_least}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn turns_with_tools_are_kept_where_the_route_says_so() {
    let (site, upstream) = keeping().await;
    upstream.keep_saying(whole(&transcripts::whole("openai", Has::Calls)));
    let spec = RouteSpec {
        cache_tools: true,
        ..route()
    };
    add(&site, spec).await;
    let tool = Tool::Function {
        name: "t".into(),
        description: None,
        parameters: None,
        strict: None,
        opaque: Opaque::default(),
    };
    let asked = ChatRequest {
        tools: vec![tool],
        ..question()
    };
    let first = site
        .gateway
        .chat(&asking("kept"), asked.clone())
        .await
        .unwrap();
    let again = site.gateway.chat(&asking("kept"), asked).await.unwrap();
    assert_eq!(first.answer, again.answer);
    assert_eq!((again.receipt.cached, upstream.count()), (Cached::Same, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_is_told_what_of_a_conversation_will_be_read_again() {
    let site = Site::new().await;
    let upstream = Upstream::always(whole(&transcripts::whole("anthropic", Has::Words))).await;
    let mut spec = spec(ProviderKind::Anthropic, &upstream.url());
    site.add("marked", &spec).await;
    spec.prompt_cache = false;
    site.add("plain", &spec).await;
    let mut chat = saying("And now?");
    let long = Message::text(Role::User, "word ".repeat(2_000));
    let answer = Message::text(Role::Assistant, "Yes.");
    chat.messages.splice(1..1, [long, answer]);
    for (name, marks) in [("marked", 3), ("plain", 0)] {
        let asked = site.gateway.chat(&asking(name), chat.clone()).await;
        asked.unwrap();
        let body = upstream.asked().pop().unwrap().body.to_string();
        assert_eq!(
            body.matches("cache_control").count(),
            marks,
            "{name}: {body}"
        );
    }
}

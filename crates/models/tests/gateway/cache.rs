//! Answers that are kept for the same question.

use std::sync::Arc;
use std::time::Duration;

use matrix_models::ModelUse;
use matrix_models::chat::{ChatRequest, Opaque, Part, Tool};
use matrix_models::registry::{ModelAdd, ProviderKind, RouteSpec, Strategy, Target, add_route};

use crate::site::{Site, allowed, asking, question};
use crate::transcripts::{self, Has};
use crate::upstream::{PATIENCE, Step, Upstream, whole};

/// A route that keeps answers for ten minutes, and what stands behind it.
async fn keeping() -> (Site, Upstream) {
    let site = Site::new().await;
    let upstream = Upstream::always(whole(&transcripts::whole("openai", Has::Words))).await;
    site.model("m", ProviderKind::Openai, &upstream.url()).await;
    let spec = RouteSpec {
        targets: vec![Target {
            model: "m".into(),
            weight: 1,
            tags: Vec::new(),
        }],
        strategy: Strategy::Ordered,
        fallbacks: None,
        cache_seconds: Some(600),
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

#[tokio::test(flavor = "multi_thread")]
async fn the_same_question_is_paid_for_once_and_a_stream_gets_the_same_answer() {
    let (site, upstream) = keeping().await;
    let first = site.chat("kept").await.unwrap();
    let second = site.chat("kept").await.unwrap();
    let (streamed, _) = site.stream("kept").await.unwrap().collect().await.unwrap();
    assert!(!first.receipt.cached && second.receipt.cached);
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
        assert!(!answered.receipt.cached);
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
    assert_eq!(paid.filter(|call| !call.receipt.cached).count(), 1);
    assert_eq!(upstream.count(), 1);
}

//! Which models a caller may ask that did not name one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use matrix_core::{Action, Authorised, Authorizer, Caller, Denied};
use matrix_models::chat::{ChatRequest, Protocol};
use matrix_models::registry::{Api, ProviderKind, Task};
use matrix_models::{ModelError, ModelUse};
use serde_json::{Value, json};

use crate::site::{Site, asking, caller, question, spec};
use crate::transcripts::{self, Has};
use crate::upstream::{Upstream, whole};

/// Every model but `dear`.
struct NotDear;

impl Authorizer for NotDear {
    fn decide(&self, caller: &Caller, action: &'static str, facts: &Value) -> Result<(), Denied> {
        if facts["model"] != "dear" {
            return Ok(());
        }
        Err(Denied {
            caller: caller.principal.to_string(),
            action,
            reason: "it is dear".into(),
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_a_caller_may_not_ask_is_not_chosen_for_it_either() {
    let site = Site::new().await;
    let answer = whole(&transcripts::whole("openai", Has::Words));
    let (cheap, dear) = (
        Upstream::always(answer.clone()).await,
        Upstream::always(answer).await,
    );
    for (name, upstream) in [("cheap", &cheap), ("dear", &dear)] {
        let mut spec = spec(ProviderKind::Openai, &upstream.url());
        spec.tasks = vec![Task::General];
        site.add(name, &spec).await;
    }
    let gateway = site.judged("two", Arc::new(NotDear));
    for _ in 0..20 {
        gateway.chat(&asking("auto"), question()).await.unwrap();
    }
    assert_eq!((cheap.count(), dear.count()), (20, 0));
    let mut spec = spec(ProviderKind::Openai, &dear.url());
    spec.tasks = vec![Task::Code];
    site.add("dear", &spec).await;
    site.clock.advance(std::time::Duration::from_secs(2));
    let refused = gateway.chat(&asking("task:code"), question()).await;
    assert!(
        matches!(refused, Err(ModelError::NoModel(_))),
        "{refused:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_that_let_others_answer_or_cost_more_reach_no_provider() {
    let site = Site::new().await;
    let upstream = Upstream::always(whole(&transcripts::whole("openai", Has::Words))).await;
    for (name, api) in [("chat", Api::Chat), ("responses", Api::Responses)] {
        let mut spec = spec(ProviderKind::Openai, &upstream.url());
        spec.provider.api = api;
        site.add(name, &spec).await;
    }
    for (name, protocol) in [
        ("chat", Protocol::OpenaiChat),
        ("responses", Protocol::OpenaiResponses),
    ] {
        let extra = json!({ "service_tier": "priority", "models": ["other"], "store": false });
        let chat = ChatRequest {
            extra: extra.as_object().unwrap().clone(),
            protocol: Some(protocol),
            ..question()
        };
        let answered = site.gateway.chat(&asking(name), chat).await;
        let body = upstream.asked().pop().unwrap().body;
        assert_eq!(body["store"], false, "{name}: others are handed on");
        assert!(body.get("service_tier").is_none(), "{name}: {body}");
        assert!(body.get("models").is_none(), "{name}: {body}");
        if let Ok(answered) = answered {
            let dropped = &answered.receipt.dropped;
            assert!(dropped.contains(&"models") && dropped.contains(&"service_tier"));
        }
    }
}

#[test]
fn policies_see_a_model_by_its_name_whatever_version_is_asked() {
    let named = |model: &str| ModelUse {
        model: model.into(),
        ..ModelUse::default()
    };
    assert_eq!(named("dear@2").facts(), json!({ "model": "dear" }));
    assert_eq!(named("dear").facts(), json!({ "model": "dear" }));
}

/// Allows what it is told to, and counts how often it is asked.
#[derive(Default)]
struct Counting {
    asked: AtomicUsize,
    refuses: AtomicBool,
}

impl Authorizer for Counting {
    fn decide(&self, caller: &Caller, action: &'static str, _: &Value) -> Result<(), Denied> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if !self.refuses.load(Ordering::SeqCst) {
            return Ok(());
        }
        Err(Denied {
            caller: caller.principal.to_string(),
            action,
            reason: "not any more".into(),
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_allowed_is_remembered_for_a_second_and_a_refusal_never() {
    let site = Site::new().await;
    let rules = Arc::new(Counting::default());
    let gateway = site.judged("two", rules.clone());
    let may = |model: &str| {
        let named = ModelUse {
            model: model.into(),
            ..ModelUse::default()
        };
        Authorised::obtain(gateway.authorizer(), caller(), named).is_ok()
    };
    assert!(may("m") && may("m") && may("n"));
    assert_eq!(rules.asked.load(Ordering::SeqCst), 2);
    rules.refuses.store(true, Ordering::SeqCst);
    site.clock.advance(Duration::from_millis(999));
    assert!(may("m") && !may("o"));
    site.clock.advance(Duration::from_millis(1));
    assert!(!may("m"));
    rules.refuses.store(false, Ordering::SeqCst);
    assert!(may("m") && may("o"));
}

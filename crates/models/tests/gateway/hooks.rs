//! A service of the operator's that redacts: what it changes, what it refuses, and what happens without it.

use matrix_models::redact::HookSpec;
use matrix_models::registry::ProviderKind;
use matrix_models::{Gateway, Guards, ModelError};
use serde_json::{Value, json};

use crate::site::{Site, asking, question};
use crate::transcripts::{self, Has};
use crate::upstream::{Reply, Step, Upstream, status, whole};

/// A gateway whose operator has a service, the service, and a provider.
async fn site(reply: Reply) -> (Site, Gateway, Upstream, Upstream) {
    let site = Site::new().await;
    let provider = Upstream::always(whole(&transcripts::whole("openai", Has::Words))).await;
    site.model("m", ProviderKind::Openai, &provider.url()).await;
    let service = Upstream::always(reply).await;
    let hook = HookSpec {
        url: format!("{}/redact", service.url()),
        key: Some(site.key("hook", "its-token")),
        private: true,
        timeout_ms: Some(300),
    };
    hook.check().unwrap();
    let guards = Guards {
        hook: Some(hook),
        ..Guards::default()
    };
    let gateway = site.guarded(guards);
    (site, gateway, service, provider)
}

/// What it was sent, with every `Hi` replaced.
fn replacing(body: &Value) -> Reply {
    let texts = body["texts"].as_array().unwrap().iter();
    let texts = texts.map(|text| text.as_str().unwrap().replace("Hi", "[word]"));
    let texts: Vec<String> = texts.collect();
    whole(&json!({ "texts": texts }).to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_service_changes_is_what_the_provider_is_sent() {
    let (_site, gateway, service, provider) = site(vec![Step::Answer(replacing)]).await;
    gateway.chat(&asking("m"), question()).await.unwrap();
    drop(gateway.stream(&asking("m"), question()).await);
    let asked = service.asked();
    assert_eq!((asked.len(), asked[0].path.as_str()), (2, "/redact"));
    assert_eq!(asked[0].header("authorization"), Some("Bearer its-token"));
    assert_eq!(asked[0].body, json!({ "texts": ["Hi"] }));
    let sent = provider.asked();
    assert_eq!(sent[0].body["messages"][0]["content"], "[word]");
    let counted = gateway.meters().redactions();
    assert_eq!(counted, [(("hook".to_owned(), "redact"), 2)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_service_refuses_is_refused_in_its_word_and_with_its_place() {
    let verdict = json!({ "block": { "class": "project-x", "text": 0 } });
    let (_site, gateway, _service, provider) = site(whole(&verdict.to_string())).await;
    let error = gateway.chat(&asking("m"), question()).await.unwrap_err();
    assert_eq!(error.code().text, "MODEL-0015");
    let text = error.to_string();
    assert!(
        text.contains("message 0, part 0") && text.contains("`project-x`"),
        "{text}"
    );
    assert_eq!(provider.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_service_nothing_goes() {
    for reply in [
        status(500, "", "{}"),
        whole("no JSON"),
        whole("{}"),
        whole(r#"{"texts":["one","two"]}"#),
        status(302, "location: http://127.0.0.1:1/\r\n", ""),
        vec![Step::Silence],
        Vec::new(),
    ] {
        let what = format!("{reply:?}");
        let (_site, gateway, _service, provider) = site(reply).await;
        let error = gateway.chat(&asking("m"), question()).await.unwrap_err();
        assert!(matches!(error, ModelError::Redactor(_)), "{what}: {error}");
        assert_eq!(error.code().text, "MODEL-0016");
        let complaint = error.complaint();
        assert_eq!(complaint.status, 503);
        assert!(
            !complaint.message.contains("127.0.0.1"),
            "{}",
            complaint.message
        );
        assert_eq!(provider.count(), 0, "{what}");
    }
}

#[test]
fn the_service_is_held_to_the_rules_of_addresses() {
    let spec = |url: &str, private| HookSpec {
        url: url.into(),
        key: None,
        private,
        timeout_ms: None,
    };
    assert!(spec("https://dlp.example.org/v1", false).check().is_ok());
    assert!(spec("http://dlp.example.org/v1", false).check().is_err());
    assert!(spec("https://10.0.0.7/v1", false).check().is_err());
    assert!(spec("https://169.254.169.254/", true).check().is_err());
    let slow = HookSpec {
        timeout_ms: Some(3_600_000),
        ..spec("https://dlp.example.org/v1", false)
    };
    assert!(slow.check().is_err());
}

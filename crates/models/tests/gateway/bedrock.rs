//! Amazon Bedrock at its socket: addresses, signatures, bodies and errors.

use matrix_models::ModelError;
use matrix_models::embed::EmbedRequest;
use matrix_models::provider::{Reason, Refusal};
use matrix_models::registry::{ModelSpec, PriceRule, ProviderKind};
use matrix_models::rerank::RerankRequest;
use ring::digest::{SHA256, digest};
use ring::hmac::{self, HMAC_SHA256};
use serde_json::json;

use crate::site::{Site, asking, spec};
use crate::transcripts::{Has, file, streamed, whole};
use crate::upstream::{self, Asked, Upstream, status};

const CLAUDE: &str = "eu.anthropic.claude-sonnet-4-5-20250929-v1:0";

fn named(model: &str, upstream: &Upstream) -> ModelSpec {
    let mut spec = spec(ProviderKind::Bedrock, &upstream.url());
    spec.model = model.into();
    spec
}

fn reason(error: &ModelError) -> Reason {
    match error {
        ModelError::Provider { source, .. } => source.reason,
        other => panic!("{other}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    let each: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    each.concat()
}

/// The signature that a request should have, worked out once more from what arrived.
fn signature(asked: &Asked, names: &str, secret: &str) -> String {
    let line = |name| format!("{name}:{}\n", asked.header(name).unwrap());
    let lines: Vec<String> = names.split(';').map(line).collect();
    let lines = lines.concat();
    let hash = |text: &str| hex(digest(&SHA256, text.as_bytes()).as_ref());
    let path = asked.path.replace('%', "%25");
    let body = hash(&asked.text);
    let request = format!("{}\n{path}\n\n{lines}\n{names}\n{body}", asked.method);
    let time = asked.header("x-amz-date").unwrap();
    let scope = format!("{}/eu-central-1/bedrock/aws4_request", &time[..8]);
    let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hash(&request));
    let mut key = format!("AWS4{secret}").into_bytes();
    for word in scope.split('/').chain([text.as_str()]) {
        let signed = hmac::sign(&hmac::Key::new(HMAC_SHA256, &key), word.as_bytes());
        key = signed.as_ref().to_vec();
    }
    hex(&key)
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_signed_and_go_where_the_documentation_says() {
    for (key, names, session) in [
        (
            "AKIDEXAMPLE:wJalr/K7+x",
            "content-type;host;x-amz-date",
            None,
        ),
        (
            "ASIAEXAMPLE:wJalr/K7+x:Fwo//wEXAMPLE==",
            "content-type;host;x-amz-date;x-amz-security-token",
            Some("Fwo//wEXAMPLE=="),
        ),
    ] {
        let upstream = Upstream::playing([
            upstream::whole(&whole("bedrock", Has::Words)),
            upstream::stream(&streamed("bedrock", Has::Words)),
        ])
        .await;
        let site = Site::new().await;
        let mut spec = named(CLAUDE, &upstream);
        spec.provider.key = Some(site.key("aws", key));
        site.add("m", &spec).await;
        site.chat("m").await.unwrap();
        site.stream("m").await.unwrap().collect().await.unwrap();
        let model = CLAUDE.replace(':', "%3A");
        let asked = upstream.asked();
        for (asked, verb) in asked.iter().zip(["converse", "converse-stream"]) {
            assert_eq!(asked.method, "POST");
            assert_eq!(asked.path, format!("/model/{model}/{verb}"));
            let time = asked.header("x-amz-date").unwrap();
            assert_eq!(time, "20260921T141322Z");
            assert_eq!(asked.header("x-amz-security-token"), session);
            let says = asked.header("authorization").unwrap();
            let id = key.split(':').next().unwrap();
            let scope = "20260921/eu-central-1/bedrock/aws4_request";
            let signature = signature(asked, names, "wJalr/K7+x");
            assert_eq!(
                says,
                format!(
                    "AWS4-HMAC-SHA256 Credential={id}/{scope}, SignedHeaders={names}, \
                     Signature={signature}"
                )
            );
            assert!(!says.contains("wJalr"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_bedrocks_own_is_sent_as_it_is() {
    let upstream = Upstream::always(upstream::whole(&whole("bedrock", Has::Words))).await;
    let site = Site::new().await;
    let mut spec = named("amazon.nova-lite-v1:0", &upstream);
    spec.provider.key = Some(site.key("aws", "ABSKQmVkcm9jaw=="));
    site.add("m", &spec).await;
    site.chat("m").await.unwrap();
    let asked = upstream.asked().remove(0);
    assert_eq!(
        asked.header("authorization"),
        Some("Bearer ABSKQmVkcm9jaw==")
    );
    assert_eq!(asked.header("x-amz-date"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_have_their_reason() {
    let body = |message: &str| json!({ "message": message }).to_string();
    let busy = Reason::Busy { retry_after: None };
    for (code, expected) in [
        (400, Reason::Invalid),
        (403, Reason::Refused(Refusal::Model)),
        (404, Reason::NoModel),
        (408, Reason::Slow),
        (424, Reason::Failed),
        (429, busy),
        (500, Reason::Failed),
        (503, Reason::Failed),
    ] {
        let upstream = Upstream::always(status(code, "", &body("It is so."))).await;
        let site = Site::new().await;
        site.add("m", &named(CLAUDE, &upstream)).await;
        let error = site.chat("m").await.unwrap_err();
        assert_eq!(reason(&error), expected, "{code}");
        if expected == Reason::Invalid {
            assert_eq!(error.complaint().message, "It is so.");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn exceptions_and_broken_frames_end_a_stream() {
    let start = streamed("bedrock", Has::Words);
    let start = upstream::events(&start)[0].to_owned();
    let mut changed = upstream::bytes(&start);
    changed[30] ^= 1;
    let invalid = r#"{":exception-type":"validationException","payload":{"message":"No."}}"#;
    let busy = Reason::Busy { retry_after: None };
    for (bytes, expected) in [
        (upstream::bytes(&file("bedrock", "error.frames")), busy),
        (upstream::bytes(invalid), Reason::Failed),
        (changed, Reason::Broken),
        (b"data: {}\n\n".to_vec(), Reason::Broken),
        (vec![0; 64], Reason::Broken),
    ] {
        let mut reply = vec![upstream::begin("application/vnd.amazon.eventstream")];
        reply.extend([
            upstream::said(&start),
            upstream::piece(&bytes),
            upstream::end(),
        ]);
        let upstream = Upstream::always(reply).await;
        let site = Site::new().await;
        site.add("m", &named(CLAUDE, &upstream)).await;
        let error = match site.stream("m").await {
            Ok(stream) => stream.collect().await.unwrap_err(),
            Err(error) => error,
        };
        assert_eq!(reason(&error), expected, "{error}");
    }
}

fn vectors(texts: &[&str]) -> EmbedRequest {
    EmbedRequest {
        texts: texts.iter().map(|text| (*text).to_owned()).collect(),
        dimensions: Some(256),
        purpose: Some("query".into()),
        ..EmbedRequest::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn titan_and_cohere_make_vectors() {
    let upstream = Upstream::start().await;
    let site = Site::new().await;
    site.add("titan", &named("amazon.titan-embed-text-v2:0", &upstream))
        .await;
    let one = json!({ "embedding": [0.5, 0.25], "inputTextTokenCount": 3 }).to_string();
    upstream.keep_saying(upstream::whole(&one));
    let asked = site
        .gateway
        .embed(&asking("titan"), vectors(&["a", "b"]))
        .await;
    let (answer, _) = asked.unwrap();
    assert_eq!(answer.vectors, [[0.5, 0.25], [0.5, 0.25]]);
    assert_eq!(answer.usage.unwrap().input, 6);
    let mut sent: Vec<String> = upstream.asked().iter().map(|it| it.text.clone()).collect();
    sent.sort_unstable();
    let body = |text: &str| json!({ "inputText": text, "dimensions": 256 }).to_string();
    assert_eq!(sent, [body("a"), body("b")]);
    let path = "/model/amazon.titan-embed-text-v2%3A0/invoke";
    assert!(upstream.asked().iter().all(|asked| asked.path == path));

    for answer in [
        json!({ "embeddings": { "float": [[1, 0], [0, 1]] } }),
        json!({ "embeddings": [[1, 0], [0, 1]] }),
    ] {
        let upstream = Upstream::always(upstream::whole(&answer.to_string())).await;
        let site = Site::new().await;
        site.add("m", &named("cohere.embed-v4:0", &upstream)).await;
        let asked = site.gateway.embed(&asking("m"), vectors(&["a", "b"])).await;
        assert_eq!(asked.unwrap().0.vectors, [[1.0, 0.0], [0.0, 1.0]]);
        assert_eq!(
            upstream.asked()[0].body,
            json!({
                "texts": ["a", "b"],
                "input_type": "search_query",
                "embedding_types": ["float"],
                "output_dimension": 256,
            })
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_are_put_in_order() {
    let body = json!({ "results": [
        { "index": 1, "relevance_score": 0.9 }, { "index": 0, "relevance_score": 0.1 },
    ] });
    let upstream = Upstream::always(upstream::whole(&body.to_string())).await;
    let site = Site::new().await;
    for (name, model) in [("c", "cohere.rerank-v3-5:0"), ("a", "amazon.rerank-v1:0")] {
        site.add(name, &named(model, &upstream)).await;
        let request = RerankRequest {
            query: "warm".into(),
            texts: vec!["snow".into(), "sun".into()],
            top: Some(2),
            ..RerankRequest::default()
        };
        let (answer, _) = site.gateway.rerank(&asking(name), request).await.unwrap();
        let order: Vec<usize> = answer.ranks.iter().map(|rank| rank.index).collect();
        assert_eq!(order, [1, 0]);
    }
    let asked = upstream.asked();
    assert_eq!(asked[0].path, "/model/cohere.rerank-v3-5%3A0/invoke");
    let mut body = json!({ "query": "warm", "documents": ["snow", "sun"], "top_n": 2 });
    assert_eq!(asked[1].body, body);
    body["api_version"] = 2.into();
    assert_eq!(asked[0].body, body);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_models_that_there_are_are_listed() {
    let body = json!({ "modelSummaries": [{ "modelId": "amazon.nova-lite-v1:0" }] });
    let upstream = Upstream::always(upstream::whole(&body.to_string())).await;
    let site = Site::new().await;
    site.add("m", &named(CLAUDE, &upstream)).await;
    let names = site.gateway.probe(&asking("m")).await.unwrap();
    assert_eq!(names, ["amazon.nova-lite-v1:0"]);
    let asked = upstream.asked().remove(0);
    assert_eq!(
        (asked.method.as_str(), asked.path.as_str()),
        ("GET", "/foundation-models")
    );
}

#[test]
fn a_region_is_needed_and_an_address_is_not() {
    let mut spec = spec(ProviderKind::Bedrock, "https://example.com");
    spec.provider.base_url = None;
    spec.price = PriceRule::Free;
    assert!(spec.check().is_ok());
    spec.provider.region = None;
    assert!(spec.check().is_err());
}

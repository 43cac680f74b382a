//! Vectors and ranking of Cohere and of Hugging Face at their sockets.

use matrix_models::ModelError;
use matrix_models::embed::EmbedRequest;
use matrix_models::price::Price;
use matrix_models::provider::{Reason, Refusal};
use matrix_models::registry::{ModelSpec, PriceRule, ProviderKind};
use matrix_models::rerank::RerankRequest;
use serde_json::{Value, json};

use crate::site::{Site, asking, spec};
use crate::upstream::{self, Upstream, status};

fn made(kind: ProviderKind, site: &Site, upstream: &Upstream) -> ModelSpec {
    let mut spec = spec(kind, &upstream.url());
    spec.model = "a/model-v1.0".into();
    spec.provider.key = Some(site.key("key", "secret"));
    spec
}

fn reason(error: &ModelError) -> Reason {
    match error {
        ModelError::Provider { source, .. } => source.reason,
        other => panic!("{other}"),
    }
}

fn texts(count: usize) -> EmbedRequest {
    EmbedRequest {
        texts: (0..count).map(|number| number.to_string()).collect(),
        ..EmbedRequest::default()
    }
}

fn ranking() -> RerankRequest {
    RerankRequest {
        query: "warm".into(),
        texts: ["snow", "sun", "rain"].map(str::to_owned).to_vec(),
        top: Some(2),
        ..RerankRequest::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cohere_makes_vectors() {
    let body = json!({
        "id": "e-1",
        "response_type": "embeddings_by_type",
        "embeddings": { "float": [[0.5, 0.25], [1, 0]] },
        "texts": ["0", "1"],
        "meta": { "api_version": { "version": "2" }, "billed_units": { "input_tokens": 6 } },
    });
    let upstream = Upstream::always(upstream::whole(&body.to_string())).await;
    let site = Site::new().await;
    site.add("m", &made(ProviderKind::Cohere, &site, &upstream))
        .await;
    for (purpose, sent) in [
        (None, "search_document"),
        (Some("query"), "search_query"),
        (Some("clustering"), "clustering"),
    ] {
        let request = EmbedRequest {
            purpose: purpose.map(str::to_owned),
            dimensions: Some(2),
            ..texts(2)
        };
        let (answer, receipt) = site.gateway.embed(&asking("m"), request).await.unwrap();
        assert_eq!(answer.vectors, [[0.5, 0.25], [1.0, 0.0]]);
        assert_eq!(answer.usage.unwrap().input, 6);
        assert!(!receipt.estimated);
        let asked = upstream.asked().pop().unwrap();
        assert_eq!(
            (asked.method.as_str(), asked.path.as_str()),
            ("POST", "/v2/embed")
        );
        assert_eq!(asked.header("authorization"), Some("Bearer secret"));
        assert_eq!(
            asked.body,
            json!({
                "model": "a/model-v1.0",
                "texts": ["0", "1"],
                "input_type": sent,
                "embedding_types": ["float"],
                "output_dimension": 2,
            })
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_texts_are_sent_in_parts_and_come_back_in_order() {
    let part = |from: usize, count: usize| {
        let vectors: Vec<Value> = (from..from + count)
            .map(|number| json!([number, 1]))
            .collect();
        let meta = json!({ "billed_units": { "input_tokens": count } });
        let body = json!({ "embeddings": { "float": vectors }, "meta": meta });
        upstream::whole(&body.to_string())
    };
    let upstream = Upstream::start().await;
    let site = Site::new().await;
    site.add("m", &made(ProviderKind::Cohere, &site, &upstream))
        .await;
    upstream.keep_saying(part(0, 96));
    let (answer, _) = site.gateway.embed(&asking("m"), texts(192)).await.unwrap();
    assert_eq!((answer.vectors.len(), upstream.count()), (192, 2));
    assert_eq!(answer.usage.unwrap().input, 192);
    let mut sent: Vec<Value> = upstream
        .asked()
        .iter()
        .map(|it| it.body["texts"].clone())
        .collect();
    sent.sort_by_key(|texts| texts[0].to_string().len());
    let names =
        |from: usize| -> Vec<String> { (from..from + 96).map(|it| it.to_string()).collect() };
    assert_eq!(sent, [json!(names(0)), json!(names(96))]);
    // A part with too few makes the whole wrong.
    upstream.keep_saying(part(0, 95));
    let refused = site.gateway.embed(&asking("m"), texts(192)).await;
    assert_eq!(reason(&refused.unwrap_err()), Reason::Broken);
}

#[tokio::test(flavor = "multi_thread")]
async fn cohere_puts_texts_in_order_and_is_paid_for_searches() {
    let body = json!({
        "id": "r-1",
        "results": [
            { "index": 1, "relevance_score": 0.75 },
            { "index": 2, "relevance_score": 0.5 },
        ],
        "meta": { "billed_units": { "search_units": 3 } },
    });
    let upstream = Upstream::always(upstream::whole(&body.to_string())).await;
    let site = Site::new().await;
    let mut spec = made(ProviderKind::Cohere, &site, &upstream);
    spec.price = PriceRule::Fixed(Price {
        query: Some(2_000_000_000),
        ..Price::default()
    });
    site.add("m", &spec).await;
    let (answer, receipt) = site.gateway.rerank(&asking("m"), ranking()).await.unwrap();
    let ranks: Vec<(usize, f64)> = answer.ranks.iter().map(|it| (it.index, it.score)).collect();
    assert_eq!(ranks, [(1, 0.75), (2, 0.5)]);
    assert_eq!(receipt.cost.as_nanos(), 6_000_000);
    let asked = upstream.asked().remove(0);
    assert_eq!(asked.path, "/v2/rerank");
    assert_eq!(
        asked.body,
        json!({
            "query": "warm",
            "documents": ["snow", "sun", "rain"],
            "model": "a/model-v1.0",
            "top_n": 2,
        })
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn hugging_faces_servers_make_vectors_and_put_texts_in_order() {
    let upstream = Upstream::start().await;
    let site = Site::new().await;
    site.add("m", &made(ProviderKind::HuggingFace, &site, &upstream))
        .await;
    upstream.then(upstream::whole("[[0.5,0.25],[1,0]]"));
    let (answer, receipt) = site.gateway.embed(&asking("m"), texts(2)).await.unwrap();
    assert_eq!(answer.vectors, [[0.5, 0.25], [1.0, 0.0]]);
    assert!(receipt.estimated, "it does not say what it used");
    let ranks = r#"[{"index":0,"score":0.1},{"index":1,"score":0.9},{"index":2,"score":0.5}]"#;
    upstream.then(upstream::whole(ranks));
    let (answer, _) = site.gateway.rerank(&asking("m"), ranking()).await.unwrap();
    let order: Vec<usize> = answer.ranks.iter().map(|rank| rank.index).collect();
    assert_eq!(order, [1, 2], "two were wanted, and it gives all");
    let asked = upstream.asked();
    let paths: Vec<&str> = asked.iter().map(|asked| asked.path.as_str()).collect();
    assert_eq!(paths, ["/embed", "/rerank"]);
    assert_eq!(asked[0].header("authorization"), Some("Bearer secret"));
    assert_eq!(asked[0].body, json!({ "inputs": ["0", "1"] }));
    let body = json!({ "query": "warm", "texts": ["snow", "sun", "rain"] });
    assert_eq!(asked[1].body, body);
}

#[tokio::test(flavor = "multi_thread")]
async fn vectors_of_a_length_that_cannot_be_chosen_are_not_asked_for() {
    let upstream = Upstream::start().await;
    let site = Site::new().await;
    site.add("m", &made(ProviderKind::HuggingFace, &site, &upstream))
        .await;
    let request = EmbedRequest {
        dimensions: Some(256),
        ..texts(1)
    };
    let refused = site.gateway.embed(&asking("m"), request).await;
    assert_eq!(reason(&refused.unwrap_err()), Reason::Unsupported);
    assert_eq!(upstream.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_list_of_vectors_is_an_error() {
    for (kind, body) in [
        (ProviderKind::HuggingFace, "[[[0.5]],[[1]]]"),
        (ProviderKind::HuggingFace, "[[0.5]]"),
        (ProviderKind::HuggingFace, "[[0.5],[1,2]]"),
        (ProviderKind::HuggingFace, "[[],[]]"),
        (ProviderKind::HuggingFace, r#"{"vectors":[]}"#),
        (ProviderKind::Cohere, r#"{"embeddings":{"int8":[[1],[2]]}}"#),
        (
            ProviderKind::Cohere,
            r#"{"embeddings":{"float":[["a"],[2]]}}"#,
        ),
        (ProviderKind::Cohere, "[]"),
        (
            ProviderKind::Vertex,
            r#"{"predictions":[{"embeddings":{}},{}]}"#,
        ),
        (ProviderKind::Bedrock, r#"{"embeddings":{}}"#),
    ] {
        let upstream = Upstream::always(upstream::whole(body)).await;
        let site = Site::new().await;
        let mut spec = made(kind, &site, &upstream);
        spec.model = match kind {
            ProviderKind::Bedrock => "cohere.embed-v4:0".into(),
            _ => "m".into(),
        };
        site.add("m", &spec).await;
        let refused = site.gateway.embed(&asking("m"), texts(2)).await;
        assert_eq!(
            reason(&refused.unwrap_err()),
            Reason::Broken,
            "{kind} {body}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rank_of_a_text_that_was_not_sent_is_an_error() {
    for body in [
        r#"[{"index":3,"score":0.5}]"#,
        r#"[{"index":-1,"score":0.5}]"#,
        r#"[{"index":0}]"#,
        r#"{"results":[{"index":7,"relevance_score":1}]}"#,
    ] {
        let upstream = Upstream::always(upstream::whole(body)).await;
        let site = Site::new().await;
        site.add("m", &made(ProviderKind::HuggingFace, &site, &upstream))
            .await;
        let refused = site.gateway.rerank(&asking("m"), ranking()).await;
        assert_eq!(reason(&refused.unwrap_err()), Reason::Broken, "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_read_in_each_ones_words() {
    for (kind, code, body, expected, says) in [
        (
            ProviderKind::Cohere,
            400,
            r#"{"message":"no such input_type"}"#,
            Reason::Invalid,
            "no such",
        ),
        (
            ProviderKind::Cohere,
            401,
            r#"{"message":"invalid api token"}"#,
            Reason::Refused(Refusal::Everything),
            "our key",
        ),
        (
            ProviderKind::Cohere,
            404,
            r#"{"message":"model not found"}"#,
            Reason::NoModel,
            "404",
        ),
        (
            ProviderKind::HuggingFace,
            413,
            r#"{"error":"batch too large","error_type":"Validation"}"#,
            Reason::Invalid,
            "batch too large",
        ),
        (
            ProviderKind::HuggingFace,
            424,
            r#"{"error":"Inference failed","error_type":"Backend"}"#,
            Reason::Failed,
            "Inference failed",
        ),
        (
            ProviderKind::HuggingFace,
            429,
            r#"{"error":"Model is overloaded","error_type":"Overloaded"}"#,
            Reason::Busy { retry_after: None },
            "overloaded",
        ),
    ] {
        let upstream = Upstream::always(status(code, "", body)).await;
        let site = Site::new().await;
        site.add("m", &made(kind, &site, &upstream)).await;
        let error = site
            .gateway
            .embed(&asking("m"), texts(1))
            .await
            .unwrap_err();
        assert_eq!(reason(&error), expected, "{kind} {code}");
        assert!(error.to_string().contains(says), "{error}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}

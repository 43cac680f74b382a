//! Texts of several callers that are asked for together.

use std::sync::Arc;

use matrix_models::embed::{EmbedAnswer, EmbedRequest};
use matrix_models::registry::ProviderKind;
use matrix_models::{Gateway, ModelError, Receipt};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::site::{Site, asking};
use crate::upstream::{PATIENCE, Reply, Step, Upstream, status, whole};

fn texts(texts: &[&str]) -> EmbedRequest {
    EmbedRequest {
        texts: texts.iter().map(|text| (*text).to_owned()).collect(),
        ..EmbedRequest::default()
    }
}

/// For each text the number that it is, a token for each of its letters; an empty text is refused.
fn numbers(body: &Value) -> Reply {
    let texts = body["input"].as_array().unwrap();
    let texts: Vec<&str> = texts.iter().map(|text| text.as_str().unwrap()).collect();
    if texts.contains(&"") {
        let refusal = r#"{"error":{"message":"an empty text","type":"invalid_request_error"}}"#;
        return status(400, "", refusal);
    }
    let tokens: usize = texts.iter().map(|text| text.len()).sum();
    let data = texts.iter().enumerate().map(|(index, text)| {
        let number: f32 = text.trim().parse().unwrap();
        json!({ "object": "embedding", "index": index, "embedding": [number] })
    });
    let data: Vec<Value> = data.collect();
    let usage = json!({ "prompt_tokens": tokens, "total_tokens": tokens });
    whole(&json!({ "object": "list", "model": "m", "data": data, "usage": usage }).to_string())
}

type Embedded = Result<(EmbedAnswer, Receipt), ModelError>;

async fn embed(gateway: Gateway, request: EmbedRequest) -> Embedded {
    gateway.embed(&asking("m"), request).await
}

/// A site at which somebody waits for the vector of `0` until the gate opens.
async fn busy() -> (Site, Upstream, Arc<Semaphore>, JoinHandle<Embedded>) {
    let site = Site::new().await;
    let upstream = Upstream::always(vec![Step::Answer(numbers)]).await;
    site.model("m", ProviderKind::Openai, &upstream.url()).await;
    let gate = Arc::new(Semaphore::new(0));
    upstream.then(vec![Step::Gate(Arc::clone(&gate)), Step::Answer(numbers)]);
    let first = tokio::spawn(embed(site.gateway.clone(), texts(&["0"])));
    let asked = async {
        while upstream.count() == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, asked).await.unwrap();
    (site, upstream, gate, first)
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_who_come_while_others_are_answered_go_together_and_pay_for_their_own() {
    let (site, upstream, gate, first) = busy().await;
    let calls = (1..=200).map(|number: u16| {
        let own = [number.to_string(), format!("{number} ")];
        let own = texts(&[own[0].as_str(), own[1].as_str()]);
        tokio::spawn(embed(site.gateway.clone(), own))
    });
    let calls: Vec<_> = calls.collect();
    let mut tokens = 0;
    for (call, number) in calls.into_iter().zip(1_u16..) {
        let (answer, receipt) = call.await.unwrap().unwrap();
        let number = f32::from(number);
        assert_eq!(answer.vectors, [[number], [number]]);
        assert!(receipt.usage.input > 0);
        tokens += receipt.usage.input;
    }
    gate.add_permits(1);
    assert_eq!(first.await.unwrap().unwrap().0.vectors, [[0.0]]);
    let asked = upstream.asked();
    assert!(asked.len() < 200, "each went alone");
    let letters: usize = (1..=200)
        .map(|number: u16| number.to_string().len() * 2 + 1)
        .sum();
    assert_eq!(usize::try_from(tokens).unwrap(), letters, "shares add up");
    let all = i64::try_from(letters + 1).unwrap();
    assert_eq!(site.charged().await, (all, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_one_is_not_the_others_fault() {
    let (site, _upstream, gate, first) = busy().await;
    let calls = (0..50_u16).map(|number| {
        let text = if number % 10 == 7 {
            String::new()
        } else {
            number.to_string()
        };
        tokio::spawn(embed(site.gateway.clone(), texts(&[&text])))
    });
    let calls: Vec<_> = calls.collect();
    for (call, number) in calls.into_iter().zip(0_u16..) {
        let answered = call.await.unwrap();
        if number % 10 == 7 {
            assert!(answered.is_err());
        } else {
            assert_eq!(answered.unwrap().0.vectors, [[f32::from(number)]]);
        }
    }
    gate.add_permits(1);
    first.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_hangs_up_leaves_the_others_their_vectors() {
    let (site, _upstream, gate, first) = busy().await;
    let second = tokio::spawn(embed(site.gateway.clone(), texts(&["2"])));
    let third = tokio::spawn(embed(site.gateway.clone(), texts(&["3"])));
    first.abort();
    second.abort();
    let third = tokio::time::timeout(PATIENCE, third).await.unwrap();
    assert_eq!(third.unwrap().unwrap().0.vectors, [[3.0]]);
    gate.add_permits(1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_callers_have_in_common_goes_wrong_once() {
    let (site, upstream, gate, first) = busy().await;
    upstream.keep_saying(status(500, "", "{}"));
    let calls = (1..=30).map(|number: u16| {
        let own = texts(&[number.to_string().as_str()]);
        tokio::spawn(embed(site.gateway.clone(), own))
    });
    let calls: Vec<_> = calls.collect();
    let mut once = 0;
    for call in calls {
        match call.await.unwrap() {
            Err(ModelError::Provider { source, .. }) => once += usize::from(!source.echo),
            // Others came when it was known not to answer.
            Err(ModelError::NoneLeft { .. }) => {}
            other => panic!("{other:?}"),
        }
    }
    gate.add_permits(1);
    first.await.unwrap().unwrap();
    assert_eq!(once, upstream.count() - 1, "each refusal counts once");
}

/// Cohere's answer to as many texts as it takes at once, and a refusal of any other number.
fn full(body: &Value) -> Reply {
    let count = body["texts"].as_array().unwrap().len();
    if count != 96 {
        return status(400, "", r#"{"message":"no"}"#);
    }
    let vectors = vec![[1.0]; count];
    let meta = json!({ "billed_units": { "input_tokens": count } });
    whole(&json!({ "id": "1", "embeddings": { "float": vectors }, "meta": meta }).to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_of_a_divided_request_is_paid_for_though_the_rest_fails() {
    let site = Site::new().await;
    let upstream = Upstream::always(vec![Step::Answer(full)]).await;
    let url = upstream.url();
    site.model("m", ProviderKind::Cohere, &url).await;
    let words = ["word"; 97];
    let refused = embed(site.gateway.clone(), texts(&words)).await;
    assert!(refused.is_err());
    assert_eq!(upstream.count(), 2);
    assert_eq!(site.charged().await, (97, 0, 1));
}

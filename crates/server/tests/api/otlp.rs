//! Spans, as a receiver of OTLP gets them: decoded with the types that the OpenTelemetry project
//! generates.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use matrix_core::RunId;
use matrix_engine::spans::SpanSink;
use matrix_server::otlp::{Endpoint, Exporter};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use prost::Message;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::site::Site;

/// A receiver on a free port, and what it gets.
async fn receiver() -> (String, mpsc::UnboundedReceiver<ExportTraceServiceRequest>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (got, gets) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let got = got.clone();
            let serve = service_fn(move |request: Request<Incoming>| {
                let got = got.clone();
                async move {
                    assert_eq!(request.uri().path(), "/v1/traces");
                    assert_eq!(request.headers()["content-type"], "application/x-protobuf");
                    let body = request.into_body().collect().await.unwrap().to_bytes();
                    got.send(ExportTraceServiceRequest::decode(body).unwrap())
                        .unwrap();
                    Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
                }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), serve);
            tokio::spawn(connection);
        }
    });
    (address, gets)
}

/// Spans until as many have come.
async fn spans(
    gets: &mut mpsc::UnboundedReceiver<ExportTraceServiceRequest>,
    count: usize,
) -> Vec<Span> {
    let mut spans = Vec::new();
    while spans.len() < count {
        let next = tokio::time::timeout(Duration::from_secs(20), gets.recv()).await;
        let request = next.expect("no spans come").unwrap();
        for resource in request.resource_spans {
            let attributes = resource.resource.unwrap().attributes;
            assert!(attributes.iter().any(|one| one.key == "service.name"));
            spans.extend(
                resource
                    .scope_spans
                    .into_iter()
                    .flat_map(|scope| scope.spans),
            );
        }
    }
    spans
}

#[tokio::test]
async fn a_run_that_waits_is_two_spans_of_one_trace_and_the_second_links_to_the_first() {
    let (address, mut gets) = receiver().await;
    let endpoint = Endpoint::parse(&address).unwrap();
    let (exporter, sending) = Exporter::new(endpoint, "0.1.0", "1");
    tokio::spawn(sending);
    let site = Site::told_to(Arc::new(exporter.clone())).await;
    let run = site.settled(json!("signal")).await;
    let signal = json!({ "name": "go", "value": "a secret" });
    let client = site.client().await;
    let sent: Result<Value, _> = client
        .post(&format!("/api/v1/runs/{run}/signal"), &signal)
        .await;
    sent.unwrap();
    ends(&site, run).await;
    exporter.flush().await;
    let mut spans = spans(&mut gets, 3).await;
    assert_eq!(spans.len(), 3, "{spans:?}");
    spans.sort_by_key(|span| span.start_time_unix_nano);
    let shown = site
        .get(&format!("/api/v1/runs/{run}"))
        .send()
        .await
        .ok(200);
    let hex = |bytes: &[u8]| {
        let digits = bytes.iter().map(|byte| format!("{byte:02x}"));
        digits.collect::<String>()
    };
    for span in &spans {
        assert_eq!(json!(hex(&span.trace_id)), shown["trace"]);
        assert_eq!((span.trace_id.len(), span.span_id.len()), (16, 8));
        assert!(span.start_time_unix_nano <= span.end_time_unix_nano);
        assert!(!format!("{span:?}").contains("a secret"));
        let status = span.status.as_ref().unwrap();
        assert_eq!(status.code, i32::from(StatusCode::Ok));
    }
    let drives: Vec<_> = spans
        .iter()
        .filter(|span| span.name == "run test")
        .collect();
    let step = spans.iter().find(|span| span.name == "first#1").unwrap();
    assert_eq!(step.parent_span_id, drives[0].span_id);
    assert!(drives.iter().all(|drive| drive.parent_span_id.is_empty()));
    assert_eq!(drives[0].links, []);
    assert_eq!(drives[1].links.len(), 1);
    assert_eq!(drives[1].links[0].span_id, drives[0].span_id);
    assert_eq!(drives[1].links[0].trace_id, drives[0].trace_id);
    assert_eq!(exporter.lost(), 0);
    site.close().await;
}

async fn ends(site: &Site, run: RunId) {
    let wait = async {
        let address = format!("/api/v1/runs/{run}");
        loop {
            let shown = site.get(&address).send().await.ok(200);
            if shown["state"] == "succeeded" {
                return;
            }
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(20), wait).await;
    waited.expect("the run does not end");
}

#[tokio::test]
async fn a_collector_that_does_not_answer_costs_spans_and_no_run() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let endpoint = Endpoint::parse(&address).unwrap();
    let (exporter, sending) = Exporter::new(endpoint, "0.1.0", "1");
    tokio::spawn(sending);
    let sink: Arc<dyn SpanSink> = Arc::new(exporter.clone());
    let site = Site::told_to(sink).await;
    for _ in 0..3 {
        let run = site.settled(json!("done")).await;
        ends(&site, run).await;
    }
    let wait = async {
        while exporter.lost() < 6 {
            exporter.flush().await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(20), wait).await;
    assert!(waited.is_ok(), "{} are lost", exporter.lost());
    site.close().await;
}

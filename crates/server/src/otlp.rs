//! Spans on their way to a tracing system, by OTLP over HTTP with protobuf.
//!
//! A span is put into a queue with an end; when it is full, spans are lost and counted, and nobody
//! waits. A task of its own takes what is there, at most every second, and posts it. A collector that
//! does not answer costs the spans of that moment, and never a run.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, Uri, header};
use hyper_util::rt::TokioIo;
use matrix_core::meter::Counter;
use matrix_core::{Code, Problem};
use matrix_engine::spans::{self, Said, Span, SpanSink};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Link, SpanKind};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{self as proto, ResourceSpans, ScopeSpans, Status};
use prost::Message;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};

/// The endpoint is no address that spans can be sent to.
pub const BAD_ENDPOINT: Code = Code::new("OTLP-0001", 422, 2, "not an endpoint for traces");

/// The most spans that wait.
const QUEUE: usize = 8_192;

/// The most spans of one request.
const BATCH: usize = 512;

/// How long spans gather.
const GATHER: Duration = Duration::from_secs(1);

/// How long a collector may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long what is left may take when the process ends.
const FAREWELL: Duration = Duration::from_secs(2);

/// The most bytes of an answer that are read.
const ANSWER_BYTES: usize = 64 * 1024;

/// Where traces are posted to.
#[derive(Debug, Clone)]
pub struct Endpoint {
    host: String,
    port: u16,
    path: String,
}

impl Endpoint {
    /// The address of a collector, as `http://127.0.0.1:4318`; traces go to `/v1/traces` under it.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let refused = |why: &str| {
            Problem::new(BAD_ENDPOINT, format!("`{text}` {why}"))
                .help("an OpenTelemetry collector listens on http://127.0.0.1:4318 as a rule")
        };
        let uri: Uri = text
            .trim_end_matches('/')
            .parse()
            .map_err(|_| refused("is no address"))?;
        if uri.scheme_str() != Some("http") {
            return Err(refused(
                "is not an http:// address, and spans are sent in no other way",
            ));
        }
        let host = uri.host().ok_or_else(|| refused("names no host"))?;
        if uri
            .authority()
            .is_some_and(|all| all.as_str().contains('@'))
        {
            return Err(Problem::new(
                BAD_ENDPOINT,
                "an endpoint for traces holds no credentials",
            ));
        }
        let under = uri.path().trim_end_matches('/');
        Ok(Self {
            host: host.to_owned(),
            port: uri.port_u16().unwrap_or(80),
            path: format!("{under}/v1/traces"),
        })
    }
}

/// What waits in the queue.
#[derive(Debug)]
enum Item {
    Span(Box<Span>),
    /// Everything before it is to be sent now.
    Flush(oneshot::Sender<()>),
}

/// Takes spans and sends them. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Exporter {
    queue: mpsc::Sender<Item>,
    lost: Arc<Counter>,
}

impl SpanSink for Exporter {
    fn take(&self, span: Span) {
        if self.queue.try_send(Item::Span(Box::new(span))).is_err() {
            self.lost.add(1);
        }
    }
}

impl Exporter {
    /// An exporter, and the task that sends, which ends when every exporter is gone. `instance` is
    /// this process among those of its name.
    pub fn new(
        endpoint: Endpoint,
        version: &str,
        instance: &str,
    ) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let (queue, items) = mpsc::channel(QUEUE);
        let lost = Arc::<Counter>::default();
        let resource = Resource {
            attributes: vec![
                text("service.name", "matrix"),
                text("service.version", version),
                text("service.instance.id", instance),
            ],
            ..Resource::default()
        };
        let exporter = Self {
            queue,
            lost: Arc::clone(&lost),
        };
        (exporter, send(endpoint, resource, items, lost))
    }

    /// How many spans were lost.
    pub fn lost(&self) -> u64 {
        self.lost.get()
    }

    /// Sends what waits, before the process ends. It takes two seconds at most.
    pub async fn flush(&self) {
        let (reply, sent) = oneshot::channel();
        if self.queue.try_send(Item::Flush(reply)).is_ok() {
            drop(tokio::time::timeout(FAREWELL, sent).await);
        }
    }
}

async fn send(
    endpoint: Endpoint,
    resource: Resource,
    mut items: mpsc::Receiver<Item>,
    lost: Arc<Counter>,
) {
    let mut failing = false;
    while let Some(first) = items.recv().await {
        let (batch, flushed) = gather(first, &mut items).await;
        if !batch.is_empty() {
            let count = batch.len() as u64;
            let body = request(&resource, batch).encode_to_vec();
            let posted = tokio::time::timeout(PATIENCE, post(&endpoint, body)).await;
            let outcome = posted.unwrap_or_else(|_| Err("it does not answer".into()));
            if let Err(why) = &outcome {
                lost.add(count);
                // Once for each time it begins.
                if !failing {
                    tracing::warn!(why, "spans are lost: the collector did not take them");
                }
            }
            failing = outcome.is_err();
        }
        if let Some(flushed) = flushed {
            // Who asked may not wait any more.
            let _ = flushed.send(());
        }
    }
}

/// The first item with those that come soon after it, up to somebody who wants them sent now.
async fn gather(
    first: Item,
    items: &mut mpsc::Receiver<Item>,
) -> (Vec<Span>, Option<oneshot::Sender<()>>) {
    let mut batch = Vec::new();
    let mut next = Some(first);
    let end = tokio::time::Instant::now() + GATHER;
    loop {
        match next {
            Some(Item::Span(span)) => batch.push(*span),
            Some(Item::Flush(flushed)) => return (batch, Some(flushed)),
            None => return (batch, None),
        }
        if batch.len() >= BATCH {
            return (batch, None);
        }
        next = tokio::time::timeout_at(end, items.recv())
            .await
            .unwrap_or(None);
    }
}

async fn post(endpoint: &Endpoint, body: Vec<u8>) -> Result<(), String> {
    let failed = |error: &dyn std::fmt::Display| error.to_string();
    let host = endpoint.host.trim_matches(['[', ']']);
    let stream = TcpStream::connect((host, endpoint.port))
        .await
        .map_err(|error| failed(&error))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| failed(&error))?;
    let request = Request::post(&endpoint.path)
        .header(header::HOST, format!("{}:{}", endpoint.host, endpoint.port))
        .header(header::CONTENT_TYPE, "application/x-protobuf")
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| failed(&error))?;
    let talk = async {
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| failed(&error))?;
        let status = response.status();
        // Read to its end, so that the collector has said all it has to say.
        drop(
            Limited::new(response.into_body(), ANSWER_BYTES)
                .collect()
                .await,
        );
        if status.is_success() {
            Ok(())
        } else {
            Err(format!("it answered {status}"))
        }
    };
    tokio::pin!(connection, talk);
    tokio::select! {
        answered = &mut talk => answered,
        ended = &mut connection => match ended {
            // The answer may have come with the end.
            Ok(()) => talk.await,
            Err(error) => Err(error.to_string()),
        },
    }
}

fn request(resource: &Resource, spans: Vec<Span>) -> ExportTraceServiceRequest {
    let scope = InstrumentationScope {
        name: "matrix.engine".into(),
        ..InstrumentationScope::default()
    };
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(resource.clone()),
            scope_spans: vec![ScopeSpans {
                scope: Some(scope),
                spans: spans.into_iter().map(written).collect(),
                ..ScopeSpans::default()
            }],
            ..ResourceSpans::default()
        }],
    }
}

fn written(span: Span) -> proto::Span {
    let trace_id = u128::from_str_radix(&span.trace, 16).unwrap_or_default();
    let trace_id = trace_id.to_be_bytes().to_vec();
    let nanos = |at: matrix_core::Timestamp| {
        u64::try_from(at.as_micros())
            .unwrap_or(0)
            .saturating_mul(1_000)
    };
    let link = |before: [u8; 8]| Link {
        trace_id: trace_id.clone(),
        span_id: before.to_vec(),
        ..Link::default()
    };
    let status = span.error.map_or_else(
        || Status {
            code: StatusCode::Ok.into(),
            message: String::new(),
        },
        |message| Status {
            code: StatusCode::Error.into(),
            message,
        },
    );
    let attributes = span.attributes.into_iter();
    let kind = match span.kind {
        spans::SpanKind::Internal => SpanKind::Internal,
        spans::SpanKind::Client => SpanKind::Client,
    };
    proto::Span {
        span_id: span.id.to_vec(),
        parent_span_id: span.parent.map(|id| id.to_vec()).unwrap_or_default(),
        name: span.name,
        kind: kind.into(),
        start_time_unix_nano: nanos(span.began),
        end_time_unix_nano: nanos(span.ended),
        attributes: attributes.map(|(key, value)| said(key, value)).collect(),
        links: span.continues.into_iter().map(link).collect(),
        status: Some(status),
        trace_id,
        ..proto::Span::default()
    }
}

fn text(key: &str, value: &str) -> KeyValue {
    said(key, value.into())
}

fn said(key: &str, said: Said) -> KeyValue {
    let any = |value| AnyValue { value: Some(value) };
    let value = match said {
        Said::Text(text) => Value::StringValue(text),
        Said::Whole(number) => Value::IntValue(number),
        Said::Texts(texts) => Value::ArrayValue(ArrayValue {
            values: texts.into_iter().map(Value::StringValue).map(any).collect(),
        }),
    };
    KeyValue {
        key: key.into(),
        value: Some(any(value)),
        ..KeyValue::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_plain_addresses_without_credentials() {
        let endpoint = Endpoint::parse("http://127.0.0.1:4318/").unwrap();
        assert_eq!((endpoint.port, &*endpoint.path), (4318, "/v1/traces"));
        let endpoint = Endpoint::parse("http://collector/otel").unwrap();
        assert_eq!((endpoint.port, &*endpoint.path), (80, "/otel/v1/traces"));
        for bad in [
            "",
            "collector",
            "https://collector",
            "ftp://x",
            "http://a:b@c",
        ] {
            let problem = Endpoint::parse(bad).unwrap_err();
            assert_eq!(problem.code, BAD_ENDPOINT, "{bad}");
        }
    }
}

//! An answer on its way to a client: as a whole, or as it is being written.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use futures::{StreamExt, stream};
use matrix_core::{Authorised, Caller};
use matrix_models::redact::Counts;
use matrix_models::wire::{Asked, ClientWire, Delivery, StreamWriter, WireError};
use matrix_models::{Gateway, ModelError, ModelUse, Receipt, Streaming};
use tokio::time::Instant;

use super::ask::may;
use super::failure::failed;
use crate::server::{Outliving, Server};

/// Holds a conversation in a client's protocol.
pub(super) async fn converse<W>(
    server: &Server,
    (caller, headers): (Caller, HeaderMap),
    wire: &'static W,
    body: serde_json::Value,
) -> Response
where
    W: ClientWire,
{
    match attempt(server, (&caller, &headers), wire, body).await {
        Ok(response) => response,
        Err(error) => failed(wire, &error),
    }
}

async fn attempt<W>(
    server: &Server,
    (caller, headers): (&Caller, &HeaderMap),
    wire: &'static W,
    body: serde_json::Value,
) -> Result<Response, ModelError>
where
    W: ClientWire,
{
    let Asked { request, delivery } = wire.asked(body)?;
    let allowed = may(server, caller, headers, &request.model)?;
    let created = server.clock().now().as_micros() / 1_000_000;
    let created = u64::try_from(created).unwrap_or(0);
    let gateway = server.models().clone();
    if delivery == Delivery::Whole {
        return whole(gateway, allowed, request, (wire, created)).await;
    }
    let streaming = gateway.stream(&allowed, request).await?;
    let patience = server.limits().stall;
    Ok(streamed(streaming, wire, (created, delivery), patience))
}

/// The answer as a whole.
async fn whole<W>(
    gateway: Gateway,
    allowed: Authorised<ModelUse>,
    request: matrix_models::chat::ChatRequest,
    (wire, created): (&'static W, u64),
) -> Result<Response, ModelError>
where
    W: ClientWire,
{
    // Whether or not its client waits for it, it is paid for, and its price is known when it ends.
    let call = Outliving::new(async move { gateway.chat(&allowed, request).await });
    let answered = call.await?;
    let mut response = Json(wire.answer(&answered.answer, created)).into_response();
    label(response.headers_mut(), &answered.receipt);
    Ok(response)
}

/// What is told of a call beside its answer.
pub(super) fn label(headers: &mut HeaderMap, receipt: &Receipt) {
    set(headers, "x-matrix-model", &receipt.model);
    set(headers, "x-matrix-provider", receipt.provider);
    set(headers, "x-matrix-cost", &receipt.cost.to_string());
    if receipt.usage.tools > 0 {
        set(headers, "x-matrix-cost-without", "provider_tools");
    }
    if let Some(word) = receipt.cached.as_str() {
        set(headers, "x-matrix-cache", word);
    }
    about(headers, &receipt.dropped, &receipt.passed);
    redacted(headers, &receipt.redacted);
}

/// What was kept back from the model, by class.
fn redacted(headers: &mut HeaderMap, counts: &Counts) {
    if !counts.is_empty() {
        let each = counts
            .iter()
            .map(|(class, count)| format!("{class}={count}"));
        let each: Vec<String> = each.collect();
        set(headers, "x-matrix-redacted", &each.join(", "));
    }
}

/// What was not asked, and who was not.
fn about(headers: &mut HeaderMap, dropped: &[&'static str], passed: &[String]) {
    if !dropped.is_empty() {
        set(headers, "x-matrix-dropped", &dropped.join(", "));
    }
    if !passed.is_empty() {
        set(headers, "x-matrix-passed", &passed.join("; "));
    }
}

fn set(headers: &mut HeaderMap, name: &'static str, text: &str) {
    // Header values are printable ASCII, and not long.
    let plain = |letter: char| {
        if (' '..='~').contains(&letter) {
            letter
        } else {
            '?'
        }
    };
    let text: String = text.chars().take(1_000).map(plain).collect();
    if let Ok(value) = HeaderValue::from_str(&text) {
        headers.insert(name, value);
    }
}

/// A stream on its way out.
struct Outgoing {
    streaming: Streaming,
    writer: Box<dyn StreamWriter>,
    over: bool,
}

fn streamed(
    streaming: Streaming,
    wire: &dyn ClientWire,
    (created, delivery): (u64, Delivery),
    patience: Duration,
) -> Response {
    let mut headers = HeaderMap::new();
    let events = HeaderValue::from_static("text/event-stream; charset=utf-8");
    headers.insert(header::CONTENT_TYPE, events);
    // Proxies are not to gather what is meant to be read at once.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    set(&mut headers, "x-matrix-model", streaming.model());
    set(&mut headers, "x-matrix-provider", streaming.provider());
    if let Some(word) = streaming.cached().as_str() {
        set(&mut headers, "x-matrix-cache", word);
    }
    about(&mut headers, streaming.dropped(), streaming.passed());
    redacted(&mut headers, streaming.redacted());
    let outgoing = Outgoing {
        streaming,
        writer: wire.writer(created, delivery),
        over: false,
    };
    let read = Arc::new(Read::new(outgoing));
    tokio::spawn(given_up(Arc::downgrade(&read), patience));
    let body = stream::unfold(Some(read), |read| async move {
        let read = read?;
        let (outgoing, stalled) = read.take();
        let Some(mut outgoing) = outgoing else {
            // A client that reads on after all must not take what it has for the whole.
            return stalled.then(|| (Err("the client did not read its answer"), None));
        };
        let bytes = outgoing.next().await?;
        read.put(outgoing);
        Some((Ok(bytes), Some(read)))
    });
    (headers, Body::from_stream(body)).into_response()
}

/// An answer that its client reads, between one piece and the next.
struct Read(Mutex<Slot>);

struct Slot {
    outgoing: Option<Box<Outgoing>>,
    /// Since when it lies here.
    since: Instant,
    stalled: bool,
}

impl Read {
    fn new(outgoing: Outgoing) -> Self {
        Self(Mutex::new(Slot {
            outgoing: Some(Box::new(outgoing)),
            since: Instant::now(),
            stalled: false,
        }))
    }

    fn take(&self) -> (Option<Box<Outgoing>>, bool) {
        let mut slot = self.lock();
        (slot.outgoing.take(), slot.stalled)
    }

    fn put(&self, outgoing: Box<Outgoing>) {
        let mut slot = self.lock();
        slot.outgoing = Some(outgoing);
        slot.since = Instant::now();
    }

    fn lock(&self) -> MutexGuard<'_, Slot> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives an answer up of which nothing was read for too long: it holds a connection to its provider and a
/// place among those that its key allows.
async fn given_up(read: Weak<Read>, patience: Duration) {
    loop {
        tokio::time::sleep(patience).await;
        let Some(read) = read.upgrade() else {
            return;
        };
        let mut slot = read.lock();
        if slot.outgoing.is_some() && slot.since.elapsed() >= patience {
            tracing::warn!("a client does not read its answer; it is given up");
            slot.stalled = true;
            slot.outgoing = None;
            return;
        }
    }
}

impl Outgoing {
    async fn next(&mut self) -> Option<Bytes> {
        let mut bytes = Vec::new();
        while bytes.is_empty() {
            if self.over {
                return None;
            }
            match self.streaming.next().await {
                Some(Ok(deltas)) => {
                    for delta in &deltas {
                        self.writer.write(delta, &mut bytes);
                    }
                }
                Some(Err(error)) => {
                    tracing::warn!(%error, "an answer broke off");
                    self.writer.fail(&error.complaint(), &mut bytes);
                    self.over = true;
                }
                None => self.over = true,
            }
        }
        Some(bytes.into())
    }
}

/// A request that its protocol does not allow.
pub(super) fn refused(wire: &dyn ClientWire, at: &str, why: impl Into<String>) -> Response {
    let error = WireError::Invalid {
        at: at.to_owned(),
        why: why.into(),
    };
    failed(wire, &error.into())
}

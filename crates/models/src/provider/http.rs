//! Providers over HTTP, whichever protocol they speak.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Client, Method, Response, StatusCode};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;

use super::guard::{Guarded, may_reach};
use super::place::{self, Ask, Framing};
use super::{DeltaStream, Dropped, Provider, ProviderError, Reason};
use crate::chat::{ChatAnswer, ChatRequest};
use crate::delta::Delta;
use crate::embed::{EmbedAnswer, EmbedRequest};
use crate::registry::Model;
use crate::rerank::{RerankAnswer, RerankRequest};
use crate::secret::Secrets;
use crate::wire::sse::{Event, Parser};
use crate::wire::{Complaint, StreamReader, vectors};

/// The most bytes of an answer.
const BODY_MAX: usize = 64 * 1024 * 1024;

/// The most bytes of an error that are read.
const ERROR_MAX: usize = 64 * 1024;

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(10);

/// How long a provider may be silent, unless its model says otherwise.
const SILENCE: Duration = Duration::from_mins(5);

/// How long an answer may take in all.
const ANSWER_MAX: Duration = Duration::from_hours(1);

/// How long a connection that nobody uses is kept.
const IDLE: Duration = Duration::from_secs(90);

/// How this process reaches providers.
#[derive(Debug, Clone, Default)]
pub struct HttpOptions {
    /// Where keys are.
    pub secrets: Secrets,
    /// Certificates that are trusted beside the machine's own, in DER.
    pub roots: Vec<Vec<u8>>,
}

/// Providers over HTTP.
#[derive(Debug)]
pub struct Http {
    public: Client,
    private: Client,
    secrets: Secrets,
}

impl Http {
    /// Ready to connect; nothing is connected yet.
    pub fn new(options: HttpOptions) -> Result<Self, ProviderError> {
        let tls = tls(&options.roots)?;
        Ok(Self {
            public: client(tls.clone(), false)?,
            private: client(tls, true)?,
            secrets: options.secrets,
        })
    }

    async fn send(
        &self,
        model: &Model,
        ask: Ask,
        body: Option<&Value>,
    ) -> Result<Response, ProviderError> {
        let url = place::address(model, ask)?;
        let url = reqwest::Url::parse(&url)
            .map_err(|error| ProviderError::new(Reason::Invalid, format!("{url}: {error}")))?;
        let private = model.spec.is_private();
        // Numbers are not resolved, so the resolver's guard never sees them.
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
        if host
            .parse::<IpAddr>()
            .is_ok_and(|ip| !may_reach(ip, private))
        {
            let text = format!("{host} is an address that may not be reached");
            return Err(ProviderError::new(Reason::Unreachable, text));
        }
        let key = model.spec.provider.key.as_ref();
        let key = key.map(|key| self.secrets.resolve(key)).transpose()?;
        let client = if private { &self.private } else { &self.public };
        let method = if body.is_some() {
            Method::POST
        } else {
            Method::GET
        };
        let mut request = client
            .request(method, url)
            .headers(place::headers(model, key.as_ref())?);
        if let Some(body) = body {
            let bytes = serde_json::to_vec(body)
                .map_err(|error| ProviderError::new(Reason::Invalid, error.to_string()))?;
            let json = HeaderValue::from_static("application/json");
            request = request.header(CONTENT_TYPE, json).body(bytes);
        }
        let sent = tokio::time::timeout(silence(model), request.send()).await;
        let response = sent
            .map_err(|_| slow(model))?
            .map_err(|error| failed(&error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(refused(model, response).await)
    }

    async fn whole(
        &self,
        model: &Model,
        ask: Ask,
        body: Option<&Value>,
    ) -> Result<Value, ProviderError> {
        let response = self.send(model, ask, body).await?;
        is_a(&response, "json")?;
        let read = read(response, BODY_MAX, silence(model));
        let bytes = tokio::time::timeout(ANSWER_MAX, read)
            .await
            .map_err(|_| slow(model))??;
        serde_json::from_slice(&bytes).map_err(|error| {
            ProviderError::new(
                Reason::Broken,
                format!("the provider's answer is no JSON: {error}"),
            )
        })
    }
}

#[async_trait]
impl Provider for Http {
    async fn chat(
        &self,
        model: &Model,
        request: &ChatRequest,
    ) -> Result<(ChatAnswer, Dropped), ProviderError> {
        let wire = place::wire(model)?;
        let encoded = wire.encode(request, false)?;
        let body = self.whole(model, Ask::Chat, Some(&encoded.body)).await?;
        Ok((wire.decode(body)?, encoded.dropped))
    }

    async fn stream(
        &self,
        model: &Model,
        request: &ChatRequest,
    ) -> Result<(DeltaStream, Dropped), ProviderError> {
        let wire = place::wire(model)?;
        let encoded = wire.encode(request, true)?;
        let response = self.send(model, Ask::Stream, Some(&encoded.body)).await?;
        let framing = place::framing(model.spec.provider.kind);
        is_a(
            &response,
            match framing {
                Framing::Events => "event-stream",
                Framing::Lines => "json",
            },
        )?;
        let listening = Listening {
            body: response.bytes_stream().boxed(),
            framing,
            parser: Parser::default(),
            line: Vec::new(),
            reader: wire.reader(),
            silence: silence(model),
            ends: tokio::time::Instant::now() + ANSWER_MAX,
            bytes: 0,
            ready: VecDeque::new(),
            state: State::Open,
        };
        let deltas = stream::unfold(listening, |mut listening| async move {
            let next = listening.next().await?;
            Some((next, listening))
        });
        Ok((deltas.boxed(), encoded.dropped))
    }

    async fn embed(
        &self,
        model: &Model,
        request: &EmbedRequest,
    ) -> Result<EmbedAnswer, ProviderError> {
        let kind = model.spec.provider.kind;
        let body = vectors::encode(kind, request)?;
        let answer = self.whole(model, Ask::Embed, Some(&body)).await?;
        Ok(vectors::decode(kind, answer, request.texts.len())?)
    }

    async fn rerank(
        &self,
        model: &Model,
        request: &RerankRequest,
    ) -> Result<RerankAnswer, ProviderError> {
        let kind = model.spec.provider.kind;
        let body = crate::wire::ranks::encode(kind, request);
        let answer = self.whole(model, Ask::Rerank, Some(&body)).await?;
        Ok(crate::wire::ranks::decode(answer, request.texts.len())?)
    }

    async fn list(&self, model: &Model) -> Result<Vec<String>, ProviderError> {
        let body = self.whole(model, Ask::List, None).await?;
        // `data` of OpenAI and Anthropic, `models` of Gemini, Ollama and Cohere.
        let list = body.get("data").or_else(|| body.get("models"));
        let list = list.and_then(Value::as_array).cloned().unwrap_or_default();
        let name = |item: &Value| {
            let name = item.get("id").or_else(|| item.get("name"))?.as_str()?;
            Some(name.strip_prefix("models/").unwrap_or(name).to_owned())
        };
        Ok(list.iter().filter_map(name).collect())
    }
}

/// A stream that is being read.
struct Listening {
    body: BoxStream<'static, Result<Bytes, reqwest::Error>>,
    framing: Framing,
    parser: Parser,
    line: Vec<u8>,
    reader: Box<dyn StreamReader>,
    silence: Duration,
    /// When it has taken too long, however much it says.
    ends: tokio::time::Instant,
    /// How much came.
    bytes: usize,
    ready: VecDeque<Event>,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Over,
}

impl Listening {
    /// The next deltas; nothing after the end or an error.
    async fn next(&mut self) -> Option<Result<Vec<Delta>, ProviderError>> {
        if self.state == State::Over {
            return None;
        }
        let mut deltas = Vec::new();
        while deltas.is_empty() {
            if let Err(error) = self.more(&mut deltas).await {
                self.state = State::Over;
                return Some(Err(error));
            }
        }
        if deltas.last() == Some(&Delta::End) {
            self.state = State::Over;
        }
        Some(Ok(deltas))
    }

    async fn more(&mut self, out: &mut Vec<Delta>) -> Result<(), ProviderError> {
        if tokio::time::Instant::now() >= self.ends {
            let text = format!("the provider's answer does not end within {ANSWER_MAX:?}");
            return Err(ProviderError::new(Reason::Slow, text));
        }
        let next = tokio::time::timeout(self.silence, self.body.next()).await;
        let next = next.map_err(|_| {
            ProviderError::new(
                Reason::Slow,
                "the provider fell silent in the middle of its answer",
            )
        })?;
        let mut events = Vec::new();
        match next {
            Some(Ok(bytes)) => {
                self.bytes = self.bytes.saturating_add(bytes.len());
                if self.bytes > BODY_MAX {
                    return Err(broken(format_args!("it has more than {BODY_MAX} bytes")));
                }
                self.cut(&bytes, &mut events)?;
            }
            Some(Err(error)) => {
                let text = format!("the provider's answer broke off: {}", cause(&error));
                return Err(ProviderError::new(Reason::Broken, text));
            }
            None => {
                self.rest(&mut events)?;
                self.read(events, out)?;
                if out.last() != Some(&Delta::End) {
                    self.reader.close(out)?;
                }
                return Ok(());
            }
        }
        self.read(events, out)
    }

    fn read(&mut self, events: Vec<Event>, out: &mut Vec<Delta>) -> Result<(), ProviderError> {
        self.ready.extend(events);
        while let Some(event) = self.ready.pop_front() {
            self.reader.read(&event, out)?;
            if out.last() == Some(&Delta::End) {
                return Ok(());
            }
        }
        Ok(())
    }

    fn cut(&mut self, bytes: &[u8], events: &mut Vec<Event>) -> Result<(), ProviderError> {
        match self.framing {
            Framing::Events => self.parser.push(bytes, events).map_err(broken),
            Framing::Lines => {
                for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
                    self.line.extend_from_slice(piece);
                    if self.line.len() > crate::wire::sse::EVENT_MAX {
                        return Err(broken("a line is too long"));
                    }
                    if piece.ends_with(b"\n") {
                        self.rest(events)?;
                    }
                }
                Ok(())
            }
        }
    }

    /// What came and has no end of its own.
    fn rest(&mut self, events: &mut Vec<Event>) -> Result<(), ProviderError> {
        if self.framing == Framing::Events {
            return self.parser.close(events).map_err(broken);
        }
        let line = std::mem::take(&mut self.line);
        let data = String::from_utf8(line).map_err(|_| broken("a line is not UTF-8"))?;
        if !data.trim().is_empty() {
            events.push(Event { name: None, data });
        }
        Ok(())
    }
}

fn broken(why: impl std::fmt::Display) -> ProviderError {
    ProviderError::new(
        Reason::Broken,
        format!("the provider's stream is broken: {why}"),
    )
}

fn silence(model: &Model) -> Duration {
    let given = model.spec.timeout_ms.map(Duration::from_millis);
    given.unwrap_or(SILENCE)
}

fn slow(model: &Model) -> ProviderError {
    let text = format!("the provider did not answer within {:?}", silence(model));
    ProviderError::new(Reason::Slow, text)
}

fn failed(error: &reqwest::Error) -> ProviderError {
    let reason = if error.is_timeout() {
        Reason::Slow
    } else {
        Reason::Unreachable
    };
    ProviderError::new(
        reason,
        format!("the provider cannot be reached: {}", cause(error)),
    )
}

/// The innermost cause: what is around it repeats the address.
fn cause(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

/// Reads a body piece by piece, up to a limit.
async fn read(
    response: Response,
    limit: usize,
    silence: Duration,
) -> Result<Vec<u8>, ProviderError> {
    let mut body = response.bytes_stream();
    let mut bytes = Vec::new();
    loop {
        let next = tokio::time::timeout(silence, body.next()).await;
        let next = next.map_err(|_| {
            ProviderError::new(
                Reason::Slow,
                "the provider fell silent in the middle of its answer",
            )
        })?;
        match next {
            None => return Ok(bytes),
            Some(Err(error)) => {
                let text = format!("the provider's answer broke off: {}", cause(&error));
                return Err(ProviderError::new(Reason::Broken, text));
            }
            Some(Ok(piece)) => {
                if bytes.len() + piece.len() > limit {
                    let text = format!("the provider's answer is larger than {limit} bytes");
                    return Err(ProviderError::new(Reason::Broken, text));
                }
                bytes.extend_from_slice(&piece);
            }
        }
    }
}

/// Refuses an answer of another kind, such as a page of a proxy that says it is sorry.
fn is_a(response: &Response, kind: &str) -> Result<(), ProviderError> {
    let found = response.headers().get(CONTENT_TYPE);
    let found = found
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    // A server that says nothing is believed; its body tells.
    if found.is_empty() || found.to_ascii_lowercase().contains(kind) {
        return Ok(());
    }
    let found: String = found.chars().take(100).collect();
    let text = format!("the provider answered with `{found}` instead of {kind}");
    Err(ProviderError::new(Reason::Broken, text))
}

/// What a provider says that refuses.
async fn refused(model: &Model, response: Response) -> ProviderError {
    let status = response.status();
    let retry_after = retry_after(response.headers());
    let read = read(response, ERROR_MAX, Duration::from_secs(10)).await;
    let bytes = read.unwrap_or_default();
    let told = serde_json::from_slice::<Value>(&bytes).ok();
    let told = told.and_then(|body| {
        let wire = place::wire(model).ok();
        let said = wire.and_then(|wire| wire.error(&body));
        said.or_else(|| plain(&body))
    });
    let complaint = told.unwrap_or_else(|| Complaint {
        status: status.as_u16(),
        kind: "error".into(),
        code: None,
        message: match status {
            StatusCode::NOT_FOUND => "it knows no such address or model".into(),
            _ => status.canonical_reason().unwrap_or("an error").into(),
        },
    });
    let complaint = Complaint {
        status: status.as_u16(),
        ..complaint
    };
    ProviderError::told(complaint, retry_after)
}

/// `{"message": …}` and `{"error": …}`, of those whose protocol we have no words for.
fn plain(body: &Value) -> Option<Complaint> {
    let message = body
        .get("message")
        .or_else(|| body.get("error"))?
        .as_str()?;
    Some(Complaint {
        status: 0,
        kind: "error".into(),
        code: None,
        message: message.to_owned(),
    })
}

/// `Retry-After` in seconds (RFC 9110), or as `OpenAI` and Azure say it in milliseconds.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<f64>().ok();
    let seconds = match number("retry-after-ms") {
        Some(millis) => millis / 1000.0,
        None => number(RETRY_AFTER.as_str())?,
    };
    Duration::try_from_secs_f64(seconds.min(86_400.0)).ok()
}

fn tls(roots: &[Vec<u8>]) -> Result<ClientConfig, ProviderError> {
    let failed = |error: rustls::Error| ProviderError::new(Reason::Invalid, error.to_string());
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    for root in roots {
        store.add(root.clone().into()).map_err(failed)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(failed)?
        .with_root_certificates(store)
        .with_no_client_auth();
    Ok(config)
}

fn client(tls: ClientConfig, private: bool) -> Result<Client, ProviderError> {
    Client::builder()
        .tls_backend_preconfigured(tls)
        .dns_resolver(Guarded { private })
        // A redirect would carry the conversation to somebody else.
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .connect_timeout(CONNECT)
        .pool_idle_timeout(IDLE)
        .tcp_nodelay(true)
        .user_agent(concat!("matrix/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| ProviderError::new(Reason::Invalid, error.to_string()))
}

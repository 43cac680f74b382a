//! Providers over HTTP, whichever protocol they speak.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, stream};
use matrix_core::Clock;
use matrix_core::system::SystemClock;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Client, Method, Response, StatusCode, Url};
use serde_json::Value;

use super::aws::{self, AccessKey};
use super::client::{Clients, Way, failed, read};
use super::google::{self, Account};
use super::identity::Identity;
use super::listening::{ANSWER_MAX, BODY_MAX, Listening};
use super::pictures::PictureRules;
use super::place::{self, Ask, Framing};
use super::tokens::Tokens;
use super::{DeltaStream, Dropped, Provider, ProviderError, Reason, bedrock};
use crate::chat::{ChatAnswer, ChatRequest};
use crate::embed::{EmbedAnswer, EmbedRequest};
use crate::registry::{Model, ProviderKind};
use crate::rerank::{RerankAnswer, RerankRequest};
use crate::secret::{Secret, Secrets};
use crate::wire::{Complaint, WireError, ranks, vectors};

/// The most bytes of an error that are read.
const ERROR_MAX: usize = 64 * 1024;

/// How long a provider may be silent, unless its model says otherwise.
const SILENCE: Duration = Duration::from_mins(5);

/// How many parts of one request for vectors are asked at once, where it has to be cut.
const EMBED_AT_ONCE: usize = 4;

/// How this process reaches providers.
#[derive(Debug, Clone)]
pub struct HttpOptions {
    /// Where keys are.
    pub secrets: Secrets,
    /// Certificates that are trusted beside the machine's own, in DER.
    pub roots: Vec<Vec<u8>>,
    /// Whether pictures are fetched for providers that fetch none.
    pub pictures: PictureRules,
    /// The time, which some providers want to be told in what proves us to them.
    pub clock: Arc<dyn Clock>,
}

impl Default for HttpOptions {
    /// Without secrets, by the machine's own clock.
    fn default() -> Self {
        Self {
            secrets: Secrets::default(),
            roots: Vec::new(),
            pictures: PictureRules::default(),
            clock: Arc::new(SystemClock::start()),
        }
    }
}

/// Providers over HTTP.
#[derive(Debug)]
pub struct Http {
    clients: Arc<Clients>,
    secrets: Secrets,
    tokens: Tokens,
    pictures: PictureRules,
    clock: Arc<dyn Clock>,
}

/// A request that is about to be sent, perhaps twice.
struct Asking<'a> {
    client: &'a Client,
    url: Url,
    body: Option<Bytes>,
}

impl Http {
    /// Ready to connect; nothing is connected yet.
    pub fn new(options: HttpOptions) -> Result<Self, ProviderError> {
        Ok(Self {
            clients: Arc::new(Clients::new(&options.roots)?),
            secrets: options.secrets,
            pictures: options.pictures,
            tokens: Tokens::new(Arc::clone(&options.clock)),
            clock: options.clock,
        })
    }

    /// The way out that its requests take.
    pub(super) fn way(&self) -> Way {
        Way::new(Arc::clone(&self.clients), self.secrets.clone())
    }

    async fn send(
        &self,
        model: &Model,
        ask: Ask,
        body: Option<&Value>,
    ) -> Result<Response, ProviderError> {
        let url = place::address(model, ask)?;
        let url = Url::parse(&url)
            .map_err(|error| ProviderError::new(Reason::Invalid, format!("{url}: {error}")))?;
        let body = body.map(serde_json::to_vec).transpose();
        let body = body.map_err(|error| ProviderError::new(Reason::Invalid, error.to_string()))?;
        let asking = Asking {
            client: self.clients.to(&url, model.spec.is_private())?,
            url,
            body: body.map(Bytes::from),
        };
        let mut identity = self.identity(model).await?;
        let mut response = self.ask(model, &asking, &identity).await?;
        // A token may be taken back before its time.
        if response.status() == StatusCode::UNAUTHORIZED
            && let Identity::Token { id, text } = &identity
        {
            self.tokens.forget(*id, text).await;
            identity = self.identity(model).await?;
            response = self.ask(model, &asking, &identity).await?;
        }
        if response.status().is_success() {
            return Ok(response);
        }
        Err(refused(model, response).await)
    }

    async fn ask(
        &self,
        model: &Model,
        asking: &Asking<'_>,
        identity: &Identity,
    ) -> Result<Response, ProviderError> {
        let method = if asking.body.is_some() {
            Method::POST
        } else {
            Method::GET
        };
        let mut headers = place::headers(model, identity)?;
        if asking.body.is_some() {
            let json = HeaderValue::from_static("application/json");
            headers.insert(CONTENT_TYPE, json);
        }
        if let Identity::Signer(key) = identity {
            let scope = aws::Scope {
                region: model.spec.provider.region.as_deref().unwrap_or_default(),
                service: bedrock::SERVICE,
            };
            let body = asking.body.as_deref().unwrap_or_default();
            let sent = (&method, &asking.url, body);
            key.sign(sent, &mut headers, scope, self.clock.now())?;
        }
        let mut request = asking.client.request(method, asking.url.clone());
        request = request.headers(headers);
        if let Some(body) = &asking.body {
            request = request.body(body.clone());
        }
        let sent = tokio::time::timeout(silence(model), request.send()).await;
        sent.map_err(|_| slow(model))?
            .map_err(|error| failed(&error))
    }

    /// Who we say we are to a model's provider.
    async fn identity(&self, model: &Model) -> Result<Identity, ProviderError> {
        let Some(reference) = &model.spec.provider.key else {
            return Ok(Identity::Nobody);
        };
        let key = self.secrets.resolve(reference).await?;
        if !google::is_json(&key) {
            let bedrock = model.spec.provider.kind == ProviderKind::Bedrock;
            let access = bedrock.then(|| AccessKey::read(&key)).flatten();
            return Ok(access.map_or(Identity::Key(key), Identity::Signer));
        }
        if model.spec.provider.kind != ProviderKind::Vertex {
            let text = "the key is a file of Google Cloud's, which only vertex takes";
            return Err(ProviderError::new(Reason::Key, text));
        }
        let private = model.spec.is_private();
        let id = Tokens::id(&key, private);
        let wait = silence(model);
        let fetch = async { self.token(&key, private, wait).await };
        let text = self.tokens.get(id, fetch).await?;
        Ok(Identity::Token { id, text })
    }

    /// A new token for the account whose key this is, and how long it is good.
    async fn token(
        &self,
        key: &Secret,
        private: bool,
        wait: Duration,
    ) -> Result<(Secret, Duration), ProviderError> {
        let account = Account::read(key, private)?;
        let client = self.clients.to(account.token_uri(), private)?;
        google::token(client, &account, self.clock.now(), wait).await
    }

    /// Vectors of no more texts than the provider takes at once.
    async fn vectors(
        &self,
        model: &Model,
        request: &EmbedRequest,
    ) -> Result<EmbedAnswer, ProviderError> {
        let kind = model.spec.provider.kind;
        let body = vectors::encode(kind, request).map_err(unsayable)?;
        let answer = self.whole(model, Ask::Embed, Some(&body)).await?;
        Ok(vectors::decode(kind, answer, request.texts.len())?)
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
        let request = self.pictures.inlined(&self.clients, model, request).await?;
        let encoded = wire.encode(&request, false).map_err(unsayable)?;
        let body = self.whole(model, Ask::Chat, Some(&encoded.body)).await?;
        Ok((wire.decode(body)?, encoded.dropped))
    }

    async fn stream(
        &self,
        model: &Model,
        request: &ChatRequest,
    ) -> Result<(DeltaStream, Dropped), ProviderError> {
        let wire = place::wire(model)?;
        let request = self.pictures.inlined(&self.clients, model, request).await?;
        let encoded = wire.encode(&request, true).map_err(unsayable)?;
        let response = self.send(model, Ask::Stream, Some(&encoded.body)).await?;
        let framing = place::framing(model.spec.provider.kind);
        is_a(
            &response,
            match framing {
                Framing::Events => "event-stream",
                Framing::Lines => "json",
                Framing::Frames => "eventstream",
            },
        )?;
        let listening = Listening::new(response, framing, wire.reader(), silence(model));
        Ok((listening.deltas(), encoded.dropped))
    }

    async fn embed(
        &self,
        model: &Model,
        request: &EmbedRequest,
    ) -> Result<EmbedAnswer, ProviderError> {
        let most = vectors::most(model.spec.provider.kind, &request.model);
        if request.texts.len() <= most {
            return self.vectors(model, request).await;
        }
        let like = EmbedRequest {
            texts: Vec::new(),
            ..request.clone()
        };
        let mut parts = Vec::new();
        for texts in request.texts.chunks(most) {
            parts.push(EmbedRequest {
                texts: texts.to_vec(),
                ..like.clone()
            });
        }
        let mut answers = Vec::new();
        for part in &parts {
            answers.push(self.vectors(model, part));
        }
        let mut answers = stream::iter(answers).buffered(EMBED_AT_ONCE);
        let mut all = Vec::new();
        while let Some(answer) = answers.next().await {
            match answer {
                Ok(answer) => all.push(answer),
                // Others beside it may be answered, too.
                Err(error) => {
                    return Err(ProviderError {
                        partly: true,
                        ..error
                    });
                }
            }
        }
        Ok(vectors::joined(all)?)
    }

    async fn rerank(
        &self,
        model: &Model,
        request: &RerankRequest,
    ) -> Result<RerankAnswer, ProviderError> {
        let kind = model.spec.provider.kind;
        let body = ranks::encode(kind, request);
        let answer = self.whole(model, Ask::Rerank, Some(&body)).await?;
        let mut answer = ranks::decode(answer, request.texts.len())?;
        // Some always put all in order.
        let top = request.top.and_then(|top| usize::try_from(top).ok());
        answer.ranks.truncate(top.unwrap_or(usize::MAX));
        Ok(answer)
    }

    async fn list(&self, model: &Model) -> Result<Vec<String>, ProviderError> {
        let body = self.whole(model, Ask::List, None).await?;
        // `data` of OpenAI and Anthropic, `models` of Gemini, Ollama and Cohere, the last Bedrock's.
        let mut names = ["data", "models", "modelSummaries"].into_iter();
        let list = names.find_map(|name| body.get(name));
        // Vertex AI shows the one that was named.
        let one = || body.get("name").is_some().then(|| vec![body.clone()]);
        let list = list.and_then(Value::as_array).cloned().or_else(one);
        let list = list.unwrap_or_default();
        let name = |item: &Value| {
            let mut names = ["id", "name", "modelId"].into_iter();
            let name = names.find_map(|name| item.get(name))?.as_str()?;
            Some(name.strip_prefix("models/").unwrap_or(name).to_owned())
        };
        Ok(list.iter().filter_map(name).collect())
    }
}

/// What has no words in a provider's protocol is not sent, and says nothing about the provider.
fn unsayable(error: WireError) -> ProviderError {
    match error {
        WireError::Unsupported(why) => ProviderError::new(Reason::Unsupported, why),
        other => ProviderError::new(Reason::Unsupported, format!("the request: {other}")),
    }
}

fn silence(model: &Model) -> Duration {
    let given = model.spec.timeout_ms.map(Duration::from_millis);
    given.unwrap_or(SILENCE)
}

fn slow(model: &Model) -> ProviderError {
    let text = format!("the provider did not answer within {:?}", silence(model));
    ProviderError::new(Reason::Slow, text)
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

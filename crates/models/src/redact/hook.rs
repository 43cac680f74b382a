//! A service of the operator's that redacts: what is not allowed to leave a company is known there.
//!
//! It is sent `{"texts": […]}`, and answers `{"texts": […]}` with as many, in their order, or
//! `{"block": {"class": "…", "text": 3}}`. Whatever else it answers, or nothing in time, refuses the call.

use std::time::Duration;

use async_trait::async_trait;
use reqwest::Url;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
use serde::{Deserialize, Serialize};

use super::port::{Found, Piece, Redactor, Refused};
use super::texts::Place;
use crate::provider::{Way, cause};
use crate::registry::{InvalidSpec, check_url};
use crate::secret::SecretRef;

/// How long the service may take, unless its operator says otherwise.
const TIMEOUT_MS: u64 = 2_000;

/// The longest that it may take.
const TIMEOUT_MS_MAX: u64 = 60_000;

/// How many bytes it may answer beside twice what it was sent.
const MORE: usize = 64 * 1024;

/// The longest word for a class.
const CLASS_MAX: usize = 40;

/// Where the service is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HookSpec {
    /// Its address.
    pub url: String,
    /// The bearer token that it wants.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<SecretRef>,
    /// Whether it may be on this machine or in a private network.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub private: bool,
    /// How long it may take, in milliseconds; 2,000 where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
}

impl HookSpec {
    /// Refuses what cannot be right.
    pub fn check(&self) -> Result<(), InvalidSpec> {
        check_url("hook.url", &self.url, self.private)?;
        let wait = self.timeout_ms.unwrap_or(TIMEOUT_MS);
        if !(1..=TIMEOUT_MS_MAX).contains(&wait) {
            let why = format!("must be 1 to {TIMEOUT_MS_MAX}");
            return Err(InvalidSpec::new("hook.timeout_ms", why));
        }
        Ok(())
    }
}

/// The service, and the way to it.
pub(crate) struct Hook {
    spec: HookSpec,
    way: Way,
}

/// What it answers.
#[derive(Debug, Deserialize)]
struct Verdict {
    texts: Option<Vec<String>>,
    block: Option<Block>,
}

#[derive(Debug, Deserialize)]
struct Block {
    class: Option<String>,
    text: Option<usize>,
}

impl Hook {
    pub(crate) fn new(spec: HookSpec, way: Way) -> Self {
        Self { spec, way }
    }

    async fn ask(&self, texts: &[&str]) -> Result<Verdict, String> {
        let url = Url::parse(&self.spec.url).map_err(|error| error.to_string())?;
        let client = self.way.to(&url, self.spec.private);
        let client = client.map_err(|error| error.to_string())?;
        let body = serde_json::json!({ "texts": texts }).to_string();
        let most = body.len().saturating_mul(2).saturating_add(MORE);
        let mut request = client.post(url).header(CONTENT_TYPE, "application/json");
        if let Some(key) = &self.spec.key {
            let key = self.way.secret(key).await;
            let key = key.map_err(|error| error.to_string())?;
            request = request.header(AUTHORIZATION, format!("Bearer {}", key.expose()));
        }
        let sent = request.body(body).send().await;
        let response = sent.map_err(|error| cause(&error))?;
        let status = response.status();
        if !status.is_success() {
            return Err(format!("it answered {status}"));
        }
        let read = Way::read(response, most, Duration::from_millis(TIMEOUT_MS_MAX)).await;
        let bytes = read.map_err(|_| "its answer broke off, or is too large".to_owned())?;
        // What is wrong with it may quote what is in it.
        serde_json::from_slice(&bytes).map_err(|_| "its answer is not what it should be".into())
    }
}

#[async_trait]
impl Redactor for Hook {
    async fn redact(
        &self,
        mut pieces: Vec<Piece>,
        mut found: Found,
    ) -> Result<(Vec<Piece>, Found), Refused> {
        let wait = Duration::from_millis(self.spec.timeout_ms.unwrap_or(TIMEOUT_MS));
        let texts: Vec<&str> = pieces.iter().map(|piece| piece.text.as_str()).collect();
        let verdict = match tokio::time::timeout(wait, self.ask(&texts)).await {
            Ok(verdict) => verdict.map_err(Refused::Unavailable)?,
            Err(_) => return Err(Refused::Unavailable(format!("it took more than {wait:?}"))),
        };
        if let Some(block) = verdict.block {
            let place = block.text.and_then(|index| pieces.get(index));
            let place = place.map_or(Place::Field, |piece| piece.place);
            return Err(Refused::blocked(word(block.class), place));
        }
        let texts = verdict.texts.unwrap_or_default();
        if texts.len() != pieces.len() {
            let (got, want) = (texts.len(), pieces.len());
            let why = format!("it answered {got} texts to {want}");
            return Err(Refused::Unavailable(why));
        }
        for (piece, text) in pieces.iter_mut().zip(texts) {
            if piece.text != text {
                found.hooked += 1;
                piece.text = text;
            }
        }
        Ok((pieces, found))
    }
}

/// The service's word for a class, if it is one.
fn word(class: Option<String>) -> String {
    let plain = |word: &String| {
        let of_word = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
        !word.is_empty() && word.len() <= CLASS_MAX && word.bytes().all(of_word)
    };
    class.filter(plain).unwrap_or_else(|| "hook".into())
}

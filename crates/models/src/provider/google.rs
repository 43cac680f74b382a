//! Tokens of Google Cloud for the keys of service accounts ("Using OAuth 2.0 for server to server
//! applications", RFC 7523): a claim that is signed with the account's key is given to Google,
//! which answers with a token for an hour.

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use matrix_core::Timestamp;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, StatusCode, Url};
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use serde::Deserialize;
use serde_json::{Value, json};

use super::client::{failed, read};
use super::{ProviderError, Reason, Refusal};
use crate::registry::check_url;
use crate::secret::Secret;

/// What the token is for.
const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";

/// Where tokens are given, unless the key says otherwise.
const TOKEN_URI: &str = "https://oauth2.googleapis.com/token";

/// How long a claim is good; Google takes no more than an hour.
const CLAIM_SECONDS: i64 = 3_600;

/// How long a token is good whose giver does not say it.
const TOKEN_SECONDS: u64 = 300;

/// How long the giver of tokens may take.
const WAIT: Duration = Duration::from_secs(30);

/// The most bytes of its answer.
const ANSWER_MAX: usize = 64 * 1024;

/// Whether a key is an object of JSON, as Google Cloud gives keys; none of them is ever sent.
pub(super) fn is_json(key: &Secret) -> bool {
    key.expose().starts_with('{')
}

/// The key of a service account, as it is downloaded.
#[derive(Deserialize)]
struct KeyFile {
    #[serde(rename = "type")]
    kind: String,
    client_email: String,
    private_key: String,
    private_key_id: Option<String>,
    token_uri: Option<String>,
}

/// A service account.
pub(super) struct Account {
    email: String,
    key_id: Option<String>,
    key: RsaKeyPair,
    token_uri: Url,
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account").finish_non_exhaustive()
    }
}

fn refused(why: impl fmt::Display) -> ProviderError {
    let text = format!("the key is no key of a service account: {why}");
    ProviderError::new(Reason::Key, text)
}

impl Account {
    /// Reads a key. No error repeats any of it.
    pub(super) fn read(key: &Secret, private: bool) -> Result<Self, ProviderError> {
        let file: KeyFile = serde_json::from_str(key.expose())
            .map_err(|_| refused("it lacks `type`, `client_email` or `private_key`"))?;
        if file.kind != "service_account" {
            return Err(refused("its `type` is not `service_account`"));
        }
        let uri = file.token_uri.as_deref().unwrap_or(TOKEN_URI);
        check_url("token_uri", uri, private).map_err(refused)?;
        let der = pkcs8(&file.private_key)
            .ok_or_else(|| refused("its `private_key` is not PKCS#8 in PEM"))?;
        Ok(Self {
            email: file.client_email,
            key_id: file.private_key_id,
            key: RsaKeyPair::from_pkcs8(&der)
                .map_err(|_| refused("its `private_key` is no RSA key of 2048 bits or more"))?,
            token_uri: Url::parse(uri).map_err(|_| refused("its `token_uri` is no address"))?,
        })
    }

    /// Where its tokens are given.
    pub(super) fn token_uri(&self) -> &Url {
        &self.token_uri
    }

    /// A claim that this is who asks (RFC 7515, compact), for an hour from now.
    fn claim(&self, now: Timestamp) -> Result<String, ProviderError> {
        let seconds = now.as_micros().div_euclid(1_000_000);
        let mut head = json!({ "alg": "RS256", "typ": "JWT" });
        if let Some(id) = &self.key_id {
            head["kid"] = id.as_str().into();
        }
        let claims = json!({
            "iss": self.email,
            "scope": SCOPE,
            "aud": self.token_uri.as_str(),
            "iat": seconds,
            "exp": seconds.saturating_add(CLAIM_SECONDS),
        });
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let mut claim = format!("{}.{}", part(&head), part(&claims));
        let mut signature = vec![0; self.key.public().modulus_len()];
        let random = SystemRandom::new();
        let signed = self
            .key
            .sign(&RSA_PKCS1_SHA256, &random, claim.as_bytes(), &mut signature);
        signed.map_err(|_| refused("nothing can be signed with it"))?;
        claim.push('.');
        URL_SAFE_NO_PAD.encode_string(&signature, &mut claim);
        Ok(claim)
    }
}

/// The bytes between the lines of a PEM file of this kind (RFC 7468).
fn pkcs8(pem: &str) -> Option<Vec<u8>> {
    let (_, rest) = pem.split_once("-----BEGIN PRIVATE KEY-----")?;
    let (text, _) = rest.split_once("-----END PRIVATE KEY-----")?;
    let text: String = text.split_whitespace().collect();
    STANDARD.decode(text).ok()
}

/// Asks for a token; gives how long it is good, too.
pub(super) async fn token(
    client: &Client,
    account: &Account,
    now: Timestamp,
    wait: Duration,
) -> Result<(Secret, Duration), ProviderError> {
    let wait = wait.min(WAIT);
    // Whatever went wrong, no model has read anything yet.
    let away = |why: &dyn fmt::Display| {
        let text = format!("no token was given for the key: {why}");
        ProviderError::new(Reason::Unreachable, text)
    };
    // Nothing in a claim must be escaped.
    let grant = "urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer";
    let form = format!("grant_type={grant}&assertion={}", account.claim(now)?);
    let request = client
        .post(account.token_uri.clone())
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(form);
    let asked = async {
        let response = request.send().await.map_err(|error| failed(&error))?;
        let status = response.status();
        Ok::<_, ProviderError>((status, read(response, ANSWER_MAX, wait).await?))
    };
    let asked = tokio::time::timeout(wait, asked).await;
    let (status, body) = asked
        .map_err(|_| away(&format_args!("nothing came within {wait:?}")))?
        .map_err(|error| away(&error))?;
    if status.is_success() {
        return given(&body);
    }
    Err(denied(status, &body))
}

/// What is given.
#[derive(Deserialize)]
struct Given {
    access_token: String,
    expires_in: Option<u64>,
}

fn given(body: &[u8]) -> Result<(Secret, Duration), ProviderError> {
    let strange = || {
        let text = "what was given for the key is no token";
        ProviderError::new(Reason::Failed, text)
    };
    // What cannot be read may be a token all the same, so it is not repeated.
    let given: Given = serde_json::from_slice(body).map_err(|_| strange())?;
    let text = given.access_token;
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(strange());
    }
    let good = given.expires_in.unwrap_or(TOKEN_SECONDS);
    Ok((Secret::new(text), Duration::from_secs(good)))
}

/// Why no token is given. Of the answer only the error's code (RFC 6749) is repeated.
fn denied(status: StatusCode, body: &[u8]) -> ProviderError {
    let reason = match status.as_u16() {
        429 => Reason::Busy { retry_after: None },
        400..=499 => Reason::Refused(Refusal::Everything),
        _ => Reason::Failed,
    };
    let told: Option<Value> = serde_json::from_slice(body).ok();
    let code = told.as_ref().and_then(|told| told.get("error")?.as_str());
    let plain = |code: &&str| {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
        code.len() <= 40 && code.bytes().all(plain)
    };
    let code = code.filter(plain).unwrap_or("no reason");
    let text = format!("no token is given for the key: {} {code}", status.as_u16());
    ProviderError::new(reason, text)
}

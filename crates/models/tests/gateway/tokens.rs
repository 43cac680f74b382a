//! Keys of service accounts of Google Cloud, and the tokens that are given for them.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use futures::future::join_all;
use matrix_models::ModelError;
use matrix_models::provider::{Reason, Refusal};
use matrix_models::registry::{ModelSpec, ProviderKind};
use ring::signature::{KeyPair, RSA_PKCS1_2048_8192_SHA256, RsaKeyPair, UnparsedPublicKey};
use serde_json::{Value, json};

use crate::site::{Site, spec};
use crate::transcripts::{Has, whole};
use crate::upstream::{self, Asked, Reply, Upstream, status};

/// A private key that nobody uses, as PKCS#8 in base64.
const KEY: &str = include_str!("nobody.rsa.txt");

/// The key of a service account, as it is downloaded.
fn account(token_uri: &str) -> String {
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{KEY}-----END PRIVATE KEY-----\n");
    let key = json!({
        "type": "service_account",
        "project_id": "p-1",
        "private_key_id": "key-7",
        "private_key": pem,
        "client_email": "matrix@p-1.iam.gserviceaccount.com",
        "client_id": "1",
        "token_uri": token_uri,
    });
    serde_json::to_string_pretty(&key).unwrap()
}

fn given(token: &str) -> Reply {
    let body = json!({ "access_token": token, "expires_in": 3599, "token_type": "Bearer" });
    upstream::whole(&body.to_string())
}

fn good() -> Reply {
    upstream::whole(&whole("gemini", Has::Words))
}

/// A model of Vertex AI with a key in a file.
fn vertex(site: &Site, url: &str, key: &str) -> ModelSpec {
    let mut spec = spec(ProviderKind::Vertex, url);
    spec.provider.key = Some(site.key("key.json", key));
    spec
}

/// A site with one model, whose tokens are given elsewhere.
async fn one(model: &Upstream, tokens: &Upstream) -> Site {
    let site = Site::new().await;
    let key = account(&format!("{}/token", tokens.url()));
    site.add("m", &vertex(&site, &model.url(), &key)).await;
    site
}

fn bearers(asked: &[Asked]) -> Vec<&str> {
    let each = asked.iter().map(|asked| asked.header("authorization"));
    each.map(Option::unwrap).collect()
}

fn reason(error: &ModelError) -> Reason {
    match error {
        ModelError::Provider { source, .. } => source.reason,
        other => panic!("{other}"),
    }
}

/// What a claim says, once its signature is found to be the account's.
fn claimed(form: &str) -> (Value, Value) {
    let grant = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=";
    let claim = form.strip_prefix(grant).unwrap();
    let (signed, signature) = claim.rsplit_once('.').unwrap();
    let der = KEY.split_whitespace().collect::<String>();
    let key = RsaKeyPair::from_pkcs8(&STANDARD.decode(der).unwrap()).unwrap();
    let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.public_key().as_ref());
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    public.verify(signed.as_bytes(), &signature).unwrap();
    let part = |text: &str| {
        let bytes = URL_SAFE_NO_PAD.decode(text).unwrap();
        serde_json::from_slice(&bytes).unwrap()
    };
    let (head, claims) = signed.split_once('.').unwrap();
    (part(head), part(claims))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_account_asks_with_a_token_that_many_calls_share() {
    let (model, tokens) = (
        Upstream::always(good()).await,
        Upstream::always(given("ya29.first")).await,
    );
    let site = one(&model, &tokens).await;
    let calls = (0..8).map(|_| site.chat("m"));
    assert!(join_all(calls).await.iter().all(Result::is_ok));
    assert_eq!(bearers(&model.asked()), ["Bearer ya29.first"; 8]);

    let asked = tokens.asked();
    let [asked] = &asked[..] else {
        panic!("one token is enough, and {} were fetched", asked.len());
    };
    assert_eq!(
        (asked.method.as_str(), asked.path.as_str()),
        ("POST", "/token")
    );
    let form = Some("application/x-www-form-urlencoded");
    assert_eq!(asked.header("content-type"), form);
    assert_eq!(asked.header("authorization"), None);
    let (head, claims) = claimed(&asked.text);
    assert_eq!(
        head,
        json!({ "alg": "RS256", "typ": "JWT", "kid": "key-7" })
    );
    let now = 1_790_000_002;
    assert_eq!(
        claims,
        json!({
            "iss": "matrix@p-1.iam.gserviceaccount.com",
            "scope": "https://www.googleapis.com/auth/cloud-platform",
            "aud": format!("{}/token", tokens.url()),
            "iat": now,
            "exp": now + 3_600,
        })
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_replaced_before_it_ends_and_with_its_key() {
    let model = Upstream::always(good()).await;
    let tokens = Upstream::playing(["one", "two", "three"].map(given)).await;
    let site = one(&model, &tokens).await;
    site.chat("m").await.unwrap();
    site.clock.advance(Duration::from_mins(50));
    site.chat("m").await.unwrap();
    site.clock.advance(Duration::from_mins(8));
    site.chat("m").await.unwrap();
    // The same account, in other words: a key that was replaced.
    let key = account(&format!("{}/token", tokens.url()));
    site.key("key.json", &key.replace("key-7", "key-8"));
    site.chat("m").await.unwrap();
    let bearers = ["one", "one", "two", "three"].map(|token| format!("Bearer {token}"));
    assert_eq!(self::bearers(&model.asked()), bearers);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_refused_is_replaced_once() {
    let refused = || status(401, "", r#"{"error":{"code":401,"message":"No."}}"#);
    let tokens = Upstream::playing(["one", "two", "three"].map(given)).await;
    let model = Upstream::playing([good(), refused(), good()]).await;
    let site = one(&model, &tokens).await;
    site.chat("m").await.unwrap();
    site.chat("m").await.unwrap();
    assert_eq!(
        bearers(&model.asked()),
        ["Bearer one", "Bearer one", "Bearer two"]
    );
    model.keep_saying(refused());
    let error = site.stream("m").await.err().unwrap();
    assert_eq!(reason(&error), Reason::Refused(Refusal::Everything));
    assert_eq!(bearers(&model.asked())[3..], ["Bearer two", "Bearer three"]);
    assert_eq!(tokens.count(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_key_or_a_token_is_repeated() {
    let claim = "eyJhbGciOiJSUzI1NiIs";
    let denied = format!(r#"{{"error":"invalid_grant","error_description":"{claim}"}}"#);
    let strange = format!(r#"{{"error":"{claim} is odd"}}"#);
    for (code, body, expected, says) in [
        (
            400,
            denied.as_str(),
            Reason::Refused(Refusal::Everything),
            "400 invalid_grant",
        ),
        (
            401,
            strange.as_str(),
            Reason::Refused(Refusal::Everything),
            "401 no reason",
        ),
        (429, "", Reason::Busy { retry_after: None }, "429 no reason"),
        (500, claim, Reason::Failed, "500 no reason"),
        (200, claim, Reason::Failed, "is no token"),
        (
            200,
            r#"{"access_token":"eyJhbGciOiJSUzI1NiIs\n"}"#,
            Reason::Failed,
            "is no token",
        ),
        (302, "", Reason::Failed, "302 no reason"),
    ] {
        let (model, tokens) = (
            Upstream::always(good()).await,
            Upstream::always(status(code, "location: http://127.0.0.1:1/\r\n", body)).await,
        );
        let site = one(&model, &tokens).await;
        let error = site.chat("m").await.unwrap_err();
        assert_eq!(reason(&error), expected, "{code} {body}");
        let all = format!("{error} {error:?} {:?}", error.complaint());
        assert!(all.contains(says), "{all}");
        assert!(!all.contains("eyJ") && !all.contains(&KEY[..40]), "{all}");
        assert_eq!(model.count(), 0, "{code} {body}");
        // Nothing was read by the model.
        assert_eq!(site.charged().await, (0, 0, 1), "{code} {body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_none_is_never_sent() {
    let good_key = account("https://oauth2.googleapis.com/token");
    for (kind, key, says) in [
        (ProviderKind::Vertex, "{}", "lacks `type`"),
        (ProviderKind::Vertex, "{\"type\": 1, ya29", "lacks `type`"),
        (
            ProviderKind::Vertex,
            &good_key.replace("service_account", "authorized_user"),
            "is not `service_account`",
        ),
        (
            ProviderKind::Vertex,
            &good_key.replace("BEGIN PRIVATE", "BEGIN RSA PRIVATE"),
            "is not PKCS#8 in PEM",
        ),
        (
            ProviderKind::Vertex,
            &good_key.replace(&KEY[..20], "AAAA"),
            "is no RSA key",
        ),
        (
            ProviderKind::Vertex,
            &account("http://169.254.169.254/token"),
            "`token_uri` is an address of this machine",
        ),
        (ProviderKind::Openai, &good_key, "only vertex takes"),
        (ProviderKind::Openai, "sk-\u{7}", "holds no key"),
        (ProviderKind::Openai, "sk-one\nsk-two", "holds no key"),
    ] {
        let model = Upstream::always(good()).await;
        let site = Site::new().await;
        let mut spec = vertex(&site, &model.url(), key);
        spec.provider.kind = kind;
        site.add("m", &spec).await;
        let error = site.chat("m").await.unwrap_err();
        assert_eq!(reason(&error), Reason::Key, "{error}");
        assert!(error.to_string().contains(says), "{error}");
        assert!(!format!("{error:?}").contains("ya29"), "{error}");
        assert_eq!(model.count(), 0, "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_fetched_in_private_networks_only_where_that_was_allowed() {
    for (uri, says) in [
        ("http://oauth2.googleapis.com/token", "is not encrypted"),
        ("https://127.0.0.1/token", "a private network"),
        (
            "https://user@oauth2.googleapis.com/token",
            "a name or a password",
        ),
        ("file:///etc/passwd", "must begin with https://"),
    ] {
        let site = Site::new().await;
        let mut spec = vertex(&site, "https://127.0.0.1", &account(uri));
        spec.provider.private = false;
        spec.provider.base_url = None;
        site.add("m", &spec).await;
        let error = site.chat("m").await.unwrap_err();
        assert_eq!(reason(&error), Reason::Key, "{error}");
        assert!(error.to_string().contains(says), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_access_token_is_sent_as_it_is() {
    let model = Upstream::always(good()).await;
    let site = Site::new().await;
    let spec = vertex(&site, &model.url(), "ya29.given\n");
    site.add("m", &spec).await;
    site.chat("m").await.unwrap();
    assert_eq!(bearers(&model.asked()), ["Bearer ya29.given"]);
}

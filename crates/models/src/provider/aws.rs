//! Requests to Amazon Web Services, signed ("Signature Version 4").

use matrix_core::Timestamp;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Url};
use ring::digest::{SHA256, digest};
use ring::hmac::{self, HMAC_SHA256};

use super::place::percent;
use super::{ProviderError, Reason};
use crate::secret::Secret;

/// How a request is signed.
const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// Headers that are signed if they are there, beside `host`.
const SIGNED: [&str; 3] = ["content-type", "x-amz-date", "x-amz-security-token"];

/// What stands in a path as it is signed as it is.
const PLAIN: &[u8] = b"-._~/";

/// An access key.
#[derive(Debug)]
pub(super) struct AccessKey {
    id: String,
    secret: Secret,
    /// Of a key that is lent for a while.
    session: Option<Secret>,
}

/// For which part of Amazon's services a signature is good.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scope<'a> {
    pub(super) region: &'a str,
    pub(super) service: &'a str,
}

impl AccessKey {
    /// Reads `ID:SECRET` or `ID:SECRET:SESSION`; nothing if the key is of another kind.
    pub(super) fn read(key: &Secret) -> Option<Self> {
        let mut words = key.expose().splitn(3, ':');
        let (id, secret, session) = (words.next()?, words.next()?, words.next());
        let plain = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit();
        if !(8..=128).contains(&id.len()) || !id.bytes().all(plain) || secret.is_empty() {
            return None;
        }
        Some(Self {
            id: id.to_owned(),
            secret: Secret::new(secret.to_owned()),
            session: session.map(|text| Secret::new(text.to_owned())),
        })
    }

    /// Adds to a request's headers who sends it and when. Addresses with a query are not signed.
    pub(super) fn sign(
        &self,
        (method, url, body): (&Method, &Url, &[u8]),
        headers: &mut HeaderMap,
        scope: Scope<'_>,
        now: Timestamp,
    ) -> Result<(), ProviderError> {
        let time = basic(now);
        set(headers, "x-amz-date", &time)?;
        if let Some(session) = &self.session {
            set(headers, "x-amz-security-token", session.expose())?;
        }
        let (names, lines) = signed(url, headers);
        let canonical = format!(
            "{method}\n{}\n\n{lines}\n{names}\n{}",
            // What was written with `%` in the address is written so once more.
            percent(url.path(), PLAIN),
            hex::encode(digest(&SHA256, body))
        );
        let day = time.split('T').next().unwrap_or_default();
        let Scope { region, service } = scope;
        let scope = format!("{day}/{region}/{service}/aws4_request");
        let canonical = hex::encode(digest(&SHA256, canonical.as_bytes()));
        let text = format!("{ALGORITHM}\n{time}\n{scope}\n{canonical}");
        let first = format!("AWS4{}", self.secret.expose());
        let mut key = hmac::Key::new(HMAC_SHA256, first.as_bytes());
        for word in [day, region, service, "aws4_request"] {
            key = hmac::Key::new(HMAC_SHA256, hmac::sign(&key, word.as_bytes()).as_ref());
        }
        let signature = hex::encode(hmac::sign(&key, text.as_bytes()));
        let id = &self.id;
        let says = format!(
            "{ALGORITHM} Credential={id}/{scope}, SignedHeaders={names}, Signature={signature}"
        );
        set(headers, AUTHORIZATION.as_str(), &says)
    }
}

/// `20150830T123600Z`.
fn basic(now: Timestamp) -> String {
    let time = now.to_rfc3339_seconds();
    time.chars()
        .filter(|letter| !"-:".contains(*letter))
        .collect()
}

fn set(headers: &mut HeaderMap, name: &str, text: &str) -> Result<(), ProviderError> {
    let wrong = || ProviderError::new(Reason::Key, "the key has characters that cannot be sent");
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong())?;
    let mut value = HeaderValue::from_str(text).map_err(|_| wrong())?;
    value.set_sensitive(true);
    headers.insert(name, value);
    Ok(())
}

/// The names of the headers that are signed, and a line for each, in the order of names.
fn signed(url: &Url, headers: &HeaderMap) -> (String, String) {
    let mut host = url.host_str().unwrap_or_default().to_owned();
    if let Some(port) = url.port() {
        host = format!("{host}:{port}");
    }
    let mut each = vec![("host", host)];
    for name in SIGNED {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        each.extend(value.map(|value| (name, value.trim().to_owned())));
    }
    each.sort_unstable();
    let names: Vec<&str> = each.iter().map(|(name, _)| *name).collect();
    let mut lines = String::new();
    for (name, value) in &each {
        lines.push_str(name);
        lines.push(':');
        lines.push_str(value);
        lines.push('\n');
    }
    (names.join(";"), lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFq\
                         wAeMicRXmxfpSPfIeoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy\
                         0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqK\
                         mlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA==";

    /// What a request says, with the key of Amazon's published test suite and at its time.
    fn says(key: &str, method: &Method, url: &str, form: Option<&str>) -> String {
        let key = AccessKey::read(&Secret::new(key.to_owned())).unwrap();
        let mut headers = HeaderMap::new();
        if form.is_some() {
            let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
            headers.insert("content-type", kind);
        }
        let url = Url::parse(url).unwrap();
        let body = form.unwrap_or_default().as_bytes();
        let scope = Scope {
            region: "us-east-1",
            service: "service",
        };
        let now = "2015-08-30T12:36:00Z".parse().unwrap();
        key.sign((method, &url, body), &mut headers, scope, now)
            .unwrap();
        assert_eq!(headers["x-amz-date"], "20150830T123600Z");
        let says = headers[AUTHORIZATION].to_str().unwrap().to_owned();
        let begin =
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, ";
        says.strip_prefix(begin).unwrap().to_owned()
    }

    #[test]
    fn signatures_are_those_of_the_published_suite() {
        let key = "AKIDEXAMPLE:wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
        let home = "https://example.amazonaws.com/";
        let lent = format!("{key}:{TOKEN}");
        let plain = "-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        let form = Some("Param1=value1");
        for (name, key, method, url, form, names, signature) in [
            (
                "get-vanilla",
                key,
                Method::GET,
                home.to_owned(),
                None,
                "host;x-amz-date",
                "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
            ),
            (
                "get-unreserved",
                key,
                Method::GET,
                format!("{home}{plain}"),
                None,
                "host;x-amz-date",
                "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f",
            ),
            (
                "post-vanilla",
                key,
                Method::POST,
                home.to_owned(),
                None,
                "host;x-amz-date",
                "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
            ),
            (
                "post-sts-header-before",
                lent.as_str(),
                Method::POST,
                home.to_owned(),
                None,
                "host;x-amz-date;x-amz-security-token",
                "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead",
            ),
            (
                "post-x-www-form-urlencoded",
                key,
                Method::POST,
                home.to_owned(),
                form,
                "content-type;host;x-amz-date",
                "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
            ),
        ] {
            let expected = format!("SignedHeaders={names}, Signature={signature}");
            assert_eq!(says(key, &method, &url, form), expected, "{name}");
        }
    }

    #[test]
    fn a_path_is_escaped_once_more_than_it_is_sent() {
        // As in `get-utf8` of the suite, whose path is sent unescaped.
        assert_eq!(percent("/ሴ", PLAIN), "/%E1%88%B4");
        assert_eq!(
            percent("/model/anthropic.claude-v2%3A1/converse", PLAIN),
            "/model/anthropic.claude-v2%253A1/converse"
        );
    }

    #[test]
    fn access_keys_are_told_from_others() {
        let read = |key: &str| AccessKey::read(&Secret::new(key.to_owned()));
        assert!(read("AKIDEXAMPLE:secret").unwrap().session.is_none());
        assert!(read("ASIAEXAMPLE:secret:token").unwrap().session.is_some());
        for key in [
            "ABSKQmVkcm9ja0FQSUtleQ==",
            "bedrock-api-key-YmVkcm9jay5h",
            "a:b",
            ":",
            "AKIDEXAMPLE:",
        ] {
            assert!(read(key).is_none(), "{key}");
        }
        let shown = format!("{:?}", read("AKIDEXAMPLE:hidden:hidden"));
        assert!(!shown.contains("hidden"), "{shown}");
    }
}

//! The inner layer: who asks, and whether the request can come from where it says.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use matrix_core::{Caller, Problem};
use matrix_identity::principals::sign_in_required;
use serde::{Deserialize, Serialize};

use crate::problem::{Failure, HOST, ORIGIN};
use crate::server::Server;
use crate::v1;

/// What anyone may ask, so that a supervisor needs no token.
const OPEN: [&str; 3] = ["/livez", "/readyz", "/health"];

/// Through which door a request came.
#[derive(Debug, Clone)]
pub(crate) enum Door {
    /// A TCP listener, with the names it answers to.
    Tcp(AllowedNames),
    /// The socket in the data directory: the peer is the process's own user.
    Socket,
}

/// A name as the Host header has it: `matrix.example.org`, or with a port
/// `matrix.example.org:8443`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostName(String);

/// Where a page was loaded from: `https://tools.example.org`, with a port where it is not the
/// scheme's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Origin(String);

/// A text that is no name or origin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {wanted}")]
pub struct InvalidName {
    text: String,
    wanted: &'static str,
}

/// Whether a text is what stands between scheme and path: a name, perhaps a port, nothing else.
fn is_authority(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    let parsed = text.parse::<Authority>();
    text.bytes().all(plain) && parsed.is_ok_and(|parsed| !parsed.host().is_empty())
}

impl FromStr for HostName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        if is_authority(text) {
            return Ok(Self(text.to_ascii_lowercase()));
        }
        Err(InvalidName {
            text: text.chars().take(200).collect(),
            wanted: "a host name such as `matrix.example.org` or `matrix.example.org:8443`",
        })
    }
}

impl FromStr for Origin {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let text_lower = text.to_ascii_lowercase();
        let place = text_lower
            .strip_prefix("https://")
            .or_else(|| text_lower.strip_prefix("http://"));
        if place.is_some_and(is_authority) {
            return Ok(Self(text_lower));
        }
        Err(InvalidName {
            text: text.chars().take(200).collect(),
            wanted: "an origin such as `https://tools.example.org`, without a path",
        })
    }
}

macro_rules! text {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidName;

            fn try_from(text: String) -> Result<Self, InvalidName> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }
    };
}

text!(HostName);
text!(Origin);

/// The names a TCP listener answers to, and the origins whose pages may call it.
///
/// A page of another site can make a browser send requests to a loopback address, and a name that
/// its owner points at 127.0.0.1 makes them look like the page's own. Both end here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllowedNames {
    hosts: Vec<String>,
    origins: Vec<String>,
}

impl AllowedNames {
    /// The loopback names with the listener's port.
    pub fn loopback(address: SocketAddr) -> Self {
        let mut own = vec![];
        for name in ["localhost", "127.0.0.1", "[::1]"] {
            own.push(format!("{name}:{}", address.port()));
            if address.port() == 80 {
                own.push(name.to_owned());
            }
        }
        if !address.ip().is_loopback() {
            own.push(address.to_string());
        }
        let own = own.into_iter().map(HostName);
        own.fold(Self::default(), |names, name| names.host(&name))
    }

    /// Answers to one more name, and to pages that were loaded from it.
    #[must_use]
    pub fn host(mut self, name: &HostName) -> Self {
        self.origins.push(format!("http://{name}"));
        self.origins.push(format!("https://{name}"));
        self.hosts.push(name.to_string());
        self
    }

    /// Lets pages of one more origin call.
    #[must_use]
    pub fn origin(mut self, origin: &Origin) -> Self {
        self.origins.push(origin.to_string());
        self
    }

    fn check(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Failure> {
        let host = one(headers, header::HOST.as_str())
            .map_err(|()| refused_host("the request has more than one Host header"))?
            .ok_or_else(|| refused_host("the request has no Host header"))?;
        let named = std::iter::once(host).chain(uri.authority().map(Authority::as_str));
        for name in named {
            if !self.hosts.contains(&name.to_ascii_lowercase()) {
                let name: String = name.chars().take(200).collect();
                return Err(refused_host(&format!(
                    "this server does not answer for `{name}`"
                )));
            }
        }
        let refused = |detail: String| Failure::from(Problem::new(ORIGIN, detail));
        let origin = one(headers, header::ORIGIN.as_str())
            .map_err(|()| refused("the request has more than one Origin header".into()))?;
        match origin {
            None => Ok(()),
            Some(origin) if self.origins.contains(&origin.to_ascii_lowercase()) => Ok(()),
            Some(origin) => {
                let origin: String = origin.chars().take(200).collect();
                Err(refused(format!(
                    "pages of `{origin}` may not call this server"
                )))
            }
        }
    }
}

fn refused_host(detail: &str) -> Failure {
    Problem::new(HOST, detail)
        .help("use the address that `matrix serve` printed, or allow the name with --allow-host")
        .into()
}

/// The one value of a header; an error if there are several or it is not text.
fn one<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, ()> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| ()),
        (Some(_), Some(_)) => Err(()),
    }
}

/// Lets a request in, with its caller, or answers it.
pub(crate) async fn guard(
    State((server, door)): State<(Server, Door)>,
    mut request: Request,
    next: Next,
) -> Response {
    match admit(&server, &door, &request) {
        Ok(caller) => {
            if let Some(caller) = caller {
                request.extensions_mut().insert(caller);
            }
            next.run(request).await
        }
        Err(failure) => failure.into_response(),
    }
}

fn admit(server: &Server, door: &Door, request: &Request) -> Result<Option<Caller>, Failure> {
    let names = match door {
        Door::Socket => return Ok(Some(server.owner().clone())),
        Door::Tcp(names) => names,
    };
    names.check(request.uri(), request.headers())?;
    if OPEN.contains(&request.uri().path()) {
        return Ok(None);
    }
    let asks = v1::is_ours(request.uri().path());
    let bearing = one(request.headers(), header::AUTHORIZATION.as_str());
    let bearing = bearing.ok().flatten().and_then(bearer);
    let token = match bearing {
        Some(token) => Some(token),
        // As clients of Anthropic's protocol say who they are.
        None if asks => one(request.headers(), "x-api-key").ok().flatten(),
        None => None,
    };
    let token = token.ok_or_else(|| Failure::from(sign_in_required()))?;
    let caller = if asks {
        server.asker(token)?
    } else {
        server.accounts().authenticate(token)?
    };
    match caller {
        Some(caller) => Ok(Some(caller)),
        None => Err(sign_in_required().into()),
    }
}

/// The token of an Authorization header (RFC 6750: the scheme's case does not matter).
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then_some(token.trim())
}

/// The caller of a request that the guard let in.
#[derive(Debug)]
pub(crate) struct SignedIn(pub(crate) Caller);

impl<S: Send + Sync> FromRequestParts<S> for SignedIn {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        // Only the open addresses have no caller, and none of them asks for one.
        let caller = parts.extensions.get::<Caller>().cloned();
        Ok(Self(
            caller.ok_or_else(|| Failure::from(sign_in_required()))?,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn code(names: &AllowedNames, uri: &str, pairs: &[(&'static str, &str)]) -> &'static str {
        let uri: Uri = uri.parse().unwrap();
        match names.check(&uri, &headers(pairs)) {
            Ok(()) => "ok",
            Err(failure) => failure.problem().code.text,
        }
    }

    #[test]
    fn only_the_listeners_own_names_are_answered() {
        let names = AllowedNames::loopback("127.0.0.1:7700".parse().unwrap());
        for good in [
            "127.0.0.1:7700",
            "localhost:7700",
            "LocalHost:7700",
            "[::1]:7700",
        ] {
            assert_eq!(code(&names, "/x", &[("host", good)]), "ok", "{good}");
        }
        for bad in [
            "evil.example:7700",
            "localhost",
            "127.0.0.1:7701",
            "127.0.0.1:7700.evil",
            "",
        ] {
            assert_eq!(code(&names, "/x", &[("host", bad)]), HOST.text, "{bad}");
        }
        let twice = [("host", "localhost:7700"), ("host", "evil.example")];
        assert_eq!(code(&names, "/x", &twice), HOST.text);
        assert_eq!(code(&names, "/x", &[]), HOST.text);
        let absolute = code(
            &names,
            "http://evil.example/x",
            &[("host", "localhost:7700")],
        );
        assert_eq!(absolute, HOST.text, "the target's own authority counts too");
    }

    #[test]
    fn pages_of_other_origins_are_refused() {
        let names = AllowedNames::loopback("127.0.0.1:7700".parse().unwrap())
            .host(&"Matrix.example.org".parse().unwrap())
            .origin(&"https://tools.example.org".parse().unwrap());
        let from = |origin: &str| {
            code(
                &names,
                "/x",
                &[("host", "localhost:7700"), ("origin", origin)],
            )
        };
        for good in [
            "http://localhost:7700",
            "http://127.0.0.1:7700",
            "https://matrix.example.org",
            "https://tools.example.org",
        ] {
            assert_eq!(from(good), "ok", "{good}");
        }
        for bad in [
            "null",
            "http://localhost:1",
            "https://evil.example",
            "http://tools.example.org",
        ] {
            assert_eq!(from(bad), ORIGIN.text, "{bad}");
        }
    }

    #[test]
    fn names_and_origins_are_nothing_else() {
        for good in [
            "matrix.example.org",
            "a:8443",
            "192.0.2.1:80",
            "[2001:db8::1]:80",
        ] {
            assert!(good.parse::<HostName>().is_ok(), "{good}");
            assert!(
                format!("https://{good}").parse::<Origin>().is_ok(),
                "{good}"
            );
        }
        for bad in [
            "",
            "*",
            "a/b",
            "https://a",
            "a b",
            "u@a",
            "a,b",
            "ä.example",
            ":80",
        ] {
            assert!(bad.parse::<HostName>().is_err(), "{bad}");
        }
        for bad in [
            "a.example",
            "ftp://a",
            "https://",
            "https://a/",
            "null",
            "*",
        ] {
            assert!(bad.parse::<Origin>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_bearer_token_is_read_as_the_standard_says() {
        assert_eq!(bearer("Bearer abc"), Some("abc"));
        assert_eq!(bearer("bearer  abc "), Some("abc"));
        assert_eq!(bearer("Basic abc"), None);
        assert_eq!(bearer("Bearer"), None);
    }
}

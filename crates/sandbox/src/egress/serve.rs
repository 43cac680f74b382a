//! One connection of a client, from its request to its end.

use std::net::{IpAddr, SocketAddr};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy};
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio::time::timeout;

use super::address::{self, Kind};
use super::request::{self, Form, HEAD_LIMIT, Request};
use super::{Destination, Rules, Shared};
use crate::spec::Denial;

/// Why a request does not get through.
enum Refusal {
    /// It is not allowed.
    Denied(String),
    /// It is not understood.
    Malformed(&'static str),
    /// It is allowed and the server cannot be reached.
    Unreachable(String),
}

/// Serves one client. What goes wrong is told to the client; there is nobody else to tell.
pub(super) async fn connection(mut client: UnixStream, shared: &Shared) {
    let rules = &shared.rules;
    let asked = timeout(rules.patience, read_head(&mut client)).await;
    let Ok(Some(head)) = asked else {
        return;
    };
    let opened = match request::parse(&head) {
        Ok(request) => match open(&request, rules).await {
            Ok(server) => Ok((request, server)),
            Err(refusal) => Err((Some(request), refusal)),
        },
        Err(reason) => Err((None, Refusal::Malformed(reason))),
    };
    match opened {
        Ok((request, server)) => {
            drop(timeout(rules.lifetime, pass(request, client, server, rules)).await);
        }
        Err((request, refusal)) => {
            let answer = explain(request.as_ref(), refusal, shared);
            drop(timeout(rules.patience, client.write_all(answer.as_bytes())).await);
        }
    }
}

/// The head of a request, without its empty line; `None` when the client stops or talks too long.
async fn read_head(client: &mut UnixStream) -> Option<Vec<u8>> {
    let mut head = Vec::with_capacity(512);
    // Byte by byte, since what follows the head belongs to the server.
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() > HEAD_LIMIT {
            return None;
        }
        head.push(client.read_u8().await.ok()?);
    }
    head.truncate(head.len() - 4);
    Some(head)
}

fn explain(request: Option<&Request>, refusal: Refusal, shared: &Shared) -> String {
    let (status, reason) = match refusal {
        Refusal::Denied(reason) => {
            let target = request.map_or_else(String::new, |request| {
                format!("{}:{}", request.host, request.port)
            });
            let reason = format!("the connection to `{target}` is refused: {reason}");
            shared.note(Denial {
                what: "network".into(),
                reason: reason.clone(),
            });
            ("403 Forbidden", reason)
        }
        Refusal::Malformed(reason) => ("400 Bad Request", reason.to_owned()),
        Refusal::Unreachable(reason) => ("502 Bad Gateway", reason),
    };
    let body = format!("{reason}\n");
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

fn listed(rules: &Rules, host: &str, port: u16) -> bool {
    rules
        .allow
        .iter()
        .any(|one| one.host == host && one.port == port)
}

fn allowed_text(rules: &Rules) -> String {
    if rules.allow.is_empty() {
        return "nothing is allowed here".into();
    }
    let names: Vec<String> = rules
        .allow
        .iter()
        .take(20)
        .map(Destination::to_string)
        .collect();
    format!("allowed are {}", names.join(", "))
}

/// Judges a request and opens a connection to where it may go.
async fn open(request: &Request, rules: &Rules) -> Result<TcpStream, Refusal> {
    let (host, port) = (request.host.as_str(), request.port);
    let denied = |reason: &str| Refusal::Denied(format!("{reason}; {}", allowed_text(rules)));
    match address::kind(host) {
        Kind::Nonsense => return Err(denied("that is no host name")),
        Kind::Disguised => return Err(denied("addresses in disguise are never reached")),
        Kind::Literal(_) if !listed(rules, host, port) => {
            return Err(denied("addresses are reached only if the list names them"));
        }
        Kind::Name if !listed(rules, host, port) => {
            return Err(denied("the host and port are not on the list"));
        }
        Kind::Literal(_) | Kind::Name => {}
    }
    if let Some(upstream) = &rules.upstream {
        return connect_by_name(&upstream.host, upstream.port, rules).await;
    }
    let resolved = timeout(rules.patience, lookup_host((host, port))).await;
    let resolved: Vec<SocketAddr> = match resolved {
        Ok(Ok(addresses)) => addresses.collect(),
        Ok(Err(error)) => {
            return Err(Refusal::Unreachable(format!(
                "cannot resolve `{host}`: {error}"
            )));
        }
        Err(_) => {
            return Err(Refusal::Unreachable(format!(
                "resolving `{host}` took too long"
            )));
        }
    };
    let reachable = |address: IpAddr| {
        address::may_be_named(address) || listed(rules, &address.to_canonical().to_string(), port)
    };
    let good: Vec<SocketAddr> = resolved
        .iter()
        .copied()
        .filter(|one| reachable(one.ip()))
        .collect();
    if good.is_empty() {
        return Err(denied(
            "the name leads to this machine, its link or a metadata service",
        ));
    }
    connect(&good, rules).await
}

async fn connect_by_name(host: &str, port: u16, rules: &Rules) -> Result<TcpStream, Refusal> {
    match timeout(rules.patience, TcpStream::connect((host, port))).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(Refusal::Unreachable(format!("the upstream proxy: {error}"))),
        Err(_) => Err(Refusal::Unreachable(
            "the upstream proxy does not answer".into(),
        )),
    }
}

async fn connect(addresses: &[SocketAddr], rules: &Rules) -> Result<TcpStream, Refusal> {
    match timeout(rules.patience, TcpStream::connect(addresses)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(Refusal::Unreachable(error.to_string())),
        Err(_) => Err(Refusal::Unreachable("the server does not answer".into())),
    }
}

/// Passes bytes on until both sides have ended.
async fn pass(request: Request, mut client: UnixStream, mut server: TcpStream, rules: &Rules) {
    match request.form {
        Form::Connect => {
            // An upstream proxy answers the client itself.
            let greeted = match &rules.upstream {
                Some(_) => {
                    server
                        .write_all(upstream_head(&request, rules).as_bytes())
                        .await
                }
                None => {
                    client
                        .write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")
                        .await
                }
            };
            if greeted.is_err() {
                return;
            }
            let (from_client, to_client) = client.split();
            let (from_server, to_server) = server.split();
            tokio::join!(
                one_way(from_client, to_server, rules.bytes),
                one_way(from_server, to_client, rules.bytes)
            );
        }
        Form::Plain { .. } => {
            if server
                .write_all(plain_head(&request, rules).as_bytes())
                .await
                .is_ok()
            {
                // Only the answer: a second request would not have been judged.
                one_way(server, client, rules.bytes).await;
            }
        }
    }
}

async fn one_way(from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, bytes: u64) {
    let mut from = from.take(bytes);
    // Either side may close at any time; the other is told by the shutdown.
    drop(copy(&mut from, &mut to).await);
    drop(to.shutdown().await);
}

fn authority(request: &Request) -> String {
    let Request { host, port, .. } = request;
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

fn upstream_head(request: &Request, rules: &Rules) -> String {
    let target = authority(request);
    format!(
        "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{}\r\n",
        proxy_authorization(rules)
    )
}

fn proxy_authorization(rules: &Rules) -> String {
    let value = rules
        .upstream
        .as_ref()
        .and_then(|upstream| upstream.authorization.as_ref());
    value.map_or_else(String::new, |value| {
        format!("Proxy-Authorization: {value}\r\n")
    })
}

fn plain_head(request: &Request, rules: &Rules) -> String {
    let Form::Plain {
        method,
        path,
        headers,
    } = &request.form
    else {
        return String::new();
    };
    let host = authority(request);
    let target = if rules.upstream.is_some() {
        format!("http://{host}{path}")
    } else {
        path.clone()
    };
    let mut head = format!(
        "{method} {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{}",
        proxy_authorization(rules)
    );
    for header in headers {
        head.push_str(header);
        head.push_str("\r\n");
    }
    head.push_str("\r\n");
    head
}

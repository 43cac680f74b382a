//! The head of a request to the proxy.

use super::address::normal;

/// A head longer than this is refused.
pub(super) const HEAD_LIMIT: usize = 16 << 10;

/// What a client asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) form: Form,
}

/// How it asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Form {
    /// A tunnel.
    Connect,
    /// One plain request: its method, path, and headers that concern the server.
    Plain {
        method: String,
        path: String,
        headers: Vec<String>,
    },
}

/// Parses a head without its last empty line; the error says what is wrong with it.
pub(super) fn parse(head: &[u8]) -> Result<Request, &'static str> {
    let text = std::str::from_utf8(head).map_err(|_| "the request is not text")?;
    if text
        .bytes()
        .any(|byte| byte == 0 || (byte < 0x20 && !b"\r\n\t".contains(&byte)))
    {
        return Err("the request holds control characters");
    }
    let mut lines = text.split("\r\n");
    let first = lines.next().unwrap_or_default();
    let mut words = first.split(' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err("the request line has not three words");
    };
    if !version.starts_with("HTTP/1.") {
        return Err("only HTTP/1 is spoken here");
    }
    if method == "CONNECT" {
        let (host, port) = authority(target, None)?;
        return Ok(Request {
            host,
            port,
            form: Form::Connect,
        });
    }
    if !matches!(method, "GET" | "HEAD") {
        return Err("only CONNECT, GET and HEAD are passed on");
    }
    let rest = target
        .strip_prefix("http://")
        .ok_or("the target is not an absolute http address")?;
    let split = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority_text, path) = rest.split_at(split);
    let (host, port) = authority(authority_text, Some(80))?;
    let path = if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("/{path}")
    };
    Ok(Request {
        host,
        port,
        form: Form::Plain {
            method: method.into(),
            path,
            headers: server_headers(lines),
        },
    })
}

/// Headers for the server: none that concern the connection or the proxy, none folded.
fn server_headers<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<String> {
    const OURS: &[&str] = &[
        "connection",
        "content-length",
        "host",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    lines
        .filter(|line| {
            let name = line
                .split(':')
                .next()
                .unwrap_or_default()
                .to_ascii_lowercase();
            !line.is_empty()
                && line.contains(':')
                && !line.contains(['\r', '\n'])
                && !line.starts_with([' ', '\t'])
                && !OURS.contains(&name.as_str())
        })
        .map(str::to_owned)
        .collect()
}

fn authority(text: &str, default_port: Option<u16>) -> Result<(String, u16), &'static str> {
    const WRONG: &str = "the target is not a host and a port";
    if text.contains('@') {
        return Err("the target names a user");
    }
    let end_of_host = match text.strip_prefix('[') {
        Some(inner) => inner.find(']').map(|at| at + 2).ok_or(WRONG)?,
        None => text.find(':').unwrap_or(text.len()),
    };
    let (host, rest) = text.split_at_checked(end_of_host).ok_or(WRONG)?;
    let port = match rest.strip_prefix(':') {
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            digits.parse().map_err(|_| WRONG)?
        }
        None if rest.is_empty() => default_port.ok_or(WRONG)?,
        _ => return Err(WRONG),
    };
    let host = normal(host);
    if host.is_empty() || port == 0 {
        return Err(WRONG);
    }
    Ok((host, port))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn connect(target: &str) -> Result<Request, &'static str> {
        parse(format!("CONNECT {target} HTTP/1.1\r\nHost: x").as_bytes())
    }

    #[test]
    fn tunnels_name_a_host_and_a_port() {
        let request = connect("Index.Example.org:443").unwrap();
        assert_eq!(
            (request.host.as_str(), request.port),
            ("index.example.org", 443)
        );
        assert_eq!(connect("[::1]:22").unwrap().host, "::1");
        for target in [
            "x", "x:", "x:0", "x:99999", "x:+1", ":443", "[::1", "u@x:443", "x:1:2",
        ] {
            assert!(connect(target).is_err(), "{target}");
        }
    }

    #[test]
    fn a_plain_request_keeps_only_headers_for_the_server() {
        let head = "GET http://a.example/x?y=1 HTTP/1.1\r\nHost: other\r\nAccept: */*\r\n\
                    Proxy-Authorization: secret\r\nConnection: upgrade\r\nContent-Length: 5\r\n folded: no";
        let request = parse(head.as_bytes()).unwrap();
        assert_eq!(request.port, 80);
        let Form::Plain { path, headers, .. } = request.form else {
            panic!("not plain");
        };
        assert_eq!(path, "/x?y=1");
        assert_eq!(headers, ["Accept: */*"]);
    }

    #[test]
    fn other_methods_and_forms_are_refused() {
        for head in [
            "POST http://a.example/ HTTP/1.1",
            "GET / HTTP/1.1",
            "GET https://a.example/ HTTP/1.1",
            "GET http://a.example/",
            "GET http://a.example/ HTTP/2",
            "CONNECT a.example:443 HTTP/1.1 more",
            "",
        ] {
            assert!(parse(head.as_bytes()).is_err(), "{head}");
        }
    }

    proptest! {
        #[test]
        fn nothing_a_client_sends_breaks_the_parser(bytes: Vec<u8>, target in ".{0,40}") {
            drop(parse(&bytes));
            drop(connect(&target));
        }

        #[test]
        fn no_header_smuggles_a_line(value in "[ -~\r\n]{0,60}") {
            let head = format!("GET http://a.example/ HTTP/1.1\r\nX: {value}");
            if let Ok(Request { form: Form::Plain { headers, .. }, .. }) = parse(head.as_bytes()) {
                prop_assert!(headers.iter().all(|line| !line.contains(['\r', '\n'])));
            }
        }
    }
}

//! Where the user's own tools get packages from, asked outside and cleaned.
//!
//! A mirror or an index inside a company is configured in the tool, so the tool is what is asked;
//! no host is written here. Credentials are not copied: an address loses its user and password,
//! and of every configuration only the named members are taken.

use std::collections::{BTreeMap, BTreeSet};

use matrix_sandbox::egress::Destination;

use matrix_sandbox::toolchain::Search;

/// An address without credentials, and where it leads; nothing for what is not HTTP.
pub(super) fn cleaned(address: &str) -> Option<(String, Destination)> {
    let address = address.trim().trim_start_matches("sparse+");
    let (scheme, rest) = address.split_once("://")?;
    let standard = match scheme {
        "https" => 443,
        "http" => 80,
        _ => return None,
    };
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let authority = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
            (host, port.parse().ok()?)
        }
        _ => (authority, standard),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() {
        return None;
    }
    let clean = format!("{scheme}://{authority}{path}");
    Some((clean, Destination::new(host, port)))
}

/// Further certificates that the user's tools trust, as PEM.
pub(super) fn certificates(search: &Search, configured: Option<&str>) -> Option<Vec<u8>> {
    let names = [
        "SSL_CERT_FILE",
        "PIP_CERT",
        "NODE_EXTRA_CA_CERTS",
        "CARGO_HTTP_CAINFO",
    ];
    let paths = names
        .iter()
        .filter_map(|name| search.env.get(*name).map(String::as_str));
    configured.into_iter().chain(paths).find_map(|path| {
        let bytes = std::fs::read(path).ok()?;
        let pem = bytes.windows(11).any(|window| window == b"-----BEGIN ");
        // A file with a key in it is not a file of certificates.
        let key = String::from_utf8_lossy(&bytes).contains("PRIVATE KEY");
        (pem && !key && bytes.len() < 4 << 20).then_some(bytes)
    })
}

/// Puts certificates into the copy and tells every tool about them.
pub(super) fn trust(
    certificates: Option<Vec<u8>>,
    files: &mut BTreeMap<String, Vec<u8>>,
    env: &mut BTreeMap<String, String>,
) {
    let Some(bytes) = certificates else { return };
    files.insert(String::from(".matrix/certificates.pem"), bytes);
    let path = "/work/.matrix/certificates.pem";
    for name in [
        "SSL_CERT_FILE",
        "PIP_CERT",
        "NODE_EXTRA_CA_CERTS",
        "CARGO_HTTP_CAINFO",
        "GIT_SSL_CAINFO",
    ] {
        env.insert(name.to_owned(), path.to_owned());
    }
}

/// The destinations of a fetch: the tool's own and the operator's.
pub(super) fn destinations(
    own: impl IntoIterator<Item = Destination>,
    operator: &[Destination],
) -> BTreeSet<Destination> {
    own.into_iter().chain(operator.iter().cloned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_lose_their_credentials() {
        for (address, clean, host, port) in [
            (
                "https://u:p@mirror.test/simple/",
                "https://mirror.test/simple/",
                "mirror.test",
                443,
            ),
            (
                "sparse+https://Index.Test/",
                "https://Index.Test/",
                "index.test",
                443,
            ),
            (
                "http://10.0.0.1:8080",
                "http://10.0.0.1:8080",
                "10.0.0.1",
                8080,
            ),
            ("https://[::1]:8443/x", "https://[::1]:8443/x", "::1", 8443),
        ] {
            let (cleaned, destination) = cleaned(address).unwrap();
            assert_eq!(cleaned, clean);
            assert_eq!(destination, Destination::new(host, port), "{address}");
        }
        for address in ["git@host:repo", "ssh://host/x", "file:///x", "https://", ""] {
            assert!(cleaned(address).is_none(), "{address}");
        }
    }
}

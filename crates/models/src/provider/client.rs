//! Connections to providers: with TLS of ours, and only to addresses that may be reached.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use reqwest::{Client, Response, Url};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use super::guard::{Guarded, Reach};
use super::{ProviderError, Reason};
use crate::secret::{NoSecret, Secret, SecretRef, Secrets};

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(10);

/// How long a connection that nobody uses is kept.
const IDLE: Duration = Duration::from_secs(90);

/// The ways out of this process.
#[derive(Debug)]
pub(super) struct Clients {
    public: Client,
    private: Client,
    inside: Client,
}

impl Clients {
    /// Ready to connect; `roots` are trusted beside the machine's own certificates.
    pub(super) fn new(roots: &[Vec<u8>]) -> Result<Self, ProviderError> {
        let tls = tls(roots)?;
        Ok(Self {
            public: client(tls.clone(), Reach::Public)?,
            private: client(tls.clone(), Reach::Private)?,
            inside: client(tls, Reach::Inside)?,
        })
    }

    /// The way to an address, if there may be one.
    pub(super) fn to(&self, url: &Url, private: bool) -> Result<&Client, ProviderError> {
        let (reach, client) = match (private, url.scheme()) {
            (true, "http") => (Reach::Inside, &self.inside),
            (true, _) => (Reach::Private, &self.private),
            (false, _) => (Reach::Public, &self.public),
        };
        // Numbers are not resolved, so the resolver's guard never sees them.
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
        if host.parse::<IpAddr>().is_ok_and(|ip| !reach.allows(ip)) {
            let text = format!(
                "{host} is an address that may not be reached by {}",
                url.scheme()
            );
            return Err(ProviderError::new(Reason::Unreachable, text));
        }
        Ok(client)
    }
}

/// The certificates of a file in PEM (RFC 7468), in DER.
pub fn certificates(text: &[u8]) -> Result<Vec<Vec<u8>>, InvalidPem> {
    let found = CertificateDer::pem_slice_iter(text);
    let found = found.map(|one| one.map(|one| one.to_vec()));
    found
        .collect::<Result<_, _>>()
        .map_err(|error| InvalidPem(error.to_string()))
}

/// What is not in PEM.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("is not in PEM: {0}")]
pub struct InvalidPem(String);

/// The way out of this process, for whoever asks somebody beside providers. Cloning is cheap.
#[derive(Debug, Clone)]
pub(crate) struct Way {
    clients: Arc<Clients>,
    secrets: Secrets,
}

impl Way {
    pub(super) fn new(clients: Arc<Clients>, secrets: Secrets) -> Self {
        Self { clients, secrets }
    }

    /// To an address, if there may be one.
    pub(crate) fn to(&self, url: &Url, private: bool) -> Result<&Client, ProviderError> {
        self.clients.to(url, private)
    }

    /// The secret behind a reference, as it is now.
    pub(crate) async fn secret(&self, reference: &SecretRef) -> Result<Secret, NoSecret> {
        self.secrets.resolve(reference).await
    }

    /// Reads a body piece by piece, up to a limit.
    pub(crate) async fn read(
        response: Response,
        limit: usize,
        silence: Duration,
    ) -> Result<Vec<u8>, ProviderError> {
        read(response, limit, silence).await
    }
}

pub(super) fn failed(error: &reqwest::Error) -> ProviderError {
    // Whoever was reached may have read what it was sent, and answers to nobody.
    let (reason, what) = if error.is_connect() || error.is_builder() {
        (Reason::Unreachable, "the provider cannot be reached")
    } else if error.is_timeout() {
        (Reason::Slow, "the provider did not answer in time")
    } else {
        (Reason::Broken, "the connection broke before an answer")
    };
    let why = match distrust(error) {
        Some(why) => format!(
            "its certificate is not trusted here ({why}); whoever operates the server may add the \
             authority that signed it to the file that `ca` under [models] of its configuration names"
        ),
        None => cause(error),
    };
    ProviderError::new(reason, format!("{what}: {why}"))
}

/// Why a certificate is not believed, if that is what is wrong.
fn distrust(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    if let Some(rustls::Error::InvalidCertificate(why)) = error.downcast_ref() {
        return Some(why.to_string());
    }
    // What is inside such an error is not its source.
    if let Some(inner) = error.downcast_ref::<std::io::Error>() {
        return distrust(inner.get_ref()?);
    }
    distrust(error.source()?)
}

/// The innermost cause: what is around it repeats the address.
pub(crate) fn cause(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

/// Reads a body piece by piece, up to a limit.
pub(super) async fn read(
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

fn tls(roots: &[Vec<u8>]) -> Result<ClientConfig, ProviderError> {
    let failed = |error: rustls::Error| ProviderError::new(Reason::Invalid, error.to_string());
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    for root in roots {
        store.add(root.clone().into()).map_err(|error| {
            let text = format!("a certificate of `ca` under [models] cannot be used: {error}");
            ProviderError::new(Reason::Invalid, text)
        })?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(failed)?
        .with_root_certificates(store)
        .with_no_client_auth();
    // A configuration that is given says itself what is spoken.
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn client(tls: ClientConfig, reach: Reach) -> Result<Client, ProviderError> {
    Client::builder()
        .tls_backend_preconfigured(tls)
        .dns_resolver(Guarded(reach))
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

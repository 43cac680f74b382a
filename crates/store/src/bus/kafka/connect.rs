//! A connection to a cluster. Kafka's servers do not say whether they want encryption or who may
//! come, so it follows from the destination: with credentials, SASL; and TLS as well where they leave
//! the machine.

use std::sync::Arc;

use rskafka::client::error::Error;
use rskafka::client::{Client, ClientBuilder, Credentials, SaslConfig};
use rustls::{ClientConfig, RootCertStore};

use super::super::secret::Secret;
use super::super::{BusError, Destination};
use super::patience;

/// The most bytes of an answer: a large cluster's topics fit.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Ways to show a password, the best one first. A server that does not know one says so.
const MECHANISMS: [fn(Credentials) -> SaslConfig; 3] = [
    SaslConfig::ScramSha512,
    SaslConfig::ScramSha256,
    SaslConfig::Plain,
];

pub(super) async fn client(
    destination: &Destination,
    secret: Option<Secret>,
) -> Result<Client, BusError> {
    let builder = || {
        ClientBuilder::new(destination.servers.clone())
            .client_id("matrix")
            .max_message_size(ANSWER_BYTES_MAX)
            .backoff_config(patience())
    };
    let Some(secret) = secret else {
        let built = builder().build().await;
        return built.map_err(|error| unreachable(destination, &error));
    };
    let Some(user) = secret.user else {
        return Err(BusError::new(
            "Kafka asks for a user and a password: write `user:password` into the credentials",
        ));
    };
    let tls = destination.is_remote().then(tls).transpose()?;
    let mut last = None;
    for mechanism in MECHANISMS {
        let credentials = Credentials::new(user.clone(), secret.password.clone());
        let mut attempt = builder().sasl_config(mechanism(credentials));
        if let Some(tls) = &tls {
            attempt = attempt.tls_config(Arc::clone(tls));
        }
        match attempt.build().await {
            Ok(client) => return Ok(client),
            Err(error) => {
                let failed = unreachable(destination, &error);
                if !failed.0.contains("UnsupportedSaslMechanism") {
                    return Err(failed);
                }
                last = Some(failed);
            }
        }
    }
    Err(last.unwrap_or_else(|| BusError::new("no way to show a password is known")))
}

/// Trusts whom the machine trusts.
fn tls() -> Result<Arc<ClientConfig>, BusError> {
    let mut roots = RootCertStore::empty();
    let (added, _) =
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if added == 0 {
        return Err(BusError::new(
            "this machine trusts no certificate authority; install `ca-certificates`",
        ));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(BusError::new)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

fn unreachable(destination: &Destination, error: &Error) -> BusError {
    BusError::new(format_args!(
        "no broker of {} takes us: {}",
        destination.servers.join(","),
        super::inmost(error)
    ))
}

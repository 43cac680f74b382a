//! `GET /api/v1/signing-keys`.

use axum::extract::State;
use matrix_changes::signing::KeyFile;
use matrix_core::Action;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::edge::guard::SignedIn;
use crate::problem::Failure;
use crate::rest::page::Page;
use crate::server::{Server, blocking};

/// Reads the public keys.
#[derive(Debug, Clone, Copy)]
struct SigningKeyRead;

impl Action for SigningKeyRead {
    const NAME: &'static str = "signing_key_read";
}

/// A public key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SigningKey {
    /// The key's id, as bundles name it.
    pub key_id: String,
    /// Whether it signs now.
    pub current: bool,
    /// The key as SPKI PEM.
    pub pem: String,
    /// Its file on the server's machine.
    pub file: String,
}

fn signing_key(file: &KeyFile) -> Result<SigningKey, Failure> {
    let pem = file.key.to_pem().map_err(|error| {
        tracing::error!(%error, "a public key has no PEM form");
        Failure::internal()
    })?;
    Ok(SigningKey {
        key_id: file.key.key_id().to_string(),
        current: file.current,
        pem,
        file: file.path.display().to_string(),
    })
}

/// Every public key there ever was, the one that signs now first.
#[utoipa::path(
    get, path = "/api/v1/signing-keys", operation_id = "signing_key_list", tag = "signing keys",
    responses((status = 200, description = "The keys.", body = Page<SigningKey>)),
)]
pub(crate) async fn list(
    State(server): State<Server>,
    SignedIn(caller): SignedIn,
) -> Result<Page<SigningKey>, Failure> {
    server.authorise(caller, SigningKeyRead)?;
    let keyring = server.workshop().keyring();
    let files = blocking(move || keyring.public_keys()).await?;
    let items = files.iter().map(signing_key).collect::<Result<_, _>>()?;
    Ok(Page { items, next: None })
}

//! `POST /api/v1/signing-keys/rotate`.

use axum::Json;
use axum::extract::State;
use matrix_changes::service::signing_key_rotate;
use matrix_changes::signing::SigningKeyRotate;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::edge::guard::SignedIn;
use crate::problem::Failure;
use crate::server::Server;

/// The key that signs from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Rotated {
    /// Its id.
    pub key_id: String,
    /// Its file on the server's machine.
    pub file: String,
}

/// Makes a new key that signs from now on; bundles of the old one still verify.
#[utoipa::path(
    post, path = "/api/v1/signing-keys/rotate", operation_id = "signing_key_rotate",
    tag = "signing keys",
    responses((status = 200, description = "The new key.", body = Rotated)),
)]
pub(crate) async fn rotate(
    State(server): State<Server>,
    SignedIn(caller): SignedIn,
) -> Result<Json<Rotated>, Failure> {
    let request = server.authorise(caller, SigningKeyRotate)?;
    let key = signing_key_rotate(server.workshop(), &request).await?;
    let path = server.workshop().keyring().public_path(&key);
    Ok(Json(Rotated {
        key_id: key.key_id().to_string(),
        file: path.display().to_string(),
    }))
}

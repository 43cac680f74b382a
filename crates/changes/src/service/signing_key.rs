//! Makes a new signing key.

use matrix_core::{Action, Authorised};
use matrix_evidence::keys::PublicKey;
use matrix_store::StoreError;
use matrix_store::tables::audit;

use crate::error::ChangeError;
use crate::signing::SigningKeyRotate;
use crate::workshop::Workshop;

/// Signs with a new key from now on; the old public key stays, and the act is recorded.
pub async fn signing_key_rotate(
    workshop: &Workshop,
    request: &Authorised<SigningKeyRotate>,
) -> Result<PublicKey, ChangeError> {
    let key = workshop.keyring().rotate(request, &**workshop.entropy())?;
    let (caller, at) = (request.caller().clone(), workshop.clock().now());
    let id = key.key_id().to_string();
    workshop
        .database()
        .write::<_, StoreError, _>(move |tx| {
            audit::insert(tx, &caller, at, SigningKeyRotate::NAME, &id, "")
        })
        .await?;
    Ok(key)
}

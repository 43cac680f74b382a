//! What proves a thought to its provider, as the signature of a thinking block.
//!
//! Clients give a thinking block back as they got it. So its signature is the one place where the
//! proof of another provider's thought can travel.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::FAMILY;
use crate::chat::Opaque;

/// What signatures begin with that we made: the first way of writing them.
const MARK: &str = "matrix1.";

/// What a signature says.
pub(super) fn read(signature: String) -> Opaque {
    if signature.is_empty() {
        return Opaque::default();
    }
    let Some(text) = signature.strip_prefix(MARK) else {
        return Opaque::default().with(FAMILY, "signature", Value::String(signature));
    };
    // One of ours that was changed on its way proves nothing.
    let bytes = URL_SAFE_NO_PAD.decode(text).unwrap_or_default();
    serde_json::from_slice(&bytes).unwrap_or_default()
}

/// The signature that `Anthropic` gave.
pub(crate) fn own(opaque: &Opaque) -> Option<&str> {
    let signature = opaque.text(FAMILY, "signature")?;
    (!signature.is_empty() && !signature.starts_with(MARK)).then_some(signature)
}

/// Whether `Anthropic` will know a thought again.
pub(super) fn proves(opaque: &Opaque) -> bool {
    own(opaque).is_some() || opaque.text(FAMILY, "redacted").is_some()
}

/// The signature for a client; nothing where nothing is to be kept.
pub(super) fn write(opaque: &Opaque) -> String {
    if let Some(signature) = own(opaque) {
        return signature.to_owned();
    }
    if opaque.is_empty() {
        return String::new();
    }
    let json = opaque.to_value().to_string();
    format!("{MARK}{}", URL_SAFE_NO_PAD.encode(json))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_others_gave_to_keep_comes_back() {
        let opaque = Opaque::default()
            .with("google", "thought_signature", json!("Ck0B"))
            .with("openai", "encrypted_content", json!("gAAA"));
        let signature = write(&opaque);
        assert!(signature.starts_with(MARK));
        assert_eq!(read(signature), opaque);
    }

    #[test]
    fn a_signature_of_its_own_is_left_alone() {
        let opaque = read("EqQBCgIYAhIM".into());
        assert_eq!(own(&opaque), Some("EqQBCgIYAhIM"));
        assert_eq!(write(&opaque), "EqQBCgIYAhIM");
    }

    #[test]
    fn ours_never_counts_as_its_own() {
        let forged = Opaque::default().with(FAMILY, "signature", json!("matrix1.e30"));
        assert_eq!(own(&forged), None);
        assert!(read("matrix1.broken".into()).is_empty());
        assert!(read("matrix1.§".into()).is_empty());
    }
}

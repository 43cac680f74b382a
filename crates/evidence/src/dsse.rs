//! DSSE, the Dead Simple Signing Envelope (protocol version 1): bytes, their type, and signatures
//! over both.
//!
//! What is signed is not the JSON but the pre-authentication encoding ([`pae`]) of type and bytes,
//! so a reader checks the signature before it parses anything. An envelope may carry several
//! signatures; its `keyid`s are hints that nobody signed.
//!
//! [`Envelope::from_json`] reads what any conforming tool writes (both base 64 alphabets, members
//! in any order). [`Envelope::to_json`] writes one form only; the bundle verifier insists on that
//! form, which makes every byte of a bundle count.

use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE, Engine as _};
use serde::{Deserialize, Serialize};

use crate::keys::{KeyError, KeyId, PublicKey, Signer};

/// The type of an in-toto statement's bytes.
pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

/// More signatures than this on one envelope are refused.
pub const MAX_SIGNATURES: usize = 16;

/// The bytes that are signed: `DSSEv1`, then length and bytes of the type, then of the payload.
pub fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!(
        "DSSEv1 {} {payload_type} {} ",
        payload_type.len(),
        payload.len()
    );
    let mut bytes = Vec::with_capacity(head.len() + payload.len());
    bytes.extend_from_slice(head.as_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// One signature with the name its maker gave the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// A hint, not authenticated; ours is [`KeyId`] as text.
    pub key_id: String,
    /// The signature's bytes.
    pub bytes: Vec<u8>,
}

/// Typed bytes and the signatures over them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// What the payload is; part of what is signed.
    pub payload_type: String,
    /// The bytes.
    pub payload: Vec<u8>,
    /// At least one.
    pub signatures: Vec<Signature>,
}

/// Why some bytes are no envelope.
#[derive(Debug, thiserror::Error)]
pub enum EnvelopeError {
    /// Not the JSON object that DSSE describes.
    #[error("not a DSSE envelope: {0}")]
    Json(#[source] serde_json::Error),
    /// A member that should be base 64.
    #[error("`{0}` is not base 64")]
    Base64(&'static str),
    /// No signature, or too many.
    #[error("an envelope carries 1 to {MAX_SIGNATURES} signatures, this one {0}")]
    Signatures(usize),
}

#[derive(Serialize, Deserialize)]
struct WireSignature {
    #[serde(default)]
    keyid: String,
    sig: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    payload: String,
    payload_type: String,
    signatures: Vec<WireSignature>,
}

impl Envelope {
    /// Signs the bytes with every signer, in this order.
    pub fn sign(
        payload_type: &str,
        payload: Vec<u8>,
        signers: &[&dyn Signer],
    ) -> Result<Self, KeyError> {
        let message = pae(payload_type, &payload);
        let signatures = signers
            .iter()
            .map(|signer| {
                Ok(Signature {
                    key_id: signer.key_id().to_string(),
                    bytes: signer.sign(&message)?.to_vec(),
                })
            })
            .collect::<Result<_, KeyError>>()?;
        Ok(Self {
            payload_type: payload_type.to_owned(),
            payload,
            signatures,
        })
    }

    /// Which of the given keys signed this. A signature counts when it names the key and fits it.
    pub fn signers(&self, keys: &[PublicKey]) -> Vec<KeyId> {
        let message = pae(&self.payload_type, &self.payload);
        keys.iter()
            .filter(|key| {
                let name = key.key_id().to_string();
                self.signatures.iter().any(|signature| {
                    signature.key_id == name && key.verifies(&message, &signature.bytes)
                })
            })
            .map(PublicKey::key_id)
            .collect()
    }

    /// Reads one envelope. Nothing is verified.
    pub fn from_json(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        let wire: Wire = serde_json::from_slice(bytes).map_err(EnvelopeError::Json)?;
        if wire.signatures.is_empty() || wire.signatures.len() > MAX_SIGNATURES {
            return Err(EnvelopeError::Signatures(wire.signatures.len()));
        }
        let signatures = wire
            .signatures
            .into_iter()
            .map(|signature| {
                Ok(Signature {
                    key_id: signature.keyid,
                    bytes: decode("sig", &signature.sig)?,
                })
            })
            .collect::<Result<_, EnvelopeError>>()?;
        Ok(Self {
            payload_type: wire.payload_type,
            payload: decode("payload", &wire.payload)?,
            signatures,
        })
    }

    /// The one line this envelope is written as: no space, members in alphabetical order, standard
    /// base 64 with padding.
    pub fn to_json(&self) -> Result<String, EnvelopeError> {
        let wire = Wire {
            payload: BASE64_STANDARD.encode(&self.payload),
            payload_type: self.payload_type.clone(),
            signatures: self
                .signatures
                .iter()
                .map(|signature| WireSignature {
                    keyid: signature.key_id.clone(),
                    sig: BASE64_STANDARD.encode(&signature.bytes),
                })
                .collect(),
        };
        serde_json::to_string(&wire).map_err(EnvelopeError::Json)
    }
}

/// DSSE lets a signer take either alphabet and wants a verifier to read both.
fn decode(member: &'static str, text: &str) -> Result<Vec<u8>, EnvelopeError> {
    BASE64_STANDARD
        .decode(text)
        .or_else(|_| BASE64_URL_SAFE.decode(text))
        .map_err(|_| EnvelopeError::Base64(member))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::SigningKey;
    use proptest::prelude::*;

    #[test]
    fn the_encoding_is_the_published_one() {
        let bytes = pae("http://example.com/HelloWorld", b"hello world");
        let expected = b"DSSEv1 29 http://example.com/HelloWorld 11 hello world";
        assert_eq!(bytes, expected);
    }

    #[test]
    fn lengths_are_counted_in_bytes() {
        assert_eq!(pae("é", b""), "DSSEv1 2 é 0 ".as_bytes());
    }

    #[test]
    fn several_signers_are_found_and_strangers_are_not() {
        let keys: Vec<SigningKey> = (1..=3)
            .map(|seed| SigningKey::from_entropy([seed; 32]).unwrap())
            .collect();
        let signers: [&dyn Signer; 2] = [&keys[0], &keys[1]];
        let envelope = Envelope::sign(PAYLOAD_TYPE, b"{}".to_vec(), &signers).unwrap();
        let public: Vec<PublicKey> = keys.iter().map(SigningKey::public).collect();
        assert_eq!(
            envelope.signers(&public),
            [keys[0].key_id(), keys[1].key_id()]
        );
        assert!(envelope.signers(&public[2..]).is_empty());
    }

    #[test]
    fn the_type_is_signed_too() {
        let key = SigningKey::from_entropy([1; 32]).unwrap();
        let mut envelope = Envelope::sign(PAYLOAD_TYPE, b"{}".to_vec(), &[&key]).unwrap();
        envelope.payload_type = "text/plain".into();
        assert!(envelope.signers(&[key.public()]).is_empty());
    }

    #[test]
    fn other_tools_forms_are_read() {
        let text = r#"{"signatures": [{"sig": "_-8="}], "payloadType": "t", "payload": "_-8="}"#;
        let envelope = Envelope::from_json(text.as_bytes()).unwrap();
        assert_eq!(envelope.payload, [0xff, 0xef]);
        assert_eq!(envelope.signatures[0].key_id, "");
    }

    #[test]
    fn an_unsigned_envelope_is_refused() {
        let text = br#"{"payload":"","payloadType":"t","signatures":[]}"#;
        assert!(matches!(
            Envelope::from_json(text),
            Err(EnvelopeError::Signatures(0))
        ));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(payload: Vec<u8>, kind in ".{0,40}", key_id in ".{0,40}", bytes: Vec<u8>) {
            let signatures = vec![Signature { key_id, bytes }];
            let envelope = Envelope { payload_type: kind, payload, signatures };
            let text = envelope.to_json().unwrap();
            prop_assert!(!text.contains('\n'));
            prop_assert_eq!(Envelope::from_json(text.as_bytes()).unwrap(), envelope);
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes: Vec<u8>) {
            prop_assert!(Envelope::from_json(&bytes).is_err());
        }
    }
}

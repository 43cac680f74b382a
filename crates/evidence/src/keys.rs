//! Keys: the Ed25519 pair that signs bundles, in the files other tools read.
//!
//! A private key is PKCS#8 PEM (RFC 8410, without the public half, which is what OpenSSL and
//! Python's `cryptography` write too); a public key is SPKI PEM. A key is named by the SHA-256 of
//! its SPKI DER bytes, so that two tools that never met give it the same name.
//!
//! Signing goes through the [`Signer`] trait, because a key may live in this process or in a
//! process, a card or a service that never gives it away.

use std::fmt;

use ed25519_dalek::pkcs8::{
    DecodePrivateKey as _, DecodePublicKey as _, EncodePrivateKey as _, EncodePublicKey as _,
    KeypairBytes, spki::der::pem::LineEnding,
};
use ed25519_dalek::{Signer as _, SigningKey as DalekSigningKey, VerifyingKey};
use matrix_core::{Code, Digest, Problem};
use serde::{Deserialize, Serialize};

/// A key file that cannot be read.
pub const KEY_UNREADABLE: Code = Code::new("KEY-0001", 422, 1, "key unreadable");
/// A public key that would accept signatures nobody made.
pub const KEY_WEAK: Code = Code::new("KEY-0002", 422, 1, "key too weak");
/// The holder of the key did not sign.
pub const KEY_SILENT: Code = Code::new("KEY-0003", 500, 1, "signing failed");

/// No key file is longer than this; a longer one is something else.
const MAX_PEM_BYTES: usize = 16 * 1024;

/// Why a key cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not the PEM form that was asked for.
    #[error("not an Ed25519 {wanted} in PEM: {why}")]
    Unreadable {
        /// `public key` or `private key`.
        wanted: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// A point of small order: signatures under it prove nothing.
    #[error("public key {0} is of small order and would accept forged signatures")]
    Weak(KeyId),
    /// The signer refused or failed.
    #[error("the signer of key {key} did not sign: {why}")]
    Silent {
        /// Which key.
        key: KeyId,
        /// What it said.
        why: String,
    },
}

impl From<KeyError> for Problem {
    fn from(error: KeyError) -> Self {
        let (code, help) = match &error {
            KeyError::Unreadable { .. } => (
                KEY_UNREADABLE,
                "give the file that `matrix signing-key list` names, unchanged",
            ),
            KeyError::Weak(_) => (KEY_WEAK, "ask the publisher for their real public key"),
            KeyError::Silent { .. } => (KEY_SILENT, "look at the signer's own log, then try again"),
        };
        Self::new(code, error.to_string()).help(help)
    }
}

/// The name of a key: the SHA-256 of its SPKI DER bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyId(Digest);

impl KeyId {
    /// The digest behind the name.
    pub const fn digest(&self) -> Digest {
        self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Makes signatures over bytes; the key itself need not be in this process.
pub trait Signer {
    /// The name of the key that signs.
    fn key_id(&self) -> KeyId;

    /// An Ed25519 signature (RFC 8032) over exactly these bytes.
    fn sign(&self, message: &[u8]) -> Result<[u8; 64], KeyError>;
}

/// A private key held in memory, erased when dropped.
pub struct SigningKey {
    pair: DalekSigningKey,
    id: KeyId,
}

impl SigningKey {
    /// The key that 32 bytes of entropy make. The same bytes give the same key: they are the
    /// private key, so they must come from the system's random source and be kept nowhere else.
    pub fn from_entropy(entropy: [u8; 32]) -> Result<Self, KeyError> {
        Self::from_pair(DalekSigningKey::from_bytes(&entropy))
    }

    /// Reads PKCS#8 PEM, with or without the public half.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        check_pem(pem, "private key")?;
        let pair = DalekSigningKey::from_pkcs8_pem(pem.trim())
            .map_err(|error| unreadable("private key", error))?;
        Self::from_pair(pair)
    }

    /// The key as PKCS#8 PEM. Whoever holds this text can sign: write it with mode 0600.
    pub fn to_pem(&self) -> Result<String, KeyError> {
        let bytes = KeypairBytes {
            secret_key: self.pair.to_bytes(),
            public_key: None,
        };
        bytes
            .to_pkcs8_pem(LineEnding::LF)
            .map(|text| String::from(text.as_str()))
            .map_err(|error| unreadable("private key", error))
    }

    /// The half that others verify with.
    pub fn public(&self) -> PublicKey {
        PublicKey {
            key: self.pair.verifying_key(),
            id: self.id,
        }
    }

    fn from_pair(pair: DalekSigningKey) -> Result<Self, KeyError> {
        let id = key_id(&pair.verifying_key())?;
        Ok(Self { pair, id })
    }
}

impl Signer for SigningKey {
    fn key_id(&self) -> KeyId {
        self.id
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], KeyError> {
        self.pair
            .try_sign(message)
            .map(|signature| signature.to_bytes())
            .map_err(|error| KeyError::Silent {
                key: self.id,
                why: error.to_string(),
            })
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.id)
    }
}

/// A public key that somebody decided to trust.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    key: VerifyingKey,
    id: KeyId,
}

impl PublicKey {
    /// Reads SPKI PEM. Keys of small order are refused.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        check_pem(pem, "public key")?;
        let key = VerifyingKey::from_public_key_pem(pem.trim())
            .map_err(|error| unreadable("public key", error))?;
        let id = key_id(&key)?;
        if key.is_weak() {
            return Err(KeyError::Weak(id));
        }
        Ok(Self { key, id })
    }

    /// The key as SPKI PEM.
    pub fn to_pem(&self) -> Result<String, KeyError> {
        self.key
            .to_public_key_pem(LineEnding::LF)
            .map_err(|error| unreadable("public key", error))
    }

    /// Its name.
    pub const fn key_id(&self) -> KeyId {
        self.id
    }

    /// The 32 bytes of RFC 8032.
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.key.as_bytes()
    }

    /// Whether this key made the signature over exactly these bytes. Strict in the sense of
    /// RFC 8032, section 5.1.7: neither the key nor the signature's point may be of small order
    /// and the scalar must be reduced, so a signature has one form only.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        ed25519_dalek::Signature::from_slice(signature)
            .is_ok_and(|signature| self.key.verify_strict(message, &signature).is_ok())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.id)
    }
}

fn key_id(key: &VerifyingKey) -> Result<KeyId, KeyError> {
    key.to_public_key_der()
        .map(|der| KeyId(Digest::of(der.as_bytes())))
        .map_err(|error| unreadable("public key", error))
}

fn unreadable(wanted: &'static str, error: impl fmt::Display) -> KeyError {
    KeyError::Unreadable {
        wanted,
        why: error.to_string(),
    }
}

/// Says what a wrong file is before a DER parser says something only its author understands.
fn check_pem(pem: &str, wanted: &'static str) -> Result<(), KeyError> {
    let why = if pem.len() > MAX_PEM_BYTES {
        "the file is too long to be a key"
    } else if !pem.contains("-----BEGIN ") {
        "there is no line `-----BEGIN …`"
    } else if wanted == "public key" && pem.contains("PRIVATE KEY-----") {
        "this is a private key; it must stay where it was made"
    } else if wanted == "private key" && pem.contains("PUBLIC KEY-----") {
        "this is a public key"
    } else {
        return Ok(());
    };
    Err(unreadable(wanted, why))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_entropy([seed; 32]).unwrap()
    }

    #[test]
    fn the_first_vector_of_rfc_8032_holds() {
        let seed = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
        let expected = "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b";
        let mut entropy = [0; 32];
        hex::decode_to_slice(seed, &mut entropy).unwrap();
        let key = SigningKey::from_entropy(entropy).unwrap();
        assert_eq!(hex::encode(key.sign(b"").unwrap()), expected);
    }

    #[test]
    fn both_halves_survive_their_files() {
        let key = key(1);
        let again = SigningKey::from_pem(&key.to_pem().unwrap()).unwrap();
        assert_eq!(again.key_id(), key.key_id());
        let public = PublicKey::from_pem(&key.public().to_pem().unwrap()).unwrap();
        assert_eq!(public, key.public());
        assert!(public.verifies(b"m", &again.sign(b"m").unwrap()));
    }

    #[test]
    fn the_wrong_half_is_named() {
        let key = key(1);
        let error = PublicKey::from_pem(&key.to_pem().unwrap()).unwrap_err();
        assert!(
            error.to_string().contains("private key; it must stay"),
            "{error}"
        );
        let error = SigningKey::from_pem(&key.public().to_pem().unwrap()).unwrap_err();
        assert!(
            error.to_string().contains("this is a public key"),
            "{error}"
        );
    }

    #[test]
    fn a_key_of_small_order_is_refused() {
        let mut point = [0_u8; 32];
        point[0] = 1;
        let key = VerifyingKey::from_bytes(&point).unwrap();
        let pem = key.to_public_key_pem(LineEnding::LF).unwrap();
        assert!(matches!(PublicKey::from_pem(&pem), Err(KeyError::Weak(_))));
    }

    #[test]
    fn a_private_key_does_not_show_itself() {
        let key = key(7);
        assert_eq!(format!("{key:?}"), format!("SigningKey({})", key.key_id()));
    }

    proptest! {
        #[test]
        fn another_message_key_or_signature_is_refused(
            message: Vec<u8>, other: Vec<u8>, at in 0_usize..64, bit in 0_u8..8
        ) {
            let (mine, theirs) = (key(1), key(2));
            let mut signature = mine.sign(&message).unwrap();
            prop_assert!(mine.public().verifies(&message, &signature));
            prop_assert!(!theirs.public().verifies(&message, &signature));
            prop_assert_eq!(mine.public().verifies(&other, &signature), other == message);
            signature[at] ^= 1 << bit;
            prop_assert!(!mine.public().verifies(&message, &signature));
        }

        #[test]
        fn no_text_makes_the_readers_panic(text in ".{0,300}") {
            let wrapped = format!("-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----");
            prop_assert!(PublicKey::from_pem(&text).is_err());
            prop_assert!(PublicKey::from_pem(&wrapped).is_err());
            prop_assert!(SigningKey::from_pem(&text).is_err());
        }
    }
}

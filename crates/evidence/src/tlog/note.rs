//! Signed notes (<https://c2sp.org/signed-note>): a text, an empty line, and a line per signature
//! `— NAME BASE64(key id ‖ signature)`. The key's id is the first four bytes of
//! `SHA-256(NAME ‖ 0x0A ‖ 0x01 ‖ public key)` for Ed25519. Signatures under unknown keys are left
//! alone: a witness may add its own.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use matrix_core::Digest;

use super::TlogError;
use crate::keys::{PublicKey, Signer};

/// No note is longer.
pub const NOTE_BYTES_MAX: usize = 64 * 1024;

/// More signatures than this are refused.
pub const SIGNATURES_MAX: usize = 64;

const ED25519: u8 = 1;
const MARK: &str = "\u{2014} ";

/// A text and the signatures over it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedNote {
    text: String,
    signatures: Vec<NoteSignature>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct NoteSignature {
    name: String,
    key: [u8; 4],
    bytes: Vec<u8>,
}

impl SignedNote {
    /// Signs a text that ends with a line feed, under the name of the log.
    pub fn sign(
        text: String,
        name: &str,
        signer: &dyn Signer,
        public: &PublicKey,
    ) -> Result<Self, TlogError> {
        check_text(&text)?;
        check_name(name)?;
        let bytes = signer.sign(text.as_bytes())?.to_vec();
        let signature = NoteSignature {
            name: name.to_owned(),
            key: key_id(name, public),
            bytes,
        };
        Ok(Self {
            text,
            signatures: vec![signature],
        })
    }

    /// Reads a note; nothing is believed yet.
    pub fn parse(note: &str) -> Result<Self, TlogError> {
        let wrong = |why: &str| TlogError::malformed("signed note", why);
        if note.len() > NOTE_BYTES_MAX {
            return Err(wrong("it is too long"));
        }
        let at = note
            .rfind("\n\n")
            .ok_or_else(|| wrong("no empty line parts text and signatures"))?;
        let (text, signatures) = (&note[..=at], &note[at + 2..]);
        check_text(text)?;
        let Some(signatures) = signatures.strip_suffix('\n') else {
            return Err(wrong("the last line does not end"));
        };
        let signatures = signatures
            .split('\n')
            .map(signature)
            .collect::<Result<Vec<_>, _>>()?;
        if signatures.len() > SIGNATURES_MAX {
            return Err(wrong("it has too many signatures"));
        }
        Ok(Self {
            text: text.to_owned(),
            signatures,
        })
    }

    /// The text, with its last line feed.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Which of these keys signed the text under this name.
    pub fn signers<'a>(&self, name: &str, keys: &'a [PublicKey]) -> Vec<&'a PublicKey> {
        keys.iter()
            .filter(|key| {
                let id = key_id(name, key);
                self.signatures.iter().any(|signature| {
                    signature.name == name
                        && signature.key == id
                        && key.verifies(self.text.as_bytes(), &signature.bytes)
                })
            })
            .collect()
    }
}

impl std::fmt::Display for SignedNote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{}", self.text)?;
        for signature in &self.signatures {
            let bytes = [signature.key.as_slice(), &signature.bytes].concat();
            let encoded = BASE64_STANDARD.encode(bytes);
            writeln!(f, "{MARK}{} {encoded}", signature.name)?;
        }
        Ok(())
    }
}

/// The verifier key of other tools: `NAME+HASH+BASE64(0x01 ‖ public key)`.
pub fn verifier_key(name: &str, key: &PublicKey) -> String {
    let mut bytes = vec![ED25519];
    bytes.extend_from_slice(key.as_bytes());
    format!(
        "{name}+{}+{}",
        hex::encode(key_id(name, key)),
        BASE64_STANDARD.encode(bytes)
    )
}

fn key_id(name: &str, key: &PublicKey) -> [u8; 4] {
    let digest = Digest::of_parts(&[name.as_bytes(), b"\n", &[ED25519], key.as_bytes()]);
    let mut id = [0; 4];
    id.copy_from_slice(&digest.as_bytes()[..4]);
    id
}

fn check_text(text: &str) -> Result<(), TlogError> {
    let control = |c: char| c != '\n' && c < ' ';
    let why = if !text.ends_with('\n') {
        "the text does not end with a line feed"
    } else if text.contains(control) {
        "the text has a control character"
    } else {
        return Ok(());
    };
    Err(TlogError::malformed("signed note", why))
}

fn check_name(name: &str) -> Result<(), TlogError> {
    if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c == '+') {
        return Err(TlogError::malformed(
            "signed note",
            "a key's name has no space and no plus sign",
        ));
    }
    Ok(())
}

fn signature(line: &str) -> Result<NoteSignature, TlogError> {
    let wrong = |why: &str| TlogError::malformed("signed note", why);
    let (name, encoded) = line
        .strip_prefix(MARK)
        .and_then(|rest| rest.split_once(' '))
        .ok_or_else(|| wrong("a signature's line is `\u{2014} NAME BASE64`"))?;
    check_name(name)?;
    let bytes = BASE64_STANDARD
        .decode(encoded)
        .map_err(|_| wrong("a signature is not base 64"))?;
    let (key, bytes) = bytes
        .split_first_chunk::<4>()
        .ok_or_else(|| wrong("a signature is too short"))?;
    Ok(NoteSignature {
        name: name.to_owned(),
        key: *key,
        bytes: bytes.to_vec(),
    })
}

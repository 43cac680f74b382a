//! The file's form and its signatures.
//!
//! Every line must be exactly what [`Envelope::to_json`] writes for it. A reader that let spaces,
//! another base 64 alphabet or unknown members pass would let bytes change unnoticed.

use crate::bundle::{MAX_BUNDLE_BYTES, MAX_STATEMENTS};
use crate::dsse::{Envelope, PAYLOAD_TYPE};
use crate::keys::{KeyId, PublicKey};

use super::VerifyError;

/// A line's payload, authenticated.
#[derive(Debug)]
pub(super) struct Payload {
    /// Counted from 1.
    pub(super) line: usize,
    /// The statement's bytes.
    pub(super) bytes: Vec<u8>,
}

/// A file whose every line is signed by the same trusted key.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) payloads: Vec<Payload>,
    pub(super) keys: Vec<KeyId>,
}

pub(super) fn open(bundle: &[u8], keys: &[PublicKey]) -> Result<Opened, Vec<VerifyError>> {
    if keys.is_empty() {
        return Err(vec![VerifyError::NoKeys]);
    }
    let mut errors = Vec::new();
    let mut payloads = Vec::new();
    let mut common: Option<Vec<KeyId>> = None;
    for (index, text) in lines(bundle)?.into_iter().enumerate() {
        match open_line(index + 1, text, keys) {
            Ok((payload, signers)) => {
                payloads.push(payload);
                match &mut common {
                    Some(common) => common.retain(|key| signers.contains(key)),
                    None => common = Some(signers),
                }
            }
            Err(error) => errors.push(error),
        }
    }
    let keys = common.unwrap_or_default();
    if errors.is_empty() && keys.is_empty() {
        errors.push(VerifyError::MixedKeys);
    }
    if errors.is_empty() {
        Ok(Opened { payloads, keys })
    } else {
        Err(errors)
    }
}

fn lines(bundle: &[u8]) -> Result<Vec<&[u8]>, Vec<VerifyError>> {
    let too_large = |what: String| Err(vec![VerifyError::TooLarge { what }]);
    if bundle.len() > MAX_BUNDLE_BYTES {
        return too_large(format!("more than {MAX_BUNDLE_BYTES} bytes"));
    }
    let Some((b'\n', body)) = bundle.split_last() else {
        return Err(vec![if bundle.is_empty() {
            VerifyError::Empty
        } else {
            VerifyError::CutOff
        }]);
    };
    if body.is_empty() {
        return Err(vec![VerifyError::Empty]);
    }
    let lines: Vec<&[u8]> = body
        .split(|byte| *byte == b'\n')
        .take(MAX_STATEMENTS + 1)
        .collect();
    if lines.len() > MAX_STATEMENTS {
        return too_large(format!("more than {MAX_STATEMENTS} statements"));
    }
    Ok(lines)
}

fn open_line(
    line: usize,
    text: &[u8],
    keys: &[PublicKey],
) -> Result<(Payload, Vec<KeyId>), VerifyError> {
    let bad = |why: String| VerifyError::Line { line, why };
    let envelope = Envelope::from_json(text).map_err(|error| bad(error.to_string()))?;
    let written = envelope.to_json().map_err(|error| bad(error.to_string()))?;
    if written.as_bytes() != text {
        return Err(VerifyError::Rewritten { line });
    }
    let signers = envelope.signers(keys);
    if signers.is_empty() {
        let named: Vec<String> = envelope
            .signatures
            .iter()
            .map(|signature| signature.key_id.chars().take(64).collect())
            .collect();
        return Err(VerifyError::Unsigned {
            line,
            named: named.join(", "),
        });
    }
    if envelope.payload_type != PAYLOAD_TYPE {
        return Err(VerifyError::PayloadType {
            line,
            found: envelope.payload_type,
        });
    }
    let payload = Payload {
        line,
        bytes: envelope.payload,
    };
    Ok((payload, signers))
}

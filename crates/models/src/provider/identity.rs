//! Who we say we are to a provider.

use reqwest::header::{AUTHORIZATION, HeaderName};

use super::aws::AccessKey;
use super::tokens::TokenId;
use crate::registry::ProviderKind;
use crate::secret::Secret;

/// Who we say we are.
#[derive(Debug)]
pub(super) enum Identity {
    /// Nobody asks.
    Nobody,
    /// Who has this key.
    Key(Secret),
    /// Who was given this token for a key.
    Token {
        /// Where it is kept.
        id: TokenId,
        /// It.
        text: Secret,
    },
    /// Who signs each request.
    Signer(AccessKey),
}

impl Identity {
    /// The header that says so, and what it says.
    pub(super) fn header(&self, kind: ProviderKind) -> Option<(HeaderName, String)> {
        let key = match self {
            Self::Nobody | Self::Signer(_) => return None,
            Self::Key(key) => key.expose(),
            Self::Token { text, .. } => text.expose(),
        };
        let name = match kind {
            ProviderKind::Azure => "api-key",
            ProviderKind::Anthropic => "x-api-key",
            ProviderKind::Gemini => "x-goog-api-key",
            _ => return Some((AUTHORIZATION, format!("Bearer {key}"))),
        };
        Some((HeaderName::from_static(name), key.to_owned()))
    }
}

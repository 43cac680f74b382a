//! Tokens: 256 random bits as text, stored only as their SHA-256.
//!
//! A fast digest is right here: a token is not a password, nobody can guess 256 bits, and the
//! digest is computed on every request.

use matrix_core::{Digest, Entropy};

/// What every token begins with, so that scanners and people know one when they see it.
const PREFIX: &str = "mtx_";

/// Crockford's base 32, as ids have it.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// 32 bytes in base 32: 51 digits of five bits and one of a single bit.
const DIGITS: usize = 52;

/// A secret that signs somebody in. It is shown once and never stored.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// A new token of 32 random bytes.
    pub fn generate(entropy: &dyn Entropy) -> Self {
        let mut bytes = [0_u8; 32];
        entropy.fill(&mut bytes);
        let bit = |index: usize| {
            bytes
                .get(index / 8)
                .map_or(0, |byte| (byte >> (7 - index % 8)) & 1)
        };
        let digits = (0..DIGITS).map(|digit| {
            let value = (0..5).fold(0_u8, |value, place| (value << 1) | bit(digit * 5 + place));
            char::from(ALPHABET[usize::from(value)])
        });
        Self(PREFIX.chars().chain(digits).collect())
    }

    /// A token as somebody presents it; none if it cannot be one.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix(PREFIX)?;
        let known = digits.bytes().all(|byte| ALPHABET.contains(&byte));
        (digits.len() == DIGITS && known).then(|| Self(text.to_owned()))
    }

    /// The secret, for the one place that shows or writes it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What is stored of it.
    pub(crate) fn digest(&self) -> Digest {
        Digest::of(&self.0)
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}

/// Whether two digests are the same, in a time that does not depend on where they differ.
pub(crate) fn same(a: &Digest, b: &Digest) -> bool {
    let pairs = a.as_bytes().iter().zip(b.as_bytes());
    let difference = pairs.fold(0_u8, |sum, (a, b)| std::hint::black_box(sum | (a ^ b)));
    difference == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug)]
    struct Fixed([u8; 32]);

    impl Entropy for Fixed {
        fn fill(&self, buffer: &mut [u8]) {
            buffer.copy_from_slice(&self.0);
        }
    }

    #[test]
    fn a_token_has_prefix_and_base_32_digits_of_its_bytes() {
        let zeros = format!("mtx_{}", "0".repeat(52));
        assert_eq!(Token::generate(&Fixed([0; 32])).reveal(), zeros);
        let ones = format!("mtx_{}g", "z".repeat(51));
        assert_eq!(Token::generate(&Fixed([255; 32])).reveal(), ones);
    }

    #[test]
    fn a_token_is_not_shown_by_accident() {
        let token = Token::generate(&Fixed([7; 32]));
        assert!(!format!("{token:?}").contains(&token.reveal()[4..10]));
    }

    proptest! {
        #[test]
        fn different_bytes_give_different_tokens_that_parse(a: [u8; 32], b: [u8; 32]) {
            let (one, two) = (Token::generate(&Fixed(a)), Token::generate(&Fixed(b)));
            prop_assert_eq!(one == two, a == b);
            prop_assert_eq!(Token::parse(one.reveal()), Some(one.clone()));
            prop_assert_eq!(same(&one.digest(), &two.digest()), a == b);
        }

        #[test]
        fn nonsense_is_no_token(text in "(mtx_)?.{0,60}") {
            let proper = text.len() == 56
                && text.starts_with("mtx_")
                && text[4..].bytes().all(|byte| ALPHABET.contains(&byte));
            prop_assert_eq!(Token::parse(&text).is_some(), proper);
        }
    }
}

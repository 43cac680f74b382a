//! Ids: `UUIDv7` values, so that their order is the order of creation, written as a prefix and
//! 26 characters of Crockford's base 32 (`run_01k…`), which keeps that order as text.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize, Serializer};
use uuid::Uuid;

use crate::clock::{Clock, Entropy};

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const TEXT_LENGTH: usize = 26;

/// Why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an id of the form {prefix}_ and 26 characters of base 32")]
pub struct InvalidId {
    /// The prefix the id should have had.
    pub prefix: &'static str,
    /// The text as given, cut to 80 characters.
    pub text: String,
}

fn encode(mut value: u128) -> [u8; TEXT_LENGTH] {
    let mut text = [0; TEXT_LENGTH];
    for letter in text.iter_mut().rev() {
        *letter = ALPHABET[usize::try_from(value & 31).unwrap_or(0)];
        value >>= 5;
    }
    text
}

fn decode(text: &str) -> Option<u128> {
    if text.len() != TEXT_LENGTH {
        return None;
    }
    text.bytes().try_fold(0_u128, |value, byte| {
        let digit = ALPHABET.iter().position(|letter| *letter == byte)?;
        value.checked_mul(32)?.checked_add(digit as u128)
    })
}

fn new_v7(clock: &dyn Clock, entropy: &dyn Entropy) -> Uuid {
    let millis = u64::try_from(clock.now().as_micros() / 1000).unwrap_or(0);
    let mut random = [0_u8; 10];
    entropy.fill(&mut random);
    uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
        #[serde(try_from = "String")]
        pub struct $name(Uuid);

        impl $name {
            /// A new id at the clock's present time.
            pub fn generate(clock: &dyn Clock, entropy: &dyn Entropy) -> Self {
                Self(new_v7(clock, entropy))
            }

            /// The first id that can be made at a time, to the millisecond.
            pub fn first_at(at: crate::time::Timestamp) -> Self {
                let millis = u64::try_from(at.as_micros() / 1000).unwrap_or(0);
                let mut bytes = [0; 16];
                bytes[..6].copy_from_slice(&millis.to_be_bytes()[2..]);
                Self(Uuid::from_bytes(bytes))
            }

            /// When it was made, to the millisecond.
            pub fn created_at(&self) -> crate::time::Timestamp {
                let mut millis = [0; 8];
                millis[2..].copy_from_slice(&self.0.as_bytes()[..6]);
                let millis = i64::from_be_bytes(millis);
                crate::time::Timestamp::from_micros(millis.saturating_mul(1000))
            }

            /// The 16 bytes as the store keeps them, in time order.
            pub fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }

            /// The id that [`Self::as_bytes`] gave.
            pub fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!($prefix, "_"))?;
                let text = encode(self.0.as_u128());
                f.write_str(str::from_utf8(&text).map_err(|_| fmt::Error)?)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                text.strip_prefix(concat!($prefix, "_"))
                    .and_then(decode)
                    .map(|value| Self(Uuid::from_u128(value)))
                    .ok_or_else(|| InvalidId {
                        prefix: $prefix,
                        text: text.chars().take(80).collect(),
                    })
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;

            fn try_from(text: String) -> Result<Self, InvalidId> {
                text.parse()
            }
        }
    };
}

id!(
    /// One execution of a durable function.
    RunId, "run"
);
id!(
    /// A request that a person decide something.
    ApprovalId, "apr"
);
id!(
    /// One application of a release to a target.
    DeploymentId, "dep"
);
id!(
    /// A published change in the registry.
    ReleaseId, "rel"
);
id!(
    /// One offer of a step to the workers outside.
    TaskId, "tsk"
);
id!(
    /// A person or a service account that can sign in.
    PrincipalId, "usr"
);
id!(
    /// Somebody outside who is told of events.
    SubscriptionId, "sub"
);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn text_and_value_are_one(value: u128) {
            let id = RunId(Uuid::from_u128(value));
            prop_assert_eq!(id.to_string().parse::<RunId>(), Ok(id));
        }

        #[test]
        fn text_keeps_the_order(a: u128, b: u128) {
            prop_assert_eq!(a.cmp(&b), encode(a).cmp(&encode(b)));
        }

        #[test]
        fn nonsense_is_refused_without_panic(text in ".*") {
            prop_assume!(!text.starts_with("run_"));
            prop_assert!(text.parse::<RunId>().is_err());
        }
    }

    #[test]
    fn too_large_a_value_is_refused() {
        assert!("run_zzzzzzzzzzzzzzzzzzzzzzzzzz".parse::<RunId>().is_err());
    }
}

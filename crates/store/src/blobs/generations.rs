//! How blobs lie in a store that has neither locks nor removal under a condition.
//!
//! The same bytes may lie there several times: each object of a blob is a *generation* with a name
//! that is never used again. Whoever puts bytes uses a generation that is young, or else writes
//! another one and then takes the older ones away. Whoever removes a blob takes away the old
//! generations that it has seen, and can therefore never meet one that was put meanwhile. Nobody
//! waits for anybody, and a process that dies leaves at most a generation too many.

use std::collections::HashMap;
use std::time::Duration;

use matrix_core::{Digest, Timestamp};

use super::Stored;

/// How long a generation is used for bytes that are put again. Those who remove must leave bytes
/// alone for much longer, by their own clock.
pub(super) const YOUNG: Duration = Duration::from_hours(1);

/// One object of a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Generation {
    /// The object's name.
    pub(super) name: String,
    /// How many bytes it takes.
    pub(super) size: u64,
    /// When it was written, by the store's clock.
    pub(super) put_at: Timestamp,
}

impl Generation {
    /// Whether bytes that are put now may use it.
    pub(super) fn is_young(&self, now: Timestamp) -> bool {
        self.put_at > now.before(YOUNG)
    }
}

/// The name below which a blob's generations lie.
pub(super) fn folder(digest: &Digest) -> String {
    let text = digest.to_string();
    let (first, rest) = text.split_at(2);
    format!("blobs/{first}/{rest}")
}

/// The name of a generation.
pub(super) fn name(digest: &Digest, random: [u8; 16]) -> String {
    let random = u128::from_be_bytes(random);
    format!("{}/{random:032x}.zst", folder(digest))
}

/// The digest that a generation's name, or the end of a longer one, is about.
pub(super) fn digest_of(name: &str) -> Option<Digest> {
    let mut parts = name.rsplit('/');
    let (generation, rest, first) = (parts.next()?, parts.next()?, parts.next()?);
    generation.strip_suffix(".zst")?;
    (first.len() == 2)
        .then(|| format!("{first}{rest}").parse().ok())
        .flatten()
}

/// The youngest.
pub(super) fn newest(generations: &[Generation]) -> Option<&Generation> {
    generations
        .iter()
        .max_by_key(|generation| generation.put_at)
}

/// All generations of all blobs, each blob once.
pub(super) fn stored(all: impl IntoIterator<Item = Generation>) -> Vec<Stored> {
    let mut blobs: HashMap<Digest, Stored> = HashMap::new();
    for generation in all {
        let Some(digest) = digest_of(&generation.name) else {
            continue;
        };
        let blob = blobs.entry(digest).or_insert(Stored {
            digest,
            size: 0,
            put_at: generation.put_at,
        });
        blob.size += generation.size;
        blob.put_at = blob.put_at.max(generation.put_at);
    }
    blobs.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_is_as_young_as_its_youngest_generation() {
        let digest = Digest::of("a");
        let generation = |random: u8, at| Generation {
            name: format!("prefix/{}", name(&digest, [random; 16])),
            size: 3,
            put_at: Timestamp::from_micros(at),
        };
        let other = Generation {
            name: "prefix/owner".into(),
            ..generation(0, 1)
        };
        let all = [generation(1, 5), other, generation(2, 9), generation(3, 7)];
        let found = stored(all.clone());
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].digest, digest);
        assert_eq!((found[0].size, found[0].put_at.as_micros()), (9, 9));
        assert_eq!(newest(&all).unwrap().put_at.as_micros(), 9);
        assert_eq!(digest_of("x.zst"), None);
    }
}

//! Vectors that are found by likeness, in memory.
//!
//! A vector is turned at random and kept with the signs of what comes out (its sketch; Charikar,
//! "Similarity estimation techniques from rounding algorithms", 2002): how many signs of two vectors
//! differ tells the angle between them. A search compares sketches, which is a few instructions each,
//! and computes the cosine of the few that come near. The turning is a fixed one, three rounds of
//! flipped signs and a Walsh-Hadamard transform, so that the same vectors have the same sketches.
//!
//! What is given is what was asked for: the cosine is computed. A vector that is alike enough is missed
//! where more signs differ than six standard deviations allow.

use std::collections::HashMap;
use std::hash::Hash;

/// Words of 64 signs in a sketch.
const WORDS: usize = 4;

/// The most vectors of which the cosine is computed in one search: those with the nearest sketches.
const TRIED_MAX: usize = 256;

/// How often a vector is turned before its signs are taken.
const ROUNDS: u64 = 3;

type Sketch = [u64; WORDS];

/// Vectors of one length, each under a key.
#[derive(Debug)]
pub struct Neighbours<K> {
    length: usize,
    keys: Vec<K>,
    rows: HashMap<K, usize>,
    /// The first word of each sketch, side by side: most vectors are passed over by it.
    firsts: Vec<u64>,
    sketches: Vec<Sketch>,
    /// Of length one, one after the other.
    vectors: Vec<f32>,
}

impl<K: Clone + Eq + Hash> Neighbours<K> {
    /// None yet; they will have so many numbers each.
    pub fn new(length: usize) -> Self {
        Self {
            length,
            keys: Vec::new(),
            rows: HashMap::new(),
            firsts: Vec::new(),
            sketches: Vec::new(),
            vectors: Vec::new(),
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Keeps a vector in place of the key's former one. One of another length, or without a
    /// direction, is not kept.
    pub fn put(&mut self, key: K, vector: &[f32]) -> bool {
        let Some(vector) = self.unit(vector) else {
            return false;
        };
        self.remove(&key);
        let sketch = sketch(&vector);
        self.rows.insert(key.clone(), self.keys.len());
        self.keys.push(key);
        self.firsts.push(sketch[0]);
        self.sketches.push(sketch);
        self.vectors.extend(vector);
        true
    }

    /// Forgets a key's vector.
    pub fn remove(&mut self, key: &K) {
        let Some(row) = self.rows.remove(key) else {
            return;
        };
        self.keys.swap_remove(row);
        self.firsts.swap_remove(row);
        self.sketches.swap_remove(row);
        let last = self.keys.len() * self.length;
        if row < self.keys.len() {
            self.vectors.copy_within(last.., row * self.length);
        }
        self.vectors.truncate(last);
        if let Some(moved) = self.keys.get(row) {
            self.rows.insert(moved.clone(), row);
        }
    }

    /// The key that is most alike, and the cosine: at least so much, and among those that `counts`.
    pub fn nearest(
        &self,
        vector: &[f32],
        at_least: f64,
        counts: impl Fn(&K) -> bool,
    ) -> Option<(&K, f64)> {
        let vector = self.unit(vector)?;
        let wanted = sketch(&vector);
        let (short, far) = (reach(at_least, 64), reach(at_least, 64 * WORDS));
        let mut near: Vec<(u32, usize)> = Vec::new();
        for (row, first) in self.firsts.iter().enumerate() {
            if (first ^ wanted[0]).count_ones() > short {
                continue;
            }
            let sketch = self.sketches.get(row)?;
            let differ = sketch.iter().zip(&wanted);
            let differ = differ.map(|(one, other)| (one ^ other).count_ones()).sum();
            if differ <= far {
                near.push((differ, row));
            }
        }
        if near.len() > TRIED_MAX {
            near.select_nth_unstable(TRIED_MAX);
            near.truncate(TRIED_MAX);
        }
        let cosines = near.into_iter().filter_map(|(_, row)| {
            let key = self.keys.get(row)?;
            let start = row * self.length;
            let other = self.vectors.get(start..start + self.length)?;
            Some((key, dot(&vector, other)))
        });
        let enough = cosines.filter(|(key, cosine)| *cosine >= at_least && counts(key));
        enough.max_by(|(_, one), (_, other)| one.total_cmp(other))
    }

    /// The vector with the length one, if it can be had.
    fn unit(&self, vector: &[f32]) -> Option<Vec<f32>> {
        let length = dot(vector, vector).sqrt();
        if vector.len() != self.length || !length.is_finite() || length <= 0.0 {
            return None;
        }
        #[expect(clippy::cast_possible_truncation, reason = "numbers of at most one")]
        let scaled = |number: &f32| (f64::from(*number) / length) as f32;
        Some(vector.iter().map(scaled).collect())
    }
}

/// The sum of products, in eight sums side by side that a processor adds at once.
fn dot(one: &[f32], other: &[f32]) -> f64 {
    let mut sums = [0.0_f32; 8];
    let (ones, others) = (one.chunks_exact(8), other.chunks_exact(8));
    let rest = ones.remainder().iter().zip(others.remainder());
    let rest: f32 = rest.map(|(a, b)| a * b).sum();
    for (ones, others) in ones.zip(others) {
        for (sum, (a, b)) in sums.iter_mut().zip(ones.iter().zip(others)) {
            *sum += a * b;
        }
    }
    f64::from(sums.iter().sum::<f32>() + rest)
}

/// How many of so many signs may differ between vectors whose cosine is at least so much: as many as
/// the angle makes likely, and six standard deviations more.
fn reach(at_least: f64, signs: usize) -> u32 {
    let signs = u32::try_from(signs).unwrap_or(u32::MAX);
    let share = at_least.clamp(-1.0, 1.0).acos() / std::f64::consts::PI;
    let mean = f64::from(signs) * share;
    let most = mean + 6.0 * (mean * (1.0 - share)).sqrt();
    (0..signs)
        .find(|count| f64::from(*count) >= most)
        .unwrap_or(signs)
}

fn sketch(vector: &[f32]) -> Sketch {
    let size = vector.len().max(64 * WORDS).next_power_of_two();
    let mut turned = vec![0.0; size];
    for (to, from) in turned.iter_mut().zip(vector) {
        *to = *from;
    }
    for round in 0..ROUNDS {
        for (place, numbers) in (0_u64..).zip(turned.chunks_mut(64)) {
            let flips = scattered(place * ROUNDS + round);
            for (bit, number) in numbers.iter_mut().enumerate() {
                if flips >> bit & 1 == 1 {
                    *number = -*number;
                }
            }
        }
        hadamard(&mut turned);
    }
    let mut sketch = [0; WORDS];
    for (word, numbers) in sketch.iter_mut().zip(turned.chunks(64)) {
        for (bit, number) in numbers.iter().enumerate() {
            *word |= u64::from(*number > 0.0) << bit;
        }
    }
    sketch
}

/// The Walsh-Hadamard transform, unscaled: only signs are read from it.
fn hadamard(numbers: &mut [f32]) {
    let mut half = 1;
    while half < numbers.len() {
        for pair in numbers.chunks_exact_mut(half * 2) {
            let (left, right) = pair.split_at_mut(half);
            for (a, b) in left.iter_mut().zip(right) {
                (*a, *b) = (*a + *b, *a - *b);
            }
        }
        half *= 2;
    }
}

/// Bits that look like chance, the same for the same number (`SplitMix64`).
fn scattered(number: u64) -> u64 {
    let mut bits = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A vector that looks like chance.
    fn vector(seed: u64, length: usize) -> Vec<f32> {
        let numbers = (0..length as u64).map(|place| {
            let bits = u16::try_from(scattered(seed * 100_003 + place) >> 48).unwrap();
            f32::from(bits) - 32_767.5
        });
        numbers.collect()
    }

    /// A vector near another one.
    fn beside(vector: &[f32], seed: u64, by: f32) -> Vec<f32> {
        let other = self::vector(seed, vector.len());
        vector.iter().zip(other).map(|(a, b)| a + by * b).collect()
    }

    #[test]
    fn what_is_alike_is_found_and_nothing_else() {
        for length in [64, 300, 384, 1_536] {
            let mut all = Neighbours::new(length);
            for seed in 0..80 {
                assert!(all.put(seed, &vector(seed, length)));
            }
            for seed in 0..80 {
                let near = beside(&vector(seed, length), seed + 1_000, 0.1);
                let (found, cosine) = all.nearest(&near, 0.95, |_| true).unwrap();
                assert!(cosine >= 0.95 && *found == seed, "{length}");
                let stranger = vector(seed + 2_000, length);
                assert_eq!(all.nearest(&stranger, 0.95, |_| true), None);
                assert_eq!(all.nearest(&near, 0.95, |key| *key != seed), None);
            }
        }
    }

    #[test]
    fn vectors_of_another_length_or_without_a_direction_are_not_kept() {
        let mut all = Neighbours::new(2);
        assert!(!all.put("a", &[1.0]) && !all.put("a", &[0.0, 0.0]));
        assert!(!all.put("a", &[f32::NAN, 1.0]) && !all.put("a", &[f32::INFINITY, 1.0]));
        assert!(all.is_empty());
        assert_eq!(all.nearest(&[1.0, 0.0], 0.0, |_| true), None);
    }

    proptest! {
        #[test]
        fn removing_leaves_the_others_where_they_are(
            acts in prop::collection::vec((any::<bool>(), 0_u64..20), 1..100),
        ) {
            let mut all = Neighbours::new(70);
            let mut there = std::collections::BTreeSet::new();
            for (puts, seed) in acts {
                if puts {
                    all.put(seed, &vector(seed, 70));
                    there.insert(seed);
                } else {
                    all.remove(&seed);
                    there.remove(&seed);
                }
            }
            prop_assert_eq!(all.len(), there.len());
            for seed in 0..20 {
                let found = all.nearest(&vector(seed, 70), 0.999, |_| true);
                prop_assert_eq!(found.map(|(key, _)| *key), there.get(&seed).copied());
            }
        }
    }
}

//! Which token comes next.

use std::collections::HashMap;

use crate::chat::Sampling;

/// Chooses one token after the other. The same numbers, the same seed: the same choices.
#[derive(Debug)]
pub(super) struct Sampler {
    temperature: f64,
    top_p: f64,
    top_k: usize,
    frequency: f64,
    presence: f64,
    /// How often each token was chosen.
    chosen: HashMap<u32, u32>,
    state: u64,
}

impl Sampler {
    /// As it was asked for; where nothing was said, the likeliest token is taken.
    pub(super) fn new(asked: &Sampling, chance: u64) -> Self {
        let seed = asked.seed.map_or(chance, i64::cast_unsigned);
        let most = asked.top_k.filter(|most| *most > 0);
        Self {
            temperature: asked.temperature.unwrap_or(0.0),
            top_p: asked.top_p.unwrap_or(1.0),
            top_k: most.map_or(usize::MAX, |most| {
                usize::try_from(most).unwrap_or(usize::MAX)
            }),
            frequency: asked.frequency_penalty.unwrap_or(0.0),
            presence: asked.presence_penalty.unwrap_or(0.0),
            chosen: HashMap::new(),
            state: seed,
        }
    }

    /// The next token, by how likely each is.
    pub(super) fn choose(&mut self, likely: &[f32]) -> u32 {
        let mut all: Vec<(u32, f64)> = (0_u32..)
            .zip(likely.iter().copied().map(f64::from))
            .collect();
        for (token, times) in &self.chosen {
            if let Some((_, value)) = all.get_mut(*token as usize) {
                *value -= f64::from(*times) * self.frequency + self.presence;
            }
        }
        let token = if self.temperature > 0.0 {
            self.draw(all)
        } else {
            let first =
                |best: (u32, f64), next: (u32, f64)| if next.1 > best.1 { next } else { best };
            all.into_iter().reduce(first).map_or(0, |(token, _)| token)
        };
        *self.chosen.entry(token).or_default() += 1;
        token
    }

    /// By chance, from the likeliest.
    fn draw(&mut self, mut all: Vec<(u32, f64)>) -> u32 {
        all.sort_by(|a, b| b.1.total_cmp(&a.1));
        all.truncate(self.top_k.max(1));
        let best = all.first().map_or(0.0, |(_, value)| *value);
        for (_, value) in &mut all {
            *value = ((*value - best) / self.temperature).exp();
        }
        let sum: f64 = all.iter().map(|(_, share)| share).sum();
        let mut kept = 0.0;
        let enough = all.iter().position(|(_, share)| {
            kept += share;
            kept >= sum * self.top_p
        });
        all.truncate(enough.map_or(all.len(), |last| last + 1));
        let sum: f64 = all.iter().map(|(_, share)| share).sum();
        let mut left = self.random() * sum;
        for (token, share) in &all {
            left -= share;
            if left < 0.0 {
                return *token;
            }
        }
        all.last().map_or(0, |(token, _)| *token)
    }

    /// A number from 0 up to 1, without it: `SplitMix64`, whose upper bits are used.
    fn random(&mut self) -> f64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        let upper = u32::try_from(mixed >> 32).unwrap_or_default();
        f64::from(upper) / (f64::from(u32::MAX) + 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampler(temperature: f64, top_p: f64, seed: i64) -> Sampler {
        let asked = Sampling {
            temperature: Some(temperature),
            top_p: Some(top_p),
            seed: Some(seed),
            ..Sampling::default()
        };
        Sampler::new(&asked, 0)
    }

    #[test]
    fn without_a_word_the_likeliest_is_taken() {
        let mut sampler = Sampler::new(&Sampling::default(), 7);
        assert_eq!(sampler.choose(&[0.1, 0.9, 0.9, 0.2]), 1);
    }

    #[test]
    fn chance_keeps_to_the_shares_and_to_its_seed() {
        let likely = [0.5_f32.ln(), 0.25_f32.ln(), 0.25_f32.ln()];
        let drawn = |seed| -> Vec<u32> {
            let mut sampler = sampler(1.0, 1.0, seed);
            (0..4_000).map(|_| sampler.choose(&likely)).collect()
        };
        let first = drawn(1);
        assert_eq!(first, drawn(1));
        assert_ne!(first, drawn(2));
        let zeros = first.iter().filter(|token| **token == 0).count();
        assert!((1_850..2_150).contains(&zeros), "{zeros}");
    }

    #[test]
    fn the_unlikely_are_left_out() {
        let likely = [0.5_f32.ln(), 0.3_f32.ln(), 0.2_f32.ln()];
        let mut half = sampler(1.0, 0.5, 3);
        assert!((0..200).all(|_| half.choose(&likely) == 0));
        let mut most = sampler(1.0, 0.7, 3);
        assert!((0..200).all(|_| most.choose(&likely) < 2));
        let mut two = sampler(1.0, 1.0, 3);
        two.top_k = 2;
        assert!((0..200).all(|_| two.choose(&likely) < 2));
    }

    #[test]
    fn what_was_said_is_said_less() {
        let asked = Sampling {
            presence_penalty: Some(2.0),
            ..Sampling::default()
        };
        let mut sampler = Sampler::new(&asked, 0);
        let chosen: Vec<u32> = (0..3).map(|_| sampler.choose(&[1.0, 0.5, 0.0])).collect();
        assert_eq!(chosen, [0, 1, 2]);
    }
}

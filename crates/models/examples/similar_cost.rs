//! How long it takes to find a question that is alike among many: `similar_cost [COUNT] [LENGTH]`.
//! Prints one JSON object.

#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    reason = "a program that measures time and prints it"
)]

use std::time::Instant;

use matrix_models::neighbours::Neighbours;

/// How often it is looked for.
const SEARCHES: usize = 2_000;

fn main() {
    let mut words = std::env::args().skip(1);
    let mut number = |otherwise: usize| -> usize {
        let word = words.next();
        word.and_then(|word| word.parse().ok()).unwrap_or(otherwise)
    };
    let (count, length) = (number(100_000), number(384));
    let mut state = 1_u64;
    let mut vector = || -> Vec<f32> {
        let numbers = (0..length).map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            f32::from(u16::try_from(state >> 48).unwrap_or_default()) - 32_767.5
        });
        numbers.collect()
    };
    let mut all = Neighbours::new(length);
    let vectors: Vec<Vec<f32>> = (0..count).map(|_| vector()).collect();
    let began = Instant::now();
    for (key, vector) in vectors.iter().enumerate() {
        all.put(key, vector);
    }
    let kept = began.elapsed();
    let mut took = Vec::new();
    let mut found = 0;
    for (key, noise) in (0..SEARCHES).map(|turn| (turn * 7 % count, vector())) {
        let Some(vector) = vectors.get(key) else {
            continue;
        };
        let near: Vec<f32> = vector
            .iter()
            .zip(noise)
            .map(|(a, b)| a + b / 10.0)
            .collect();
        let began = Instant::now();
        let nearest = all.nearest(&near, 0.95, |_| true);
        took.push(began.elapsed());
        found += usize::from(nearest.is_some_and(|(nearest, _)| *nearest == key));
    }
    took.sort_unstable();
    let micros = |part: usize| {
        let duration = took
            .get(took.len() * part / 100)
            .copied()
            .unwrap_or_default();
        duration.as_secs_f64() * 1e6
    };
    println!(
        "{{\"entries\":{count},\"length\":{length},\"put_us\":{:.2},\"p50_us\":{:.1},\
         \"p99_us\":{:.1},\"found\":{found},\"searches\":{SEARCHES}}}",
        kept.as_secs_f64() * 1e6 / count.max(1) as f64,
        micros(50),
        micros(99),
    );
}

//! In which order the models of a route are asked.

use std::time::Duration;

use crate::registry::Strategy;

/// A model that may be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// How often it is taken, compared with the others.
    pub weight: u32,
    /// How long its answers took of late; nothing is known of one that was never asked.
    pub latency: Option<Duration>,
    /// Calls under way.
    pub busy: u32,
    /// What this call would cost.
    pub cost: i64,
}

/// The places of candidates in the order in which they are asked. `random` gives numbers below its
/// argument.
pub fn order(
    strategy: Strategy,
    candidates: &[Candidate],
    mut random: impl FnMut(u64) -> u64,
) -> Vec<usize> {
    let mut left: Vec<usize> = (0..candidates.len()).collect();
    match strategy {
        Strategy::Ordered => left,
        Strategy::Cost => {
            left.sort_by_key(|place| candidates.get(*place).map(|one| one.cost));
            left
        }
        Strategy::Weighted | Strategy::Latency => {
            let mut order = Vec::with_capacity(left.len());
            while !left.is_empty() {
                let first = draw(candidates, &left, &mut random);
                let taken = match strategy {
                    Strategy::Latency => {
                        let second = draw(candidates, &left, &mut random);
                        faster(candidates, &left, first, second)
                    }
                    _ => first,
                };
                order.push(left.remove(taken));
            }
            order
        }
    }
}

/// One of those that are left, by weight.
fn draw(candidates: &[Candidate], left: &[usize], random: &mut impl FnMut(u64) -> u64) -> usize {
    let weight = |place: &usize| {
        candidates
            .get(*place)
            .map_or(0, |one| u64::from(one.weight))
    };
    let sum: u64 = left.iter().map(weight).sum();
    if sum == 0 {
        return 0;
    }
    let mut rest = random(sum);
    for (index, place) in left.iter().enumerate() {
        let weight = weight(place);
        if rest < weight {
            return index;
        }
        rest -= weight;
    }
    left.len() - 1
}

/// The one whose answer is expected sooner: what it took of late, for each call that waits. One that
/// nobody knows is tried.
fn faster(candidates: &[Candidate], left: &[usize], first: usize, second: usize) -> usize {
    let expected = |index: usize| {
        let one = left.get(index).and_then(|place| candidates.get(*place));
        one.map_or(Duration::MAX, |one| {
            one.latency.unwrap_or(Duration::ZERO) * (one.busy + 1)
        })
    };
    if expected(second) < expected(first) {
        second
    } else {
        first
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Strategy;
    use proptest::prelude::{any, prop_assert_eq, proptest};

    fn one(weight: u32, millis: u64, cost: i64) -> Candidate {
        Candidate {
            weight,
            latency: Some(Duration::from_millis(millis)),
            busy: 0,
            cost,
        }
    }

    #[test]
    fn the_cheapest_comes_first_and_the_order_of_the_list_stays_otherwise() {
        let all = [one(1, 1, 30), one(1, 1, 10), one(1, 1, 20)];
        assert_eq!(order(Strategy::Cost, &all, |_| 0), [1, 2, 0]);
        assert_eq!(order(Strategy::Ordered, &all, |_| 0), [0, 1, 2]);
    }

    #[test]
    fn of_two_the_faster_is_taken() {
        let all = [one(1, 90, 0), one(1, 5, 0)];
        let mut numbers = [0_u64, 1].into_iter().cycle();
        let chosen = order(Strategy::Latency, &all, |_| numbers.next().unwrap());
        assert_eq!(chosen.first(), Some(&1));
    }

    proptest! {
        #[test]
        fn everybody_is_asked_once(
            weights in proptest::collection::vec(0_u32..5, 1..8),
            seed in any::<u64>(),
            latency in any::<bool>(),
        ) {
            let all: Vec<Candidate> = weights.iter().map(|weight| one(*weight, 1, 1)).collect();
            let strategy = if latency { Strategy::Latency } else { Strategy::Weighted };
            let mut state = seed;
            let mut chosen = order(strategy, &all, |below| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 33) % below
            });
            chosen.sort_unstable();
            prop_assert_eq!(chosen, (0..all.len()).collect::<Vec<_>>());
        }
    }
}

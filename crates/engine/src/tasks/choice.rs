//! Which of the workers that wait for tasks gets one.
//!
//! Workers ask by themselves, so a choice is what one that asks leaves to others: it takes what this
//! gives to it, and what they left lying a moment later.

use serde::{Deserialize, Serialize};

/// By what a queue's workers are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerChoice {
    /// Whoever has the fewest tasks.
    #[default]
    LeastLoaded,
    /// Whoever had the run's last task and may have its things at hand; else as `LeastLoaded`.
    Affinity,
    /// Whoever was given a task the longest ago.
    RoundRobin,
}

/// A task that is to be given.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    /// By what it is given.
    pub(super) choice: WorkerChoice,
    /// The worker that had the run's last task.
    pub(super) last: Option<String>,
    /// Whether each candidate can do it.
    pub(super) fits: Vec<bool>,
}

/// A worker that waits.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    /// Its name.
    pub(super) worker: String,
    /// How many more tasks it takes.
    pub(super) room: usize,
    /// How many it has.
    pub(super) load: i64,
    /// When it was given one the last time, counted in tasks given.
    pub(super) served: u64,
}

/// Who gets each task, as a position among the candidates; nobody where all that fit have enough.
pub(super) fn choose(tasks: &[Wanted], mut candidates: Vec<Candidate>) -> Vec<Option<usize>> {
    let newest = candidates.iter().map(|one| one.served).max();
    let mut given = newest.unwrap_or_default();
    let choose = |task: &Wanted| {
        let fitting = candidates.iter_mut().zip(&task.fits).enumerate();
        let (position, chosen) = fitting
            .filter(|(_, (candidate, fits))| **fits && candidate.room > 0)
            .map(|(position, (candidate, _))| (position, candidate))
            .min_by_key(|(position, candidate)| {
                let stranger = task.last.as_deref() != Some(&candidate.worker);
                let (stranger, load) = match task.choice {
                    WorkerChoice::LeastLoaded => (true, candidate.load),
                    WorkerChoice::Affinity => (stranger, candidate.load),
                    WorkerChoice::RoundRobin => (true, 0),
                };
                (stranger, load, candidate.served, *position)
            })?;
        given += 1;
        chosen.room -= 1;
        chosen.load += 1;
        chosen.served = given;
        Some(position)
    };
    tasks.iter().map(choose).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn candidates(loads: &[i64], room: usize) -> Vec<Candidate> {
        let candidate = |(number, load): (u64, &i64)| Candidate {
            worker: format!("w{number}"),
            room,
            load: *load,
            served: number,
        };
        (0..).zip(loads).map(candidate).collect()
    }

    fn wanted(choice: WorkerChoice, last: Option<&str>, fits: &[bool]) -> Wanted {
        Wanted {
            choice,
            last: last.map(str::to_owned),
            fits: fits.to_vec(),
        }
    }

    #[test]
    fn the_last_worker_of_a_run_gets_its_next_task_while_it_has_room() {
        let task = wanted(WorkerChoice::Affinity, Some("w1"), &[true; 3]);
        let given = choose(&[task.clone(), task], candidates(&[0, 9, 1], 1));
        assert_eq!(given, [Some(1), Some(0)]);
    }

    proptest! {
        #[test]
        fn loads_come_to_a_level(
            loads in prop::collection::vec(0_i64..5, 1..6),
            count in 0_usize..40,
        ) {
            let tasks = vec![wanted(WorkerChoice::LeastLoaded, None, &vec![true; loads.len()]); count];
            let given = choose(&tasks, candidates(&loads, usize::MAX));
            let mut after = loads.clone();
            for position in &given {
                after[position.unwrap()] += 1;
            }
            let raised = |position: &usize| after[*position] > loads[*position];
            let highest = (0..loads.len()).filter(raised).map(|position| after[position]).max();
            let lowest = *after.iter().min().unwrap();
            prop_assert!(highest.is_none_or(|highest| highest <= lowest + 1), "{loads:?} {after:?}");
        }

        #[test]
        fn turns_go_round(workers in 1_usize..6, rounds in 1_usize..5) {
            let tasks = vec![wanted(WorkerChoice::RoundRobin, None, &vec![true; workers]); workers * rounds];
            let given = choose(&tasks, candidates(&vec![3; workers], usize::MAX));
            let expected: Vec<_> = (0..workers * rounds).map(|turn| Some(turn % workers)).collect();
            prop_assert_eq!(given, expected);
        }

        #[test]
        fn nobody_gets_what_does_not_fit_or_more_than_it_has_room_for(
            room in 0_usize..4,
            fits in prop::collection::vec(prop::collection::vec(any::<bool>(), 3), 0..20),
            choice in prop::sample::select(vec![
                WorkerChoice::LeastLoaded, WorkerChoice::Affinity, WorkerChoice::RoundRobin,
            ]),
        ) {
            let tasks: Vec<_> = fits.iter().map(|fits| wanted(choice, Some("w2"), fits)).collect();
            let given = choose(&tasks, candidates(&[0, 0, 0], room));
            let mut left = [room; 3];
            for (task, given) in fits.iter().zip(given) {
                match given {
                    Some(position) => {
                        prop_assert!(task[position] && left[position] > 0);
                        left[position] -= 1;
                    }
                    None => prop_assert!((0..3).all(|position| !task[position] || left[position] == 0)),
                }
            }
        }
    }
}

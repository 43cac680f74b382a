//! What the simulated runs do: a small program, given as the run's input.

use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use matrix_engine::{DurableFunction, Run, RunError, Step, StepContext, StepError};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::site::Site;
use super::world::{Noted, Outside, Reach};

/// One part of a program.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Part {
    /// A step.
    Do(Reach),
    /// A step that a request to cancel does not stop.
    Finish(Reach),
    /// A wait, in milliseconds.
    Nap(u64),
    /// A wait for a signal.
    Hear,
    /// A wait for an answer.
    Ask,
    /// Branches side by side, at most so many at once.
    Together(usize, Vec<Vec<Part>>),
}

/// A program out of chance.
pub(super) fn write(site: &Site) -> Vec<Part> {
    let parts = 2 + site.below(4);
    (0..parts).map(|_| part(site, 0)).collect()
}

fn reach(site: &Site) -> Reach {
    match site.below(12) {
        0..2 => Reach::Read,
        2 => Reach::Keyed,
        3..5 => Reach::Tree,
        5..7 => Reach::Metered,
        7..11 => Reach::Fenced,
        _ => Reach::Blind,
    }
}

fn part(site: &Site, depth: u32) -> Part {
    match site.below(if depth == 0 { 12 } else { 10 }) {
        0..5 => Part::Do(reach(site)),
        5 => Part::Finish(reach(site)),
        6 => Part::Nap(site.below(4_000)),
        7 => Part::Nap(2_000 + site.below(40_000)),
        8 => Part::Hear,
        9 => Part::Ask,
        _ => {
            let branches = (0..2 + site.below(2)).map(|_| {
                let parts = 1 + site.below(2);
                (0..parts).map(|_| part(site, depth + 1)).collect()
            });
            let branches = branches.collect();
            Part::Together(1 + usize::try_from(site.below(3)).unwrap(), branches)
        }
    }
}

fn step(outside: &Outside, reach: Reach) -> Step {
    match reach {
        Reach::Read => Step::read("read"),
        Reach::Keyed => Step::idempotent("keyed"),
        Reach::Tree => Step::workspace("tree"),
        Reach::Metered => Step::metered("metered"),
        Reach::Blind => Step::external("blind"),
        Reach::Fenced => {
            let outside = outside.clone();
            Step::external("fenced").probe(move |context| {
                let outside = outside.clone();
                Box::pin(async move { outside.probe(&context).await })
            })
        }
    }
}

async fn perform(run: &Run, outside: &Outside, reach: Reach) -> Result<Value, RunError> {
    let work = |context: StepContext| async move {
        let noted: Result<Noted, StepError> = outside.act(reach, &context).await;
        noted
    };
    let noted: Noted = run.step(step(outside, reach), work).await?;
    let seen = (run.id(), noted.path.clone(), noted.number);
    outside.site.seen.lock().unwrap().push(seen);
    Ok(json!(noted))
}

fn follow(run: Run, outside: Outside, parts: Vec<Part>) -> BoxFuture<'static, Outcome> {
    Box::pin(async move {
        let mut results = Vec::new();
        for part in parts {
            results.push(match part {
                Part::Do(reach) => perform(&run, &outside, reach).await?,
                Part::Finish(reach) => perform(&run.shielded(), &outside, reach).await?,
                Part::Nap(time) => {
                    run.sleep("nap", Duration::from_millis(time)).await?;
                    json!("slept")
                }
                Part::Hear => run.signal::<Value>("go").await?,
                Part::Ask => {
                    let decision = run.approval("gate", &json!({})).await?;
                    json!(decision.reason)
                }
                Part::Together(limit, branches) => {
                    let names = (0..).map(|number| format!("b{number}"));
                    let items = names.zip(branches).collect();
                    let outside = outside.clone();
                    let branches = run.join("t", limit, items, |branch, parts| {
                        follow(branch, outside.clone(), parts)
                    });
                    json!(branches.await?)
                }
            });
        }
        Ok(results)
    })
}

type Outcome = Result<Vec<Value>, RunError>;

/// The function of every simulated run, as one host executes it.
pub(super) struct Program(pub(super) Outside);

#[async_trait]
impl DurableFunction for Program {
    fn kind(&self) -> &'static str {
        "test"
    }

    fn version(&self) -> &'static str {
        "1"
    }

    async fn execute(&self, run: Run, input: Value) -> Result<Value, RunError> {
        let parts: Vec<Part> = serde_json::from_value(input)
            .map_err(|error| StepError::permanent("program", error.to_string()))?;
        Ok(json!(follow(run, self.0.clone(), parts).await?))
    }
}

//! What the simulated runs do: a small program, given as the run's input.

use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use matrix_engine::{DurableFunction, NewChild, Run, RunError, Step, StepContext, StepError};
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
    /// Branches side by side until so many have a result.
    First(usize, Vec<Vec<Part>>),
    /// Another run, and what it gives.
    Call(Vec<Part>),
    /// Another run that ends with this one.
    Spawn(Vec<Part>),
    /// Another run that goes on when this one has ended.
    Release(Vec<Part>),
    /// Another run, which is asked to end after a while.
    Stop(Vec<Part>),
    /// Steps that are taken back together.
    Undone(Vec<Reach>),
    /// Steps that would be taken back if one of them failed.
    Kept(Vec<Reach>),
    /// The run goes on as new with this program.
    Anew(Vec<Part>),
}

/// How many runs of runs of runs there are.
const NESTED: u32 = 2;

/// The first level of a run's program: only what is not in a branch.
const TOP: u32 = 0;

/// A program out of chance.
pub(super) fn write(site: &Site) -> Vec<Part> {
    parts(site, 2 + site.below(4), 0)
}

/// A small program out of chance, of a run that nobody can be waiting for long for.
pub(super) fn write_small(site: &Site) -> Vec<Part> {
    parts(site, 1 + site.below(2), NESTED)
}

/// A run's program, below so many others.
fn parts(site: &Site, many: u64, nested: u32) -> Vec<Part> {
    let mut parts: Vec<_> = (0..many).map(|_| part(site, TOP, nested)).collect();
    if site.chance(120) {
        let next = (0..=site.below(2)).map(|_| part(site, TOP, NESTED));
        parts.push(Part::Anew(next.collect()));
    }
    parts
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

fn part(site: &Site, depth: u32, nested: u32) -> Part {
    match site.below(if depth == TOP { 19 } else { 10 }) {
        0..5 => Part::Do(reach(site)),
        5 => Part::Finish(reach(site)),
        6 => Part::Nap(site.below(4_000)),
        7 => Part::Nap(2_000 + site.below(40_000)),
        8 => Part::Hear,
        9 => Part::Ask,
        10..13 => Part::Together(number(1 + site.below(3)), branches(site, depth, nested)),
        13..15 => {
            let branches = branches(site, depth, nested);
            let needed = 1 + site.below(u64::try_from(branches.len()).unwrap());
            Part::First(number(needed), branches)
        }
        15 => saga(site),
        _ => child(site, nested),
    }
}

fn number(chance: u64) -> usize {
    usize::try_from(chance).unwrap()
}

fn branches(site: &Site, depth: u32, nested: u32) -> Vec<Vec<Part>> {
    let branch = |_| {
        let parts = 1 + site.below(2);
        let mut parts: Vec<_> = (0..parts).map(|_| part(site, depth + 1, nested)).collect();
        if site.chance(250) {
            parts.push(child(site, nested));
        }
        parts
    };
    (0..2 + site.below(2)).map(branch).collect()
}

fn child(site: &Site, nested: u32) -> Part {
    if nested >= NESTED {
        return Part::Do(reach(site));
    }
    let program = parts(site, 1 + site.below(2), nested + 1);
    match site.below(6) {
        0..2 => Part::Call(program),
        2..4 => Part::Spawn(program),
        4 => Part::Release(program),
        _ => Part::Stop(program),
    }
}

fn saga(site: &Site) -> Part {
    let reach = |_| match site.below(3) {
        0 => Reach::Read,
        1 => Reach::Keyed,
        _ => Reach::Fenced,
    };
    let steps = (0..=site.below(3)).map(reach).collect();
    if site.chance(700) {
        Part::Undone(steps)
    } else {
        Part::Kept(steps)
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

/// The branch of a saga that fails.
pub(super) const UNDONE: &str = "undone";

/// Steps, and how each is taken back.
async fn together(
    run: &Run,
    outside: &Outside,
    steps: Vec<Reach>,
    why: Result<(), StepError>,
) -> Result<Value, RunError> {
    let saga = run.saga();
    let done = async {
        for reach in steps {
            let work = |context: StepContext| async move {
                let noted: Result<Noted, StepError> = outside.act(reach, &context).await;
                noted
            };
            let undoing = outside.clone();
            let undo = move |context: StepContext, _: Noted| {
                let outside = undoing.clone();
                async move { outside.act(Reach::Keyed, &context).await.map(drop) }
            };
            saga.step(step(outside, reach), work, undo).await?;
        }
        Ok(why?)
    };
    let done: Result<(), RunError> = done.await;
    match saga.settle(done).await {
        Ok(()) => Ok(json!("kept")),
        Err(RunError::Failed(_)) => Ok(json!("undone")),
        Err(error) => Err(error),
    }
}

fn other(program: &[Part]) -> NewChild {
    NewChild::new("test", "a run of a simulated run", json!(program))
}

/// Starts another run, and asks it to end.
async fn stop(run: &Run, program: &[Part]) -> Result<Value, RunError> {
    let child = run.spawn("stopped", other(program)).await?;
    run.sleep("nap", Duration::from_millis(700)).await?;
    child.cancel("enough").await?;
    match child.result::<Value>().await {
        Ok(_) => Ok(json!("too late")),
        Err(RunError::Failed(_)) => Ok(json!("stopped")),
        Err(error) => Err(error),
    }
}

async fn do_part(run: &Run, outside: &Outside, part: Part) -> Result<Value, RunError> {
    Ok(match part {
        Part::Do(reach) => perform(run, outside, reach).await?,
        Part::Finish(reach) => perform(&run.shielded(), outside, reach).await?,
        Part::Nap(time) => {
            run.sleep("nap", Duration::from_millis(time)).await?;
            json!("slept")
        }
        Part::Hear => run.signal::<Value>("go").await?,
        Part::Ask => {
            // Branches that ask the same take the answers in the order in which they ask.
            run.approval("gate", &json!({})).await?;
            json!("answered")
        }
        Part::Together(limit, branches) => {
            let outside = outside.clone();
            let branches = run.join("t", limit, named(branches), |branch, parts| {
                follow(branch, outside.clone(), parts)
            });
            json!(branches.await?)
        }
        Part::First(needed, branches) => {
            let outside = outside.clone();
            let branches = run.quorum("f", needed, named(branches), |branch, parts| {
                follow(branch, outside.clone(), parts)
            });
            json!(branches.await?)
        }
        Part::Call(program) => {
            let given: Value = run.call("called", other(&program)).await?;
            json!({ "given": given })
        }
        Part::Spawn(program) => {
            run.spawn("spawned", other(&program)).await?;
            json!("spawned")
        }
        Part::Release(program) => {
            run.spawn("released", other(&program).detached()).await?;
            json!("released")
        }
        Part::Stop(program) => stop(run, &program).await?,
        Part::Undone(steps) => {
            let why = Err(StepError::permanent("enough", "it is to be taken back"));
            together(&run.branch(UNDONE), outside, steps, why).await?
        }
        Part::Kept(steps) => together(&run.branch("kept"), outside, steps, Ok(())).await?,
        Part::Anew(program) => return Err(run.continue_as_new(json!(program))),
    })
}

fn named(branches: Vec<Vec<Part>>) -> Vec<(String, Vec<Part>)> {
    let names = (0..).map(|number| format!("b{number}"));
    names.zip(branches).collect()
}

fn follow(run: Run, outside: Outside, parts: Vec<Part>) -> BoxFuture<'static, Outcome> {
    Box::pin(async move {
        let mut results = Vec::new();
        for part in parts {
            results.push(do_part(&run, &outside, part).await?);
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

    fn takes(&self, _: &Value) -> bool {
        true
    }

    async fn execute(&self, run: Run, input: Value) -> Result<Value, RunError> {
        let parts: Vec<Part> = serde_json::from_value(input)
            .map_err(|error| StepError::permanent("program", error.to_string()))?;
        Ok(json!(follow(run, self.0.clone(), parts).await?))
    }
}

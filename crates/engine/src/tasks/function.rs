//! Runs of the kind `task`: steps that workers do, one after the other.

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{NAME_MAX, Task, TaskError, is_name};
use crate::error::{RunError, StepError};
use crate::run::Run;
use crate::step::{EffectClass, RetryPolicy};
use crate::worker::DurableFunction;

/// The kind of these runs.
pub const KIND: &str = "task";

/// The most steps of a run.
const STEPS_MAX: usize = 64;
/// The most attempts of a step.
const ATTEMPTS_MAX: u32 = 100;
/// The longest time that a worker may have for a step, in seconds.
const TIMEOUT_MAX_S: u64 = 7 * 24 * 3600;
/// The longest time that a worker may show no heartbeat, in seconds.
const LEASE_MAX_S: u64 = 3600;
/// The deepest input in which references are looked for.
const DEPTH_MAX: usize = 64;

/// Steps in their order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The steps, 1 to 64.
    pub steps: Vec<PlannedStep>,
}

/// One step that a worker does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedStep {
    /// What a worker must be able to do.
    pub name: String,
    /// What the step is called in the run, where it is not `name`; unique in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// What a lost worker means: `read`, `idempotent`, `metered` or `external`.
    pub effect: EffectClass,
    /// What the worker is given. An object `{"$result": ID}` in it, or `{"$result": ID, "at":
    /// POINTER}`, stands for the result of an earlier step or a part of it.
    #[serde(default)]
    pub input: Value,
    /// The queue whose workers may take it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// The most attempts, the first included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    /// How long a worker may take, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_s: Option<u64>,
    /// How long a worker may show no heartbeat, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_s: Option<u64>,
}

impl Plan {
    /// Whether the steps can be carried out; what is wrong, with the step's place, if not.
    pub fn check(&self) -> Result<(), TaskError> {
        if self.steps.is_empty() || self.steps.len() > STEPS_MAX {
            let text = format!("a run has 1 to {STEPS_MAX} steps, not {}", self.steps.len());
            return Err(TaskError::BadSteps(text));
        }
        let mut known = BTreeSet::new();
        for (index, step) in self.steps.iter().enumerate() {
            let wrong = step.wrong(&known);
            if let Some(wrong) = wrong {
                return Err(TaskError::BadSteps(format!("step {}: {wrong}", index + 1)));
            }
            known.insert(step.id());
        }
        Ok(())
    }
}

impl PlannedStep {
    fn id(&self) -> &str {
        self.id.as_deref().unwrap_or(&self.name)
    }

    fn wrong(&self, known: &BTreeSet<&str>) -> Option<String> {
        let names = [Some(&self.name), self.id.as_ref(), self.queue.as_ref()];
        if let Some(bad) = names.into_iter().flatten().find(|name| !is_name(name)) {
            let shown: String = bad.chars().take(80).collect();
            return Some(format!(
                "`{shown}` is no name: 1 to {NAME_MAX} letters, digits, `.`, `_`, `-` or `:`"
            ));
        }
        if known.contains(self.id()) {
            return Some(format!(
                "another step is called `{}`; give it an `id`",
                self.id()
            ));
        }
        if self.effect == EffectClass::Workspace {
            return Some("a worker has no workspace of the run".into());
        }
        let within = |value: Option<u64>, most| value.is_none_or(|v| (1..=most).contains(&v));
        if !within(self.attempts.map(u64::from), u64::from(ATTEMPTS_MAX)) {
            return Some(format!("`attempts` is 1 to {ATTEMPTS_MAX}"));
        }
        if !within(self.timeout_s, TIMEOUT_MAX_S) {
            return Some(format!("`timeout_s` is 1 to {TIMEOUT_MAX_S}"));
        }
        if !within(self.lease_s, LEASE_MAX_S) {
            return Some(format!("`lease_s` is 1 to {LEASE_MAX_S}"));
        }
        unknown(&self.input, known, DEPTH_MAX)
    }

    fn task(&self, input: &Value) -> Task {
        let make = match self.effect {
            EffectClass::Read => Task::read,
            EffectClass::Idempotent => Task::idempotent,
            EffectClass::Metered => Task::metered,
            EffectClass::External | EffectClass::Workspace => Task::external,
        };
        let mut task = make(self.name.clone()).step_name(self.id()).input(input);
        if let Some(queue) = &self.queue {
            task = task.queue(queue);
        }
        if let Some(attempts) = self.attempts {
            task = task.retry(RetryPolicy {
                attempts,
                ..RetryPolicy::default()
            });
        }
        if let Some(seconds) = self.timeout_s {
            task = task.timeout(Duration::from_secs(seconds));
        }
        if let Some(seconds) = self.lease_s {
            task = task.lease(Duration::from_secs(seconds));
        }
        task
    }
}

/// The step and the place in its result that an object stands for, if it stands for one.
fn reference(object: &Map<String, Value>) -> Option<(&str, &str)> {
    let id = object.get("$result")?.as_str()?;
    match (object.len(), object.get("at")) {
        (1, None) => Some((id, "")),
        (2, Some(Value::String(at))) => Some((id, at)),
        _ => None,
    }
}

/// What is wrong with the references of an input.
fn unknown(input: &Value, known: &BTreeSet<&str>, depth: usize) -> Option<String> {
    if depth == 0 {
        return Some(format!("the input is deeper than {DEPTH_MAX}"));
    }
    match input {
        Value::Object(object) => match reference(object) {
            Some((id, _)) if known.contains(id) => None,
            Some((id, _)) => {
                let shown: String = id.chars().take(80).collect();
                Some(format!("no step before it is called `{shown}`"))
            }
            None if object.contains_key("$result") => {
                Some("`$result` stands alone or with `at`, both texts".into())
            }
            None => object
                .values()
                .find_map(|part| unknown(part, known, depth - 1)),
        },
        Value::Array(parts) => parts
            .iter()
            .find_map(|part| unknown(part, known, depth - 1)),
        _ => None,
    }
}

/// The input with results in place of what stands for them.
fn resolved(input: &Value, results: &Map<String, Value>) -> Result<Value, StepError> {
    match input {
        Value::Object(object) => match reference(object) {
            Some((id, at)) => {
                let found = results.get(id).and_then(|result| result.pointer(at));
                found.cloned().ok_or_else(|| {
                    let text = format!("the result of `{id}` has nothing at `{at}`");
                    StepError::permanent("no_such_result", text)
                })
            }
            None => object
                .iter()
                .map(|(key, part)| Ok((key.clone(), resolved(part, results)?)))
                .collect::<Result<Map<_, _>, _>>()
                .map(Value::Object),
        },
        Value::Array(parts) => parts
            .iter()
            .map(|part| resolved(part, results))
            .collect::<Result<Vec<_>, _>>()
            .map(Value::Array),
        plain => Ok(plain.clone()),
    }
}

/// Steps that workers do, one after the other; the results by the steps' ids.
#[derive(Debug, Clone, Copy, Default)]
pub struct TaskFunction;

#[async_trait]
impl DurableFunction for TaskFunction {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn version(&self) -> &'static str {
        "1"
    }

    async fn execute(&self, run: Run, input: Value) -> Result<Value, RunError> {
        let plan: Plan = serde_json::from_value(input)
            .map_err(|error| StepError::permanent("bad_steps", error.to_string()))?;
        let mut results = Map::new();
        for step in &plan.steps {
            let input = resolved(&step.input, &results)?;
            let result: Value = run.remote(step.task(&input)).await?;
            results.insert(step.id().to_owned(), result);
        }
        Ok(Value::Object(results))
    }

    fn takes(&self, input: &Value) -> bool {
        let plan: Result<Plan, _> = serde_json::from_value(input.clone());
        plan.is_ok_and(|plan| plan.check().is_ok())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn plan(steps: &Value) -> Result<(), String> {
        let plan: Plan = serde_json::from_value(json!({ "steps": steps })).unwrap();
        plan.check().map_err(|error| error.to_string())
    }

    #[test]
    fn steps_name_only_what_is_before_them() {
        let ok = json!([
            { "name": "a", "effect": "read" },
            { "name": "a", "id": "b", "effect": "external",
              "input": [{ "x": { "$result": "a", "at": "/0" } }, { "$result": "a" }] },
        ]);
        assert_eq!(plan(&ok), Ok(()));
        let refused = [
            (json!([]), "1 to 64 steps"),
            (
                json!([{ "name": "a/b", "effect": "read" }]),
                "step 1: `a/b` is no name",
            ),
            (
                json!([{ "name": "a", "effect": "read" }, { "name": "a", "effect": "read" }]),
                "step 2: another step is called `a`",
            ),
            (
                json!([{ "name": "a", "effect": "workspace" }]),
                "no workspace",
            ),
            (
                json!([{ "name": "a", "effect": "read", "attempts": 0 }]),
                "`attempts` is",
            ),
            (
                json!([{ "name": "a", "effect": "read", "lease_s": 9999 }]),
                "`lease_s` is",
            ),
            (
                json!([{ "name": "a", "effect": "read", "input": { "$result": "a" } }]),
                "no step before it is called `a`",
            ),
            (
                json!([{ "name": "a", "effect": "read", "input": { "$result": "a", "or": 1 } }]),
                "`$result` stands alone",
            ),
        ];
        for (steps, because) in refused {
            let error = plan(&steps).unwrap_err();
            assert!(error.contains(because), "{error}");
        }
    }

    #[test]
    fn results_take_the_place_of_what_stands_for_them() {
        let results = json!({ "a": { "w": [1, 2] } });
        let results = results.as_object().unwrap();
        let input = json!({ "all": { "$result": "a" }, "one": [{ "$result": "a", "at": "/w/1" }] });
        let given = resolved(&input, results).unwrap();
        assert_eq!(given, json!({ "all": { "w": [1, 2] }, "one": [2] }));
        let missing = json!({ "$result": "a", "at": "/h" });
        assert_eq!(
            resolved(&missing, results).unwrap_err().code,
            "no_such_result"
        );
    }
}

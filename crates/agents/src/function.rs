//! The durable function of an agent: it does what the machine decides.

use std::sync::Arc;

use async_trait::async_trait;
use matrix_core::{Digest, Money, Timestamp, canonical};
use matrix_engine::{DurableFunction, EffectClass, Run, RunError, Step, StepContext, StepError};
use matrix_models::budget::Labels;
use matrix_models::chat::ChatRequest;
use matrix_models::inference::ask_known;
use matrix_models::usage::Usage;
use matrix_models::{Gateway, ModelUse};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::definition::Definition;
use crate::machine::{Call, Command, Ending, Machine, Observed, Spent};
use crate::tools::{Output, Tool, Toolbox, offered};
use crate::workspace::{Base, Kept, Workshop, Workspace, Wrote, later};

/// The kind of runs that are an agent's work.
pub const KIND: &str = "agent";

/// The signal that brings an agent a person's words.
pub const DIRECTIVE: &str = "directive";

/// The code of an agent's run that was stopped before it was done.
pub const STOPPED: &str = "agent_stopped";

/// What an agent's run is given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentInput {
    /// The agent as it was when the run was asked for.
    pub definition: Definition,
    /// Which version of it that is.
    pub version: i64,
    /// What is to be reached.
    pub goal: String,
    /// Where it begins; without one, in an empty work tree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<Base>,
    /// Whose budget it is beside the agent's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
}

/// What an agent's run gives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Done {
    /// What the agent said last.
    pub text: String,
    /// What it changed; nothing if it changed nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patch: Option<PatchFacts>,
    /// What it used.
    pub spent: Spent,
}

/// What an agent changed. Both blobs are named here, so that they are kept as long as the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PatchFacts {
    /// The operations of a plan that make it, as a blob of JSON.
    pub operations: Digest,
    /// The canonical diff, as a blob.
    pub diff: Digest,
    /// The tree that it makes.
    pub tree: String,
    /// The files, with what happened to each.
    pub files: Vec<matrix_worktree::FileFacts>,
}

/// What a call of a tool gave, as the journal has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Recorded {
    /// What the model is told.
    output: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    failed: bool,
    /// The whole of the output, where the model is told a part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    whole: Option<Digest>,
    /// What it wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    wrote: Option<Wrote>,
    /// When it ended.
    at: Timestamp,
}

/// What is left when the model says that it is done, as the journal has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    /// It is done.
    Done { patch: Option<PatchFacts> },
    /// What it wrote can be no plan; it is told so, and goes on.
    Refused { why: String },
}

/// Drives agents.
#[derive(Debug, Clone)]
pub struct AgentFunction {
    gateway: Gateway,
    workshop: Workshop,
    toolbox: Toolbox,
    clock: Arc<dyn matrix_core::Clock>,
}

impl AgentFunction {
    /// Asks models through the gateway and works in the workshop.
    pub fn new(
        gateway: Gateway,
        workshop: Workshop,
        toolbox: Toolbox,
        clock: Arc<dyn matrix_core::Clock>,
    ) -> Self {
        Self {
            gateway,
            workshop,
            toolbox,
            clock,
        }
    }
}

#[async_trait]
impl DurableFunction for AgentFunction {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn version(&self) -> &'static str {
        "1"
    }

    async fn execute(&self, run: Run, input: Value) -> Result<Value, RunError> {
        let input: AgentInput = serde_json::from_value(input)
            .map_err(|error| StepError::permanent("input", error.to_string()))?;
        let workspace = Workspace::new(self.workshop.clone(), run.id(), input.base.clone());
        let work = Work {
            function: self,
            run: &run,
            input: &input,
            workspace: &workspace,
        };
        let outcome = Box::pin(work.bring_through()).await;
        let is_over = matches!(
            outcome,
            Ok(_) | Err(RunError::Failed(_) | RunError::Cancelled(_))
        );
        if is_over && !run.is_replay() {
            workspace.remove().await;
        }
        serde_json::to_value(outcome?)
            .map_err(|error| StepError::permanent("not_json", error.to_string()).into())
    }
}

/// One execution of an agent's run.
struct Work<'a> {
    function: &'a AgentFunction,
    run: &'a Run,
    input: &'a AgentInput,
    workspace: &'a Workspace,
}

impl Work<'_> {
    async fn bring_through(&self) -> Result<Done, RunError> {
        let mut machine = Machine::new(&self.input.definition, &self.input.goal);
        loop {
            match machine.next().clone() {
                Command::Ask => {
                    for words in self.run.heard::<String>(DIRECTIVE).await? {
                        machine.directed(&words);
                    }
                    self.ask(&mut machine).await?;
                }
                Command::Call(calls) => self.call(&mut machine, &calls).await?,
                Command::End(Ending::Finished { text }) => {
                    let step = Step::read("outcome");
                    match self.run.step(step, |_| self.outcome()).await? {
                        Outcome::Done { patch } => {
                            let spent = machine.spent();
                            return Ok(Done { text, patch, spent });
                        }
                        Outcome::Refused { why } => machine.refused(&why),
                    }
                }
                Command::End(Ending::Stopped { why, detail }) => {
                    let text = format!("the agent was stopped: {detail} ({why})");
                    return Err(StepError::permanent(STOPPED, text).into());
                }
            }
        }
    }

    async fn ask(&self, machine: &mut Machine) -> Result<(), RunError> {
        let definition = &self.input.definition;
        let asks = ModelUse {
            model: definition.model.clone(),
            labels: Labels {
                project: self.input.project.clone(),
                agent: Some(definition.name.clone()),
                run: None,
            },
            ..ModelUse::default()
        };
        // Tools may be described in better words by a newer program; the conversation is the same one.
        let digest = canonical::digest(&(&definition.model, machine.digest()))?;
        let request = || ChatRequest {
            model: definition.model.clone(),
            messages: machine.messages().to_vec(),
            tools: self.offered(),
            max_tokens: definition.limits.answer_tokens,
            ..ChatRequest::default()
        };
        let gateway = &self.function.gateway;
        let answered = ask_known(self.run, gateway, ("model", &asks), digest, request).await?;
        let choice = answered.answer.choices.first();
        let choice = choice
            .ok_or_else(|| StepError::permanent("no_answer", "the model gave no answer at all"))?;
        let (usage, cost): (&Usage, Money) = (&answered.usage, answered.cost);
        machine.answered(choice, usage, cost);
        Ok(())
    }

    /// The agent's tools, as the model is told of them.
    fn offered(&self) -> Vec<matrix_models::chat::Tool> {
        let names = self.input.definition.tools.iter();
        let tools = names.filter_map(|name| self.function.toolbox.get(name));
        tools.map(|tool| offered(tool.declaration())).collect()
    }

    /// Makes calls side by side; each result is recorded by itself.
    async fn call(&self, machine: &mut Machine, calls: &[Call]) -> Result<(), RunError> {
        let keyed = calls.iter().enumerate();
        let keyed = keyed.map(|(index, call)| (index.to_string(), call.clone()));
        let parallel = self.input.definition.limits.parallel as usize;
        let results = self
            .run
            .join(
                "tools",
                parallel,
                keyed.collect(),
                |branch, call| async move { self.one(&branch, &call).await },
            )
            .await?;
        let newest = results.iter().filter_map(|result| result.1).max();
        let observed = results.into_iter().map(|result| result.0).collect();
        machine.observed(calls, observed, (self.run.started_at(), newest));
        Ok(())
    }

    /// One call. What cannot be called at all is told to the model, and is no step.
    async fn one(
        &self,
        branch: &Run,
        call: &Call,
    ) -> Result<(Observed, Option<Timestamp>), RunError> {
        let told = |output: String| {
            let id = call.id.clone();
            let failed = true;
            Ok((Observed { id, output, failed }, None))
        };
        let definition = &self.input.definition;
        let allowed = definition.tools.contains(&call.tool);
        let Some(tool) = self.function.toolbox.get(&call.tool).filter(|_| allowed) else {
            let names: Vec<&str> = definition.tools.iter().map(String::as_str).collect();
            return told(format!(
                "there is no tool `{}`; there are {}",
                call.tool,
                names.join(", ")
            ));
        };
        let arguments = match &call.arguments {
            Ok(arguments) => arguments,
            Err(why) => return told(why.clone()),
        };
        let recorded = self.step(branch, tool, arguments).await?;
        if let Some(wrote) = recorded.wrote {
            self.workspace.recorded(wrote).await;
        }
        let observed = Observed {
            id: call.id.clone(),
            output: recorded.output,
            failed: recorded.failed,
        };
        Ok((observed, Some(recorded.at)))
    }

    async fn step(
        &self,
        branch: &Run,
        tool: &Arc<dyn Tool>,
        arguments: &Value,
    ) -> Result<Recorded, RunError> {
        let declaration = tool.declaration();
        let name = declaration.name;
        let input = (name, arguments);
        if declaration.effect == EffectClass::Workspace {
            // Until the result is recorded, nobody else writes.
            let _turn = self.workspace.turn().await;
            let step = Step::workspace(name).input(&input).carries_files();
            let done = branch.step(step, |context| self.write(tool, arguments, context));
            return done.await;
        }
        let step = Step::read(name).input(&input);
        branch.step(step, |_| self.read(tool, arguments)).await
    }

    async fn read(&self, tool: &Arc<dyn Tool>, arguments: &Value) -> Result<Recorded, StepError> {
        let bench = self.workspace.bench(false).await?;
        let output = tool.call(&bench, arguments).await?;
        self.recorded(output, None)
    }

    async fn write(
        &self,
        tool: &Arc<dyn Tool>,
        arguments: &Value,
        context: StepContext,
    ) -> Result<Recorded, StepError> {
        let again = context.interrupted || context.attempt > 1;
        let bench = self.workspace.bench(again).await?;
        // Commands of all runs share the machine's places.
        let _place = self.function.workshop.machine.place().await;
        let mut cancelled = context.cancelled.clone();
        let output = tokio::select! {
            output = tool.call(&bench, arguments) => output?,
            _ = cancelled.wait_for(|cancelled| *cancelled) => {
                return Err(StepError::permanent("cancelled", "the run is cancelled"));
            }
        };
        match bench.keep().await? {
            Kept::Wrote(wrote) => self.recorded(output, Some(wrote)),
            Kept::Refused(why) => {
                let text = format!(
                    "{}\nnone of it is kept, the work tree is as it was: {why}",
                    output.text
                );
                self.recorded(Output::bad(text), None)
            }
        }
    }

    fn recorded(&self, output: Output, wrote: Option<Wrote>) -> Result<Recorded, StepError> {
        let blobs = &self.function.workshop.blobs;
        let whole = output.whole.map(|whole| blobs.put(&whole)).transpose()?;
        Ok(Recorded {
            output: output.text,
            failed: output.failed,
            whole,
            wrote: wrote.filter(|wrote| !wrote.changes.paths.is_empty()),
            at: self.function.clock.now(),
        })
    }

    /// What came of it.
    async fn outcome(&self) -> Result<Outcome, StepError> {
        let patch = match self.workspace.patch().await? {
            Ok(Some(patch)) => patch,
            Ok(None) => return Ok(Outcome::Done { patch: None }),
            Err(why) => return Ok(Outcome::Refused { why }),
        };
        let blobs = &self.function.workshop.blobs;
        let operations = serde_json::to_vec(&patch.operations).map_err(later)?;
        let patch = Some(PatchFacts {
            operations: blobs.put(&operations)?,
            diff: blobs.put(&patch.applied.diff)?,
            tree: patch.applied.tree.to_string(),
            files: patch.applied.facts.files,
        });
        Ok(Outcome::Done { patch })
    }
}

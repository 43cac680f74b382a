//! Which models a call may ask, in which order.

use std::sync::Arc;

use matrix_core::{Action, Authorizer, Caller, Entropy};

use super::cache::Rule;
use super::{Gateway, ModelUse};
use crate::chat::{ChatRequest, Part};
use crate::error::ModelError;
use crate::estimate;
use crate::registry::{Entry, Model, ProviderKind, Snapshot, Strategy, Target, Task};
use crate::route::{Candidate, order};
use crate::usage::Usage;

/// How many more models are tried when one fails, unless the route says otherwise.
const FALLBACKS: u32 = 3;

/// The models that a call asks, one after the other.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) models: Vec<Arc<Model>>,
    /// Why others are not among them.
    pub(super) passed: Vec<String>,
    /// Whether and how the answer is kept.
    pub(super) keeps: Option<Rule>,
}

/// What a call needs.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Needs {
    /// About how many tokens it reads.
    pub(super) input: u64,
    /// How many of them it reads at once: texts of a batch are read one by one.
    pub(super) longest: u64,
    /// How many it writes at most.
    pub(super) output: Option<u64>,
    /// How many answers.
    count: u64,
    /// How many questions, of models that are paid for those.
    pub(super) queries: u64,
    vision: bool,
    tools: bool,
    task: Option<Task>,
}

impl Needs {
    pub(crate) fn of_chat(request: &ChatRequest) -> Self {
        let parts = request.messages.iter().flat_map(|message| &message.parts);
        let count = u64::from(request.sampling.count.unwrap_or(1));
        let input = estimate::request(request);
        Self {
            input,
            longest: input,
            output: request.max_tokens.map(|most| most.saturating_mul(count)),
            count,
            queries: 0,
            vision: parts.clone().any(|part| matches!(part, Part::Image { .. })),
            tools: !request.tools.is_empty(),
            task: None,
        }
    }

    pub(crate) fn of_texts(texts: &[String], task: Task) -> Self {
        let each = texts.iter().map(|text| estimate::tokens(text));
        Self {
            input: each.clone().sum(),
            longest: each.max().unwrap_or(0),
            output: Some(0),
            queries: u64::from(task == Task::Rerank),
            task: Some(task),
            ..Self::default()
        }
    }

    /// What is asked for, in one word.
    pub(super) fn operation(&self) -> &'static str {
        match self.task {
            Some(Task::Embed) => "embeddings",
            Some(Task::Rerank) => "rerank",
            _ => "chat",
        }
    }

    /// The most tokens that a model writes for it. Where nobody says, it is as many as the model can
    /// write; of `Anthropic`'s, as many as are asked for in its place.
    pub(super) fn most(&self, model: &Model) -> u64 {
        self.output.unwrap_or_else(|| {
            let most = model.max_output.unwrap_or(estimate::ANSWER);
            let most = match model.spec.provider.kind {
                ProviderKind::Anthropic => most.min(estimate::ANSWER),
                _ => most,
            };
            most.saturating_mul(self.count.max(1))
        })
    }
}

impl Gateway {
    pub(super) async fn plan(
        &self,
        caller: &Caller,
        asked: &ModelUse,
        needs: &Needs,
    ) -> Result<Plan, ModelError> {
        let snapshot = self.shared.registry.snapshot(&caller.scope).await?;
        let none = || ModelError::NoModel(asked.model.clone());
        match snapshot.get(&asked.model) {
            Some(Entry::Model(model)) => Ok(Plan {
                models: vec![Arc::clone(model)],
                passed: Vec::new(),
                keeps: None,
            }),
            Some(Entry::Route(route)) => {
                let spec = &route.spec;
                let tagged = |target: &&Target| {
                    target.tags.is_empty() || target.tags.iter().any(|tag| asked.tags.contains(tag))
                };
                let targets = spec.targets.iter().filter(tagged);
                let targets = targets.filter_map(|target| match snapshot.get(&target.model) {
                    Some(Entry::Model(model)) => Some((Arc::clone(model), target.weight)),
                    _ => None,
                });
                let fallbacks = spec.fallbacks.unwrap_or(FALLBACKS);
                let all = targets.collect();
                let plan = self.arrange(caller, (all, spec.strategy, fallbacks), needs);
                Ok(Plan {
                    keeps: Rule::of(route),
                    ..plan.ok_or_else(none)?
                })
            }
            None => {
                let mut all = by_task(&snapshot, &asked.model, needs).ok_or_else(none)?;
                all.retain(|(model, _)| self.may(caller, asked, &model.name));
                self.arrange(caller, (all, Strategy::Latency, FALLBACKS), needs)
                    .ok_or_else(none)
            }
        }
    }

    /// Whether a caller may ask a model that it did not name. A route is different: whoever may ask for
    /// it may be answered by its models.
    fn may(&self, caller: &Caller, asked: &ModelUse, model: &str) -> bool {
        let named = ModelUse {
            model: model.to_owned(),
            ..asked.clone()
        };
        let authorizer = &self.shared.authorizer;
        authorizer
            .decide(caller, ModelUse::NAME, &named.facts())
            .is_ok()
    }

    fn arrange(
        &self,
        caller: &Caller,
        (all, strategy, fallbacks): (Vec<(Arc<Model>, u32)>, Strategy, u32),
        needs: &Needs,
    ) -> Option<Plan> {
        if all.is_empty() {
            return None;
        }
        let mut passed = Vec::new();
        let fits: Vec<(Arc<Model>, u32)> = all
            .iter()
            .filter(|(model, _)| match lack(model, needs) {
                None => true,
                Some(why) => {
                    passed.push(format!("{}: {why}", model.name));
                    false
                }
            })
            .cloned()
            .collect();
        // Where none fits by what is known of them, the provider has the word.
        let fits = if fits.is_empty() { all } else { fits };
        let candidates: Vec<Candidate> = fits
            .iter()
            .map(|(model, weight)| {
                let (latency, busy, _) = self.shared.board.look(&caller.scope, model);
                let usage = Usage {
                    input: needs.input,
                    output: needs.most(model),
                    ..Usage::default()
                };
                let price = model.price.as_ref();
                Candidate {
                    weight: *weight,
                    latency,
                    busy,
                    cost: price.map_or(i64::MAX, |price| price.cost(&usage).as_nanos()),
                }
            })
            .collect();
        let order = order(strategy, &candidates, |below| {
            random(&*self.shared.entropy, below)
        });
        let models = order.into_iter().filter_map(|place| fits.get(place));
        let most = fallbacks.saturating_add(1) as usize;
        Some(Plan {
            models: models
                .take(most)
                .map(|(model, _)| Arc::clone(model))
                .collect(),
            passed,
            keeps: None,
        })
    }
}

/// A number below another one. What little it favours small ones does not matter here.
fn random(entropy: &dyn Entropy, below: u64) -> u64 {
    let mut bytes = [0; 8];
    entropy.fill(&mut bytes);
    u64::from_le_bytes(bytes) % below.max(1)
}

/// Whether a name leaves the choice among models to us.
pub(super) fn is_choice(name: &str) -> bool {
    by_task(&Snapshot::default(), name, &Needs::default()).is_some()
}

/// Models by what they are preferred for: `task:code`; `auto` looks at the request.
fn by_task(snapshot: &Snapshot, name: &str, needs: &Needs) -> Option<Vec<(Arc<Model>, u32)>> {
    let task = match (name, needs.task) {
        ("auto", Some(task)) => task,
        ("auto", None) if needs.vision => Task::Vision,
        ("auto" | "task:general", _) => Task::General,
        ("task:code", _) => Task::Code,
        ("task:vision", _) => Task::Vision,
        ("task:embed", _) => Task::Embed,
        ("task:rerank", _) => Task::Rerank,
        _ => return None,
    };
    let of = |task: Task| -> Vec<(Arc<Model>, u32)> {
        let newest = snapshot.names().filter_map(|(_, entry)| match entry {
            Entry::Model(model) if model.spec.tasks.contains(&task) => Some(Arc::clone(model)),
            _ => None,
        });
        newest.map(|model| (model, 1)).collect()
    };
    let found = of(task);
    let texts = matches!(task, Task::Embed | Task::Rerank);
    if found.is_empty() && !texts && task != Task::General {
        return Some(of(Task::General));
    }
    Some(found)
}

/// What a model is known not to do.
fn lack(model: &Model, needs: &Needs) -> Option<&'static str> {
    let can = |word: &str| {
        model.capabilities.is_empty() || model.capabilities.iter().any(|can| can == word)
    };
    if needs.vision && !can("vision") {
        return Some("it sees no pictures");
    }
    if needs.tools && !can("tools") {
        return Some("it calls no tools");
    }
    if model.context.is_some_and(|context| needs.longest > context) {
        return Some("it reads fewer tokens");
    }
    None
}

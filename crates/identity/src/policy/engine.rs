//! Asking the policies one question, and never taking an error for a yes.

use std::path::Path;

use cedar_policy::{
    Authorizer, Context, Decision, Entities, Entity, EntityId, EntityUid, PolicySet, Request,
    RestrictedExpression,
};
use matrix_core::Digest;
use serde::Serialize;

use super::compile::{Compiled, PolicyEffect, PolicyInfo, compile};
use super::problem::PolicyError;
use super::source::{self, Layer, Source};

/// The policies of one data directory, ready to be asked.
///
/// It is a snapshot: a later edit of the files counts after the next [`PolicyEngine::load`].
pub struct PolicyEngine {
    state: Result<Compiled, PolicyError>,
    digest: Digest,
}

impl std::fmt::Debug for PolicyEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PolicyEngine")
            .field("digest", &self.digest)
            .field("policies", &self.policies().len())
            .field("error", &self.error())
            .finish_non_exhaustive()
    }
}

/// What the policies say to one question, and because of which of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// Whether it is allowed.
    pub allowed: bool,
    /// The policies that decided: forbids when refused, permits when allowed. Empty when nothing
    /// applied, which is a refusal.
    pub policies: Vec<PolicyInfo>,
    /// What could not be evaluated; anything here is a refusal.
    pub errors: Vec<String>,
}

impl Answer {
    pub(crate) fn refused(error: impl Into<String>) -> Self {
        Self {
            allowed: false,
            policies: Vec::new(),
            errors: vec![error.into()],
        }
    }

    /// The sentences to show a person: errors first, then the reasons of the policies.
    pub fn reasons(&self) -> Vec<String> {
        let mut reasons = self.errors.clone();
        reasons.extend(self.policies.iter().map(|policy| policy.reason.clone()));
        if reasons.is_empty() {
            reasons.push("no policy allows it".into());
        }
        reasons
    }
}

/// One question, in Cedar's terms.
pub(crate) struct Question {
    pub(crate) principal: EntityUid,
    pub(crate) action: EntityUid,
    pub(crate) resource: EntityUid,
    pub(crate) context: Context,
}

impl PolicyEngine {
    /// Reads, parses and strictly validates `*.cedar` of a policy directory, and of its
    /// subdirectory `managed`. The built-in policy counts where the directory has no file.
    pub fn load(directory: &Path) -> Result<Self, PolicyError> {
        Self::from_sources(&source::read(directory)?)
    }

    /// As [`Self::load`], but policies that cannot be used give an engine that denies everything
    /// and says why.
    pub fn load_or_deny(directory: &Path) -> Self {
        match source::read(directory) {
            Ok(sources) => Self {
                state: compile(&sources),
                digest: source::digest(&sources),
            },
            Err(error) => Self {
                digest: Digest::of_parts(&[
                    b"matrix-policy-unusable",
                    error.to_string().as_bytes(),
                ]),
                state: Err(error),
            },
        }
    }

    /// An engine over texts in memory.
    pub fn from_sources(sources: &[Source]) -> Result<Self, PolicyError> {
        Ok(Self {
            state: Ok(compile(sources)?),
            digest: source::digest(sources),
        })
    }

    /// What names these policies: SHA-256 over the canonical list of the schema's and all files'
    /// layers, names and digests.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Why everything is denied, if the policies cannot be used.
    pub fn error(&self) -> Option<&PolicyError> {
        self.state.as_ref().err()
    }

    /// All policies, by layer, file and line.
    pub fn policies(&self) -> Vec<&PolicyInfo> {
        let mut infos: Vec<&PolicyInfo> = self
            .state
            .iter()
            .flat_map(|compiled| compiled.infos.values())
            .collect();
        infos.sort_by(|a, b| {
            (a.layer, &a.file, a.line, &a.id).cmp(&(b.layer, &b.file, b.line, &b.id))
        });
        infos
    }

    pub(crate) fn compiled(&self) -> Result<&Compiled, &PolicyError> {
        self.state.as_ref()
    }
}

impl Compiled {
    /// An entity's name; none if the schema does not know the type.
    pub(crate) fn uid(&self, kind: &str, id: &str) -> Option<EntityUid> {
        let name = self.types.get(kind)?.clone();
        Some(EntityUid::from_type_name_and_id(name, EntityId::new(id)))
    }

    /// A word of one of the schema's closed sets.
    pub(crate) fn word(&self, kind: &str, word: &str) -> Option<RestrictedExpression> {
        Some(RestrictedExpression::new_entity_uid(self.uid(kind, word)?))
    }

    /// The answer of all layers. A request that does not fit the schema, and any error while
    /// evaluating any policy, is a refusal: Cedar itself leaves a failing policy out, and with a
    /// failing forbid the door would stand open.
    pub(crate) fn answer(&self, question: Question, entities: &Entities) -> Answer {
        let request = Request::new(
            question.principal,
            question.action,
            question.resource,
            question.context,
            Some(&self.schema),
        );
        match request {
            Ok(request) => self.combine(&request, entities),
            Err(error) => Answer::refused(format!("the request is refused: {error}")),
        }
    }

    /// What policies may look up: these entities, checked against the schema, and all actions
    /// with their groups.
    pub(crate) fn entities(
        &self,
        entities: impl IntoIterator<Item = Entity>,
    ) -> Result<Entities, String> {
        Entities::from_entities(entities, Some(&self.schema))
            .map_err(|error| format!("the request is refused: {error}"))
    }

    /// Managed first; a forbid of any layer refuses, else a permit of any layer allows.
    fn combine(&self, request: &Request, entities: &Entities) -> Answer {
        let mut permits = Vec::new();
        let mut errors = Vec::new();
        for layer in [Layer::Managed, Layer::Local] {
            let Some(set) = self.layers.get(&layer) else {
                continue;
            };
            let (policies, failed) = self.ask(set, request, entities);
            errors.extend(failed);
            let forbids = || {
                policies
                    .iter()
                    .filter(|info| info.effect == PolicyEffect::Forbid)
            };
            if forbids().next().is_some() {
                return Answer {
                    allowed: false,
                    policies: forbids().cloned().collect(),
                    errors,
                };
            }
            permits.extend(policies);
        }
        let allowed = errors.is_empty() && !permits.is_empty();
        Answer {
            allowed,
            policies: if allowed { permits } else { Vec::new() },
            errors,
        }
    }

    fn ask(
        &self,
        set: &PolicySet,
        request: &Request,
        entities: &Entities,
    ) -> (Vec<PolicyInfo>, Vec<String>) {
        let response = Authorizer::new().is_authorized(request, set, entities);
        let mut policies: Vec<PolicyInfo> = response
            .diagnostics()
            .reason()
            .filter_map(|id| self.infos.get(id).cloned())
            .collect();
        policies.sort_by(|a, b| (&a.file, a.line, &a.id).cmp(&(&b.file, b.line, &b.id)));
        let mut errors: Vec<String> = response
            .diagnostics()
            .errors()
            .map(|error| {
                let cedar_policy::AuthorizationError::PolicyEvaluationError(error) = error;
                match self.infos.get(error.policy_id()) {
                    Some(info) => format!(
                        "policy `{}` in {} could not be evaluated: {}",
                        info.id,
                        info.file,
                        error.inner()
                    ),
                    None => error.to_string(),
                }
            })
            .collect();
        errors.sort();
        // The two can only disagree if an id of ours was lost on the way.
        if response.decision() == Decision::Allow && policies.is_empty() {
            errors.push("the policy that allows it is not known".into());
        }
        (policies, errors)
    }
}

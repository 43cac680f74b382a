//! Who may use which function: the [`Authorizer`] that every service function asks.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use cedar_policy::{Context, Entities, Entity};
use matrix_core::{Authorizer, Caller, Denied, Principal, PrincipalKind};
use serde::Serialize;
use serde_json::{Map, Value};

use super::compile::Compiled;
use super::engine::{Answer, PolicyEngine, Question};
use crate::role::Role;

/// Who is who in a data directory.
pub trait Roster: Send + Sync {
    /// The roles of an active principal; none if it is unknown, inactive or cannot be looked up.
    fn roles_of(&self, principal: &Principal) -> Option<BTreeSet<Role>>;
}

/// Policies and people together: what decides about every service function.
#[derive(Clone)]
pub struct Access {
    engine: Arc<PolicyEngine>,
    roster: Arc<dyn Roster>,
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Access")
            .field("policy", &self.engine.digest())
            .finish_non_exhaustive()
    }
}

/// What the policies say about one principal of a caller's chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AccessStep {
    /// The principal asked about.
    pub principal: Principal,
    /// What the policies say.
    pub answer: Answer,
}

/// What the policies say about a caller and an action, one step for each principal of the chain;
/// all must allow it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AccessExplanation {
    /// Whether the caller may.
    pub allowed: bool,
    /// The caller itself first, then those it acts for.
    pub steps: Vec<AccessStep>,
}

impl Access {
    /// Decides by these policies about these people.
    pub fn new(engine: Arc<PolicyEngine>, roster: Arc<dyn Roster>) -> Self {
        Self { engine, roster }
    }

    /// The policies.
    pub fn engine(&self) -> &Arc<PolicyEngine> {
        &self.engine
    }

    /// Asks for the caller and for everyone it acts for, and says which policies decided.
    pub fn explain(&self, caller: &Caller, action: &str, facts: &Value) -> AccessExplanation {
        let steps: Vec<AccessStep> = std::iter::once(&caller.principal)
            .chain(&caller.on_behalf_of)
            .map(|principal| AccessStep {
                principal: principal.clone(),
                answer: self.ask(caller, principal, action, facts),
            })
            .collect();
        AccessExplanation {
            allowed: steps.iter().all(|step| step.answer.allowed),
            steps,
        }
    }

    fn ask(&self, caller: &Caller, principal: &Principal, action: &str, facts: &Value) -> Answer {
        let compiled = match self.engine.compiled() {
            Ok(compiled) => compiled,
            Err(error) => return Answer::refused(error.to_string()),
        };
        let roles = match principal.kind {
            PrincipalKind::User | PrincipalKind::ServiceAccount => {
                match self.roster.roles_of(principal) {
                    Some(roles) => roles,
                    None => return Answer::refused(format!("{principal} is not active here")),
                }
            }
            // An agent has no standing of its own: it acts for somebody, or not at all.
            PrincipalKind::Agent if caller.on_behalf_of.is_empty() => {
                return Answer::refused(format!("{principal} acts for nobody"));
            }
            PrincipalKind::Agent | PrincipalKind::Node => BTreeSet::new(),
        };
        let asked = Asked {
            caller,
            principal,
            roles: &roles,
            action,
            facts,
        };
        match compiled.service_question(&asked) {
            Ok((question, entities)) => compiled.answer(question, &entities),
            Err(reason) => Answer::refused(reason),
        }
    }
}

impl Authorizer for Access {
    fn decide(&self, caller: &Caller, action: &'static str, facts: &Value) -> Result<(), Denied> {
        let explanation = self.explain(caller, action, facts);
        let Some(step) = explanation.steps.iter().find(|step| !step.answer.allowed) else {
            return Ok(());
        };
        let mut reason = step.answer.reasons().join("; ");
        if step.principal != caller.principal {
            reason = format!("it acts for {}: {reason}", step.principal);
        }
        Err(Denied {
            caller: caller.principal.to_string(),
            action,
            reason,
        })
    }
}

struct Asked<'a> {
    caller: &'a Caller,
    principal: &'a Principal,
    roles: &'a BTreeSet<Role>,
    action: &'a str,
    facts: &'a Value,
}

/// The type of thing an action is about, and the fact that holds its id.
fn subject(action: &str) -> Option<(&'static str, &'static str)> {
    match action {
        "change_read" | "change_approve" | "change_reject" => Some(("Change", "change")),
        "artifact_read" => Some(("Artifact", "artifact")),
        "deployment_read" | "deployment_rollback" | "deployment_stop" => {
            Some(("Deployment", "deployment"))
        }
        _ if action.starts_with("run_") => Some(("Run", "run")),
        _ => None,
    }
}

impl Compiled {
    fn service_question(&self, asked: &Asked<'_>) -> Result<(Question, Entities), String> {
        if asked.action == "release" {
            return Err("`release` is decided by the gate alone".into());
        }
        let action = self.named("Action", asked.action)?;
        let mut facts = match asked.facts {
            Value::Object(facts) => facts.clone(),
            Value::Null => Map::new(),
            _ => return Err("the facts are not an object".into()),
        };
        let submitter = facts.get("submitter").and_then(Value::as_str);
        let own = submitter.is_some_and(|submitter| submitter == asked.principal.to_string());
        let scope = &asked.caller.scope;
        let directory = self.named(
            "DataDirectory",
            &format!("{}/{}", scope.organisation, scope.workspace),
        )?;
        let thing =
            subject(asked.action).and_then(|(kind, fact)| Some((kind, facts.get(fact)?.as_str()?)));
        let (resource, parent) = match thing {
            Some((kind, id)) => {
                let uid = self.named(kind, id)?;
                let parents = HashSet::from([directory.clone()]);
                (Entity::new_no_attrs(uid, parents), Some(directory))
            }
            None => (Entity::with_uid(directory), None),
        };
        facts.insert("own".into(), own.into());
        let context = Context::from_json_value(Value::Object(facts), Some((&self.schema, &action)))
            .map_err(|error| format!("the facts do not fit the schema: {error}"))?;
        let principal = self.principal(asked.principal, asked.roles)?;
        let question = Question {
            principal: principal.uid(),
            action,
            resource: resource.uid(),
            context,
        };
        let parent = parent.map(Entity::with_uid);
        let entities = [Some(principal), Some(resource), parent];
        Ok((question, self.entities(entities.into_iter().flatten())?))
    }
}

//! The only door to a service function: a value that proves the check was made.

use serde_json::Value;

use crate::caller::Caller;

/// Something a caller may or may not do.
pub trait Action: Send + Sync {
    /// The action's name in policies: `run_cancel`, `change_submit`.
    const NAME: &'static str;

    /// Typed facts about the thing acted on, for the policy's `context`.
    fn facts(&self) -> Value {
        Value::Object(serde_json::Map::new())
    }
}

/// Why an action was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{caller} may not {action}: {reason}")]
pub struct Denied {
    /// Who asked.
    pub caller: String,
    /// What for.
    pub action: &'static str,
    /// Which rule said no, or that none said yes.
    pub reason: String,
}

/// Decides whether a caller may do something. Any doubt is a refusal.
pub trait Authorizer: Send + Sync {
    /// Allows the action or says why not.
    fn decide(&self, caller: &Caller, action: &'static str, facts: &Value) -> Result<(), Denied>;
}

/// Proof that an [`Authorizer`] allowed `caller` to do `action`; it cannot be made otherwise.
#[derive(Debug, Clone)]
pub struct Authorised<A: Action> {
    caller: Caller,
    action: A,
}

impl<A: Action> Authorised<A> {
    /// Asks the authorizer; the proof exists only if it agrees.
    pub fn obtain(authorizer: &dyn Authorizer, caller: Caller, action: A) -> Result<Self, Denied> {
        authorizer.decide(&caller, A::NAME, &action.facts())?;
        Ok(Self { caller, action })
    }

    /// Who was allowed.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// What was allowed.
    pub fn action(&self) -> &A {
        &self.action
    }

    /// Both parts, for a service function that takes the action's data over.
    pub fn into_parts(self) -> (Caller, A) {
        (self.caller, self.action)
    }
}

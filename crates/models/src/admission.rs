//! Who may ask which model, remembered for a moment.
//!
//! A client that holds a conversation asks the same question again and again: may it use this model,
//! for this? The authorizer reads roles and policies each time, which costs more than all the rest of a
//! call. That it was allowed is therefore remembered for a second; a refusal never is.

use std::sync::Arc;
use std::time::Duration;

use matrix_core::{Authorizer, Caller, Clock, Denied, Digest, Recent};
use serde_json::Value;

/// How long somebody may go on after it was taken from it.
pub const REMEMBERED: Duration = Duration::from_secs(1);

/// An authorizer that remembers what it allowed.
pub struct Remembered {
    inner: Arc<dyn Authorizer>,
    /// By digests: what a client says may be long.
    allowed: Recent<(Caller, &'static str, Digest), ()>,
}

impl Remembered {
    /// Asks `inner` what it does not remember.
    pub fn new(inner: Arc<dyn Authorizer>, clock: Arc<dyn Clock>) -> Self {
        Self {
            inner,
            allowed: Recent::new(clock, REMEMBERED),
        }
    }
}

impl Authorizer for Remembered {
    fn decide(&self, caller: &Caller, action: &'static str, facts: &Value) -> Result<(), Denied> {
        let question = (caller.clone(), action, Digest::of(facts.to_string()));
        if self.allowed.get(&question).is_some() {
            return Ok(());
        }
        self.inner.decide(caller, action, facts)?;
        self.allowed.put(question, ());
        Ok(())
    }
}

/// What the gateway does by itself, for nobody who could be asked about.
pub(crate) struct Granted;

impl Authorizer for Granted {
    fn decide(&self, _: &Caller, _: &'static str, _: &Value) -> Result<(), Denied> {
        Ok(())
    }
}

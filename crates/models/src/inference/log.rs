//! Calls from outside, on their way into a journal.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use matrix_core::meter::Counter;
use matrix_core::{Authorised, Caller, RunId, Scope, Timestamp};
use matrix_engine::error::RequestError;
use matrix_engine::events::TopicRule;
use matrix_engine::queue::{Again, Placing, Singleton};
use matrix_engine::runs::{RunSignal, signal};
use matrix_engine::{DurableFunction, Engine, EntryKind, NewRun, Run, RunError};
use matrix_store::StoreError;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Inference;
use crate::admission::Granted;

/// The kind of the runs that hold calls from outside.
const KIND: &str = "model_log";

/// The signal that brings them some.
const CALLS: &str = "calls";

/// What calls of models are about, for whoever subscribes.
pub const TOPICS: &[TopicRule] = &[TopicRule {
    run_kind: KIND,
    entry: EntryKind::SignalReceived,
    step: CALLS,
    when: None,
    topic: "model.inference.completed",
}];

/// The most bytes of one signal's calls: subscribers are told no larger payloads.
const BYTES_MAX: usize = 200 * 1024;

/// The most characters of what a provider says of itself.
const TEXT_MAX: usize = 200;

/// The most calls of a tenant that wait; of more, the oldest are lost.
const PENDING_MAX: usize = 100_000;

/// How old a log becomes, in microseconds.
const AGE_MAX: i64 = 24 * 60 * 60 * 1_000_000;

/// Calls that are not in a journal yet. Cloning is cheap.
#[derive(Debug, Clone, Default)]
pub struct CallLog {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    tenants: Mutex<HashMap<Scope, Tenant>>,
    lost: Counter,
}

#[derive(Debug, Default)]
struct Tenant {
    pending: VecDeque<Inference>,
    /// The run that holds its calls, as far as is known.
    run: Option<RunId>,
}

/// Calls on their way.
#[derive(Debug, Serialize)]
struct Calls {
    calls: Vec<Inference>,
}

impl CallLog {
    /// Notes a call.
    pub(crate) fn note(&self, scope: &Scope, mut call: Inference) {
        let of_provider = [&mut call.answered, &mut call.response];
        for text in of_provider.into_iter().chain(&mut call.finish) {
            if text.chars().count() > TEXT_MAX {
                *text = text.chars().take(TEXT_MAX).collect();
            }
        }
        let mut tenants = self.lock();
        if !tenants.contains_key(scope) {
            tenants.insert(scope.clone(), Tenant::default());
        }
        if let Some(tenant) = tenants.get_mut(scope) {
            tenant.pending.push_back(call);
            self.shorten(tenant);
        }
    }

    /// How many calls were lost, because they could not be written for too long.
    pub fn lost(&self) -> u64 {
        self.shared.lost.get()
    }

    /// Hands over what was noted. Whoever composes the process calls it about once a second, and says
    /// on whose behalf. One tenant's trouble does not hold up the others.
    pub async fn flush(&self, engine: &Engine, owner: &Caller) -> Result<(), RequestError> {
        let scopes: Vec<Scope> = self.lock().keys().cloned().collect();
        let mut failed = Ok(());
        for scope in scopes {
            if let Err(error) = self.flush_one(engine, owner, &scope).await {
                failed = Err(error);
            }
        }
        failed
    }

    async fn flush_one(
        &self,
        engine: &Engine,
        owner: &Caller,
        scope: &Scope,
    ) -> Result<(), RequestError> {
        let caller = Caller {
            scope: scope.clone(),
            ..owner.clone()
        };
        while let Some((calls, run)) = self.take(scope) {
            let sent = send(engine, &caller, &calls, run).await;
            let mut tenants = self.lock();
            let tenant = tenants.entry(scope.clone()).or_default();
            match sent {
                Ok(run) => tenant.run = Some(run),
                Err(error) => {
                    for call in calls.calls.into_iter().rev() {
                        tenant.pending.push_front(call);
                    }
                    self.shorten(tenant);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    fn take(&self, scope: &Scope) -> Option<(Calls, Option<RunId>)> {
        let mut tenants = self.lock();
        let tenant = tenants.get_mut(scope)?;
        let (mut calls, mut bytes) = (Vec::new(), 0);
        while let Some(call) = tenant.pending.front() {
            bytes += serde_json::to_vec(call).map_or(0, |text| text.len() + 1);
            if bytes > BYTES_MAX && !calls.is_empty() {
                break;
            }
            calls.extend(tenant.pending.pop_front());
        }
        (!calls.is_empty()).then_some((Calls { calls }, tenant.run))
    }

    fn shorten(&self, tenant: &mut Tenant) {
        while tenant.pending.len() > PENDING_MAX {
            tenant.pending.pop_front();
            self.shared.lost.add(1);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Scope, Tenant>> {
        let tenants = self.shared.tenants.lock();
        tenants.unwrap_or_else(PoisonError::into_inner)
    }
}

/// Signals the log that takes calls now, or a new one; gives which.
async fn send(
    engine: &Engine,
    caller: &Caller,
    calls: &Calls,
    known: Option<RunId>,
) -> Result<RunId, RequestError> {
    if let Some(run) = known {
        match signal_one(engine, caller, calls, run).await {
            Err(RequestError::Ended { .. } | RequestError::NotFound(_)) => {}
            other => return other.map(|()| run),
        }
    }
    let new = NewRun {
        kind: KIND.into(),
        title: "calls of models".into(),
        input: json!({}),
        caller: caller.clone(),
        placing: Placing {
            singleton: Some(Singleton {
                name: KIND.into(),
                again: Again::Join,
                debounce_ms: None,
            }),
            ..Placing::default()
        },
    };
    let run = engine.create_run(new).await?;
    signal_one(engine, caller, calls, run).await?;
    Ok(run)
}

async fn signal_one(
    engine: &Engine,
    caller: &Caller,
    calls: &Calls,
    run: RunId,
) -> Result<(), RequestError> {
    let value = serde_json::to_value(calls).map_err(StoreError::corrupt)?;
    let message = RunSignal {
        run,
        submitter: caller.principal.to_string(),
        name: CALLS.into(),
        value,
    };
    let message = Authorised::obtain(&Granted, caller.clone(), message)?;
    signal(engine, &message).await
}

/// The durable function that holds calls from outside: each signal brings some of them, and is the entry
/// that tells of them. It ends with the first that is a day younger than itself, and the next begins
/// another one. What a process had noted and not yet handed over when it was killed is lost; what was
/// spent is not, because budgets are told before.
#[derive(Debug, Clone, Copy)]
pub struct ModelLog;

#[async_trait]
impl DurableFunction for ModelLog {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn version(&self) -> &'static str {
        "1"
    }

    /// It goes on as new after each signal, because what it was told before is of no use to it.
    async fn execute(&self, run: Run, input: Value) -> Result<Value, RunError> {
        let before = input.get("calls").and_then(Value::as_u64).unwrap_or(0);
        let since = input.get("since").and_then(Value::as_i64);
        let since = since.unwrap_or_else(|| run.started_at().as_micros());
        let told: Value = run.signal(CALLS).await?;
        let calls = told.get("calls").and_then(Value::as_array);
        let calls = calls.map(Vec::as_slice).unwrap_or_default();
        let count = before + calls.len() as u64;
        let at = |call: &Value| Timestamp::deserialize(call.get("at")?).ok();
        let newest = calls.iter().filter_map(at).max();
        let age = |at: Timestamp| at.as_micros().saturating_sub(since);
        if newest.is_some_and(|at| age(at) >= AGE_MAX) {
            return Ok(json!({ "calls": count }));
        }
        Err(run.continue_as_new(json!({ "calls": count, "since": since })))
    }
}

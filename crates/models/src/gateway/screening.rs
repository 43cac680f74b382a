//! What holds for a call, and what is looked at before it is planned.

use std::sync::Arc;

use matrix_core::{Authorised, Scope};
use matrix_store::StoreError;

use super::{Gateway, ModelUse};
use crate::error::ModelError;
use crate::inference::Content;
use crate::redact::{GuardSpec, Hook, HookSpec, Policy, Record, Redactor, Refused, Screen, Texts};
use crate::registry::{Entry, Model};

/// What the operator of a directory says of all calls.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Guards {
    /// What is at least done with what is found.
    pub spec: GuardSpec,
    /// A service that looks at each request after us.
    pub hook: Option<HookSpec>,
}

/// The same, ready for use.
pub(super) struct Guarding {
    spec: GuardSpec,
    hook: Option<Hook>,
}

impl Guarding {
    pub(super) fn new(guards: Guards, way: crate::provider::Way) -> Self {
        Self {
            spec: guards.spec,
            hook: guards.hook.map(|spec| Hook::new(spec, way)),
        }
    }
}

impl Gateway {
    /// Looks at a request, and takes out what must not go on.
    pub(super) async fn screen(
        &self,
        request: &Authorised<ModelUse>,
        texts: &mut impl Texts,
    ) -> Result<Box<Screen>, ModelError> {
        let name = &request.action().model;
        let policy = self.policy(&request.caller().scope, name).await?;
        let mut screen = Box::new(Screen::new(policy));
        let guarding = &self.shared.guarding;
        let hook = guarding.hook.as_ref().map(|hook| hook as &dyn Redactor);
        let looked = screen.request(texts, hook).await;
        looked.map_err(|refused| self.refused(refused))?;
        let meters = &self.shared.meters;
        meters.redacted(&screen.policy, &screen.sent);
        meters.hooked(screen.found.hooked);
        Ok(screen)
    }

    /// Counts what was taken out of an answer.
    pub(super) fn screened(&self, screen: &Screen) {
        let meters = &self.shared.meters;
        meters.redacted(&screen.policy, &screen.found.counts);
    }

    /// A call that must not go on, or an answer that must not.
    pub(super) fn refused(&self, refused: Refused) -> ModelError {
        match refused {
            Refused::Blocked { class, place } => {
                self.shared.meters.blocked(&class);
                ModelError::Blocked { class, place }
            }
            Refused::Unavailable(why) => {
                tracing::warn!(%why, "the service that redacts requests to models did not");
                ModelError::Redactor(why)
            }
        }
    }

    /// What holds for a name: what the operator says, and the route that it leads to.
    async fn policy(&self, scope: &Scope, name: &str) -> Result<Policy, StoreError> {
        let snapshot = self.shared.registry.snapshot(scope).await?;
        let leaves = |model: &Model| model.spec.leaves();
        let nothing = GuardSpec::default();
        let directory = &self.shared.guarding.spec;
        Ok(match snapshot.get(name) {
            Some(Entry::Model(model)) => Policy::of(directory, &nothing, leaves(model)),
            Some(Entry::Route(route)) => {
                let mut targets = route.spec.targets.iter();
                let leaves = targets.any(|target| match snapshot.get(&target.model) {
                    Some(Entry::Model(model)) => leaves(model),
                    _ => true,
                });
                Policy::of(directory, &route.spec.guard, leaves)
            }
            None => {
                let leaves = snapshot.models().iter().any(|model| leaves(model));
                Policy::of(directory, &nothing, leaves)
            }
        })
    }

    /// What is noted of a request, where its words are noted and nobody else's journal has the call.
    pub(super) fn noted(
        &self,
        request: &Authorised<ModelUse>,
        screen: &Screen,
        content: impl FnOnce(Record) -> Content,
    ) -> Option<Arc<Content>> {
        let record = screen.policy.record;
        let told = self.shared.log.is_some() && !request.action().journaled;
        (told && record != Record::None).then(|| Arc::new(content(record)))
    }
}

//! Whether a call could be made now, for whoever would rather wait than fail.

use matrix_core::Caller;

use super::plan::Needs;
use super::{Gateway, ModelUse};
use crate::route::Shut;

impl Gateway {
    /// Why a call cannot be made now, and when to look again; nothing where it may be tried. It takes
    /// nothing: whoever comes first has the turn. What is wrong with the call itself, the call says.
    pub(crate) async fn turn(
        &self,
        caller: &Caller,
        asks: &ModelUse,
        needs: &Needs,
    ) -> Option<Shut> {
        let plan = self.plan(caller, asks, needs).await.ok()?;
        let mut soonest: Option<Shut> = None;
        for model in &plan.models {
            let shut = self
                .shared
                .board
                .open(&caller.scope, model, needs.input)
                .err()?;
            let sooner = |known: &Shut| known.retry_after <= shut.retry_after;
            if !soonest.as_ref().is_some_and(sooner) {
                soonest = Some(shut);
            }
        }
        soonest
    }

    /// The time here.
    pub(crate) fn now(&self) -> matrix_core::Timestamp {
        self.shared.clock.now()
    }
}

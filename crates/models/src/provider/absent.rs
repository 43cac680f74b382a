//! What answers for models on this machine in a build that cannot run them.

use async_trait::async_trait;

use super::{DeltaStream, Dropped, Provider, ProviderError, Reason};
use crate::chat::{ChatAnswer, ChatRequest};
use crate::embed::{EmbedAnswer, EmbedRequest};
use crate::registry::Model;
use crate::rerank::{RerankAnswer, RerankRequest};

/// Says that there are none. Another model of a route may answer, and nobody is ill.
#[derive(Debug)]
pub(super) struct Local;

impl Local {
    /// There is nothing to prepare.
    pub(super) const fn new() -> Self {
        Self
    }
}

fn absent<T>() -> Result<T, ProviderError> {
    let text = "this build has no local models; build with `--features local-models`";
    Err(ProviderError::new(Reason::Unsupported, text))
}

#[async_trait]
impl Provider for Local {
    async fn chat(
        &self,
        _: &Model,
        _: &ChatRequest,
    ) -> Result<(ChatAnswer, Dropped), ProviderError> {
        absent()
    }

    async fn stream(
        &self,
        _: &Model,
        _: &ChatRequest,
    ) -> Result<(DeltaStream, Dropped), ProviderError> {
        absent()
    }

    async fn embed(&self, _: &Model, _: &EmbedRequest) -> Result<EmbedAnswer, ProviderError> {
        absent()
    }

    async fn rerank(&self, _: &Model, _: &RerankRequest) -> Result<RerankAnswer, ProviderError> {
        absent()
    }

    async fn list(&self, _: &Model) -> Result<Vec<String>, ProviderError> {
        absent()
    }
}

//! Providers of models, behind one port.
//!
//! [`Providers`] knows for each model who answers: a server that speaks one of the protocols
//! ([`http`]), a file on this machine ([`local`]), or a written conversation ([`scripted`]). What goes
//! wrong is said in one set of words, because routing decides by it: whether to try again, elsewhere, or
//! not at all.

mod aws;
mod bedrock;
mod client;
mod error;
mod google;
mod guard;
mod http;
mod identity;
mod listening;
#[cfg(feature = "local-models")]
mod local;
#[cfg(not(feature = "local-models"))]
#[path = "absent.rs"]
mod local;
mod pictures;
mod place;
mod scripted;
mod tokens;
mod vertex;

use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use futures::Stream;

pub use self::client::certificates;
pub(crate) use self::client::{Way, cause};
pub use self::error::{ProviderError, Reason, Refusal};
pub(crate) use self::guard::may_reach;
pub use self::http::{Http, HttpOptions};
use self::local::Local;
pub use self::pictures::PictureRules;
pub use self::scripted::Scripted;
use crate::chat::{ChatAnswer, ChatRequest};
use crate::delta::Delta;
use crate::embed::{EmbedAnswer, EmbedRequest};
use crate::registry::{Model, ProviderKind};
use crate::rerank::{RerankAnswer, RerankRequest};

/// What is new in an answer, some deltas at a time.
pub type DeltaStream = Pin<Box<dyn Stream<Item = Result<Vec<Delta>, ProviderError>> + Send>>;

/// What could not be said to a provider, by name.
pub type Dropped = Vec<&'static str>;

/// Who answers for models.
#[async_trait]
pub trait Provider: Send + Sync {
    /// An answer as a whole.
    async fn chat(
        &self,
        model: &Model,
        request: &ChatRequest,
    ) -> Result<(ChatAnswer, Dropped), ProviderError>;

    /// An answer as it is being written; ready when the provider has begun to answer. The stream
    /// ends after [`Delta::End`] or an error, and with nothing else.
    async fn stream(
        &self,
        model: &Model,
        request: &ChatRequest,
    ) -> Result<(DeltaStream, Dropped), ProviderError>;

    /// Texts as vectors.
    async fn embed(
        &self,
        model: &Model,
        request: &EmbedRequest,
    ) -> Result<EmbedAnswer, ProviderError>;

    /// Texts in order of relevance.
    async fn rerank(
        &self,
        model: &Model,
        request: &RerankRequest,
    ) -> Result<RerankAnswer, ProviderError>;

    /// The names of the models that the provider has, where it says so.
    async fn list(&self, model: &Model) -> Result<Vec<String>, ProviderError>;
}

/// Every provider of this process. Cloning is cheap.
#[derive(Clone)]
pub struct Providers {
    http: Arc<Http>,
    local: Arc<Local>,
    scripted: Arc<Scripted>,
}

impl std::fmt::Debug for Providers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Providers").finish_non_exhaustive()
    }
}

impl Providers {
    /// Brings them together.
    pub fn new(http: Http) -> Self {
        Self {
            http: Arc::new(http),
            local: Arc::new(Local::new()),
            scripted: Arc::new(Scripted::default()),
        }
    }

    /// The way out of this process that providers are asked by.
    pub(crate) fn way(&self) -> Way {
        self.http.way()
    }

    /// Who answers for a model.
    pub fn of(&self, model: &Model) -> &dyn Provider {
        match model.spec.provider.kind {
            ProviderKind::Local => &*self.local,
            ProviderKind::Scripted => &*self.scripted,
            _ => &*self.http,
        }
    }
}

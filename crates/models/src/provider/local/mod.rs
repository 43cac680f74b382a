//! Models on this machine, from files, without a server.
//!
//! A GGUF file answers ([`answer`]): [`words`] and [`template`] turn a conversation into tokens,
//! [`llama`] says how likely each next one is, [`sample`] chooses, [`stop`] watches for the end. A
//! folder of weights makes vectors ([`vectors`]), by the network of [`bert`] or a table. [`shelf`]
//! keeps what was read.
//!
//! What holds here: a file is read once, and again when it has changed; one call at a time uses a
//! model, on a thread of its own, and the others wait in their order; when nobody listens any more
//! the work stops with the next token; a stream and a whole answer are the same tokens. Files are
//! the operator's, and trusted as programs are.

mod answer;
mod ask;
mod bert;
mod llama;
mod sample;
mod shelf;
mod stop;
mod template;
mod vectors;
mod words;

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream;
use matrix_core::Entropy;
use matrix_core::system::SystemEntropy;
use tokio::sync::{mpsc, oneshot};

use self::ask::Ask;
use self::shelf::{Network, Shelf, Turn};
use super::{DeltaStream, Dropped, Provider, ProviderError, Reason};
use crate::chat::{ChatAnswer, ChatRequest};
use crate::delta::{Assembler, Delta};
use crate::embed::{EmbedAnswer, EmbedRequest};
use crate::registry::Model;
use crate::rerank::{RerankAnswer, RerankRequest};

/// How long a model may be silent, and a call wait for its turn, unless the model says otherwise.
const SILENCE: Duration = Duration::from_mins(5);

/// Runs models on this machine.
#[derive(Debug)]
pub(super) struct Local {
    shelf: Shelf,
    entropy: SystemEntropy,
}

/// A file that cannot be used as a model; nobody is ill.
fn unusable(why: impl std::fmt::Display) -> ProviderError {
    ProviderError::new(Reason::NoModel, why.to_string())
}

/// The work failed in the middle.
fn failed(why: impl std::fmt::Display) -> ProviderError {
    ProviderError::new(Reason::Failed, why.to_string())
}

/// With the file's name; where it is on this machine is no asker's business.
fn named(path: &Path, error: &ProviderError) -> ProviderError {
    let name = path.file_name().unwrap_or_default().display();
    ProviderError::new(
        error.reason,
        format!("the model in `{name}` cannot be used: {error}"),
    )
}

fn silence(model: &Model) -> Duration {
    model.spec.timeout_ms.map_or(SILENCE, Duration::from_millis)
}

fn slow() -> ProviderError {
    let text = "the model was silent for longer than it may be";
    ProviderError::new(Reason::Slow, text)
}

/// The thread of a call ended without a word.
fn lost() -> ProviderError {
    failed("the model's thread stopped; the log says why")
}

impl Local {
    /// Nothing is read yet.
    pub(super) fn new() -> Self {
        Self {
            shelf: Shelf::default(),
            entropy: SystemEntropy,
        }
    }

    async fn turn(&self, model: &Model) -> Result<Turn, ProviderError> {
        let path = model.spec.provider.path.as_deref().unwrap_or_default();
        self.shelf.turn(Path::new(path), silence(model)).await
    }

    fn chance(&self) -> u64 {
        let mut bytes = [0; 8];
        self.entropy.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// The answer's deltas as they come; the first of them have come.
    async fn begin(
        &self,
        model: &Model,
        request: &ChatRequest,
    ) -> Result<(DeltaStream, Dropped), ProviderError> {
        let (ask, dropped) = Ask::new(model, request, self.chance())?;
        let mut turn = self.turn(model).await?;
        let (line, mut hears) = mpsc::unbounded_channel();
        tokio::task::spawn_blocking(move || match turn.network() {
            Ok(Network::Speaker(speaker)) => speaker.answer(&ask, &line),
            Ok(Network::Vectors(_)) => {
                let text = "this model makes vectors and does not answer";
                drop(line.send(Err(ProviderError::new(Reason::Unsupported, text))));
            }
            Err(error) => drop(line.send(Err(error))),
        });
        let silence = silence(model);
        let first = next(&mut hears, silence).await?;
        let rest = stream::unfold(Some(hears), move |hears| async move {
            let mut hears = hears?;
            match next(&mut hears, silence).await {
                Ok(deltas) if deltas.last() == Some(&Delta::End) => Some((Ok(deltas), None)),
                Ok(deltas) => Some((Ok(deltas), Some(hears))),
                Err(error) => Some((Err(error), None)),
            }
        });
        let all = stream::once(async move { Ok(first) }).chain(rest);
        Ok((all.boxed(), dropped))
    }
}

/// The next deltas; a line that falls silent, or ends too early, is an error.
async fn next(
    hears: &mut mpsc::UnboundedReceiver<Result<Vec<Delta>, ProviderError>>,
    silence: Duration,
) -> Result<Vec<Delta>, ProviderError> {
    loop {
        let heard = tokio::time::timeout(silence, hears.recv()).await;
        let deltas = heard.map_err(|_| slow())?.ok_or_else(lost)??;
        // While it reads, and with half a letter, there is nothing to say yet.
        if !deltas.is_empty() {
            return Ok(deltas);
        }
    }
}

#[async_trait]
impl Provider for Local {
    async fn chat(
        &self,
        model: &Model,
        request: &ChatRequest,
    ) -> Result<(ChatAnswer, Dropped), ProviderError> {
        let (mut deltas, dropped) = self.begin(model, request).await?;
        let mut assembler = Assembler::default();
        while let Some(next) = deltas.next().await {
            for delta in next? {
                assembler.push(&delta);
            }
        }
        Ok((assembler.finish(), dropped))
    }

    async fn stream(
        &self,
        model: &Model,
        request: &ChatRequest,
    ) -> Result<(DeltaStream, Dropped), ProviderError> {
        self.begin(model, request).await
    }

    async fn embed(
        &self,
        model: &Model,
        request: &EmbedRequest,
    ) -> Result<EmbedAnswer, ProviderError> {
        let mut turn = self.turn(model).await?;
        let (line, heard) = oneshot::channel();
        let (texts, dimensions) = (request.texts.clone(), request.dimensions);
        tokio::task::spawn_blocking(move || {
            let made = turn.network().and_then(|network| match network {
                Network::Vectors(vectors) => vectors.make(&texts, dimensions, &line),
                Network::Speaker(_) => {
                    let text = "this model answers and makes no vectors";
                    Err(ProviderError::new(Reason::Unsupported, text))
                }
            });
            // Whoever hung up does not need them.
            drop(line.send(made));
        });
        let (vectors, usage) = heard.await.map_err(|_| lost())??;
        Ok(EmbedAnswer {
            model: model.spec.model.clone(),
            vectors,
            usage: Some(usage),
        })
    }

    async fn rerank(&self, _: &Model, _: &RerankRequest) -> Result<RerankAnswer, ProviderError> {
        let text = "models on this machine do not rank; choose another model";
        Err(ProviderError::new(Reason::Unsupported, text))
    }

    /// Its one model, once that was read.
    async fn list(&self, model: &Model) -> Result<Vec<String>, ProviderError> {
        let mut turn = self.turn(model).await?;
        let read = tokio::task::spawn_blocking(move || turn.network().map(drop));
        read.await.map_err(|_| lost())??;
        Ok(vec![model.spec.model.clone()])
    }
}

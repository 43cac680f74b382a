//! What is told to a tracing system: one span each time a run is driven, with its steps under it.
//!
//! All of a run's spans carry the run's trace id. A run that waits is dropped from memory and driven
//! again later, perhaps by another process: that is a new span, which links to the one before. Ids
//! follow from what they name (the run and the epoch it was driven under; the step and its attempt
//! besides), so nothing is kept for them. Names, ids and error codes are told, and no payload.

use matrix_core::{Digest, RunId, Timestamp};

/// A span's id.
pub type SpanId = [u8; 8];

/// Whose time it was.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SpanKind {
    /// Our own.
    #[default]
    Internal,
    /// That of somebody who was asked over a network.
    Client,
}

/// What is said of a span.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// A text.
    Text(String),
    /// Several.
    Texts(Vec<String>),
    /// A number.
    Whole(i64),
}

impl From<String> for Said {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for Said {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// Something that took its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// Whose.
    pub kind: SpanKind,
    /// The trace, 32 hexadecimal digits.
    pub trace: String,
    /// Its id.
    pub id: SpanId,
    /// The span it is a part of.
    pub parent: Option<SpanId>,
    /// The span of the same trace that it continues.
    pub continues: Option<SpanId>,
    /// `run change`, or a step's address.
    pub name: String,
    /// When it began.
    pub began: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// More about it.
    pub attributes: Vec<(&'static str, Said)>,
    /// The code of its error.
    pub error: Option<String>,
}

/// Takes spans on their way out.
pub trait SpanSink: Send + Sync + std::fmt::Debug {
    /// Takes a span. It returns at once and never fails: what cannot be taken is lost.
    fn take(&self, span: Span);
}

/// The id of the span in which a run was driven under an epoch.
pub fn drive_id(run: RunId, epoch: i64) -> SpanId {
    id(&format!("{run}\n{epoch}"))
}

/// The id of the span of a step's attempt.
pub fn step_id(run: RunId, epoch: i64, path: &str, attempt: u32) -> SpanId {
    id(&format!("{run}\n{epoch}\n{path}\n{attempt}"))
}

fn id(of: &str) -> SpanId {
    let digest = Digest::of(of);
    let mut id = [0; 8];
    for (byte, taken) in id.iter_mut().zip(digest.as_bytes()) {
        *byte = *taken;
    }
    // No span has the id zero.
    if let Some(last) = id.last_mut() {
        *last |= 1;
    }
    id
}

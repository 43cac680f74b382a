//! What host and hands say to each other: frames of a kind, a length and a payload.

use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::LiveCommand;
use super::search::{Hit, Search};

/// Bytes before a payload: its kind, and its length with the highest byte first.
pub(super) const HEAD: usize = 5;

/// The most bytes of a payload.
const PAYLOAD_MAX: usize = 64 << 20;

/// What a payload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Frame {
    /// A request or an answer, as JSON.
    Word,
    /// A file's content.
    Bytes,
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

impl Frame {
    const fn letter(self) -> u8 {
        match self {
            Self::Word => b'w',
            Self::Bytes => b'b',
            Self::Out => b'o',
            Self::Err => b'e',
        }
    }
}

/// What is asked of the hands.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Request {
    /// Whether they are there.
    Hello,
    /// Run this.
    Execute(LiveCommand),
    /// Give this file.
    Read { path: PathBuf, most: u64 },
    /// Write this file; its bytes are the next frame.
    Write { path: PathBuf },
    /// Look for this.
    Search(Search),
}

/// What they answer, at last.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    Hello,
    Done(Done),
    NotStarted {
        detail: String,
    },
    /// The content was the frame before.
    Read,
    Written,
    Found {
        hits: Vec<Hit>,
        more: bool,
    },
    Fault(FileFault),
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// Its exit code, if it exited by itself.
    pub code: Option<i32>,
    /// The signal that ended it, if one did.
    pub signal: Option<i32>,
    /// Whether its time was over.
    pub late: bool,
    /// Bytes that it wrote in all.
    pub output_bytes: u64,
    /// Wall-clock time in milliseconds.
    pub duration_ms: u64,
}

impl Done {
    /// Whether it exited with zero.
    pub fn success(&self) -> bool {
        self.code == Some(0)
    }
}

/// Why a file cannot be had, in words for whoever asked for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum FileFault {
    /// There is none.
    #[error("there is no such file")]
    Missing,
    /// It is something else than a file.
    #[error("it is {what}, not a file")]
    NoFile {
        /// What it is.
        what: String,
    },
    /// It is too long.
    #[error("it has {bytes} bytes; at most {most} can be read at once")]
    TooLong {
        /// How long it is.
        bytes: u64,
        /// How long it may be.
        most: u64,
    },
    /// The expression cannot be read.
    #[error("the expression cannot be read: {why}")]
    Expression {
        /// Why not.
        why: String,
    },
    /// The system refuses.
    #[error("{why}")]
    Refused {
        /// Why.
        why: String,
    },
}

/// The kind and the length of the payload that follows.
pub(super) fn head(bytes: [u8; HEAD]) -> io::Result<(Frame, usize)> {
    let [letter, length @ ..] = bytes;
    let kinds = [Frame::Word, Frame::Bytes, Frame::Out, Frame::Err];
    let kind = kinds.into_iter().find(|kind| kind.letter() == letter);
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    match kind {
        Some(kind) if length <= PAYLOAD_MAX => Ok((kind, length)),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "no frame")),
    }
}

/// A frame.
pub(super) fn framed(kind: Frame, payload: &[u8]) -> io::Result<Vec<u8>> {
    let too_long = || io::Error::new(io::ErrorKind::InvalidInput, "a frame is too long");
    let length = u32::try_from(payload.len()).map_err(|_| too_long())?;
    if payload.len() > PAYLOAD_MAX {
        return Err(too_long());
    }
    let mut bytes = Vec::with_capacity(HEAD + payload.len());
    bytes.push(kind.letter());
    bytes.extend(length.to_be_bytes());
    bytes.extend(payload);
    Ok(bytes)
}

/// A request, with the content that belongs to it.
pub(super) fn asked(request: &Request, content: Option<&[u8]>) -> io::Result<Vec<u8>> {
    let mut bytes = framed(Frame::Word, &serde_json::to_vec(request)?)?;
    if let Some(content) = content {
        bytes.extend(framed(Frame::Bytes, content)?);
    }
    Ok(bytes)
}

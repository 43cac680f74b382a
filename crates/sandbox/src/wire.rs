//! What the host, the launcher and the sandbox's first process say to each other.
//!
//! The host starts the launcher with a socket as its standard input. It sends one [`Job`] with its
//! length before it, and later single bytes ([`CANCEL`], [`OUTPUT_FULL`], [`TERMINATE`]); when the socket
//! closes, the host is gone and the launcher ends everything. The launcher answers with lines of
//! JSON ([`Report`]). The first process inside speaks to the launcher in the same way
//! ([`Inside`]), over a socket that the sandboxed program never holds.

use std::io::{self, Read, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::limits::cgroup::Place;
use crate::spec::{Denial, Ending, Limit, SandboxSpec};

/// The host no longer wants the result.
pub(crate) const CANCEL: u8 = b'c';
/// The host has seen as much output as it may keep.
pub(crate) const OUTPUT_FULL: u8 = b'o';
/// The program shall end by itself.
pub(crate) const TERMINATE: u8 = b't';
/// The launcher is watching: the first process inside may start the program.
pub(crate) const GO: u8 = b'g';

/// A job larger than this is refused before it is read.
const JOB_LIMIT: u32 = 4 << 20;
/// A line longer than this ends the conversation.
const LINE_LIMIT: usize = 1 << 20;

/// What the launcher is to do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) spec: SandboxSpec,
    /// Where control groups can be made; without, the first process inside measures.
    pub(crate) place: Option<Place>,
    /// The user ids the launcher may choose from when it runs as root.
    pub(crate) users: UserRange,
}

/// Host user ids for sandboxes, so that none has the id of a person or of another sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UserRange {
    pub(crate) first: u32,
    pub(crate) count: u32,
}

/// What the launcher tells the host.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "report")]
pub(crate) enum Report {
    /// The program is being executed.
    Started { pid: i32 },
    /// It could not be.
    Failed(Failure),
    /// It ended, and so did every process it left.
    Ended {
        ending: Ending,
        mechanism: String,
        denials: Vec<Denial>,
    },
}

/// What the first process inside tells the launcher.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "inside")]
pub(crate) enum Inside {
    /// The first process's id as the launcher sees it.
    Born { pid: i32 },
    /// Setting up failed.
    Failed(Failure),
    /// The program ended.
    Ended { ending: Ending },
    /// The program is being started.
    Started,
    /// Bytes in use in the private writable places.
    Scratch { bytes: u64 },
    /// A system call was refused, for the first time.
    Refused { number: i32 },
    /// A limit that is measured inside was passed.
    Exceeded { limit: Limit },
}

/// A step of the setting up that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failure {
    pub(crate) stage: Stage,
    pub(crate) detail: String,
}

/// Who is to blame for a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Stage {
    /// The request itself: a path that is missing or not allowed.
    Spec,
    /// The machine refused isolation.
    Isolation,
    /// The program does not exist inside.
    NotFound,
    /// The program exists and cannot be executed.
    Execute,
}

impl Failure {
    pub(crate) fn isolation(doing: &str, error: impl std::fmt::Display) -> Self {
        Self {
            stage: Stage::Isolation,
            detail: format!("cannot {doing}: {error}"),
        }
    }

    pub(crate) fn spec(detail: impl Into<String>) -> Self {
        Self {
            stage: Stage::Spec,
            detail: detail.into(),
        }
    }
}

/// A job with its length before it.
pub(crate) fn job_bytes(job: &Job) -> io::Result<Vec<u8>> {
    let body = serde_json::to_vec(job)?;
    let length = u32::try_from(body.len())
        .ok()
        .filter(|length| *length <= JOB_LIMIT)
        .ok_or_else(|| io::Error::other("the job is larger than 4 MiB"))?;
    let mut bytes = length.to_le_bytes().to_vec();
    bytes.extend(body);
    Ok(bytes)
}

/// Reads a job that [`job_bytes`] made.
pub(crate) fn read_job(from: &mut impl Read) -> io::Result<Job> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length);
    if length > JOB_LIMIT {
        return Err(io::Error::other("the job is larger than 4 MiB"));
    }
    let mut body = vec![0; usize::try_from(length).unwrap_or(0)];
    from.read_exact(&mut body)?;
    Ok(serde_json::from_slice(&body)?)
}

/// Writes one line of JSON in one call.
pub(crate) fn send(to: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    to.write_all(&line)
}

/// Collects bytes into lines of JSON.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    pending: Vec<u8>,
}

impl Lines {
    /// Adds bytes and returns the messages that are now complete.
    pub(crate) fn push<T: DeserializeOwned>(&mut self, bytes: &[u8]) -> io::Result<Vec<T>> {
        self.pending.extend_from_slice(bytes);
        let mut messages = Vec::new();
        while let Some(end) = self.pending.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.pending.drain(..=end).collect();
            messages.push(serde_json::from_slice(&line)?);
        }
        if self.pending.len() > LINE_LIMIT {
            return Err(io::Error::other("a message is longer than 1 MiB"));
        }
        Ok(messages)
    }
}

//! One run as a file, to be opened elsewhere: JSON lines.
//!
//! The first line says which run it is, the last how many entries there are, with the chain's head
//! and, where the entry is under a signed head of the whole journal, its proof ([`seal`]). Each line
//! between is an entry: the members of its canonical form, its hash, and its salt and payload as they
//! were digested. An entry that must not leave the house stands without salt and payload, as if it
//! had been erased; the chain verifies all the same. So anybody can take a payload out of such a file,
//! and nobody can put another one in: what a reader is shown comes from the entries alone.

use std::io::{BufRead, Read, Write};

use matrix_core::{Authorised, Code, Digest, Problem, RunId, Scope, Timestamp};
use matrix_evidence::tlog::Proof;
use matrix_store::tables::journal::{self as table, EntryRow};
use matrix_store::tables::queue::Placement;
use matrix_store::tables::runs::{Lineage, RunRow};
use matrix_store::{Blobs, Database, StoreError};
use serde::{Deserialize, Serialize};

use crate::entry::{Canonical, Entry, EntryKind, FORMAT};
use crate::error::RequestError;
use crate::history::{ForkPoint, History, Started};
use crate::lineage;
use crate::runs::{self, RunRead, RunView};
use crate::seal::{self, SealError};

/// The form of the file.
const FORM: u32 = 1;

/// The longest line that is read, in bytes; a payload is one member of a line.
const LINE_MAX: u64 = 256 * 1024 * 1024;

/// How many entries are read from the journal at once.
const PAGE: i64 = 200;

/// It is no file of a run, or was changed.
pub const BROKEN_FILE: Code = Code::new("RUN-0009", 422, 1, "not a whole file of a run");

/// Why a file of a run cannot be believed.
#[derive(Debug, thiserror::Error)]
pub enum RunFileError {
    /// It could not be read or written.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// A line is not what it should be, counted from one.
    #[error("line {line}: {what}")]
    Broken {
        /// The line.
        line: usize,
        /// What is wrong.
        what: String,
    },
    /// No proof in it covers its newest entry.
    #[error("the file carries no proof that covers its newest entry")]
    Unproven,
    /// Its proof could not be made.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The run could not be read.
    #[error(transparent)]
    Request(#[from] RequestError),
}

impl From<StoreError> for RunFileError {
    fn from(error: StoreError) -> Self {
        Self::Request(error.into())
    }
}

impl From<RunFileError> for Problem {
    fn from(error: RunFileError) -> Self {
        let text = error.to_string();
        match error {
            RunFileError::Request(error) => error.into(),
            RunFileError::Seal(error) => error.into(),
            RunFileError::Unproven => Self::new(BROKEN_FILE, text)
                .help("export it again once a host has sealed the journal, within a second"),
            RunFileError::Io(_) | RunFileError::Broken { .. } => Self::new(BROKEN_FILE, text)
                .help("`matrix run export` writes such a file; do not edit it"),
        }
    }
}

/// Which run it is: what the chain begins with.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    matrix_run: u32,
    run: RunId,
    scope: Scope,
    /// For a fork, the entry it was forked at: its own entries begin behind that one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fork: Option<ForkPoint>,
}

/// An entry.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    seq: i64,
    kind: String,
    path: String,
    fingerprint: String,
    actor: String,
    epoch: i64,
    time: i64,
    payload_digest: Digest,
    hash: Digest,
    /// In hexadecimal.
    salt: Option<String>,
    /// The payload's JSON, byte for byte as it was digested.
    payload: Option<String>,
    /// Why it is not here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    redacted: Vec<String>,
}

/// What was before it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Foot {
    entries: u64,
    head: Digest,
    proof: Option<String>,
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Exported {
    /// How many entries.
    pub entries: u64,
    /// How many of them without their payload, because it holds what must not leave.
    pub redacted: u64,
    /// Whether a signed head of the journal covers all of them.
    pub proven: bool,
}

/// Writes a run to a file. `secrets` names what in a payload must not leave; such a payload stays.
pub fn export(
    database: &Database,
    blobs: &Blobs,
    request: &Authorised<RunRead>,
    secrets: impl Fn(&str) -> Vec<String>,
    to: &mut impl Write,
) -> Result<Exported, RunFileError> {
    let row = runs::row(database, request)?;
    let mut exported = Exported {
        entries: 0,
        redacted: 0,
        proven: false,
    };
    let head = Head {
        matrix_run: FORM,
        run: row.run,
        scope: row.scope.clone(),
        fork: database.read_now::<_, StoreError, _>(|tx| lineage::fork_point(tx, &row))?,
    };
    put(to, &head)?;
    let (mut position, mut hash) = (row.lineage.fork_seq, row.head_hash);
    while position < row.head_seq {
        let rows =
            database.read_now::<_, StoreError, _>(|tx| table::list(tx, row.run, position, PAGE))?;
        let gap = || StoreError::corrupt(format_args!("entry {} of {}", position + 1, row.run));
        position = rows.last().ok_or_else(gap)?.seq;
        // What came after the run's row was read stays behind.
        for entry in rows.into_iter().filter(|entry| entry.seq <= row.head_seq) {
            hash = entry.hash;
            let line = line(entry, blobs, &secrets)?;
            exported.entries += 1;
            exported.redacted += u64::from(!line.redacted.is_empty());
            put(to, &line)?;
        }
    }
    let proof = match seal::prove(database, row.run, row.head_seq) {
        Ok(proof) => Some(proof),
        Err(SealError::Unsealed { .. } | SealError::NoCheckpoint) => None,
        Err(error) => return Err(error.into()),
    };
    exported.proven = proof.is_some();
    let foot = Foot {
        entries: exported.entries,
        head: hash,
        proof: proof.map(|proof| proof.to_string()),
    };
    put(to, &foot)?;
    to.flush()?;
    Ok(exported)
}

fn line(
    entry: EntryRow,
    blobs: &Blobs,
    secrets: impl Fn(&str) -> Vec<String>,
) -> Result<Line, StoreError> {
    let damaged = |what: &str| StoreError::corrupt(format_args!("{what} of entry {}", entry.seq));
    let payload = match (entry.payload, &entry.payload_blob) {
        (None, Some(digest)) => Some(blobs.get(digest)?.ok_or_else(|| damaged("the blob"))?),
        (payload, _) => payload,
    };
    let payload = payload
        .map(String::from_utf8)
        .transpose()
        .map_err(|_| damaged("the payload"))?;
    let redacted = payload.as_deref().map(secrets).unwrap_or_default();
    let leaves = redacted.is_empty();
    Ok(Line {
        seq: entry.seq,
        kind: entry.kind,
        path: entry.path,
        fingerprint: entry.fingerprint,
        actor: entry.actor,
        epoch: entry.epoch,
        time: entry.at.as_micros(),
        payload_digest: entry.payload_digest,
        hash: entry.hash,
        salt: entry.salt.filter(|_| leaves).map(hex::encode),
        payload: payload.filter(|_| leaves),
        redacted,
    })
}

fn put(to: &mut impl Write, line: &impl Serialize) -> Result<(), RunFileError> {
    serde_json::to_writer(&mut *to, line).map_err(std::io::Error::from)?;
    to.write_all(b"\n")?;
    Ok(())
}

/// A run that was read from a file, and whose chain holds.
#[derive(Debug, Clone)]
pub struct RunFile {
    /// The run for people and programs.
    pub view: RunView,
    /// Its entries.
    pub entries: Vec<Entry>,
    /// Entries without their payload: which, and why (nothing where it had been erased).
    pub redacted: Vec<(i64, Vec<String>)>,
    /// The proof of its newest entry, to be checked with [`seal::check`] against keys that the
    /// reader trusts.
    pub proof: Option<Proof>,
}

/// Reads a file of a run and recomputes its chain. Who wrote it is known only when its proof holds.
pub fn open(from: impl BufRead) -> Result<RunFile, RunFileError> {
    let mut lines = Lines { from, number: 0 };
    let head: Head = lines.next()?;
    if head.matrix_run != FORM {
        let what = format!("form {} is not read, only {FORM}", head.matrix_run);
        return Err(lines.broken(what));
    }
    let first = head.fork.map_or(0, |fork| fork.seq.saturating_add(1));
    let mut hash = lineage::before_first(head.run, &head.scope, head.fork.as_ref())?;
    let (mut entries, mut redacted): (Vec<Entry>, Vec<(i64, Vec<String>)>) = Default::default();
    let foot: Foot = loop {
        let text = lines.text()?;
        if let Ok(foot) = serde_json::from_str(&text) {
            break foot;
        }
        let line: Line = lines.parse(&text)?;
        let count = i64::try_from(entries.len()).unwrap_or(i64::MAX);
        let seq = first.saturating_add(count);
        if line.seq != seq {
            return Err(lines.broken(format!("entry {} where {seq} should be", line.seq)));
        }
        let reasons = line.redacted.clone();
        if !reasons.iter().all(|reason| is_rule(reason)) {
            return Err(lines.broken("a reason for leaving out is no rule's name".into()));
        }
        let entry = entry(head.run, line, &mut hash).map_err(|what| lines.broken(what))?;
        if entry.payload.is_none() {
            redacted.push((entry.seq, reasons));
        }
        entries.push(entry);
    };
    if foot.entries != entries.len() as u64 || foot.head != hash {
        return Err(lines.broken("the end does not fit what was before it".into()));
    }
    if !lines.from.fill_buf()?.is_empty() {
        return Err(lines.broken("there is more after the end".into()));
    }
    let proof = match &foot.proof {
        Some(text) => {
            let proof = Proof::parse(text).map_err(|error| lines.broken(error.to_string()))?;
            Some(proof)
        }
        None => None,
    };
    Ok(RunFile {
        view: view(&head, &entries),
        entries,
        redacted,
        proof,
    })
}

/// The run as its entries tell it; what they do not tell is not known.
fn view(head: &Head, entries: &[Entry]) -> RunView {
    let history = History::replay(entries);
    let state = match &history.ended {
        Some(ended) => ended.state(),
        None if history.paused.is_some() => "paused",
        None => "unfinished",
    };
    let started = history.started.as_ref();
    let told = |text: fn(&Started) -> &String| {
        started.map_or_else(|| "(left out)".to_owned(), |started| text(started).clone())
    };
    let newest = entries.last();
    let row = RunRow {
        run: head.run,
        scope: head.scope.clone(),
        kind: told(|started| &started.kind),
        version: told(|started| &started.version),
        title: told(|started| &started.title),
        trace: told(|started| &started.trace),
        state: state.into(),
        waiting: None,
        wake_at: None,
        owner: None,
        epoch: newest.map_or(0, |entry| entry.epoch),
        crashes: 0,
        head_seq: newest.map_or(-1, |entry| entry.seq),
        head_hash: newest.map_or(Digest::of(""), |entry| entry.hash),
        created_at: entries
            .first()
            .map_or(Timestamp::default(), |entry| entry.at),
        updated_at: newest.map_or(Timestamp::default(), |entry| entry.at),
        placement: Placement::default(),
        lineage: Lineage {
            forked_from: head.fork.map(|fork| fork.run),
            fork_seq: head.fork.map_or(-1, |fork| fork.seq),
            ..Lineage::default()
        },
        removed_at: None,
        hold: String::new(),
    };
    RunView::new(row, &history)
}

impl RunFile {
    /// Whether its own proof, once it is believed, is about its newest entry.
    pub fn is_covered(&self, proven: &seal::Proven) -> bool {
        proven.hash == self.view.head_hash
    }
}

/// Whether a text can be the name of a rule: `secret.github-token`.
fn is_rule(text: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let part = |byte: u8| letter(byte) || matches!(byte, b'.' | b'-' | b'_');
    (1..=64).contains(&text.len()) && text.bytes().all(part)
}

struct Lines<R> {
    from: R,
    number: usize,
}

impl<R: BufRead> Lines<R> {
    fn broken(&self, what: String) -> RunFileError {
        RunFileError::Broken {
            line: self.number,
            what,
        }
    }

    fn text(&mut self) -> Result<String, RunFileError> {
        self.number += 1;
        let mut text = String::new();
        let read = self.from.by_ref().take(LINE_MAX).read_line(&mut text);
        if let Err(error) = &read
            && error.kind() == std::io::ErrorKind::InvalidData
        {
            return Err(self.broken("it is not UTF-8".into()));
        }
        if read? == 0 {
            return Err(self.broken("the file ends before its end".into()));
        }
        if !text.ends_with('\n') {
            return Err(self.broken("it is cut off, or too long".into()));
        }
        Ok(text)
    }

    fn parse<T: for<'de> Deserialize<'de>>(&self, text: &str) -> Result<T, RunFileError> {
        serde_json::from_str(text).map_err(|error| self.broken(error.to_string()))
    }

    fn next<T: for<'de> Deserialize<'de>>(&mut self) -> Result<T, RunFileError> {
        let text = self.text()?;
        self.parse(&text)
    }
}

/// An entry that is the next in the chain.
fn entry(run: RunId, line: Line, hash: &mut Digest) -> Result<Entry, String> {
    let canonical = Canonical {
        actor: &line.actor,
        epoch: line.epoch,
        fingerprint: &line.fingerprint,
        format: FORMAT,
        kind: &line.kind,
        path: &line.path,
        payload_digest: line.payload_digest,
        run,
        seq: line.seq,
        time: line.time,
    };
    *hash = canonical.chain(hash).map_err(|error| error.to_string())?;
    if *hash != line.hash {
        return Err("the hash differs".into());
    }
    let payload = match (line.salt, line.payload) {
        (Some(salt), Some(payload)) => {
            let salt = hex::decode(salt).map_err(|_| "the salt is not hexadecimal")?;
            if Digest::of_parts(&[&salt, payload.as_bytes()]) != line.payload_digest {
                return Err("the payload differs".into());
            }
            Some(serde_json::from_str(&payload).map_err(|error| error.to_string())?)
        }
        (None, None) => None,
        _ => return Err("salt and payload go together".into()),
    };
    Ok(Entry {
        lsn: 0,
        run,
        seq: line.seq,
        kind: EntryKind::parse(&line.kind).ok_or_else(|| format!("no kind `{}`", line.kind))?,
        path: line.path,
        fingerprint: line.fingerprint,
        actor: line.actor,
        epoch: line.epoch,
        at: Timestamp::from_micros(line.time),
        payload_digest: line.payload_digest,
        hash: line.hash,
        payload,
    })
}

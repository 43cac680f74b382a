//! The journal seen from outside: a Merkle tree over a shard's entries, its signed heads, proofs.
//!
//! A run's chain shows that its own past was not rewritten. The tree shows the same of all runs
//! together, and for somebody who keeps nothing but one small text, the checkpoint: leaf `n` is the
//! chain hash of the entry at position `n + 1`, so a head signs every entry before it with
//! everything the entry says. Erasing a payload changes no leaf, and when retention removes an entry,
//! its leaf stays.
//!
//! Heads are made beside the journal, not in its way ([`seal`]): whoever appends never waits for
//! them, and an entry has its proof from the next head on.
//!
//! On a database that several processes write there are several shards, each with positions, a tree
//! and heads of its own. A head's origin says which.

use matrix_core::{Clock, Code, Digest, Problem, RunId, canonical};
use matrix_evidence::keys::{PublicKey, Signer};
use matrix_evidence::tlog::merkle::{self, Frontier, Nodes, TILE_WIDTH};
use matrix_evidence::tlog::{Checkpoint, Proof, SignedNote, TlogError};
use matrix_store::tables::checkpoints::{self as table, CheckpointRow};
use matrix_store::tables::journal;
use matrix_store::tables::runs;
use matrix_store::{Database, StoreError, Tx};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::lineage;

/// The entry is newer than the newest checkpoint.
pub const UNSEALED: Code = Code::new("PROOF-0004", 409, 1, "entry not sealed yet");
/// The journal is not what a checkpoint says it was.
pub const REWRITTEN: Code = Code::new("PROOF-0005", 500, 1, "journal differs from checkpoint");
/// There is nothing to prove or to show.
pub const NOTHING: Code = Code::new("PROOF-0006", 404, 6, "no such entry or checkpoint");

/// Entries that one head grows by at most; a longer journal gets several, one after the other.
const GROWTH_MAX: u64 = 256 * TILE_WIDTH;

/// Why the journal could not be sealed, or an entry not proven.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// Positions are not without gaps.
    #[error("the journal has no entry at position {0}, but later ones")]
    Gap(u64),
    /// The entry came after the newest head.
    #[error("entry {seq} of run {run} is newer than the newest checkpoint")]
    Unsealed {
        /// The run.
        run: RunId,
        /// The entry.
        seq: i64,
    },
    /// The root over the same entries is another one.
    #[error("the first {size} entries of the journal are not those of the checkpoint")]
    Rewritten {
        /// The checkpoint's size.
        size: u64,
    },
    /// The journal is shorter than a head says.
    #[error("the checkpoint is over {size} entries, but the journal has {length}")]
    Shortened {
        /// The checkpoint's size.
        size: u64,
        /// The journal's length.
        length: u64,
    },
    /// No run or entry of that name.
    #[error("run {run} has no entry {seq}")]
    NoEntry {
        /// The run.
        run: RunId,
        /// The entry.
        seq: i64,
    },
    /// No head was made yet.
    #[error("there is no checkpoint yet")]
    NoCheckpoint,
    /// The proof's own description of its entry cannot be read.
    #[error("the proof does not say which entry it is about")]
    NoDescription,
    /// A form or a signature.
    #[error(transparent)]
    Tlog(#[from] TlogError),
    /// Storage failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<SealError> for Problem {
    fn from(error: SealError) -> Self {
        let text = error.to_string();
        match error {
            SealError::Unsealed { .. } => Self::new(UNSEALED, text)
                .help("a host seals within a second; `matrix run resume` or `matrix serve` is one"),
            SealError::Gap(_) | SealError::Rewritten { .. } | SealError::Shortened { .. } => {
                Self::new(REWRITTEN, text)
                    .help("keep a copy of the data directory as it is; somebody changed it")
            }
            SealError::NoEntry { .. } => {
                Self::new(NOTHING, text).help("`matrix run show RUN --journal` lists the entries")
            }
            SealError::NoCheckpoint => Self::new(NOTHING, text).help(
                "the first run's host makes one; `matrix run list` shows whether there is a run",
            ),
            SealError::NoDescription => Self::new(matrix_evidence::tlog::MALFORMED, text)
                .help("give the file as `matrix journal prove` wrote it"),
            SealError::Tlog(error) => error.into(),
            SealError::Store(error) => error.into(),
        }
    }
}

/// New nodes of the tree, by level, each level's from one position on.
#[derive(Debug, Default)]
struct Growth {
    levels: Vec<(u64, Vec<Digest>)>,
}

impl Growth {
    fn level(&self, level: u32) -> Option<&(u64, Vec<Digest>)> {
        self.levels
            .get(usize::try_from(level).ok()?.checked_sub(1)?)
    }
}

/// Makes the next heads of every shard, until every entry is under one; gives the newest of each
/// shard for which any was made. `origin` names the logs that have no head yet.
pub async fn seal(
    database: &Database,
    clock: &dyn Clock,
    origin: &str,
    signer: &(dyn Signer + Sync),
    public: &PublicKey,
) -> Result<Vec<Checkpoint>, SealError> {
    let shards = database.read::<_, StoreError, _>(table::shards).await?;
    let mut newest = Vec::new();
    for shard in shards {
        let origin = match shard {
            0 => origin.to_owned(),
            shard => format!("{origin}/{shard}"),
        };
        let sealed = seal_shard(database, clock, (shard, &origin), (signer, public)).await?;
        newest.extend(sealed);
    }
    Ok(newest)
}

async fn seal_shard(
    database: &Database,
    clock: &dyn Clock,
    (shard, origin): (i64, &str),
    (signer, public): (&(dyn Signer + Sync), &PublicKey),
) -> Result<Option<Checkpoint>, SealError> {
    let mut newest = None;
    loop {
        let fallback = origin.to_owned();
        let grown = database
            .read::<_, SealError, _>(move |tx| grow(tx, shard, &fallback))
            .await?;
        let Some((checkpoint, growth)) = grown else {
            return Ok(newest);
        };
        let row = CheckpointRow {
            shard,
            size: signed(checkpoint.size),
            origin: checkpoint.origin.clone(),
            root: checkpoint.root,
            note: checkpoint.sign(signer, public)?.to_string(),
            at: clock.now(),
        };
        database
            .write::<_, StoreError, _>(move |tx| keep(tx, &growth, &row))
            .await?;
        newest = Some(checkpoint);
    }
}

/// The next head and the nodes that are new under it.
fn grow(tx: &Tx<'_>, shard: i64, origin: &str) -> Result<Option<(Checkpoint, Growth)>, SealError> {
    let newest = table::newest(tx, shard)?;
    let before = newest.as_ref().map_or(0, |row| unsigned(row.size));
    let length = unsigned(table::length(tx, shard)?);
    let size = length.min(before - before % TILE_WIDTH + GROWTH_MAX);
    if size <= before {
        return Ok(None);
    }
    let mut fresh = Vec::new();
    for tile in before / TILE_WIDTH..size / TILE_WIDTH {
        fresh.push(merkle::fold(leaves(
            tx,
            shard,
            tile * TILE_WIDTH,
            TILE_WIDTH,
        )?));
    }
    let (mut level, mut first) = (1_u32, before / TILE_WIDTH);
    let mut growth = Growth::default();
    while !fresh.is_empty() {
        growth.levels.push((first, fresh.clone()));
        let above = first / TILE_WIDTH;
        let older = first - above * TILE_WIDTH;
        let mut nodes = stored(tx, shard, level, above * TILE_WIDTH, older)?;
        nodes.append(&mut fresh);
        let width = usize::try_from(TILE_WIDTH).unwrap_or(usize::MAX);
        fresh = nodes
            .chunks_exact(width)
            .map(|tile| merkle::fold(tile.to_vec()))
            .collect();
        (level, first) = (level + 1, above);
    }
    let root = merkle::root(0, size, &mut |nodes| read(tx, shard, nodes, &growth))?;
    let origin = newest.map_or_else(|| origin.to_owned(), |row| row.origin);
    let checkpoint = Checkpoint { origin, size, root };
    Ok(Some((checkpoint, growth)))
}

fn keep(tx: &Tx<'_>, growth: &Growth, row: &CheckpointRow) -> Result<(), StoreError> {
    for (level, (first, nodes)) in (1_i64..).zip(&growth.levels) {
        for (position, hash) in (*first..).zip(nodes) {
            table::keep_node(tx, row.shard, level, signed(position), hash)?;
        }
    }
    table::insert(tx, row).map(drop)
}

fn read(tx: &Tx<'_>, shard: i64, nodes: Nodes, growth: &Growth) -> Result<Vec<Digest>, SealError> {
    if nodes.level == 0 {
        return leaves(tx, shard, nodes.first, nodes.count);
    }
    let end = nodes.first + nodes.count;
    let (from, fresh) = match growth.level(nodes.level) {
        Some((from, fresh)) => (*from, fresh.as_slice()),
        None => (end, &[][..]),
    };
    let older = from.clamp(nodes.first, end);
    let mut hashes = stored(tx, shard, nodes.level, nodes.first, older - nodes.first)?;
    let skipped = usize::try_from(older.saturating_sub(from)).unwrap_or(usize::MAX);
    let count = usize::try_from(end - older).unwrap_or(usize::MAX);
    hashes.extend(fresh.iter().skip(skipped).take(count));
    if hashes.len() as u64 == nodes.count {
        return Ok(hashes);
    }
    Err(StoreError::corrupt(format_args!("the journal's tree at level {}", nodes.level)).into())
}

fn stored(
    tx: &Tx<'_>,
    shard: i64,
    level: u32,
    first: u64,
    count: u64,
) -> Result<Vec<Digest>, SealError> {
    if count == 0 {
        return Ok(Vec::new());
    }
    let nodes = table::nodes(tx, shard, i64::from(level), signed(first), signed(count))?;
    if nodes.len() as u64 == count {
        return Ok(nodes);
    }
    Err(StoreError::corrupt(format_args!("the journal's tree at level {level}")).into())
}

/// The leaves' hashes from a place on, without gaps.
fn leaves(tx: &Tx<'_>, shard: i64, first: u64, count: u64) -> Result<Vec<Digest>, SealError> {
    let rows = table::leaves(tx, shard, signed(first), signed(count))?;
    let mut hashes = Vec::with_capacity(rows.len());
    for (place, (lsn, hash)) in (first..).zip(&rows) {
        if unsigned(*lsn) != place + 1 {
            return Err(SealError::Gap(place + 1));
        }
        hashes.push(merkle::leaf(hash.as_bytes()));
    }
    if hashes.len() as u64 == count {
        return Ok(hashes);
    }
    Err(SealError::Gap(first + hashes.len() as u64 + 1))
}

/// The newest head of every shard that has one, as signed texts.
pub fn newest(database: &Database) -> Result<Vec<String>, SealError> {
    let notes: Vec<String> = heads(database)?.into_iter().map(|row| row.note).collect();
    if notes.is_empty() {
        return Err(SealError::NoCheckpoint);
    }
    Ok(notes)
}

fn heads(database: &Database) -> Result<Vec<CheckpointRow>, StoreError> {
    database.read_now::<_, StoreError, _>(|tx| {
        let shards = table::shards(tx)?.into_iter();
        let heads = shards.map(|shard| table::newest(tx, shard));
        heads.filter_map(Result::transpose).collect()
    })
}

/// What a check of a shard's journal against a head found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealCheck {
    /// The head.
    pub checkpoint: Checkpoint,
    /// Entries in the shard.
    pub length: u64,
}

/// Recomputes the trees from the journal's hashes alone and compares them with signed heads: the
/// given ones, one after the other in a text, or the newest of every shard.
pub fn verify(
    database: &Database,
    notes: Option<&str>,
    keys: &[PublicKey],
) -> Result<Vec<SealCheck>, SealError> {
    let notes = match notes {
        Some(text) => several(text),
        None => newest(database)?,
    };
    let heads = heads(database)?;
    let checks = notes.iter().map(|note| {
        let checkpoint = Checkpoint::open(&SignedNote::parse(note)?, keys)?;
        let head = heads.iter().find(|row| row.origin == checkpoint.origin);
        // A head of a log that is not here is compared with the first, of which it is none.
        let shard = head.map_or(0, |row| row.shard);
        verify_shard(database, shard, checkpoint)
    });
    checks.collect()
}

/// The signed notes of a text: each ends with lines of signatures.
fn several(text: &str) -> Vec<String> {
    let mut notes = vec![String::new()];
    let mut signed = false;
    for line in text.split_inclusive('\n') {
        let signature = line.starts_with('\u{2014}');
        if signed && !signature {
            notes.push(String::new());
        }
        signed = signature;
        if let Some(note) = notes.last_mut() {
            note.push_str(line);
        }
    }
    // Empty lines between two notes belong to neither.
    let whole = notes
        .into_iter()
        .map(|note| note.trim_start_matches('\n').to_owned());
    let some: Vec<String> = whole.filter(|note| !note.is_empty()).collect();
    if some.is_empty() {
        vec![String::new()]
    } else {
        some
    }
}

fn verify_shard(
    database: &Database,
    shard: i64,
    checkpoint: Checkpoint,
) -> Result<SealCheck, SealError> {
    let size = checkpoint.size;
    let length = unsigned(database.read_now::<_, StoreError, _>(|tx| table::length(tx, shard))?);
    if length < size {
        return Err(SealError::Shortened { size, length });
    }
    let mut tree = Frontier::default();
    while tree.size() < size {
        let (first, count) = (tree.size(), (size - tree.size()).min(16 * TILE_WIDTH));
        let hashes = database.read_now::<_, SealError, _>(|tx| leaves(tx, shard, first, count))?;
        for leaf in hashes {
            tree.push(leaf);
        }
    }
    if tree.root() != checkpoint.root {
        return Err(SealError::Rewritten { size });
    }
    Ok(SealCheck { checkpoint, length })
}

/// What a proof says about its entry.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Description {
    /// The chain's hash before the entry.
    previous: Digest,
    /// The canonical form's members.
    entry: Value,
}

/// Proves an entry against the newest head. The proof carries the entry's canonical form, so that
/// whoever reads it needs nothing else.
pub fn prove(database: &Database, run: RunId, seq: i64) -> Result<Proof, SealError> {
    database.read_now::<_, SealError, _>(|tx| {
        let missing = || SealError::NoEntry { run, seq };
        let row = runs::get(tx, run)?.ok_or_else(missing)?;
        if let Some(at) = row.removed_at {
            return Err(StoreError::Removed { run, at }.into());
        }
        let (shard, lsn) = table::position(tx, run, seq)?.ok_or_else(missing)?;
        let entries = journal::list(tx, run, seq.saturating_sub(2), 2)?;
        let entry = entries
            .iter()
            .find(|entry| entry.seq == seq)
            .ok_or_else(missing)?;
        let before = entries.iter().find(|entry| entry.seq == seq - 1);
        let previous = if let Some(before) = before {
            before.hash
        } else {
            let fork = lineage::fork_point(tx, &row)?;
            lineage::before_first(run, &row.scope, fork.as_ref())?
        };
        let newest = table::newest(tx, shard)?;
        let newest = newest
            .filter(|head| head.size >= lsn)
            .ok_or(SealError::Unsealed { run, seq })?;
        let (index, size) = (unsigned(lsn) - 1, unsigned(newest.size));
        let none = Growth::default();
        let path = merkle::inclusion(index, size, &mut |nodes| read(tx, shard, nodes, &none))?;
        let description = Description {
            previous,
            entry: serde_json::to_value(crate::journal::canonical(entry))
                .map_err(StoreError::corrupt)?,
        };
        Ok(Proof {
            extra: Some(canonical::to_vec(&description).map_err(StoreError::corrupt)?),
            index,
            path,
            checkpoint: SignedNote::parse(&newest.note)?,
        })
    })
}

/// An entry that a proof was believed for.
#[derive(Debug, Clone)]
pub struct Proven {
    /// The head it is under.
    pub checkpoint: Checkpoint,
    /// Its place among all entries, from zero.
    pub index: u64,
    /// Its chain hash.
    pub hash: Digest,
    /// Its canonical form: run, seq, kind, path, actor, time, digest of the payload.
    pub entry: Value,
}

/// Checks a proof with nothing but public keys.
pub fn check(proof: &Proof, keys: &[PublicKey]) -> Result<Proven, SealError> {
    let extra = proof.extra.as_deref().ok_or(SealError::NoDescription)?;
    let Description { previous, entry } =
        serde_json::from_slice(extra).map_err(|_| SealError::NoDescription)?;
    let form = canonical::to_vec(&entry).map_err(|_| SealError::NoDescription)?;
    let hash = Digest::of_parts(&[previous.as_bytes(), &form]);
    let checkpoint = proof.verify(hash.as_bytes(), keys)?;
    Ok(Proven {
        checkpoint,
        index: proof.index,
        hash,
        entry,
    })
}

impl Proven {
    /// For programs.
    pub fn to_json(&self) -> Value {
        json!({
            "origin": self.checkpoint.origin, "size": self.checkpoint.size,
            "root": self.checkpoint.root, "index": self.index, "hash": self.hash,
            "entry": self.entry,
        })
    }
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_one_after_the_other_are_told_apart() {
        let (one, two) = (
            "a\n1\nx\n\n\u{2014} k abc\n\u{2014} l def\n",
            "b\n2\ny\n\n\u{2014} k ghi\n",
        );
        assert_eq!(several(one), [one]);
        assert_eq!(several(&format!("{one}{two}")), [one, two]);
        assert_eq!(several(&format!("{one}\n{two}\n")), [one, two]);
        assert_eq!(several("nonsense"), ["nonsense"]);
        assert_eq!(several(""), [""]);
    }
}

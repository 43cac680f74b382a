//! Blobs in a store that speaks the protocol of S3 or of Google Cloud Storage.
//!
//! Requests run on a runtime of the store's own; whoever asks waits for the answer on its thread,
//! which a runtime with several threads replaces meanwhile. Every request has an end: an answer that
//! does not come is [`StoreError::Unreachable`].

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt as _;
use matrix_core::{Clock, Digest, Entropy, Timestamp};
use object_store::path::Path as Name;
use object_store::{
    Error, ObjectMeta, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, PutPayload,
    WriteMultipart,
};
use tokio::runtime::{Builder, Handle, Runtime, RuntimeFlavor};

use super::address::Address;
use super::client::client;
use super::files::Tee;
use super::generations::{self, Generation};
use super::{LEVEL, Stored};
use crate::error::StoreError;

/// The object with its owner's name.
const OWNER: &str = "owner";

/// Objects larger than this are sent in parts of this size.
const PART: usize = 8 * 1024 * 1024;

/// How many parts are under way at once.
const PARTS_AT_ONCE: usize = 4;

/// How many names of generations are remembered.
const KNOWN_MAX: usize = 4096;

/// How often a generation that another process replaced meanwhile is looked for again.
const LOOKS: u32 = 3;

/// The most bytes that a blob may have; an object that grows beyond is damage.
const BYTES_MAX: u64 = 16 * 1024 * 1024 * 1024;

/// How far the store's clock may be from ours.
const SKEW_MAX: Duration = Duration::from_mins(15);

/// What it takes to reach a remote store.
pub struct RemoteOptions {
    /// Where it is.
    pub address: Address,
    /// Credentials and regions, by the names of the environment's variables (`AWS_…`, `GOOGLE_…`).
    pub variables: Vec<(String, String)>,
    /// A directory for what is being compressed; nothing stays in it.
    pub staging: PathBuf,
    /// Tells what is young.
    pub clock: Arc<dyn Clock>,
    /// Gives names.
    pub entropy: Arc<dyn Entropy>,
}

/// A store elsewhere. What its functions promise stands at [`super::Blobs`].
pub(super) struct Remote {
    store: Arc<dyn ObjectStore>,
    address: Address,
    staging: PathBuf,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    /// Generations that were seen or written.
    known: Mutex<HashMap<Digest, Generation>>,
    /// Nothing only while it is dropped.
    runtime: Option<Runtime>,
}

impl Remote {
    pub(super) fn connect(options: RemoteOptions) -> Result<Self, StoreError> {
        let store = client(&options.address, &options.variables)?;
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("blobs")
            .enable_all()
            .build()?;
        Ok(Self {
            store,
            address: options.address,
            staging: options.staging,
            clock: options.clock,
            entropy: options.entropy,
            known: Mutex::default(),
            runtime: Some(runtime),
        })
    }

    /// Runs a request and waits for it on this thread.
    fn wait<T: Send + 'static>(
        &self,
        request: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<Result<T, Error>, StoreError> {
        let stopped = || StoreError::Unreachable("its thread has stopped".into());
        let runtime = self.runtime.as_ref().ok_or_else(stopped)?;
        let (answer, answered) = sync_channel(1);
        runtime.spawn(async move { drop(answer.send(request.await)) });
        let receive = move || answered.recv();
        let received = match Handle::try_current().map(|own| own.runtime_flavor()) {
            Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(receive),
            _ => receive(),
        };
        received.map_err(|_| stopped())
    }

    /// Runs a request that is to succeed.
    fn ask<T: Send + 'static>(
        &self,
        request: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.wait(request)?.map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &Error) -> StoreError {
        let why = match error {
            Error::NotFound { .. } => "there is no such bucket".to_owned(),
            Error::PermissionDenied { .. } => "it does not permit this".to_owned(),
            Error::Unauthenticated { .. } => "it does not accept the credentials".to_owned(),
            other => shortened(&innermost(other)),
        };
        StoreError::Unreachable(format!("{}: {why}", self.address))
    }

    fn name(&self, inside: &str) -> Name {
        let prefix = &self.address.prefix;
        if prefix.is_empty() {
            Name::from(inside)
        } else {
            Name::from(format!("{prefix}/{inside}"))
        }
    }

    fn random(&self) -> [u8; 16] {
        let mut random = [0; 16];
        self.entropy.fill(&mut random);
        random
    }

    fn list(&self, inside: &str) -> Result<Vec<Generation>, StoreError> {
        let (store, below) = (Arc::clone(&self.store), self.name(inside));
        self.ask(async move {
            let objects = store.list(Some(&below));
            objects
                .map_ok(|object| generation(&object))
                .try_collect()
                .await
        })
    }

    fn fetch(&self, name: Name) -> Result<Option<Bytes>, StoreError> {
        let store = Arc::clone(&self.store);
        match self.wait(async move { store.get(&name).await?.bytes().await })? {
            Ok(bytes) => Ok(Some(bytes)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.failed(&error)),
        }
    }

    /// Something that is gone already is removed.
    fn remove(&self, name: &str) -> Result<(), StoreError> {
        let (store, name) = (Arc::clone(&self.store), Name::from(name));
        match self.wait(async move { store.delete(&name).await })? {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.failed(&error)),
        }
    }

    pub(super) fn owner(&self) -> Result<Option<String>, StoreError> {
        let found = self.fetch(self.name(OWNER))?;
        Ok(found.map(|name| {
            String::from_utf8_lossy(&name)
                .trim()
                .chars()
                .take(64)
                .collect()
        }))
    }

    pub(super) fn claim(&self, owner: &str) -> Result<String, StoreError> {
        if let Some(found) = self.owner()? {
            return Ok(found);
        }
        let (store, place) = (Arc::clone(&self.store), self.name(OWNER));
        let payload = PutPayload::from(owner.as_bytes().to_vec());
        let once = PutOptions::from(PutMode::Create);
        match self.wait(async move { store.put_opts(&place, payload, once).await })? {
            // Somebody else may have been first.
            Ok(_) | Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => {}
            Err(error) => return Err(self.failed(&error)),
        }
        Ok(self.owner()?.unwrap_or_default())
    }

    pub(super) fn probe(&self) -> Result<(), StoreError> {
        let random = u128::from_be_bytes(self.random());
        let name = self.name(&format!("probe/{random:032x}"));
        let (store, place) = (Arc::clone(&self.store), name.clone());
        let written = self.ask(async move {
            store.put(&place, PutPayload::from_static(b"probe")).await?;
            store.head(&place).await
        })?;
        let (read, now) = (self.fetch(name.clone())?, self.clock.now());
        self.remove(name.as_ref())?;
        if read.as_deref() != Some(b"probe") {
            let text = format!("{}: it does not give back what was put", self.address);
            return Err(StoreError::Unreachable(text));
        }
        let put_at = generation(&written).put_at;
        let skew = now.since(put_at).max(put_at.since(now));
        if skew > SKEW_MAX {
            return Err(StoreError::Unreachable(format!(
                "{}: its clock and ours are {} s apart",
                self.address,
                skew.as_secs()
            )));
        }
        Ok(())
    }

    pub(super) fn contains(&self, digest: &Digest) -> Result<bool, StoreError> {
        Ok(!self.list(&generations::folder(digest))?.is_empty())
    }

    pub(super) fn put(&self, bytes: &[u8]) -> Result<Digest, StoreError> {
        let digest = Digest::of(bytes);
        let insert = |old| {
            let compressed = zstd::encode_all(bytes, LEVEL)?;
            self.insert(&digest, old, Source::Bytes(compressed.into()))
        };
        self.unless_young(&digest, insert)?;
        Ok(digest)
    }

    pub(super) fn put_file(&self, path: &Path) -> Result<(Digest, u64), StoreError> {
        std::fs::create_dir_all(&self.staging)?;
        let mut staged = tempfile::tempfile_in(&self.staging)?;
        let mut encoder = zstd::Encoder::new(&mut staged, LEVEL)?;
        let (digest, size) = Digest::of_reader(Tee {
            reader: File::open(path)?,
            copy: &mut encoder,
        })?;
        encoder.finish()?.flush()?;
        staged.seek(SeekFrom::Start(0))?;
        self.unless_young(&digest, |old| {
            self.insert(&digest, old, Source::File(staged))
        })?;
        Ok((digest, size))
    }

    /// Inserts bytes unless they were put a short time ago; shows the generations that there are.
    fn unless_young(
        &self,
        digest: &Digest,
        insert: impl FnOnce(Vec<Generation>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let now = self.clock.now();
        if self.known(digest).is_some_and(|known| known.is_young(now)) {
            return Ok(());
        }
        let found = self.list(&generations::folder(digest))?;
        match generations::newest(&found) {
            Some(newest) if newest.is_young(now) => {
                self.know(digest, newest.clone());
                Ok(())
            }
            _ => insert(found),
        }
    }

    /// Writes a generation, and then removes those that it replaces.
    fn insert(
        &self,
        digest: &Digest,
        replaced: Vec<Generation>,
        source: Source,
    ) -> Result<(), StoreError> {
        let name = self.name(&generations::name(digest, self.random()));
        let begun = self.clock.now();
        let size = match source {
            Source::Bytes(bytes) if bytes.len() <= PART => self.write(name.clone(), bytes)?,
            Source::Bytes(bytes) => self.write_parts(name.clone(), &bytes[..])?,
            Source::File(file) => self.write_parts(name.clone(), file)?,
        };
        self.know(
            digest,
            Generation {
                name: name.into(),
                size,
                put_at: begun,
            },
        );
        for old in replaced {
            // The bytes are kept; what is too much is replaced the next time.
            if let Err(error) = self.remove(&old.name) {
                tracing::debug!(%error, "a blob's older generation stays");
            }
        }
        Ok(())
    }

    fn write(&self, name: Name, bytes: Bytes) -> Result<u64, StoreError> {
        let (store, size) = (Arc::clone(&self.store), bytes.len() as u64);
        self.ask(async move { store.put(&name, bytes.into()).await.map(|_| size) })
    }

    /// Writes what may be large. An object is there whole or not at all.
    fn write_parts(&self, name: Name, mut source: impl Read) -> Result<u64, StoreError> {
        let first = part(&mut source)?;
        if first.len() < PART {
            return self.write(name, first);
        }
        let store = Arc::clone(&self.store);
        let begin = async move { store.put_multipart(&name).await };
        let mut parts = WriteMultipart::new_with_chunk_size(self.ask(begin)?, PART);
        let (mut size, mut next) = (0, first);
        while !next.is_empty() {
            size += next.len() as u64;
            let send = async move {
                parts.wait_for_capacity(PARTS_AT_ONCE).await?;
                parts.put(next);
                Ok(parts)
            };
            parts = self.ask(send)?;
            next = part(&mut source)?;
        }
        self.ask(async move { parts.finish().await.map(|_| size) })
    }

    pub(super) fn get(&self, digest: &Digest) -> Result<Option<Vec<u8>>, StoreError> {
        for _ in 0..LOOKS {
            let known = self.known(digest);
            let generation = if let Some(known) = known {
                known
            } else {
                let found = self.list(&generations::folder(digest))?;
                let Some(newest) = generations::newest(&found) else {
                    return Ok(None);
                };
                self.know(digest, newest.clone());
                newest.clone()
            };
            if let Some(bytes) = self.fetch(Name::from(generation.name))? {
                return decoded(digest, &bytes).map(Some);
            }
            self.forget(digest);
        }
        let text = format!("{}: what it lists is not there", self.address);
        Err(StoreError::Unreachable(text))
    }

    pub(super) fn stored(&self) -> Result<Vec<Stored>, StoreError> {
        self.list("blobs").map(generations::stored)
    }

    pub(super) fn remove_unused(
        &self,
        digest: &Digest,
        since: Timestamp,
    ) -> Result<Option<u64>, StoreError> {
        let found = self.list(&generations::folder(digest))?;
        if generations::newest(&found).is_none_or(|newest| newest.put_at >= since) {
            return Ok(None);
        }
        self.forget(digest);
        let mut freed = 0;
        for generation in found {
            self.remove(&generation.name)?;
            freed += generation.size;
        }
        Ok(Some(freed))
    }

    fn known(&self, digest: &Digest) -> Option<Generation> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(digest).cloned()
    }

    fn know(&self, digest: &Digest, generation: Generation) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KNOWN_MAX {
            known.clear();
        }
        known.insert(*digest, generation);
    }

    fn forget(&self, digest: &Digest) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.remove(digest);
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Remote({})", self.address)
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        // The last handle may be dropped by an asynchronous task, which must not wait.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// What is to be written, compressed.
enum Source {
    Bytes(Bytes),
    File(File),
}

/// The next part of what is read; shorter only at its end.
fn part(source: &mut impl Read) -> Result<Bytes, StoreError> {
    let mut bytes = Vec::new();
    source.take(PART as u64).read_to_end(&mut bytes)?;
    Ok(bytes.into())
}

fn decoded(digest: &Digest, compressed: &[u8]) -> Result<Vec<u8>, StoreError> {
    let damaged = || StoreError::corrupt(format_args!("blob {digest}"));
    let mut bytes = Vec::new();
    zstd::Decoder::new(compressed)
        .and_then(|decoder| decoder.take(BYTES_MAX).read_to_end(&mut bytes))
        .map_err(|_| damaged())?;
    if Digest::of(&bytes) == *digest {
        Ok(bytes)
    } else {
        Err(damaged())
    }
}

fn generation(object: &ObjectMeta) -> Generation {
    Generation {
        name: object.location.to_string(),
        size: object.size,
        put_at: Timestamp::from_micros(object.last_modified.timestamp_micros()),
    }
}

/// The cause at the bottom, which is what a person needs, and which quotes no request.
fn innermost(error: &Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// One line that is not long.
fn shortened(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").chars().take(300).collect()
}

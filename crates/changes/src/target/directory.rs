//! Releases as directories, with the current one behind a symbolic link that is switched at once.
//!
//! ```text
//! releases/dep_…/        a release, written beside its place and renamed into it
//! releases/dep_….json    what it is and what it replaced
//! current -> releases/dep_…
//! owners.json            the newest epoch heard of, by run
//! ```

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use matrix_core::id::DeploymentId;
use matrix_core::{Digest, RunId};
use serde::{Deserialize, Serialize};

use super::manifest::{Manifest, Payload};
use super::{
    Applied, CHANGES_SHOWN_MAX, DryRun, HealthReport, Order, Outlook, PathChange, Target,
    TargetError,
};
use crate::verify::config::TargetConfig;

/// A target of release directories.
#[derive(Debug, Clone)]
pub struct DirectoryTarget {
    name: String,
    root: PathBuf,
    config: TargetConfig,
    process: Arc<dyn Process>,
}

/// The process that a release may have.
#[async_trait]
pub trait Process: Send + Sync + std::fmt::Debug {
    /// Starts the release's process, if its configuration has one, ending another that this
    /// target has.
    async fn start(
        &self,
        release: &Path,
        state: &Path,
        config: &TargetConfig,
    ) -> Result<(), String>;
    /// Ends the target's process; nothing to end is fine.
    async fn stop(&self, release: &Path, state: &Path, config: &TargetConfig)
    -> Result<(), String>;
    /// Whether the process works.
    async fn health(
        &self,
        release: &Path,
        state: &Path,
        config: &TargetConfig,
    ) -> Result<HealthReport, String>;
    /// Its newest output.
    async fn logs(&self) -> Result<Vec<u8>, String>;
}

/// The process of a target that is only looked at.
#[derive(Debug)]
struct LookedAt;

impl LookedAt {
    fn refuse<T>() -> Result<T, String> {
        Err("the target was opened only to be looked at".into())
    }
}

#[async_trait]
impl Process for LookedAt {
    async fn start(&self, _: &Path, _: &Path, _: &TargetConfig) -> Result<(), String> {
        Self::refuse()
    }

    async fn stop(&self, _: &Path, _: &Path, _: &TargetConfig) -> Result<(), String> {
        Self::refuse()
    }

    async fn health(&self, _: &Path, _: &Path, _: &TargetConfig) -> Result<HealthReport, String> {
        Self::refuse()
    }

    async fn logs(&self) -> Result<Vec<u8>, String> {
        Self::refuse()
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Record {
    order: Order,
    config: TargetConfig,
    manifest: Manifest,
    manifest_digest: Digest,
    replaced: Option<DeploymentId>,
}

/// The most runs whose epochs are remembered.
const OWNERS_MAX: usize = 1_000;

impl DirectoryTarget {
    /// A target whose releases lie under `root`; `process` controls its process, if its
    /// configuration has one.
    pub fn new(
        name: impl Into<String>,
        root: PathBuf,
        config: TargetConfig,
        process: Arc<dyn Process>,
    ) -> Self {
        Self {
            name: name.into(),
            root,
            config,
            process,
        }
    }

    /// A target for a dry run alone; its process is out of reach.
    pub fn to_look_at(name: impl Into<String>, root: PathBuf, config: TargetConfig) -> Self {
        Self::new(name, root, config, Arc::new(LookedAt))
    }

    fn failed(&self, what: &str) -> impl FnOnce(io::Error) -> TargetError + use<> {
        let (target, what) = (self.name.clone(), what.to_owned());
        move |source| TargetError::Io {
            target,
            what,
            source,
        }
    }

    fn release(&self, deployment: DeploymentId) -> PathBuf {
        self.root.join("releases").join(deployment.to_string())
    }

    fn record_path(&self, deployment: DeploymentId) -> PathBuf {
        self.root
            .join("releases")
            .join(format!("{deployment}.json"))
    }

    fn state(&self) -> PathBuf {
        self.root.join("state")
    }

    fn record(&self, deployment: DeploymentId) -> Result<Option<Record>, TargetError> {
        read_json(&self.record_path(deployment)).map_err(self.failed("read a release's record"))
    }

    /// The release behind the link, if it is whole.
    fn link(&self) -> Result<Option<DeploymentId>, TargetError> {
        match fs::read_link(self.root.join("current")) {
            Ok(path) => {
                let name = path
                    .file_name()
                    .and_then(|name| name.to_str())
                    .unwrap_or_default();
                name.parse().map(Some).map_err(|_| TargetError::Damaged {
                    target: self.name.clone(),
                    what: format!("`current` points to {}", path.display()),
                })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.failed("read its current release")(error)),
        }
    }

    fn switch(&self, deployment: Option<DeploymentId>) -> io::Result<()> {
        let current = self.root.join("current");
        match deployment {
            Some(deployment) => {
                let next = self.root.join("current.next");
                remove_file(&next)?;
                let relative = Path::new("releases").join(deployment.to_string());
                std::os::unix::fs::symlink(relative, &next)?;
                fs::rename(&next, &current)?;
            }
            None => remove_file(&current)?,
        }
        File::open(&self.root)?.sync_all()
    }

    /// One writer at a time, and none whose epoch is older than the newest heard of.
    fn enter(&self, order: Order) -> Result<File, TargetError> {
        let lock = (|| {
            fs::create_dir_all(self.root.join("releases"))?;
            let lock = File::create(self.root.join("lock"))?;
            lock.lock()?;
            Ok(lock)
        })()
        .map_err(self.failed("be locked"))?;
        let path = self.root.join("owners.json");
        let mut owners: BTreeMap<RunId, i64> = read_json(&path)
            .map_err(self.failed("read its owners"))?
            .unwrap_or_default();
        let newest = owners.entry(order.run).or_insert(order.epoch);
        if *newest > order.epoch {
            return Err(TargetError::Fenced {
                target: self.name.clone(),
                run: order.run,
            });
        }
        *newest = order.epoch;
        while owners.len() > OWNERS_MAX {
            owners.pop_first();
        }
        write_json(&path, &owners).map_err(self.failed("record its owner"))?;
        Ok(lock)
    }

    fn write_release(&self, payload: &Payload, order: Order) -> io::Result<()> {
        let incoming = self
            .root
            .join("releases")
            .join(format!(".incoming-{}", order.deployment));
        remove_directory(&incoming)?;
        fs::create_dir_all(&incoming)?;
        for (path, source) in &payload.files {
            let place = incoming.join(path);
            fs::create_dir_all(place.parent().unwrap_or(&incoming))?;
            if source.symlink_metadata()?.is_symlink() {
                std::os::unix::fs::symlink(fs::read_link(source)?, &place)?;
            } else {
                fs::copy(source, &place)?;
            }
        }
        let written = Manifest::of_directory(&incoming)?;
        if written != payload.manifest {
            return Err(io::Error::other("the files changed while they were copied"));
        }
        rustix::fs::syncfs(File::open(&incoming)?)?;
        remove_directory(&self.release(order.deployment))?;
        fs::rename(&incoming, self.release(order.deployment))?;
        File::open(self.root.join("releases"))?.sync_all()
    }

    /// Writes a release and what it is; it is not the current one yet.
    fn write(&self, payload: &Payload, order: Order, now: &DryRun) -> Result<Record, TargetError> {
        self.write_release(payload, order)
            .map_err(self.failed("write the release"))?;
        let record = Record {
            order,
            config: self.config.clone(),
            manifest: payload.manifest.clone(),
            manifest_digest: now.manifest,
            replaced: now.replaces,
        };
        write_json(&self.record_path(order.deployment), &record)
            .map_err(self.failed("record the release"))?;
        Ok(record)
    }

    fn would_do(&self, payload: &Payload) -> Result<DryRun, TargetError> {
        let replaces = self.link()?;
        let before = match replaces {
            Some(current) => self.record(current)?.map(|record| record.manifest),
            None => None,
        };
        let changes = differences(&before.unwrap_or_default(), &payload.manifest);
        let manifest = payload.manifest.digest();
        Ok(DryRun {
            target: self.name.clone(),
            environment: self.config.environment,
            config: self.config.clone(),
            replaces,
            manifest: manifest
                .map_err(|error| self.failed("be described")(io::Error::other(error)))?,
            changes_total: changes.len(),
            changes: changes.into_iter().take(CHANGES_SHOWN_MAX).collect(),
        })
    }

    fn applied(&self, record: &Record) -> Applied {
        Applied {
            deployment: record.order.deployment,
            location: self.release(record.order.deployment).display().to_string(),
            manifest: record.manifest_digest,
            replaced: record.replaced,
        }
    }

    fn process_failed(&self) -> impl FnOnce(String) -> TargetError + use<> {
        let target = self.name.clone();
        move |why| TargetError::Process { target, why }
    }

    /// Removes releases beyond the configured number, never the current one or what it replaced.
    fn prune(&self, current: &Record) -> io::Result<()> {
        let mut releases: Vec<DeploymentId> = fs::read_dir(self.root.join("releases"))?
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .collect();
        releases.sort();
        let keep = (self.config.keep as usize).max(2);
        let surplus = releases.len().saturating_sub(keep);
        for old in releases.into_iter().take(surplus) {
            if old == current.order.deployment || Some(old) == current.replaced {
                continue;
            }
            remove_directory(&self.release(old))?;
            remove_file(&self.record_path(old))?;
        }
        Ok(())
    }
}

#[async_trait]
impl Target for DirectoryTarget {
    async fn dry_run(&self, payload: &Payload) -> Result<DryRun, TargetError> {
        self.would_do(payload)
    }

    async fn apply(
        &self,
        payload: &Payload,
        order: Order,
        approved: &DryRun,
    ) -> Result<Option<Applied>, TargetError> {
        let lock = self.enter(order)?;
        let record = if let Some(record) = self.record(order.deployment)? {
            record
        } else {
            // Under the lock, so that what was approved is what is done.
            let now = self.would_do(payload)?;
            if now != *approved {
                return Ok(None);
            }
            self.write(payload, order, &now)?
        };
        self.process
            .start(
                &self.release(order.deployment),
                &self.state(),
                &record.config,
            )
            .await
            .map_err(self.process_failed())?;
        self.switch(Some(order.deployment))
            .map_err(self.failed("switch to the release"))?;
        self.prune(&record)
            .map_err(self.failed("remove old releases"))?;
        drop(lock);
        Ok(Some(self.applied(&record)))
    }

    async fn find(&self, order: Order) -> Result<Option<Applied>, TargetError> {
        // Taking the lock under our epoch also shuts an older owner out from here on.
        let lock = self.enter(order)?;
        let current = self.link()? == Some(order.deployment);
        let record = if current {
            self.record(order.deployment)?
        } else {
            None
        };
        drop(lock);
        Ok(record.map(|record| self.applied(&record)))
    }

    async fn health(&self, deployment: DeploymentId) -> Result<HealthReport, TargetError> {
        let Some(record) = self.record(deployment)? else {
            let detail = format!("{deployment} is not there");
            return Ok(HealthReport::sick(Outlook::Over, detail));
        };
        let found = Manifest::of_directory(&self.release(deployment))
            .map_err(self.failed("read the release"))?;
        if found != record.manifest {
            let detail = "the files are not those that were deployed";
            return Ok(HealthReport::sick(Outlook::Over, detail));
        }
        if record.config.start.is_none() {
            let detail = match found.0.len() {
                1 => "the one file has its digest".to_owned(),
                number => format!("all {number} files have their digests"),
            };
            return Ok(HealthReport::well(detail));
        }
        self.process
            .health(&self.release(deployment), &self.state(), &record.config)
            .await
            .map_err(self.process_failed())
    }

    async fn logs(&self, _deployment: DeploymentId) -> Result<Vec<u8>, TargetError> {
        self.process.logs().await.map_err(self.process_failed())
    }

    async fn current(&self) -> Result<Option<DeploymentId>, TargetError> {
        self.link()
    }

    async fn rollback(&self, order: Order) -> Result<Option<DeploymentId>, TargetError> {
        let lock = self.enter(order)?;
        let (current, deployment) = (self.link()?, order.deployment);
        let not_current = || TargetError::NotCurrent {
            target: self.name.clone(),
            deployment,
            current,
        };
        let record = self.record(deployment)?.ok_or_else(|| {
            if current == Some(deployment) {
                return TargetError::Damaged {
                    target: self.name.clone(),
                    what: format!("the record of {deployment}, which it has, is missing"),
                };
            }
            not_current()
        })?;
        // The one before is current where the same order was carried out already.
        if current != Some(deployment) && current != record.replaced {
            return Err(not_current());
        }
        let previous = match record.replaced {
            Some(previous) => {
                let missing = || TargetError::NoPrevious {
                    target: self.name.clone(),
                    deployment,
                };
                Some((previous, self.record(previous)?.ok_or_else(missing)?))
            }
            None => None,
        };
        if let Some((id, before)) = &previous {
            self.process
                .start(&self.release(*id), &self.state(), &before.config)
                .await
        } else {
            let release = self.release(order.deployment);
            self.process
                .stop(&release, &self.state(), &record.config)
                .await
        }
        .map_err(self.process_failed())?;
        let previous = previous.map(|(id, _)| id);
        self.switch(previous).map_err(self.failed("switch back"))?;
        drop(lock);
        Ok(previous)
    }

    async fn stop(&self, deployment: DeploymentId) -> Result<(), TargetError> {
        let Some(record) = self.record(deployment)? else {
            return Ok(());
        };
        if self.link()? != Some(deployment) {
            return Ok(());
        }
        self.process
            .stop(&self.release(deployment), &self.state(), &record.config)
            .await
            .map_err(self.process_failed())
    }
}

fn differences(before: &Manifest, after: &Manifest) -> Vec<PathChange> {
    let mut changes: Vec<PathChange> = Vec::new();
    for (path, entry) in &after.0 {
        let old = before.0.get(path);
        if old != Some(entry) {
            let from = old.map(|old| old.digest);
            changes.push(PathChange {
                path: path.clone(),
                from,
                to: Some(entry.digest),
            });
        }
    }
    for (path, entry) in &before.0 {
        if !after.0.contains_key(path) {
            changes.push(PathChange {
                path: path.clone(),
                from: Some(entry.digest),
                to: None,
            });
        }
    }
    changes.sort();
    changes
}

pub(super) fn read_json<T: for<'de> Deserialize<'de>>(path: &Path) -> io::Result<Option<T>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes beside the place and renames, so that a reader finds the old or the new text.
pub(super) fn write_json<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(&serde_json::to_vec(value)?)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    File::open(directory)?.sync_all()
}

pub(super) fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn remove_directory(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

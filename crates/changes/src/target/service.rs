//! The process of a release: a sandboxed service that outlives the host, its release read-only,
//! one writable state directory, no network but the one port it declares.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use matrix_sandbox::Sandbox;
use matrix_sandbox::service::{Record, ServiceSpec, Status};
use matrix_sandbox::spec::{Access, Limits, Mount, Network, Profile, SandboxSpec};
use tokio::sync::watch;

use super::directory::{Process, read_json, remove_file, write_json};
use super::{HealthReport, Outlook};
use crate::verify::config::{Health, TargetConfig};
use crate::workshop::Workshop;

/// Where a release is shown inside.
const RELEASE: &str = "/release";

/// How long a process may take to end when asked.
const GRACE: Duration = Duration::from_secs(10);

/// How long one question about its health may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// A process without a health check is well if it still runs after this long.
const SETTLING: Duration = Duration::from_secs(1);

/// How large its log may grow.
const LOG_BYTES: u64 = 8 << 20;

/// How much of it is shown.
const LOG_SHOWN: usize = 256 << 10;

/// A port that nothing inside listens on, for a process that declares none.
const NO_PORT: u16 = 1;

/// The services of one target's releases; at most one runs.
#[derive(Debug, Clone)]
pub struct Service {
    workshop: Workshop,
    directory: PathBuf,
}

impl Service {
    /// The service that keeps its record, log and socket in a private directory.
    pub fn new(workshop: Workshop, directory: PathBuf) -> Self {
        Self {
            workshop,
            directory,
        }
    }

    fn record_path(&self) -> PathBuf {
        self.directory.join("service.json")
    }

    fn error_path(&self) -> PathBuf {
        self.directory.join("start.error")
    }

    fn record(&self) -> Result<Option<Record>, String> {
        read_json(&self.record_path()).map_err(|error| format!("its record: {error}"))
    }

    async fn sandbox(&self) -> Result<&Sandbox, String> {
        self.workshop.machine().trusted(Profile::Service).await
    }

    /// A command of a release: the release read-only, the state directory writable.
    async fn spec(&self, command: &str, release: &Path, state: &Path) -> SandboxSpec {
        let mut mounts = vec![Mount {
            source: release.to_owned(),
            target: RELEASE.into(),
            access: Access::ReadOnly,
        }];
        let mut path = Vec::new();
        let mut env = BTreeMap::from([("STATE_DIRECTORY".to_owned(), "/work".to_owned())]);
        for (_, toolchain) in self.workshop.machine().toolchains().await.all() {
            mounts.extend(toolchain.mounts.iter().cloned());
            path.extend(toolchain.path.iter().cloned());
            env.extend(toolchain.env.clone());
        }
        SandboxSpec {
            profile: Profile::Service,
            command: vec!["sh".into(), "-c".into(), command.into()],
            cwd: RELEASE.into(),
            env,
            work_tree: state.to_owned(),
            mounts,
            path,
            network: Network::None,
            limits: Limits::default(),
        }
    }

    /// Runs a command beside the service: it sees the same files and reaches the service's port.
    async fn beside(
        &self,
        command: &str,
        release: &Path,
        state: &Path,
        record: &Record,
    ) -> Result<bool, String> {
        let mut spec = self.spec(command, release, state).await;
        spec.network = record.network();
        spec.limits.wall = PATIENCE;
        // The service itself holds the state directory's files open; a command gets its own.
        let own = tempfile::tempdir_in(&self.directory).map_err(|error| error.to_string())?;
        spec.work_tree = own.path().to_owned();
        let (_sender, cancel) = watch::channel(false);
        let outcome = self
            .sandbox()
            .await?
            .run(spec, Box::new(|_, _| {}), cancel)
            .await;
        outcome
            .map(|outcome| outcome.success())
            .map_err(|error| error.to_string())
    }

    async fn end(&self) -> Result<(), String> {
        if let Some(record) = self.record()? {
            record.stop().await.map_err(|error| error.to_string())?;
        }
        let removed =
            remove_file(&self.record_path()).and_then(|()| remove_file(&self.error_path()));
        removed.map_err(|error| error.to_string())
    }

    async fn try_start(
        &self,
        command: &str,
        release: &Path,
        state: &Path,
        config: &TargetConfig,
    ) -> Result<Record, String> {
        let spec = ServiceSpec {
            sandbox: self.spec(command, release, state).await,
            port: config.port.unwrap_or(NO_PORT),
            host_port: config.port.unwrap_or(0),
            directory: self.directory.clone(),
            log_bytes: LOG_BYTES,
            grace: GRACE,
        };
        let started = self.sandbox().await?.start_service(spec).await;
        started.map_err(|error| error.to_string())
    }
}

#[async_trait]
impl Process for Service {
    async fn start(
        &self,
        release: &Path,
        state: &Path,
        config: &TargetConfig,
    ) -> Result<(), String> {
        let prepare = || -> io::Result<()> {
            fs::create_dir_all(&self.directory)?;
            fs::create_dir_all(state)
        };
        prepare().map_err(|error| error.to_string())?;
        self.end().await?;
        let Some(command) = &config.start else {
            return Ok(());
        };
        match self.try_start(command, release, state, config).await {
            Ok(record) => write_json(&self.record_path(), &record),
            // A program that does not start is an unhealthy release, not a broken target.
            Err(why) => write_json(&self.error_path(), &why),
        }
        .map_err(|error| error.to_string())
    }

    async fn stop(
        &self,
        release: &Path,
        state: &Path,
        config: &TargetConfig,
    ) -> Result<(), String> {
        if let (Some(command), Some(record)) = (&config.stop, self.record()?)
            && record.status() == Status::Running
        {
            // Asked nicely; whatever it answers, the end comes.
            let asked = self.beside(command, release, state, &record).await;
            tracing::info!(?asked, "the process was asked to end");
        }
        self.end().await
    }

    async fn health(
        &self,
        release: &Path,
        state: &Path,
        config: &TargetConfig,
    ) -> Result<HealthReport, String> {
        let over = |detail: String| Ok(HealthReport::sick(Outlook::Over, detail));
        let error: Option<String> =
            read_json(&self.error_path()).map_err(|error| error.to_string())?;
        if let Some(why) = error {
            return over(format!("it does not start: {why}"));
        }
        let Some(record) = self.record()? else {
            return over("its process is not there".into());
        };
        if record.status() == Status::Stopped {
            return over("its process ended".into());
        }
        let report = match &config.health {
            Some(Health::Http(path)) => match record.http_status(path, PATIENCE).await {
                Ok(status) => answered(path, status),
                Err(error) => {
                    let detail = format!("{path} does not answer: {error}");
                    HealthReport::sick(Outlook::Open, detail)
                }
            },
            Some(Health::Run(command)) => {
                if self.beside(command, release, state, &record).await? {
                    HealthReport::well(format!("`{command}` succeeds"))
                } else {
                    HealthReport::sick(Outlook::Open, format!("`{command}` fails"))
                }
            }
            None => {
                tokio::time::sleep(SETTLING).await;
                HealthReport::well("its process runs")
            }
        };
        // It may have ended while it was asked.
        if record.status() == Status::Stopped {
            return over("its process ended".into());
        }
        Ok(report)
    }

    async fn logs(&self) -> Result<Vec<u8>, String> {
        let Some(record) = self.record()? else {
            return Ok(Vec::new());
        };
        let bytes = fs::read(&record.log).map_err(|error| error.to_string())?;
        let from = bytes.len().saturating_sub(LOG_SHOWN);
        Ok(bytes.get(from..).unwrap_or_default().to_vec())
    }
}

/// What a status code says: an error of the server may pass, an answer that the path is not there
/// or not for us lasts as a rule.
fn answered(path: &str, status: u16) -> HealthReport {
    let detail = format!("{path} answers {status}");
    match status {
        200..300 => HealthReport::well(detail),
        // Too early, too many requests: not now.
        300..500 if !matches!(status, 408 | 425 | 429) => {
            HealthReport::sick(Outlook::Refuses, detail)
        }
        _ => HealthReport::sick(Outlook::Open, detail),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_answer_that_lasts_is_a_refusal() {
        let said = |status| {
            let report = answered("/health", status);
            (report.healthy, report.outlook)
        };
        assert_eq!(said(204), (true, Outlook::Open));
        for status in [301, 401, 404, 410] {
            assert_eq!(said(status), (false, Outlook::Refuses), "{status}");
        }
        for status in [408, 425, 429, 500, 503] {
            assert_eq!(said(status), (false, Outlook::Open), "{status}");
        }
    }
}

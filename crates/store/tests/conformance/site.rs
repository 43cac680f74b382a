//! A fresh database with two tenants that know nothing of each other.

use futures::executor::block_on;
use matrix_core::id::{ApprovalId, DeploymentId, PrincipalId, ReleaseId, TaskId};
use matrix_core::{Caller, Digest, Principal, PrincipalKind, RunId, Scope, Timestamp};
use matrix_store::tables::approvals::ApprovalRow;
use matrix_store::tables::inbox::Message;
use matrix_store::tables::journal::EntryRow;
use matrix_store::tables::principals::PrincipalRow;
use matrix_store::tables::queue::Placement;
use matrix_store::tables::releases::{ArtifactRow, DeploymentRow, ReleaseRow};
use matrix_store::tables::runs::{self, RunRow};
use matrix_store::tables::step_progress::ProgressRow;
use matrix_store::tables::task_logs::LogRow;
use matrix_store::tables::tasks::TaskRow;
use matrix_store::{Database, OpenMode, StoreError, Tx};

use crate::server::Server;

pub(crate) struct Site {
    pub(crate) database: Database,
    _directory: Option<tempfile::TempDir>,
}

impl Site {
    pub(crate) fn sqlite() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("matrix.db");
        Self {
            database: Database::open(&path, OpenMode::Host).unwrap(),
            _directory: Some(directory),
        }
    }

    pub(crate) fn postgres(server: &Server) -> Self {
        Self::over(server.connect(&server.database()))
    }

    /// One without a row.
    pub(crate) fn over(database: Database) -> Self {
        Self {
            database,
            _directory: None,
        }
    }

    /// A write across tenants.
    pub(crate) fn try_engine<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        block_on(self.database.write(work))
    }

    /// A write across tenants that holds.
    pub(crate) fn engine<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> T {
        self.try_engine(work).unwrap()
    }

    /// A write of our tenant.
    pub(crate) fn try_ours<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        block_on(self.database.within(&ours()).write(work))
    }

    /// A write of our tenant that holds.
    pub(crate) fn ours<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> T {
        self.try_ours(work).unwrap()
    }

    /// A write of the other tenant.
    pub(crate) fn try_theirs<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        block_on(self.database.within(&theirs()).write(work))
    }

    /// A write of the other tenant that is no error.
    pub(crate) fn theirs<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> T {
        self.try_theirs(work).unwrap()
    }

    /// What a reader of our tenant sees.
    pub(crate) fn see<T>(&self, work: impl FnOnce(&Tx<'_>) -> Result<T, StoreError>) -> T {
        self.database.within(&ours()).read_now(work).unwrap()
    }

    /// What a reader of the other tenant sees.
    pub(crate) fn spy<T>(&self, work: impl FnOnce(&Tx<'_>) -> Result<T, StoreError>) -> T {
        self.database.within(&theirs()).read_now(work).unwrap()
    }

    /// What the engine sees.
    pub(crate) fn look<T>(&self, work: impl FnOnce(&Tx<'_>) -> Result<T, StoreError>) -> T {
        self.database.read_now(work).unwrap()
    }

    /// Our runs of these numbers, ready.
    pub(crate) fn with_runs(&self, numbers: &[u8]) {
        for number in numbers.iter().copied() {
            self.ours(move |tx| runs::insert(tx, &run_row(number, &ours())));
        }
    }

    /// A function across tenants is refused to a tenant.
    pub(crate) fn engine_only<T: Send + std::fmt::Debug + 'static>(
        &self,
        work: impl FnOnce(&Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    ) {
        refused(self.try_theirs(work));
    }
}

/// The result is a refusal at a tenant's border.
#[track_caller]
#[expect(clippy::needless_pass_by_value, reason = "it ends here")]
pub(crate) fn refused<T: std::fmt::Debug>(result: Result<T, StoreError>) {
    assert!(
        matches!(result, Err(StoreError::Forbidden(_))),
        "not refused: {result:?}"
    );
}

/// The result is a conflict.
#[track_caller]
#[expect(clippy::needless_pass_by_value, reason = "it ends here")]
pub(crate) fn conflicts<T: std::fmt::Debug>(result: Result<T, StoreError>) {
    assert!(
        matches!(result, Err(StoreError::Conflict(_))),
        "no conflict: {result:?}"
    );
}

pub(crate) fn ours() -> Scope {
    Scope {
        organisation: "acme".into(),
        workspace: "main".into(),
    }
}

/// Another organisation with a workspace of the same name.
pub(crate) fn theirs() -> Scope {
    Scope {
        organisation: "globex".into(),
        workspace: "main".into(),
    }
}

pub(crate) fn caller(scope: &Scope) -> Caller {
    Caller {
        principal: Principal {
            kind: PrincipalKind::User,
            name: "ada".into(),
        },
        scope: scope.clone(),
        on_behalf_of: Vec::new(),
    }
}

pub(crate) const fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros)
}

/// In November 2026, in the order of their numbers.
pub(crate) fn run_id(number: u8) -> RunId {
    let mut bytes = [0; 16];
    bytes[..6].copy_from_slice(&[0x01, 0x9a, 0x65, 0x00, 0x00, number]);
    RunId::from_bytes(bytes)
}

pub(crate) fn run_row(number: u8, scope: &Scope) -> RunRow {
    RunRow {
        run: run_id(number),
        scope: scope.clone(),
        kind: "test".into(),
        version: "1".into(),
        title: format!("test {number}"),
        trace: "0".repeat(32),
        state: "ready".into(),
        waiting: None,
        wake_at: None,
        owner: None,
        epoch: 0,
        crashes: 0,
        head_seq: -1,
        head_hash: Digest::of("genesis"),
        created_at: at(1),
        updated_at: at(1),
        placement: Placement {
            queued_at: at(1),
            ..Placement::default()
        },
        lineage: matrix_store::tables::runs::Lineage::default(),
        removed_at: None,
        hold: String::new(),
    }
}

pub(crate) fn entry(number: u8, seq: i64) -> EntryRow {
    EntryRow {
        lsn: 0,
        run: run_id(number),
        seq,
        kind: "note".into(),
        path: "a/b#1".into(),
        fingerprint: "f".into(),
        actor: "user:ada".into(),
        epoch: 1,
        at: at(7),
        payload_digest: Digest::of("payload"),
        hash: Digest::of(format!("{number}/{seq}")),
        salt: Some(vec![0, 1, 255]),
        payload: Some(b"{\"a\":\"\\u0000\"}".to_vec()),
        payload_blob: None,
    }
}

pub(crate) fn message(number: u8, kind: &str) -> Message {
    Message {
        id: 0,
        run: run_id(number),
        kind: kind.into(),
        path: "p".into(),
        payload: b"{}".to_vec(),
        actor: "user:ada".into(),
        at: at(3),
    }
}

pub(crate) fn approval(number: u8, run: u8) -> ApprovalRow {
    ApprovalRow {
        approval: ApprovalId::from_bytes([number; 16]),
        run: run_id(run),
        name: "gate".into(),
        state: "open".into(),
        subject: "{}".into(),
        requested_at: at(i64::from(number)),
        closed_at: None,
    }
}

pub(crate) fn log(run: u8, seq: i64) -> LogRow {
    LogRow {
        run: run_id(run),
        seq,
        path: "a#1".into(),
        worker: "service:w/1".into(),
        at: at(12),
        text: "one\ntwo".into(),
    }
}

/// How far a step of our run is.
pub(crate) fn progress(run: u8, path: &str) -> ProgressRow {
    ProgressRow {
        run: run_id(run),
        path: path.into(),
        epoch: 1,
        at: at(5),
        progress: "{\"done\":1}".into(),
    }
}

/// A task of our run, whose name is that of its step.
pub(crate) fn task(number: u8, run: u8, path: &str) -> TaskRow {
    TaskRow {
        task: TaskId::from_bytes([number; 16]),
        run: run_id(run),
        scope: ours(),
        path: path.into(),
        queue: "q".into(),
        name: path.trim_end_matches("#1").into(),
        class: "read".into(),
        state: "offered".into(),
        offer: "{}".into(),
        lease_ms: 5_000,
        timeout_ms: None,
        cancelled: false,
        losses: 0,
        worker: None,
        token: None,
        beat: 0,
        since: at(8),
        due_at: None,
        progress: None,
        report: None,
    }
}

pub(crate) fn artifact(run: u8, name: &str) -> ArtifactRow {
    ArtifactRow {
        run: run_id(run),
        name: name.into(),
        digest: Digest::of(name),
        media_type: "text/plain".into(),
        size: 5_000_000_000,
        created_at: at(2),
    }
}

pub(crate) fn deployment(number: u8, run: u8, scope: &Scope, state: &str) -> DeploymentRow {
    DeploymentRow {
        deployment: DeploymentId::from_bytes([number; 16]),
        run: run_id(run),
        scope: scope.clone(),
        target: "local".into(),
        state: state.into(),
        detail: "{}".into(),
        created_at: at(4),
        updated_at: at(4),
    }
}

pub(crate) fn release(number: u8, run: u8, scope: &Scope) -> ReleaseRow {
    ReleaseRow {
        release: ReleaseId::from_bytes([number; 16]),
        run: run_id(run),
        scope: scope.clone(),
        title: "a release".into(),
        detail: "{}".into(),
        created_at: at(5),
    }
}

pub(crate) fn principal(number: u8, scope: &Scope, name: &str) -> PrincipalRow {
    PrincipalRow {
        principal: PrincipalId::from_bytes([number; 16]),
        scope: scope.clone(),
        kind: "user".into(),
        name: name.into(),
        roles: "owner,member".into(),
        state: "active".into(),
        created_at: at(6),
    }
}

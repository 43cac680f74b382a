//! What the end-to-end tests share: a sandbox, a tree, and one run.
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "each test binary uses a part of it"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use matrix_core::system::SystemClock;
use matrix_sandbox::spec::{
    Ending, Limits, Network, Outcome, OutputSink, Profile, SandboxSpec, Stream,
};
use matrix_sandbox::{Options, Sandbox, SandboxError};
use tokio::sync::watch;

/// The launcher beside this test, where a copy for another user was put, else the built one.
pub fn launcher() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let beside = own.with_file_name("launcher-copy");
    if beside.exists() {
        beside
    } else {
        PathBuf::from(env!("CARGO_BIN_EXE_matrix-sandbox-launcher"))
    }
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A sandbox with a scratch directory and a work tree; everything goes when it is dropped.
pub struct Harness {
    pub sandbox: Sandbox,
    pub root: tempfile::TempDir,
}

impl Harness {
    pub fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let options = Options::new(
            launcher(),
            root.path().join("scratch"),
            Arc::new(SystemClock::start()),
        )
        .forbid(root.path().join("keys"));
        let sandbox = Sandbox::detect(options).expect("this machine isolates");
        std::fs::create_dir(root.path().join("tree")).unwrap();
        Self { sandbox, root }
    }

    /// The same, with limits kept by measuring.
    pub fn measured() -> Self {
        let mut harness = Self::new();
        harness.sandbox = harness.sandbox.without_control_groups();
        harness
    }

    pub fn tree(&self) -> PathBuf {
        self.root.path().join("tree")
    }

    pub fn spec(&self, script: &str) -> SandboxSpec {
        SandboxSpec {
            profile: Profile::Check,
            command: vec!["sh".into(), "-c".into(), script.into()],
            cwd: "/work".into(),
            env: BTreeMap::new(),
            work_tree: self.tree(),
            mounts: Vec::new(),
            path: Vec::new(),
            network: Network::None,
            limits: Limits {
                wall: Duration::from_mins(1),
                memory_bytes: 512 << 20,
                ..Limits::default()
            },
        }
    }

    pub async fn run(&self, spec: SandboxSpec) -> Result<Ran, SandboxError> {
        let (_keep, cancel) = watch::channel(false);
        self.run_with(spec, cancel).await
    }

    pub async fn run_with(
        &self,
        spec: SandboxSpec,
        cancel: watch::Receiver<bool>,
    ) -> Result<Ran, SandboxError> {
        let collected = Arc::new(Mutex::new((Vec::new(), Vec::new())));
        let inner = Arc::clone(&collected);
        let sink: OutputSink = Box::new(move |stream, bytes| {
            let mut both = inner.lock().unwrap();
            match stream {
                Stream::Stdout => both.0.extend_from_slice(bytes),
                Stream::Stderr => both.1.extend_from_slice(bytes),
            }
        });
        let outcome = self.sandbox.run(spec, sink, cancel).await?;
        let both = collected.lock().unwrap();
        Ok(Ran {
            outcome,
            out: String::from_utf8_lossy(&both.0).into_owned(),
            err: String::from_utf8_lossy(&both.1).into_owned(),
        })
    }

    /// Runs a script that must succeed and returns what it printed.
    pub async fn succeed(&self, script: &str) -> String {
        let ran = self.run(self.spec(script)).await.unwrap();
        assert!(ran.outcome.success(), "{:?}: {}", ran.outcome, ran.err);
        ran.out
    }
}

#[derive(Debug)]
pub struct Ran {
    pub outcome: Outcome,
    pub out: String,
    pub err: String,
}

impl Ran {
    pub fn ending(&self) -> &Ending {
        &self.outcome.ending
    }
}

/// Whether a lock file in the tree is held by a process that is still alive.
pub fn locked(path: &Path) -> bool {
    let file = std::fs::File::open(path).expect("the lock was made");
    rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_err()
}

/// Waits until the condition holds, looking every few milliseconds, for at most 20 seconds.
pub async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..4000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("not within 20 seconds: {what}");
}

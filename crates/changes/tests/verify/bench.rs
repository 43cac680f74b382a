//! Two trees, a sandbox and everything a check needs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use matrix_changes::verify::{
    CheckResult, Context, Judged, Prepared, Preparer, Project, ProjectConfig, Search, Side,
    Toolchains, Tree, judge, needs_second_attempt, run_check,
};
use matrix_core::system::SystemClock;
use matrix_evidence::Kind;
use matrix_sandbox::spec::Limits;
use matrix_sandbox::{Options, Sandbox};
use tokio::sync::watch;

/// The sandbox's launcher, built where it is not there yet.
fn launcher() -> PathBuf {
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    path.pop();
    path.push("matrix-sandbox-launcher");
    if !path.exists() {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sandbox/Cargo.toml");
        let status = std::process::Command::new(env!("CARGO"))
            .args([
                "build",
                "--quiet",
                "--bin",
                "matrix-sandbox-launcher",
                "--manifest-path",
            ])
            .arg(manifest)
            .status()
            .unwrap();
        assert!(status.success(), "the sandbox's launcher was not built");
    }
    path
}

pub(crate) struct Bench {
    pub(crate) root: tempfile::TempDir,
    pub(crate) context: Context,
    pub(crate) cancel: watch::Sender<bool>,
    pub(crate) search: Search,
}

pub(crate) type Files<'a> = &'a [(&'a str, &'a str)];

pub(crate) fn write(root: &Path, files: Files<'_>) {
    for (path, content) in files {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
}

impl Bench {
    #[expect(
        clippy::disallowed_methods,
        reason = "a test stands where the binary would"
    )]
    pub(crate) async fn new(base: Files<'_>, head: Files<'_>) -> Self {
        let root = tempfile::tempdir().unwrap();
        let (base_path, head_path) = (root.path().join("base"), root.path().join("head"));
        for (path, files) in [(&base_path, base), (&head_path, head)] {
            std::fs::create_dir_all(path).unwrap();
            write(path, files);
        }
        let env = ["PATH", "HOME", "RUSTUP_HOME", "CARGO_HOME", "PYENV_ROOT"]
            .into_iter()
            .filter_map(|name| Some((name.to_owned(), std::env::var(name).ok()?)));
        let search = Search { env: env.collect() };
        let toolchains = Toolchains::find(&search).await;
        let options = Options::new(
            launcher(),
            root.path().join("sandbox"),
            Arc::new(SystemClock::start()),
        );
        let sandbox = Sandbox::detect(options).expect("this machine isolates");
        let (cancel, cancelled) = watch::channel(false);
        let tree = |path: PathBuf, id: &str| Tree {
            path,
            id: id.to_owned(),
        };
        let context = Context {
            executor: Arc::new(sandbox),
            toolchains,
            base_prepared: Prepared::default(),
            head_prepared: Prepared::default(),
            subject: "sample".into(),
            base: tree(base_path, "base"),
            head: tree(head_path, "head"),
            diff: Arc::from(Vec::new()),
            artifacts: Vec::new(),
            scratch: root.path().join("scratch"),
            cache: None,
            vulnerabilities: None,
            limits: Limits::default(),
            clock: Arc::new(SystemClock::start()),
            cancel: cancelled,
            log: None,
        };
        Self {
            root,
            context,
            cancel,
            search,
        }
    }

    /// What fetches dependencies, with further variables in the user's environment.
    pub(crate) fn preparer(&self, env: &[(&str, &str)]) -> Preparer {
        let mut search = self.search.clone();
        for (name, value) in env {
            search.env.insert((*name).to_owned(), (*value).to_owned());
        }
        Preparer {
            executor: Arc::clone(&self.context.executor),
            toolchains: self.context.toolchains.clone(),
            search,
            hosts: Vec::new(),
            upstream: None,
            cache: self.root.path().join("cache"),
            scratch: self.root.path().join("scratch"),
            limits: Limits::default(),
            cancel: self.context.cancel.clone(),
            log: None,
        }
    }

    pub(crate) fn project(&self, config: Option<&ProjectConfig>) -> Project {
        Project::detect(&self.context.base.path, &self.context.head.path, config)
    }

    /// Everything of one kind, as the change's run would do it.
    pub(crate) async fn verify(&self, project: &Project, kind: Kind) -> (Judged, Vec<CheckResult>) {
        let (mut base, mut head) = (Vec::new(), Vec::new());
        for job in project.of_kind(kind) {
            for side in job.sides() {
                let result = run_check(job, side, 1, &self.context).await.unwrap().result;
                match side {
                    Side::Base => base.push(result),
                    Side::Head => {
                        let before = base.iter().find(|before| before.job == job.id);
                        let again =
                            kind == Kind::TestResults && needs_second_attempt(before, &result);
                        head.push(result);
                        if again {
                            let second = run_check(job, side, 2, &self.context).await.unwrap();
                            head.push(second.result);
                        }
                    }
                }
            }
        }
        let judged = judge(kind, &base, &head, &BTreeMap::new());
        (judged, base.into_iter().chain(head).collect())
    }

    pub(crate) fn nothing_is_left(&self) {
        let left: Vec<_> = std::fs::read_dir(self.root.path().join("scratch"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        assert!(left.is_empty(), "throw-away copies stay: {left:?}");
    }
}

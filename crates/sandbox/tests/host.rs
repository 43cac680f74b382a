//! What happens when somebody else dies: the host, the launcher.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops at the first surprise"
)]

mod common;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use common::{Harness, launcher, locked, until};
use matrix_core::system::SystemClock;
use matrix_sandbox::SandboxError;
use matrix_sandbox::spec::{Ending, Limit};

/// Starts this test program again as a host of its own, which runs a sandbox until it is killed.
fn host(root: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "be_a_host", "--nocapture"])
        .env("MATRIX_TEST_ROOT", root)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[tokio::test]
#[ignore = "a process that other tests start and kill"]
#[expect(
    clippy::disallowed_methods,
    reason = "the only way to tell a test program something"
)]
async fn be_a_host() {
    let root = std::path::PathBuf::from(std::env::var_os("MATRIX_TEST_ROOT").unwrap());
    let options = matrix_sandbox::Options::new(
        launcher(),
        root.join("scratch"),
        Arc::new(SystemClock::start()),
    );
    let sandbox = matrix_sandbox::Sandbox::detect(options).unwrap();
    let harness = Harness::new();
    let mut spec = harness
        .spec("(setsid flock /work/lock sh -c 'echo > /work/held; sleep 1000' &); sleep 1000");
    spec.work_tree = root.join("tree");
    let (_keep, cancel) = tokio::sync::watch::channel(false);
    drop(sandbox.run(spec, Box::new(|_, _| {}), cancel).await);
}

#[tokio::test]
async fn a_killed_host_takes_the_tree_with_it() {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join("tree")).unwrap();
    let mut host = host(root.path());
    let (held, lock) = (root.path().join("tree/held"), root.path().join("tree/lock"));
    until("the grandchild holds the lock", || held.exists()).await;
    assert!(locked(&lock));
    host.kill().unwrap();
    host.wait().unwrap();
    until("the lock is free", || !locked(&lock)).await;
    let own = rustix::process::geteuid().as_raw();
    let owner =
        |path: &Path| std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(path).unwrap());
    until("the tree is given back", || owner(&lock) == own).await;
}

/// Children of a process, by the kernel's list.
fn children(pid: u32) -> Vec<u32> {
    std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))
        .unwrap_or_default()
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect()
}

fn launchers() -> Vec<u32> {
    let own = std::process::id();
    let mut found = Vec::new();
    for task in std::fs::read_dir(format!("/proc/{own}/task"))
        .unwrap()
        .flatten()
    {
        let list = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
        found.extend(
            list.split_whitespace()
                .filter_map(|word| word.parse::<u32>().ok()),
        );
    }
    found
}

#[tokio::test]
async fn a_killed_launcher_takes_the_tree_with_it_and_is_reported() {
    let harness = Harness::new();
    let held = harness.tree().join("held");
    let lock = harness.tree().join("lock");
    let before = launchers();
    let spec = harness.spec("flock /work/lock sh -c 'echo > /work/held; sleep 1000'");
    let killing = async {
        until("the lock is held", || held.exists()).await;
        let marker = harness.root.path().to_string_lossy().into_owned();
        for pid in launchers().into_iter().filter(|pid| !before.contains(pid)) {
            // Other tests of this program have launchers too; ours has our tree open.
            let ours = children(pid).iter().any(|inner| {
                std::fs::read_to_string(format!("/proc/{inner}/mountinfo"))
                    .is_ok_and(|mounts| mounts.contains(&marker))
            });
            if ours {
                let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
                rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
            }
        }
    };
    let (ran, ()) = tokio::join!(harness.run(spec), killing);
    assert!(matches!(ran, Err(SandboxError::Lost { .. })), "{ran:?}");
    until("the lock is free", || !locked(&lock)).await;
}

#[tokio::test]
async fn a_launcher_that_is_another_program_is_unavailable() {
    let root = tempfile::tempdir().unwrap();
    let options = matrix_sandbox::Options::new(
        "/bin/true",
        root.path().join("s"),
        Arc::new(SystemClock::start()),
    );
    let error = matrix_sandbox::Sandbox::detect(options).unwrap_err();
    assert!(!error.fix.is_empty());
    let problem = matrix_core::Problem::from(error);
    assert_eq!(problem.code.text, "SANDBOX-0001");
}

/// Every other test of this crate once more, as a user without rights.
#[test]
fn everything_holds_for_an_ordinary_user() {
    if !common::is_root() {
        return;
    }
    let room = tempfile::Builder::new()
        .prefix("as-user-")
        .tempdir_in("/tmp")
        .unwrap();
    let user = 4_242;
    let mode = <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o755);
    std::fs::set_permissions(room.path(), mode).unwrap();
    std::fs::copy(launcher(), room.path().join("launcher-copy")).unwrap();
    let scratch = room.path().join("tmp");
    std::fs::create_dir(&scratch).unwrap();
    std::os::unix::fs::chown(&scratch, Some(user), Some(user)).unwrap();
    let own = std::env::current_exe().unwrap();
    let directory = own.parent().unwrap();
    for suite in ["run", "limits", "probes", "network", "services"] {
        let built = newest(directory, suite);
        let copy = room.path().join(suite);
        std::fs::copy(&built, &copy).unwrap();
        let output = Command::new("setpriv")
            .args([
                "--reuid",
                &user.to_string(),
                "--regid",
                &user.to_string(),
                "--clear-groups",
            ])
            .arg(&copy)
            .arg("--test-threads=4")
            .env("TMPDIR", &scratch)
            .current_dir(room.path())
            .output()
            .expect("setpriv is part of util-linux");
        assert!(
            output.status.success(),
            "{suite} as user {user}:\n{}\n{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

/// The test program of a suite, as it was built last.
fn newest(directory: &Path, suite: &str) -> std::path::PathBuf {
    let prefix = format!("{suite}-");
    let mut found: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .flatten()
        .filter(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            name.strip_prefix(&prefix).is_some_and(|hash| {
                hash.len() == 16 && hash.bytes().all(|byte| byte.is_ascii_hexdigit())
            })
        })
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    found.sort();
    found.pop().expect("every suite is built with this one").1
}

#[tokio::test]
async fn limits_and_endings_have_stable_names() {
    let text = serde_json::to_string(&Ending::LimitExceeded {
        limit: Limit::Memory,
    })
    .unwrap();
    assert_eq!(text, r#"{"how":"limit_exceeded","limit":"memory"}"#);
}

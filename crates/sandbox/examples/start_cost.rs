//! What the sandbox adds to the start of a program: `start_cost LAUNCHER [ROUNDS] [--check]`.
//!
//! Prints one line of JSON with the median and the 95th percentile of a plain execution of `true`,
//! of the sandbox, and of `bwrap` where it is installed, interleaved so that all meet the same
//! machine. With `--check` it fails when the sandbox adds more than 10 ms median or 25 ms p95.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use matrix_core::Clock;
use matrix_core::system::SystemClock;
use matrix_sandbox::spec::{Limits, Network, Profile, SandboxSpec};
use matrix_sandbox::{Options, Sandbox};

const MEDIAN_GOAL: f64 = 10.0;
const P95_GOAL: f64 = 25.0;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    let check = words.iter().any(|word| word == "--check");
    words.retain(|word| word != "--check");
    let launcher = words
        .first()
        .ok_or("usage: start_cost LAUNCHER [ROUNDS] [--check]")?;
    let rounds: usize = words.get(1).map_or(Ok(200), |word| word.parse())?;
    let room = tempfile::tempdir()?;
    let tree = room.path().join("tree");
    std::fs::create_dir(&tree)?;
    let clock = Arc::new(SystemClock::start());
    let options = Options::new(launcher, room.path().join("scratch"), clock.clone());
    let sandbox = Sandbox::detect(options)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (mut plain, mut ours, mut peer) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds + 5 {
        let once = [
            time(&*clock, || run_plain(&["true"]))?,
            time(&*clock, || runtime.block_on(run_sandboxed(&sandbox, &tree)))?,
        ];
        let other = time(&*clock, || run_plain(BWRAP));
        // The first rounds fill caches.
        if round >= 5 {
            plain.push(once[0]);
            ours.push(once[1]);
            peer.extend(other.ok());
        }
    }
    let added = (median(&ours) - median(&plain), p95(&ours) - p95(&plain));
    let line = serde_json::json!({
        "rounds": rounds,
        "limits": sandbox.mechanism(),
        "plain_ms": figures(&plain),
        "sandbox_ms": figures(&ours),
        "bwrap_ms": if peer.is_empty() { serde_json::Value::Null } else { figures(&peer) },
        "added_ms": { "median": added.0, "p95": added.1 },
        "goal_ms": { "median": MEDIAN_GOAL, "p95": P95_GOAL },
    });
    writeln!(std::io::stdout(), "{line}")?;
    if check && (added.0 > MEDIAN_GOAL || added.1 > P95_GOAL) {
        return Err("the sandbox adds more than the goal".into());
    }
    Ok(())
}

/// Without the drop of the user, the filter and Landlock: the nearest that it does by itself.
const BWRAP: &[&str] = &[
    "bwrap",
    "--unshare-all",
    "--die-with-parent",
    "--ro-bind",
    "/usr",
    "/usr",
    "--symlink",
    "usr/bin",
    "/bin",
    "--symlink",
    "usr/lib",
    "/lib",
    "--symlink",
    "usr/lib64",
    "/lib64",
    "--proc",
    "/proc",
    "--dev",
    "/dev",
    "--tmpfs",
    "/tmp",
    "true",
];

fn time<T, E>(clock: &dyn Clock, work: impl FnOnce() -> Result<T, E>) -> Result<Duration, E> {
    let start = clock.monotonic();
    work()?;
    Ok(clock.monotonic().saturating_sub(start))
}

fn run_plain(words: &[&str]) -> std::io::Result<()> {
    let [program, arguments @ ..] = words else {
        return Err(std::io::Error::other("no program"));
    };
    let status = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    if status.success() {
        Ok(())
    } else {
        Err(std::io::Error::other(status.to_string()))
    }
}

async fn run_sandboxed(sandbox: &Sandbox, tree: &std::path::Path) -> Result<(), String> {
    let spec = SandboxSpec {
        profile: Profile::Check,
        command: vec!["true".into()],
        cwd: "/work".into(),
        env: std::collections::BTreeMap::new(),
        work_tree: tree.into(),
        mounts: Vec::new(),
        path: Vec::new(),
        network: Network::None,
        limits: Limits::default(),
    };
    let (_keep, cancel) = tokio::sync::watch::channel(false);
    let outcome = sandbox.run(spec, Box::new(|_, _| {}), cancel).await;
    match outcome {
        Ok(outcome) if outcome.success() => Ok(()),
        other => Err(format!("{other:?}")),
    }
}

fn millis(times: &[Duration]) -> Vec<f64> {
    let mut all: Vec<f64> = times
        .iter()
        .map(|time| time.as_secs_f64() * 1000.0)
        .collect();
    all.sort_by(f64::total_cmp);
    all
}

fn median(times: &[Duration]) -> f64 {
    at(times, 50)
}

fn p95(times: &[Duration]) -> f64 {
    at(times, 95)
}

fn at(times: &[Duration], percent: usize) -> f64 {
    let all = millis(times);
    all.get(all.len().saturating_sub(1) * percent / 100)
        .copied()
        .unwrap_or(0.0)
}

fn figures(times: &[Duration]) -> serde_json::Value {
    serde_json::json!({ "min": at(times, 0), "median": median(times), "p95": p95(times) })
}

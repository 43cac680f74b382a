//! What a caller asks of a sandbox, and what it gets back.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What the sandbox is for; each profile has its own self-test result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// Checks of a change: offline.
    Check,
    /// Fetching dependencies: only the egress proxy is reachable.
    Prepare,
    /// A deployed process: offline but for one published loopback port.
    Service,
}

/// A directory or file of the host shown inside, read-only unless said otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Absolute path on the host.
    pub source: PathBuf,
    /// Absolute path inside.
    pub target: PathBuf,
    /// Whether the sandbox may change it.
    pub access: Access,
}

/// What may be done with a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// Reading and executing.
    ReadOnly,
    /// Everything; the owner is changed to the sandbox's user where that is another.
    ReadWrite,
}

/// What the sandbox can reach.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    /// Nothing; not even a loopback service of the host.
    None,
    /// An HTTP CONNECT proxy on `127.0.0.1:port` inside, forwarded to this Unix socket outside.
    Egress {
        /// The egress proxy's socket on the host.
        socket: PathBuf,
        /// The loopback port inside.
        port: u16,
    },
    /// A server inside on `127.0.0.1:port`, reachable through this Unix socket outside.
    Publish {
        /// The loopback port the program inside listens on.
        port: u16,
        /// Where connections come in on the host.
        socket: PathBuf,
    },
}

/// Limits on one execution; each is enforced by the kernel or by the supervisor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Wall-clock time until the whole process tree is killed.
    pub wall: Duration,
    /// CPU time of the process tree.
    pub cpu: Duration,
    /// Resident memory of the process tree, in bytes.
    pub memory_bytes: u64,
    /// Number of processes and threads.
    pub processes: u64,
    /// Bytes of standard output and error kept and streamed; more kills.
    pub output_bytes: u64,
    /// Size of one file, in bytes.
    pub file_bytes: u64,
    /// Bytes and inodes the work tree and `/tmp` may grow by together.
    pub disk_bytes: u64,
    /// Open files of one process.
    pub open_files: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            wall: Duration::from_mins(10),
            cpu: Duration::from_mins(20),
            memory_bytes: 4 << 30,
            processes: 512,
            output_bytes: 64 << 20,
            file_bytes: 1 << 30,
            disk_bytes: 8 << 30,
            open_files: 4096,
        }
    }
}

/// One command to execute in isolation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxSpec {
    /// What it is for.
    pub profile: Profile,
    /// Program (looked up in the sandbox's `PATH`) and arguments.
    pub command: Vec<OsString>,
    /// Working directory inside.
    pub cwd: PathBuf,
    /// The whole environment inside, beyond `PATH`, `HOME`, `TMPDIR`, `LANG`; nothing is inherited.
    pub env: BTreeMap<String, String>,
    /// The one writable work tree, shown at `/work`; its `.git`, if any, is read-only.
    pub work_tree: PathBuf,
    /// More directories, such as toolchains under `/toolchains/NAME`.
    pub mounts: Vec<Mount>,
    /// Directories inside that are put before the system's in `PATH`.
    pub path: Vec<PathBuf>,
    /// What can be reached.
    pub network: Network,
    /// Its limits.
    pub limits: Limits,
}

/// Which limit ended an execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// Wall-clock time.
    Wall,
    /// CPU time.
    Cpu,
    /// Memory.
    Memory,
    /// Processes.
    Processes,
    /// Output.
    Output,
    /// Disk.
    Disk,
}

/// How an execution ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "how")]
pub enum Ending {
    /// The command exited by itself.
    Exited {
        /// Its exit code.
        code: i32,
    },
    /// A signal ended it.
    Signalled {
        /// The signal's number.
        signal: i32,
    },
    /// A limit was passed and the whole process tree killed.
    LimitExceeded {
        /// Which one.
        limit: Limit,
    },
    /// The caller cancelled it.
    Cancelled,
}

/// Something the sandbox refused, in words an agent or a person can use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Denial {
    /// What was refused, such as `network`, `syscall`, `host`.
    pub what: String,
    /// The reason and what is allowed instead.
    pub reason: String,
}

/// The result of one execution.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// How it ended.
    pub ending: Ending,
    /// What was refused on the way, as far as it can be seen.
    pub denials: Vec<Denial>,
    /// Which mechanisms enforced the limits: `cgroup-v1`, `cgroup-v2` or `supervisor`.
    pub mechanism: String,
    /// Wall-clock time in milliseconds.
    pub duration_ms: u64,
    /// Bytes of output seen.
    pub output_bytes: u64,
}

impl Outcome {
    /// Whether the command exited with zero.
    pub fn success(&self) -> bool {
        self.ending == Ending::Exited { code: 0 }
    }
}

/// Which stream a piece of output came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Takes output as it comes; called from one task, in order per stream.
pub type OutputSink = Box<dyn FnMut(Stream, &[u8]) + Send>;

/// One probe of the self-test: something that must not work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeResult {
    /// The probe's name: `file.read_shadow`.
    pub name: String,
    /// Its class: `file`, `kernel`, `network`, `resource`, `secret`.
    pub class: String,
    /// Whether the sandbox held.
    pub held: bool,
    /// What happened.
    pub detail: String,
}

/// Which probes to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbeSet {
    /// The set that runs before the first work of each host and profile (at most one second).
    Fast,
    /// Every probe.
    Full,
}

/// The result of a self-test; part of each change's evidence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SelfTest {
    /// The profile probed.
    pub profile: Profile,
    /// What enforces it: namespaces, seccomp, Landlock ABI, limits mechanism, user.
    pub mechanisms: BTreeMap<String, String>,
    /// Each probe.
    pub probes: Vec<ProbeResult>,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
}

impl SelfTest {
    /// Whether every probe held and there was at least one.
    pub fn held(&self) -> bool {
        !self.probes.is_empty() && self.probes.iter().all(|probe| probe.held)
    }
}

//! The self-test: probes inside the real sandbox, and limits that must end what passes them.
//!
//! Its result is evidence, so it names every probe, and a probe that did not answer counts as one
//! that did not hold. The fast set runs everything at once and takes well under a second on an idle
//! machine.

use std::collections::BTreeMap;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;

use crate::detect::{Sandbox, make_private_directory};
use crate::error::SandboxError;
use crate::probe::{self, Canaries, INSIDE, PROBE};
use crate::spec::{
    Access, Ending, Limit, Limits, Mount, Network, OutputSink, ProbeResult, ProbeSet, Profile,
    SandboxSpec, SelfTest, Stream,
};

/// No probe program may take longer; the fast set is done in a fraction of it.
const PATIENCE: Duration = Duration::from_secs(20);
/// The loopback port of the egress proxy inside.
const EGRESS_PORT: u16 = 3128;

/// A limit to pass, and what must come of it.
struct Burn {
    what: &'static str,
    fast: bool,
    expect: Expect,
    shape: fn(&mut Limits),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expect {
    Passed(Limit),
    /// The program ends well and nothing of it stays.
    NothingStays,
}

const BURNS: &[Burn] = &[
    Burn {
        what: "wall",
        fast: true,
        expect: Expect::Passed(Limit::Wall),
        shape: |limits| limits.wall = Duration::from_millis(100),
    },
    Burn {
        what: "cpu",
        fast: true,
        expect: Expect::Passed(Limit::Cpu),
        shape: |limits| limits.cpu = Duration::from_millis(60),
    },
    Burn {
        what: "memory",
        fast: true,
        expect: Expect::Passed(Limit::Memory),
        shape: |limits| limits.memory_bytes = 32 << 20,
    },
    Burn {
        what: "processes",
        fast: true,
        expect: Expect::Passed(Limit::Processes),
        shape: |limits| limits.processes = 12,
    },
    Burn {
        what: "output",
        fast: true,
        expect: Expect::Passed(Limit::Output),
        shape: |limits| limits.output_bytes = 64 << 10,
    },
    Burn {
        what: "scratch",
        fast: true,
        expect: Expect::Passed(Limit::Disk),
        shape: |limits| limits.disk_bytes = 4 << 20,
    },
    Burn {
        what: "disk",
        fast: false,
        expect: Expect::Passed(Limit::Disk),
        shape: |limits| limits.disk_bytes = 16 << 20,
    },
    Burn {
        what: "inodes",
        fast: false,
        expect: Expect::Passed(Limit::Disk),
        shape: |limits| limits.disk_bytes = 4 << 20,
    },
    Burn {
        what: "stubborn",
        fast: false,
        expect: Expect::Passed(Limit::Wall),
        shape: |limits| limits.wall = Duration::from_millis(300),
    },
    Burn {
        what: "orphan",
        fast: false,
        expect: Expect::NothingStays,
        shape: |_| {},
    },
];

impl Sandbox {
    /// Tries everything that must not work, inside a sandbox of this profile.
    ///
    /// # Errors
    /// [`SandboxError`] when the probes could not be started. A probe that did not hold is part of
    /// the result; no work may then be done on this machine.
    pub async fn self_test(
        &self,
        profile: Profile,
        set: ProbeSet,
    ) -> Result<SelfTest, SandboxError> {
        let clock = Arc::clone(&self.shared.options.clock);
        let started = clock.monotonic();
        let stage = Stage::prepare(&self.shared.options.scratch, profile)?;
        let burns = BURNS
            .iter()
            .filter(|burn| burn.fast || set == ProbeSet::Full);
        let burning = burns.map(|burn| {
            let (sandbox, root) = (self.clone(), stage.root.clone());
            tokio::task::spawn(async move { sandbox.burn(burn, &root, profile).await })
        });
        let burning: Vec<_> = burning.collect();
        let mut probes = self.inside(&stage, set).await?;
        if set == ProbeSet::Full {
            // What the first left in its private places, the second must not find.
            let again = self.inside(&stage, ProbeSet::Fast).await?;
            probes.extend(
                again
                    .into_iter()
                    .filter(|one| one.name.contains("earlier"))
                    .map(|one| ProbeResult {
                        name: format!("{}_again", one.name),
                        ..one
                    }),
            );
        }
        for task in burning {
            probes.push(task.await.map_err(|error| SandboxError::Lost {
                detail: error.to_string(),
            })?);
        }
        let duration = clock.monotonic().saturating_sub(started);
        Ok(SelfTest {
            profile,
            mechanisms: self.mechanisms(),
            probes,
            duration_ms: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
        })
    }

    /// What enforces the isolation here.
    pub fn mechanisms(&self) -> BTreeMap<String, String> {
        let root = rustix::process::geteuid().is_root();
        let text = |words: &str| words.to_owned();
        BTreeMap::from([
            (text("limits"), text(self.mechanism())),
            (
                text("namespaces"),
                text("user, mount, process, network, ipc, host name, control group"),
            ),
            (text("system_calls"), text("seccomp allow-list")),
            (text("landlock"), landlock_version()),
            (
                text("user"),
                text(if root {
                    "an unprivileged user of its own"
                } else {
                    "the user of the host, in a namespace of its own"
                }),
            ),
        ])
    }

    async fn inside(&self, stage: &Stage, set: ProbeSet) -> Result<Vec<ProbeResult>, SandboxError> {
        let fast = set == ProbeSet::Fast;
        let canaries =
            serde_json::to_string(&stage.canaries).map_err(|error| SandboxError::Setup {
                detail: error.to_string(),
            })?;
        let mut spec = self.probe_spec(stage.profile, &stage.tree);
        spec.command
            .extend([if fast { "fast" } else { "full" }.into(), canaries.into()]);
        if let Some(egress) = &stage.egress {
            spec.network = Network::Egress {
                socket: egress.socket().to_owned(),
                port: EGRESS_PORT,
            };
        }
        let (sink, collected) = collector();
        let (_keep, cancel) = watch::channel(false);
        let outcome = self.run(spec, sink, cancel).await?;
        let answers: Vec<ProbeResult> = take(&collected)
            .split(|byte| *byte == b'\n')
            .filter_map(|line| serde_json::from_slice(line).ok())
            .collect();
        Ok(probe::names(fast)
            .into_iter()
            .map(|(name, class)| {
                let answer = answers.iter().find(|answer| answer.name == name).cloned();
                answer.unwrap_or_else(|| ProbeResult {
                    name,
                    class: class.into(),
                    held: false,
                    detail: format!(
                        "no answer; the probe program ended with {:?}",
                        outcome.ending
                    ),
                })
            })
            .collect())
    }

    /// The launcher's own file, which `/proc/self/exe` only points to.
    fn launcher_file(&self) -> PathBuf {
        let launcher = &self.shared.options.launcher;
        launcher.canonicalize().unwrap_or_else(|_| launcher.clone())
    }

    fn probe_spec(&self, profile: Profile, tree: &Path) -> SandboxSpec {
        SandboxSpec {
            profile,
            command: vec![INSIDE.into(), PROBE.into()],
            cwd: "/work".into(),
            env: BTreeMap::new(),
            work_tree: tree.into(),
            mounts: vec![Mount {
                source: self.launcher_file(),
                target: INSIDE.into(),
                access: Access::ReadOnly,
            }],
            path: Vec::new(),
            network: Network::None,
            limits: Limits {
                wall: PATIENCE,
                memory_bytes: 256 << 20,
                disk_bytes: 64 << 20,
                ..Limits::default()
            },
        }
    }

    async fn burn(&self, burn: &Burn, root: &Path, profile: Profile) -> ProbeResult {
        let tree = root.join(burn.what);
        let finding = if let Err(error) = make_private_directory(&tree) {
            Err(error.to_string())
        } else {
            let mut spec = self.probe_spec(profile, &tree);
            spec.command.extend(["burn".into(), burn.what.into()]);
            (burn.shape)(&mut spec.limits);
            self.judge(burn, spec, &tree).await
        };
        let (held, detail) = match finding {
            Ok(detail) => (true, detail),
            Err(detail) => (false, detail),
        };
        ProbeResult {
            name: format!("resource.{}", burn.what),
            class: "resource".into(),
            held,
            detail,
        }
    }

    async fn judge(&self, burn: &Burn, spec: SandboxSpec, tree: &Path) -> Result<String, String> {
        let (_keep, cancel) = watch::channel(false);
        let outcome = self
            .run(spec, Box::new(|_, _| {}), cancel)
            .await
            .map_err(|error| error.to_string())?;
        let said = format!("{:?} by {}", outcome.ending, outcome.mechanism);
        let held = match burn.expect {
            Expect::Passed(limit) => outcome.ending == Ending::LimitExceeded { limit },
            Expect::NothingStays => {
                let lock = std::fs::File::open(tree.join("probe-lock"));
                let free = lock.is_ok_and(|file| {
                    let attempt = rustix::fs::FlockOperation::NonBlockingLockExclusive;
                    rustix::fs::flock(file, attempt).is_ok()
                });
                outcome.success() && free
            }
        };
        if held { Ok(said) } else { Err(said) }
    }
}

/// The version of Landlock that the kernel speaks; the rules use as much of it as they know.
fn landlock_version() -> String {
    const ASK_VERSION: libc::c_long = 1;
    match crate::sys::raw(
        libc::SYS_landlock_create_ruleset,
        [0, 0, ASK_VERSION, 0, 0, 0],
    ) {
        Ok(version) => format!("version {version}"),
        Err(error) => format!("none: {error}"),
    }
}

/// Trees and canaries of one self-test; removed when it ends.
struct Stage {
    profile: Profile,
    root: PathBuf,
    tree: PathBuf,
    canaries: Canaries,
    egress: Option<crate::egress::Egress>,
    _listeners: (UnixListener, UnixListener, std::net::TcpListener),
}

impl Stage {
    fn prepare(scratch: &Path, profile: Profile) -> Result<Self, SandboxError> {
        use std::sync::atomic::{AtomicU64, Ordering};
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("probe-{}-{number}", std::process::id());
        Self::plant(scratch.join(&name), &name, profile).map_err(|error| SandboxError::Setup {
            detail: format!("cannot prepare the probes: {error}"),
        })
    }

    fn plant(root: PathBuf, name: &str, profile: Profile) -> std::io::Result<Self> {
        let tree = root.join("tree");
        make_private_directory(&tree.join(".git/hooks"))?;
        std::fs::write(tree.join(".git/config"), "[core]\n")?;
        let outside = root.join("outside");
        make_private_directory(&outside)?;
        let secret = format!("secret of {name}");
        std::fs::write(outside.join("canary"), &secret)?;
        let socket = outside.join("socket");
        let by_path = crate::socket::bind(&socket)?;
        let abstract_socket = format!("matrix-{name}");
        let by_name = UnixListener::bind_addr(
            &std::os::unix::net::SocketAddr::from_abstract_name(abstract_socket.as_bytes())?,
        )?;
        let by_port = std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0))?;
        let port = by_port.local_addr()?.port();
        let egress = match profile {
            Profile::Prepare => Some(crate::egress::Egress::start(
                &outside.join("egress"),
                crate::egress::Rules::default(),
            )?),
            Profile::Check | Profile::Service => None,
        };
        Ok(Self {
            profile,
            tree,
            canaries: Canaries {
                file: outside.join("canary"),
                secret,
                socket,
                abstract_socket,
                port,
                egress: egress.as_ref().map(|_| EGRESS_PORT),
            },
            root,
            egress,
            _listeners: (by_path, by_name, by_port),
        })
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // What cannot be removed stays in the scratch directory, where no sandbox sees it.
        drop(std::fs::remove_dir_all(&self.root));
    }
}

type Collected = Arc<Mutex<Vec<u8>>>;

fn collector() -> (OutputSink, Collected) {
    let collected = Collected::default();
    let inner = Arc::clone(&collected);
    let sink = Box::new(move |stream: Stream, bytes: &[u8]| {
        if stream == Stream::Stdout
            && let Ok(mut all) = inner.lock()
        {
            all.extend_from_slice(bytes);
        }
    });
    (sink, collected)
}

fn take(collected: &Collected) -> Vec<u8> {
    collected
        .lock()
        .map(|mut all| std::mem::take(&mut *all))
        .unwrap_or_default()
}

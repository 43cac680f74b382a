//! Whether this machine can isolate, found out by doing it once.

use std::fs;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use matrix_core::Clock;

use crate::error::Unavailable;
use crate::launcher::SANDBOX;
use crate::limits::cgroup::{self, Place};
use crate::spec::{Ending, Limits, Network, Profile, SandboxSpec};
use crate::wire::{self, Job, Lines, Report, UserRange};

/// What a sandbox needs from its host.
#[derive(Debug, Clone)]
pub struct Options {
    /// The program to start as launcher; its `main` calls [`crate::launcher::dispatch`] first.
    /// `/proc/self/exe` is the running program itself, also after its file was replaced.
    pub launcher: PathBuf,
    /// A private directory (it is made, mode 0700) for sockets and trial trees.
    pub scratch: PathBuf,
    /// The clock that durations are measured with.
    pub clock: Arc<dyn Clock>,
    /// Directories that no sandbox may be shown, nor anything that contains them, such as the
    /// directory of signing keys.
    pub forbidden: Vec<PathBuf>,
}

impl Options {
    /// Options for a program whose own executable is the launcher.
    pub fn new(
        launcher: impl Into<PathBuf>,
        scratch: impl Into<PathBuf>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            launcher: launcher.into(),
            scratch: scratch.into(),
            clock,
            forbidden: Vec::new(),
        }
    }

    /// Adds a directory that no sandbox may be shown.
    #[must_use]
    pub fn forbid(mut self, path: impl Into<PathBuf>) -> Self {
        self.forbidden.push(path.into());
        self
    }
}

/// A machine that isolates. Cheap to clone; every execution gets a sandbox of its own.
#[derive(Debug, Clone)]
pub struct Sandbox {
    pub(crate) shared: Arc<Shared>,
}

impl Sandbox {
    /// A sandbox on a machine that another process has found able to isolate.
    pub(crate) fn trusted(options: Options, place: Option<Place>, users: UserRange) -> Self {
        Self {
            shared: Arc::new(Shared {
                options,
                place,
                users,
            }),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) place: Option<Place>,
    pub(crate) users: UserRange,
}

/// Where the user ids of sandboxes begin when we are root: a range that no system hands out.
const FIRST_USER: u32 = 1_900_000_000;
/// One for each process id there can be.
const USERS: u32 = 1 << 22;

impl Sandbox {
    /// Isolates a trial program. There is no way to run anything when this fails.
    ///
    /// Blocks for some ten milliseconds.
    ///
    /// # Errors
    /// [`Unavailable`] says what is missing and which setting changes it.
    pub fn detect(mut options: Options) -> Result<Self, Unavailable> {
        // The launcher is started in another directory than ours.
        if let Ok(absolute) = std::path::absolute(&options.launcher) {
            options.launcher = absolute;
        }
        let unavailable = |reason: String| Unavailable {
            reason,
            fix: "give the sandbox a directory that this user may write".into(),
        };
        make_private_directory(&options.scratch).map_err(|error| {
            unavailable(format!(
                "cannot make the directory `{}`: {error}",
                options.scratch.display()
            ))
        })?;
        let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
        let users = user_range(&map);
        if rustix::process::geteuid().is_root() && users.is_none() {
            return Err(Unavailable {
                reason: "root in this user namespace has no other user to give a sandbox".into(),
                fix: "start it as an ordinary user, or map more than one user id".into(),
            });
        }
        let place = cgroup::find(std::process::id());
        if let Some(place) = &place {
            cgroup::sweep(place);
        }
        let sandbox = Self {
            shared: Arc::new(Shared {
                options,
                place,
                users: users.unwrap_or(UserRange { first: 0, count: 1 }),
            }),
        };
        sandbox.trial()?;
        Ok(sandbox)
    }

    pub(crate) fn job(&self, spec: SandboxSpec) -> Job {
        Job {
            spec,
            place: self.shared.place.clone(),
            users: self.shared.users,
        }
    }

    /// What keeps the limits: `cgroup-v1`, `cgroup-v2` or `supervisor`.
    pub fn mechanism(&self) -> &'static str {
        match &self.shared.place {
            Some(Place::V1 { .. }) => "cgroup-v1",
            Some(Place::V2 { .. }) => "cgroup-v2",
            None => "supervisor",
        }
    }

    /// The same sandbox as on a machine without control groups: limits are kept by measuring.
    #[must_use]
    pub fn without_control_groups(&self) -> Self {
        Self {
            shared: Arc::new(Shared {
                options: self.shared.options.clone(),
                place: None,
                users: self.shared.users,
            }),
        }
    }

    fn trial(&self) -> Result<(), Unavailable> {
        let tree = self.shared.options.scratch.join("trial");
        let outcome = make_private_directory(&tree)
            .map_err(|error| error.to_string())
            .and_then(|()| self.try_once(&tree));
        match outcome {
            Ok(()) => Ok(()),
            Err(reason) => Err(Unavailable {
                fix: fix_for(&reason),
                reason,
            }),
        }
    }

    fn try_once(&self, tree: &Path) -> Result<(), String> {
        let job = self.job(trial_spec(tree));
        let (mut ours, theirs) = UnixStream::pair().map_err(|error| error.to_string())?;
        // A launcher that is another program would never answer.
        ours.set_read_timeout(Some(Duration::from_secs(10)))
            .map_err(|error| error.to_string())?;
        let mut child = Command::new(&self.shared.options.launcher)
            .arg(SANDBOX)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| {
                format!(
                    "the launcher `{}` cannot be started: {error}",
                    self.shared.options.launcher.display()
                )
            })?;
        let answer = talk(&mut ours, &job);
        drop(ours);
        if answer.is_err() {
            drop(child.kill());
        }
        drop(child.wait());
        answer
    }
}

fn talk(socket: &mut UnixStream, job: &Job) -> Result<(), String> {
    let bytes = wire::job_bytes(job).map_err(|error| error.to_string())?;
    socket
        .write_all(&bytes)
        .map_err(|error| error.to_string())?;
    let mut lines = Lines::default();
    let mut buffer = [0; 4096];
    loop {
        let length = match socket.read(&mut buffer) {
            Ok(length) => length,
            // A timed read is not resumed by itself when another child of the host ends.
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.to_string()),
        };
        if length == 0 {
            return Err("the launcher ended without an answer".into());
        }
        let reports = lines
            .push(buffer.get(..length).unwrap_or_default())
            .map_err(|error| error.to_string())?;
        for report in reports {
            match report {
                Report::Started { .. } => {}
                Report::Failed(failure) => return Err(failure.detail),
                Report::Ended {
                    ending: Ending::Exited { code: 0 },
                    ..
                } => return Ok(()),
                Report::Ended { ending, .. } => {
                    return Err(format!("the trial program ended with {ending:?}"));
                }
            }
        }
    }
}

fn trial_spec(tree: &Path) -> SandboxSpec {
    SandboxSpec {
        profile: Profile::Check,
        command: vec!["true".into()],
        cwd: "/work".into(),
        env: std::collections::BTreeMap::new(),
        work_tree: tree.into(),
        mounts: Vec::new(),
        path: Vec::new(),
        network: Network::None,
        limits: Limits {
            wall: Duration::from_secs(8),
            memory_bytes: 256 << 20,
            disk_bytes: 64 << 20,
            ..Limits::default()
        },
    }
}

pub(crate) fn make_private_directory(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    if path.is_dir() {
        return Ok(());
    }
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
}

/// The users that root here may become: the usual range if it is mapped, else the upper part of
/// the largest range that is.
fn user_range(map: &str) -> Option<UserRange> {
    let mut ranges: Vec<(u32, u32)> = map
        .lines()
        .filter_map(|line| {
            let mut fields = line.split_whitespace();
            let first = fields.next()?.parse().ok()?;
            let count = fields.nth(1)?.parse().ok()?;
            Some((first, count))
        })
        .collect();
    let usual = |(first, count): &(u32, u32)| {
        *first <= FIRST_USER && first.saturating_add(*count) >= FIRST_USER + USERS
    };
    if ranges.iter().any(usual) {
        return Some(UserRange {
            first: FIRST_USER,
            count: USERS,
        });
    }
    ranges.sort_by_key(|(_, count)| *count);
    let (first, count) = ranges.pop()?;
    let end = first.saturating_add(count);
    // Above the ids that systems give to people and services, where there is room.
    let from = [100_000, 2000, 1]
        .into_iter()
        .find(|from| *from >= first && *from < end)?;
    Some(UserRange {
        first: from,
        count: end - from,
    })
}

fn setting(path: &str) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}

/// The setting that stands in the way, in the order in which they are met.
fn fix_for(reason: &str) -> String {
    let is = |path: &str, value: &str| setting(path).as_deref() == Some(value);
    if reason.contains("launcher") {
        return "start the product by its own executable; it is its own launcher".into();
    }
    if is("/proc/sys/user/max_user_namespaces", "0") {
        return "run `sysctl -w user.max_user_namespaces=15000` as root and make it permanent in /etc/sysctl.d".into();
    }
    if rustix::process::geteuid().is_root() {
        return "grant this process the SYS_ADMIN capability and the mount and unshare system calls; \
                in a container: `--privileged`, or `--cap-add SYS_ADMIN --security-opt seccomp=unconfined \
                --security-opt apparmor=unconfined --security-opt systempaths=unconfined`"
            .into();
    }
    if is("/proc/sys/kernel/unprivileged_userns_clone", "0") {
        return "run `sysctl -w kernel.unprivileged_userns_clone=1` as root and make it permanent in /etc/sysctl.d".into();
    }
    if is(
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        "1",
    ) {
        return apparmor_fix();
    }
    "allow unprivileged user namespaces for this user (kernel 5.12 or newer); in a container: \
     `--security-opt seccomp=unconfined --security-opt systempaths=unconfined`, or start it as root"
        .into()
}

/// Ubuntu since 24.04 lets only profiled programs make user namespaces.
fn apparmor_fix() -> String {
    let program = fs::read_link("/proc/self/exe").unwrap_or_else(|_| "/usr/bin/matrix".into());
    format!(
        "as root write this to /etc/apparmor.d/matrix and run `apparmor_parser -r /etc/apparmor.d/matrix`:\n\
         abi <abi/4.0>,\nprofile matrix {} flags=(unconfined) {{\n  userns,\n}}\n\
         or, for every program, `sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`",
        program.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_range_is_used_where_it_is_mapped() {
        let all = user_range("         0          0 4294967295\n").unwrap();
        assert_eq!((all.first, all.count), (FIRST_USER, USERS));
    }

    #[test]
    fn a_small_map_gives_its_upper_part_and_a_single_user_none() {
        let small = user_range("0 1000 1\n1 100000 65536\n").unwrap();
        assert_eq!((small.first, small.count), (2000, 65537 - 2000));
        assert_eq!(user_range("0 1000 1\n"), None);
        assert_eq!(user_range("nonsense"), None);
    }
}

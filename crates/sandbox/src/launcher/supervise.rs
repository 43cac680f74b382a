//! The launcher outside: prepares, watches, kills, cleans up, reports.

use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use matrix_core::Clock;
use matrix_core::system::SystemClock;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, Resource, Rlimit, Signal, WaitOptions};

use super::command;
use super::enter::{self, Entry, Identity};
use super::owner::{self, Change};
use crate::forward;
use crate::limits::cgroup::Group;
use crate::limits::disk;
use crate::spec::{Access, Denial, Ending, Limit, Limits, SandboxSpec};
use crate::sys::{self, Forked};
use crate::wire::{self, Failure, GO, Inside, Job, Lines, OUTPUT_FULL, Report, TERMINATE};

/// How often control groups are looked at.
const TICK: Duration = Duration::from_millis(25);
/// How often trees are measured at most.
const DISK_TICK: Duration = Duration::from_millis(500);

/// The launcher's `main`.
pub(crate) fn main() -> ExitCode {
    // A launcher without its socket can tell nobody anything.
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn serve() -> io::Result<()> {
    sys::close_from(3)?;
    // A session of its own, so that the terminal's signals go to the host and not to us.
    let _ = rustix::process::setsid();
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let control = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    command::standard_input()?;
    raise_open_files();
    let mut control = UnixStream::from(control);
    let job = wire::read_job(&mut control)?;
    let report = Run::prepare(&job, &mut control)
        .and_then(|mut run| {
            let ended = run.watch();
            run.clean_up();
            ended
        })
        .unwrap_or_else(Report::Failed);
    wire::send(&mut control, &report)
}

/// Walking deep trees holds a descriptor for each level.
fn raise_open_files() {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let _ = rustix::process::setrlimit(Resource::Nofile, raised);
}

/// What to say when the kernel refuses namespaces.
pub(crate) fn namespace_failure(error: rustix::io::Errno) -> Failure {
    Failure::isolation("make user, mount, process and network namespaces", error)
}

/// One execution as the launcher sees it.
struct Run<'a> {
    job: &'a Job,
    control: &'a mut UnixStream,
    status: UnixStream,
    identity: Identity,
    group: Option<Group>,
    clock: SystemClock,
    init: Option<(Pid, OwnedFd)>,
    scratch_bytes: u64,
    refused: Vec<i32>,
    started_at: i64,
}

impl<'a> Run<'a> {
    /// Gives the trees away, makes the group, enters; on failure everything is taken back.
    fn prepare(job: &'a Job, control: &'a mut UnixStream) -> Result<Self, Failure> {
        let clock = SystemClock::start();
        let (status, inner) =
            UnixStream::pair().map_err(|error| Failure::isolation("make a socket pair", error))?;
        let group = make_group(job)?;
        let mut run = Self {
            started_at: 0,
            job,
            control,
            status,
            identity: choose_identity(job),
            group,
            clock,
            init: None,
            scratch_bytes: 0,
            refused: Vec::new(),
        };
        match run.start(inner) {
            Ok(()) => Ok(run),
            Err(failure) => {
                run.kill();
                run.clean_up();
                Err(failure)
            }
        }
    }

    fn start(&mut self, inner: UnixStream) -> Result<(), Failure> {
        self.hand_over()?;
        // Giving files away changes them too, so growth is counted from here.
        self.started_at = self.clock.now().as_micros();
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
            .map_err(|error| Failure::isolation("adopt the first process", error))?;
        let entry = Entry {
            spec: &self.job.spec,
            identity: self.identity,
            group: self.group.as_ref(),
        };
        let forked = sys::fork().map_err(|error| Failure::isolation("start a process", error))?;
        let child = match forked {
            Forked::Child => become_inner(&entry, inner),
            Forked::Parent(child) => child,
        };
        drop(inner);
        quiet();
        self.adopt(child)
    }

    /// Learns the first process's id, waits until the process between has gone, and gives the word.
    fn adopt(&mut self, child: Pid) -> Result<(), Failure> {
        let lost = |error: io::Error| Failure::isolation("hear from the first process", error);
        let mut line = Vec::new();
        let mut byte = [0];
        while byte != [b'\n'] {
            if self.status.read(&mut byte).map_err(lost)? == 0 {
                return Err(Failure::isolation(
                    "enter the sandbox",
                    "its process ended early",
                ));
            }
            line.push(byte[0]);
        }
        let _ = rustix::process::waitpid(Some(child), WaitOptions::empty());
        match serde_json::from_slice(&line) {
            Ok(Inside::Born { pid }) => {
                let pid = Pid::from_raw(pid)
                    .ok_or_else(|| Failure::isolation("adopt the first process", "bad id"))?;
                let handle = rustix::process::pidfd_open(pid, PidfdFlags::empty())
                    .map_err(|error| Failure::isolation("hold the first process", error))?;
                self.init = Some((pid, handle));
            }
            Ok(Inside::Failed(failure)) => return Err(failure),
            _ => {
                return Err(Failure::isolation(
                    "understand the first process",
                    "bad message",
                ));
            }
        }
        io::Write::write_all(&mut self.status, &[GO]).map_err(lost)
    }

    /// Watches until the sandbox has ended, then says how.
    fn watch(&mut self) -> Result<Report, Failure> {
        let ended = self.until_ended();
        self.kill();
        let (ending, failure) = match ended {
            Ok(ending) => (ending, None),
            Err(failure) => (None, Some(failure)),
        };
        // What the kernel counted by the end outranks how the program took it.
        let by_kernel = self.group.as_ref().and_then(Group::exceeded);
        match (by_kernel, ending, failure) {
            (Some(limit), ending, _) if ending != Some(Ending::Cancelled) => {
                Ok(self.ended(Ending::LimitExceeded { limit }))
            }
            (_, Some(ending), _) => Ok(self.ended(ending)),
            (_, None, Some(failure)) => Err(failure),
            (_, None, None) => Err(Failure::isolation(
                "follow the program",
                "the first process inside ended without a word",
            )),
        }
    }

    /// What was refused on the way, as far as it can be seen.
    fn denials(&self, ending: &Ending) -> Vec<Denial> {
        let mut denials: Vec<Denial> = self
            .refused
            .iter()
            .map(|number| crate::seccomp::denial(*number))
            .collect();
        if *ending
            == (Ending::Signalled {
                signal: libc::SIGSYS,
            })
        {
            denials.push(Denial {
                what: "syscall".into(),
                reason: "the program used the system calls of another architecture; build it for \
                         this machine"
                    .into(),
            });
        }
        denials
    }

    fn ended(&self, ending: Ending) -> Report {
        Report::Ended {
            denials: self.denials(&ending),
            ending,
            mechanism: self
                .group
                .as_ref()
                .map_or("supervisor", Group::mechanism)
                .into(),
        }
    }

    fn until_ended(&mut self) -> Result<Option<Ending>, Failure> {
        let failed = |error: io::Error| Failure::isolation("watch the sandbox", error);
        let limits = self.job.spec.limits.clone();
        let mut lines = Lines::default();
        let mut disk = DiskWatch::new(&self.job.spec);
        let start = self.clock.monotonic();
        loop {
            let elapsed = self.clock.monotonic().saturating_sub(start);
            let Some(left) = limits
                .wall
                .checked_sub(elapsed)
                .filter(|left| !left.is_zero())
            else {
                return Ok(Some(exceeded(Limit::Wall)));
            };
            let (from_host, from_inside) = self.poll(left.min(TICK)).map_err(failed)?;
            if from_inside {
                let mut buffer = [0; 4096];
                let length = self.status.read(&mut buffer).map_err(failed)?;
                if length == 0 {
                    return Ok(None);
                }
                let messages = lines.push(buffer.get(..length).unwrap_or_default());
                for message in messages.map_err(failed)? {
                    if let Some(ending) = self.take(message)? {
                        return Ok(Some(ending));
                    }
                }
            }
            if from_host && let Some(ending) = self.told() {
                return Ok(Some(ending));
            }
            if let Some(limit) = self.measured(&limits, &mut disk) {
                return Ok(Some(exceeded(limit)));
            }
        }
    }

    fn poll(&self, timeout: Duration) -> io::Result<(bool, bool)> {
        let mut poll = [
            PollFd::new(&*self.control, PollFlags::IN),
            PollFd::new(&self.status, PollFlags::IN),
        ];
        let timeout = Timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        };
        match rustix::event::poll(&mut poll, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let [host, inside] = poll.map(|one| !one.revents().is_empty());
        Ok((host, inside))
    }

    fn take(&mut self, message: Inside) -> Result<Option<Ending>, Failure> {
        match message {
            Inside::Ended { ending } => Ok(Some(ending)),
            Inside::Exceeded { limit } => Ok(Some(exceeded(limit))),
            Inside::Failed(failure) => Err(failure),
            Inside::Refused { number } => {
                self.refused.push(number);
                Ok(None)
            }
            Inside::Scratch { bytes } => {
                self.scratch_bytes = bytes;
                Ok(None)
            }
            Inside::Started => {
                let pid = self
                    .init
                    .as_ref()
                    .map_or(0, |(pid, _)| pid.as_raw_nonzero().get());
                // A host that is gone shows as a closed socket at the next poll.
                drop(wire::send(self.control, &Report::Started { pid }));
                Ok(None)
            }
            Inside::Born { .. } => Ok(None),
        }
    }

    /// The host's word, or its end.
    fn told(&mut self) -> Option<Ending> {
        let mut byte = [0];
        match self.control.read(&mut byte) {
            Ok(1) if byte == [OUTPUT_FULL] => Some(exceeded(Limit::Output)),
            Ok(1) if byte == [TERMINATE] => {
                // If the first process is gone, its socket says so at the next poll.
                drop(io::Write::write_all(&mut self.status, &[TERMINATE]));
                None
            }
            _ => Some(Ending::Cancelled),
        }
    }

    fn measured(&self, limits: &Limits, disk: &mut DiskWatch) -> Option<Limit> {
        if let Some(group) = &self.group {
            if let Some(limit) = group.exceeded() {
                return Some(limit);
            }
            if u128::from(group.cpu_micros()) > limits.cpu.as_micros() {
                return Some(Limit::Cpu);
            }
        }
        let grown = disk.grown(self.clock.monotonic(), self.started_at);
        (grown.saturating_add(self.scratch_bytes) > limits.disk_bytes).then_some(Limit::Disk)
    }

    /// Ends the first process and with it all others; returns when the kernel has ended them.
    fn kill(&mut self) {
        if let Some((pid, handle)) = self.init.take() {
            let _ = rustix::process::pidfd_send_signal(&handle, Signal::KILL);
            let _ = rustix::process::waitpid(Some(pid), WaitOptions::empty());
        }
    }

    /// The trees belong to the sandbox's user while it runs.
    fn hand_over(&self) -> Result<(), Failure> {
        let Identity::Dropped { user } = self.identity else {
            return Ok(());
        };
        for tree in trees(&self.job.spec) {
            owner::change(
                &tree,
                Change {
                    from: None,
                    to: user,
                },
            )
            .map_err(|error| {
                Failure::spec(format!(
                    "cannot give `{}` to the sandbox: {error}",
                    tree.display()
                ))
            })?;
        }
        Ok(())
    }

    fn clean_up(&mut self) {
        if let Some(group) = self.group.take() {
            group.remove();
        }
        if let Identity::Dropped { user } = self.identity {
            let to = rustix::process::geteuid().as_raw();
            for tree in trees(&self.job.spec) {
                // What cannot be taken back stays readable and removable for root.
                let _ = owner::change(
                    &tree,
                    Change {
                        from: Some(user),
                        to,
                    },
                );
            }
        }
    }
}

fn exceeded(limit: Limit) -> Ending {
    Ending::LimitExceeded { limit }
}

fn trees(spec: &SandboxSpec) -> Vec<PathBuf> {
    let mounts = spec
        .mounts
        .iter()
        .filter(|mount| mount.access == Access::ReadWrite)
        .map(|mount| mount.source.clone());
    std::iter::once(spec.work_tree.clone())
        .chain(mounts)
        .collect()
}

fn make_group(job: &Job) -> Result<Option<Group>, Failure> {
    let Some(place) = &job.place else {
        return Ok(None);
    };
    let mut limits = job.spec.limits.clone();
    limits.processes = limits
        .processes
        .saturating_add(forward::threads(&job.spec.network));
    let name = format!(
        "matrix-sandbox-{}",
        rustix::process::getpid().as_raw_nonzero()
    );
    Group::create(place, &name, &limits)
        .map(Some)
        .map_err(|error| Failure::isolation("make a control group", error))
}

/// As root, a user that only this launcher uses, because only it has this process id.
fn choose_identity(job: &Job) -> Identity {
    let own = rustix::process::geteuid();
    if own.is_root() {
        let pid = rustix::process::getpid()
            .as_raw_nonzero()
            .get()
            .unsigned_abs();
        Identity::Dropped {
            user: job.users.first + pid % job.users.count.max(1),
        }
    } else {
        Identity::Own { user: own.as_raw() }
    }
}

fn become_inner(entry: &Entry<'_>, mut status: UnixStream) -> ! {
    let result = status
        .try_clone()
        .map_err(|error| Failure::isolation("copy a descriptor", error))
        .and_then(|copy| enter::enter(entry, copy));
    if let Err(failure) = result {
        // The launcher sees the closed socket if this cannot be sent.
        drop(wire::send(&mut status, &Inside::Failed(failure)));
        sys::exit_now(1);
    }
    sys::exit_now(0)
}

/// Lets go of the program's output: only the sandbox's processes shall hold it.
fn quiet() {
    if let Ok(null) = std::fs::File::options().write(true).open("/dev/null") {
        let _ = rustix::stdio::dup2_stdout(null.as_fd());
        let _ = rustix::stdio::dup2_stderr(null.as_fd());
    }
}

/// Measures trees rarely when measuring takes long, and at once when the disk is filling.
struct DiskWatch {
    trees: Vec<PathBuf>,
    next: Duration,
    grown: u64,
}

impl DiskWatch {
    fn new(spec: &SandboxSpec) -> Self {
        Self {
            trees: trees(spec),
            next: Duration::ZERO,
            grown: 0,
        }
    }

    /// What the trees have grown by when last measured.
    fn grown(&mut self, now: Duration, start: i64) -> u64 {
        if self.next.is_zero() {
            self.next = now + DISK_TICK;
        }
        if now >= self.next {
            let clock = SystemClock::start();
            self.grown = self
                .trees
                .iter()
                .map(|tree| disk::grown(tree, start).unwrap_or(u64::MAX))
                .fold(0, u64::saturating_add);
            // At most a twentieth of the time goes into measuring.
            self.next = now + DISK_TICK.max(clock.monotonic() * 20);
        }
        self.grown
    }
}

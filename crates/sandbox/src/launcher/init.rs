//! Process 1 of the sandbox: starts the program, reaps what it leaves, and ends with it.
//!
//! No signal from inside can stop it, since the kernel shields the first process of a namespace,
//! and no process inside can look into it. It holds no capability and stands behind the same
//! system-call filter as the program.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, WaitStatus};
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::command;
use super::enter::{Door, Entry, Identity};
use super::root;
use crate::forward;
use crate::limits::processes;
use crate::spec::{Ending, Limit, Limits};
use crate::sys::{self, Forked};
use crate::wire::{self, Failure, GO, Inside, TERMINATE};

/// How often the private places are looked at and orphans are reaped.
const TICK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 50_000_000,
};
/// How often the processes are looked at where there is no control group; a fork bomb comes and
/// goes within a few of these.
const MEASURING_TICK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 10_000_000,
};

/// Runs as the first process; never returns.
pub(crate) fn main(entry: &Entry<'_>, door: Door, mut status: UnixStream) -> ! {
    let code = match run(entry, door, &mut status) {
        Ok(()) => 0,
        Err(failure) => {
            // Nobody is left to tell if the launcher is gone.
            drop(wire::send(&mut status, &Inside::Failed(failure)));
            1
        }
    };
    sys::exit_now(code)
}

fn run(entry: &Entry<'_>, door: Door, status: &mut UnixStream) -> Result<(), Failure> {
    root::enter(matches!(entry.identity, Identity::Dropped { .. }))?;
    let door = forward::listen(door)
        .map_err(|error| Failure::isolation("listen on the loopback port inside", error))?;
    let refusals = harden()?;
    await_launcher(status)?;
    let furniture = scratch_bytes();
    let (mut executed, executing) =
        UnixStream::pair().map_err(|error| Failure::isolation("make a socket pair", error))?;
    let child = match sys::fork_single_threaded()
        .map_err(|error| Failure::isolation("start the program", error))?
    {
        Forked::Child => {
            drop((door, refusals));
            let failure = command::execute(entry.spec, processes_allowed(entry));
            drop(wire::send(status, &Inside::Failed(failure)));
            sys::exit_now(127)
        }
        Forked::Parent(child) => child,
    };
    quiet();
    // The child's end closes when the program is executed, or when the child has said why not.
    drop(executing);
    drop(executed.read(&mut [0]));
    wire::send(status, &Inside::Started).map_err(|error| Failure::isolation("report", error))?;
    forward::serve(door);
    let measured = entry.group.is_none().then_some(&entry.spec.limits);
    let watched = Watched {
        child,
        disk_bytes: entry.spec.limits.disk_bytes,
        furniture,
        measured,
        refusals,
    };
    watch(&watched, status)
}

/// What the kernel lets this user have. Whoever counts, the control group or we, is to see the
/// limit passed and say so; the kernel's own count is the second line and stands further out.
fn processes_allowed(entry: &Entry<'_>) -> u64 {
    let limits = &entry.spec.limits;
    let exact = limits
        .processes
        .saturating_add(forward::threads(&entry.spec.network));
    exact.saturating_mul(2).saturating_add(64)
}

/// Gives up every right and closes the door behind.
fn harden() -> Result<OwnedFd, Failure> {
    for number in 0..64 {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        if rustix::thread::remove_capability_from_bounding_set(capability).is_err() {
            break;
        }
    }
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, none)
        .map_err(|error| Failure::isolation("drop capabilities", error))?;
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
        .map_err(|error| Failure::isolation("hide the first process", error))?;
    sys::filter(&crate::seccomp::program())
        .map_err(|error| Failure::isolation("filter system calls", error))
}

/// Waits until the launcher has become our parent, and asks to die with it.
fn await_launcher(status: &mut UnixStream) -> Result<(), Failure> {
    let lost = |error: std::io::Error| Failure::isolation("wait for the launcher", error);
    let mut byte = [0];
    status.read_exact(&mut byte).map_err(lost)?;
    if byte != [GO] {
        return Err(Failure::isolation(
            "understand the launcher",
            "unexpected byte",
        ));
    }
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|error| Failure::isolation("die with the launcher", error))?;
    // If the launcher died before the line above, its end of the socket is closed.
    let mut poll = [PollFd::new(status, PollFlags::IN)];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    match rustix::event::poll(&mut poll, Some(&now)) {
        Ok(0) => Ok(()),
        _ => Err(Failure::isolation("wait for the launcher", "it is gone")),
    }
}

/// Lets go of the program's output, so that it ends when the program's processes do.
fn quiet() {
    if let Ok(null) = std::fs::File::options().write(true).open("/dev/null") {
        let _ = rustix::stdio::dup2_stdout(&null);
        let _ = rustix::stdio::dup2_stderr(&null);
    }
}

/// What the first process looks after.
struct Watched<'a> {
    child: Pid,
    /// Limits to keep by measuring, where there is no control group.
    measured: Option<&'a Limits>,
    /// What the private places may hold.
    disk_bytes: u64,
    /// What the root held before the program was started.
    furniture: u64,
    /// Where refused system calls arrive.
    refusals: OwnedFd,
}

fn watch(watched: &Watched<'_>, status: &mut UnixStream) -> Result<(), Failure> {
    let (child, measured) = (watched.child, watched.measured);
    let mut refused = BTreeSet::new();
    let failed = |error| Failure::isolation("watch the program", error);
    let handle = rustix::process::pidfd_open(child, PidfdFlags::empty()).map_err(failed)?;
    let tick = if measured.is_some() {
        &MEASURING_TICK
    } else {
        &TICK
    };
    let mut scratch_seen = 0;
    loop {
        let mut poll = [
            PollFd::new(&handle, PollFlags::IN),
            PollFd::new(&*status, PollFlags::IN),
            PollFd::new(&watched.refusals, PollFlags::IN),
        ];
        let _ = rustix::event::poll(&mut poll, Some(tick));
        let [_, told, _] = poll.each_ref().map(|one| !one.revents().is_empty());
        // Nobody holds the filter any more when this only hangs up.
        let asked = poll[2].revents().contains(PollFlags::IN);
        if asked
            && let Ok(number) = sys::refuse_one(watched.refusals.as_fd())
            && refused.insert(number)
        {
            tell(status, &Inside::Refused { number })?;
        }
        if told {
            let mut byte = [0];
            match status.read(&mut byte) {
                // The program leads a process group of its own.
                Ok(1) if byte == [TERMINATE] => {
                    let _ = rustix::process::kill_process_group(child, Signal::TERM);
                }
                // The launcher is gone, and so are we in a moment.
                _ => return Ok(()),
            }
        }
        while let Ok(Some((pid, ended))) = rustix::process::wait(WaitOptions::NOHANG) {
            if pid == child {
                return tell(
                    status,
                    &Inside::Ended {
                        ending: ending(ended),
                    },
                );
            }
        }
        if let Some(limits) = measured
            && let Some(limit) = processes::exceeded(Path::new("/proc"), limits)
        {
            return tell(status, &Inside::Exceeded { limit });
        }
        let scratch = scratch_bytes().saturating_sub(watched.furniture);
        if scratch > watched.disk_bytes {
            return tell(status, &Inside::Exceeded { limit: Limit::Disk });
        }
        if scratch.abs_diff(scratch_seen) >= 1 << 20 {
            scratch_seen = scratch;
            tell(status, &Inside::Scratch { bytes: scratch })?;
        }
    }
}

fn tell(status: &mut impl Write, message: &Inside) -> Result<(), Failure> {
    wire::send(status, message).map_err(|error| Failure::isolation("report", error))
}

fn ending(status: WaitStatus) -> Ending {
    match (status.exit_status(), status.terminating_signal()) {
        (_, Some(signal)) => Ending::Signalled { signal },
        (code, None) => Ending::Exited {
            code: code.unwrap_or(-1),
        },
    }
}

/// Bytes in use on the memory file system behind `/tmp`, the home and `/dev/shm`; a file counts a
/// page more, as on disk.
fn scratch_bytes() -> u64 {
    rustix::fs::statvfs("/tmp").map_or(0, |now| {
        let blocks = now.f_blocks.saturating_sub(now.f_bfree);
        let files = now.f_files.saturating_sub(now.f_ffree);
        blocks
            .saturating_mul(now.f_frsize)
            .saturating_add(files.saturating_mul(crate::limits::disk::PER_FILE))
    })
}

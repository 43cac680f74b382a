//! The last steps before the program: its descriptors, limits, Landlock, and execution.

use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use landlock::{
    ABI, Access, AccessFs, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreatedAttr, Scope,
};
use rustix::process::{Resource, Rlimit};

use super::root::HOME;
use crate::spec::{Access as MountAccess, SandboxSpec};
use crate::sys;
use crate::wire::{Failure, Stage};

const SYSTEM_PATH: &str = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin";

/// Executes the program. Returns only when that failed.
///
/// `processes` is how many the user may have, ours included.
pub(crate) fn execute(spec: &SandboxSpec, processes: u64) -> Failure {
    match prepare(spec, processes) {
        Ok(mut command) => {
            let error = command.exec();
            let stage = match error.kind() {
                std::io::ErrorKind::NotFound => Stage::NotFound,
                _ => Stage::Execute,
            };
            Failure {
                stage,
                detail: error.to_string(),
            }
        }
        Err(failure) => failure,
    }
}

fn prepare(spec: &SandboxSpec, processes: u64) -> Result<Command, Failure> {
    rustix::process::setsid().map_err(|error| Failure::isolation("start a session", error))?;
    limit(spec, processes).map_err(|error| Failure::isolation("set resource limits", error))?;
    confine(spec)?;
    sys::close_on_exec_from(3)
        .map_err(|error| Failure::isolation("keep descriptors from the program", error))?;
    rustix::process::chdir(&spec.cwd).map_err(|error| {
        Failure::spec(format!("cannot enter `{}`: {error}", spec.cwd.display()))
    })?;
    let (program, arguments) = spec
        .command
        .split_first()
        .ok_or_else(|| Failure::spec("the command is empty"))?;
    let mut command = Command::new(program);
    command.args(arguments).env_clear();
    command.env("PATH", search_path(spec));
    command
        .env("HOME", HOME)
        .env("TMPDIR", "/tmp")
        .env("LANG", "C.UTF-8");
    command.envs(&spec.env);
    Ok(command)
}

fn search_path(spec: &SandboxSpec) -> OsString {
    let mut path = OsString::new();
    for directory in &spec.path {
        path.push(directory);
        path.push(":");
    }
    path.push(SYSTEM_PATH);
    path
}

/// Limits of each process; those of the whole tree are kept by the control group or by measuring.
fn limit(spec: &SandboxSpec, processes: u64) -> rustix::io::Result<()> {
    let limits = &spec.limits;
    let exactly = |value: u64| Rlimit {
        current: Some(value),
        maximum: Some(value),
    };
    let set = rustix::process::setrlimit;
    // One second more for the watcher, which can say that it was this limit.
    set(
        Resource::Cpu,
        exactly(limits.cpu.as_secs().saturating_add(2)),
    )?;
    set(Resource::Core, exactly(0))?;
    set(Resource::Fsize, exactly(limits.file_bytes))?;
    let open = rustix::process::getrlimit(Resource::Nofile);
    let most = open
        .maximum
        .map_or(limits.open_files, |most| most.min(limits.open_files));
    set(Resource::Nofile, exactly(most))?;
    set(Resource::Nproc, exactly(processes))?;
    set(Resource::Memlock, exactly(8 << 20))?;
    set(Resource::Msgqueue, exactly(819_200))?;
    set(Resource::Nice, exactly(0))?;
    set(Resource::Rtprio, exactly(0))
}

/// Landlock over the mounts: reading and executing anywhere in the root, which is an allow-list
/// already, and writing only in the few places that are meant to be written; signals and abstract
/// sockets stay inside. On an older kernel as much of it as that kernel knows.
fn confine(spec: &SandboxSpec) -> Result<(), Failure> {
    apply_rules(spec).map_err(|error| Failure::isolation("apply Landlock rules", error))
}

fn apply_rules(spec: &SandboxSpec) -> Result<(), landlock::RulesetError> {
    let abi = ABI::V7;
    let all = AccessFs::from_all(abi);
    let read = AccessFs::from_read(abi);
    let device = BitFlags::from(AccessFs::ReadFile) | AccessFs::WriteFile | AccessFs::IoctlDev;
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(all)?
        .scope(Scope::AbstractUnixSocket | Scope::Signal)?
        .create()?;
    let mut allow = vec![
        ("/".into(), read),
        ("/proc".into(), read | AccessFs::WriteFile),
        ("/dev".into(), device | AccessFs::ReadDir),
        (
            "/dev/shm".into(),
            all & !AccessFs::MakeChar & !AccessFs::MakeBlock,
        ),
    ];
    let writable = ["/work", "/tmp", HOME]
        .into_iter()
        .map(std::path::PathBuf::from);
    let mounted = spec
        .mounts
        .iter()
        .filter(|mount| mount.access == MountAccess::ReadWrite)
        .map(|mount| mount.target.clone());
    allow.extend(
        writable
            .chain(mounted)
            .map(|path| (path, all & !AccessFs::MakeChar & !AccessFs::MakeBlock)),
    );
    for (path, access) in allow {
        if let Ok(place) = PathFd::new(&path) {
            let access = if path.is_dir() {
                access
            } else {
                access & AccessFs::from_file(abi)
            };
            rules = rules.add_rule(PathBeneath::new(place, access))?;
        }
    }
    rules.restrict_self()?;
    Ok(())
}

/// Points the three standard descriptors where the program shall find them.
pub(crate) fn standard_input() -> rustix::io::Result<()> {
    let null: OwnedFd = rustix::fs::openat(
        rustix::fs::CWD,
        "/dev/null",
        rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    )?;
    rustix::stdio::dup2_stdin(null.as_fd())
}

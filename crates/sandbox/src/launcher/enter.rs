//! From the host into the sandbox: namespaces, root, user; run in a process of its own.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::MountPropagationFlags;

use super::root::{self, INSIDE_ID, Shape};
use super::{init, supervise};
use crate::limits::cgroup::Group;
use crate::limits::disk::PER_FILE;
use crate::spec::{Network, SandboxSpec};
use crate::sys::{self, Forked};
use crate::wire::{self, Failure, Inside};

/// Whose rights the sandbox starts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Identity {
    /// The host is root; the sandbox gets this user id, which nobody else has.
    Dropped { user: u32 },
    /// The host is this ordinary user, and so is the sandbox.
    Own { user: u32 },
}

/// Network doors that were opened while the host's paths were in view.
pub(crate) enum Door {
    /// None.
    Closed,
    /// Connections to this loopback port inside go to the socket behind the descriptor.
    Out { port: u16, socket: OwnedFd },
    /// Connections to the host's socket go to this loopback port inside.
    In { port: u16, listener: UnixListener },
}

/// Everything this process needs.
pub(crate) struct Entry<'a> {
    pub(crate) spec: &'a SandboxSpec,
    pub(crate) identity: Identity,
    pub(crate) group: Option<&'a Group>,
}

const NAMESPACES: libc::c_int = libc::CLONE_NEWUSER
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWCGROUP;

/// Enters and becomes, in a child, the first process of the sandbox. Does not return in that
/// child; here it returns once the launcher has been told of it.
pub(crate) fn enter(entry: &Entry<'_>, mut status: UnixStream) -> Result<(), Failure> {
    if let Some(group) = entry.group {
        group
            .join()
            .map_err(|error| Failure::isolation("join the control group", error))?;
    }
    let door = open_door(&entry.spec.network)?;
    match entry.identity {
        Identity::Dropped { user } => {
            sys::unshare(libc::CLONE_NEWNS)
                .map_err(|error| Failure::isolation("make a private mount namespace", error))?;
            make_private()?;
            root::build(entry.spec, shape(entry.spec, user))?;
            drop_to(user)?;
            sys::unshare(NAMESPACES).map_err(supervise::namespace_failure)?;
            map_ids(user, user)?;
            make_private()?;
        }
        Identity::Own { user } => {
            // Asked before the namespace is made: inside it, nobody is known yet.
            let group = rustix::process::getegid().as_raw();
            sys::unshare(NAMESPACES).map_err(supervise::namespace_failure)?;
            map_ids(user, group)?;
            make_private()?;
            root::build(entry.spec, shape(entry.spec, INSIDE_ID))?;
        }
    }
    forbid_namespaces();
    name_and_loopback()?;
    match sys::fork().map_err(|error| Failure::isolation("start the first process", error))? {
        Forked::Parent(child) => {
            let born = Inside::Born {
                pid: child.as_raw_nonzero().get(),
            };
            wire::send(&mut status, &born)
                .map_err(|error| Failure::isolation("tell the launcher", error))
        }
        Forked::Child => init::main(entry, door, status),
    }
}

fn shape(spec: &SandboxSpec, owner: u32) -> Shape {
    let limits = &spec.limits;
    Shape {
        owner,
        // Somewhat more than the limit, so that passing it is seen and not only "no space".
        bytes: limits
            .disk_bytes
            .min(limits.memory_bytes)
            .saturating_add(4 << 20),
        inodes: (limits.disk_bytes / PER_FILE)
            .saturating_add(1024)
            .min(1 << 20),
    }
}

fn make_private() -> Result<(), Failure> {
    rustix::mount::mount_change(
        "/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )
    .map_err(|error| Failure::isolation("make the mount namespace private", error))
}

/// Gives up root for good. Afterwards no process of the sandbox is user 0 of the host, which the
/// kernel would let write its settings whatever namespace it is in.
fn drop_to(user: u32) -> Result<(), Failure> {
    let failed = |error| Failure::isolation("become the sandbox's user", error);
    let (uid, gid) = (
        rustix::fs::Uid::from_raw(user),
        rustix::fs::Gid::from_raw(user),
    );
    rustix::thread::set_thread_groups(&[]).map_err(failed)?;
    rustix::thread::set_thread_res_gid(gid, gid, gid).map_err(failed)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid).map_err(failed)?;
    // A change of user hides /proc/self from ourselves, and the id maps are written there.
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::Dumpable)
        .map_err(failed)
}

/// One user and one group exist inside; every other owner is shown as "nobody".
fn map_ids(user: u32, group: u32) -> Result<(), Failure> {
    let write = |name: &str, text: String| {
        fs::write(Path::new("/proc/self").join(name), text)
            .map_err(|error| Failure::isolation(&format!("write {name}"), error))
    };
    write("setgroups", "deny".into())?;
    write("gid_map", format!("{INSIDE_ID} {group} 1"))?;
    write("uid_map", format!("{INSIDE_ID} {user} 1"))
}

/// Sets the number of further user namespaces to none. The system-call filter refuses them too;
/// this holds even if the filter did not, so a kernel without the setting is no failure.
fn forbid_namespaces() {
    drop(fs::write("/proc/sys/user/max_user_namespaces", "0"));
}

fn name_and_loopback() -> Result<(), Failure> {
    rustix::system::sethostname(b"sandbox")
        .map_err(|error| Failure::isolation("name the host", error))?;
    let socket = rustix::net::socket(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        None,
    )
    .map_err(|error| Failure::isolation("open a socket for the loopback interface", error))?;
    sys::loopback_up(socket.as_fd())
        .map_err(|error| Failure::isolation("bring the loopback interface up", error))
}

fn open_door(network: &Network) -> Result<Door, Failure> {
    match network {
        Network::None => Ok(Door::Closed),
        Network::Egress { socket, port } => {
            let opened =
                rustix::fs::openat(CWD, socket, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
                    .map_err(|error| {
                        Failure::spec(format!(
                            "cannot open the egress proxy's socket `{}`: {error}",
                            socket.display()
                        ))
                    })?;
            Ok(Door::Out {
                port: *port,
                socket: opened,
            })
        }
        Network::Publish { port, socket } => {
            let listener = crate::socket::bind(socket).map_err(|error| {
                Failure::spec(format!(
                    "cannot listen on the published socket `{}`: {error}",
                    socket.display()
                ))
            })?;
            Ok(Door::In {
                port: *port,
                listener,
            })
        }
    }
}

//! System calls that must be refused, made as the kernel sees them.
//!
//! Arguments are null or senseless on purpose: a call that is let through fails for that, with
//! another error than a refusal, and does nothing.

use rustix::io::Errno;

use super::{Finding, Probe};
use crate::sys;

/// Held if the call is refused before its arguments are looked at.
fn refused(number: libc::c_long, arguments: [libc::c_long; 6]) -> Finding {
    match sys::raw(number, arguments) {
        Err(error @ (Errno::PERM | Errno::NOSYS | Errno::AFNOSUPPORT)) => {
            Finding::held(error.to_string())
        }
        Err(error) => Finding::open(format!("the kernel looked at the arguments: {error}")),
        Ok(value) => Finding::open(format!("it succeeded with {value}")),
    }
}

fn call(name: &'static str, number: libc::c_long, arguments: [libc::c_long; 6]) -> Probe {
    Probe::new("kernel", name, move |_| refused(number, arguments))
}

const NOTHING: [libc::c_long; 6] = [0; 6];

pub(super) fn probes() -> Vec<Probe> {
    let mut all = namespaces();
    all.extend(mounts());
    all.extend(memory_and_processes());
    all.extend(machine());
    all.extend(sockets_and_terminals());
    all
}

fn namespaces() -> Vec<Probe> {
    let user: libc::c_long = libc::CLONE_NEWUSER.into();
    vec![
        Probe::new("kernel", "clone_user_namespace", move |_| {
            let flags = user | libc::c_long::from(libc::SIGCHLD);
            match sys::raw(libc::SYS_clone, [flags, 0, 0, 0, 0, 0]) {
                Ok(0) => sys::exit_now(0),
                Ok(_) => Finding::open("a process in a new user namespace was made"),
                Err(error) => Finding::held(error.to_string()),
            }
        })
        .fast(),
        call("clone3", libc::SYS_clone3, NOTHING).fast(),
        call("setns", libc::SYS_setns, [-1, 0, 0, 0, 0, 0]),
        Probe::new("kernel", "unshare_user_namespace", move |_| {
            refused(libc::SYS_unshare, [user, 0, 0, 0, 0, 0])
        })
        .fast()
        .only_inside(),
        Probe::new("kernel", "unshare_mount_namespace", |_| {
            refused(libc::SYS_unshare, [libc::CLONE_NEWNS.into(), 0, 0, 0, 0, 0])
        })
        .only_inside(),
    ]
}

fn mounts() -> Vec<Probe> {
    vec![
        call("mount", libc::SYS_mount, NOTHING).fast(),
        Probe::new("kernel", "remount_root", |_| {
            let flags = libc::MS_REMOUNT | libc::MS_BIND;
            let root = sys::address(c"/");
            let flags = libc::c_long::try_from(flags).unwrap_or(0);
            refused(libc::SYS_mount, [0, root, 0, flags, 0, 0])
        })
        .only_inside(),
        call("umount", libc::SYS_umount2, NOTHING),
        call("pivot_root", libc::SYS_pivot_root, NOTHING),
        call("chroot", libc::SYS_chroot, NOTHING),
        call("open_tree", libc::SYS_open_tree, [-1, 0, 0, 0, 0, 0]),
        call("move_mount", libc::SYS_move_mount, [-1, 0, -1, 0, 0, 0]),
        call("fsopen", libc::SYS_fsopen, NOTHING),
        call(
            "mount_setattr",
            libc::SYS_mount_setattr,
            [-1, 0, 0, 0, 0, 0],
        ),
        call(
            "open_by_handle",
            libc::SYS_open_by_handle_at,
            [-1, 0, 0, 0, 0, 0],
        )
        .fast(),
        call(
            "name_to_handle",
            libc::SYS_name_to_handle_at,
            [-1, 0, 0, 0, 0, 0],
        ),
        call("fanotify", libc::SYS_fanotify_init, [-1, 0, 0, 0, 0, 0]),
        call("quotactl", libc::SYS_quotactl, NOTHING),
    ]
}

fn memory_and_processes() -> Vec<Probe> {
    let own = libc::c_long::from(rustix::process::getpid().as_raw_nonzero().get());
    vec![
        call(
            "ptrace",
            libc::SYS_ptrace,
            [i64::from(libc::PTRACE_TRACEME) + 0x7FFF, 0, 0, 0, 0, 0],
        )
        .fast(),
        call(
            "process_vm_readv",
            libc::SYS_process_vm_readv,
            [own, 0, 0, 0, 0, 0],
        ),
        call(
            "process_vm_writev",
            libc::SYS_process_vm_writev,
            [own, 0, 0, 0, 0, 0],
        ),
        call("pidfd_getfd", libc::SYS_pidfd_getfd, [-1, 0, 0, 0, 0, 0]),
        call("kcmp", libc::SYS_kcmp, [own, own, 99, 0, 0, 0]),
        call("io_uring", libc::SYS_io_uring_setup, [0, 0, 0, 0, 0, 0]).fast(),
        call("userfaultfd", libc::SYS_userfaultfd, [-1, 0, 0, 0, 0, 0]).fast(),
        call("perf_event_open", libc::SYS_perf_event_open, NOTHING).fast(),
        call("bpf", libc::SYS_bpf, [9999, 0, 0, 0, 0, 0]).fast(),
        call("keyctl", libc::SYS_keyctl, [0, -3, 0, 0, 0, 0]).fast(),
        call("add_key", libc::SYS_add_key, NOTHING),
        call("request_key", libc::SYS_request_key, NOTHING),
        call(
            "move_pages",
            libc::SYS_move_pages,
            [own, 0, 0, 0, 0x4000, 0],
        ),
    ]
}

fn machine() -> Vec<Probe> {
    let all = vec![
        call("kexec", libc::SYS_kexec_load, [0, 99, 0, -1, 0, 0]).only_inside(),
        call("load_module", libc::SYS_finit_module, [-1, 0, 0, 0, 0, 0]),
        call("reboot", libc::SYS_reboot, NOTHING),
        call("swapon", libc::SYS_swapon, NOTHING),
        call("set_clock", libc::SYS_clock_settime, NOTHING),
        call("adjust_clock", libc::SYS_adjtimex, NOTHING),
        call("set_host_name", libc::SYS_sethostname, [0, -1, 0, 0, 0, 0]),
        call("kernel_log", libc::SYS_syslog, [10, 0, 0, 0, 0, 0]),
        Probe::new("kernel", "accounting", |_| refused(libc::SYS_acct, NOTHING)).only_inside(),
        call(
            "personality",
            libc::SYS_personality,
            [0x0040_0000, 0, 0, 0, 0, 0],
        )
        .only_inside(),
    ];
    all.into_iter().chain(x86()).collect()
}

#[cfg(target_arch = "x86_64")]
fn x86() -> Vec<Probe> {
    vec![
        call("local_descriptor_table", libc::SYS_modify_ldt, NOTHING),
        call("port_permissions", libc::SYS_iopl, [99, 0, 0, 0, 0, 0]),
        call("x32_numbers", libc::SYS_getpid | 0x4000_0000, NOTHING).fast(),
        Probe::new("kernel", "entry_of_32_bits", |_| thirty_two_bits()).fast(),
    ]
}

#[cfg(not(target_arch = "x86_64"))]
fn x86() -> Vec<Probe> {
    Vec::new()
}

#[cfg(target_arch = "x86_64")]
/// The old entry kills the process that uses it, so a child tries.
fn thirty_two_bits() -> Finding {
    match sys::fork() {
        Ok(sys::Forked::Child) => sys::exit_now(i32::from(sys::getpid_32bit() <= 0)),
        Ok(sys::Forked::Parent(child)) => {
            let status =
                rustix::process::waitpid(Some(child), rustix::process::WaitOptions::empty());
            match status {
                Ok(Some((_, status))) if status.exit_status() == Some(0) => {
                    Finding::open("the call was answered")
                }
                Ok(Some((_, status))) => {
                    Finding::held(format!("{:?}", status.terminating_signal()))
                }
                _ => Finding::open("the child was lost"),
            }
        }
        Err(error) => Finding::open(format!("no child could be made: {error}")),
    }
}

fn sockets_and_terminals() -> Vec<Probe> {
    let socket = |family: i32, kind: i32, protocol: i32| -> [libc::c_long; 6] {
        [family.into(), kind.into(), protocol.into(), 0, 0, 0]
    };
    vec![
        call(
            "vsock",
            libc::SYS_socket,
            socket(libc::AF_VSOCK, libc::SOCK_STREAM, 0),
        )
        .fast(),
        call(
            "packet_socket",
            libc::SYS_socket,
            socket(libc::AF_PACKET, libc::SOCK_RAW, 0),
        )
        .fast(),
        call(
            "kernel_crypto_socket",
            libc::SYS_socket,
            socket(libc::AF_ALG, 5, 0),
        ),
        call(
            "audit_netlink",
            libc::SYS_socket,
            socket(libc::AF_NETLINK, libc::SOCK_RAW, 9),
        ),
        call(
            "netfilter_netlink",
            libc::SYS_socket,
            socket(libc::AF_NETLINK, libc::SOCK_RAW, 12),
        ),
        call(
            "terminal_injection",
            libc::SYS_ioctl,
            [-1, 0x5412, 0, 0, 0, 0],
        )
        .fast(),
        call(
            "terminal_injection_upper_bits",
            libc::SYS_ioctl,
            [-1, 0x1_0000_5412, 0, 0, 0, 0],
        ),
        call("console_control", libc::SYS_ioctl, [-1, 0x541C, 0, 0, 0, 0]),
    ]
}

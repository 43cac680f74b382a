//! The lists behind the filter. A number that stands in none of them is "not implemented".

use std::collections::BTreeSet;

use libc as l;

/// One look at an argument; the first check that answers decides, and with none the call passes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Check {
    /// Refuses the call if any of the bits is set.
    RefuseBits { argument: u32, bits: u32 },
    /// Allows the call at once if none of the bits is set.
    AllowUnlessBits { argument: u32, bits: u32 },
    /// Refuses the call for this value.
    RefuseValue { argument: u32, value: u32 },
    /// Allows the call at once for this value.
    AllowValue { argument: u32, value: u32 },
    /// Answers with an error unless the argument has this value.
    Require {
        argument: u32,
        value: u32,
        otherwise: i32,
    },
    /// Answers with an error.
    Refuse { with: i32 },
}

/// The flags that would make a new namespace.
const NEW_NAMESPACES: u32 = 0x7E02_0000;
/// `CLONE_NEWTIME`, which `unshare` takes and `clone` does not.
const NEW_TIME: u32 = 0x80;
/// Set-user-id and set-group-id.
const SET_ID: u32 = 0o6000;
/// Creating flags of `open`: only with them is the mode looked at.
const CREATES: u32 = 0x40 | 0x40_0000;
/// Types of `mknod` that are devices share this bit (character 0o020000, block 0o060000).
const DEVICE: u32 = 0o020_000;

fn number(call: l::c_long) -> Option<u32> {
    u32::try_from(call).ok()
}

/// Calls that pass only with harmless arguments.
pub(super) fn checked() -> Vec<(u32, Vec<Check>)> {
    let set_id = |argument| {
        vec![Check::RefuseBits {
            argument,
            bits: SET_ID,
        }]
    };
    let creating = |flags, mode| {
        vec![
            Check::AllowUnlessBits {
                argument: flags,
                bits: CREATES,
            },
            Check::RefuseBits {
                argument: mode,
                bits: SET_ID,
            },
        ]
    };
    let mut all: Vec<(l::c_long, Vec<Check>)> = vec![
        (
            l::SYS_clone,
            vec![Check::RefuseBits {
                argument: 0,
                bits: NEW_NAMESPACES,
            }],
        ),
        (
            l::SYS_unshare,
            vec![Check::RefuseBits {
                argument: 0,
                bits: NEW_NAMESPACES | NEW_TIME,
            }],
        ),
        (l::SYS_socket, socket_checks()),
        (
            l::SYS_socketpair,
            vec![Check::Require {
                argument: 0,
                value: family(l::AF_UNIX),
                otherwise: l::EAFNOSUPPORT,
            }],
        ),
        (l::SYS_ioctl, ioctl_checks()),
        (l::SYS_personality, personality_checks()),
        (l::SYS_fchmod, set_id(1)),
        (l::SYS_fchmodat, set_id(2)),
        (l::SYS_fchmodat2, set_id(2)),
        (l::SYS_openat, creating(2, 3)),
        (l::SYS_mknodat, node_checks(2)),
    ];
    #[cfg(target_arch = "x86_64")]
    all.extend([
        (l::SYS_chmod, set_id(1)),
        (l::SYS_open, creating(1, 2)),
        (l::SYS_creat, set_id(1)),
        (l::SYS_mknod, node_checks(1)),
    ]);
    all.into_iter()
        .filter_map(|(call, checks)| Some((number(call)?, checks)))
        .collect()
}

fn family(value: i32) -> u32 {
    value.unsigned_abs()
}

fn node_checks(mode: u32) -> Vec<Check> {
    vec![Check::RefuseBits {
        argument: mode,
        bits: SET_ID | DEVICE,
    }]
}

/// Unix and internet sockets, and the routing interface that lists network devices; no virtual
/// machine sockets, raw packets, kernel cryptography or other families.
fn socket_checks() -> Vec<Check> {
    let allow = |value: i32| Check::AllowValue {
        argument: 0,
        value: family(value),
    };
    vec![
        allow(l::AF_UNIX),
        allow(l::AF_INET),
        allow(l::AF_INET6),
        Check::Require {
            argument: 0,
            value: family(l::AF_NETLINK),
            otherwise: l::EAFNOSUPPORT,
        },
        Check::Require {
            argument: 2,
            value: 0,
            otherwise: l::EPERM,
        },
    ]
}

/// Pushing characters into a terminal's input and talking to the console are refused.
fn ioctl_checks() -> Vec<Check> {
    const TIOCSTI: u32 = 0x5412;
    const TIOCLINUX: u32 = 0x541C;
    const TIOCSETD: u32 = 0x5423;
    [TIOCSTI, TIOCLINUX, TIOCSETD]
        .into_iter()
        .map(|value| Check::RefuseValue { argument: 1, value })
        .collect()
}

/// Asking, the plain personality, and switching address randomisation off (debuggers, sanitizers).
fn personality_checks() -> Vec<Check> {
    let mut checks: Vec<Check> = [0, u32::MAX, 0x0004_0000]
        .into_iter()
        .map(|value| Check::AllowValue { argument: 0, value })
        .collect();
    checks.push(Check::Refuse { with: l::EPERM });
    checks
}

macro_rules! named {
    ($($name:ident)*) => { &[$((stringify!($name), l::$name)),*] };
}

/// Known dangerous calls: answered with "operation not permitted".
#[rustfmt::skip]
const REFUSED: &[(&str, l::c_long)] = named![
    SYS_acct SYS_add_key SYS_adjtimex SYS_bpf SYS_chroot SYS_clock_adjtime SYS_clock_settime
    SYS_delete_module SYS_fanotify_init SYS_fanotify_mark SYS_finit_module SYS_fsconfig
    SYS_fsmount SYS_fsopen SYS_fspick SYS_init_module SYS_io_uring_enter SYS_io_uring_register
    SYS_io_uring_setup SYS_kcmp SYS_kexec_load SYS_keyctl SYS_lookup_dcookie SYS_memfd_secret
    SYS_migrate_pages SYS_mount SYS_mount_setattr SYS_move_mount SYS_move_pages
    SYS_name_to_handle_at SYS_nfsservctl SYS_open_by_handle_at SYS_open_tree SYS_perf_event_open
    SYS_pidfd_getfd SYS_pivot_root SYS_process_madvise SYS_process_mrelease SYS_process_vm_readv
    SYS_process_vm_writev SYS_ptrace SYS_quotactl SYS_quotactl_fd SYS_reboot SYS_request_key
    SYS_setdomainname SYS_sethostname SYS_setns SYS_settimeofday SYS_swapoff SYS_swapon SYS_syslog
    SYS_umount2 SYS_userfaultfd SYS_vhangup
];

#[cfg(target_arch = "x86_64")]
const REFUSED_HERE: &[(&str, l::c_long)] =
    named![SYS_ioperm SYS_iopl SYS_kexec_file_load SYS_modify_ldt SYS_uselib];
#[cfg(not(target_arch = "x86_64"))]
const REFUSED_HERE: &[(&str, l::c_long)] = &[];

pub(super) fn refused() -> BTreeSet<u32> {
    let all = REFUSED.iter().chain(REFUSED_HERE);
    all.filter_map(|(_, call)| number(*call)).collect()
}

/// The name of a refused call.
pub(super) fn name_of(wanted: u32) -> Option<&'static str> {
    let mut all = REFUSED.iter().chain(REFUSED_HERE);
    let (name, _) = all.find(|(_, call)| number(*call) == Some(wanted))?;
    name.strip_prefix("SYS_")
}

/// Calls that pass whatever their arguments are.
pub(super) fn allowed() -> BTreeSet<u32> {
    let lists: [&[l::c_long]; 7] = [FILES, PROCESSES, MEMORY, TIME, SOCKETS, IDENTITY, LEGACY];
    let mut all: BTreeSet<u32> = lists
        .into_iter()
        .flatten()
        .filter_map(|call| number(*call))
        .collect();
    // Newer calls, with the same number on every machine: cachestat, map_shadow_stack,
    // futex_wake, futex_wait, futex_requeue.
    all.extend([451, 453, 454, 455, 456]);
    all
}

#[rustfmt::skip]
const FILES: &[l::c_long] = &[
    l::SYS_chdir, l::SYS_close, l::SYS_close_range, l::SYS_copy_file_range, l::SYS_dup,
    l::SYS_dup3, l::SYS_epoll_create1, l::SYS_epoll_ctl, l::SYS_epoll_pwait, l::SYS_epoll_pwait2,
    l::SYS_eventfd2, l::SYS_faccessat, l::SYS_faccessat2, l::SYS_fadvise64, l::SYS_fallocate,
    l::SYS_fchdir, l::SYS_fchown, l::SYS_fchownat, l::SYS_fcntl, l::SYS_fdatasync,
    l::SYS_fgetxattr, l::SYS_flistxattr, l::SYS_flock, l::SYS_fremovexattr, l::SYS_fsetxattr,
    l::SYS_fstat, l::SYS_fstatfs, l::SYS_fsync, l::SYS_ftruncate, l::SYS_getcwd,
    l::SYS_getdents64, l::SYS_getxattr, l::SYS_inotify_add_watch, l::SYS_inotify_init1,
    l::SYS_inotify_rm_watch, l::SYS_io_cancel, l::SYS_io_destroy, l::SYS_io_getevents,
    l::SYS_io_setup, l::SYS_io_submit, l::SYS_lgetxattr, l::SYS_linkat, l::SYS_listxattr,
    l::SYS_llistxattr, l::SYS_lremovexattr, l::SYS_lseek, l::SYS_lsetxattr, l::SYS_mkdirat,
    l::SYS_newfstatat, l::SYS_pipe2, l::SYS_ppoll, l::SYS_pread64, l::SYS_preadv, l::SYS_preadv2,
    l::SYS_pselect6, l::SYS_pwrite64, l::SYS_pwritev, l::SYS_pwritev2, l::SYS_read,
    l::SYS_readahead, l::SYS_readlinkat, l::SYS_readv, l::SYS_removexattr, l::SYS_renameat2,
    l::SYS_sendfile, l::SYS_setxattr, l::SYS_signalfd4, l::SYS_splice, l::SYS_statfs,
    l::SYS_statx, l::SYS_symlinkat, l::SYS_sync, l::SYS_sync_file_range, l::SYS_syncfs,
    l::SYS_tee, l::SYS_truncate, l::SYS_umask, l::SYS_unlinkat, l::SYS_utimensat, l::SYS_vmsplice,
    l::SYS_write, l::SYS_writev,
];

#[rustfmt::skip]
const PROCESSES: &[l::c_long] = &[
    l::SYS_execve, l::SYS_execveat, l::SYS_exit, l::SYS_exit_group, l::SYS_futex,
    l::SYS_futex_waitv, l::SYS_get_robust_list, l::SYS_getcpu, l::SYS_getpgid, l::SYS_getpid,
    l::SYS_getppid, l::SYS_getpriority, l::SYS_getrusage, l::SYS_getsid, l::SYS_gettid,
    l::SYS_ioprio_get, l::SYS_ioprio_set, l::SYS_kill, l::SYS_landlock_add_rule,
    l::SYS_landlock_create_ruleset, l::SYS_landlock_restrict_self, l::SYS_membarrier,
    l::SYS_pidfd_open, l::SYS_pidfd_send_signal, l::SYS_prctl, l::SYS_prlimit64,
    l::SYS_restart_syscall, l::SYS_rseq, l::SYS_rt_sigaction, l::SYS_rt_sigpending,
    l::SYS_rt_sigprocmask, l::SYS_rt_sigqueueinfo, l::SYS_rt_sigreturn, l::SYS_rt_sigsuspend,
    l::SYS_rt_sigtimedwait, l::SYS_rt_tgsigqueueinfo, l::SYS_sched_get_priority_max,
    l::SYS_sched_get_priority_min, l::SYS_sched_getaffinity, l::SYS_sched_getattr,
    l::SYS_sched_getparam, l::SYS_sched_getscheduler, l::SYS_sched_rr_get_interval,
    l::SYS_sched_setaffinity, l::SYS_sched_setattr, l::SYS_sched_setparam,
    l::SYS_sched_setscheduler, l::SYS_sched_yield, l::SYS_seccomp, l::SYS_set_robust_list,
    l::SYS_set_tid_address, l::SYS_setpgid, l::SYS_setpriority, l::SYS_setsid, l::SYS_sigaltstack,
    l::SYS_sysinfo, l::SYS_tgkill, l::SYS_tkill, l::SYS_uname, l::SYS_wait4, l::SYS_waitid,
];

#[rustfmt::skip]
const MEMORY: &[l::c_long] = &[
    l::SYS_brk, l::SYS_get_mempolicy, l::SYS_getrandom, l::SYS_madvise, l::SYS_mbind,
    l::SYS_memfd_create, l::SYS_mincore, l::SYS_mlock, l::SYS_mlock2, l::SYS_mlockall,
    l::SYS_mmap, l::SYS_mprotect, l::SYS_mq_getsetattr, l::SYS_mq_notify, l::SYS_mq_open,
    l::SYS_mq_timedreceive, l::SYS_mq_timedsend, l::SYS_mq_unlink, l::SYS_mremap, l::SYS_mseal,
    l::SYS_msgctl, l::SYS_msgget, l::SYS_msgrcv, l::SYS_msgsnd, l::SYS_msync, l::SYS_munlock,
    l::SYS_munlockall, l::SYS_munmap, l::SYS_pkey_alloc, l::SYS_pkey_free, l::SYS_pkey_mprotect,
    l::SYS_remap_file_pages, l::SYS_semctl, l::SYS_semget, l::SYS_semop, l::SYS_semtimedop,
    l::SYS_set_mempolicy, l::SYS_shmat, l::SYS_shmctl, l::SYS_shmdt, l::SYS_shmget,
];

#[rustfmt::skip]
const TIME: &[l::c_long] = &[
    l::SYS_clock_getres, l::SYS_clock_gettime, l::SYS_clock_nanosleep, l::SYS_getitimer,
    l::SYS_gettimeofday, l::SYS_nanosleep, l::SYS_setitimer, l::SYS_timer_create,
    l::SYS_timer_delete, l::SYS_timer_getoverrun, l::SYS_timer_gettime, l::SYS_timer_settime,
    l::SYS_timerfd_create, l::SYS_timerfd_gettime, l::SYS_timerfd_settime, l::SYS_times,
];

#[rustfmt::skip]
const SOCKETS: &[l::c_long] = &[
    l::SYS_accept, l::SYS_accept4, l::SYS_bind, l::SYS_connect, l::SYS_getpeername,
    l::SYS_getsockname, l::SYS_getsockopt, l::SYS_listen, l::SYS_recvfrom, l::SYS_recvmmsg,
    l::SYS_recvmsg, l::SYS_sendmmsg, l::SYS_sendmsg, l::SYS_sendto, l::SYS_setsockopt,
    l::SYS_shutdown,
];

#[rustfmt::skip]
const IDENTITY: &[l::c_long] = &[
    l::SYS_capget, l::SYS_capset, l::SYS_getegid, l::SYS_geteuid, l::SYS_getgid, l::SYS_getgroups,
    l::SYS_getresgid, l::SYS_getresuid, l::SYS_getuid, l::SYS_setfsgid, l::SYS_setfsuid,
    l::SYS_setgid, l::SYS_setgroups, l::SYS_setregid, l::SYS_setresgid, l::SYS_setresuid,
    l::SYS_setreuid, l::SYS_setuid,
];

/// Older forms that only the older machines have.
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const LEGACY: &[l::c_long] = &[
    l::SYS_access, l::SYS_alarm, l::SYS_arch_prctl, l::SYS_chown, l::SYS_dup2,
    l::SYS_epoll_create, l::SYS_epoll_wait, l::SYS_eventfd, l::SYS_fork, l::SYS_futimesat,
    l::SYS_get_thread_area, l::SYS_getdents, l::SYS_getpgrp, l::SYS_getrlimit,
    l::SYS_inotify_init, l::SYS_lchown, l::SYS_link, l::SYS_lstat, l::SYS_mkdir, l::SYS_pause,
    l::SYS_pipe, l::SYS_poll, l::SYS_readlink, l::SYS_rename, l::SYS_renameat, l::SYS_rmdir,
    l::SYS_select, l::SYS_set_thread_area, l::SYS_setrlimit, l::SYS_signalfd, l::SYS_stat,
    l::SYS_symlink, l::SYS_time, l::SYS_unlink, l::SYS_utime, l::SYS_utimes, l::SYS_vfork,
];

/// Forms that this machine has beyond the common ones.
#[cfg(not(target_arch = "x86_64"))]
const LEGACY: &[l::c_long] = &[l::SYS_renameat];

//! The calls that the safe wrappers do not offer, each behind a small safe function.
//!
//! Every `unsafe` block of this crate stands here. The functions take owned or borrowed values
//! with the kernel's own rules, turn errors into [`rustix::io::Errno`] and keep no state.
#![expect(
    unsafe_code,
    reason = "forking, system calls without a safe wrapper, and the probes' raw calls"
)]

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Errno;
use rustix::process::Pid;

/// What `fork` returned.
pub(crate) enum Forked {
    /// In the parent: the child's process id.
    Parent(Pid),
    /// In the child.
    Child,
}

fn check(result: libc::c_long) -> Result<libc::c_long, Errno> {
    if result < 0 {
        let code = std::io::Error::last_os_error().raw_os_error();
        return Err(Errno::from_raw_os_error(code.unwrap_or(libc::EIO)));
    }
    Ok(result)
}

/// Duplicates this process. Refused while more than one thread exists, because the copy would
/// hold the other threads' locks for ever.
pub(crate) fn fork() -> Result<Forked, Errno> {
    let threads = std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    if threads > 1 {
        return Err(Errno::BUSY);
    }
    fork_single_threaded()
}

/// Duplicates this process where `/proc` may not be readable; the caller has started no thread.
pub(crate) fn fork_single_threaded() -> Result<Forked, Errno> {
    // SAFETY: this process has one thread, so no lock is held by a thread the child lacks; all
    // Rust values are valid in the copy.
    let pid = check(libc::c_long::from(unsafe { libc::fork() }))?;
    Ok(match i32::try_from(pid).ok().and_then(Pid::from_raw) {
        Some(child) => Forked::Parent(child),
        None => Forked::Child,
    })
}

/// Ends this process at once, without running destructors or flushing what a fork copied.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: `_exit` has no precondition and does not return.
    unsafe { libc::_exit(code) }
}

/// Moves this process into new namespaces (`CLONE_NEW*`).
pub(crate) fn unshare(flags: libc::c_int) -> Result<(), Errno> {
    // SAFETY: only namespace flags are passed; none of them touches memory or descriptors.
    check(libc::c_long::from(unsafe { libc::unshare(flags) }))?;
    Ok(())
}

/// Adds attributes (`MOUNT_ATTR_*`) to a mount and to everything mounted below it.
pub(crate) fn mount_restrict(mount: BorrowedFd<'_>, attributes: u64) -> Result<(), Errno> {
    let change = libc::mount_attr {
        attr_set: attributes,
        attr_clr: 0,
        propagation: libc::MS_PRIVATE,
        userns_fd: 0,
    };
    // SAFETY: the descriptor is borrowed, the path is a static empty string, and the structure is
    // valid for the size given.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | libc::AT_RECURSIVE,
            &raw const change,
            size_of::<libc::mount_attr>(),
        )
    })?;
    Ok(())
}

/// Marks every descriptor from `first` on to be closed when a program is executed.
pub(crate) fn close_on_exec_from(first: u32) -> Result<(), Errno> {
    // SAFETY: only a flag of the descriptors changes; none is closed here.
    check(unsafe {
        libc::syscall(
            libc::SYS_close_range,
            first,
            u32::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    })?;
    Ok(())
}

/// Closes every descriptor from `first` on; for the start of a process, before it owns any.
pub(crate) fn close_from(first: u32) -> Result<(), Errno> {
    // SAFETY: called before this process opened anything of its own, so no owned descriptor
    // loses its file.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) })?;
    Ok(())
}

/// Brings the loopback interface of this network namespace up.
pub(crate) fn loopback_up(socket: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: an all-zero `ifreq` is valid; the name is shorter than the field.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l'.cast_signed();
    request.ifr_name[1] = b'o'.cast_signed();
    request.ifr_ifru.ifru_flags = i16::try_from(libc::IFF_UP | libc::IFF_RUNNING).unwrap_or(1);
    // SAFETY: the socket is borrowed and the structure outlives the call.
    check(libc::c_long::from(unsafe {
        libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw mut request)
    }))?;
    Ok(())
}

/// Puts a system-call filter on this process for good and returns the descriptor on which the calls
/// arrive that the filter leaves to somebody else to answer.
pub(crate) fn filter(program: &[seccompiler::sock_filter]) -> Result<OwnedFd, Errno> {
    let length = u16::try_from(program.len()).map_err(|_| Errno::TOOBIG)?;
    rustix::thread::set_no_new_privs(true)?;
    let described = libc::sock_fprog {
        len: length,
        filter: program.as_ptr().cast::<libc::sock_filter>().cast_mut(),
    };
    // SAFETY: the kernel copies the program, whose length is given; the two structures have the
    // kernel's layout, and it does not write to them.
    let descriptor = check(unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
            &raw const described,
        )
    })?;
    let descriptor = i32::try_from(descriptor).map_err(|_| Errno::BADF)?;
    // SAFETY: the kernel has just made this descriptor for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Takes one refused call from a filter's descriptor and answers it with "operation not
/// permitted"; returns its number. Waits if there is none.
pub(crate) fn refuse_one(listener: BorrowedFd<'_>) -> Result<i32, Errno> {
    // SAFETY: an all-zero notification is what the kernel asks for.
    let mut call: libc::seccomp_notif = unsafe { std::mem::zeroed() };
    // SAFETY: the descriptor is borrowed and the structure has the size in the request's number.
    check(
        unsafe {
            libc::ioctl(
                listener.as_raw_fd(),
                libc::SECCOMP_IOCTL_NOTIF_RECV,
                &raw mut call,
            )
        }
        .into(),
    )?;
    let mut answer = libc::seccomp_notif_resp {
        id: call.id,
        val: 0,
        error: -libc::EPERM,
        flags: 0,
    };
    // SAFETY: as above. A caller that was killed meanwhile needs no answer.
    let _ = check(
        unsafe {
            libc::ioctl(
                listener.as_raw_fd(),
                libc::SECCOMP_IOCTL_NOTIF_SEND,
                &raw mut answer,
            )
        }
        .into(),
    );
    Ok(call.data.nr)
}

/// A system call by number, for probes that must see the kernel's own answer. The arguments are
/// numbers only: a call that would follow a pointer gets null and fails by itself.
pub(crate) fn raw(number: libc::c_long, arguments: [libc::c_long; 6]) -> Result<i64, Errno> {
    // SAFETY: the probes pass numbers, null, or addresses of live static strings; a call that
    // succeeds changes only this short-lived process.
    check(unsafe {
        libc::syscall(
            number,
            arguments[0],
            arguments[1],
            arguments[2],
            arguments[3],
            arguments[4],
            arguments[5],
        )
    })
}

/// The address of a static C string, to hand to [`raw`].
pub(crate) fn address(text: &'static CStr) -> libc::c_long {
    text.as_ptr().addr().cast_signed() as libc::c_long
}

/// `getpid` through the 32-bit entry of an x86-64 kernel: an id, or a negative error.
#[cfg(target_arch = "x86_64")]
pub(crate) fn getpid_32bit() -> i64 {
    let mut result: i64 = 20;
    // SAFETY: the old entry preserves all registers but rax (and r8 to r11 on old kernels),
    // which are declared.
    unsafe {
        std::arch::asm!("int 0x80", inout("rax") result,
                out("r8") _, out("r9") _, out("r10") _, out("r11") _);
    }
    result
}

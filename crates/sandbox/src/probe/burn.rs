//! Programs that pass a limit; they end only when they are killed.

use std::fs;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use crate::sys::{self, Forked};

/// Burns one resource. A program that comes back from it says so by success, which is a hole.
pub(crate) fn main(what: &str) -> ExitCode {
    match what {
        "wall" => stay(),
        "cpu" => spin(),
        "memory" => allocate(),
        "processes" => multiply(),
        "output" => talk(),
        "disk" => fill("/work/probe-fill"),
        "scratch" => fill("/tmp/probe-fill"),
        "inodes" => litter(),
        "stubborn" => stubborn(),
        "orphan" => return orphan(),
        _ => return ExitCode::from(2),
    }
    ExitCode::SUCCESS
}

fn stay() {
    loop {
        std::thread::sleep(Duration::from_hours(1));
    }
}

fn spin() {
    let mut value = 0_u64;
    loop {
        value = std::hint::black_box(value.wrapping_mul(31).wrapping_add(7));
    }
}

/// Touches every page, since memory that is only reserved costs nothing.
fn allocate() {
    let mut kept = Vec::new();
    for round in 0_u32.. {
        kept.push(vec![u8::try_from(round % 251).unwrap_or(1) | 1; 4 << 20]);
        std::hint::black_box(&kept);
    }
}

fn multiply() {
    loop {
        if let Ok(Forked::Child) = sys::fork_single_threaded() {
            stay();
        }
    }
}

fn talk() {
    let line = [b'x'; 8192];
    let mut output = std::io::stdout().lock();
    while output.write_all(&line).is_ok() {}
    stay();
}

/// Many files, so that the limit of one file's size does not come first.
fn fill(path: &str) {
    let block = vec![7_u8; 256 << 10];
    for number in 0_u32.. {
        let written = fs::File::create(format!("{path}-{number}"))
            .and_then(|mut file| (0..4).try_for_each(|_| file.write_all(&block)));
        if written.is_err() {
            stay();
        }
    }
}

fn litter() {
    for number in 0_u32.. {
        if fs::File::create(format!("/work/probe-litter-{number}")).is_err() {
            stay();
        }
    }
}

/// Ignores every signal that can be ignored: waits in a child that is stopped, too.
fn stubborn() {
    if let Ok(Forked::Child) = sys::fork_single_threaded() {
        let _ = rustix::process::setsid();
        let own = rustix::process::getpid();
        let _ = rustix::process::kill_process(own, rustix::process::Signal::STOP);
    }
    stay();
}

/// Leaves a grandchild in a session of its own, which holds a lock in the work tree for ever.
fn orphan() -> ExitCode {
    let Ok((mut hears, mut says)) = std::os::unix::net::UnixStream::pair() else {
        return ExitCode::from(3);
    };
    match sys::fork_single_threaded() {
        Ok(Forked::Parent(_)) => {
            drop(says);
            let mut byte = [0];
            // Once the grandchild holds the lock, the program ends as if all were well.
            match std::io::Read::read_exact(&mut hears, &mut byte) {
                Ok(()) => ExitCode::SUCCESS,
                Err(_) => ExitCode::from(3),
            }
        }
        Ok(Forked::Child) => {
            drop(hears);
            let _ = rustix::process::setsid();
            if let Ok(Forked::Parent(_)) = sys::fork_single_threaded() {
                sys::exit_now(0);
            }
            let lock = fs::File::create("/work/probe-lock");
            let held = lock.as_ref().is_ok_and(|file| {
                rustix::fs::flock(file, rustix::fs::FlockOperation::LockExclusive).is_ok()
            });
            if held && says.write_all(b"x").is_ok() {
                stay();
            }
            sys::exit_now(1)
        }
        Err(_) => ExitCode::from(3),
    }
}

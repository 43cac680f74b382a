//! The launcher: this same program, started again with a hidden first argument.
//!
//! Isolation needs a process of its own with one thread, because namespaces and user ids belong to
//! threads and a copy of a many-threaded process is not sound. So the product's `main` calls
//! [`dispatch`] before anything else; an ordinary start is not for it and returns `None`.
//!
//! Four processes stand between the host and the program:
//!
//! 1. the **launcher** (`supervise.rs`), outside, with the host's rights. It gives the trees to the
//!    sandbox's user, watches clock, control groups and disk, and kills when it must, also when the
//!    host's socket closes.
//! 2. a short-lived process (`enter.rs`) that makes the namespaces, builds the root (`root.rs`) and
//!    gives up its rights.
//! 3. the **first process** inside (`init.rs`), process 1 of its namespace: it reaps, forwards, and
//!    measures where there is no control group. When it ends, the kernel ends all others.
//! 4. the **program**, started by `command.rs` behind Landlock, seccomp and resource limits.

mod command;
pub(crate) mod enter;
mod init;
pub(crate) mod owner;
pub(crate) mod root;
mod supervise;

use std::ffi::OsString;
use std::process::ExitCode;

use crate::live::hands::{self, HANDS};
use crate::probe::{self, PROBE};
use crate::service::{self, SERVICE};

/// First argument of the launcher.
pub(crate) const SANDBOX: &str = "__sandbox";

/// Runs one of the hidden commands if the arguments (with the program's name first) ask for one.
///
/// Call it first in `main`, before any thread is started. `None` means that this is an ordinary
/// start of the program.
pub fn dispatch(args: impl IntoIterator<Item = OsString>) -> Option<ExitCode> {
    let mut args = args.into_iter().skip(1);
    let first = args.next()?;
    match first.to_str()? {
        SANDBOX => Some(supervise::main()),
        SERVICE => Some(service::main()),
        PROBE => Some(probe::main(args)),
        HANDS => Some(hands::main(args)),
        _ => None,
    }
}

//! Isolated execution: a Linux process sandbox that fails closed and tests itself.
//!
//! This crate contains `unsafe` code, in `sys.rs` alone: making a sandbox means forking, asking the
//! kernel for namespaces and mount attributes that no safe wrapper offers, and, for the probes,
//! making the very system calls that must be refused. The workspace forbids `unsafe`; this crate's
//! own manifest denies it everywhere but there.
//!
//! Nothing that comes from a repository runs outside of a sandbox, and there is no way to ask for
//! that. [`Sandbox::detect`] isolates a trial program once; a machine that cannot do it gives
//! [`error::Unavailable`] with the setting that would change it, and no [`Sandbox`].
//!
//! What a sandboxed program gets is a request ([`spec::SandboxSpec`]): a command, one writable work
//! tree, read-only directories, limits, and at most one door to a network. What it never gets, the
//! layers say, each of which would hold alone:
//!
//! - an ordinary user of the host, never user 0, in user, mount, process, network, IPC, host-name
//!   and control-group namespaces of its own ([`launcher`]);
//! - a root file system that is an allow-list, with the kernel's own files masked;
//! - a filter that passes only known system calls with harmless arguments, and Landlock rules;
//! - limits on time, memory, processes, output and disk, kept by control groups or by measuring.
//!
//! Read [`spec`], then [`launcher`], whose modules are the four processes between the host and the
//! program. `docs/explanation/sandbox.md` tells the same for people.

mod check;
mod detect;
pub mod egress;
pub mod error;
mod forward;
pub mod launcher;
mod limits;
pub mod live;
mod machine;
mod probe;
mod run;
mod seccomp;
mod selftest;
pub mod service;
mod socket;
pub mod spec;
mod sys;
pub mod toolchain;
mod wire;

pub use detect::{Options, Sandbox};
pub use error::{SandboxError, Unavailable};
pub use machine::Machine;

//! The room through its public doors: what a bundle proves, and what other tools say of our files.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test's own helper fails by panicking"
)]

mod interop;
mod junit;
mod limits;
mod lockfile;
mod osv;
mod python_verifier;
mod sarif;
mod support;
mod tlog;
mod verify;

//! The room through its public doors: what a bundle proves, and what other tools say of our files.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test's own helper fails by panicking"
)]

mod interop;
mod junit;
mod lockfile;
mod osv;
mod sarif;
mod support;
mod verify;

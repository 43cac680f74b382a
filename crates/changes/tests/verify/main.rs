//! Verification in the real sandbox, from detection to evidence.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot be set up has failed"
)]

mod bench;
mod cannot_run;
mod checks;
mod definition;
mod lock_files;
mod node;
mod prepare;
mod suites;
mod unpinned;

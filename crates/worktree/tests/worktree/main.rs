//! The room's public doors, tried on real repositories.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot set its stage has failed"
)]

mod apply;
mod hostile;
mod registry;
mod repository;
mod support;

//! The engine under everything that may happen to it: crashes at any moment, clocks that are set,
//! owners that hang, disks that are full, journals that were touched.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod brokers;
mod chain;
mod children;
mod crash;
mod dead;
mod events;
mod external;
mod fork;
mod full_disk;
mod heartbeat;
mod history;
mod host;
mod owners;
mod people;
mod processes;
mod queue;
mod remote;
mod replay;
mod retention;
mod retry;
mod runfile;
mod schedules;
#[path = "../../../store/tests/conformance/server.rs"]
#[expect(
    dead_code,
    clippy::expect_used,
    reason = "the store's own tests use more of it, and expect"
)]
mod server;
mod simulation;
mod steering;
mod steps;
mod surface;
mod timers;
mod workers;

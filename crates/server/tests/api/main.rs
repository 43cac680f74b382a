//! The routes as clients meet them: a real engine in a temporary data directory, behind a real TCP
//! listener and a real socket.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test stops at the first surprise"
)]

mod artifacts;
mod bodies;
mod doors;
mod events;
mod idempotency;
mod models;
mod openapi;
mod otlp;
mod rights;
mod runs;
mod site;
mod socket;

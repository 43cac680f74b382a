//! The edge: one set of routes, served over TCP to whoever has a token and over the data
//! directory's socket to the user who owns it.
//!
//! A request takes five hops: route, authentication and policy, a room's service function, a table
//! module, SQL. This room is the first two. It holds no rule about runs, changes or people: each
//! handler in [`rest`] extracts what the client sent, asks the policies whether the caller may
//! (which gives the [`Authorised`](matrix_core::Authorised) value without which no service
//! function can be called), calls the service function and answers.
//!
//! * [`server`] — what every handler is given, and the limits that keep clients in bounds.
//! * `edge` — what holds for every request: connections, Host and Origin, tokens, time limits,
//!   problem+json, security headers. [`serve_tcp`] and [`serve_socket`] are its two doors.
//! * [`rest`] — the endpoints, one file each.
//! * `v1` — the protocols of model providers, for their clients.
//! * [`health`] and [`problem`] — how the process does, and what goes wrong.
//! * [`client`] — speaks to a host through its socket, for commands of the same user.
//! * [`otlp`] — spans on their way to a tracing system.
//! * [`openapi()`] — the API's description, made from the handlers.

pub mod client;
mod edge;
mod events;
pub mod health;
mod idempotency;
mod metrics;
mod openapi;
pub mod otlp;
pub mod problem;
pub mod rest;
pub mod server;
mod v1;

pub use client::{Client, ClientError};
pub use edge::guard::{AllowedNames, HostName, InvalidName, Origin};
pub use edge::listen::{Exposure, bind, bind_socket, serve_probes, serve_socket, serve_tcp};
pub use events::Event;
pub use openapi::openapi;
pub use server::{HostFacts, HostMode, Limits, Rooms, Server};

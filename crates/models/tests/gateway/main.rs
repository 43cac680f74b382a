//! The gateway from its door to a provider's socket: what it says when something goes wrong, and
//! what that costs.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test stops at the first surprise"
)]

mod authority;
mod azure;
mod batches;
mod bedrock;
mod budgets;
mod cache;
mod choices;
mod embeds;
mod faults;
mod frames;
mod guards;
mod hooks;
mod keys;
mod local;
mod matrix;
mod paid_tools;
mod pictures;
#[cfg(feature = "local-models")]
mod real;
mod reports;
mod rights;
mod site;
mod streams;
mod tls;
mod tokens;
mod told;
mod transcripts;
mod upstream;
mod vectors;
mod vertex;

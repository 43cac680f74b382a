//! Evidence and proof: what checks say about a change, in the formats other tools read, signed so
//! that anyone can verify it.
//!
//! This room turns values into bytes and back; it runs nothing, opens no socket and knows neither
//! the engine nor the store, so that the part a stranger must trust when verifying is small.

pub mod record;

pub use record::{ArtifactRef, Evidence, Kind, Status};

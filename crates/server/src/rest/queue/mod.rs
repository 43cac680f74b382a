//! `/api/v1/queue`: who waits for a slot, and who has one.

pub(crate) mod pause;
pub(crate) mod show;

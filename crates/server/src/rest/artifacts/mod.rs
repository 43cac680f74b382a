//! `/api/v1/artifacts/{job}`: what a change published.

pub(crate) mod get;
pub(crate) mod list;
pub(crate) mod prune;

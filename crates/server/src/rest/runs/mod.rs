//! `/api/v1/runs`: runs of every kind, their journals, and what can be asked of them.

pub(crate) mod body;
pub(crate) mod cancel;
pub(crate) mod entries;
pub(crate) mod events;
pub(crate) mod list;
pub(crate) mod pause;
pub(crate) mod resume;
pub(crate) mod retry;
pub(crate) mod show;
pub(crate) mod signal;

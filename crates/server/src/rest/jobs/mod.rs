//! `/api/v1/jobs`: changes. A job's id is its run's.

pub(crate) mod body;
pub(crate) mod list;
pub(crate) mod show;

//! `/api/v1/schedules`: runs that start others at times.

pub(crate) mod add;
pub(crate) mod body;
pub(crate) mod list;
pub(crate) mod preview;
pub(crate) mod steer;

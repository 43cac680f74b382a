//! `/api/v1/deployments`: what is deployed, and going back.

pub(crate) mod list;
pub(crate) mod rollback;
pub(crate) mod stop;

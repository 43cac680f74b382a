//! `/api/v1/approvals`: questions to people, and their answers.

pub(crate) mod approve;
pub(crate) mod list;
pub(crate) mod reject;

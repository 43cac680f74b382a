//! `/api/v1/users`: the people and programs that may sign in.

pub(crate) mod add;
pub(crate) mod list;

//! `/api/v1/agents` and `/api/v1/tools`: who can be given a goal, what with, and giving one.

pub(crate) mod add;
pub(crate) mod body;
pub(crate) mod list;
pub(crate) mod run;
pub(crate) mod state;

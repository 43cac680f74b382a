//! `/api/v1/models`, `/api/v1/budgets` and `/api/v1/model-usage`: which models there are, what may be
//! spent on them, and what was.

pub(crate) mod add;
pub(crate) mod ask;
pub(crate) mod budgets;
pub(crate) mod list;
pub(crate) mod probe;
pub(crate) mod remove;
pub(crate) mod usage;

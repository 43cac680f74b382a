//! Steps that workers outside do: runs of them, and who has which.

pub(crate) mod list;
pub(crate) mod logs;
pub(crate) mod submit;

//! How limits are kept: by control groups where they can be made, else by measuring.

pub(crate) mod cgroup;
pub(crate) mod disk;
pub(crate) mod processes;

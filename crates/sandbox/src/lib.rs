//! Isolated execution: a Linux process sandbox that fails closed and tests itself.

pub mod spec;

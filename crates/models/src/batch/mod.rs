//! Batches: many requests in a file, answered in their own time (`OpenAI`'s API reference, "Batch" and
//! "Files").
//!
//! A file is a run whose input is its content, and a batch is a run in which each request is a step. What
//! a batch has done so far is what its journal says; its output is put together from it whenever somebody
//! asks, also before it has ended. Files and batches are seen by whoever made them, and by those who may
//! read all runs, as runs.

mod function;
mod line;
mod service;

pub use self::function::{BatchFunction, FileFunction};
pub use self::line::{Endpoint, LINES_MAX};
pub use self::service::{
    BatchStatus, BatchView, FileView, NewBatch, NewFile, PURPOSE, RIGHT, add_batch, add_file,
    cancel_batch, content, delete_file, list_batches, list_files, show_batch, show_file,
};

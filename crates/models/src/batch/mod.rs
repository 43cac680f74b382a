//! Batches: many requests in a file, answered in their own time (`OpenAI`'s API reference, "Batch" and
//! "Files").
//!
//! A file is a run whose input is its content, and a batch is a run in which each request is a step. What
//! was answered is what the batch's journal says; its output is put together from it whenever somebody
//! asks, also before it has ended. Whose they are, how large and how far stands in a row beside each, which
//! is written with the run and with each answer, so that a look at it reads no journal. Files and batches are seen by whoever made them, and by those who may
//! read all runs, as runs.

mod files;
mod function;
mod line;
mod names;
mod quota;
mod service;

pub use self::files::{
    FileView, NewFile, PURPOSE, RIGHT, add_file, content, delete_file, list_files, show_file,
};
pub use self::function::{BatchFunction, FileFunction};
pub use self::line::{Endpoint, LINES_MAX};
pub use self::quota::Quota;
pub use self::service::{
    BatchStatus, BatchView, NewBatch, add_batch, cancel_batch, list_batches, show_batch,
};

//! A small book of money: entries in mills, reports in cents.

pub mod amount;
pub mod book;
pub mod report;
pub mod round;

pub use amount::{Cents, Mills, ParseAmountError};
pub use book::{Book, Entry, ParseEntryError};
pub use report::Report;

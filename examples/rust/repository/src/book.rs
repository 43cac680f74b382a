//! The book: entries in the order in which they were made.

use std::fmt;
use std::str::FromStr;

use crate::amount::{Mills, ParseAmountError};

/// One line of the book.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The day, as `2024-03-01`.
    pub date: String,
    /// How much; negative for money that left.
    pub amount: Mills,
    /// What for.
    pub name: String,
}

/// Why a line is not an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ParseEntryError {
    /// A date, an amount and a name were expected.
    Incomplete(String),
    /// The amount could not be read.
    Amount(ParseAmountError),
}

/// All entries.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Book {
    entries: Vec<Entry>,
}

impl Book {
    /// Adds an entry at the end.
    pub fn add(&mut self, entry: Entry) {
        self.entries.push(entry);
    }

    /// The entries in order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The exact sum of all entries.
    pub fn total(&self) -> Mills {
        self.entries.iter().map(|entry| entry.amount).sum()
    }
}

impl FromStr for Entry {
    type Err = ParseEntryError;

    fn from_str(line: &str) -> Result<Self, ParseEntryError> {
        let incomplete = || ParseEntryError::Incomplete(line.to_owned());
        let (date, rest) = line.trim().split_once(' ').ok_or_else(incomplete)?;
        let (amount, name) = rest.trim_start().split_once(' ').ok_or_else(incomplete)?;
        Ok(Self {
            date: date.to_owned(),
            amount: amount.parse().map_err(ParseEntryError::Amount)?,
            name: name.trim_start().to_owned(),
        })
    }
}

impl FromStr for Book {
    type Err = ParseEntryError;

    fn from_str(text: &str) -> Result<Self, ParseEntryError> {
        let entries = text
            .lines()
            .filter(|line| !line.trim().is_empty())
            .map(str::parse)
            .collect::<Result<_, _>>()?;
        Ok(Self { entries })
    }
}

impl fmt::Display for ParseEntryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Incomplete(line) => write!(f, "`{line}` is not a date, an amount and a name"),
            Self::Amount(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ParseEntryError {}

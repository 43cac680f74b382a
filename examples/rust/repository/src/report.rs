//! The report that people read, in cents.

use std::fmt;

use crate::amount::Cents;
use crate::book::Book;

/// The lines of a book in cents, and their sum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    lines: Vec<(String, String, Cents)>,
}

impl Report {
    /// The report of a book.
    pub fn of(book: &Book) -> Self {
        let lines = book
            .entries()
            .iter()
            .map(|entry| {
                (
                    entry.date.clone(),
                    entry.name.clone(),
                    entry.amount.to_cents(),
                )
            })
            .collect();
        Self { lines }
    }

    /// The sum of the lines as they are shown.
    pub fn total(&self) -> Cents {
        self.lines.iter().map(|(_, _, amount)| *amount).sum()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (date, name, amount) in &self.lines {
            writeln!(f, "{date:<12}{name:<12}{amount:>10}")?;
        }
        writeln!(f, "{:<12}{:<12}{:>10}", "", "total", self.total())
    }
}

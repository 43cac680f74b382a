//! The only place that prints: results to standard output, everything else to standard error.

#![expect(clippy::print_stderr, reason = "this is the program's voice")]

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use matrix_core::{Code, Problem};
use serde::Serialize;

use crate::failure::Failure;

/// A line of a result.
pub(crate) fn line(text: impl std::fmt::Display) {
    let mut out = std::io::stdout().lock();
    // A reader that closed the pipe has seen enough.
    drop(writeln!(out, "{}", printable(&text.to_string())));
}

/// A text without what would steer a terminal: titles, logs and files come from anywhere.
fn printable(text: &str) -> String {
    let steers = |letter: char| letter.is_control() && !matches!(letter, '\n' | '\t');
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        if steers(letter) {
            shown.extend(letter.escape_unicode());
        } else {
            shown.push(letter);
        }
    }
    shown
}

/// This program as it was called, so that a line that is shown can be typed.
pub(crate) fn program() -> String {
    std::env::args().next().unwrap_or_else(|| "matrix".into())
}

/// Bytes of a result.
pub(crate) fn bytes(bytes: &[u8]) {
    let mut out = std::io::stdout().lock();
    drop(out.write_all(bytes).and_then(|()| out.flush()));
}

/// A result for programs: one line.
pub(crate) fn json<T: Serialize>(value: &T) {
    match serde_json::to_string(value) {
        Ok(text) => line(text),
        Err(error) => note(format_args!("the result has no JSON form: {error}")),
    }
}

/// A line of progress or advice.
pub(crate) fn note(text: impl std::fmt::Display) {
    let text = printable(&text.to_string());
    drop(writeln!(std::io::stderr().lock(), "{text}"));
}

/// Whether a person looks at the progress.
pub(crate) fn on_terminal() -> bool {
    std::io::stderr().is_terminal()
}

/// Replaces the last line of a terminal; an empty text removes it.
pub(crate) fn live(text: &str) {
    if on_terminal() {
        let mut out = std::io::stderr().lock();
        drop(write!(out, "\r\x1b[2K{text}").and_then(|()| out.flush()));
    }
}

/// A failure: one line, and the exit code that goes with it.
pub(crate) fn failure(failure: &Failure) -> ExitCode {
    live("");
    eprintln!("matrix: {}", failure.line);
    ExitCode::from(failure.exit)
}

/// The arguments are not understood.
pub(crate) const USAGE: Code = Code::new("CLI-0005", 400, 2, "arguments not understood");

/// What the parser of the command line says; help and version are not failures.
pub(crate) fn usage(error: &clap::Error) -> ExitCode {
    drop(error.print());
    if !error.use_stderr() {
        return ExitCode::SUCCESS;
    }
    // What could not be parsed cannot say whether a program reads the result.
    if std::env::args_os().any(|argument| argument == "--json") {
        let text = error.to_string();
        let first = text.lines().next().unwrap_or_default();
        let detail = first.strip_prefix("error: ").unwrap_or(first);
        let problem = Problem::new(USAGE, detail).help("see --help");
        json(&serde_json::json!({ "error": Failure::from(problem).problem }));
    }
    ExitCode::from(USAGE.exit)
}

/// Rows with columns as wide as their widest cell.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) {
    let mut widths: Vec<usize> = head.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let show = |cells: &mut dyn Iterator<Item = &str>| {
        let text: Vec<String> = cells
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        line(text.join("  ").trim_end());
    };
    show(&mut head.iter().copied());
    for row in rows {
        show(&mut row.iter().map(String::as_str));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_shown_steers_the_terminal() {
        assert_eq!(printable("a\tb\n✓ ü"), "a\tb\n✓ ü");
        assert_eq!(
            printable("\u{1b}[2Jx\r\u{9b}1m"),
            r"\u{1b}[2Jx\u{d}\u{9b}1m"
        );
    }
}

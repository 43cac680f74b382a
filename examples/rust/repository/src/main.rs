//! Reads entries from standard input and prints their report.

use std::io::{self, Read};
use std::process::ExitCode;

use ledger::{Book, Report};

fn main() -> ExitCode {
    let mut text = String::new();
    if let Err(error) = io::stdin().read_to_string(&mut text) {
        eprintln!("cannot read the entries: {error}");
        return ExitCode::FAILURE;
    }
    match text.parse::<Book>() {
        Ok(book) => {
            print!("{}", Report::of(&book));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

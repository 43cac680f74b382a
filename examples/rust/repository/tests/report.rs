//! The report against the book.

use ledger::{Book, Cents, Report};

const PRICES: &str = "\
2024-03-01 0.125 paper
2024-03-01 0.135 ink
2024-03-02 0.145 stamps
2024-03-04 0.155 string
";

fn book(text: &str) -> Book {
    text.parse().expect("the entries of a test are well formed")
}

#[test]
fn the_totals_of_report_and_ledger_agree() {
    let book = book(PRICES);
    assert_eq!(book.total().to_cents(), Cents(56));
    assert_eq!(Report::of(&book).total(), book.total().to_cents());
}

#[test]
fn a_report_shows_every_line_and_the_total() {
    let book = book("2024-03-01 1.201 paper\n2024-03-02 -0.2 deposit back\n");
    let expected = "\
2024-03-01  paper             1.20
2024-03-02  deposit back     -0.20
            total             1.00
";
    assert_eq!(Report::of(&book).to_string(), expected);
}

#[test]
fn an_empty_book_has_an_empty_report() {
    let expected = "            total             0.00\n";
    assert_eq!(Report::of(&Book::default()).to_string(), expected);
}

#[test]
fn a_line_without_a_name_is_refused() {
    let error = "2024-03-01 1.20".parse::<Book>().unwrap_err();
    assert_eq!(
        error.to_string(),
        "`2024-03-01 1.20` is not a date, an amount and a name"
    );
}

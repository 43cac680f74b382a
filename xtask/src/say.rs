//! What people read: results on standard output, progress and failures on standard error.

/// A line of the result.
#[expect(
    clippy::print_stdout,
    reason = "this is where results are printed; a closed pipe ends the program as usual"
)]
pub(crate) fn line(text: &str) {
    println!("{text}");
}

/// A line of progress.
#[expect(clippy::print_stderr, reason = "this is where progress is printed")]
pub(crate) fn progress(text: &str) {
    eprintln!("{text}");
}

/// What went wrong.
pub(crate) fn error(text: &str) {
    progress(&format!("error: {text}"));
}

/// Something to look at that does not fail.
pub(crate) fn warning(text: &str) {
    progress(&format!("warning: {text}"));
}

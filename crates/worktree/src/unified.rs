//! Unified diffs, read and fitted.
//!
//! Plans are written by people and programs that get line numbers wrong, lose trailing spaces or
//! shift a block's indentation. So a hunk is placed by its context: exactly first, then with line
//! ends and trailing spaces aside, then with a uniform shift of indentation, last without the
//! outermost context lines. What is never done is guess: a hunk that fits at two places is
//! refused unless its line number says which, and lines that stay keep the file's own bytes.

mod fit;
mod parse;

pub use fit::apply;

/// Reads a diff without a file to fit it to, to find early what is wrong with it.
pub fn check(diff: &[u8]) -> Result<(), DiffFault> {
    parse::parse(diff).map(drop)
}

/// The most hunks a diff may have.
pub const HUNKS: usize = 1000;

/// One line of a hunk, without its mark and its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HunkLine<'a> {
    /// Stays.
    Context(&'a [u8]),
    /// Goes.
    Delete(&'a [u8]),
    /// Comes.
    Insert(&'a [u8]),
}

/// Where a header says that a hunk begins in the old file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OldRange {
    /// The first line, from 1; 0 for an empty file.
    pub(crate) start: usize,
    /// How many lines.
    pub(crate) count: usize,
}

/// A piece of a diff.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hunk<'a> {
    /// From 1, for messages.
    pub(crate) number: usize,
    /// What the header says, if it says something.
    pub(crate) range: Option<OldRange>,
    /// The lines in order.
    pub(crate) lines: Vec<HunkLine<'a>>,
    /// The last old line is the file's last and has no line end.
    pub(crate) old_unterminated: bool,
    /// The last new line is the file's last and has no line end.
    pub(crate) new_unterminated: bool,
}

impl<'a> Hunk<'a> {
    /// The lines that the old file must have.
    pub(crate) fn old(&self) -> Vec<&'a [u8]> {
        self.lines
            .iter()
            .filter_map(|line| match line {
                HunkLine::Context(text) | HunkLine::Delete(text) => Some(*text),
                HunkLine::Insert(_) => None,
            })
            .collect()
    }
}

/// Why a diff cannot be read or does not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DiffFault {
    /// It has no hunk.
    #[error("the diff has no hunk; begin each with a line `@@ @@`")]
    NoHunk,
    /// A line is not of the form.
    #[error("line {line} of the diff is not understood: {why}")]
    Malformed {
        /// From 1.
        line: usize,
        /// What is wrong and what would be right.
        why: String,
    },
    /// It changes nothing.
    #[error("the diff neither adds nor removes a line")]
    NoChange,
    /// There are more than [`HUNKS`].
    #[error("the diff has more than {HUNKS} hunks")]
    TooManyHunks,
    /// Placing the hunks would take too long.
    #[error("the diff has too many hunks for so long a file; give the whole content instead")]
    TooMuchWork,
    /// A hunk is found nowhere.
    #[error("hunk {hunk} does not fit the file; {excerpt}")]
    DoesNotFit {
        /// From 1.
        hunk: usize,
        /// The hunk's old lines and the nearest of the file.
        excerpt: String,
    },
    /// A hunk is found at several places.
    #[error(
        "hunk {hunk} fits at lines {}; give more context or a right line number",
        list(lines)
    )]
    Ambiguous {
        /// From 1.
        hunk: usize,
        /// Where it fits, from 1; at most ten.
        lines: Vec<usize>,
    },
}

fn list(lines: &[usize]) -> String {
    let texts: Vec<String> = lines.iter().map(usize::to_string).collect();
    texts.join(", ")
}

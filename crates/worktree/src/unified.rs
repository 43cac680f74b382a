//! Unified diffs, read and fitted.
//!
//! Plans are written by people and programs that get line numbers wrong, lose trailing spaces or
//! shift a block's indentation. So a hunk is placed by its context: exactly first, then with line
//! ends and trailing spaces aside, then with a uniform shift of indentation, last without the
//! outermost context lines. What is never done is guess: a hunk that fits at two places is
//! refused unless its line number says which, and lines that stay keep the file's own bytes.

mod fit;
mod parse;

pub use fit::{apply, fit};

use serde::{Deserialize, Serialize};

/// A file after a diff, and how its hunks were placed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fitted {
    /// The file's new content.
    pub content: Vec<u8>,
    /// Each hunk of the diff, in order.
    pub hunks: Vec<HunkFit>,
}

/// How a hunk was placed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HunkFit {
    /// Which of the diff's hunks, from 1.
    pub hunk: usize,
    /// The line of the old file that it begins at, from 1.
    pub line: usize,
    /// How many lines behind the place that its header names; nothing where the header names none.
    pub offset: Option<i64>,
    /// How many of the outermost context lines did not agree and were left out, 0 to 2.
    pub fuzz: usize,
    /// How well the other lines agree.
    pub alike: Alike,
}

impl HunkFit {
    /// Whether it stands where it says, to the byte.
    pub fn is_exact(&self) -> bool {
        self.offset.unwrap_or(0) == 0 && self.fuzz == 0 && self.alike == Alike::Exact
    }
}

/// How well a hunk's old lines agree with the file's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Alike {
    /// To the byte.
    Exact,
    /// But for carriage returns, or the end of the last line.
    LineEnds,
    /// But for spaces at the ends of lines.
    TrailingSpace,
    /// But for a shift of indentation, the same on every line.
    Indentation,
}

impl std::fmt::Display for HunkFit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            hunk, line, alike, ..
        } = self;
        write!(f, "hunk {hunk} at line {line}")?;
        let plural = |number: u64| if number == 1 { "" } else { "s" };
        if let Some(offset) = self.offset.filter(|offset| *offset != 0) {
            let lines = offset.unsigned_abs();
            let side = if offset < 0 { "above" } else { "below" };
            let end = plural(lines);
            write!(f, ", {lines} line{end} {side} where it says")?;
        }
        if self.fuzz > 0 {
            let end = plural(self.fuzz as u64);
            write!(f, ", without {} outer context line{end}", self.fuzz)?;
        }
        f.write_str(match alike {
            Alike::Exact => "",
            Alike::LineEnds => ", line ends aside",
            Alike::TrailingSpace => ", spaces at line ends aside",
            Alike::Indentation => ", indentation aside",
        })
    }
}

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

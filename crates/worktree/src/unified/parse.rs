//! Reading a unified diff of one file.

use super::{DiffFault, HUNKS, Hunk, HunkLine, OldRange};

/// Lines that stand before the first hunk and carry nothing we need.
const PREAMBLE: [&[u8]; 4] = [b"diff --git ", b"index ", b"--- ", b"+++ "];
/// Lines that ask for something a diff of one file's text cannot do here.
const REFUSED: [(&[u8], &str); 8] = [
    (b"rename from ", "use the operation `move`"),
    (b"rename to ", "use the operation `move`"),
    (b"copy from ", "use the operation `create`"),
    (b"new file mode ", "use the operation `create`"),
    (b"deleted file mode ", "use the operation `delete`"),
    (b"old mode ", "a file's mode cannot be changed by a diff"),
    (b"GIT binary patch", "give the whole content instead"),
    (b"Binary files ", "give the whole content instead"),
];

struct Parser<'a> {
    hunks: Vec<Hunk<'a>>,
    /// Old and new lines that the header still promises, when it gave counts.
    promised: Option<(usize, usize)>,
}

/// Reads a diff; line numbers and counts are kept only where the header has them.
pub(super) fn parse(diff: &[u8]) -> Result<Vec<Hunk<'_>>, DiffFault> {
    let body = diff.strip_suffix(b"\n").unwrap_or(diff);
    let lines: Vec<&[u8]> = body.split(|byte| *byte == b'\n').collect();
    let mut parser = Parser {
        hunks: Vec::new(),
        promised: None,
    };
    for (at, line) in lines.iter().enumerate() {
        parser.line(at + 1, line, lines.get(at + 1).copied())?;
    }
    parser.end_hunk();
    if parser.hunks.is_empty() {
        return Err(DiffFault::NoHunk);
    }
    let changes = |hunk: &Hunk<'_>| {
        hunk.lines
            .iter()
            .any(|line| !matches!(line, HunkLine::Context(_)))
    };
    if !parser.hunks.iter().any(changes) {
        return Err(DiffFault::NoChange);
    }
    Ok(parser.hunks)
}

impl<'a> Parser<'a> {
    fn line(
        &mut self,
        number: usize,
        line: &'a [u8],
        next: Option<&[u8]>,
    ) -> Result<(), DiffFault> {
        let malformed = |why: &str| DiffFault::Malformed {
            line: number,
            why: why.to_owned(),
        };
        let fulfilled = self.promised == Some((0, 0));
        let begins = line.starts_with(b"@@") && (fulfilled || !self.inside_counts());
        if begins {
            self.end_hunk();
            if self.hunks.len() == HUNKS {
                return Err(DiffFault::TooManyHunks);
            }
            let range = header(line);
            self.promised = range.map(|(old, new)| (old.count, new));
            self.hunks.push(Hunk {
                number: self.hunks.len() + 1,
                range: range.map(|(old, _)| old),
                lines: Vec::new(),
                old_unterminated: false,
                new_unterminated: false,
            });
            return Ok(());
        }
        if self.hunks.is_empty() {
            return preamble(line).map_err(|why| malformed(&why));
        }
        let next_file = line.starts_with(b"diff --git ")
            || (line.starts_with(b"--- ") && next.is_some_and(|next| next.starts_with(b"+++ ")));
        if next_file && !self.inside_counts() {
            return Err(malformed(
                "a second file begins here; use one operation for each file",
            ));
        }
        if line.starts_with(b"\\") {
            self.unterminated();
            return Ok(());
        }
        if fulfilled && line.trim_ascii().is_empty() {
            return Ok(());
        }
        self.content(line).ok_or_else(|| {
            malformed("inside a hunk each line begins with a space, `-`, `+` or `\\`")
        })
    }

    /// Whether the header's counts say that the hunk goes on.
    fn inside_counts(&self) -> bool {
        self.promised.is_some_and(|(old, new)| old > 0 || new > 0)
    }

    fn content(&mut self, line: &'a [u8]) -> Option<()> {
        let parsed = match line {
            // Editors cut the space of an empty context line.
            [] | [b'\r'] => HunkLine::Context(line),
            [b' ', text @ ..] => HunkLine::Context(text),
            [b'-', text @ ..] => HunkLine::Delete(text),
            [b'+', text @ ..] => HunkLine::Insert(text),
            _ => return None,
        };
        if let Some((old, new)) = self.promised {
            let (took_old, took_new) = match parsed {
                HunkLine::Context(_) => (1, 1),
                HunkLine::Delete(_) => (1, 0),
                HunkLine::Insert(_) => (0, 1),
            };
            // Counts that do not hold are worth nothing.
            self.promised = old.checked_sub(took_old).zip(new.checked_sub(took_new));
        }
        self.hunks.last_mut()?.lines.push(parsed);
        Some(())
    }

    /// `\ No newline at end of file` speaks about the line before it.
    fn unterminated(&mut self) {
        let Some(hunk) = self.hunks.last_mut() else {
            return;
        };
        match hunk.lines.last() {
            Some(HunkLine::Context(_)) => {
                hunk.old_unterminated = true;
                hunk.new_unterminated = true;
            }
            Some(HunkLine::Delete(_)) => hunk.old_unterminated = true,
            Some(HunkLine::Insert(_)) => hunk.new_unterminated = true,
            None => {}
        }
    }

    /// Empty lines at a hunk's end that no count claims came from the text around the diff.
    fn end_hunk(&mut self) {
        let claimed = self.promised == Some((0, 0));
        if let Some(hunk) = self.hunks.last_mut()
            && !claimed
        {
            while let Some(HunkLine::Context(b"" | b"\r")) = hunk.lines.last() {
                hunk.lines.pop();
            }
        }
    }
}

fn preamble(line: &[u8]) -> Result<(), String> {
    for (start, advice) in REFUSED {
        if line.starts_with(start) {
            return Err((*advice).to_owned());
        }
    }
    let known =
        line.trim_ascii().is_empty() || PREAMBLE.iter().any(|start| line.starts_with(start));
    if known {
        Ok(())
    } else {
        Err("a hunk begins with a line `@@ @@`".to_owned())
    }
}

/// `@@ -12,3 +12,4 @@ …`; any other text after `@@` gives no numbers.
fn header(line: &[u8]) -> Option<(OldRange, usize)> {
    let text = std::str::from_utf8(line).ok()?;
    let mut words = text.strip_prefix("@@")?.split_ascii_whitespace();
    let old = words.next()?.strip_prefix('-')?;
    let new = words.next()?.strip_prefix('+')?;
    let (start, count) = range(old)?;
    let (_, new_count) = range(new)?;
    Some((OldRange { start, count }, new_count))
}

fn range(text: &str) -> Option<(usize, usize)> {
    match text.split_once(',') {
        Some((start, count)) => Some((start.parse().ok()?, count.parse().ok()?)),
        None => Some((text.parse().ok()?, 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_with_and_without_numbers() {
        assert_eq!(
            header(b"@@ -3,2 +3,5 @@ fn x"),
            Some((OldRange { start: 3, count: 2 }, 5))
        );
        assert_eq!(
            header(b"@@ -3 +4 @@"),
            Some((OldRange { start: 3, count: 1 }, 1))
        );
        for loose in ["@@", "@@ @@", "@@ … @@", "@@ fn main() {", "@@ -x +y @@"] {
            assert_eq!(header(loose.as_bytes()), None, "{loose}");
        }
    }

    #[test]
    fn a_deleted_line_of_dashes_is_no_file_header_where_counts_say_so() {
        let diff = b"@@ -1,3 +1,2 @@\n a\n--- x\n+++ y\n-b\n";
        let hunks = parse(diff).unwrap();
        assert_eq!(hunks[0].lines[1], HunkLine::Delete(b"-- x"));
        assert_eq!(hunks[0].lines[2], HunkLine::Insert(b"++ y"));
    }

    #[test]
    fn empty_lines_after_a_hunk_belong_to_nobody() {
        let hunks = parse(b"@@ @@\n a\n-b\n\n\n").unwrap();
        assert_eq!(hunks[0].lines.len(), 2);
        let hunks = parse(b"@@ -1,3 +1,2 @@\n a\n-b\n\n\n").unwrap();
        assert_eq!(hunks[0].lines.len(), 3, "counts claim one of the two");
    }

    #[test]
    fn what_a_diff_cannot_do_is_refused_with_advice() {
        for (diff, part) in [
            ("", "no hunk"),
            ("hello", "`@@ @@`"),
            ("@@ @@\nx", "begins with a space"),
            ("@@ @@\n a\n", "neither adds nor removes"),
            ("rename from a\n@@ @@\n-a\n", "`move`"),
            ("GIT binary patch\n", "whole content"),
            ("@@ @@\n-a\n--- b/x\n+++ b/x\n@@ @@\n-c\n", "second file"),
        ] {
            let error = parse(diff.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(part), "{diff:?}: {error}");
        }
    }
}

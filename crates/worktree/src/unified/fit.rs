//! Placing hunks in a file.

use super::parse::parse;
use super::{Alike, DiffFault, Fitted, Hunk, HunkFit, HunkLine};

/// The most lines of the file times hunks: what placing may cost.
const WORK: usize = 50_000_000;
/// How many lines of the hunk and of the file a message shows.
const EXCERPT_LINES: usize = 12;
/// The longest line a message shows, in characters.
const EXCERPT_WIDTH: usize = 120;
/// The most comparisons spent on finding the nearest lines for a message.
const EXCERPT_WORK: usize = 4_000_000;

/// A line of the file without its `\n`, and whether it had one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Line<'a> {
    text: &'a [u8],
    terminated: bool,
}

/// How much two lines may differ and still be the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    /// Every byte.
    Exact,
    /// All but a carriage return before the line's end, and whether the last line has an end.
    LineEnds,
    /// All but spaces at the end.
    TrailingSpace,
    /// All but spaces at the end and the same shift of indentation on every line.
    Indentation,
}

const LEVELS: [Level; 4] = [
    Level::Exact,
    Level::LineEnds,
    Level::TrailingSpace,
    Level::Indentation,
];

/// How indentation differs between hunk and file.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Shift<'a> {
    None,
    /// The file has this before each line.
    Deeper(&'a [u8]),
    /// The hunk has this before each line.
    Shallower(&'a [u8]),
}

/// Where a hunk goes.
#[derive(Debug)]
struct Place<'a> {
    /// Index of the first old line in the file.
    at: usize,
    /// Context lines left out at the hunk's start and end.
    skipped: (usize, usize),
    level: Level,
    shift: Shift<'a>,
}

impl Level {
    const fn alike(self) -> Alike {
        match self {
            Self::Exact => Alike::Exact,
            Self::LineEnds => Alike::LineEnds,
            Self::TrailingSpace => Alike::TrailingSpace,
            Self::Indentation => Alike::Indentation,
        }
    }
}

impl Place<'_> {
    /// Index in the file of the hunk's first old line, were no context left out.
    fn start(&self) -> usize {
        self.at.saturating_sub(self.skipped.0)
    }

    fn tell(&self, hunk: &Hunk<'_>) -> HunkFit {
        let said = hunk.range.map(|range| match range.count {
            // Such a hunk names the line that it goes behind.
            0 => range.start,
            _ => range.start.saturating_sub(1),
        });
        let offset = said.map(|said| self.start().cast_signed().saturating_sub_unsigned(said));
        HunkFit {
            hunk: hunk.number,
            line: self.start() + 1,
            offset: offset.map(|lines| i64::try_from(lines).unwrap_or(i64::MAX)),
            fuzz: self.skipped.0.max(self.skipped.1),
            alike: self.level.alike(),
        }
    }
}

/// Applies a unified diff to a file's content.
pub fn apply(content: &[u8], diff: &[u8]) -> Result<Vec<u8>, DiffFault> {
    fit(content, diff).map(|fitted| fitted.content)
}

/// Applies a unified diff to a file's content, and tells how well each hunk fitted.
pub fn fit(content: &[u8], diff: &[u8]) -> Result<Fitted, DiffFault> {
    let hunks = parse(diff)?;
    let file = split(content);
    if file.len().saturating_mul(hunks.len()) > WORK {
        return Err(DiffFault::TooMuchWork);
    }
    let mut output = Vec::with_capacity(content.len() + diff.len());
    let mut done = 0;
    let mut drift = 0_isize;
    let mut fits = Vec::with_capacity(hunks.len());
    for hunk in &hunks {
        let place = find(&file, hunk, done, drift)?;
        if let Some(range) = hunk.range.filter(|range| range.count > 0) {
            let said = range.start.saturating_sub(1);
            drift = place.start().cast_signed().saturating_sub_unsigned(said);
        }
        fits.push(place.tell(hunk));
        for line in &file[done..place.at] {
            push(&mut output, line.text, line.terminated);
        }
        done = write_hunk(&mut output, &file, hunk, &place);
    }
    for line in &file[done..] {
        push(&mut output, line.text, line.terminated);
    }
    Ok(Fitted {
        content: output,
        hunks: fits,
    })
}

fn split(content: &[u8]) -> Vec<Line<'_>> {
    content
        .split_inclusive(|byte| *byte == b'\n')
        .map(|line| match line.strip_suffix(b"\n") {
            Some(text) => Line {
                text,
                terminated: true,
            },
            None => Line {
                text: line,
                terminated: false,
            },
        })
        .collect()
}

fn push(output: &mut Vec<u8>, text: &[u8], terminated: bool) {
    // A line that is no longer the last one needs an end.
    if output.last().is_some_and(|byte| *byte != b'\n') {
        output.push(b'\n');
    }
    output.extend_from_slice(text);
    if terminated {
        output.push(b'\n');
    }
}

/// Finds the only place of a hunk, at the strictest level that has any.
fn find<'a>(
    file: &[Line<'a>],
    hunk: &Hunk<'a>,
    from: usize,
    drift: isize,
) -> Result<Place<'a>, DiffFault> {
    let old = hunk.old();
    if old.is_empty() {
        return insertion(file, hunk, from, drift);
    }
    let expected = hunk
        .range
        .and_then(|range| range.start.checked_sub(1)?.checked_add_signed(drift));
    for (level, skipped) in attempts(hunk) {
        let wanted = &old[skipped.0..old.len() - skipped.1];
        let fits: Vec<(usize, Shift<'a>)> = (from..=file.len().saturating_sub(wanted.len()))
            .filter(|at| at + wanted.len() <= file.len())
            .filter_map(|at| {
                let lines = &file[at..at + wanted.len()];
                let last = at + wanted.len() == file.len() && skipped.1 == 0;
                let shift = compare(lines, wanted, level)?;
                let ends = level != Level::Exact || ends_agree(lines, hunk, last, skipped.1);
                ends.then_some((at, shift))
            })
            .collect();
        let chosen = match fits.as_slice() {
            [] => continue,
            [_] => 0,
            many => {
                let expected = expected.map(|line| line + skipped.0);
                many.iter()
                    .position(|(at, _)| Some(*at) == expected)
                    .ok_or_else(|| DiffFault::Ambiguous {
                        hunk: hunk.number,
                        lines: many.iter().take(10).map(|(at, _)| at + 1).collect(),
                    })?
            }
        };
        if let Some((at, shift)) = fits.into_iter().nth(chosen) {
            return Ok(Place {
                at,
                skipped,
                level,
                shift,
            });
        }
    }
    Err(DiffFault::DoesNotFit {
        hunk: hunk.number,
        excerpt: excerpt(file, &old),
    })
}

/// Levels in order, then fewer context lines; what remains must say something.
fn attempts(hunk: &Hunk<'_>) -> Vec<(Level, (usize, usize))> {
    let is_context = |line: &&HunkLine<'_>| matches!(line, HunkLine::Context(_));
    let leading = hunk.lines.iter().take_while(is_context).count();
    let trailing = hunk.lines.iter().rev().take_while(is_context).count();
    let mut attempts: Vec<_> = LEVELS.iter().map(|level| (*level, (0, 0))).collect();
    for fuzz in 1..=2 {
        let skipped = (leading.min(fuzz), trailing.min(fuzz));
        let old = hunk.old();
        let rest = old.get(skipped.0..old.len().saturating_sub(skipped.1));
        let telling = rest.map_or(0, |lines| {
            lines
                .iter()
                .filter(|line| line.trim_ascii().len() > 1)
                .count()
        });
        if skipped != (0, 0) && telling >= 2 {
            attempts.extend(LEVELS[..3].iter().map(|level| (*level, skipped)));
        }
    }
    attempts
}

/// A hunk without old lines needs a line number, or an empty file.
fn insertion<'a>(
    file: &[Line<'a>],
    hunk: &Hunk<'a>,
    from: usize,
    drift: isize,
) -> Result<Place<'a>, DiffFault> {
    let at = match hunk.range {
        _ if file.is_empty() => Some(0),
        Some(range) if range.count == 0 => range.start.checked_add_signed(drift),
        _ => None,
    };
    match at.filter(|at| (from..=file.len()).contains(at)) {
        Some(at) => Ok(Place {
            at,
            skipped: (0, 0),
            level: Level::Exact,
            shift: Shift::None,
        }),
        None => Err(DiffFault::DoesNotFit {
            hunk: hunk.number,
            excerpt: "it has no context line and no usable line number: add the lines around it"
                .into(),
        }),
    }
}

/// Whether the hunk and the file agree on the last line's end.
fn ends_agree(lines: &[Line<'_>], hunk: &Hunk<'_>, is_last: bool, skipped: usize) -> bool {
    let unterminated = lines.last().is_some_and(|line| !line.terminated);
    if skipped > 0 {
        return true;
    }
    unterminated == hunk.old_unterminated && (is_last || !hunk.old_unterminated)
}

fn compare<'a>(lines: &[Line<'a>], wanted: &[&'a [u8]], level: Level) -> Option<Shift<'a>> {
    if level == Level::Indentation {
        return shift_of(lines, wanted);
    }
    let same = lines.iter().zip(wanted).all(|(line, want)| match level {
        Level::Exact => line.text == *want,
        Level::LineEnds => without_return(line.text) == without_return(want),
        Level::TrailingSpace | Level::Indentation => {
            line.text.trim_ascii_end() == want.trim_ascii_end()
        }
    });
    same.then_some(Shift::None)
}

fn without_return(text: &[u8]) -> &[u8] {
    text.strip_suffix(b"\r").unwrap_or(text)
}

/// The one shift of indentation that makes all lines agree; empty lines do not count.
fn shift_of<'a>(lines: &[Line<'a>], wanted: &[&'a [u8]]) -> Option<Shift<'a>> {
    let mut found: Option<Shift<'a>> = None;
    for (line, want) in lines.iter().zip(wanted) {
        let (text, want) = (line.text.trim_ascii_end(), want.trim_ascii_end());
        if text.is_empty() && want.is_empty() {
            continue;
        }
        let shift = if let Some(prefix) = text.strip_suffix(want) {
            Shift::Deeper(prefix)
        } else {
            Shift::Shallower(want.strip_suffix(text)?)
        };
        let (Shift::Deeper(prefix) | Shift::Shallower(prefix)) = &shift else {
            return None;
        };
        if text.is_empty() || want.is_empty() || !prefix.trim_ascii().is_empty() {
            return None;
        }
        match &found {
            None => found = Some(shift),
            Some(earlier) if *earlier == shift => {}
            Some(_) => return None,
        }
    }
    found
}

/// Writes a hunk's new lines and gives the index after its last old line.
fn write_hunk(
    output: &mut Vec<u8>,
    file: &[Line<'_>],
    hunk: &Hunk<'_>,
    place: &Place<'_>,
) -> usize {
    let kept = hunk.lines.len() - place.skipped.1;
    let lines = hunk.lines.get(place.skipped.0..kept).unwrap_or_default();
    let last_new = lines
        .iter()
        .rposition(|line| !matches!(line, HunkLine::Delete(_)));
    let uses_returns = uses_returns(file, place.at);
    let mut at = place.at;
    for (index, line) in lines.iter().enumerate() {
        match line {
            HunkLine::Context(_) => {
                let line = file[at];
                // At the exact level the diff decides on the end of the file's last line.
                let ends =
                    line.terminated || (place.level == Level::Exact && !hunk.new_unterminated);
                push(output, line.text, ends);
                at += 1;
            }
            HunkLine::Delete(_) => at += 1,
            HunkLine::Insert(text) => {
                let text = adapt(text, place, uses_returns);
                let is_end = Some(index) == last_new && place.skipped.1 == 0;
                push(output, &text, !(is_end && hunk.new_unterminated));
            }
        }
    }
    at
}

/// Whether the file ends its lines by carriage return and line feed around an index.
fn uses_returns(file: &[Line<'_>], at: usize) -> bool {
    let before = at.checked_sub(1).and_then(|before| file.get(before));
    [file.get(at), before]
        .into_iter()
        .flatten()
        .find(|line| line.terminated)
        .is_some_and(|line| line.text.ends_with(b"\r"))
}

/// A new line in the file's style, unless the diff matched it to the byte.
fn adapt(text: &[u8], place: &Place<'_>, uses_returns: bool) -> Vec<u8> {
    if place.level == Level::Exact {
        return text.to_vec();
    }
    let mut body = without_return(text).to_vec();
    match &place.shift {
        Shift::Deeper(prefix) if !body.is_empty() => {
            body.splice(..0, prefix.iter().copied());
        }
        Shift::None | Shift::Deeper(_) => {}
        Shift::Shallower(prefix) => {
            if let Some(rest) = body.strip_prefix(*prefix) {
                body = rest.to_vec();
            }
        }
    }
    if uses_returns {
        body.push(b'\r');
    }
    body
}

/// The hunk's old lines beside the lines of the file that are most like them.
fn excerpt(file: &[Line<'_>], old: &[&[u8]]) -> String {
    let mut text = vec!["it expects".to_owned()];
    let expected = old.iter().take(EXCERPT_LINES);
    text.extend(expected.map(|line| format!("      | {}", shown(line))));
    if file.is_empty() {
        text.push("the file is empty".to_owned());
        return text.join("\n");
    }
    let (at, alike) = nearest(file, old);
    let length = old.len().min(EXCERPT_LINES).min(file.len() - at);
    text.push(format!(
        "the nearest lines of the file ({alike} of {} alike) are",
        old.len()
    ));
    for (index, line) in file[at..at + length].iter().enumerate() {
        text.push(format!("{:>5} | {}", at + index + 1, shown(line.text)));
    }
    text.join("\n")
}

fn shown(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let mut shown: String = text
        .chars()
        .filter(|c| !c.is_control() || *c == '\t')
        .take(EXCERPT_WIDTH)
        .collect();
    if text.chars().count() > EXCERPT_WIDTH {
        shown.push('…');
    }
    shown
}

/// The place where most lines agree, spaces aside, and how many do.
fn nearest(file: &[Line<'_>], old: &[&[u8]]) -> (usize, usize) {
    let wanted: Vec<&[u8]> = old.iter().map(|line| line.trim_ascii()).collect();
    let starts = (EXCERPT_WORK / wanted.len().max(1)).min(file.len());
    let mut best = (0, 0);
    for at in 0..starts {
        let alike = file[at..]
            .iter()
            .zip(&wanted)
            .filter(|(line, want)| !want.is_empty() && line.text.trim_ascii() == **want)
            .count();
        if alike > best.1 {
            best = (at, alike);
        }
    }
    best
}

#[cfg(test)]
#[path = "fit_tests.rs"]
mod tests;

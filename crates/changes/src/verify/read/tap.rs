//! TAP: what `prove`, `node --test`, tape, bats and many shell scripts print.
//!
//! An output may hold several documents one after another, and a test point may have points of its
//! own below it, indented by four spaces: before it, or in braces after it. Each point is a case. A
//! document that promises more points than it has broke off, or another program printed into it;
//! one that bails out gave up.

use std::collections::BTreeMap;

use matrix_evidence::junit::{Outcome, TestCase};

use crate::verify::result::cut;

/// The deepest nesting that is told apart.
const MAX_DEPTH: usize = 32;

/// What was read.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Read {
    /// The cases in the order they were read.
    pub(crate) cases: Vec<TestCase>,
    /// Why a program gave up.
    pub(crate) bailed: Option<String>,
    /// Why the output is not whole.
    pub(crate) broken: Option<String>,
    /// Whether a document has no plan, so that it may have broken off.
    pub(crate) unplanned: bool,
}

/// Reads an output; nothing if it is not TAP: that has a plan and a test point that no other text
/// surrounds.
pub(crate) fn read(output: &str) -> Option<Read> {
    let mut reader = Reader::default();
    for line in output.lines() {
        reader.line(line.trim_end());
    }
    reader.finish()
}

/// One level of nesting.
#[derive(Default)]
struct Level {
    plan: Option<u64>,
    seen: u64,
    /// What the last point is called.
    last: String,
    /// The cases of the level below, until the point that they belong to comes or its brace closes.
    inner: Vec<TestCase>,
    /// The point before, whose own points are in braces.
    open: Option<Open>,
}

/// A point whose own points follow.
struct Open {
    name: String,
    /// Whether nothing but the end of its description says so, which may be a brace by itself.
    doubtful: bool,
}

#[derive(Default)]
struct Reader {
    /// The document's own level, then those below.
    levels: Vec<Level>,
    /// What the document is called, as far as a line before it said.
    title: Heading,
    heading: Heading,
    cases: Vec<TestCase>,
    /// How many cases there were when each document had ended.
    documents: Vec<usize>,
    plans: usize,
    bailed: Option<String>,
    broken: Option<String>,
    unplanned: bool,
    /// Whether the last line was a point, which diagnostics may follow.
    after_point: bool,
    /// Whether a point's diagnostics are being read.
    diagnosing: bool,
}

impl Reader {
    fn line(&mut self, line: &str) {
        let text = line.trim_start_matches(' ');
        let indent = line.len() - text.len();
        if self.diagnosing && text == "..." {
            self.diagnosing = false;
        } else if self.diagnosing {
            self.diagnostic(text);
        } else if text == "---" && indent % 4 == 2 && self.after_point {
            self.diagnosing = true;
        } else if indent.is_multiple_of(4) && indent / 4 < MAX_DEPTH {
            self.protocol(indent / 4, text);
        }
    }

    fn protocol(&mut self, depth: usize, text: &str) {
        let after_point = std::mem::take(&mut self.after_point);
        if let Some(count) = plan(text) {
            self.plan(depth, count);
        } else if depth == 0 && text == "ok" && self.verdict() {
            self.title.of_prove = false;
        } else if let Some((passed, rest)) = point(text) {
            self.point(depth, passed, rest);
            self.after_point = true;
        } else if text == "{" && after_point {
            self.open(depth);
        } else if text == "}" {
            self.shut(depth, true);
        } else if depth == 0 && text.starts_with("TAP version ") {
            self.end();
        } else if let Some(why) = text.strip_prefix("Bail out!") {
            self.bailed = Some(format!("it bailed out: {}", cut(why.trim(), 200)));
        } else if let (0, Some(heading)) = (depth, heading(text)) {
            self.heading = heading;
        }
    }

    /// Whether a bare `ok` is what prove says of the file that has just ended.
    fn verdict(&self) -> bool {
        let ended = |level: &Level| level.plan == Some(level.seen);
        self.title.of_prove && self.levels.first().is_some_and(ended)
    }

    fn level(&mut self, depth: usize) -> &mut Level {
        if self.levels.is_empty() {
            self.title = std::mem::take(&mut self.heading);
        }
        while self.levels.len() <= depth {
            if let Some(open) = self.levels.last_mut().and_then(|above| above.open.as_mut()) {
                open.doubtful = false;
            }
            self.levels.push(Level::default());
        }
        &mut self.levels[depth]
    }

    fn plan(&mut self, depth: usize, count: u64) {
        self.plans += 1;
        if depth == 0
            && self
                .levels
                .first()
                .is_some_and(|level| level.plan.is_some())
        {
            self.end();
        }
        self.level(depth).plan = Some(count);
    }

    fn point(&mut self, depth: usize, passed: bool, rest: &str) {
        let first = number(rest) == Some(1);
        let full = |level: &Level| level.plan == Some(level.seen) || (first && level.seen > 0);
        if depth == 0 && self.levels.first().is_some_and(full) {
            self.end();
        }
        self.shut(depth, false);
        let (rest, opens) = match rest.strip_suffix('{') {
            Some(before) if before.is_empty() || before.ends_with(' ') => (before.trim_end(), true),
            _ => (rest, false),
        };
        let level = self.level(depth);
        level.seen += 1;
        let case = case(passed, rest, level.seen);
        level.last.clone_from(&case.name);
        level.open = opens.then(|| Open {
            name: case.name.clone(),
            doubtful: true,
        });
        let inner = std::mem::take(&mut level.inner);
        self.put_below(depth, &case.name, inner);
        self.put(depth, case);
    }

    /// A brace on a line of its own, after a point and its diagnostics.
    fn open(&mut self, depth: usize) {
        if let Some(level) = self.levels.get_mut(depth) {
            let name = level.last.clone();
            let doubtful = false;
            level.open = Some(Open { name, doubtful });
        }
    }

    /// Ends the levels below one, and the points in braces that belong to its last point.
    fn shut(&mut self, depth: usize, by_brace: bool) {
        self.close(depth + 1);
        let Some(level) = self.levels.get_mut(depth) else {
            return;
        };
        let Some(open) = level.open.take() else {
            return;
        };
        let inner = std::mem::take(&mut level.inner);
        self.settle(depth, &open, inner, by_brace);
    }

    fn settle(&mut self, depth: usize, open: &Open, inner: Vec<TestCase>, by_brace: bool) {
        if open.doubtful && !by_brace {
            let last = match depth.checked_sub(1) {
                Some(above) => self.levels[above].inner.last_mut(),
                None => self.cases.last_mut(),
            };
            if let Some(case) = last {
                case.name.push_str(" {");
            }
        }
        self.put_below(depth, &open.name, inner);
    }

    fn put_below(&mut self, depth: usize, parent: &str, inner: Vec<TestCase>) {
        for mut below in inner {
            below.class = joined(parent, &below.class);
            self.put(depth, below);
        }
    }

    fn put(&mut self, depth: usize, mut case: TestCase) {
        if let Some(above) = depth.checked_sub(1) {
            self.levels[above].inner.push(case);
        } else {
            case.class = joined(&self.title.name, &case.class);
            self.cases.push(case);
        }
    }

    /// Ends the levels from this one on.
    fn close(&mut self, depth: usize) {
        while self.levels.len() > depth {
            let Some(level) = self.levels.pop() else {
                return;
            };
            self.unplanned |= self.levels.is_empty() && level.plan.is_none();
            if level.plan.is_some_and(|plan| plan != level.seen) && self.broken.is_none() {
                self.broken = Some(format!(
                    "{} of {} test points were seen",
                    level.seen,
                    level.plan.unwrap_or_default()
                ));
            }
            // A suite that ended before the point above it came keeps its cases.
            let depth = self.levels.len();
            match level.open {
                Some(open) => self.settle(depth, &open, level.inner, false),
                None => self.put_below(depth, "", level.inner),
            }
        }
    }

    /// Ends the document.
    fn end(&mut self) {
        self.close(0);
        self.documents.push(self.cases.len());
    }

    /// Tells tests of several documents apart that are called the same. Only the later ones get the
    /// document's number, so that a further document leaves the names of the others as they are.
    fn number(&mut self) {
        let mut first: BTreeMap<String, usize> = BTreeMap::new();
        let (mut start, mut number) = (0, 0);
        for end in std::mem::take(&mut self.documents) {
            let cases = self.cases.get_mut(start..end).unwrap_or_default();
            if cases.is_empty() {
                continue;
            }
            start = end;
            number += 1;
            for case in cases {
                if *first.entry(case.id()).or_insert(number) != number {
                    case.class = joined(&format!("document {number}"), &case.class);
                }
            }
        }
    }

    fn diagnostic(&mut self, text: &str) {
        let said = ["error:", "message:"]
            .iter()
            .find_map(|key| text.strip_prefix(key));
        let Some(said) = said.map(|said| said.trim().trim_matches(['\'', '"'])) else {
            return;
        };
        let case = match self
            .levels
            .iter_mut()
            .rev()
            .find(|level| !level.inner.is_empty())
        {
            Some(level) => level.inner.last_mut(),
            None => self.cases.last_mut(),
        };
        if let Some(case) = case.filter(|case| case.outcome.is_red() && case.message.is_none())
            && !said.is_empty()
            && !said.starts_with('|')
        {
            case.message = Some(cut(said, 2000));
        }
    }

    fn finish(mut self) -> Option<Read> {
        self.end();
        // Where documents run into each other, where one ends is chance.
        if self.broken.is_none() {
            self.number();
        }
        (self.plans > 0 && !self.cases.is_empty()).then_some(Read {
            cases: self.cases,
            bailed: self.bailed,
            broken: self.broken,
            unplanned: self.unplanned,
        })
    }
}

/// What a line before a document says it is.
#[derive(Default)]
struct Heading {
    name: String,
    /// Whether prove writes it so, which says `ok` when the file has ended.
    of_prove: bool,
}

/// `t/round.t ..` of prove, `*** t0001-init.sh ***` of a shell's suite. Any other line may be of a
/// log, which differs from one run to the next, and a test that is called after it would too.
fn heading(text: &str) -> Option<Heading> {
    let starred = || text.strip_prefix("*** ")?.strip_suffix(" ***");
    let (name, of_prove) = match text.strip_suffix("..") {
        Some(before) => (before.trim_end_matches('.').strip_suffix(' ')?, true),
        None => (starred()?, false),
    };
    let name = name.trim();
    let one_file = !name.contains(char::is_whitespace) && name.contains(['/', '.']);
    one_file.then(|| Heading {
        name: cut(name, 400),
        of_prove,
    })
}

fn joined(outer: &str, inner: &str) -> String {
    match (outer, inner) {
        (one, "") | ("", one) => one.to_owned(),
        (outer, inner) => format!("{outer} > {inner}"),
    }
}

/// `1..12`, `1..0 # SKIP no network`
fn plan(text: &str) -> Option<u64> {
    let rest = text.strip_prefix("1..")?;
    let end = rest
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(rest.len());
    let (count, rest) = rest.split_at(end);
    let comment = rest.trim_start();
    (comment.is_empty() || comment.starts_with('#'))
        .then(|| count.parse().ok())
        .flatten()
}

/// `ok …` or `not ok …`, and what follows.
fn point(text: &str) -> Option<(bool, &str)> {
    let (passed, rest) = match text.strip_prefix("not ok") {
        Some(rest) => (false, rest),
        None => (true, text.strip_prefix("ok")?),
    };
    (rest.is_empty() || rest.starts_with(' ')).then(|| (passed, rest.trim_start()))
}

fn number(rest: &str) -> Option<u64> {
    rest.split(' ').next()?.parse().ok()
}

/// `3 - rounds half to even # TODO later`
fn case(passed: bool, rest: &str, position: u64) -> TestCase {
    let rest = match number(rest) {
        Some(_) => rest
            .split_once(' ')
            .map_or("", |(_, rest)| rest)
            .trim_start(),
        None => rest,
    };
    let rest = rest.strip_prefix('-').unwrap_or(rest).trim();
    let (name, directive) = match rest.rsplit_once('#') {
        Some((name, directive)) => (name.trim_end(), directive.trim()),
        None => (rest, ""),
    };
    let begins = |word: &str| {
        directive
            .get(..word.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(word))
    };
    let name = if begins("skip") || begins("todo") || directive.starts_with("time=") {
        name
    } else {
        rest
    };
    let outcome = if begins("skip") || (begins("todo") && !passed) {
        Outcome::Skipped
    } else if passed {
        Outcome::Passed
    } else {
        Outcome::Failed
    };
    let name = match name.replace("\\#", "#") {
        name if name.is_empty() => format!("test {position}"),
        name => cut(&name, 1000),
    };
    let message = (outcome == Outcome::Skipped).then(|| cut(directive, 400));
    let mut case = TestCase::new("", name, outcome);
    case.message = message;
    case
}

#[cfg(test)]
mod tests;

//! TAP: what `prove`, `node --test`, tape, bats and many shell scripts print.
//!
//! An output may hold several documents one after another, and a test point may have points of its
//! own below it, indented by four spaces. Each point is a case. A document that promises more points
//! than it has broke off, and so did one that bails out.

use matrix_evidence::junit::{Outcome, TestCase};

use crate::verify::result::cut;

/// The deepest nesting that is told apart.
const MAX_DEPTH: usize = 32;

/// What was read.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Read {
    /// The cases in the order they were read.
    pub(crate) cases: Vec<TestCase>,
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
    /// The cases of the level below, until the point that they belong to comes.
    inner: Vec<TestCase>,
}

#[derive(Default)]
struct Reader {
    /// The document's own level, then those below.
    levels: Vec<Level>,
    /// What the document is called, as far as a line before it said.
    title: String,
    heading: String,
    cases: Vec<TestCase>,
    plans: usize,
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
        self.after_point = false;
        if let Some(count) = plan(text) {
            self.plan(depth, count);
        } else if let Some((passed, rest)) = point(text) {
            self.point(depth, passed, rest);
            self.after_point = true;
        } else if depth == 0 && text.starts_with("TAP version ") {
            self.end();
        } else if let Some(why) = text.strip_prefix("Bail out!") {
            self.broken = Some(format!("it bailed out: {}", cut(why.trim(), 200)));
        } else if depth == 0 && !text.starts_with('#') && !text.is_empty() {
            // `t/round.t ..` of prove, `*** t0001-init.sh ***` of a shell's suite.
            text.trim_matches(['.', '*', ' '])
                .clone_into(&mut self.heading);
        }
    }

    fn level(&mut self, depth: usize) -> &mut Level {
        if self.levels.is_empty() {
            self.title = std::mem::take(&mut self.heading);
        }
        while self.levels.len() <= depth {
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
        let level = self.level(depth);
        level.seen += 1;
        let position = level.seen;
        let case = case(passed, rest, position);
        // Points below the point before it end with this one.
        self.close(depth + 1);
        let inner = std::mem::take(&mut self.levels[depth].inner);
        for mut below in inner {
            below.class = joined(&case.name, &below.class);
            self.put(depth, below);
        }
        self.put(depth, case);
    }

    fn put(&mut self, depth: usize, mut case: TestCase) {
        if let Some(above) = depth.checked_sub(1) {
            self.levels[above].inner.push(case);
        } else {
            case.class = joined(&self.title, &case.class);
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
            for case in level.inner {
                self.put(self.levels.len(), case);
            }
        }
    }

    /// Ends the document.
    fn end(&mut self) {
        self.close(0);
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
        (self.plans > 0 && !self.cases.is_empty()).then_some(Read {
            cases: self.cases,
            broken: self.broken,
            unplanned: self.unplanned,
        })
    }
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

//! Whether a version lies in what a record says is affected.
//!
//! A record's events cut the line of versions: `introduced` starts an affected stretch, `fixed`
//! ends it before itself, `last_affected` after itself; `introduced: "0"` lies before every
//! version. The last event at or before the version decides.

use std::cmp::Ordering;

use semver::Version;

use crate::lockfile::Ecosystem;

use super::pep440::PythonVersion;
use super::record::{Affected, Event, Range};

/// Whether a component is affected; the worst answer of several counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Answer {
    No,
    Unknown,
    Yes,
}

/// A version that can be compared with others of its ecosystem.
#[derive(Debug, Clone)]
enum Comparable {
    Semantic(Version),
    Python(PythonVersion),
}

impl Comparable {
    fn parse(ecosystem: Ecosystem, text: &str) -> Option<Self> {
        match ecosystem {
            Ecosystem::Pypi => PythonVersion::parse(text).map(Self::Python),
            Ecosystem::Cargo | Ecosystem::Npm | Ecosystem::Go => semantic(text).map(Self::Semantic),
        }
    }

    fn compare(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            // Build metadata does not count.
            (Self::Semantic(a), Self::Semantic(b)) => Some(a.cmp_precedence(b)),
            (Self::Python(a), Self::Python(b)) => Some(a.cmp(b)),
            _ => None,
        }
    }
}

/// Records leave the `v` of Go out and shorten `1.0.0` to `1.0` or `1`.
fn semantic(text: &str) -> Option<Version> {
    let text = text.trim();
    let text = text.strip_prefix('v').unwrap_or(text);
    if let Ok(version) = Version::parse(text) {
        return Some(version);
    }
    let end = text.find(['-', '+']).unwrap_or(text.len());
    let (numbers, rest) = text.split_at(end);
    let padded = match numbers.split('.').count() {
        1 => format!("{numbers}.0.0{rest}"),
        2 => format!("{numbers}.0{rest}"),
        _ => return None,
    };
    Version::parse(&padded).ok()
}

/// Whether the entry is about this version.
pub(super) fn affects(affected: &Affected, ecosystem: Ecosystem, version: &str) -> Answer {
    let own = Comparable::parse(ecosystem, version);
    let listed = affected
        .versions
        .iter()
        .any(|listed| same(ecosystem, listed, version, own.as_ref()));
    if listed {
        return Answer::Yes;
    }
    let ranges = affected.ranges.iter().filter(|range| is_versions(range));
    let mut answer = Answer::No;
    let mut any = false;
    for range in ranges {
        any = true;
        answer = answer.max(in_range(range, ecosystem, own.as_ref()));
    }
    if !any && affected.versions.is_empty() {
        // Only commits are given, or nothing at all: everything may be meant.
        return Answer::Unknown;
    }
    answer
}

fn is_versions(range: &Range) -> bool {
    range.kind == "SEMVER" || range.kind == "ECOSYSTEM"
}

fn same(ecosystem: Ecosystem, listed: &str, version: &str, own: Option<&Comparable>) -> bool {
    if listed == version {
        return true;
    }
    let listed = Comparable::parse(ecosystem, listed);
    match (listed, own) {
        (Some(listed), Some(own)) => listed.compare(own) == Some(Ordering::Equal),
        _ => false,
    }
}

/// An event's place on the line of versions; `None` lies before every version.
struct Mark {
    at: Option<Comparable>,
    /// Whether what follows is affected.
    affected: bool,
    /// Whether the mark's own version still belongs to what lies before.
    after: bool,
}

fn marks(range: &Range, ecosystem: Ecosystem) -> Option<Vec<Mark>> {
    range
        .events
        .iter()
        .filter_map(|event| mark(event, ecosystem))
        .collect()
}

/// `None` for events that say nothing here, `Some(None)` for versions that cannot be read.
#[expect(
    clippy::option_option,
    reason = "nothing said and not readable are different"
)]
fn mark(event: &Event, ecosystem: Ecosystem) -> Option<Option<Mark>> {
    let (text, affected, after) = match event {
        Event {
            introduced: Some(text),
            ..
        } => (text, true, false),
        Event {
            fixed: Some(text), ..
        } => (text, false, false),
        Event {
            last_affected: Some(text),
            ..
        } => (text, false, true),
        Event { .. } => return None,
    };
    if text == "0" && affected {
        return Some(Some(Mark {
            at: None,
            affected,
            after,
        }));
    }
    let at = Comparable::parse(ecosystem, text);
    Some(at.map(|at| Mark {
        at: Some(at),
        affected,
        after,
    }))
}

fn in_range(range: &Range, ecosystem: Ecosystem, own: Option<&Comparable>) -> Answer {
    let (Some(own), Some(mut marks)) = (own, marks(range, ecosystem)) else {
        return Answer::Unknown;
    };
    marks.sort_by(|a, b| match (&a.at, &b.at) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Less,
        (Some(_), None) => Ordering::Greater,
        (Some(x), Some(y)) => x
            .compare(y)
            .unwrap_or(Ordering::Equal)
            .then(a.after.cmp(&b.after))
            // What is introduced and fixed at once is affected: the careful reading.
            .then(a.affected.cmp(&b.affected)),
    });
    let mut affected = false;
    for mark in &marks {
        let passed = mark.at.as_ref().is_none_or(|at| match own.compare(at) {
            Some(Ordering::Greater) => true,
            Some(Ordering::Equal) => !mark.after,
            Some(Ordering::Less) | None => false,
        });
        if passed {
            affected = mark.affected;
        }
    }
    if affected { Answer::Yes } else { Answer::No }
}

/// The versions after this one at which an affected stretch ends, nearest first.
pub(super) fn fixed_after(affected: &Affected, ecosystem: Ecosystem, version: &str) -> Vec<String> {
    let Some(own) = Comparable::parse(ecosystem, version) else {
        return Vec::new();
    };
    let mut fixed: Vec<(Comparable, &String)> = affected
        .ranges
        .iter()
        .filter(|range| is_versions(range))
        .flat_map(|range| &range.events)
        .filter_map(|event| {
            let text = event.fixed.as_ref()?;
            Some((Comparable::parse(ecosystem, text)?, text))
        })
        .filter(|(at, _)| at.compare(&own) == Some(Ordering::Greater))
        .collect();
    fixed.sort_by(|(a, _), (b, _)| a.compare(b).unwrap_or(Ordering::Equal));
    fixed.into_iter().map(|(_, text)| text.clone()).collect()
}

//! Looking for files by name and content, as the hands do it.

use std::io::Read;
use std::path::{Path, PathBuf};

use globset::{Glob, GlobMatcher};
use ignore::WalkBuilder;
use regex::bytes::Regex;
use serde::{Deserialize, Serialize};

use super::wire::FileFault;

/// Longer files are not searched.
const FILE_MAX: u64 = 8 << 20;

/// The most bytes of a line that are shown.
const LINE_MAX: usize = 300;

/// Where and what to look for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Search {
    /// A directory or a file.
    pub root: PathBuf,
    /// What a line matches, as a regular expression; without one, files themselves are found.
    pub pattern: Option<String>,
    /// What a file's path below the root matches, such as `src/**/*.rs`; one without a slash is
    /// matched by the file's name.
    pub glob: Option<String>,
    /// The most that is found.
    pub most: usize,
}

/// What was found: a file, or a line of one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hit {
    /// The file, from the root of the search.
    pub path: String,
    /// Which line, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// What it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// Looks in order of paths; also says whether there is more. What the repository ignores is not
/// looked at, nor is `.git`.
pub(super) fn search(asked: &Search) -> Result<(Vec<Hit>, bool), FileFault> {
    let bad = |why: String| FileFault::Expression { why };
    let pattern = asked.pattern.as_deref().map(Regex::new).transpose();
    let pattern = pattern.map_err(|error| bad(error.to_string()))?;
    let glob = asked.glob.as_deref().map(Glob::new).transpose();
    let glob = glob.map_err(|error| bad(error.to_string()))?;
    let by_name = asked.glob.as_ref().is_some_and(|glob| !glob.contains('/'));
    let glob = glob.map(|glob| glob.compile_matcher());
    if !asked.root.exists() {
        return Err(FileFault::Missing);
    }
    let walk = WalkBuilder::new(&asked.root)
        .hidden(false)
        .parents(false)
        .git_global(false)
        .git_exclude(false)
        .require_git(false)
        .filter_entry(|entry| entry.file_name() != ".git")
        .sort_by_file_path(Ord::cmp)
        .build();
    let mut hits = Vec::new();
    for entry in walk.flatten() {
        if !entry.file_type().is_some_and(|kind| kind.is_file()) {
            continue;
        }
        let below = entry.path().strip_prefix(&asked.root);
        let below = below.ok().filter(|below| *below != Path::new(""));
        let below = below.unwrap_or_else(|| Path::new(entry.file_name()));
        if glob
            .as_ref()
            .is_some_and(|glob| !fits(glob, below, by_name))
        {
            continue;
        }
        let path = below.to_string_lossy().into_owned();
        match &pattern {
            None => hits.push(Hit {
                path,
                line: None,
                text: None,
            }),
            Some(pattern) => lines(entry.path(), &path, pattern, asked.most, &mut hits),
        }
        if hits.len() > asked.most {
            hits.truncate(asked.most);
            return Ok((hits, true));
        }
    }
    Ok((hits, false))
}

fn fits(glob: &GlobMatcher, below: &Path, by_name: bool) -> bool {
    match below.file_name() {
        Some(name) if by_name => glob.is_match(name),
        _ => glob.is_match(below),
    }
}

fn lines(file: &Path, path: &str, pattern: &Regex, most: usize, hits: &mut Vec<Hit>) {
    let Ok(file) = std::fs::File::open(file) else {
        return;
    };
    let mut content = Vec::new();
    if file.take(FILE_MAX).read_to_end(&mut content).is_err() || content.contains(&0) {
        return;
    }
    for (number, line) in content.split(|byte| *byte == b'\n').enumerate() {
        if !pattern.is_match(line) {
            continue;
        }
        let shown = line.get(..line.len().min(LINE_MAX)).unwrap_or_default();
        hits.push(Hit {
            path: path.to_owned(),
            line: Some(number as u64 + 1),
            text: Some(String::from_utf8_lossy(shown).into_owned()),
        });
        if hits.len() > most {
            return;
        }
    }
}

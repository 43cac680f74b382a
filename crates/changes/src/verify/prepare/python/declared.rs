//! What a project's manifests name, where no lock file decides.
//!
//! A requirements file can hold options and paths that make pip execute code or ask other hosts,
//! so it is never handed to pip: each line that is a plain requirement is written anew, every
//! other one is left out and said.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Component, Path};
use std::sync::LazyLock;

use regex::Regex;

use super::{Wanted, manifest};
use crate::verify::detect::text;

/// How deep requirements files may name one another, and how many are read.
const MAX_INCLUDES: usize = 40;

/// The requirements files that are looked for.
pub(super) const FILES: [&str; 8] = [
    "requirements.txt",
    "requirements-dev.txt",
    "requirements_dev.txt",
    "dev-requirements.txt",
    "requirements-test.txt",
    "test-requirements.txt",
    "requirements/dev.txt",
    "requirements/test.txt",
];

/// One requirement of a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Requirement {
    pub(super) name: String,
    pub(super) extras: Vec<String>,
    /// Which versions; empty for any.
    pub(super) versions: String,
    pub(super) marker: Option<String>,
}

impl Requirement {
    /// `name[extra] >=1,<2 ; marker`, on one line.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let line = line.trim();
        if line.contains(breaks) {
            return None;
        }
        let (head, marker) = match line.split_once(';') {
            Some((head, marker)) => (head, Some(marker.trim().to_owned())),
            None => (line, None),
        };
        let head = head.trim();
        let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let end = head.find(|c| !inner(c)).unwrap_or(head.len());
        let (name, rest) = head.split_at(end);
        let (extras, versions) = match rest
            .trim()
            .strip_prefix('[')
            .and_then(|r| r.split_once(']'))
        {
            Some((extras, versions)) => (extras, versions),
            None => ("", rest),
        };
        let extras = extras
            .split(',')
            .map(str::trim)
            .filter(|extra| !extra.is_empty());
        (!name.is_empty()).then(|| Self {
            name: matrix_evidence::lockfile::Ecosystem::Pypi.normalise(name),
            extras: extras.map(str::to_owned).collect(),
            versions: versions.trim().to_owned(),
            marker,
        })
    }

    fn line(&self) -> String {
        let mut line = self.name.clone();
        if !self.extras.is_empty() {
            let _ = write!(line, "[{}]", self.extras.join(","));
        }
        line.push_str(&self.versions);
        if let Some(marker) = &self.marker {
            line.push_str(" ; ");
            line.push_str(marker);
        }
        line
    }
}

/// Everything the manifests name.
pub(super) fn wanted(root: &Path, directory: &str) -> Wanted {
    let mut reading = Reading {
        root,
        project: directory,
        lines: BTreeSet::new(),
        notes: BTreeSet::new(),
        seen: BTreeSet::new(),
    };
    for name in FILES {
        reading.file(&Path::new(directory).join(name), false);
    }
    reading.manifests(directory, &BTreeSet::new());
    reading.finish()
}

struct Reading<'a> {
    root: &'a Path,
    /// The project's directory, relative to the root.
    project: &'a str,
    lines: BTreeSet<String>,
    notes: BTreeSet<String>,
    seen: BTreeSet<String>,
}

impl Reading<'_> {
    /// What the manifests of a directory name, with these extras beside the usual groups.
    fn manifests(&mut self, directory: &str, extras: &BTreeSet<String>) {
        let here = self.root.join(directory);
        let Some(declared) = manifest::read(&here, extras) else {
            return;
        };
        for requirement in &declared.requirements {
            self.line(&requirement.line(), "the project's manifest");
        }
        for what in declared.left_out {
            self.notes.insert(format!("left out: {what}"));
        }
        for file in declared.files {
            self.file(&Path::new(directory).join(file), true);
        }
    }

    /// `-e .`, `./lib[test]`: a project of the repository is imported from its files; what it needs
    /// is fetched. False for anything else.
    fn local(&mut self, line: &str, file: &str) -> bool {
        let editable = ["-e", "--editable"]
            .iter()
            .find_map(|option| line.strip_prefix(option));
        let target = editable
            .unwrap_or(line)
            .trim_start_matches([' ', '='])
            .trim_matches(['"', '\'']);
        let (path, extras) = match target.split_once('[') {
            Some((path, extras)) => (path, extras.trim_end_matches(']')),
            None => (target, ""),
        };
        let is_path = editable.is_some() || path.starts_with('.') || path.starts_with("file:.");
        let path = path.trim_start_matches("file:");
        if !is_path || path.contains(':') {
            return false;
        }
        // pip takes such paths from where it is run, which is the project's directory.
        let Some(inside) = inside(&Path::new(self.project).join(path)) else {
            return false;
        };
        let real = self.root.join(&inside);
        if !["pyproject.toml", "setup.cfg", "setup.py"]
            .iter()
            .any(|name| real.join(name).is_file())
        {
            return false;
        }
        let shown = shown(line);
        self.notes.insert(format!(
            "`{shown}` of {file}: the project is not installed but imported from its files; what \
             it requires is fetched"
        ));
        let extras: BTreeSet<String> = extras
            .split(',')
            .map(|extra| extra.trim().to_owned())
            .filter(|extra| !extra.is_empty())
            .collect();
        if self.seen.len() < MAX_INCLUDES && self.seen.insert(format!("{inside}\0{extras:?}")) {
            self.manifests(&inside, &extras);
        }
        true
    }

    /// A requirements file; one that another names must be there.
    fn file(&mut self, path: &Path, named: bool) {
        let Some(inside) = inside(path) else {
            self.notes
                .insert(format!("{} is not in the repository", path.display()));
            return;
        };
        if self.seen.len() >= MAX_INCLUDES || !self.seen.insert(inside.clone()) {
            return;
        }
        let Some(content) = text(&self.root.join(&inside)) else {
            if named {
                self.notes
                    .insert(format!("{inside} is named but cannot be read"));
            }
            return;
        };
        let content = content.replace("\\\r\n", " ").replace("\\\n", " ");
        for line in content.lines() {
            let line = line.split(" #").next().unwrap_or(line);
            let line = &line.split_whitespace().collect::<Vec<_>>().join(" ");
            let include = ["-r", "--requirement"].iter().find_map(|option| {
                let rest = line.strip_prefix(option)?;
                rest.starts_with([' ', '='])
                    .then(|| rest.trim_start_matches([' ', '=']))
            });
            match include {
                Some(other) => {
                    let beside = Path::new(&inside)
                        .parent()
                        .unwrap_or(Path::new(""))
                        .join(other);
                    self.file(&beside, true);
                }
                None => self.line(line, &inside),
            }
        }
    }

    fn line(&mut self, line: &str, place: &str) {
        if line.is_empty() || line.starts_with('#') {
            return;
        }
        match plain(line) {
            Some(line) => drop(self.lines.insert(line)),
            None if self.local(line, place) => {}
            None => {
                let shown = shown(line);
                self.notes.insert(format!(
                    "left out: `{shown}` of {place} is no plain requirement"
                ));
            }
        }
    }

    /// With some digests and not others pip would refuse all: then none counts.
    fn finish(self) -> Wanted {
        let hashed = |line: &&String| line.contains(" --hash=");
        let mut wanted = Wanted {
            lines: self.lines.iter().cloned().collect(),
            notes: self.notes.into_iter().collect(),
            complete: !self.lines.is_empty() && self.lines.iter().all(|line| hashed(&line)),
        };
        if !wanted.complete && wanted.lines.iter().any(|line| hashed(&line)) {
            wanted.notes.push(String::from(
                "some requirements have digests and some have none, so none was compared",
            ));
            for line in &mut wanted.lines {
                let end = line.find(" --hash=").unwrap_or(line.len());
                line.truncate(end);
            }
            wanted.lines.dedup();
        }
        wanted
    }
}

/// A relative path without `..`, or nothing when it leads out.
fn inside(path: &Path) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => parts.push(name.to_str()?),
            Component::CurDir => {}
            Component::ParentDir => drop(parts.pop()?),
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(parts.join("/"))
}

static PLAIN: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(
        r#"^(?P<r>[A-Za-z0-9][A-Za-z0-9._-]* *(?:\[[A-Za-z0-9._, -]*\])? *(?:\(? *(?:[<>=!~]=?=? *[A-Za-z0-9.*+!_-]+ *,? *)+\)?)?(?:;[A-Za-z0-9_.'"<>=!~() -]+)?)(?P<h>(?: +--hash=sha(?:256|384|512):[0-9a-f]+)*)$"#,
    )
    .ok()
});

/// Whether some reader of a file takes a character for the end of a line, or shows it as none.
fn breaks(character: char) -> bool {
    character.is_control() || matches!(character, '\u{2028}' | '\u{2029}')
}

/// A line as notes show it.
pub(super) fn shown(line: &str) -> String {
    let one = |character| if breaks(character) { ' ' } else { character };
    line.chars().take(80).map(one).collect()
}

/// What names a package of the index and nothing else. Only the answer may be handed to pip: the
/// line itself may go on with a comment.
pub(super) fn plain(line: &str) -> Option<String> {
    let line = line.trim();
    // What is read from a manifest's texts need not be one line.
    if line.contains(breaks) {
        return None;
    }
    let line = line.split(" #").next().unwrap_or(line).trim();
    let captures = PLAIN.as_ref()?.captures(line)?;
    let requirement = captures.name("r")?.as_str().trim();
    // pip takes a word that begins with a dash for an option, in a marker too.
    if requirement.split(' ').any(|word| word.starts_with('-')) {
        return None;
    }
    let hashes = captures.name("h").map_or("", |hashes| hashes.as_str());
    Some(format!("{requirement}{hashes}"))
}

#[cfg(test)]
mod tests;

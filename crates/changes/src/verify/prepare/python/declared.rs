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
use toml::Value;

use super::{GROUPS, Wanted};
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
    /// `name[extra] >=1,<2 ; marker`.
    pub(super) fn parse(line: &str) -> Option<Self> {
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
    let here = root.join(directory);
    let mut reading = Reading {
        root,
        lines: BTreeSet::new(),
        notes: BTreeSet::new(),
        seen: BTreeSet::new(),
    };
    for name in FILES {
        reading.file(&Path::new(directory).join(name), false);
    }
    for line in requirements(&here)
        .unwrap_or_default()
        .iter()
        .map(Requirement::line)
    {
        reading.line(&line, "pyproject.toml, setup.cfg or Pipfile");
    }
    if let Some(setup) = text(&here.join("setup.py"))
        && setup.contains("install_requires")
    {
        reading.notes.insert(String::from(
            "what setup.py requires is not read, because that would execute it; a requirements or \
             lock file is",
        ));
    }
    reading.finish()
}

struct Reading<'a> {
    root: &'a Path,
    lines: BTreeSet<String>,
    notes: BTreeSet<String>,
    seen: BTreeSet<String>,
}

impl Reading<'_> {
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
            // The project itself is there already.
            None if matches!(line, "." | "-e ." | "-e." | "--editable .") => {}
            None => {
                let shown: String = line.chars().take(80).collect();
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

/// The requirements of `pyproject.toml`, `setup.cfg` and `Pipfile`, with those of the groups that
/// tests and linters are declared in; nothing if there is none of these files.
pub(super) fn requirements(here: &Path) -> Option<Vec<Requirement>> {
    let toml = |name: &str| text(&here.join(name))?.parse::<toml::Table>().ok();
    let (project, pipfile) = (toml("pyproject.toml"), toml("Pipfile"));
    let setup = text(&here.join("setup.cfg"));
    if project.is_none() && pipfile.is_none() && setup.is_none() {
        return None;
    }
    let mut all = Vec::new();
    if let Some(project) = &project {
        standard(project, &mut all);
        poetry(project, &mut all);
    }
    for section in ["packages", "dev-packages"] {
        let table = pipfile.as_ref().and_then(|pipfile| pipfile.get(section));
        poetry_table(table, &mut all);
    }
    all.extend(setup.iter().flat_map(|text| setup_cfg(text)));
    Some(all)
}

/// `[project]` and `[dependency-groups]`, which may include one another.
fn standard(project: &toml::Table, all: &mut Vec<Requirement>) {
    let part = project.get("project");
    let groups = project.get("dependency-groups");
    let mut add = |value: Option<&Value>| {
        for item in value.and_then(Value::as_array).into_iter().flatten() {
            let line = item.as_str().filter(|line| !line.contains('@'));
            all.extend(line.and_then(Requirement::parse));
        }
    };
    add(part.and_then(|part| part.get("dependencies")));
    let mut waiting: Vec<&str> = GROUPS.to_vec();
    let mut seen = BTreeSet::new();
    for group in GROUPS {
        add(part.and_then(|part| part.get("optional-dependencies")?.get(group)));
    }
    while let Some(group) = waiting.pop() {
        let value = groups.and_then(|groups| groups.get(group));
        if !seen.insert(group) || value.is_none() {
            continue;
        }
        add(value);
        let items = value.and_then(Value::as_array).into_iter().flatten();
        waiting.extend(items.filter_map(|item| item.get("include-group")?.as_str()));
    }
}

fn poetry(project: &toml::Table, all: &mut Vec<Requirement>) {
    let Some(tool) = project.get("tool").and_then(|tool| tool.get("poetry")) else {
        return;
    };
    poetry_table(tool.get("dependencies"), all);
    poetry_table(tool.get("dev-dependencies"), all);
    for group in GROUPS {
        let group = tool
            .get("group")
            .and_then(|groups| groups.get(group)?.get("dependencies"));
        poetry_table(group, all);
    }
}

/// `name = "^1.2"` or `name = {version = …, markers = …, extras = […]}`.
fn poetry_table(value: Option<&Value>, all: &mut Vec<Requirement>) {
    for (name, value) in value.and_then(Value::as_table).into_iter().flatten() {
        let registry = ["git", "path", "url", "file"]
            .iter()
            .all(|key| value.get(key).is_none());
        let optional = value.get("optional").and_then(Value::as_bool) == Some(true);
        if name == "python" || !registry || optional {
            continue;
        }
        let member = |key: &str| value.get(key).and_then(Value::as_str);
        let versions = value.as_str().or_else(|| member("version")).unwrap_or("*");
        let extras = value
            .get("extras")
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        let platform = member("platform").map(|name| format!("sys_platform == '{name}'"));
        all.push(Requirement {
            name: matrix_evidence::lockfile::Ecosystem::Pypi.normalise(name),
            extras: extras
                .filter_map(|extra| Some(extra.as_str()?.to_owned()))
                .collect(),
            versions: versions
                .split(',')
                .map(|part| range(part.trim()))
                .collect::<Vec<_>>()
                .join(","),
            marker: member("markers").map(str::to_owned).or(platform),
        });
    }
}

/// Poetry's `^1.2` and `~1.2` as ranges that pip knows.
fn range(text: &str) -> String {
    let plain = text.trim_start_matches(['^', '~']).trim_start_matches('=');
    let numbers: Option<Vec<u64>> = plain.split('.').map(|part| part.parse().ok()).collect();
    let Some(mut upper) = numbers.filter(|numbers| !numbers.is_empty()) else {
        return if text == "*" {
            String::new()
        } else {
            text.to_owned()
        };
    };
    if text.starts_with('^') {
        let at = upper
            .iter()
            .position(|number| *number > 0)
            .unwrap_or(upper.len() - 1);
        upper.truncate(at + 1);
    } else if text.starts_with("~=") {
        return text.to_owned();
    } else if text.starts_with('~') {
        upper.truncate(2);
    } else {
        return format!("=={plain}");
    }
    if let Some(last) = upper.last_mut() {
        *last = last.saturating_add(1);
    }
    let upper: Vec<String> = upper.iter().map(u64::to_string).collect();
    format!(">={plain},<{}", upper.join("."))
}

/// `install_requires`, `tests_require` and the groups of extras of `setup.cfg`.
fn setup_cfg(text: &str) -> Vec<Requirement> {
    let (mut section, mut key) = (String::new(), String::new());
    let mut all = Vec::new();
    for line in text.lines() {
        if line.trim_start().starts_with(['#', ';']) || line.trim().is_empty() {
            continue;
        }
        let rest = if line.starts_with([' ', '\t']) {
            line.trim()
        } else if let Some(name) = line.trim().strip_prefix('[') {
            name.trim_end_matches(']').trim().clone_into(&mut section);
            key.clear();
            continue;
        } else {
            let (name, rest) = line.split_once(['=', ':']).unwrap_or((line, ""));
            name.trim().clone_into(&mut key);
            rest.trim()
        };
        let wanted = match section.as_str() {
            "options" => matches!(key.as_str(), "install_requires" | "tests_require"),
            "options.extras_require" => GROUPS.contains(&key.as_str()),
            _ => false,
        };
        if wanted && !rest.contains('@') && !rest.starts_with("file:") {
            all.extend(Requirement::parse(rest));
        }
    }
    all
}

static PLAIN: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(
        r#"^(?P<r>[A-Za-z0-9][A-Za-z0-9._-]*\s*(?:\[[A-Za-z0-9._,\s-]*\])?\s*(?:\(?\s*(?:[<>=!~]=?=?\s*[A-Za-z0-9.*+!_-]+\s*,?\s*)+\)?)?(?:;[A-Za-z0-9_.'"<>=!~()\s-]+)?)(?P<h>(?:\s+--hash=sha(?:256|384|512):[0-9a-f]+)*)$"#,
    )
    .ok()
});

/// A line that names a package of the index and nothing else.
pub(super) fn plain(line: &str) -> Option<String> {
    let line = line.split(" #").next().unwrap_or(line).trim();
    let captures = PLAIN.as_ref()?.captures(line)?;
    let requirement = captures.name("r")?.as_str().trim();
    let hashes = captures.name("h").map_or("", |hashes| hashes.as_str());
    Some(format!("{requirement}{hashes}"))
}

#[cfg(test)]
mod tests;

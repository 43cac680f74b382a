//! What `pyproject.toml`, `setup.cfg`, `Pipfile` and `setup.py` require, with the groups that tests
//! and linters are declared in. Nothing is executed: what a `setup.py` computes cannot be known, and
//! whatever is not taken is said.

use std::collections::BTreeSet;
use std::path::Path;

use toml::Value;

use super::GROUPS;
use super::declared::{Requirement, shown};
use crate::verify::detect::text;

/// What the manifests of one directory say.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Declared {
    pub(super) requirements: Vec<Requirement>,
    /// Requirements files that a manifest names, relative to it.
    pub(super) files: Vec<String>,
    /// What is named and not taken, and why.
    pub(super) left_out: Vec<String>,
}

/// Everything the manifests name, with these extras beside the usual groups; nothing if there is no
/// manifest.
pub(super) fn read(here: &Path, extras: &BTreeSet<String>) -> Option<Declared> {
    let toml = |name: &str| text(&here.join(name))?.parse::<toml::Table>().ok();
    let (project, pipfile) = (toml("pyproject.toml"), toml("Pipfile"));
    let (cfg, script) = (text(&here.join("setup.cfg")), text(&here.join("setup.py")));
    if project.is_none() && pipfile.is_none() && cfg.is_none() && script.is_none() {
        return None;
    }
    let groups: Vec<&str> = GROUPS
        .iter()
        .copied()
        .chain(extras.iter().map(String::as_str))
        .collect();
    let mut all = Declared::default();
    if let Some(project) = &project {
        all.standard(project, &groups);
        all.dynamic(project, &groups);
        all.poetry(project, &groups);
    }
    for section in ["packages", "dev-packages"] {
        let table = pipfile.as_ref().and_then(|pipfile| pipfile.get(section));
        all.poetry_table(table);
    }
    if let Some(cfg) = &cfg {
        all.setup_cfg(cfg, &groups);
    }
    if let Some(script) = &script {
        all.setup_py(script);
    }
    Some(all)
}

impl Declared {
    /// One requirement as the specification writes it.
    fn add(&mut self, line: &str, place: &str) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            return;
        }
        let registry = !line
            .split(';')
            .next()
            .unwrap_or(line)
            .contains(['@', '/', ':']);
        match Requirement::parse(line).filter(|_| registry) {
            Some(requirement) => self.requirements.push(requirement),
            None => self.leave(line, place),
        }
    }

    fn leave(&mut self, line: &str, place: &str) {
        let shown = shown(line);
        self.left_out.push(format!(
            "`{shown}` of {place} does not come from the package index"
        ));
    }

    /// `[project]` and `[dependency-groups]`, which may include one another.
    fn standard(&mut self, project: &toml::Table, groups: &[&str]) {
        let part = project.get("project");
        let named = project.get("dependency-groups");
        self.list(part.and_then(|part| part.get("dependencies")));
        for group in groups {
            self.list(part.and_then(|part| part.get("optional-dependencies")?.get(group)));
        }
        let mut waiting: Vec<(&str, bool)> = groups.iter().map(|group| (*group, false)).collect();
        let mut seen = BTreeSet::new();
        while let Some((group, included)) = waiting.pop() {
            if !seen.insert(group) {
                continue;
            }
            let Some(value) = named.and_then(|groups| groups.get(group)) else {
                if included {
                    self.left_out
                        .push(format!("the group `{group}` is included but not declared"));
                }
                continue;
            };
            self.list(Some(value));
            let items = value.as_array().into_iter().flatten();
            let includes = items.filter_map(|item| item.get("include-group")?.as_str());
            waiting.extend(includes.map(|group| (group, true)));
        }
    }

    fn list(&mut self, value: Option<&Value>) {
        for item in value.and_then(Value::as_array).into_iter().flatten() {
            if let Some(line) = item.as_str() {
                self.add(line, "pyproject.toml");
            }
        }
    }

    /// `[tool.setuptools.dynamic]`: requirements that stand in files of their own.
    fn dynamic(&mut self, project: &toml::Table, groups: &[&str]) {
        let tool = project.get("tool").and_then(|tool| tool.get("setuptools"));
        let Some(dynamic) = tool.and_then(|tool| tool.get("dynamic")) else {
            return;
        };
        let optional = dynamic.get("optional-dependencies");
        let places = groups
            .iter()
            .map(|group| optional.and_then(|optional| optional.get(group)));
        for place in places.chain([dynamic.get("dependencies")]).flatten() {
            match place.get("file") {
                Some(Value::String(file)) => self.files.push(file.clone()),
                Some(Value::Array(files)) => {
                    let names = files
                        .iter()
                        .filter_map(|file| Some(file.as_str()?.to_owned()));
                    self.files.extend(names);
                }
                _ => {}
            }
        }
    }

    fn poetry(&mut self, project: &toml::Table, groups: &[&str]) {
        let Some(tool) = project.get("tool").and_then(|tool| tool.get("poetry")) else {
            return;
        };
        self.poetry_table(tool.get("dependencies"));
        self.poetry_table(tool.get("dev-dependencies"));
        for group in groups {
            let group = tool
                .get("group")
                .and_then(|groups| groups.get(group)?.get("dependencies"));
            self.poetry_table(group);
        }
    }

    /// `name = "^1.2"` or `name = {version = …, markers = …, extras = […]}`.
    fn poetry_table(&mut self, value: Option<&Value>) {
        for (name, value) in value.and_then(Value::as_table).into_iter().flatten() {
            let elsewhere = ["git", "path", "url", "file"]
                .iter()
                .find(|key| value.get(key).is_some());
            let optional = value.get("optional").and_then(Value::as_bool) == Some(true);
            if name == "python" || optional {
                continue;
            }
            if let Some(key) = elsewhere {
                self.leave(&format!("{name} ({key})"), "the project's manifest");
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
            self.requirements.push(Requirement {
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

    /// `install_requires`, `tests_require` and the groups of extras of `setup.cfg`; a value may name
    /// files instead.
    fn setup_cfg(&mut self, text: &str, groups: &[&str]) {
        let (mut section, mut key) = (String::new(), String::new());
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
                "options.extras_require" => groups.contains(&key.as_str()),
                _ => false,
            };
            match rest.strip_prefix("file:") {
                Some(files) if wanted => {
                    let names = files.split(',').map(|file| file.trim().to_owned());
                    self.files.extend(names);
                }
                None if wanted => self.add(rest, "setup.cfg"),
                _ => {}
            }
        }
    }

    /// Lists of plain texts in a `setup.py`; anything that would have to be computed is said.
    fn setup_py(&mut self, script: &str) {
        let mut unread = Vec::new();
        for key in ["install_requires", "tests_require", "extras_require"] {
            let mut lists = keyword(script, key).map(literals).peekable();
            if lists.peek().is_none() {
                continue;
            }
            for list in lists {
                match list {
                    Some(lines) if key != "extras_require" => {
                        for line in lines {
                            self.add(&line, "setup.py");
                        }
                    }
                    _ => unread.push(key),
                }
            }
        }
        unread.dedup();
        if !unread.is_empty() {
            self.left_out.push(format!(
                "{} of setup.py, because reading it would execute it; a requirements or lock file \
                 is read",
                unread.join(", ")
            ));
        }
    }
}

/// What stands behind each `KEY=` of a script.
fn keyword<'a>(script: &'a str, key: &'a str) -> impl Iterator<Item = &'a str> {
    script.match_indices(key).filter_map(move |(at, _)| {
        let before = script[..at].chars().next_back();
        let word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '"' | '\'' | '.');
        let rest = script[at + key.len()..].trim_start().strip_prefix('=')?;
        (!before.is_some_and(word) && !rest.starts_with('=')).then(|| rest.trim_start())
    })
}

/// The texts of a list such as `["a", 'b>=1',  # why` that holds nothing else; nothing for what is
/// no such list.
fn literals(text: &str) -> Option<Vec<String>> {
    let mut rest = text.strip_prefix(['[', '('])?;
    let mut found = Vec::new();
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == ',');
        let first = rest.chars().next()?;
        match first {
            ']' | ')' => {
                let next = rest
                    .get(1..)?
                    .trim_start_matches([' ', '\t'])
                    .chars()
                    .next();
                let ends = next.is_none_or(|next| ",)}#\r\n".contains(next));
                return ends.then_some(found);
            }
            '#' => rest = rest.split_once('\n')?.1,
            '"' | '\'' => {
                let (inner, after) = rest.get(1..)?.split_once(first)?;
                // Texts beside one another are one text, and a sign may join what follows.
                let next = after.trim_start().chars().next()?;
                if inner.contains(['\\', '\n']) || inner.is_empty() || !",])#".contains(next) {
                    return None;
                }
                found.push(inner.to_owned());
                rest = after;
            }
            _ => return None,
        }
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

#[cfg(test)]
mod tests;

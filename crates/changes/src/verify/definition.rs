//! Whether a change touches what says how it is checked.
//!
//! Detection reads each revision's own manifests, so a change could turn `npm test` into `true`
//! and have every test pass. It still runs; but that the definition changed is a fact that the
//! gate sees, and such a change never passes by itself.

mod names;
mod scripts;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::config::ProjectConfig;
use super::detect::{directories, text};
use names::{BEGINNINGS, CARGO_MEMBERS, JSON_MEMBERS, PYTHON_MEMBERS, PYTHON_MODULES, WHOLE};
use scripts::{package_scripts, scripts_changed, scripts_replaced};

/// What differs, as `FILE` or `FILE: MEMBER`, in the order of names.
fn changed(base: &Path, head: &Path) -> Vec<String> {
    let mut names = BTreeSet::new();
    let places: BTreeSet<PathBuf> = directories(base)
        .into_iter()
        .chain(directories(head))
        .collect();
    for directory in &places {
        let (before, after) = (base.join(directory), head.join(directory));
        let mut say = |what: String| {
            names.insert(directory.join(what).to_string_lossy().into_owned());
        };
        for file in WHOLE {
            // A new build script or configuration counts as much as a changed one.
            if text(&before.join(file)) != text(&after.join(file)) {
                say((*file).to_owned());
            }
        }
        for file in named(&before).union(&named(&after)) {
            if text(&before.join(file)) != text(&after.join(file)) {
                say(file.clone());
            }
        }
        let settings = |root: &Path| settings(&text(&root.join("setup.cfg")).unwrap_or_default());
        if settings(&before) != settings(&after) {
            say("setup.cfg".to_owned());
        }
        for script in scripts_replaced(&before, &after) {
            say(format!("package.json: scripts.{script}"));
        }
        for (file, members, parse) in [
            (
                "package.json",
                JSON_MEMBERS,
                json as fn(&Path) -> Option<serde_json::Value>,
            ),
            ("Cargo.toml", CARGO_MEMBERS, toml),
            ("pyproject.toml", PYTHON_MEMBERS, toml),
        ] {
            // A manifest that is new on one side is a check added or removed, told elsewhere.
            let pair = (parse(&before.join(file)), parse(&after.join(file)));
            let (Some(before), Some(after)) = pair else {
                continue;
            };
            for member in members {
                if lookup(&before, member) != lookup(&after, member) {
                    say(format!("{file}: {}", member.join(".")));
                }
            }
        }
    }
    names.into_iter().collect()
}

/// Files of a directory whose name says that they configure checks, or that stand in for a module
/// that a test runner imports, or that a makefile reads.
fn named(directory: &Path) -> BTreeSet<String> {
    let mut names: BTreeSet<String> = BTreeSet::new();
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        let module = name.strip_suffix(".py").unwrap_or_default();
        let ending = name.rsplit_once('.').map(|(_, ending)| ending);
        if BEGINNINGS
            .iter()
            .any(|beginning| name.starts_with(beginning))
            || PYTHON_MODULES.contains(&module)
            || name == "conftest.py"
            || matches!(ending, Some("mk" | "mak" | "pth"))
        {
            names.insert(name);
        } else if PYTHON_MODULES.contains(&name.as_str()) {
            names.insert(format!("{name}/__init__.py"));
            names.insert(format!("{name}/__main__.py"));
        } else if name == "src" {
            let inner = PYTHON_MODULES
                .iter()
                .map(|module| format!("src/{module}.py"));
            names.extend(inner.filter(|path| directory.join(path).is_file()));
        }
    }
    let makefiles = ["GNUmakefile", "Makefile", "makefile"];
    for makefile in makefiles
        .iter()
        .filter_map(|name| text(&directory.join(name)))
    {
        let includes = makefile.lines().filter_map(|line| {
            let line = line.trim_start_matches('-');
            line.strip_prefix("include ")
                .or(line.strip_prefix("sinclude "))
        });
        names.extend(includes.flat_map(str::split_whitespace).map(str::to_owned));
    }
    names
}

/// What a `setup.cfg` says beside who wrote the project.
fn settings(text: &str) -> Vec<String> {
    let mut about = false;
    text.lines()
        .map(str::trim_end)
        .filter(|line| {
            if line.starts_with('[') {
                about = *line == "[metadata]";
            }
            !about && !line.is_empty()
        })
        .map(str::to_owned)
        .collect()
}

fn lookup<'a>(value: &'a serde_json::Value, path: &[&str]) -> Option<&'a serde_json::Value> {
    path.iter().try_fold(value, |value, key| value.get(key))
}

/// What of the checks' definition differs: settings, and scripts that base's commands run.
pub(crate) fn differences(
    base: &Path,
    head: &Path,
    base_config: Option<&ProjectConfig>,
) -> Vec<String> {
    let own = base_config
        .map(|config| config.checks.as_slice())
        .unwrap_or_default();
    let mut commands = package_scripts(base);
    commands.extend(own.iter().map(|check| (PathBuf::new(), check.run.clone())));
    let mut all = changed(base, head);
    all.extend(scripts_changed(base, head, &commands));
    all
}

fn json(path: &Path) -> Option<serde_json::Value> {
    serde_json::from_str(&text(path)?).ok()
}

fn toml(path: &Path) -> Option<serde_json::Value> {
    let table: toml::Table = text(path)?.parse().ok()?;
    serde_json::to_value(table).ok()
}

#[cfg(test)]
mod tests;

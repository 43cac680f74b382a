//! Which checks a repository has, read from its own files.
//!
//! Detection looks, it never executes: manifests are parsed with limits and everything that is
//! not understood is simply not a check. It runs on each revision by itself, since a change may
//! add the first test of a repository or remove the last.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use matrix_evidence::Kind;
use serde::{Deserialize, Serialize};

/// A family of tools with its own manifests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ecosystem {
    /// Rust's Cargo.
    Cargo,
    /// Node with npm or pnpm.
    Node,
    /// Python.
    Python,
    /// Go modules.
    Go,
    /// A makefile.
    Make,
}

impl Ecosystem {
    /// The name used in the keys of checks.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cargo => "cargo",
            Self::Node => "node",
            Self::Python => "python",
            Self::Go => "go",
            Self::Make => "make",
        }
    }
}

/// Who runs a `package.json`'s scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeManager {
    /// npm.
    Npm,
    /// pnpm.
    Pnpm,
}

/// Which Python test runner the repository is written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PythonRunner {
    /// pytest, because a file declares it.
    Pytest,
    /// The standard library's unittest.
    Unittest,
}

/// What is to be executed; the command itself is made when the toolchain is known.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "recipe")]
pub enum Recipe {
    /// `cargo clippy`, or `cargo check` where clippy is not installed.
    CargoLint,
    /// `cargo test`.
    CargoTest,
    /// `cargo build`.
    CargoBuild,
    /// A script of `package.json`.
    NodeScript {
        /// Who runs it.
        manager: NodeManager,
        /// Its name.
        script: String,
    },
    /// `node --test` with these further arguments, as a shell would read them.
    NodeTest {
        /// What follows `node --test` in the script; empty when there was no script.
        arguments: String,
    },
    /// The repository's Python tests.
    PythonTest {
        /// By which runner.
        runner: PythonRunner,
    },
    /// ruff where it is declared or installed, otherwise the compiler's syntax check.
    PythonLint,
    /// The wheel that `pyproject.toml` describes.
    PythonBuild,
    /// `go test`.
    GoTest,
    /// `go vet`.
    GoLint,
    /// `go build`.
    GoBuild,
    /// A target of the makefile.
    Make {
        /// Its name.
        target: String,
    },
    /// A command line given in `matrix.yaml`.
    Custom {
        /// For `/bin/sh`.
        run: String,
        /// When it is ended, in milliseconds.
        timeout_ms: u64,
    },
}

/// One check that a revision has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// What it gives evidence of.
    pub kind: Kind,
    /// Where it comes from.
    pub ecosystem: Ecosystem,
    /// Its directory, relative to the root; empty for the root.
    pub directory: String,
    /// What is to be executed.
    pub recipe: Recipe,
}

impl Found {
    /// The same for the same check of two revisions.
    pub fn key(&self) -> String {
        let (kind, ecosystem) = (self.kind, self.ecosystem.as_str());
        if self.directory.is_empty() {
            format!("{kind}/{ecosystem}")
        } else {
            format!("{kind}/{ecosystem}/{}", self.directory)
        }
    }
}

const MAX_MANIFEST: u64 = 4 << 20;
const MAX_DIRECTORIES: usize = 400;
const MAX_PROJECTS: usize = 32;
const MAX_WALKED: usize = 20_000;
const DEPTH: usize = 2;
/// Directories that hold other people's code, products or test data.
const SKIPPED: &[&str] = &[
    "node_modules",
    "vendor",
    "third_party",
    "target",
    "dist",
    "build",
    "venv",
    "__pycache__",
    "testdata",
    "fixtures",
];

/// Every check found in a tree. A file that cannot be read or understood is not a check.
pub fn detect(root: &Path) -> Vec<Found> {
    let mut found = Vec::new();
    let mut claimed: BTreeMap<Ecosystem, Vec<PathBuf>> = BTreeMap::new();
    for directory in directories(root) {
        if found.len() >= MAX_PROJECTS * 3 {
            break;
        }
        let here = root.join(&directory);
        let mut kinds = BTreeSet::new();
        for (ecosystem, checks) in [
            (Ecosystem::Cargo, cargo(&here)),
            (Ecosystem::Node, node(&here)),
            (Ecosystem::Python, python(&here)),
            (Ecosystem::Go, go(&here)),
        ] {
            let owners = claimed.entry(ecosystem).or_default();
            if checks.is_empty() || owners.iter().any(|owner| directory.starts_with(owner)) {
                continue;
            }
            owners.push(directory.clone());
            for (kind, recipe) in checks {
                kinds.insert(kind);
                found.push(entry(kind, ecosystem, &directory, recipe));
            }
        }
        // A makefile beside a language's own manifest usually calls the same tools again.
        if directory.as_os_str().is_empty() {
            for (kind, recipe) in make(&here) {
                if !kinds.contains(&kind) {
                    found.push(entry(kind, Ecosystem::Make, &directory, recipe));
                }
            }
        }
    }
    found.sort_by_key(Found::key);
    found
}

fn entry(kind: Kind, ecosystem: Ecosystem, directory: &Path, recipe: Recipe) -> Found {
    Found {
        kind,
        ecosystem,
        directory: directory.to_string_lossy().into_owned(),
        recipe,
    }
}

/// The root and its directories down to [`DEPTH`], parents first, in the order of their names.
pub(crate) fn directories(root: &Path) -> Vec<PathBuf> {
    let mut all = vec![PathBuf::new()];
    let mut level = vec![PathBuf::new()];
    for _ in 0..DEPTH {
        let mut next = Vec::new();
        for parent in &level {
            let Ok(entries) = std::fs::read_dir(root.join(parent)) else {
                continue;
            };
            for entry in entries.flatten() {
                let name = entry.file_name();
                // A name that is not UTF-8 cannot stand in a key; nor does it in practice.
                let Some(text) = name.to_str() else { continue };
                let real = entry.file_type().is_ok_and(|kind| kind.is_dir());
                if real && !text.starts_with('.') && !SKIPPED.contains(&text) {
                    next.push(parent.join(text));
                }
            }
        }
        next.sort();
        next.truncate(MAX_DIRECTORIES);
        all.extend(next.iter().cloned());
        level = next;
    }
    all
}

/// The text of a regular file, not through a symlink, up to the limit.
pub(crate) fn text(path: &Path) -> Option<String> {
    let metadata = std::fs::symlink_metadata(path).ok()?;
    if !metadata.is_file() || metadata.len() > MAX_MANIFEST {
        return None;
    }
    let mut text = String::new();
    let file = std::fs::File::open(path).ok()?;
    file.take(MAX_MANIFEST).read_to_string(&mut text).ok()?;
    Some(text)
}

fn cargo(here: &Path) -> Vec<(Kind, Recipe)> {
    let readable = text(&here.join("Cargo.toml"))
        .and_then(|text| text.parse::<toml::Table>().ok())
        .is_some_and(|table| table.contains_key("package") || table.contains_key("workspace"));
    if !readable {
        return Vec::new();
    }
    vec![
        (Kind::Lint, Recipe::CargoLint),
        (Kind::TestResults, Recipe::CargoTest),
        (Kind::BuildLog, Recipe::CargoBuild),
    ]
}

/// What npm writes into a new `package.json`; it is not a test.
const NO_TEST: &str = "no test specified";
const SHELL_WORDS: &[char] = &[';', '|', '&', '<', '>', '`', '$', '(', ')', '\n'];

fn node(here: &Path) -> Vec<(Kind, Recipe)> {
    let Some(manifest) = text(&here.join("package.json"))
        .and_then(|text| serde_json::from_str::<serde_json::Value>(&text).ok())
    else {
        return Vec::new();
    };
    let manager = if here.join("pnpm-lock.yaml").is_file() {
        NodeManager::Pnpm
    } else {
        NodeManager::Npm
    };
    let script = |name: &str| {
        let script = manifest.get("scripts")?.get(name)?.as_str()?;
        (!script.trim().is_empty() && !script.contains(NO_TEST)).then(|| script.trim().to_owned())
    };
    let mut checks = Vec::new();
    for (kind, name) in [(Kind::Lint, "lint"), (Kind::BuildLog, "build")] {
        if script(name).is_some() {
            let script = name.to_owned();
            checks.push((kind, Recipe::NodeScript { manager, script }));
        }
    }
    match script("test") {
        Some(command) => {
            let arguments = command
                .strip_prefix("node --test")
                .filter(|rest| rest.is_empty() || rest.starts_with(' '))
                .filter(|rest| !rest.contains(SHELL_WORDS))
                .filter(|rest| !rest.contains("--test-reporter"))
                .filter(|_| script("pretest").is_none() && script("posttest").is_none());
            let recipe = match arguments {
                Some(rest) => Recipe::NodeTest {
                    arguments: rest.trim().to_owned(),
                },
                None => Recipe::NodeScript {
                    manager,
                    script: String::from("test"),
                },
            };
            checks.push((Kind::TestResults, recipe));
        }
        None if any_file(here, node_test_file) => {
            let arguments = String::new();
            checks.push((Kind::TestResults, Recipe::NodeTest { arguments }));
        }
        None => {}
    }
    checks
}

fn node_test_file(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let Some((stem, extension)) = name.rsplit_once('.') else {
        return false;
    };
    let script = matches!(extension, "js" | "mjs" | "cjs");
    let in_folder = path.starts_with("test/") || path.contains("/test/");
    let named = stem == "test"
        || stem.starts_with("test-")
        || [".test", "-test", "_test"]
            .iter()
            .any(|end| stem.ends_with(end));
    script && (in_folder || named)
}

fn python(here: &Path) -> Vec<(Kind, Recipe)> {
    let project = text(&here.join("pyproject.toml"));
    let declared = [
        "setup.py",
        "setup.cfg",
        "requirements.txt",
        "tox.ini",
        "Pipfile",
        "poetry.lock",
        "uv.lock",
    ];
    let manifest = project.is_some() || declared.iter().any(|name| here.join(name).is_file());
    // Without a manifest, deeper files may belong to a project of their own.
    let near = |path: &str| {
        manifest || !path.contains('/') || path.starts_with("tests/") || path.starts_with("test/")
    };
    let tests = any_file(here, |path| near(path) && python_test_file(path));
    let has_code = any_file(here, |path| near(path) && has_extension(path, "py"));
    if !has_code || !(manifest || tests) {
        return Vec::new();
    }
    let mut checks = vec![(Kind::Lint, Recipe::PythonLint)];
    if tests {
        let runner = python_runner(here, project.as_deref());
        checks.push((Kind::TestResults, Recipe::PythonTest { runner }));
    }
    let builds = project
        .and_then(|text| text.parse::<toml::Table>().ok())
        .is_some_and(|table| table.contains_key("build-system"));
    if builds {
        checks.push((Kind::BuildLog, Recipe::PythonBuild));
    }
    checks
}

fn python_runner(here: &Path, project: Option<&str>) -> PythonRunner {
    let files = [
        "setup.py",
        "setup.cfg",
        "tox.ini",
        "requirements.txt",
        "requirements-dev.txt",
        "dev-requirements.txt",
        "requirements-test.txt",
        "Pipfile",
    ];
    let declared = here.join("pytest.ini").is_file()
        || here.join("conftest.py").is_file()
        || here.join("tests/conftest.py").is_file()
        || project.is_some_and(|text| text.contains("pytest"))
        || files
            .iter()
            .any(|name| text(&here.join(name)).is_some_and(|text| text.contains("pytest")));
    if declared {
        PythonRunner::Pytest
    } else {
        PythonRunner::Unittest
    }
}

fn has_extension(path: &str, wanted: &str) -> bool {
    Path::new(path)
        .extension()
        .is_some_and(|extension| extension == wanted)
}

fn python_test_file(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    has_extension(name, "py") && (name.starts_with("test") || name.ends_with("_test.py"))
}

fn go(here: &Path) -> Vec<(Kind, Recipe)> {
    if !here.join("go.mod").is_file() && !here.join("go.work").is_file() {
        return Vec::new();
    }
    vec![
        (Kind::Lint, Recipe::GoLint),
        (Kind::TestResults, Recipe::GoTest),
        (Kind::BuildLog, Recipe::GoBuild),
    ]
}

fn make(here: &Path) -> Vec<(Kind, Recipe)> {
    let names = ["GNUmakefile", "makefile", "Makefile"];
    let Some(text) = names.iter().find_map(|name| text(&here.join(name))) else {
        return Vec::new();
    };
    let targets: BTreeSet<&str> = text.lines().filter_map(make_target).flatten().collect();
    [
        (Kind::TestResults, ["test", "check"].as_slice()),
        (Kind::Lint, &["lint"]),
        (Kind::BuildLog, &["build", "all"]),
    ]
    .into_iter()
    .filter_map(|(kind, names)| {
        let target = names.iter().find(|name| targets.contains(**name))?;
        let target = (*target).to_owned();
        Some((kind, Recipe::Make { target }))
    })
    .collect()
}

/// The names before the colon of a rule's first line.
fn make_target(line: &str) -> Option<impl Iterator<Item = &str>> {
    if line.starts_with(['\t', ' ', '#', '.']) {
        return None;
    }
    let (names, rest) = line.split_once(':')?;
    let assignment = rest.starts_with('=') || rest.starts_with(":=") || names.contains(['=', '$']);
    (!assignment).then(|| names.split_whitespace())
}

/// Whether a file with such a relative path exists, looking at a bounded number of files.
fn any_file(root: &Path, wanted: impl Fn(&str) -> bool) -> bool {
    let mut found = false;
    walk(root, &mut |path| {
        found = wanted(path);
        !found
    });
    found
}

/// The relative paths of regular files that are the repository's own, sorted and bounded.
pub(crate) fn own_files(root: &Path) -> Vec<String> {
    let mut files = Vec::new();
    walk(root, &mut |path| {
        files.push(path.to_owned());
        true
    });
    files.sort();
    files
}

/// Shows every regular file's relative path until `visit` says that it has seen enough.
fn walk(root: &Path, visit: &mut dyn FnMut(&str) -> bool) {
    let mut waiting = vec![(PathBuf::new(), 0_usize)];
    let mut walked = 0;
    while let Some((directory, depth)) = waiting.pop() {
        let Ok(entries) = std::fs::read_dir(root.join(&directory)) else {
            continue;
        };
        for entry in entries.flatten() {
            walked += 1;
            if walked > MAX_WALKED {
                return;
            }
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            let path = directory.join(name);
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => {
                    let hidden = name.starts_with('.') || SKIPPED.contains(&name);
                    if !hidden && depth < 8 {
                        waiting.push((path, depth + 1));
                    }
                }
                Ok(kind) if kind.is_file() && !visit(&path.to_string_lossy()) => return,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        root
    }

    fn keys(files: &[(&str, &str)]) -> Vec<String> {
        detect(tree(files).path()).iter().map(Found::key).collect()
    }

    #[test]
    fn several_ecosystems_in_one_repository_each_count() {
        let found = keys(&[
            ("Cargo.toml", "[package]\nname='a'\n"),
            (
                "web/package.json",
                r#"{"scripts":{"test":"jest","lint":"eslint ."}}"#,
            ),
            ("tool/pyproject.toml", "[build-system]\nrequires=[]\n"),
            ("tool/tests/test_a.py", ""),
            ("go.mod", "module a\n"),
        ]);
        assert_eq!(
            found,
            [
                "build_log/cargo",
                "build_log/go",
                "build_log/python/tool",
                "lint/cargo",
                "lint/go",
                "lint/node/web",
                "lint/python/tool",
                "test_results/cargo",
                "test_results/go",
                "test_results/node/web",
                "test_results/python/tool",
            ]
        );
    }

    #[test]
    fn a_manifest_below_one_of_its_kind_belongs_to_it() {
        let found = keys(&[
            ("Cargo.toml", "[workspace]\n"),
            ("crates/a/Cargo.toml", "[package]\nname='a'\n"),
            (
                "node_modules/x/package.json",
                r#"{"scripts":{"test":"jest"}}"#,
            ),
        ]);
        assert_eq!(
            found,
            ["build_log/cargo", "lint/cargo", "test_results/cargo"]
        );
    }

    #[test]
    fn nothing_is_found_in_what_is_not_understood() {
        assert!(
            keys(&[
                ("Cargo.toml", "not toml ["),
                ("package.json", "{"),
                ("a.txt", "")
            ])
            .is_empty()
        );
        assert!(
            keys(&[(
                "package.json",
                r#"{"scripts":{"test":"echo \"Error: no test specified\" && exit 1"}}"#
            )])
            .is_empty()
        );
        assert!(
            keys(&[("setup.py", "")])
                .iter()
                .all(|key| !key.starts_with("test"))
        );
    }

    #[test]
    fn a_makefile_fills_only_what_no_language_gives() {
        let rules = "test lint: dep\n\techo\nCC := cc\nbuild:\n\techo\n.PHONY: x\n";
        assert_eq!(
            keys(&[("Makefile", rules)]),
            ["build_log/make", "lint/make", "test_results/make"]
        );
        let beside = keys(&[
            ("Makefile", rules),
            ("package.json", r#"{"scripts":{"test":"x"}}"#),
        ]);
        assert_eq!(beside, ["build_log/make", "lint/make", "test_results/node"]);
    }

    #[test]
    fn the_node_runner_is_recognised_only_where_the_script_is_nothing_else() {
        for (script, expected) in [
            ("node --test", Some("")),
            ("node --test 'test/**/*.js'", Some("'test/**/*.js'")),
            ("node --test && echo done", None),
            ("node --tests", None),
            ("NODE_ENV=x node --test", None),
        ] {
            let manifest = serde_json::json!({"scripts": {"test": script}}).to_string();
            let found = detect(tree(&[("package.json", &manifest)]).path());
            let arguments = match &found[0].recipe {
                Recipe::NodeTest { arguments } => Some(arguments.as_str()),
                _ => None,
            };
            assert_eq!(arguments, expected, "{script}");
        }
    }

    #[test]
    fn a_symlink_out_of_the_tree_is_not_read() {
        let outside = tree(&[("Cargo.toml", "[package]\nname='a'\n")]);
        let root = tempfile::tempdir().unwrap();
        let link = root.path().join("Cargo.toml");
        std::os::unix::fs::symlink(outside.path().join("Cargo.toml"), link).unwrap();
        std::os::unix::fs::symlink(outside.path(), root.path().join("sub")).unwrap();
        assert!(detect(root.path()).is_empty());
    }
}

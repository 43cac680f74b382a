//! Whether a change touches what says how it is checked.
//!
//! Detection reads each revision's own manifests, so a change could turn `npm test` into `true`
//! and have every test pass. It still runs; but that the definition changed is a fact that the
//! gate sees, and such a change never passes by itself.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::config::ProjectConfig;
use super::detect::{directories, text};

/// Files that are nothing but configuration of checks.
const WHOLE: &[&str] = &[
    ".cargo/config",
    ".cargo/config.toml",
    ".clippy.toml",
    ".eslintignore",
    ".eslintrc",
    ".eslintrc.cjs",
    ".eslintrc.js",
    ".eslintrc.json",
    ".eslintrc.yml",
    ".flake8",
    ".golangci.yaml",
    ".golangci.yml",
    ".mocharc.js",
    ".mocharc.json",
    ".mocharc.yml",
    ".npmrc",
    ".ruff.toml",
    "GNUmakefile",
    "Makefile",
    "clippy.toml",
    "conftest.py",
    "eslint.config.cjs",
    "eslint.config.js",
    "eslint.config.mjs",
    "jest.config.js",
    "jest.config.json",
    "jest.config.mjs",
    "jest.config.ts",
    "makefile",
    "matrix.yaml",
    "mypy.ini",
    "noxfile.py",
    "pytest.ini",
    "ruff.toml",
    "rust-toolchain",
    "rust-toolchain.toml",
    "tests/conftest.py",
    "tox.ini",
    "vitest.config.js",
    "vitest.config.mjs",
    "vitest.config.ts",
];

/// Members of manifests that say how checks run.
const JSON_MEMBERS: &[&[&str]] = &[
    &["scripts", "test"],
    &["scripts", "pretest"],
    &["scripts", "posttest"],
    &["scripts", "lint"],
    &["scripts", "prelint"],
    &["scripts", "postlint"],
    &["scripts", "build"],
    &["scripts", "prebuild"],
    &["scripts", "postbuild"],
    &["jest"],
    &["mocha"],
    &["ava"],
    &["eslintConfig"],
    &["type"],
];
const CARGO_MEMBERS: &[&[&str]] = &[
    &["lints"],
    &["workspace", "lints"],
    &["workspace", "members"],
    &["workspace", "exclude"],
    &["workspace", "default-members"],
    &["lib", "test"],
    &["lib", "doctest"],
    &["lib", "harness"],
    &["test"],
    &["profile", "test"],
    &["package", "autotests"],
    &["package", "build"],
    &["features", "default"],
];
const PYTHON_MEMBERS: &[&[&str]] = &[
    &["build-system"],
    &["tool", "pytest"],
    &["tool", "ruff"],
    &["tool", "tox"],
    &["tool", "coverage"],
    &["tool", "mypy"],
];

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

fn lookup<'a>(value: &'a serde_json::Value, path: &[&str]) -> Option<&'a serde_json::Value> {
    path.iter().try_fold(value, |value, key| value.get(key))
}

/// Programs whose next plain word is a script.
const INTERPRETERS: &[&str] = &[
    ".", "bash", "bun", "dash", "deno", "ksh", "node", "perl", "php", "python", "python3", "ruby",
    "sh", "source", "ts-node", "tsx", "zsh",
];

/// The most bytes of a script that is compared.
const SCRIPT_BYTES: u64 = 4 << 20;

/// Scripts of the base revision that its checks run and that the change replaces or removes: what
/// they say decides what a check's success means. `commands` are command lines with the directory
/// they run in.
fn scripts_changed(base: &Path, head: &Path, commands: &[(PathBuf, String)]) -> Vec<String> {
    let mut names = BTreeSet::new();
    for (directory, command) in commands {
        let mut after_interpreter = false;
        for word in words(command) {
            let path = directory.join(word.trim_start_matches("./"));
            let before = script(&base.join(&path));
            let runs = after_interpreter || before.as_ref().is_some_and(|found| found.runs);
            if let Some(found) = before.filter(|_| runs)
                && script(&head.join(&path)).is_none_or(|now| now.bytes != found.bytes)
            {
                names.insert(format!("{}: a check runs it", path.to_string_lossy()));
            }
            let name = word.rsplit('/').next().unwrap_or(word);
            // Options stand between an interpreter and its script; what is only looked at, or is a
            // test itself, is judged elsewhere.
            let option = word.starts_with('-') && !["--check", "-c", "--test"].contains(&word);
            after_interpreter = INTERPRETERS.contains(&name) || (after_interpreter && option);
        }
    }
    names.into_iter().collect()
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

/// The command lines of the scripts that a `package.json` gives its checks, with their directory.
fn package_scripts(base: &Path) -> Vec<(PathBuf, String)> {
    let mut commands = Vec::new();
    for directory in directories(base) {
        let manifest = json(&base.join(&directory).join("package.json"));
        let scripts = manifest
            .as_ref()
            .and_then(|manifest| manifest.get("scripts")?.as_object());
        let tests = ["test", "pretest", "posttest"];
        for command in scripts
            .iter()
            .flat_map(|all| tests.iter().filter_map(|name| all.get(*name)))
        {
            commands.extend(
                command
                    .as_str()
                    .map(|text| (directory.clone(), text.to_owned())),
            );
        }
    }
    commands
}

/// The plain words of a command line, whatever joins its parts.
fn words(command: &str) -> impl Iterator<Item = &str> {
    let joins = |letter: char| letter.is_whitespace() || "\\\"'`;&|()<>{}=$".contains(letter);
    command.split(joins).filter(|word| !word.is_empty())
}

struct Script {
    bytes: Vec<u8>,
    /// Whether it can be executed by itself.
    runs: bool,
}

/// A plain file that may be a script; links are not followed out of the tree.
fn script(path: &Path) -> Option<Script> {
    use std::os::unix::fs::PermissionsExt as _;
    let data = path.symlink_metadata().ok()?;
    if !data.is_file() || data.len() > SCRIPT_BYTES {
        return None;
    }
    let bytes = std::fs::read(path).ok()?;
    let runs = data.permissions().mode() & 0o111 != 0 || bytes.starts_with(b"#!");
    Some(Script { bytes, runs })
}

fn json(path: &Path) -> Option<serde_json::Value> {
    serde_json::from_str(&text(path)?).ok()
}

fn toml(path: &Path) -> Option<serde_json::Value> {
    let table: toml::Table = text(path)?.parse().ok()?;
    serde_json::to_value(table).ok()
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

    #[test]
    fn scripts_that_checks_run_are_told_and_their_data_is_not() {
        let files = [
            ("test.sh", "exit 1"),
            ("tools/lint.py", "pass"),
            ("state.txt", "good"),
            ("other.sh", "exit 1"),
            (
                "web/package.json",
                r#"{"scripts":{"test":"node --no-warnings check.js"}}"#,
            ),
            ("web/check.js", "a"),
        ];
        let base = tree(&files);
        let head = tree(&[
            ("state.txt", "bad"),
            ("test.sh", "true"),
            ("web/check.js", "b"),
        ]);
        let mut commands = vec![
            (PathBuf::new(), "cd . && sh -eu ./test.sh".to_owned()),
            (
                PathBuf::new(),
                "python3 tools/lint.py; grep good state.txt".to_owned(),
            ),
        ];
        commands.extend(package_scripts(base.path()));
        assert_eq!(
            scripts_changed(base.path(), head.path(), &commands),
            [
                "test.sh: a check runs it",
                "tools/lint.py: a check runs it",
                "web/check.js: a check runs it"
            ]
        );
        assert!(scripts_changed(base.path(), base.path(), &commands).is_empty());
    }

    #[test]
    fn settings_of_checks_are_told_and_others_are_not() {
        let base = tree(&[
            (
                "Cargo.toml",
                "[package]\nname='a'\nversion='1.0.0'\n[lints.rust]\nunused='deny'\n",
            ),
            (
                "web/package.json",
                r#"{"version":"1","scripts":{"test":"jest","start":"x"}}"#,
            ),
            ("src/a.rs", "a"),
        ]);
        let head = tree(&[
            ("Cargo.toml", "[package]\nname='a'\nversion='1.1.0'\n"),
            (
                "web/package.json",
                r#"{"version":"2","scripts":{"test":"true","start":"y"}}"#,
            ),
            ("src/a.rs", "b"),
            ("web/jest.config.js", "x"),
        ]);
        assert_eq!(
            changed(base.path(), head.path()),
            [
                "Cargo.toml: lints",
                "web/jest.config.js",
                "web/package.json: scripts.test"
            ]
        );
        assert!(changed(base.path(), base.path()).is_empty());
    }
}

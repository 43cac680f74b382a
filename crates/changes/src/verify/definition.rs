//! Whether a change touches what says how it is checked.
//!
//! Detection reads each revision's own manifests, so a change could turn `npm test` into `true`
//! and have every test pass. It still runs; but that the definition changed is a fact that the
//! gate sees, and such a change never passes by itself.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

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
pub(crate) fn changed(base: &Path, head: &Path) -> Vec<String> {
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

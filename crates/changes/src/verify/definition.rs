//! Whether a change touches what says how it is checked.
//!
//! Detection reads each revision's own manifests, so a change could turn `npm test` into `true`
//! and have every test pass. It still runs; but that the definition changed is a fact that the
//! gate sees, and such a change never passes by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::config::ProjectConfig;
use super::detect::{directories, text};

/// Files that are nothing but configuration of checks.
const WHOLE: &[&str] = &[
    ".cargo/config",
    ".cargo/config.toml",
    ".babelrc",
    ".c8rc.json",
    ".clippy.toml",
    ".coveragerc",
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
    ".nycrc",
    ".nycrc.json",
    ".pylintrc",
    ".ruff.toml",
    ".swcrc",
    ".taprc",
    "GNUmakefile",
    "Makefile",
    "babel.config.js",
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
    "tox.toml",
    "vitest.config.cjs",
    "vitest.config.js",
    "vitest.config.mjs",
    "vitest.config.ts",
];

/// Beginnings of the names of files that configure tools whose names have many endings.
const BEGINNINGS: &[&str] = &[
    "ava.config.",
    "cypress.config.",
    "jest.config.",
    "jest.setup.",
    "karma.conf.",
    "playwright.config.",
    "tsconfig.",
    "vitest.config.",
    "vitest.setup.",
    "vitest.workspace.",
];

/// Modules that a runner of Python tests imports: a file of such a name beside the tests stands in
/// for the real one.
const PYTHON_MODULES: &[&str] = &[
    "_pytest",
    "abc",
    "argparse",
    "ast",
    "asyncio",
    "atexit",
    "base64",
    "bdb",
    "bisect",
    "builtins",
    "calendar",
    "code",
    "codecs",
    "collections",
    "configparser",
    "contextlib",
    "copy",
    "copyreg",
    "coverage",
    "csv",
    "ctypes",
    "dataclasses",
    "datetime",
    "decimal",
    "difflib",
    "dis",
    "doctest",
    "email",
    "encodings",
    "enum",
    "errno",
    "exceptiongroup",
    "fnmatch",
    "fractions",
    "functools",
    "gc",
    "genericpath",
    "gettext",
    "getpass",
    "glob",
    "hashlib",
    "heapq",
    "hmac",
    "html",
    "http",
    "importlib",
    "iniconfig",
    "inspect",
    "io",
    "itertools",
    "json",
    "keyword",
    "linecache",
    "locale",
    "logging",
    "math",
    "mimetypes",
    "numbers",
    "opcode",
    "operator",
    "os",
    "packaging",
    "pathlib",
    "pdb",
    "pickle",
    "pkgutil",
    "platform",
    "pluggy",
    "posixpath",
    "pprint",
    "pygments",
    "pytest",
    "pytest_asyncio",
    "pytest_cov",
    "queue",
    "random",
    "re",
    "reprlib",
    "runpy",
    "select",
    "selectors",
    "shlex",
    "shutil",
    "signal",
    "site",
    "sitecustomize",
    "socket",
    "sre_compile",
    "sre_parse",
    "stat",
    "statistics",
    "string",
    "struct",
    "subprocess",
    "sys",
    "sysconfig",
    "tempfile",
    "textwrap",
    "threading",
    "time",
    "timeit",
    "token",
    "tokenize",
    "tomli",
    "tomllib",
    "traceback",
    "types",
    "typing",
    "typing_extensions",
    "unittest",
    "urllib",
    "usercustomize",
    "uuid",
    "warnings",
    "weakref",
    "xdist",
    "xml",
    "zipfile",
    "zipimport",
];

/// Members of manifests that say how checks run, beside their scripts.
const JSON_MEMBERS: &[&[&str]] = &[
    &["c8"],
    &["nyc"],
    &["tap"],
    &["vitest"],
    &["babel"],
    &["workspaces"],
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

/// Scripts of a `package.json` that its checks run, by whatever way, and that are not the same
/// any more.
fn scripts_replaced(before: &Path, after: &Path) -> BTreeSet<String> {
    let scripts = |root: &Path| -> BTreeMap<String, String> {
        let manifest = json(&root.join("package.json")).unwrap_or_default();
        let all = manifest
            .get("scripts")
            .and_then(serde_json::Value::as_object);
        let text = |(name, command): (&String, &serde_json::Value)| {
            Some((name.clone(), command.as_str()?.to_owned()))
        };
        all.into_iter().flatten().filter_map(text).collect()
    };
    if !before.join("package.json").is_file() || !after.join("package.json").is_file() {
        return BTreeSet::new();
    }
    let (before, after) = (scripts(before), scripts(after));
    // What either side's checks run: a script may come to be run by a new detour.
    let mut run = checked_scripts(&before);
    run.extend(checked_scripts(&after));
    run.retain(|name| before.get(name) != after.get(name));
    run
}

/// The scripts that a check runs: the tests', linters' and builders', and those that these name.
fn checked_scripts(scripts: &BTreeMap<String, String>) -> BTreeSet<String> {
    let mut found: BTreeSet<String> = BTreeSet::new();
    let mut open: Vec<String> = ["test", "lint", "build", "install", "prepare"]
        .map(str::to_owned)
        .to_vec();
    while let Some(name) = open.pop() {
        let around = [name.clone(), format!("pre{name}"), format!("post{name}")];
        for name in around {
            let Some(command) = scripts.get(&name) else {
                continue;
            };
            if found.insert(name) {
                for word in words(command) {
                    match word.strip_suffix('*') {
                        Some(start) if !start.is_empty() => {
                            let named = scripts.keys().filter(|name| name.starts_with(start));
                            open.extend(named.cloned());
                        }
                        _ => open.push(word.to_owned()),
                    }
                }
            }
        }
    }
    found
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

/// The command lines of the scripts that a `package.json` gives its checks and of the recipes of a
/// makefile, with their directory.
fn package_scripts(base: &Path) -> Vec<(PathBuf, String)> {
    let mut commands = Vec::new();
    for directory in directories(base) {
        let manifest = json(&base.join(&directory).join("package.json")).unwrap_or_default();
        let scripts = manifest
            .get("scripts")
            .and_then(serde_json::Value::as_object);
        let texts: BTreeMap<String, String> = scripts
            .into_iter()
            .flatten()
            .filter_map(|(name, command)| Some((name.clone(), command.as_str()?.to_owned())))
            .collect();
        let run = checked_scripts(&texts);
        let texts = texts.into_iter().filter(|(name, _)| run.contains(name));
        commands.extend(texts.map(|(_, text)| (directory.clone(), text)));
        for makefile in ["GNUmakefile", "Makefile", "makefile"] {
            let content = text(&base.join(&directory).join(makefile)).unwrap_or_default();
            let recipes = content.lines().filter(|line| line.starts_with('\t'));
            commands.extend(recipes.map(|line| (directory.clone(), line.to_owned())));
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

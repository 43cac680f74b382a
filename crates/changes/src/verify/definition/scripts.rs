//! Scripts that checks run: those of a `package.json`, of makefiles and of the repository's own
//! checks, followed through the scripts that they call.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::json;
use crate::verify::detect::{directories, text};

/// Scripts of a `package.json` that its checks run, by whatever way, and that are not the same
/// any more.
pub(super) fn scripts_replaced(before: &Path, after: &Path) -> BTreeSet<String> {
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
pub(super) fn scripts_changed(
    base: &Path,
    head: &Path,
    commands: &[(PathBuf, String)],
) -> Vec<String> {
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

/// The command lines of the scripts that a `package.json` gives its checks and of the recipes of a
/// makefile, with their directory.
pub(super) fn package_scripts(base: &Path) -> Vec<(PathBuf, String)> {
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

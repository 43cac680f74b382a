//! Node: the scripts of `package.json`, and its own test runner.

use std::path::Path;

use matrix_evidence::Kind;

use super::files::any_file;
use super::{NodeManager, Recipe, text};

/// What npm writes into a new `package.json`; it is not a test.
const NO_TEST: &str = "no test specified";
const SHELL_WORDS: &[char] = &[';', '|', '&', '<', '>', '`', '$', '(', ')', '\n'];

pub(super) fn checks(here: &Path) -> Vec<(Kind, Recipe)> {
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

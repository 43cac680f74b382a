//! Node packages: `npm ci` or `pnpm install` of what the lock file names, without any script.
//!
//! A library commonly has no lock file; then `npm install` resolves what `package.json` names, still
//! without any script, and the evidence says that nothing pins it.
//!
//! A member of a workspace is installed where the workspace is. Of each `package.json` the fetch
//! sees only what decides which packages come: a change of a script or of the version is no reason to
//! resolve anew what nothing pins. Where the change itself decides it differently, npm starts from the
//! versions that the base got.

mod workspace;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use matrix_sandbox::egress::Destination;
use matrix_sandbox::spec::{Access, Mount};
use serde_json::Value;

use super::fetch::{DEPENDENCIES, Fetch, Keep, Need, OURS};
use super::{Preparer, Provision, Ready, source};
use crate::verify::detect::{Ecosystem, own_files, text};
use matrix_sandbox::toolchain::Tool;

/// `before` is what the base's project in the same directory got.
pub(super) async fn need(
    preparer: &Preparer,
    tree: &Path,
    directory: &str,
    before: &Provision,
) -> Need {
    let root = workspace::install_root(tree, directory);
    let here = tree.join(&root);
    let pnpm = here.join("pnpm-lock.yaml").is_file();
    let locks: &[&str] = if pnpm {
        &["pnpm-lock.yaml"]
    } else {
        &["npm-shrinkwrap.json", "package-lock.json"]
    };
    let lock = locks.iter().find_map(|name| text(&here.join(name)));
    let wanted = match &lock {
        Some(lock) if pnpm => lock.lines().any(|line| line.trim_end() == "packages:"),
        Some(lock) => match serde_json::from_str::<Value>(lock) {
            Ok(lock) => foreign(&lock),
            Err(_) => {
                return Need::Cannot(String::from(
                    "package-lock.json is not understood; make it anew with npm",
                ));
            }
        },
        None => declares(&here),
    };
    // A member of a workspace needs the links to the others, too.
    if !wanted && (root == directory || !declares(&tree.join(directory))) {
        return Need::Nothing;
    }
    let pins = match &lock {
        Some(_) if pnpm => Pins::Pnpm,
        Some(_) => Pins::Npm,
        None if yarn_lock(&here) => Pins::Yarn,
        None => Pins::Nothing,
    };
    let tool = if pnpm {
        (Tool::Pnpm, "pnpm")
    } else {
        (Tool::Npm, "npm")
    };
    let there = preparer
        .toolchains
        .get(Ecosystem::Node)
        .is_some_and(|node| node.tools.contains(&tool.0));
    if !there {
        return Need::Cannot(format!(
            "fetching the dependencies needs {}, which was not found; install it beside node",
            tool.1
        ));
    }
    match Config::ask(preparer).await {
        Some(config) => {
            let mut fetch = fetch(preparer, tree, &root, pins, config);
            if pins == Pins::Nothing {
                advise(preparer, &mut fetch, before);
            }
            Need::Fetch(Box::new(fetch))
        }
        None => Need::Cannot(String::from(
            "npm did not say where it gets packages from; see `npm config list`",
        )),
    }
}

/// What says which versions are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pins {
    Npm,
    Pnpm,
    /// A `yarn.lock` of the first format, which npm takes as advice.
    Yarn,
    Nothing,
}

/// Whether there is a `yarn.lock` that npm understands.
fn yarn_lock(here: &Path) -> bool {
    text(&here.join("yarn.lock")).is_some_and(|lock| lock.contains("# yarn lockfile v1"))
}

impl Pins {
    fn command(self) -> &'static [&'static str] {
        match self {
            Self::Npm => &["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
            Self::Pnpm => &[
                "pnpm",
                "install",
                "--frozen-lockfile",
                "--ignore-scripts",
                "--ignore-pnpmfile",
                "--config.node-linker=hoisted",
                "--config.package-import-method=copy",
            ],
            // Yarn installs no peers by itself, so such a project may have peers that disagree.
            Self::Yarn => &[
                "npm",
                "install",
                "--ignore-scripts",
                "--no-audit",
                "--no-fund",
                "--legacy-peer-deps",
            ],
            Self::Nothing => &[
                "npm",
                "install",
                "--ignore-scripts",
                "--no-audit",
                "--no-fund",
            ],
        }
    }

    fn notes(self, here: &Path) -> Vec<String> {
        let note = match self {
            Self::Npm | Self::Pnpm => return Vec::new(),
            Self::Yarn => {
                "there is a yarn.lock and no lock file of npm or pnpm: npm took the versions from \
                 it as far as it understands it"
            }
            Self::Nothing if here.join("yarn.lock").is_file() => {
                "yarn.lock is of a format that npm does not read, so nothing pins the \
                 dependencies: npm took the versions that package.json allows; commit a \
                 package-lock.json beside it, so that what is checked is what is meant"
            }
            Self::Nothing => {
                "no lock file pins the dependencies: npm took the versions that package.json \
                 allows; commit a package-lock.json, so that what is checked is what is meant"
            }
        };
        vec![note.to_owned()]
    }
}

fn fetch(preparer: &Preparer, tree: &Path, directory: &str, pins: Pins, config: Config) -> Fetch {
    let mut files = BTreeMap::new();
    for path in own_files(tree) {
        let name = path.rsplit('/').next().unwrap_or(&path);
        let wanted = matches!(
            name,
            "package.json"
                | "package-lock.json"
                | "npm-shrinkwrap.json"
                | "pnpm-lock.yaml"
                | "pnpm-workspace.yaml"
        ) || (pins == Pins::Yarn && name == "yarn.lock");
        if let (true, Some(text)) = (wanted, text(&tree.join(&path))) {
            let own = Path::new(&path).parent() == Some(Path::new(directory));
            let text = if name == "package.json" {
                decisive(text, own)
            } else {
                text
            };
            files.insert(path, text.into_bytes());
        }
    }
    files.insert(format!("{OURS}/npmrc"), config.text.into_bytes());
    let ours = |name: &str| format!("/work/{OURS}/{name}");
    let mut env: BTreeMap<String, String> = [
        ("npm_config_userconfig", ours("npmrc")),
        ("npm_config_globalconfig", ours("none")),
        ("npm_config_offline", String::from("false")),
        ("npm_config_ignore_scripts", String::from("true")),
        ("npm_config_cache", ours("cache")),
        ("npm_config_store_dir", ours("store")),
        // The pnpm that is here, not another that the repository would have it fetch and run.
        (
            "npm_config_manage_package_manager_versions",
            String::from("false"),
        ),
        // Its logs would lie in a home that nobody reads.
        ("npm_config_logs_max", String::from("0")),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    let certificates = source::certificates(&preparer.search, config.certificates.as_deref());
    source::trust(certificates, &mut files, &mut env);
    Fetch {
        ecosystem: Ecosystem::Node,
        directory: directory.to_owned(),
        files,
        command: pins
            .command()
            .iter()
            .map(|word| (*word).to_owned())
            .collect(),
        env,
        hosts: source::destinations(config.hosts, &preparer.hosts),
        keep: Keep::Named("node_modules"),
        finish: |_, _, _| Ok(()),
        show,
        notes: pins.notes(&tree.join(directory)),
        what: DEPENDENCIES,
    }
}

/// Lets npm start from the versions that the base got. It takes a lock file that says less than the
/// manifest, or something else, as advice.
fn advise(preparer: &Preparer, fetch: &mut Fetch, before: &Provision) {
    let Provision::Ready(Ready { key: Some(key), .. }) = before else {
        return;
    };
    // The same requirements share what was fetched for the base.
    if *key == fetch.key(&preparer.toolchains) {
        return;
    }
    let kept = preparer.kept(*key).join(&fetch.directory);
    // npm writes there what it installed, in the form of its lock file.
    if let Some(lock) = text(&kept.join("node_modules/.package-lock.json")) {
        let path = Path::new(&fetch.directory).join("package-lock.json");
        let path = path.to_string_lossy().into_owned();
        fetch.files.insert(path, lock.into_bytes());
        fetch.notes.push(String::from(
            "where package.json allows it, the versions are those that the base was checked with",
        ));
    }
}

/// The members of a `package.json` that decide which packages come, and how they are linked.
const DECISIVE: &[&str] = &[
    "name",
    "workspaces",
    "dependencies",
    "devDependencies",
    "optionalDependencies",
    "peerDependencies",
    "peerDependenciesMeta",
    "bundleDependencies",
    "bundledDependencies",
    "dependenciesMeta",
    "overrides",
    "resolutions",
    "pnpm",
    "packageManager",
    "engines",
    "devEngines",
    "os",
    "cpu",
    "libc",
];
/// Those that decide it only for a package that others may need.
const DECISIVE_FOR_OTHERS: &[&str] = &["version", "bin", "directories", "publishConfig"];

/// A `package.json` without what does not decide which packages come; one that is not understood
/// stays as it is.
fn decisive(manifest: String, own: bool) -> String {
    let Ok(Value::Object(mut members)) = serde_json::from_str::<Value>(&manifest) else {
        return manifest;
    };
    members.retain(|name, _| {
        let name = &name.as_str();
        DECISIVE.contains(name) || (!own && DECISIVE_FOR_OTHERS.contains(name))
    });
    // In the order of names, whatever the order in the file.
    let members: BTreeMap<String, Value> = members.into_iter().collect();
    serde_json::to_string(&members).unwrap_or(manifest)
}

/// Whether a lock file of npm names a package that has to be fetched.
fn foreign(lock: &Value) -> bool {
    let packages = lock.get("packages").and_then(Value::as_object);
    let from_packages = packages.is_some_and(|packages| {
        packages.iter().any(|(path, package)| {
            path.contains("node_modules/") && package.get("link") != Some(&Value::Bool(true))
        })
    });
    let dependencies = lock.get("dependencies").and_then(Value::as_object);
    from_packages || (packages.is_none() && dependencies.is_some_and(|all| !all.is_empty()))
}

/// Whether a manifest without lock file names dependencies.
fn declares(here: &Path) -> bool {
    let manifest = text(&here.join("package.json"))
        .and_then(|text| serde_json::from_str::<Value>(&text).ok())
        .unwrap_or_default();
    ["dependencies", "devDependencies", "optionalDependencies"]
        .iter()
        .any(|name| {
            manifest
                .get(name)
                .and_then(Value::as_object)
                .is_some_and(|all| !all.is_empty())
        })
}

/// What is taken of the user's npm configuration.
struct Config {
    text: String,
    hosts: BTreeSet<Destination>,
    certificates: Option<String>,
}

impl Config {
    async fn ask(preparer: &Preparer) -> Option<Self> {
        let npm = preparer.search.program("npm")?;
        let answer = preparer
            .search
            .ask(&npm, &["config", "list", "--json"])
            .await?;
        let answer: Value = serde_json::from_str(&answer).ok()?;
        let mut config = Self {
            text: String::new(),
            hosts: BTreeSet::new(),
            certificates: answer
                .get("cafile")
                .and_then(Value::as_str)
                .map(str::to_owned),
        };
        for (key, value) in answer.as_object()? {
            let names_registry =
                key == "registry" || (key.starts_with('@') && key.ends_with(":registry"));
            let Some(value) = value.as_str().filter(|_| names_registry) else {
                continue;
            };
            let (clean, destination) = source::cleaned(value)?;
            config.hosts.insert(destination);
            let _ = writeln!(config.text, "{key}={clean}");
        }
        (!config.hosts.is_empty()).then_some(config)
    }
}

/// Every `node_modules` stands where the packages expect it.
fn show(fetch: &Fetch, kept: &Path) -> Ready {
    let mut ready = Ready::default();
    let mut waiting = vec![kept.to_owned()];
    while let Some(directory) = waiting.pop() {
        let Ok(entries) = std::fs::read_dir(&directory) else {
            continue;
        };
        for entry in entries.flatten() {
            let path = entry.path();
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            if entry.file_name() != "node_modules" {
                waiting.push(path);
                continue;
            }
            if let Ok(relative) = path.strip_prefix(kept) {
                ready.mounts.push(Mount {
                    source: path.clone(),
                    target: Path::new("/work").join(relative),
                    access: Access::ReadOnly,
                });
            }
        }
    }
    ready.mounts.sort_by(|a, b| a.target.cmp(&b.target));
    let programs = Path::new("/work")
        .join(&fetch.directory)
        .join("node_modules/.bin");
    ready.path.push(programs);
    ready
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_what_decides_the_packages_is_seen_of_a_manifest() {
        let manifest = |version: &str, script: &str, range: &str| {
            json!({
                "scripts": {"test": script}, "version": version, "name": "ledger",
                "devDependencies": {"x": range}, "overrides": {"y": "1"},
            })
            .to_string()
        };
        let seen = |version, script, range| decisive(manifest(version, script, range), true);
        assert_eq!(
            seen("1.0.0", "node --test", "^1"),
            r#"{"devDependencies":{"x":"^1"},"name":"ledger","overrides":{"y":"1"}}"#
        );
        assert_eq!(seen("1.0.0", "a", "^1"), seen("2.0.0", "b", "^1"));
        assert_ne!(seen("1.0.0", "a", "^1"), seen("1.0.0", "a", "^2"));
        // Another package may need this one in a certain version.
        assert_ne!(
            decisive(manifest("1.0.0", "a", "^1"), false),
            decisive(manifest("2.0.0", "a", "^1"), false)
        );
        assert_eq!(decisive(String::from("[1"), true), "[1");
    }

    #[test]
    fn only_packages_from_elsewhere_are_needed() {
        assert!(!foreign(
            &json!({"packages": {"": {}, "node_modules/own": {"link": true}}})
        ));
        assert!(foreign(
            &json!({"packages": {"node_modules/x": {"version": "1.0.0"}}})
        ));
        assert!(foreign(&json!({"dependencies": {"x": {}}})));
        assert!(!foreign(&json!({"packages": {"": {}}, "dependencies": {}})));
    }
}

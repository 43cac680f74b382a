//! Python packages: wheels only, from what a lock file pins or a manifest names.
//!
//! A requirements file can hold options and paths that make pip execute code or ask other hosts,
//! so it is never handed to pip: each line that is a plain requirement is written anew, every
//! other one is left out.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::sync::LazyLock;

use matrix_evidence::lockfile::{self, Ecosystem as Registry, Origin};
use matrix_sandbox::egress::Destination;
use regex::Regex;

use super::fetch::{Fetch, Keep, Need, OURS};
use super::{Preparer, Ready, source};
use crate::verify::detect::{Ecosystem, text};
use crate::verify::toolchain::Tool;

/// Groups of a manifest that tests and linters are declared in.
const GROUPS: &[&str] = &["dev", "test", "tests", "testing", "lint"];

pub(super) async fn need(preparer: &Preparer, tree: &Path, directory: &str) -> Need {
    let here = tree.join(directory);
    let (requirements, complete) = match locked(&here) {
        Some(locked) => (locked, true),
        None => (declared(&here), false),
    };
    if requirements.is_empty() {
        return Need::Nothing;
    }
    let Some(python) = preparer.toolchains.get(Ecosystem::Python) else {
        return Need::Nothing;
    };
    if !python.tools.contains(&Tool::Pip) {
        return Need::Cannot(String::from(
            "there are dependencies but python3 has no pip; install it with the system's package \
             manager",
        ));
    }
    let Some(config) = Config::ask(preparer, &python.program).await else {
        return Need::Cannot(String::from(
            "pip did not say where it gets packages from; see `pip config list`",
        ));
    };
    let mut files = BTreeMap::new();
    let list: Vec<&str> = requirements.iter().map(String::as_str).collect();
    files.insert(
        format!("{OURS}/requirements.txt"),
        list.join("\n").into_bytes(),
    );
    files.insert(format!("{OURS}/pip.conf"), config.text.into_bytes());
    let ours = |name: &str| format!("/work/{OURS}/{name}");
    let mut env: BTreeMap<String, String> = [
        ("PIP_CONFIG_FILE", ours("pip.conf")),
        ("PIP_NO_INDEX", String::from("0")),
        ("PIP_NO_INPUT", String::from("1")),
        ("PIP_CACHE_DIR", ours("cache")),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    let certificates = source::certificates(&preparer.search, config.certificates.as_deref());
    source::trust(certificates, &mut files, &mut env);
    let (target, list) = (ours("site"), ours("requirements.txt"));
    let mut command = vec![
        "python3",
        "-m",
        "pip",
        "install",
        "--only-binary=:all:",
        "--no-compile",
        "--target",
        &target,
        "-r",
        &list,
    ];
    if complete {
        command.push("--no-deps");
    }
    Need::Fetch(Box::new(Fetch {
        ecosystem: Ecosystem::Python,
        directory: directory.to_owned(),
        files,
        command: command.into_iter().map(str::to_owned).collect(),
        env,
        hosts: source::destinations(config.hosts, &preparer.hosts),
        keep: Keep::Paths(vec![format!("{OURS}/site")]),
        finish: |_, _, _| Ok(()),
        show,
    }))
}

/// Requirements with digests from a complete lock file.
fn locked(here: &Path) -> Option<Vec<String>> {
    let (name, text) = ["uv.lock", "poetry.lock"]
        .iter()
        .find_map(|name| Some((*name, text(&here.join(name))?)))?;
    let inventory = lockfile::read([(name, text.as_bytes())]);
    let mut lines = Vec::new();
    for component in inventory.third_party() {
        if component.ecosystem != Registry::Pypi || component.origin != Origin::Registry {
            continue;
        }
        let mut line = format!("{}=={}", component.name, component.version);
        for hash in component
            .hashes
            .iter()
            .filter(|hash| hash.algorithm == "SHA-256")
        {
            let _ = write!(line, " --hash=sha256:{}", hash.hex);
        }
        lines.push(line);
    }
    Some(lines)
}

/// Requirements that the manifests name.
fn declared(here: &Path) -> Vec<String> {
    let mut lines = BTreeSet::new();
    for name in [
        "requirements.txt",
        "requirements-dev.txt",
        "dev-requirements.txt",
        "requirements-test.txt",
        "test-requirements.txt",
    ] {
        let text = text(&here.join(name))
            .unwrap_or_default()
            .replace("\\\n", " ");
        lines.extend(text.lines().filter_map(plain));
    }
    let project = text(&here.join("pyproject.toml"))
        .and_then(|text| text.parse::<toml::Table>().ok())
        .unwrap_or_default();
    let list = |value: Option<&toml::Value>| -> Vec<String> {
        let items = value.and_then(toml::Value::as_array).into_iter().flatten();
        items.filter_map(|item| plain(item.as_str()?)).collect()
    };
    let part = project.get("project");
    lines.extend(list(part.and_then(|project| project.get("dependencies"))));
    for group in GROUPS {
        let optional = part.and_then(|project| project.get("optional-dependencies")?.get(group));
        lines.extend(list(optional));
        lines.extend(list(
            project
                .get("dependency-groups")
                .and_then(|groups| groups.get(group)),
        ));
    }
    lines.into_iter().collect()
}

static PLAIN: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(
        r#"^(?P<r>[A-Za-z0-9][A-Za-z0-9._-]*\s*(?:\[[A-Za-z0-9._,\s-]*\])?\s*(?:\(?\s*(?:[<>=!~]=?=?\s*[A-Za-z0-9.*+!_-]+\s*,?\s*)+\)?)?(?:;[A-Za-z0-9_.'"<>=!~()\s-]+)?)(?P<h>(?:\s+--hash=sha(?:256|384|512):[0-9a-f]+)*)$"#,
    )
    .ok()
});

/// A line that names a package of the index and nothing else.
fn plain(line: &str) -> Option<String> {
    let line = line.split(" #").next().unwrap_or(line).trim();
    let captures = PLAIN.as_ref()?.captures(line)?;
    let requirement = captures.name("r")?.as_str().trim();
    let hashes = captures.name("h").map_or("", |hashes| hashes.as_str());
    Some(format!("{requirement}{hashes}"))
}

/// What is taken of the user's pip configuration.
struct Config {
    text: String,
    hosts: BTreeSet<Destination>,
    certificates: Option<String>,
}

/// Where pip goes when nothing is configured, as pip itself has it.
const DEFAULTS: &str = "from pip._internal.models.index import PyPI as p; \
    print(p.simple_url); print(p.file_storage_domain)";

impl Config {
    async fn ask(preparer: &Preparer, python: &Path) -> Option<Self> {
        let search = &preparer.search;
        let listed = search.ask(python, &["-m", "pip", "config", "list"]).await?;
        let (mut index, mut extra, mut certificates) = (None, Vec::new(), None);
        for line in listed.lines() {
            let Some((key, value)) = line.split_once('=') else {
                continue;
            };
            let value = value.trim_matches(['\'', '"']);
            // What the environment says stands above what a file says.
            let above = key.starts_with(":env:");
            match key.rsplit('.').next() {
                Some("index-url") if above || index.is_none() => index = Some(value.to_owned()),
                Some("extra-index-url") => {
                    let parts = value.split("\\n").flat_map(str::split_whitespace);
                    extra.extend(parts.map(str::to_owned));
                }
                Some("cert") if above || certificates.is_none() => {
                    certificates = Some(value.to_owned());
                }
                _ => {}
            }
        }
        let mut config = Self {
            text: String::from("[global]\n"),
            hosts: BTreeSet::new(),
            certificates,
        };
        if let Some(index) = index {
            // An index that is no address of the network is not replaced by the public one.
            let (clean, destination) = source::cleaned(&index)?;
            config.hosts.insert(destination);
            let _ = writeln!(config.text, "index-url = {clean}");
        } else {
            let defaults = search.ask(python, &["-I", "-c", DEFAULTS]).await?;
            let mut lines = defaults.lines();
            config.hosts.insert(source::cleaned(lines.next()?)?.1);
            config.hosts.insert(Destination::new(lines.next()?, 443));
        }
        let mut more = Vec::new();
        for (clean, destination) in extra.iter().filter_map(|address| source::cleaned(address)) {
            config.hosts.insert(destination);
            more.push(clean);
        }
        if !more.is_empty() {
            let _ = writeln!(config.text, "extra-index-url = {}", more.join(" "));
        }
        Some(config)
    }
}

fn show(fetch: &Fetch, kept: &Path) -> Ready {
    let site = fetch.target().join(OURS).join("site");
    let mut mount = fetch.mount(kept);
    // Its source is the packages' own directory, so that a module can be looked for on the host.
    mount.source = kept.join(OURS).join("site");
    mount.target.clone_from(&site);
    Ready {
        mounts: vec![mount],
        path: vec![site.join("bin")],
        env: [(
            String::from("PYTHONPATH"),
            site.to_string_lossy().into_owned(),
        )]
        .into(),
        ..Ready::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_requirements_reach_pip() {
        for (line, expected) in [
            ("requests", Some("requests")),
            (
                "requests[socks] >=2.0, <3  # comment",
                Some("requests[socks] >=2.0, <3"),
            ),
            (
                "a==1.0 ; python_version < '3.9'",
                Some("a==1.0 ; python_version < '3.9'"),
            ),
            (
                "a==1.0 --hash=sha256:00ff",
                Some("a==1.0 --hash=sha256:00ff"),
            ),
            ("--index-url https://evil.test", None),
            ("-e .", None),
            ("./local", None),
            ("a @ https://evil.test/a.whl", None),
            ("git+https://evil.test/a", None),
            ("-r other.txt", None),
            ("a --config-settings=x", None),
            ("# nothing", None),
            ("", None),
        ] {
            assert_eq!(plain(line).as_deref(), expected, "{line}");
        }
    }

    #[test]
    fn manifests_name_what_tests_need() {
        let root = tempfile::tempdir().unwrap();
        let text = "[project]\ndependencies = ['a>=1']\n[project.optional-dependencies]\ntest = ['pytest']\ndocs = ['sphinx']\n[dependency-groups]\ndev = ['ruff', {include-group = 'x'}]\n";
        std::fs::write(root.path().join("pyproject.toml"), text).unwrap();
        assert_eq!(declared(root.path()), ["a>=1", "pytest", "ruff"]);
    }
}

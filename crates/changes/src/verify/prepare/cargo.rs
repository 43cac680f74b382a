//! Crates: `cargo vendor` of what `Cargo.lock` names.
//!
//! Where the host's own cargo has downloaded every crate already, nothing is fetched: each file is
//! checked against the lock file's digest and cargo runs without network.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use matrix_core::Digest;
use matrix_sandbox::egress::Destination;

use super::fetch::{DEPENDENCIES, Fetch, Keep, Need, OURS};
use super::{Crates, Preparer, Ready, source};
use crate::verify::command::{inside_work, quoted};
use crate::verify::detect::{Ecosystem, own_files, text};

const MAX_CRATE: u64 = 256 << 20;
/// What is held in memory of the host's own copies; beyond it crates are fetched.
const MAX_CRATES: u64 = 512 << 20;

const UNPINNED: &str = "no Cargo.lock pins the crates: both sides were checked with the versions \
    that cargo chose when they were first fetched";

pub(super) fn need(preparer: &Preparer, tree: &Path, directory: &str) -> Need {
    let here = tree.join(directory);
    if vendored(&here) {
        return Need::Nothing;
    }
    let locked = match text(&here.join("Cargo.lock")) {
        Some(lock) => match packages(&lock) {
            Some(packages) if packages.is_empty() => return Need::Nothing,
            Some(packages) => Some(packages),
            None => {
                return Need::Cannot(String::from(
                    "Cargo.lock is not understood; make it anew with cargo",
                ));
            }
        },
        None if needs_foreign(tree, directory) => None,
        None => return Need::Nothing,
    };
    let mut files = manifests(tree);
    let mut env = BTreeMap::new();
    let home = format!("/work/{OURS}/cargo-home");
    env.insert(String::from("CARGO_HOME"), home);
    let mut options = vec!["--versioned-dirs"];
    if locked.is_some() {
        options.push("--locked");
    }
    let mut hosts = BTreeSet::new();
    let at_hand = locked
        .as_ref()
        .and_then(|packages| downloaded(preparer, packages));
    if let Some(found) = at_hand {
        files.extend(found);
        options.push("--offline");
    } else {
        let config = Config::read(preparer);
        hosts = source::destinations(config.hosts.clone(), &preparer.hosts);
        if hosts.is_empty() {
            return Need::Cannot(String::from(
                "it is not known where cargo gets crates from; use cargo once on this machine, or \
                 name the hosts in the operator's configuration",
            ));
        }
        if config.replaced {
            options.push("--respect-source-config");
        }
        files.insert(
            format!("{OURS}/cargo-home/config.toml"),
            config.text.into_bytes(),
        );
        let certificates = source::certificates(&preparer.search, config.certificates.as_deref());
        source::trust(certificates, &mut files, &mut env);
        env.insert(String::from("CARGO_NET_OFFLINE"), String::from("false"));
    }
    Need::Fetch(Box::new(Fetch {
        ecosystem: Ecosystem::Cargo,
        directory: directory.to_owned(),
        files,
        command: vec!["sh".into(), "-euc".into(), vendor(&options)],
        env,
        hosts,
        keep: Keep::Paths(vec![format!("{OURS}/vendor"), format!("{OURS}/lock")]),
        finish,
        show,
        notes: locked.map_or_else(|| vec![UNPINNED.to_owned()], |_| Vec::new()),
        what: DEPENDENCIES,
    }))
}

/// Vendors what the lock file names and keeps the lock file: a library that has none gets the one
/// that cargo makes now, and both sides of a change are checked with it.
fn vendor(options: &[&str]) -> String {
    format!(
        "cargo vendor {} /work/{OURS}/vendor
         mkdir -p /work/{OURS}/lock
         cp Cargo.lock /work/{OURS}/lock/Cargo.lock",
        options.join(" ")
    )
}

/// Whether the repository brings its crates itself.
fn vendored(here: &Path) -> bool {
    [".cargo/config.toml", ".cargo/config"].iter().any(|name| {
        text(&here.join(name))
            .and_then(|text| text.parse::<toml::Table>().ok())
            .and_then(|table| table.get("source").cloned())
            .and_then(|sources| sources.as_table().cloned())
            .is_some_and(|sources| {
                sources
                    .values()
                    .any(|source| source.get("directory").is_some())
            })
    })
}

/// Whether a project without a lock file has dependencies from elsewhere.
fn needs_foreign(tree: &Path, directory: &str) -> bool {
    own_files(tree)
        .iter()
        .filter(|path| path.ends_with("Cargo.toml") && Path::new(path).starts_with(directory))
        .filter_map(|path| text(&tree.join(path))?.parse::<toml::Table>().ok())
        .any(|manifest| has_foreign(&manifest))
}

fn has_foreign(table: &toml::Table) -> bool {
    table.iter().any(|(key, value)| {
        let Some(inner) = value.as_table() else {
            return false;
        };
        if key.ends_with("dependencies") {
            inner.values().any(|dependency| match dependency {
                toml::Value::Table(dependency) => {
                    !dependency.contains_key("path") && !dependency.contains_key("workspace")
                }
                _ => true,
            })
        } else {
            has_foreign(inner)
        }
    })
}

struct Package {
    name: String,
    version: String,
    registry: bool,
    checksum: Option<String>,
}

/// The packages of a lock file that come from elsewhere.
fn packages(lock: &str) -> Option<Vec<Package>> {
    let table: toml::Table = lock.parse().ok()?;
    let Some(packages) = table.get("package") else {
        return Some(Vec::new());
    };
    let text = |package: &toml::Value, key: &str| {
        package
            .get(key)
            .and_then(toml::Value::as_str)
            .map(str::to_owned)
    };
    packages
        .as_array()?
        .iter()
        .filter(|package| package.get("source").is_some())
        .map(|package| {
            let source = text(package, "source")?;
            Some(Package {
                name: text(package, "name")?,
                version: text(package, "version")?,
                registry: source.starts_with("registry+") || source.starts_with("sparse+"),
                checksum: text(package, "checksum"),
            })
        })
        .collect()
}

/// Manifests and lock files as they are; sources as empty files, because cargo looks for targets.
fn manifests(tree: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for path in own_files(tree) {
        let name = path.rsplit('/').next().unwrap_or(&path);
        if matches!(name, "Cargo.toml" | "Cargo.lock") {
            if let Some(text) = text(&tree.join(&path)) {
                files.insert(path, text.into_bytes());
            }
        } else if Path::new(name)
            .extension()
            .is_some_and(|extension| extension == "rs")
        {
            files.insert(path, Vec::new());
        }
    }
    files
}

fn cargo_home(preparer: &Preparer) -> Option<PathBuf> {
    let env = &preparer.search.env;
    env.get("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(Path::new(env.get("HOME")?).join(".cargo")))
}

/// The host's own copies of every package, if all are there and have the lock file's digests,
/// laid out as cargo keeps them.
fn downloaded(preparer: &Preparer, packages: &[Package]) -> Option<BTreeMap<String, Vec<u8>>> {
    let registry = cargo_home(preparer)?.join("registry");
    let mut files = BTreeMap::new();
    let mut room = MAX_CRATES;
    for package in packages {
        let checksum = package.checksum.as_ref().filter(|_| package.registry)?;
        let plain = |text: &str| !text.is_empty() && !text.contains(['/', '\\']) && text != "..";
        if !plain(&package.name) || !plain(&package.version) {
            return None;
        }
        let file = format!("{}-{}.crate", package.name, package.version);
        let mut found = None;
        for index in std::fs::read_dir(registry.join("cache")).ok()?.flatten() {
            let path = index.path().join(&file);
            let length = std::fs::metadata(&path).map_or(u64::MAX, |metadata| metadata.len());
            if length > MAX_CRATE.min(room) {
                continue;
            }
            let bytes = std::fs::read(&path).ok()?;
            if Digest::of(&bytes).to_string() == *checksum {
                room -= length;
                found = Some((index.file_name().to_str()?.to_owned(), bytes));
                break;
            }
        }
        let (index, bytes) = found?;
        let entry = format!("index/{index}/.cache/{}", index_path(&package.name));
        let config = format!("index/{index}/config.json");
        let prefix = format!("{OURS}/cargo-home/registry");
        files.insert(
            format!("{prefix}/{entry}"),
            std::fs::read(registry.join(&entry)).ok()?,
        );
        files.insert(
            format!("{prefix}/{config}"),
            std::fs::read(registry.join(&config)).ok()?,
        );
        files.insert(format!("{prefix}/cache/{index}/{file}"), bytes);
    }
    Some(files)
}

/// Where an index keeps a crate: by the first letters of its name, in lower case.
fn index_path(name: &str) -> String {
    let name = name.to_lowercase();
    let part = |from: usize, to: usize| name.get(from..to).unwrap_or_default().to_owned();
    match name.len() {
        1 => format!("1/{name}"),
        2 => format!("2/{name}"),
        3 => format!("3/{}/{name}", part(0, 1)),
        _ => format!("{}/{}/{name}", part(0, 2), part(2, 4)),
    }
}

/// What is taken of the user's cargo configuration.
#[derive(Default)]
struct Config {
    text: String,
    hosts: BTreeSet<Destination>,
    replaced: bool,
    certificates: Option<String>,
}

impl Config {
    fn read(preparer: &Preparer) -> Self {
        let mut config = Self::default();
        let Some(home) = cargo_home(preparer) else {
            return config;
        };
        let table = ["config.toml", "config"]
            .iter()
            .find_map(|name| std::fs::read_to_string(home.join(name)).ok())
            .and_then(|text| text.parse::<toml::Table>().ok())
            .unwrap_or_default();
        let mut kept = toml::Table::new();
        for (section, members) in [
            ("source", ["registry", "replace-with"].as_slice()),
            ("registries", ["index", "protocol"].as_slice()),
        ] {
            let Some(sources) = table.get(section).and_then(toml::Value::as_table) else {
                continue;
            };
            let mut section_kept = toml::Table::new();
            for (name, source) in sources {
                section_kept.insert(name.clone(), config.clean(source, members).into());
            }
            kept.insert(section.to_owned(), section_kept.into());
        }
        config.certificates = table
            .get("http")
            .and_then(|http| http.get("cainfo"))
            .and_then(toml::Value::as_str)
            .map(str::to_owned);
        config.text = toml::to_string(&kept).unwrap_or_default();
        config.hosts.extend(indexes(&home));
        config
    }

    fn clean(&mut self, source: &toml::Value, members: &[&str]) -> toml::Table {
        let mut kept = toml::Table::new();
        for member in members {
            let Some(value) = source.get(member).and_then(toml::Value::as_str) else {
                continue;
            };
            self.replaced |= *member == "replace-with";
            match source::cleaned(value) {
                Some((clean, destination)) => {
                    self.hosts.insert(destination);
                    let sparse = if value.starts_with("sparse+") {
                        "sparse+"
                    } else {
                        ""
                    };
                    kept.insert((*member).to_owned(), format!("{sparse}{clean}").into());
                }
                None if !value.contains("://") => {
                    kept.insert((*member).to_owned(), value.into());
                }
                None => {}
            }
        }
        kept
    }
}

/// Where the host's cargo got its indexes and crates from: the folders of its indexes are named
/// after their hosts, and each says where its crates lie.
fn indexes(home: &Path) -> BTreeSet<Destination> {
    let mut hosts = BTreeSet::new();
    let Ok(entries) = std::fs::read_dir(home.join("registry/index")) else {
        return hosts;
    };
    for entry in entries.flatten() {
        let Some(name) = entry.file_name().to_str().map(str::to_owned) else {
            continue;
        };
        if let Some((host, _)) = name.rsplit_once('-') {
            hosts.insert(Destination::new(host, 443));
        }
        let says = std::fs::read(entry.path().join("config.json"))
            .ok()
            .and_then(|bytes| serde_json::from_slice::<serde_json::Value>(&bytes).ok())
            .and_then(|config| source::cleaned(config.get("dl")?.as_str()?));
        hosts.extend(says.map(|(_, destination)| destination));
    }
    hosts
}

/// Writes the configuration that makes cargo take its crates from the vendored directory.
fn finish(fetch: &Fetch, stdout: &str, kept: &Path) -> Result<(), String> {
    let mut table: toml::Table = stdout
        .parse()
        .map_err(|error| format!("what cargo vendor printed is not understood: {error}"))?;
    let inside = fetch.target().join(OURS).join("vendor");
    let sources = table.get_mut("source").and_then(toml::Value::as_table_mut);
    for source in sources.into_iter().flat_map(|sources| sources.iter_mut()) {
        if let Some(directory) = source
            .1
            .as_table_mut()
            .and_then(|table| table.get_mut("directory"))
        {
            *directory = inside.to_string_lossy().into_owned().into();
        }
    }
    let text = toml::to_string(&table).map_err(|error| error.to_string())?;
    std::fs::write(kept.join("config.toml"), text).map_err(|error| error.to_string())
}

fn show(fetch: &Fetch, kept: &Path) -> Ready {
    let ours = fetch.target().join(OURS);
    let lock = inside_work(&fetch.directory).join("Cargo.lock");
    let (kept_lock, lock) = (
        ours.join("lock/Cargo.lock"),
        quoted(&lock.to_string_lossy()),
    );
    Ready {
        mounts: vec![fetch.mount(kept)],
        setup: Some(format!(
            "{{ [ -e {lock} ] || cp {} {lock}; }}",
            quoted(&kept_lock.to_string_lossy())
        )),
        crates: Some(Crates {
            config: kept.join("config.toml"),
            directory: ours.join("vendor"),
        }),
        ..Ready::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_packages_from_elsewhere_are_needed() {
        let lock = "version = 4\n[[package]]\nname = \"own\"\nversion = \"1.0.0\"\n\n[[package]]\nname = \"far\"\nversion = \"2.0.0\"\nsource = \"registry+https://index.test\"\nchecksum = \"00\"\n";
        let packages = packages(lock).unwrap();
        assert_eq!(packages.len(), 1);
        assert_eq!(packages[0].name, "far");
        assert!(packages[0].registry);
        assert!(super::packages("not toml [").is_none());
    }

    #[test]
    fn manifests_alone_tell_foreign_crates() {
        let foreign = |text: &str| has_foreign(&text.parse().unwrap());
        assert!(foreign("[dependencies]\nserde = \"1\""));
        assert!(foreign(
            "[target.'cfg(unix)'.dev-dependencies]\nlibc = { version = \"1\" }"
        ));
        assert!(!foreign(
            "[dependencies]\na = { path = \"../a\" }\nb = { workspace = true }"
        ));
    }

    #[test]
    fn the_index_path_is_by_first_letters() {
        for (name, path) in [
            ("a", "1/a"),
            ("ab", "2/ab"),
            ("abc", "3/a/abc"),
            ("Serde", "se/rd/serde"),
        ] {
            assert_eq!(index_path(name), path);
        }
    }
}

//! `pnpm-lock.yaml`, lock-file versions 5, 6 and 9.
//!
//! Version 5 has keys `/name/1.0.0_peer@2.0.0`. Version 6 has one entry `/name@1.0.0(peer@2.0.0)`
//! for each package; version 9 splits it into `packages` (what it is) and `snapshots` (what it
//! depends on), without the slash.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::{Component, Ecosystem, HashValue, Origin, Parsed};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Lock {
    lockfile_version: serde_json::Value,
    #[serde(default)]
    packages: BTreeMap<String, Package>,
    #[serde(default)]
    snapshots: BTreeMap<String, Snapshot>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Package {
    resolution: Resolution,
    name: Option<String>,
    version: Option<String>,
    dependencies: BTreeMap<String, String>,
    optional_dependencies: BTreeMap<String, String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Resolution {
    integrity: Option<String>,
    tarball: Option<String>,
    repo: Option<String>,
    directory: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Snapshot {
    dependencies: BTreeMap<String, String>,
    optional_dependencies: BTreeMap<String, String>,
}

pub(super) fn parse(text: &str) -> Result<Parsed, String> {
    let mut options = serde_saphyr::Options::default();
    if let Some(budget) = &mut options.budget {
        // Names of packages with many peers are long keys.
        budget.simple_key_max_lookahead = 64 * 1024;
        budget.max_events = 10_000_000;
    }
    let lock: Lock = serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        error
            .to_string()
            .lines()
            .next()
            .unwrap_or_default()
            .to_owned()
    })?;
    // A number up to version 5, a text since.
    let version = match &lock.lockfile_version {
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let major = version.split('.').next().unwrap_or_default();
    if !matches!(major, "5" | "6" | "9") {
        return Err(format!(
            "lock file version {} is not read, only 5, 6 and 9",
            version.chars().take(20).collect::<String>()
        ));
    }
    let lock = if major == "5" { modern(lock) } else { lock };
    let mut notes = Vec::new();
    let mut components: BTreeMap<String, Component> = BTreeMap::new();
    for (key, package) in &lock.packages {
        match component(key, package) {
            Some(component) => {
                let plain = plain_key(key).to_owned();
                components.entry(plain).or_insert(component);
            }
            None => notes.push(format!("package `{key}` has no name and version")),
        }
    }
    let purls: BTreeMap<String, String> = components
        .iter()
        .map(|(key, component)| (key.clone(), component.purl.clone()))
        .collect();
    let from_packages = lock
        .packages
        .iter()
        .map(|(key, package)| (key, &package.dependencies, &package.optional_dependencies));
    let from_snapshots = lock
        .snapshots
        .iter()
        .map(|(key, snapshot)| (key, &snapshot.dependencies, &snapshot.optional_dependencies));
    for (key, dependencies, optional) in from_packages.chain(from_snapshots) {
        if let Some(component) = components.get_mut(plain_key(key)) {
            let found: BTreeSet<String> = dependencies
                .iter()
                .chain(optional)
                .filter_map(|(name, version)| find(name, version, &purls))
                .collect();
            component.dependencies.extend(found);
        }
    }
    Ok(Parsed {
        components: components.into_values().collect(),
        notes,
    })
}

/// A lock file of version 5 with keys of version 6.
fn modern(mut lock: Lock) -> Lock {
    let packages = std::mem::take(&mut lock.packages);
    for (key, mut package) in packages {
        for references in [
            &mut package.dependencies,
            &mut package.optional_dependencies,
        ] {
            for reference in references.values_mut() {
                *reference = if reference.starts_with('/') {
                    modern_key(reference)
                } else {
                    without_peers(reference).to_owned()
                };
            }
        }
        lock.packages.insert(modern_key(&key), package);
    }
    lock
}

/// `/@scope/name/1.0.0_peer@2.0.0` as `/@scope/name@1.0.0`; other keys, such as addresses, stay.
fn modern_key(key: &str) -> String {
    match key.strip_prefix('/').and_then(|rest| rest.rsplit_once('/')) {
        Some((name, version)) if !name.is_empty() => {
            format!("/{name}@{}", without_peers(version))
        }
        _ => key.to_owned(),
    }
}

fn without_peers(version: &str) -> &str {
    version.split('_').next().unwrap_or(version)
}

/// The key without leading slash and without the peers in parentheses.
fn plain_key(key: &str) -> &str {
    let key = key.strip_prefix('/').unwrap_or(key);
    key.split('(').next().unwrap_or(key)
}

/// `@scope/name@1.0.0` at its last `@`, but not at the first character.
fn split_key(key: &str) -> Option<(&str, &str)> {
    let at = key.get(1..)?.find('@')? + 1;
    Some((&key[..at], &key[at + 1..]))
}

fn component(key: &str, package: &Package) -> Option<Component> {
    let split = split_key(plain_key(key));
    let name = package.name.as_deref().or(split.map(|(name, _)| name))?;
    let version = package
        .version
        .as_deref()
        .or(split.map(|(_, version)| version))?;
    let resolution = &package.resolution;
    let origin = if let Some(repo) = &resolution.repo {
        Origin::Git(repo.clone())
    } else if resolution.directory.is_some() || version.starts_with("file:") {
        Origin::Local
    } else if let (Some(url), None) = (&resolution.tarball, &resolution.integrity) {
        Origin::Url(url.clone())
    } else {
        Origin::Registry
    };
    let mut component = Component::new(Ecosystem::Npm, name, version, origin);
    let integrity = resolution.integrity.as_deref().unwrap_or_default();
    component.hashes = integrity
        .split_whitespace()
        .filter_map(HashValue::from_integrity)
        .collect();
    Some(component)
}

/// A dependency is a version, or for an alias the whole key of the package.
fn find(name: &str, version: &str, purls: &BTreeMap<String, String>) -> Option<String> {
    let version = plain_key(version);
    purls
        .get(&format!("{name}@{version}"))
        .or_else(|| purls.get(version))
        .cloned()
}

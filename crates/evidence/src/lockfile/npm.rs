//! `package-lock.json` and `npm-shrinkwrap.json`, lock-file versions 1 to 3.
//!
//! Versions 2 and 3 name each package by its folder. Version 1 is a tree of dependencies, which
//! becomes the same: `a` within `b` lies in `node_modules/b/node_modules/a`.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::{Component, Ecosystem, HashValue, Origin, Parsed};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Lock {
    lockfile_version: Option<u32>,
    name: Option<String>,
    packages: Option<BTreeMap<String, Package>>,
    version: Option<String>,
    /// The tree of version 1; version 2 repeats it for old tools.
    #[serde(default)]
    dependencies: BTreeMap<String, Branch>,
}

/// A package of version 1 with those that lie in it.
#[derive(Deserialize)]
struct Branch {
    version: Option<String>,
    resolved: Option<String>,
    integrity: Option<String>,
    #[serde(default)]
    requires: serde_json::Value,
    #[serde(default)]
    dependencies: BTreeMap<String, Branch>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct Package {
    name: Option<String>,
    version: Option<String>,
    resolved: Option<String>,
    integrity: Option<String>,
    #[serde(default)]
    link: bool,
    license: Option<serde_json::Value>,
    #[serde(default)]
    dependencies: BTreeMap<String, String>,
    #[serde(default)]
    dev_dependencies: BTreeMap<String, String>,
    #[serde(default)]
    optional_dependencies: BTreeMap<String, String>,
    #[serde(default)]
    peer_dependencies: BTreeMap<String, String>,
}

const FOLDER: &str = "node_modules/";

pub(super) fn parse(text: &str) -> Result<Parsed, String> {
    let lock: Lock = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let Lock {
        lockfile_version,
        name,
        packages,
        version,
        dependencies: branches,
    } = lock;
    let packages = match (lockfile_version, packages) {
        (Some(1), None) => flattened(version, branches),
        (Some(2 | 3), Some(packages)) => packages,
        (other, _) => {
            let version = other.map_or("none".into(), |v| v.to_string());
            return Err(format!(
                "lock file version {version} is not read, only 1 to 3"
            ));
        }
    };
    let packages = &packages;
    let root = name.as_deref().unwrap_or("root");
    let components: BTreeMap<&str, Component> = packages
        .iter()
        .filter(|(_, package)| !package.link)
        .map(|(key, package)| (key.as_str(), component(key, package, root)))
        .collect();
    let mut finished = Vec::with_capacity(components.len());
    for (key, component) in &components {
        let mut component = component.clone();
        component.dependencies = dependencies(key, packages, &components);
        finished.push(component);
    }
    Ok(Parsed {
        components: finished,
        notes: Vec::new(),
    })
}

/// The packages of version 1 by their folders.
fn flattened(
    version: Option<String>,
    branches: BTreeMap<String, Branch>,
) -> BTreeMap<String, Package> {
    let names = |branches: &BTreeMap<String, Branch>| {
        branches
            .keys()
            .map(|name| (name.clone(), String::new()))
            .collect()
    };
    let mut packages = BTreeMap::new();
    let root = Package {
        version,
        dependencies: names(&branches),
        ..Package::default()
    };
    packages.insert(String::new(), root);
    let mut waiting: Vec<(String, BTreeMap<String, Branch>)> = vec![(String::new(), branches)];
    while let Some((folder, branches)) = waiting.pop() {
        for (name, branch) in branches {
            let key = format!("{folder}{FOLDER}{name}");
            let required = branch.requires.as_object().into_iter().flatten();
            packages.insert(
                key.clone(),
                aliased(Package {
                    version: branch.version,
                    resolved: branch.resolved,
                    integrity: branch.integrity,
                    dependencies: required
                        .map(|(name, _)| (name.clone(), String::new()))
                        .collect(),
                    ..Package::default()
                }),
            );
            waiting.push((format!("{key}/"), branch.dependencies));
        }
    }
    packages
}

/// Where version 1 has an address or another package in place of a version.
fn aliased(mut package: Package) -> Package {
    let version = package.version.take().unwrap_or_default();
    if let Some((name, real)) = version.strip_prefix("npm:").and_then(super::npm_alias) {
        package.name = Some(name.to_owned());
        package.version = Some(real.to_owned());
    } else if version.contains(':') {
        package.resolved = Some(version);
    } else {
        package.version = Some(version);
    }
    package
}

fn component(key: &str, package: &Package, root: &str) -> Component {
    let placed = key.rsplit_once(FOLDER).map(|(_, name)| name);
    let fallback = placed.unwrap_or(if key.is_empty() { root } else { key });
    let name = package.name.as_deref().unwrap_or(fallback);
    let version = package.version.as_deref().unwrap_or_default();
    let origin = match package.resolved.as_deref() {
        _ if placed.is_none() => Origin::Local,
        Some(url) if url.starts_with("git") => Origin::Git(url.to_owned()),
        Some(url) if url.starts_with("file:") => Origin::Local,
        // A tarball that no registry named has no integrity by its version alone.
        Some(url) if package.integrity.is_none() && url.contains("://") => {
            Origin::Url(url.to_owned())
        }
        _ => Origin::Registry,
    };
    let mut component = Component::new(Ecosystem::Npm, name, version, origin);
    let integrity = package.integrity.as_deref().unwrap_or_default();
    component.hashes = integrity
        .split_whitespace()
        .filter_map(HashValue::from_integrity)
        .collect();
    component.licence = package.license.as_ref().and_then(licence);
    component
}

/// A text, or in very old packages an object or a list of objects with a `type`.
fn licence(value: &serde_json::Value) -> Option<String> {
    match value {
        serde_json::Value::String(text) => Some(text.clone()),
        serde_json::Value::Object(object) => object.get("type")?.as_str().map(Into::into),
        serde_json::Value::Array(list) => {
            let all: Vec<String> = list.iter().take(20).filter_map(licence_of_item).collect();
            (!all.is_empty()).then(|| all.join(" OR "))
        }
        _ => None,
    }
}

fn licence_of_item(value: &serde_json::Value) -> Option<String> {
    let text = value.as_str().or_else(|| value.get("type")?.as_str());
    text.map(Into::into)
}

fn dependencies(
    key: &str,
    packages: &BTreeMap<String, Package>,
    components: &BTreeMap<&str, Component>,
) -> BTreeSet<String> {
    let Some(package) = packages.get(key) else {
        return BTreeSet::new();
    };
    let names = package
        .dependencies
        .keys()
        .chain(package.dev_dependencies.keys())
        .chain(package.optional_dependencies.keys())
        .chain(package.peer_dependencies.keys());
    names
        .filter_map(|name| find(key, name, packages, components))
        .collect()
}

/// Node's own search: beside the package, then in each folder above. Optional and peer packages
/// may not be there.
fn find(
    key: &str,
    name: &str,
    packages: &BTreeMap<String, Package>,
    components: &BTreeMap<&str, Component>,
) -> Option<String> {
    let mut folder = key;
    loop {
        let candidate = if folder.is_empty() {
            format!("{FOLDER}{name}")
        } else {
            format!("{folder}/{FOLDER}{name}")
        };
        if let Some(package) = packages.get(&candidate) {
            let target = if package.link {
                package.resolved.as_deref()?
            } else {
                &candidate
            };
            return components.get(target).map(|found| found.purl.clone());
        }
        if folder.is_empty() {
            return None;
        }
        folder = folder
            .rsplit_once(FOLDER)
            .map_or("", |(above, _)| above.trim_end_matches('/'));
    }
}

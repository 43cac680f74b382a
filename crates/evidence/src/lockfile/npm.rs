//! `package-lock.json` and `npm-shrinkwrap.json`, lock-file versions 2 and 3.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::{Component, Ecosystem, HashValue, Origin, Parsed};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Lock {
    lockfile_version: Option<u32>,
    name: Option<String>,
    packages: Option<BTreeMap<String, Package>>,
}

#[derive(Deserialize)]
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
    let (Some(2 | 3), Some(packages)) = (lock.lockfile_version, &lock.packages) else {
        let version = lock
            .lockfile_version
            .map_or("none".into(), |v| v.to_string());
        return Err(format!(
            "lock file version {version} is not read, only 2 and 3"
        ));
    };
    let root = lock.name.as_deref().unwrap_or("root");
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

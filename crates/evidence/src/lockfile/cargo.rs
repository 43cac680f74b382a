//! `Cargo.lock`, versions 1 to 4.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Component, Ecosystem, HashValue, Origin, Parsed};

#[derive(Deserialize)]
struct Lock {
    version: Option<u32>,
    #[serde(default)]
    package: Vec<Package>,
    /// Version 1 keeps checksums here: `checksum NAME VERSION (SOURCE)`.
    #[serde(default)]
    metadata: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    source: Option<String>,
    checksum: Option<String>,
    #[serde(default)]
    dependencies: Vec<String>,
}

pub(super) fn parse(text: &str) -> Result<Parsed, String> {
    let lock: Lock = toml::from_str(text).map_err(|error| error.message().to_owned())?;
    if let Some(version @ (0 | 5..)) = lock.version {
        return Err(format!("Cargo.lock version {version} is not known"));
    }
    let mut components: Vec<Component> = lock.package.iter().map(component).collect();
    let mut by_name: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, package) in lock.package.iter().enumerate() {
        by_name.entry(&package.name).or_default().push(index);
    }
    let mut notes = Vec::new();
    for (index, package) in lock.package.iter().enumerate() {
        for dependency in &package.dependencies {
            match resolve(dependency, &by_name, &lock.package) {
                Some(found) => {
                    let purl = components[found].purl.clone();
                    components[index].dependencies.insert(purl);
                }
                None => notes.push(format!(
                    "{} depends on `{dependency}`, which the file does not list",
                    package.name
                )),
            }
        }
        let source = package.source.as_deref().unwrap_or_default();
        let key = format!("checksum {} {} ({source})", package.name, package.version);
        let checksum = package
            .checksum
            .as_ref()
            .or_else(|| lock.metadata.get(&key));
        let hash = checksum.and_then(|hex| HashValue::from_hex("sha256", hex));
        components[index].hashes.extend(hash);
    }
    Ok(Parsed { components, notes })
}

fn component(package: &Package) -> Component {
    let origin = match package.source.as_deref() {
        None => Origin::Local,
        Some(source) => match source.split_once('+') {
            Some(("git", url)) => Origin::Git(url.to_owned()),
            _ => Origin::Registry,
        },
    };
    Component::new(Ecosystem::Cargo, &package.name, &package.version, origin)
}

/// `NAME`, `NAME VERSION` or `NAME VERSION (SOURCE)`, as much as is needed to be unambiguous.
fn resolve(
    dependency: &str,
    by_name: &BTreeMap<&str, Vec<usize>>,
    packages: &[Package],
) -> Option<usize> {
    let mut parts = dependency.splitn(3, ' ');
    let candidates = by_name.get(parts.next()?)?;
    let version = parts.next();
    let source = parts.next().map(|source| source.trim_matches(['(', ')']));
    candidates.iter().copied().find(|index| {
        let package = &packages[*index];
        version.is_none_or(|version| version == package.version)
            && source.is_none_or(|source| package.source.as_deref() == Some(source))
    })
}

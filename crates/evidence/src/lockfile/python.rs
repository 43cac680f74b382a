//! `poetry.lock` and `uv.lock`.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Value;

use super::{Component, Ecosystem, HashValue, Origin, Parsed};

#[derive(Deserialize)]
struct Lock {
    version: Option<u32>,
    #[serde(default)]
    package: Vec<Package>,
    #[serde(default)]
    metadata: Metadata,
}

#[derive(Deserialize, Default)]
struct Metadata {
    /// Where old versions of Poetry keep the files of each package.
    #[serde(default)]
    files: BTreeMap<String, Vec<File>>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: Option<String>,
    #[serde(default)]
    source: BTreeMap<String, Value>,
    /// A table of names for Poetry, a list of tables for uv.
    dependencies: Option<Value>,
    #[serde(default, rename = "optional-dependencies")]
    optional: BTreeMap<String, Value>,
    #[serde(default, rename = "dev-dependencies")]
    dev: BTreeMap<String, Value>,
    #[serde(default)]
    files: Vec<File>,
    #[serde(default)]
    wheels: Vec<File>,
    sdist: Option<File>,
}

#[derive(Deserialize)]
struct File {
    hash: Option<String>,
}

pub(super) fn parse_poetry(text: &str) -> Result<Parsed, String> {
    let mut lock: Lock = toml::from_str(text).map_err(|error| error.message().to_owned())?;
    if !text.contains("content-hash") {
        return Err("the file has no content hash, so Poetry did not write it".into());
    }
    for package in &mut lock.package {
        package.files.extend(
            lock.metadata
                .files
                .remove(&package.name)
                .unwrap_or_default(),
        );
    }
    Ok(finish(&lock.package))
}

pub(super) fn parse_uv(text: &str) -> Result<Parsed, String> {
    let lock: Lock = toml::from_str(text).map_err(|error| error.message().to_owned())?;
    match lock.version {
        Some(1) => Ok(finish(&lock.package)),
        Some(version) => Err(format!("uv.lock version {version} is not read, only 1")),
        None => Err("the file names no version, so uv did not write it".into()),
    }
}

fn finish(packages: &[Package]) -> Parsed {
    let mut components: Vec<Component> = packages.iter().map(component).collect();
    let mut by_name: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (index, component) in components.iter().enumerate() {
        by_name
            .entry(component.name.clone())
            .or_default()
            .push(index);
    }
    for (index, package) in packages.iter().enumerate() {
        let lists = package
            .dependencies
            .iter()
            .chain(package.optional.values())
            .chain(package.dev.values());
        for (name, version) in lists.flat_map(names) {
            let name = Ecosystem::Pypi.normalise(&name);
            // One name may be locked in several versions for several platforms.
            let found: Vec<String> = by_name
                .get(&name)
                .into_iter()
                .flatten()
                .map(|index| &components[*index])
                .filter(|found| version.as_ref().is_none_or(|v| *v == found.version))
                .map(|found| found.purl.clone())
                .collect();
            components[index].dependencies.extend(found);
        }
    }
    Parsed {
        components,
        notes: Vec::new(),
    }
}

/// The names, with exact versions where given, in either form.
fn names(value: &Value) -> Vec<(String, Option<String>)> {
    match value {
        Value::Table(table) => table.keys().map(|name| (name.clone(), None)).collect(),
        Value::Array(list) => list
            .iter()
            .filter_map(|item| {
                let name = item.get("name")?.as_str()?.to_owned();
                let version = item.get("version").and_then(Value::as_str);
                Some((name, version.map(Into::into)))
            })
            .collect(),
        _ => Vec::new(),
    }
}

fn component(package: &Package) -> Component {
    let text = |key: &str| {
        package
            .source
            .get(key)
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    let local = ["virtual", "editable", "directory", "path", "workspace"];
    let kind = text("type");
    let origin = if let Some(url) = text("git") {
        Origin::Git(url)
    } else if local.iter().any(|key| package.source.contains_key(*key)) {
        Origin::Local
    } else {
        match (kind.as_deref(), text("url")) {
            (Some("git"), Some(url)) => Origin::Git(url),
            (Some("directory" | "file"), _) => Origin::Local,
            (Some("url") | None, Some(url)) => Origin::Url(url),
            _ => Origin::Registry,
        }
    };
    let version = package.version.as_deref().unwrap_or_default();
    let mut component = Component::new(Ecosystem::Pypi, &package.name, version, origin);
    let files = package
        .files
        .iter()
        .chain(&package.wheels)
        .chain(&package.sdist);
    component.hashes = files
        .filter_map(|file| HashValue::from_colon(file.hash.as_deref()?))
        .collect();
    component
}

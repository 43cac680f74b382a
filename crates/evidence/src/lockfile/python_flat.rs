//! Python lock files that list what is installed, one beside the other: `pdm.lock`,
//! `pylock.toml` (the standard's) and `Pipfile.lock`.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value as Json;
use toml::Value;

use super::{Component, Ecosystem, HashValue, Origin, Parsed};

#[derive(Deserialize)]
struct Pdm {
    metadata: PdmMetadata,
    #[serde(default)]
    package: Vec<BTreeMap<String, Value>>,
}

#[derive(Deserialize)]
struct PdmMetadata {
    lock_version: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Pylock {
    lock_version: String,
    #[serde(default)]
    packages: Vec<BTreeMap<String, Value>>,
}

fn toml_error(error: &toml::de::Error) -> String {
    error.message().to_owned()
}

pub(super) fn parse_pdm(text: &str) -> Result<Parsed, String> {
    let lock: Pdm = toml::from_str(text).map_err(|error| toml_error(&error))?;
    if !lock.metadata.lock_version.starts_with("4.") {
        return Err(format!(
            "pdm.lock version {} is not read, only 4",
            short(&lock.metadata.lock_version)
        ));
    }
    let mut parsed = parse(&lock.package, |package| package.get("files"));
    link(&mut parsed.components, &lock.package);
    Ok(parsed)
}

pub(super) fn parse_pylock(text: &str) -> Result<Parsed, String> {
    let lock: Pylock = toml::from_str(text).map_err(|error| toml_error(&error))?;
    if !lock.lock_version.starts_with("1.") {
        return Err(format!(
            "pylock.toml version {} is not read, only 1",
            short(&lock.lock_version)
        ));
    }
    let mut parsed = parse(&lock.packages, |package| package.get("wheels"));
    link(&mut parsed.components, &lock.packages);
    Ok(parsed)
}

fn short(text: &str) -> String {
    text.chars().take(20).collect()
}

fn parse(
    packages: &[BTreeMap<String, Value>],
    files: impl Fn(&BTreeMap<String, Value>) -> Option<&Value>,
) -> Parsed {
    let mut parsed = Parsed::default();
    for package in packages {
        let text = |key: &str| package.get(key).and_then(Value::as_str);
        let name = text("name").unwrap_or_default();
        let version = text("version").unwrap_or_default();
        let mut component = Component::new(Ecosystem::Pypi, name, version, origin(package));
        let listed = files(package).and_then(Value::as_array);
        let all = listed.into_iter().flatten().chain(package.get("sdist"));
        component.hashes = all.flat_map(hashes).collect();
        // One entry for each set of extras: the same package.
        parsed.components.push(component);
    }
    parsed
}

fn origin(package: &BTreeMap<String, Value>) -> Origin {
    let place = |key: &str| {
        let value = package.get(key)?;
        let url = value.get("url").and_then(Value::as_str);
        value.as_str().or(url).map(str::to_owned)
    };
    if package.contains_key("path") || package.contains_key("directory") {
        Origin::Local
    } else if let Some(url) = place("git").or_else(|| place("vcs")) {
        Origin::Git(url)
    } else if let Some(url) = place("url").or_else(|| place("archive")) {
        Origin::Url(url)
    } else {
        Origin::Registry
    }
}

/// `hash = "sha256:…"` or `hashes = {sha256 = "…"}`.
fn hashes(file: &Value) -> Vec<HashValue> {
    let one = file.get("hash").and_then(Value::as_str);
    let table = file.get("hashes").and_then(Value::as_table);
    let several = table
        .into_iter()
        .flatten()
        .filter_map(|(algorithm, hex)| HashValue::from_hex(algorithm, hex.as_str()?));
    one.and_then(HashValue::from_colon)
        .into_iter()
        .chain(several)
        .collect()
}

/// Adds dependencies: requirements as text, or tables with a name.
fn link(components: &mut [Component], packages: &[BTreeMap<String, Value>]) {
    let mut by_name: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for component in &*components {
        let purls = by_name.entry(component.name.clone()).or_default();
        purls.insert(component.purl.clone());
    }
    for (component, package) in components.iter_mut().zip(packages) {
        let list = package.get("dependencies").and_then(Value::as_array);
        for item in list.into_iter().flatten() {
            let text = item.as_str().or_else(|| item.get("name")?.as_str());
            let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            let name = text.unwrap_or_default();
            let name = name.split(|c| !inner(c)).next().unwrap_or_default();
            let found = by_name.get(&Ecosystem::Pypi.normalise(name));
            let others = found
                .into_iter()
                .flatten()
                .filter(|purl| **purl != component.purl);
            component.dependencies.extend(others.cloned());
        }
    }
}

pub(super) fn parse_pipfile(text: &str) -> Result<Parsed, String> {
    let lock: BTreeMap<String, Json> =
        serde_json::from_str(text).map_err(|error| error.to_string())?;
    if !lock.contains_key("_meta") {
        return Err("the file has no `_meta`, so Pipenv did not write it".into());
    }
    let mut parsed = Parsed::default();
    // Beside `default` and `develop` there may be categories of the user's own.
    for (_, section) in lock.iter().filter(|(name, _)| *name != "_meta") {
        for (name, package) in section.as_object().into_iter().flatten() {
            let text = |key: &str| package.get(key).and_then(Json::as_str);
            let version = text("version").unwrap_or_default();
            let origin = if package.get("path").is_some() {
                Origin::Local
            } else if let Some(url) = text("git") {
                Origin::Git(url.to_owned())
            } else if let Some(url) = text("file") {
                Origin::Url(url.to_owned())
            } else {
                Origin::Registry
            };
            if origin == Origin::Registry && !version.starts_with("==") {
                parsed
                    .notes
                    .push(format!("`{name}` is not pinned to one version"));
                continue;
            }
            let version = version.trim_start_matches('=');
            let mut component = Component::new(Ecosystem::Pypi, name, version, origin);
            let hashes = package.get("hashes").and_then(Json::as_array);
            let hashes = hashes.into_iter().flatten().filter_map(Json::as_str);
            component.hashes = hashes.filter_map(HashValue::from_colon).collect();
            parsed.components.push(component);
        }
    }
    Ok(parsed)
}

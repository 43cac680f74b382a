//! The lock files of uv, Poetry, PDM and Pipenv, and the standard's `pylock.toml`.

use std::collections::BTreeSet;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value as Json;
use toml::Value;

use super::super::GROUPS;
use super::super::declared::Requirement;
use super::super::manifest;
use super::{Edge, Lock, Package};

fn toml_of(text: &str) -> Result<toml::Table, String> {
    text.parse()
        .map_err(|error: toml::de::Error| error.message().to_owned())
}

fn member<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key).and_then(Value::as_str)
}

fn owned(value: &Value, key: &str) -> Option<String> {
    member(value, key).map(str::to_owned)
}

fn items(value: Option<&Value>) -> impl Iterator<Item = &Value> {
    value.and_then(Value::as_array).into_iter().flatten()
}

fn words(value: Option<&Value>) -> Vec<String> {
    items(value)
        .filter_map(|item| Some(item.as_str()?.to_owned()))
        .collect()
}

fn normal(name: &str) -> String {
    matrix_evidence::lockfile::Ecosystem::Pypi.normalise(name)
}

fn packages_of<'a>(table: &'a toml::Table, key: &str) -> Vec<&'a Value> {
    items(table.get(key)).collect()
}

/// File names and digests of `{url | path | file | name, hash | hashes.sha256}` entries.
fn add_files<'a>(package: &mut Package, files: impl Iterator<Item = &'a Value>) {
    for file in files {
        let place = ["file", "name", "url", "path"]
            .iter()
            .find_map(|key| member(file, key));
        let name = place.and_then(|place| place.split(['?', '#']).next()?.rsplit('/').next());
        package.files.extend(name.map(str::to_owned));
        let hash = owned(file, "hash").or_else(|| {
            let hashes = file.get("hashes")?;
            Some(format!("sha256:{}", member(hashes, "sha256")?))
        });
        package
            .hashes
            .extend(hash.filter(|hash| hash.starts_with("sha256:")));
    }
}

#[derive(Deserialize)]
struct Version {
    version: Option<u32>,
}

pub(super) fn uv(text: &str) -> Result<Lock, String> {
    let version: Version = toml::from_str(text).map_err(|error| error.message().to_owned())?;
    if version.version != Some(1) {
        return Err(String::from("its version is not 1"));
    }
    let table = toml_of(text)?;
    let edges = |value: Option<&Value>| -> Vec<Edge> { items(value).filter_map(uv_edge).collect() };
    let mut lock = Lock::default();
    let mut roots: Vec<Edge> = Vec::new();
    for item in packages_of(&table, "package") {
        let source = item.get("source");
        let has = |key: &str| source.is_some_and(|source| source.get(key).is_some());
        let own = ["virtual", "editable", "directory"]
            .iter()
            .any(|key| has(key));
        let place = ["git", "url", "path"].iter().find_map(|key| {
            source
                .and_then(|source| member(source, key))
                .map(str::to_owned)
        });
        let mut package = Package {
            name: normal(member(item, "name").unwrap_or_default()),
            version: owned(item, "version").unwrap_or_default(),
            own,
            elsewhere: place,
            needs: edges(item.get("dependencies")),
            ..Package::default()
        };
        for (extra, value) in item
            .get("optional-dependencies")
            .and_then(Value::as_table)
            .into_iter()
            .flatten()
        {
            package.extras.insert(extra.clone(), edges(Some(value)));
        }
        add_files(
            &mut package,
            items(item.get("wheels")).chain(item.get("sdist")),
        );
        if own {
            roots.extend(package.needs.iter().cloned());
            let groups = item.get("dev-dependencies").and_then(Value::as_table);
            for group in GROUPS {
                roots.extend(edges(groups.and_then(|groups| groups.get(*group))));
                roots.extend(package.extras.get(*group).into_iter().flatten().cloned());
            }
        }
        lock.packages.push(package);
    }
    let groups = table
        .get("manifest")
        .and_then(|manifest| manifest.get("dependency-groups"));
    for group in GROUPS {
        roots.extend(edges(groups.and_then(|groups| groups.get(group))));
    }
    lock.roots = Some(roots);
    Ok(lock)
}

fn uv_edge(item: &Value) -> Option<Edge> {
    Some(Edge {
        name: normal(member(item, "name")?),
        version: owned(item, "version"),
        marker: owned(item, "marker"),
        extras: words(item.get("extra")),
    })
}

pub(super) fn poetry(text: &str, here: &Path) -> Result<Lock, String> {
    let table = toml_of(text)?;
    if !text.contains("content-hash") {
        return Err(String::from("it has no content hash"));
    }
    let old_files = table
        .get("metadata")
        .and_then(|metadata| metadata.get("files"));
    let mut lock = Lock::default();
    for item in packages_of(&table, "package") {
        let name = member(item, "name").unwrap_or_default();
        let source = item.get("source");
        let kind = source.and_then(|source| member(source, "type"));
        let mut package = Package {
            name: normal(name),
            version: owned(item, "version").unwrap_or_default(),
            own: kind == Some("directory"),
            interpreters: owned(item, "python-versions"),
            // One marker, or one for each group; then the groups' own edges decide.
            marker: owned(item, "markers"),
            elsewhere: matches!(kind, Some("git" | "url" | "file")).then(|| {
                source
                    .and_then(|source| owned(source, "url"))
                    .unwrap_or_default()
            }),
            ..Package::default()
        };
        for (name, value) in item
            .get("dependencies")
            .and_then(Value::as_table)
            .into_iter()
            .flatten()
        {
            package.needs.extend(poetry_edges(name, value));
        }
        for (extra, value) in item
            .get("extras")
            .and_then(Value::as_table)
            .into_iter()
            .flatten()
        {
            let needs = words(Some(value)).into_iter().filter_map(|text| {
                let requirement = Requirement::parse(&text)?;
                Some(Edge {
                    name: requirement.name,
                    extras: requirement.extras,
                    ..Edge::default()
                })
            });
            package.extras.insert(extra.clone(), needs.collect());
        }
        let files = old_files.and_then(|files| files.get(name));
        add_files(&mut package, items(item.get("files")).chain(items(files)));
        lock.packages.push(package);
    }
    lock.roots = manifest::read(here, &BTreeSet::new())
        .map(|all| all.requirements.into_iter().map(Edge::from).collect());
    Ok(lock)
}

/// A text, a table, or a list of them; an optional one counts only with its extra.
fn poetry_edges(name: &str, value: &Value) -> Vec<Edge> {
    if let Value::Array(list) = value {
        return list
            .iter()
            .flat_map(|value| poetry_edges(name, value))
            .collect();
    }
    if value.get("optional").and_then(Value::as_bool) == Some(true)
        && value.get("markers").is_none()
    {
        return Vec::new();
    }
    vec![Edge {
        name: normal(name),
        version: None,
        marker: owned(value, "markers"),
        extras: words(value.get("extras")),
    }]
}

impl From<Requirement> for Edge {
    fn from(requirement: Requirement) -> Self {
        Self {
            name: requirement.name,
            version: None,
            marker: requirement.marker,
            extras: requirement.extras,
        }
    }
}

pub(super) fn pdm(text: &str) -> Result<Lock, String> {
    let table = toml_of(text)?;
    if table
        .get("metadata")
        .is_none_or(|metadata| metadata.get("lock_version").is_none())
    {
        return Err(String::from("it names no version of the format"));
    }
    let mut lock = Lock::default();
    for item in packages_of(&table, "package") {
        let groups = words(item.get("groups"));
        let wanted = groups.is_empty()
            || groups
                .iter()
                .any(|group| group == "default" || GROUPS.contains(&group.as_str()));
        if wanted {
            let mut package = flat(item);
            package.interpreters = owned(item, "requires_python");
            add_files(&mut package, items(item.get("files")));
            lock.packages.push(package);
        }
    }
    Ok(lock)
}

pub(super) fn pylock(text: &str) -> Result<Lock, String> {
    let table = toml_of(text)?;
    if table
        .get("lock-version")
        .and_then(Value::as_str)
        .is_none_or(|v| !v.starts_with("1."))
    {
        return Err(String::from("its version is not 1"));
    }
    let mut lock = Lock::default();
    for item in packages_of(&table, "packages") {
        let mut package = flat(item);
        package.interpreters = owned(item, "requires-python");
        add_files(
            &mut package,
            items(item.get("wheels")).chain(item.get("sdist")),
        );
        lock.packages.push(package);
    }
    Ok(lock)
}

/// A package of a lock file that lists what is installed, one beside the other.
fn flat(item: &Value) -> Package {
    let other = ["git", "url", "vcs", "archive"].iter().find_map(|key| {
        let value = item.get(key)?;
        Some(
            value
                .as_str()
                .or_else(|| member(value, "url"))
                .unwrap_or_default()
                .to_owned(),
        )
    });
    Package {
        name: normal(member(item, "name").unwrap_or_default()),
        version: owned(item, "version").unwrap_or_default(),
        own: item.get("directory").is_some() || item.get("path").is_some(),
        elsewhere: other,
        marker: owned(item, "marker"),
        ..Package::default()
    }
}

pub(super) fn pipfile(text: &str) -> Result<Lock, String> {
    let json: Json = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if json.get("_meta").is_none() {
        return Err(String::from("it has no `_meta`"));
    }
    let mut lock = Lock::default();
    for section in ["default", "develop"] {
        for (name, item) in json
            .get(section)
            .and_then(Json::as_object)
            .into_iter()
            .flatten()
        {
            let member = |key: &str| item.get(key).and_then(Json::as_str).map(str::to_owned);
            let version = member("version").unwrap_or_default();
            let hashes = item
                .get("hashes")
                .and_then(Json::as_array)
                .into_iter()
                .flatten();
            let elsewhere = ["git", "file"].iter().find_map(|key| member(key));
            lock.packages.push(Package {
                name: normal(name),
                version: version.trim_start_matches("==").to_owned(),
                own: item.get("path").is_some(),
                elsewhere,
                hashes: hashes
                    .filter_map(|hash| Some(hash.as_str()?.to_owned()))
                    .collect(),
                marker: member("markers"),
                ..Package::default()
            });
        }
    }
    Ok(lock)
}

//! `yarn.lock` of Yarn 2 and later: YAML, one entry for each resolved package.
//!
//! Its checksums are of archives that Yarn packs itself, so they are no digests of what the
//! registry gives and stand in no component.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Component, Ecosystem, Origin, Parsed, npm_alias};

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Entry {
    version: Option<serde_json::Value>,
    resolution: Option<String>,
    dependencies: BTreeMap<String, serde_json::Value>,
    optional_dependencies: BTreeMap<String, serde_json::Value>,
}

pub(super) fn parse(text: &str) -> Result<Parsed, String> {
    let mut options = serde_saphyr::Options::default();
    if let Some(budget) = &mut options.budget {
        // A key names every range that led to the package.
        budget.simple_key_max_lookahead = 64 * 1024;
        budget.max_events = 10_000_000;
    }
    let lock: BTreeMap<String, Entry> = serde_saphyr::from_str_with_options(text, options)
        .map_err(|error| {
            let text = error.to_string();
            text.lines().next().unwrap_or_default().to_owned()
        })?;
    let mut notes = Vec::new();
    let mut components: Vec<(Component, &Entry)> = Vec::new();
    let mut by_range: BTreeMap<String, String> = BTreeMap::new();
    for (key, entry) in lock.iter().filter(|(key, _)| *key != "__metadata") {
        let Some(component) = component(entry) else {
            notes.push(format!("`{key}` has no name and version"));
            continue;
        };
        for range in key.split(',').map(str::trim) {
            by_range.insert(range.to_owned(), component.purl.clone());
        }
        components.push((component, entry));
    }
    let components = components
        .into_iter()
        .map(|(mut component, entry)| {
            let all = entry
                .dependencies
                .iter()
                .chain(&entry.optional_dependencies);
            for (name, range) in all {
                let range = range
                    .as_str()
                    .map_or_else(|| range.to_string(), str::to_owned);
                // Before version 4 of the format ranges had no protocol.
                let found = [format!("{name}@{range}"), format!("{name}@npm:{range}")];
                let found = found.iter().find_map(|range| by_range.get(range));
                component.dependencies.extend(found.cloned());
            }
            component
        })
        .collect();
    Ok(Parsed { components, notes })
}

/// `@scope/name@npm:1.0.0`, `name@workspace:packages/name`, `name@https://…#commit=…`,
/// `name@patch:name@npm%3A1.0.0#…`.
fn component(entry: &Entry) -> Option<Component> {
    let resolution = entry.resolution.as_deref()?;
    let (name, reference) = npm_alias(resolution)?;
    let version = match entry.version.as_ref()? {
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let protocol = reference.split(':').next().unwrap_or_default();
    let origin = match protocol {
        "workspace" | "link" | "portal" | "file" | "soft" => Origin::Local,
        "npm" | "patch" | "virtual" => Origin::Registry,
        "git" | "git+ssh" | "git+https" | "ssh" => Origin::Git(reference.to_owned()),
        _ if reference.contains(".git#") || reference.contains("#commit=") => {
            Origin::Git(reference.to_owned())
        }
        _ => Origin::Url(reference.to_owned()),
    };
    Some(Component::new(Ecosystem::Npm, name, &version, origin))
}

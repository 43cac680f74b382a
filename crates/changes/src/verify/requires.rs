//! What manifests say that a project depends on, whether or not a lock file repeats it.
//!
//! A lock file tells what is fetched; a manifest tells what may be. A requirement that is new in a
//! manifest is a new dependency for whoever installs the release, so it counts where no lock file
//! says so.

use std::collections::BTreeSet;
use std::path::Path;

use super::detect::{directories, text};

const CARGO_TABLES: &[&str] = &["dependencies", "dev-dependencies", "build-dependencies"];
const NPM_TABLES: &[&str] = &[
    "dependencies",
    "devDependencies",
    "optionalDependencies",
    "peerDependencies",
];

/// Requirements of head's manifests that base's do not have, as `FILE: REQUIREMENT`.
pub(crate) fn new_requirements(base: &Path, head: &Path) -> Vec<String> {
    let mut new = BTreeSet::new();
    for directory in directories(head) {
        let (before, after) = (base.join(&directory), head.join(&directory));
        let known = requirements(&before);
        for (file, requirement) in requirements(&after).difference(&known) {
            let path = directory.join(file);
            new.insert(format!("{}: {requirement}", path.to_string_lossy()));
        }
    }
    new.into_iter().collect()
}

/// What the manifests of one directory name, as file and requirement.
pub(crate) fn requirements(directory: &Path) -> BTreeSet<(String, String)> {
    let mut all = BTreeSet::new();
    let mut add = |file: &str, requirement: String| {
        all.insert((file.to_owned(), requirement));
    };
    let names = std::fs::read_dir(directory).into_iter().flatten().flatten();
    for name in names.filter_map(|entry| entry.file_name().into_string().ok()) {
        let ending = Path::new(&name).extension();
        if name.starts_with("requirements") && ending.is_some_and(|ending| ending == "txt") {
            let content = text(&directory.join(&name)).unwrap_or_default();
            let lines = content
                .lines()
                .map(|line| line.split(" #").next().unwrap_or(line).trim());
            for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
                add(&name, line.chars().take(120).collect());
            }
        }
    }
    let cargo: Option<toml::Table> =
        text(&directory.join("Cargo.toml")).and_then(|text| text.parse().ok());
    if let Some(manifest) = cargo {
        let targets = manifest.get("target").and_then(toml::Value::as_table);
        let workspace = manifest.get("workspace").and_then(toml::Value::as_table);
        let tables = targets
            .into_iter()
            .flat_map(toml::Table::values)
            .filter_map(toml::Value::as_table)
            .chain(workspace)
            .chain([&manifest]);
        for table in tables {
            for kind in CARGO_TABLES {
                let named = table.get(*kind).and_then(toml::Value::as_table);
                for (name, value) in named.into_iter().flatten() {
                    add("Cargo.toml", format!("{name} = {value}"));
                }
            }
        }
    }
    let npm: Option<serde_json::Value> =
        text(&directory.join("package.json")).and_then(|text| serde_json::from_str(&text).ok());
    for kind in NPM_TABLES {
        let named = npm
            .as_ref()
            .and_then(|manifest| manifest.get(kind)?.as_object());
        for (name, value) in named.into_iter().flatten() {
            add("package.json", format!("{name} {value}"));
        }
    }
    let python: Option<toml::Table> =
        text(&directory.join("pyproject.toml")).and_then(|text| text.parse().ok());
    if let Some(manifest) = python {
        let project = |key: &str| manifest.get("project").and_then(|project| project.get(key));
        let poetry = manifest.get("tool").and_then(|tool| tool.get("poetry"));
        let places = [
            project("dependencies"),
            project("optional-dependencies"),
            manifest.get("dependency-groups"),
            poetry.and_then(|poetry| poetry.get("dependencies")),
            poetry.and_then(|poetry| poetry.get("dev-dependencies")),
            poetry.and_then(|poetry| poetry.get("group")),
        ];
        for value in places.into_iter().flatten() {
            flatten(value, "", &mut |requirement| {
                add("pyproject.toml", requirement);
            });
        }
    }
    all
}

/// Each leaf of a value with the names on the way to it; members of lists stand for themselves.
fn flatten(value: &toml::Value, name: &str, add: &mut dyn FnMut(String)) {
    match value {
        toml::Value::Array(items) => items.iter().for_each(|item| flatten(item, name, add)),
        toml::Value::Table(table) => {
            for (key, value) in table {
                flatten(value, key, add);
            }
        }
        toml::Value::String(text) => add(format!("{name} {text}").trim().to_owned()),
        other => add(format!("{name} {other}").trim().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requirements_of_every_manifest_are_told_when_they_are_new() {
        let (base, head) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let write =
            |root: &Path, name: &str, text: &str| std::fs::write(root.join(name), text).unwrap();
        write(base.path(), "requirements.txt", "# none\nattrs==23.1\n");
        write(
            head.path(),
            "requirements.txt",
            "attrs==23.1 # why\nsix==1.16.0\n",
        );
        write(
            base.path(),
            "package.json",
            r#"{"version":"1","dependencies":{"a":"1"}}"#,
        );
        write(
            head.path(),
            "package.json",
            r#"{"version":"2","dependencies":{"a":"1"},"devDependencies":{"left-pad":"^1"}}"#,
        );
        write(
            base.path(),
            "Cargo.toml",
            "[package]\nname='a'\nversion='1.0.0'\n",
        );
        write(
            head.path(),
            "Cargo.toml",
            "[package]\nname='a'\nversion='1.0.1'\n[target.'cfg(unix)'.dependencies]\nlibc='0.2'\n",
        );
        write(
            base.path(),
            "pyproject.toml",
            "[project]\nname='a'\ndependencies=['x>1']\n",
        );
        write(
            head.path(),
            "pyproject.toml",
            "[project]\nname='a'\ndependencies=['x>1']\n[dependency-groups]\ndev=['six==1.16.0']\n",
        );
        assert_eq!(
            new_requirements(base.path(), head.path()),
            [
                "Cargo.toml: libc = \"0.2\"",
                "package.json: left-pad \"^1\"",
                "pyproject.toml: dev six==1.16.0",
                "requirements.txt: six==1.16.0",
            ]
        );
        assert!(new_requirements(base.path(), base.path()).is_empty());
    }
}

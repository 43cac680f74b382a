//! `yarn.lock` version 1, a format of its own: blocks of indented lines.
//!
//! Later versions are YAML with a `__metadata` entry.

use std::collections::{BTreeMap, BTreeSet};

use super::{Component, Ecosystem, HashValue, Origin, Parsed, yarn_berry};

#[derive(Default)]
struct Block {
    patterns: Vec<String>,
    version: String,
    resolved: Option<String>,
    hashes: BTreeSet<HashValue>,
    dependencies: Vec<String>,
}

pub(super) fn parse(text: &str) -> Result<Parsed, String> {
    if text.lines().any(|line| line.starts_with("__metadata:")) {
        return yarn_berry::parse(text);
    }
    if !text.contains("# yarn lockfile v1") {
        return Err("the file does not say `yarn lockfile v1`".into());
    }
    let blocks = blocks(text);
    let mut notes = Vec::new();
    let mut by_pattern: BTreeMap<&str, String> = BTreeMap::new();
    let mut components = Vec::new();
    for block in &blocks {
        match component(block) {
            Some(component) => {
                for pattern in &block.patterns {
                    by_pattern.insert(pattern, component.purl.clone());
                }
                components.push((component, block));
            }
            None => notes.push(format!("`{}` has no version", block.patterns.join(", "))),
        }
    }
    let components = components
        .into_iter()
        .map(|(mut component, block)| {
            let found = block.dependencies.iter();
            component.dependencies = found
                .filter_map(|pattern| by_pattern.get(pattern.as_str()).cloned())
                .collect();
            component
        })
        .collect();
    Ok(Parsed { components, notes })
}

fn blocks(text: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut in_dependencies = false;
    for line in text.lines() {
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            continue;
        }
        let indent = line.len() - line.trim_start().len();
        if indent == 0 {
            let patterns = trimmed.trim_end_matches(':').split(", ").map(unquote);
            blocks.push(Block {
                patterns: patterns.collect(),
                ..Block::default()
            });
            in_dependencies = false;
            continue;
        }
        let Some(block) = blocks.last_mut() else {
            continue;
        };
        if indent >= 4 {
            if let (true, Some((name, range))) = (in_dependencies, trimmed.split_once(' ')) {
                let pattern = format!("{}@{}", unquote(name), unquote(range));
                block.dependencies.push(pattern);
            }
            continue;
        }
        in_dependencies = trimmed == "dependencies:" || trimmed == "optionalDependencies:";
        match trimmed.split_once(' ') {
            Some(("version", value)) => block.version = unquote(value),
            Some(("resolved", value)) => block.resolved = Some(unquote(value)),
            Some(("integrity", value)) => {
                let values = unquote(value);
                let hashes = values.split_whitespace();
                block
                    .hashes
                    .extend(hashes.filter_map(HashValue::from_integrity));
            }
            _ => {}
        }
    }
    blocks
}

fn unquote(text: &str) -> String {
    text.trim().trim_matches('"').to_owned()
}

fn component(block: &Block) -> Option<Component> {
    let pattern = block.patterns.first()?;
    let at = pattern.get(1..)?.find('@')? + 1;
    let (mut name, range) = (&pattern[..at], &pattern[at + 1..]);
    // `alias@npm:name@range` is another package under this name.
    if let Some(real) = range.strip_prefix("npm:") {
        let end = real
            .get(1..)
            .and_then(|rest| rest.find('@'))
            .map_or(real.len(), |at| at + 1);
        name = &real[..end];
    }
    if block.version.is_empty() {
        return None;
    }
    let resolved = block.resolved.as_deref().unwrap_or_default();
    let (url, fragment) = resolved.split_once('#').unwrap_or((resolved, ""));
    let origin = if url.starts_with("git") || url.contains(".git") {
        Origin::Git(resolved.to_owned())
    } else if range.starts_with("file:") || range.starts_with("link:") {
        Origin::Local
    } else {
        Origin::Registry
    };
    let mut component = Component::new(Ecosystem::Npm, name, &block.version, origin);
    component.hashes.clone_from(&block.hashes);
    component
        .hashes
        .extend(HashValue::from_hex("sha1", fragment));
    Some(component)
}

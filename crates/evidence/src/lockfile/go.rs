//! `go.mod` and `go.sum`.
//!
//! Since Go 1.17 `go.mod` lists every module that the build needs; `go.sum` also lists ones that
//! were only looked at, so components come from `go.mod` alone. The `h1:` sums of `go.sum` are
//! hashes of lists of hashes, not of a file, and therefore no component hashes.

use std::collections::BTreeMap;

use super::{Component, Ecosystem, Origin, Parsed};

#[derive(Default)]
struct Module {
    path: String,
    require: Vec<(String, String)>,
    replace: BTreeMap<String, (Option<String>, String, Option<String>)>,
    go: Option<(u32, u32)>,
}

pub(super) fn parse_mod(text: &str) -> Result<Parsed, String> {
    let module = read(text)?;
    let mut own = Component::new(Ecosystem::Go, &module.path, "", Origin::Local);
    let mut notes = Vec::new();
    if module.go.is_none_or(|version| version < (1, 17)) {
        notes.push(
            "before Go 1.17 a go.mod does not list indirect modules; they are missing".into(),
        );
    }
    let mut components = Vec::new();
    for (path, version) in &module.require {
        let replaced = module
            .replace
            .get(path)
            .filter(|(only, ..)| only.as_ref().is_none_or(|only| only == version));
        let (path, version, origin) = match replaced {
            None => (path, version.as_str(), Origin::Registry),
            Some((_, target, Some(version))) => (target, version.as_str(), Origin::Registry),
            Some((_, _, None)) => (path, "", Origin::Local),
        };
        let component = Component::new(Ecosystem::Go, path, version, origin);
        own.dependencies.insert(component.purl.clone());
        components.push(component);
    }
    components.push(own);
    Ok(Parsed { components, notes })
}

/// Read only to see that it is whole.
pub(super) fn parse_sum(text: &str) -> Result<Parsed, String> {
    let wrong = text
        .lines()
        .zip(1..)
        .filter(|(line, _)| !line.trim().is_empty())
        .find(|(line, _)| {
            let parts: Vec<&str> = line.split_whitespace().take(4).collect();
            !matches!(parts[..], [_, version, sum] if version.starts_with('v') && sum.starts_with("h1:"))
        });
    match wrong {
        Some((_, line)) => Err(format!("line {line} is not `MODULE VERSION h1:SUM`")),
        None => Ok(Parsed::default()),
    }
}

fn read(text: &str) -> Result<Module, String> {
    let mut module = Module::default();
    let mut block: Option<String> = None;
    for (index, line) in text.lines().enumerate() {
        let line = line.split("//").next().unwrap_or(line).trim();
        if line.is_empty() {
            continue;
        }
        if line == ")" {
            block = None;
            continue;
        }
        let (verb, rest) = match &block {
            Some(verb) => (verb.as_str(), line),
            None => line.split_once(char::is_whitespace).unwrap_or((line, "")),
        };
        let rest = rest.trim();
        if block.is_none() && rest == "(" {
            block = Some(verb.to_owned());
            continue;
        }
        directive(&mut module, verb, rest).map_err(|why| format!("line {}: {why}", index + 1))?;
    }
    if module.path.is_empty() {
        return Err("the file names no module".into());
    }
    Ok(module)
}

fn directive(module: &mut Module, verb: &str, rest: &str) -> Result<(), &'static str> {
    let words: Vec<&str> = rest
        .split_whitespace()
        .map(|word| word.trim_matches('"'))
        .collect();
    match (verb, words.as_slice()) {
        ("module", [path]) => (*path).clone_into(&mut module.path),
        ("go", [version]) => {
            let mut parts = version.split('.').map(|part| part.parse().unwrap_or(0));
            module.go = Some((parts.next().unwrap_or(0), parts.next().unwrap_or(0)));
        }
        ("require", [path, version]) => {
            module
                .require
                .push(((*path).to_owned(), (*version).to_owned()));
        }
        ("replace", words) => replace(module, words)?,
        ("module" | "go" | "require", _) => return Err("the directive is not understood"),
        // exclude, retract, toolchain, tool, ignore, godebug: nothing about what is built in.
        _ => {}
    }
    Ok(())
}

/// `OLD [VERSION] => NEW [VERSION]`.
fn replace(module: &mut Module, words: &[&str]) -> Result<(), &'static str> {
    let mut sides = words.split(|word| *word == "=>");
    let (Some(old), Some(new), None) = (sides.next(), sides.next(), sides.next()) else {
        return Err("the replacement is not understood");
    };
    let (Some(path), Some(target)) = (old.first(), new.first()) else {
        return Err("the replacement is not understood");
    };
    let version = |side: &[&str]| side.get(1).map(|version| (*version).to_owned());
    let replacement = (version(old), (*target).to_owned(), version(new));
    module.replace.insert((*path).to_owned(), replacement);
    Ok(())
}

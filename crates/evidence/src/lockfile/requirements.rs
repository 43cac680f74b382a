//! `requirements.txt`: lines that pin a version with `==`, with or without hashes.
//!
//! A line that does not pin is no component; it is noted, because what will be installed is then
//! not known. Dependencies between the lines are not in the format.

use super::{Component, Ecosystem, HashValue, Origin, Parsed};

pub(super) fn parse(text: &str) -> Parsed {
    let mut parsed = Parsed::default();
    for (line, requirement) in logical_lines(text) {
        if let Err(why) = requirement_line(&requirement, &mut parsed) {
            let shown: String = requirement.chars().take(80).collect();
            parsed.notes.push(format!("line {line}: `{shown}` {why}"));
        }
    }
    parsed
}

/// Lines joined at `\`, without comments, each with the number of its first line.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines: Vec<(usize, String)> = Vec::new();
    let mut joins = false;
    for (index, line) in text.lines().enumerate() {
        let line = if line.trim_start().starts_with('#') {
            ""
        } else {
            line.split(" #").next().unwrap_or(line)
        };
        let (line, continues) = match line.trim_end().strip_suffix('\\') {
            Some(line) => (line, true),
            None => (line, false),
        };
        match lines.last_mut() {
            Some((_, last)) if joins => {
                last.push(' ');
                last.push_str(line.trim());
            }
            _ => lines.push((index + 1, line.trim().to_owned())),
        }
        joins = continues;
    }
    lines.retain(|(_, line)| !line.is_empty());
    lines
}

fn requirement_line(line: &str, parsed: &mut Parsed) -> Result<(), &'static str> {
    if line.starts_with('-') {
        let option = line.split([' ', '=']).next().unwrap_or(line);
        return match option {
            "-r" | "--requirement" => Err("names another file, which is read by its own name"),
            "-c" | "--constraint" => Err("names constraints, which are not read"),
            "-e" | "--editable" => Err("installs from a folder or repository and pins nothing"),
            // Options that say where and how to download, not what.
            _ => Ok(()),
        };
    }
    let (requirement, options) = match line.find(" --") {
        Some(at) => (&line[..at], &line[at..]),
        None => (line, ""),
    };
    let requirement = requirement.split(';').next().unwrap_or(requirement).trim();
    if let Some((name, url)) = requirement.split_once('@') {
        let name = name.split('[').next().unwrap_or(name).trim();
        let url = url.trim();
        if name.is_empty() || !url.contains(':') {
            return Err("is not a requirement");
        }
        let origin = if url.starts_with("git+") {
            Origin::Git(url.to_owned())
        } else {
            Origin::Url(url.to_owned())
        };
        parsed
            .components
            .push(Component::new(Ecosystem::Pypi, name, "", origin));
        return Err("comes from a URL, so its version is not known");
    }
    let Some((name, version)) = requirement.split_once("==") else {
        return Err("is not pinned to one version");
    };
    let name = name.split('[').next().unwrap_or(name).trim();
    let version = version.trim_start_matches('=').trim();
    let one = !version.is_empty() && !version.contains(['*', ',', ' ', '<', '>', '!', '~']);
    if !is_name(name) || !one {
        return Err("is not pinned to one version");
    }
    let mut component = Component::new(Ecosystem::Pypi, name, version, Origin::Registry);
    component.hashes = options
        .split_whitespace()
        .filter_map(|option| HashValue::from_colon(option.strip_prefix("--hash=")?))
        .collect();
    parsed.components.push(component);
    Ok(())
}

fn is_name(name: &str) -> bool {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    edge(name.chars().next()) && edge(name.chars().last()) && name.chars().all(inner)
}

//! What a Python lock file installs on this machine.
//!
//! A lock file holds every package for every platform, interpreter and group at once. Installed is
//! what the project itself, and the groups that tests and linters are declared in, lead to here:
//! each step along a dependency whose marker holds. What cannot be installed as a wheel of the
//! registry is left out and said, so that one such package does not keep the others away.

mod formats;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use super::marker::Environment;
use super::{Wanted, declared};
use crate::verify::detect::text;

/// The lock files in the order in which one decides.
const NAMES: [&str; 5] = [
    "uv.lock",
    "poetry.lock",
    "pdm.lock",
    "pylock.toml",
    "Pipfile.lock",
];

/// A package of a lock file.
#[derive(Debug, Clone, Default)]
struct Package {
    name: String,
    version: String,
    /// It is the repository's own.
    own: bool,
    /// Where it comes from, if that is neither the registry nor the repository.
    elsewhere: Option<String>,
    hashes: BTreeSet<String>,
    /// File names, as far as the lock file gives them.
    files: Vec<String>,
    /// Whether it counts here at all; nothing decides that it does.
    marker: Option<String>,
    interpreters: Option<String>,
    needs: Vec<Edge>,
    /// What each extra needs beside.
    extras: BTreeMap<String, Vec<Edge>>,
}

/// A dependency.
#[derive(Debug, Clone, Default)]
struct Edge {
    name: String,
    version: Option<String>,
    marker: Option<String>,
    extras: Vec<String>,
}

/// What a lock file says and where to begin.
#[derive(Debug, Default)]
struct Lock {
    packages: Vec<Package>,
    /// Nothing means that every package is wanted.
    roots: Option<Vec<Edge>>,
}

/// What the lock file beside a project installs here; nothing if there is no lock file.
///
/// # Errors
/// Why the lock file is not understood.
pub(super) fn wanted(here: &Path, environment: &Environment) -> Option<Result<Wanted, String>> {
    let (name, text) = NAMES
        .iter()
        .find_map(|name| Some((*name, text(&here.join(name))?)))?;
    let lock = match name {
        "uv.lock" => formats::uv(&text),
        "poetry.lock" => formats::poetry(&text, here),
        "pdm.lock" => formats::pdm(&text),
        "pylock.toml" => formats::pylock(&text),
        _ => formats::pipfile(&text),
    };
    let lock = lock.map_err(|why| format!("{name} is not understood ({why}); make it anew"));
    Some(lock.map(|lock| select(&lock, environment)))
}

/// Follows the dependencies that count here.
fn select(lock: &Lock, environment: &Environment) -> Wanted {
    let mut selection = Selection::of(lock, environment);
    let everything = || {
        let all = lock.packages.iter();
        let edge = |package: &Package| Edge {
            name: package.name.clone(),
            version: Some(package.version.clone()),
            ..Edge::default()
        };
        all.map(edge).collect()
    };
    let mut waiting: Vec<Edge> = lock.roots.clone().unwrap_or_else(everything);
    while let Some(edge) = waiting.pop() {
        selection.follow(&edge, &mut waiting);
    }
    let mut wanted = Wanted {
        notes: selection.notes,
        complete: true,
        ..Wanted::default()
    };
    for index in selection.chosen.into_keys() {
        take(&lock.packages[index], environment, &mut wanted);
    }
    wanted.lines.sort();
    wanted.lines.dedup();
    wanted.notes.sort();
    wanted.notes.dedup();
    wanted
}

struct Selection<'a> {
    lock: &'a Lock,
    environment: &'a Environment,
    by_name: BTreeMap<&'a str, Vec<usize>>,
    /// Packages with the extras that were asked for.
    chosen: BTreeMap<usize, BTreeSet<String>>,
    notes: Vec<String>,
}

impl<'a> Selection<'a> {
    fn of(lock: &'a Lock, environment: &'a Environment) -> Self {
        let mut by_name: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (index, package) in lock.packages.iter().enumerate() {
            by_name.entry(&package.name).or_default().push(index);
        }
        Self {
            lock,
            environment,
            by_name,
            chosen: BTreeMap::new(),
            notes: Vec::new(),
        }
    }

    /// The package that a dependency means here. Of versions for several interpreters that are not
    /// told apart, it is the newest.
    fn meant(&self, edge: &Edge) -> Option<usize> {
        let package = |index: usize| &self.lock.packages[index];
        let fits = |index: &usize| {
            let Package {
                version,
                marker,
                interpreters,
                ..
            } = package(*index);
            edge.version.as_ref().is_none_or(|wanted| wanted == version)
                && counts(marker.as_deref(), self.environment, &edge.extras) != Some(false)
                && interpreters
                    .as_ref()
                    .is_none_or(|list| self.environment.allows(list) != Some(false))
        };
        let candidates = self.by_name.get(edge.name.as_str())?.iter().copied();
        candidates.filter(fits).max_by(|a, b| {
            let (a, b) = (&package(*a).version, &package(*b).version);
            matrix_evidence::osv::compare_python(a, b).unwrap_or_else(|| a.cmp(b))
        })
    }

    fn follow(&mut self, edge: &Edge, waiting: &mut Vec<Edge>) {
        match counts(edge.marker.as_deref(), self.environment, &edge.extras) {
            Some(false) => return,
            Some(true) => {}
            None => {
                let marker = edge.marker.as_deref().unwrap_or_default();
                self.notes
                    .push(format!("the marker `{marker}` is not understood"));
            }
        }
        let Some(index) = self.meant(edge) else {
            return;
        };
        let package = &self.lock.packages[index];
        let known = self.chosen.contains_key(&index);
        let extras = self.chosen.entry(index).or_default();
        if !known {
            waiting.extend(package.needs.iter().cloned());
        }
        for extra in &edge.extras {
            if extras.insert(extra.clone()) {
                waiting.extend(package.extras.get(extra).into_iter().flatten().cloned());
                // A marker of the package's own may ask for the extra.
                let asks = |need: &&Edge| need.marker.as_ref().is_some_and(|m| m.contains("extra"));
                let with = |need: &Edge| Edge {
                    extras: need.extras.iter().chain([extra]).cloned().collect(),
                    ..need.clone()
                };
                waiting.extend(package.needs.iter().filter(asks).map(with));
            }
        }
    }
}

/// Whether something counts here; nothing when its marker is not understood, which keeps nothing
/// away.
fn counts(marker: Option<&str>, environment: &Environment, extras: &[String]) -> Option<bool> {
    match marker.filter(|marker| !marker.trim().is_empty()) {
        Some(marker) => environment.holds(marker, extras),
        None => Some(true),
    }
}

fn take(package: &Package, environment: &Environment, wanted: &mut Wanted) {
    let Package { name, version, .. } = package;
    if package.own {
        return;
    }
    if let Some(place) = &package.elsewhere {
        wanted.left_out(&format!("{name} comes from {place}"));
        return;
    }
    let wheels = || package.files.iter().filter(|file| is_wheel(file));
    if !package.files.is_empty() && wheels().next().is_none() {
        wanted.left_out(&format!(
            "{name} {version} has no wheel, and nothing is built"
        ));
        return;
    }
    if wheels().next().is_some() && !wheels().any(|wheel| fits(wheel, environment)) {
        wanted.left_out(&format!("{name} {version} has no wheel for this machine"));
        return;
    }
    let mut line = format!("{name}=={version}");
    for hash in &package.hashes {
        let _ = write!(line, " --hash={hash}");
    }
    match declared::plain(&line) {
        // What would be cut off as a comment is no version.
        Some(plain) if plain == line => wanted.lines.push(plain),
        _ => {
            let shown = declared::shown(name);
            wanted.left_out(&format!("`{shown}` is not a plain name and version"));
        }
    }
}

fn is_wheel(file: &str) -> bool {
    Path::new(file)
        .extension()
        .is_some_and(|extension| extension == "whl")
}

/// Whether pip could take a wheel here, by the tags at the end of its name; when in doubt it may
/// try.
fn fits(wheel: &str, environment: &Environment) -> bool {
    let stem = wheel.trim_end_matches(".whl");
    let mut tags = stem.rsplit('-');
    let (Some(platform), Some(abi), Some(python)) = (tags.next(), tags.next(), tags.next()) else {
        return true;
    };
    let version = environment.get("python_version").replace('.', "");
    let minor = |tag: &str| {
        tag.strip_prefix("cp3")
            .and_then(|minor| minor.parse::<u32>().ok())
    };
    let mine = version
        .strip_prefix('3')
        .and_then(|minor| minor.parse::<u32>().ok());
    let pythons = python.split('.').any(|tag| {
        tag.starts_with("py3")
            || tag == format!("cp{version}")
            || (abi.contains("abi3") && minor(tag).zip(mine).is_some_and(|(tag, mine)| tag <= mine))
            || !tag.starts_with("cp") && !tag.starts_with("py") && !tag.starts_with("pp")
    });
    let system = environment.get("sys_platform");
    let machine = environment.get("platform_machine");
    let platforms = platform.split('.').any(|tag| {
        tag == "any" || system != "linux" || (tag.contains("linux") && tag.ends_with(machine))
    });
    pythons && platforms
}

#[cfg(test)]
mod tests;

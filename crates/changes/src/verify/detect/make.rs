//! Makefiles.

use std::collections::BTreeSet;
use std::path::Path;

use matrix_evidence::Kind;

use super::{Recipe, text};

pub(super) fn checks(here: &Path) -> Vec<(Kind, Recipe)> {
    let names = ["GNUmakefile", "makefile", "Makefile"];
    let Some(text) = names.iter().find_map(|name| text(&here.join(name))) else {
        return Vec::new();
    };
    let targets: BTreeSet<&str> = text.lines().filter_map(make_target).flatten().collect();
    [
        (Kind::TestResults, ["test", "check"].as_slice()),
        (Kind::Lint, &["lint"]),
        (Kind::BuildLog, &["build", "all"]),
    ]
    .into_iter()
    .filter_map(|(kind, names)| {
        let target = names.iter().find(|name| targets.contains(**name))?;
        let target = (*target).to_owned();
        Some((kind, Recipe::Make { target }))
    })
    .collect()
}

/// The names before the colon of a rule's first line.
fn make_target(line: &str) -> Option<impl Iterator<Item = &str>> {
    if line.starts_with(['\t', ' ', '#', '.']) {
        return None;
    }
    let (names, rest) = line.split_once(':')?;
    let assignment = rest.starts_with('=') || rest.starts_with(":=") || names.contains(['=', '$']);
    (!assignment).then(|| names.split_whitespace())
}

//! Rust.

use std::path::Path;

use matrix_evidence::Kind;

use super::{Recipe, text};

pub(super) fn checks(here: &Path) -> Vec<(Kind, Recipe)> {
    let readable = text(&here.join("Cargo.toml"))
        .and_then(|text| text.parse::<toml::Table>().ok())
        .is_some_and(|table| table.contains_key("package") || table.contains_key("workspace"));
    if !readable {
        return Vec::new();
    }
    vec![
        (Kind::Lint, Recipe::CargoLint),
        (Kind::TestResults, Recipe::CargoTest),
        (Kind::BuildLog, Recipe::CargoBuild),
    ]
}

//! Go.

use std::path::Path;

use matrix_evidence::Kind;

use super::Recipe;

pub(super) fn checks(here: &Path) -> Vec<(Kind, Recipe)> {
    if !here.join("go.mod").is_file() && !here.join("go.work").is_file() {
        return Vec::new();
    }
    vec![
        (Kind::Lint, Recipe::GoLint),
        (Kind::TestResults, Recipe::GoTest),
        (Kind::BuildLog, Recipe::GoBuild),
    ]
}

//! Every direct dependency has a row in `docs/dependencies.md` that says what it is for.

use std::collections::BTreeSet;
use std::path::Path;

use crate::check::{Finding, SourceFile};
use crate::workspace::Workspace;

const PAGE: &str = "docs/dependencies.md";

/// Compares manifests and page.
pub(crate) fn check(workspace: &Workspace, sources: &[SourceFile]) -> Vec<Finding> {
    let used: BTreeSet<&str> = workspace
        .packages
        .iter()
        .flat_map(|package| &package.dependencies)
        .filter(|dependency| dependency.path.is_none())
        .map(|dependency| dependency.name.as_str())
        .collect();
    let page = sources.iter().find(|file| file.path == Path::new(PAGE));
    let Some(page) = page else {
        return vec![Finding::error(PAGE, "the page is missing")];
    };
    compare(&used, &rows(&page.text))
}

/// The first cell of each row, where it is a name in backquotes.
fn rows(text: &str) -> BTreeSet<&str> {
    text.lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(name, _)| name)
        .collect()
}

fn compare(used: &BTreeSet<&str>, rows: &BTreeSet<&str>) -> Vec<Finding> {
    let missing = used.difference(rows).map(|name| {
        let text = format!("`{name}` is a direct dependency without a row that says why");
        Finding::error(PAGE, text)
    });
    let stale = rows.difference(used).map(|name| {
        let text = format!("`{name}` has a row, but no crate depends on it directly");
        Finding::warning(PAGE, text)
    });
    missing.chain(stale).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Severity;

    #[test]
    fn missing_rows_are_errors_and_stale_ones_warnings() {
        let page = "| crate | used in | why |\n|---|---|---|\n| `serde` | all | values |\n\
                    | `old` | none | gone |\n";
        let found = compare(&BTreeSet::from(["serde", "tokio"]), &rows(page));
        let short: Vec<_> = found
            .iter()
            .map(|finding| (finding.severity, finding.message.split('`').nth(1)))
            .collect();
        assert_eq!(
            short,
            [
                (Severity::Error, Some("tokio")),
                (Severity::Warning, Some("old"))
            ]
        );
    }
}

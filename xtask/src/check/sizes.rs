//! How long a file may be. Tests do not count; comments and empty lines do, because they are read.

use crate::check::{Finding, SourceFile};

/// From here on a file is worth a second look.
const LOOK: usize = 500;
/// No file is longer.
const MOST: usize = 800;

/// Measures every file of the product and of the automation.
pub(crate) fn check(sources: &[SourceFile]) -> Vec<Finding> {
    sources
        .iter()
        .filter(|file| file.is_product_code() || file.path.starts_with("xtask/src"))
        .filter_map(|file| {
            let lines = file.lines_without_tests().len();
            let place = file.path.display();
            if lines > MOST {
                let text = format!("{lines} lines without tests; at most {MOST} are allowed");
                Some(Finding::error(place, text))
            } else if lines > LOOK {
                let text = format!("{lines} lines without tests; can it be two files?");
                Some(Finding::warning(place, text))
            } else {
                None
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_files_are_found() {
        let file = |path: &str, lines: usize| SourceFile {
            path: path.into(),
            text: "x\n".repeat(lines),
        };
        let found = check(&[
            file("crates/core/src/a.rs", 500),
            file("crates/core/src/b.rs", 501),
            file("cli/src/c.rs", 801),
            file("crates/core/tests/d.rs", 900),
        ]);
        let places: Vec<_> = found.iter().map(|finding| finding.place.as_str()).collect();
        assert_eq!(places, ["crates/core/src/b.rs", "cli/src/c.rs"]);
        assert_eq!(found[0].severity, crate::check::Severity::Warning);
        assert_eq!(found[1].severity, crate::check::Severity::Error);
    }
}

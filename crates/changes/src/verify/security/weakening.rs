//! Signs in a diff that a change makes its own checks weaker.
//!
//! The test report tells which tests vanished or are skipped, where there is a report by name. A
//! check that is known by its exit code alone tells nothing, so the diff is read too.

use std::sync::LazyLock;

use regex::Regex;
use serde::{Deserialize, Serialize};

use crate::verify::diff;
use crate::verify::facts::Facts;

/// What a diff does to tests, each as `PATH` or `PATH:LINE`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Weakening {
    /// Files of tests that are deleted.
    pub test_files_deleted: Vec<String>,
    /// Added lines that skip a test.
    pub skips_added: Vec<String>,
    /// Added lines that silence a linter.
    pub silences_added: Vec<String>,
    /// Files of tests from which more assertions are removed than added.
    pub assertions_removed: Vec<String>,
}

impl Weakening {
    /// As facts for the gate.
    pub fn facts(&self) -> Facts {
        Facts {
            removes_test: self.test_files_deleted.clone(),
            skips_test: self.skips_added.clone(),
            silences_linter: self.silences_added.clone(),
            asserts_less: self.assertions_removed.clone(),
            ..Facts::default()
        }
    }
}

static SKIPS: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(
        r"#\[(?:cfg_attr\([^)]*,\s*)?ignore\b|@(?:pytest\.mark\.|unittest\.)?(?:skip|skipif|skipIf|skipUnless|xfail|expectedFailure)\b|\bpytest\.(?:skip|importorskip)\s*\(|\b(?:self\.skipTest|raise\s+(?:unittest\.)?SkipTest)\b|\b(?:describe|it|test|context|suite)\.(?:skip|todo|only)\s*\(|\b(?:xit|xdescribe|xtest|fit|fdescribe)\s*\(|\b[tb]\.Skip(?:f|Now)?\s*\(|\bskip\s*:\s*(?:true|['\x22])|\bt\.skip\s*\(",
    )
    .ok()
});

static SILENCES: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(
        r"#!?\[(?:cfg_attr\([^)]*,\s*)?(?:allow|expect)\s*\(|#\s*(?:noqa|nosec|type:\s*ignore|ruff:\s*noqa|pylint:\s*disable|mypy:\s*ignore)|(?://|/\*)\s*(?:eslint-disable|@ts-ignore|@ts-nocheck|@ts-expect-error|nolint|biome-ignore)|//nolint",
    )
    .ok()
});

static ASSERTS: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(
        r"\b(?:debug_)?assert(?:_eq|_ne|_matches)?!|\bassert\b|\bassert[A-Z]\w*\s*\(|\bassert\.\w+\s*\(|\bexpect\s*\(|\brequire\.\w+\s*\(|\bt\.(?:Error|Errorf|Fatal|Fatalf)\s*\(|#\[should_panic",
    )
    .ok()
});

/// Reads a canonical diff.
pub fn weakening(diff: &[u8]) -> Weakening {
    let mut found = Weakening::default();
    let hit = |regex: &Option<Regex>, line: &str| {
        regex.as_ref().is_some_and(|regex| regex.is_match(line))
    };
    for file in diff::parse(diff) {
        let test = is_test(&file.path);
        if file.deleted && test {
            found.test_files_deleted.push(file.path.clone());
            continue;
        }
        // Words such as `skip: true` mean something else outside of tests; Rust's tests stand
        // beside the code.
        let may_skip = test || file.path.rsplit('.').next() == Some("rs");
        let moved = |line: &str| {
            file.removed
                .iter()
                .any(|removed| removed.trim() == line.trim())
        };
        for (number, line) in &file.added {
            let place = || format!("{}:{number}", file.path);
            if may_skip && hit(&SKIPS, line) && !moved(line) {
                found.skips_added.push(place());
            }
            if hit(&SILENCES, line) && !moved(line) {
                found.silences_added.push(place());
            }
        }
        let removed = file
            .removed
            .iter()
            .filter(|line| hit(&ASSERTS, line))
            .count();
        let added = file
            .added
            .iter()
            .filter(|(_, line)| hit(&ASSERTS, line))
            .count();
        if removed > added {
            found.assertions_removed.push(file.path.clone());
        }
    }
    found
}

/// Whether a path is one of tests by the habits of its language.
fn is_test(path: &str) -> bool {
    let lower = path.to_ascii_lowercase();
    let name = lower.rsplit('/').next().unwrap_or(&lower);
    let folder = ["test/", "tests/", "__tests__/", "spec/"]
        .iter()
        .any(|folder| lower.starts_with(folder) || lower.contains(&format!("/{folder}")));
    let stem = name.split('.').next().unwrap_or(name);
    folder
        || stem.starts_with("test_")
        || stem.ends_with("_test")
        || stem == "test"
        || stem == "tests"
        || name.contains(".test.")
        || name.contains(".spec.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_that_weakens_its_tests_is_seen() {
        let diff = b"diff --git a/tests/half.rs b/tests/half.rs
deleted file mode 100644
--- a/tests/half.rs
+++ /dev/null
@@ -1 +0,0 @@
-#[test] fn half() {}
diff --git a/src/lib.rs b/src/lib.rs
--- a/src/lib.rs
+++ b/src/lib.rs
@@ -1,2 +1,4 @@
 #[test]
+#[ignore]
-assert_eq!(a, b);
+let _ = (a, b);
+#[allow(unused)]
diff --git a/web/a.test.js b/web/a.test.js
--- a/web/a.test.js
+++ b/web/a.test.js
@@ -1 +1 @@
-it('rounds', () => {});
+it.skip('rounds', () => {});
";
        let found = weakening(diff);
        assert_eq!(found.test_files_deleted, ["tests/half.rs"]);
        assert_eq!(found.skips_added, ["src/lib.rs:2", "web/a.test.js:1"]);
        assert_eq!(found.silences_added, ["src/lib.rs:4"]);
        assert_eq!(found.assertions_removed, ["src/lib.rs"]);
        assert_eq!(found.facts().skips_test.len(), 2);
    }

    #[test]
    fn an_ordinary_change_weakens_nothing() {
        let diff = b"diff --git a/src/lib.rs b/src/lib.rs
--- a/src/lib.rs
+++ b/src/lib.rs
@@ -1,2 +1,3 @@
-let x = 1;
+let x = 2;
+assert_eq!(x, 2);
 end
";
        assert_eq!(weakening(diff), Weakening::default());
    }
}

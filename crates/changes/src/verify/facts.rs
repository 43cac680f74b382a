//! What verification tells the gate, as typed facts; the risk table and the policies read nothing
//! else of it.

use serde::{Deserialize, Serialize};

use super::project::Project;
use super::result::Dependency;

/// What a change does to its tests, findings and dependencies.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Facts {
    /// Red before, green now.
    pub fixes_failing_test: Vec<String>,
    /// Green before, red now.
    pub breaks_passing_test: Vec<String>,
    /// New in this change, and red.
    pub fails_new_test: Vec<String>,
    /// There before, gone now.
    pub removes_test: Vec<String>,
    /// Executed before, skipped now; or a marker that skips tests was added.
    pub skips_test: Vec<String>,
    /// Added lines that silence a linter, as `PATH:LINE`.
    pub silences_linter: Vec<String>,
    /// Files of tests that assert less than before.
    pub asserts_less: Vec<String>,
    /// Red at first, green when run again.
    pub flaky: Vec<String>,
    /// Red before and now.
    pub red_on_both: Vec<String>,
    /// The repository has no test that ran.
    pub no_tests_found: bool,
    /// Tests exist but could not run here, and why.
    pub tests_could_not_run: Option<String>,
    /// Components of lock files that are new or have a new version.
    pub new_dependencies: Vec<Dependency>,
    /// Requirements of manifests that are new, as `FILE: REQUIREMENT`.
    pub new_requirements: Vec<String>,
    /// Components of lock files that are gone.
    pub removed_dependencies: Vec<Dependency>,
    /// Vulnerabilities that base did not have, as `ID in NAME`.
    pub new_vulnerabilities: Vec<String>,
    /// Secrets in added lines.
    pub secrets_found: u64,
    /// Dangerous constructs in added lines, remarks included.
    pub dangerous_constructs: u64,
    /// Things the sandbox refused to a check.
    pub sandbox_denials: u64,
    /// Kinds of evidence that failed, by name.
    pub failed_kinds: Vec<String>,
    /// Checks that base has and head has not.
    pub checks_removed: Vec<String>,
    /// Files and settings that say what the checks are and were changed.
    pub checks_changed: Vec<String>,
}

impl Facts {
    /// What can be told before anything ran.
    pub fn of_project(project: &Project) -> Self {
        Self {
            checks_removed: project.checks_removed.clone(),
            checks_changed: project.checks_changed.clone(),
            new_requirements: project.new_requirements.clone(),
            ..Self::default()
        }
    }

    /// Adds the facts of another kind of check; lists are kept sorted and without repetitions.
    pub fn add(&mut self, other: Self) {
        let join = |mine: &mut Vec<String>, more: Vec<String>| {
            mine.extend(more);
            mine.sort();
            mine.dedup();
        };
        join(&mut self.fixes_failing_test, other.fixes_failing_test);
        join(&mut self.breaks_passing_test, other.breaks_passing_test);
        join(&mut self.fails_new_test, other.fails_new_test);
        join(&mut self.removes_test, other.removes_test);
        join(&mut self.skips_test, other.skips_test);
        join(&mut self.silences_linter, other.silences_linter);
        join(&mut self.asserts_less, other.asserts_less);
        join(&mut self.flaky, other.flaky);
        join(&mut self.red_on_both, other.red_on_both);
        join(&mut self.failed_kinds, other.failed_kinds);
        join(&mut self.new_vulnerabilities, other.new_vulnerabilities);
        join(&mut self.checks_removed, other.checks_removed);
        join(&mut self.checks_changed, other.checks_changed);
        join(&mut self.new_requirements, other.new_requirements);
        for (mine, more) in [
            (&mut self.new_dependencies, other.new_dependencies),
            (&mut self.removed_dependencies, other.removed_dependencies),
        ] {
            mine.extend(more);
            mine.sort();
            mine.dedup();
        }
        self.no_tests_found |= other.no_tests_found;
        if self.tests_could_not_run.is_none() {
            self.tests_could_not_run = other.tests_could_not_run;
        }
        self.secrets_found += other.secrets_found;
        self.dangerous_constructs += other.dangerous_constructs;
        self.sandbox_denials += other.sandbox_denials;
    }
}

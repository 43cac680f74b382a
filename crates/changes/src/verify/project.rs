//! The checks of one change: those of both revisions, paired by key.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use matrix_evidence::Kind;
use serde::{Deserialize, Serialize};

use super::config::ProjectConfig;
use super::definition;
use super::detect::{self, Recipe};
use super::lockfiles;
use super::requires;
use super::result::Side;

/// What is to be verified about a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Project {
    /// Every check, in the order of keys.
    pub jobs: Vec<CheckJob>,
    /// Globs of what the build check publishes, from base's `matrix.yaml`.
    pub artifacts: Vec<String>,
    /// Keys of checks, and paths of lock files, that base has and head has not.
    pub checks_removed: Vec<String>,
    /// Files and settings that say what the checks are and differ between the revisions.
    pub checks_changed: Vec<String>,
    /// Requirements of manifests that base did not have, as `FILE: REQUIREMENT`.
    pub new_requirements: Vec<String>,
}

/// One check of a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckJob {
    /// The key: `test_results/cargo`, `lint/NAME` for one of `matrix.yaml`. Unique in a project.
    pub id: String,
    /// What it gives evidence of.
    pub kind: Kind,
    /// What is done.
    pub work: Work,
}

/// What a check does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "work")]
pub enum Work {
    /// Executes a command in a sandbox, on each side that has it.
    Command {
        /// On the base revision.
        base: Option<Invocation>,
        /// On the change.
        head: Option<Invocation>,
    },
    /// Takes the artifacts from the change's tree, where nothing has to be built.
    Artifacts,
    /// Reads the diff for secrets and dangerous constructs.
    SecurityScan,
    /// Looks the lock files' components up in the vulnerability database.
    DependencyAudit,
    /// Makes the bills of materials from the lock files.
    Sbom,
}

/// A command on one side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invocation {
    /// What is to be executed.
    pub recipe: Recipe,
    /// Its directory, relative to the root; empty for the root.
    pub directory: String,
}

impl CheckJob {
    /// The sides it is to run on, in order. The security scan and the bill of materials look at
    /// both revisions by themselves and run once.
    pub fn sides(&self) -> Vec<Side> {
        match &self.work {
            Work::Command { base, head } => [(Side::Base, base), (Side::Head, head)]
                .into_iter()
                .filter_map(|(side, invocation)| invocation.is_some().then_some(side))
                .collect(),
            Work::DependencyAudit => vec![Side::Base, Side::Head],
            Work::Artifacts | Work::SecurityScan | Work::Sbom => vec![Side::Head],
        }
    }

    /// The command on one side, if it executes one there.
    pub fn invocation(&self, side: Side) -> Option<&Invocation> {
        match (&self.work, side) {
            (Work::Command { base, .. }, Side::Base) => base.as_ref(),
            (Work::Command { head, .. }, Side::Head) => head.as_ref(),
            _ => None,
        }
    }
}

impl Project {
    /// Pairs the checks of both trees. Both are directories with the revision's files;
    /// `base_config` is what base's `matrix.yaml` says, if base has one.
    pub fn detect(base: &Path, head: &Path, base_config: Option<&ProjectConfig>) -> Self {
        let given = base_config.map(ProjectConfig::kinds).unwrap_or_default();
        // A security scan of the repository's own stands beside ours and never replaces it.
        let replaced: BTreeSet<Kind> = given
            .iter()
            .copied()
            .filter(|kind| *kind != Kind::SecurityScan)
            .collect();
        let (before, after) = (detect::detect(base), detect::detect(head));
        let keys: BTreeSet<String> = after.iter().map(detect::Found::key).collect();
        let checks_removed: Vec<String> = before
            .iter()
            .map(detect::Found::key)
            .filter(|key| !keys.contains(key))
            .collect();
        let mut commands: BTreeMap<String, (Kind, [Option<Invocation>; 2])> = BTreeMap::new();
        for (slot, found) in [(0, before), (1, after)] {
            for check in found {
                if replaced.contains(&check.kind) {
                    continue;
                }
                let entry = commands
                    .entry(check.key())
                    .or_insert((check.kind, [None, None]));
                entry.1[slot] = Some(Invocation {
                    recipe: check.recipe,
                    directory: check.directory,
                });
            }
        }
        for check in base_config
            .map(|config| config.checks.as_slice())
            .unwrap_or_default()
        {
            let invocation = Invocation {
                recipe: Recipe::Custom {
                    run: check.run.clone(),
                    timeout_ms: check.timeout_ms,
                },
                directory: String::new(),
            };
            let both = [Some(invocation.clone()), Some(invocation)];
            commands.insert(format!("{}/{}", check.kind, check.name), (check.kind, both));
        }
        let mut jobs: Vec<CheckJob> = commands
            .into_iter()
            .map(|(id, (kind, [base, head]))| CheckJob {
                id,
                kind,
                work: Work::Command { base, head },
            })
            .collect();
        let artifacts = base_config
            .map(|config| config.artifacts.clone())
            .unwrap_or_default();
        let builds =
            |job: &CheckJob| job.kind == Kind::BuildLog && job.invocation(Side::Head).is_some();
        if !artifacts.is_empty() && !jobs.iter().any(builds) {
            jobs.push(CheckJob {
                id: String::from("build_log/artifacts"),
                kind: Kind::BuildLog,
                work: Work::Artifacts,
            });
        }
        jobs.extend(own_jobs());
        Self {
            jobs,
            artifacts,
            checks_removed: [checks_removed, lockfiles::removed(base, head)].concat(),
            checks_changed: definition::differences(base, head, base_config),
            new_requirements: requires::new_requirements(base, head),
        }
    }

    /// The checks of one kind.
    pub fn of_kind(&self, kind: Kind) -> impl Iterator<Item = &CheckJob> {
        self.jobs.iter().filter(move |job| job.kind == kind)
    }
}

/// The checks that need no command: they read the diff and the lock files.
fn own_jobs() -> [CheckJob; 3] {
    [
        (Kind::SecurityScan, Work::SecurityScan),
        (Kind::DependencyAudit, Work::DependencyAudit),
        (Kind::Sbom, Work::Sbom),
    ]
    .map(|(kind, work)| CheckJob {
        id: format!("{kind}/matrix"),
        kind,
        work,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, path: &str, content: &str) {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    #[test]
    fn checks_of_the_base_configuration_replace_the_found_ones_on_both_sides() {
        let (base, head) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for root in [&base, &head] {
            write(root.path(), "Cargo.toml", "[package]\nname='a'\n");
        }
        // Head's own file says that nothing needs to be tested; it is not asked.
        write(
            head.path(),
            "matrix.yaml",
            "checks: [{name: t, kind: test_results, run: 'true'}]\n",
        );
        let config =
            ProjectConfig::parse(b"checks: [{name: t, kind: test_results, run: ./test.sh}]\n")
                .unwrap();
        let project = Project::detect(base.path(), head.path(), Some(&config));
        let tests: Vec<_> = project.of_kind(Kind::TestResults).collect();
        assert_eq!(tests.len(), 1);
        assert_eq!(tests[0].id, "test_results/t");
        for side in [Side::Base, Side::Head] {
            let recipe = &tests[0].invocation(side).unwrap().recipe;
            assert!(matches!(recipe, Recipe::Custom { run, .. } if run == "./test.sh"));
        }
        assert_eq!(project.of_kind(Kind::Lint).count(), 1);
        assert_eq!(project.of_kind(Kind::SecurityScan).count(), 1);
    }

    #[test]
    fn a_check_that_only_base_has_is_told() {
        let (base, head) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        write(
            base.path(),
            "package.json",
            r#"{"scripts":{"test":"jest"}}"#,
        );
        write(head.path(), "package.json", r#"{"scripts":{}}"#);
        let project = Project::detect(base.path(), head.path(), None);
        assert_eq!(project.checks_removed, ["test_results/node"]);
        assert_eq!(project.jobs[0].sides(), [Side::Base]);
        assert_eq!(project.checks_changed, ["package.json: scripts.test"]);
    }
}

//! How dangerous a change is: a table of rules over typed facts. A plan may raise the result; a
//! model may; nothing lowers it.

use std::collections::BTreeSet;

use matrix_identity::Risk;
use matrix_identity::policy::Observation;
use matrix_worktree::{FileFacts, FileStatus};
use serde::{Deserialize, Serialize};

use crate::verify::config::Environment;
use crate::verify::facts::Facts;
use crate::verify::judge::plural;

/// What the rules look at.
#[derive(Debug)]
pub struct RiskInput<'a> {
    /// The changed paths.
    pub files: &'a [FileFacts],
    /// What verification found.
    pub facts: &'a Facts,
    /// Where it would be deployed.
    pub environment: Environment,
    /// What the plan raises it to, and why.
    pub raised: Option<(Risk, &'a str)>,
}

/// The level with everything that led to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assessment {
    /// The highest level of a rule that held.
    pub level: Risk,
    /// Each rule that held: its level and one sentence.
    pub reasons: Vec<(Risk, String)>,
    /// Classes of touched paths.
    pub touched: BTreeSet<String>,
    /// What a policy may weigh.
    pub observed: BTreeSet<Observation>,
}

/// A class of paths: its name, how dangerous touching it is, why, and which paths it has.
type Class = (&'static str, Risk, &'static str, fn(&str) -> bool);

/// Names of path classes with what their paths look like and how dangerous touching them is.
const CLASSES: &[Class] = &[
    (
        "matrix_yaml",
        Risk::High,
        "it changes what Matrix checks or where it deploys",
        |path| path == "matrix.yaml" || path.ends_with("/matrix.yaml"),
    ),
    (
        "ci",
        Risk::High,
        "it changes how the repository is built and released",
        is_ci,
    ),
    (
        "policy",
        Risk::High,
        "it changes who may decide what",
        is_policy,
    ),
    (
        "security",
        Risk::Medium,
        "it touches sign-in, rights or cryptography",
        is_security,
    ),
    (
        "migration",
        Risk::Medium,
        "it changes stored data",
        |path| {
            path.split('/')
                .any(|part| part == "migrations" || part == "migration")
        },
    ),
    (
        "deployment",
        Risk::Medium,
        "it changes how the software is run",
        is_deployment,
    ),
    (
        "build_script",
        Risk::Medium,
        "it runs on the machines of those who build it",
        |path| matches!(file_name(path), "build.rs" | "setup.py" | "binding.gyp"),
    ),
    ("dependencies", Risk::Low, "", is_dependencies),
];

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn is_ci(path: &str) -> bool {
    let roots = [
        ".github/",
        ".gitlab/",
        ".circleci/",
        ".buildkite/",
        ".ci/",
        ".woodpecker/",
    ];
    let files = [
        "Jenkinsfile",
        ".gitlab-ci.yml",
        ".travis.yml",
        "azure-pipelines.yml",
    ];
    roots.iter().any(|root| path.starts_with(root)) || files.contains(&file_name(path))
}

fn has_extension(path: &str, extensions: &[&str]) -> bool {
    let found = path
        .rsplit_once('.')
        .map(|(_, extension)| extension.to_ascii_lowercase());
    found.is_some_and(|found| extensions.contains(&found.as_str()))
}

fn is_policy(path: &str) -> bool {
    file_name(path) == "CODEOWNERS"
        || has_extension(path, &["cedar", "rego"])
        || path
            .split('/')
            .any(|part| part == "policy" || part == "policies")
}

fn is_security(path: &str) -> bool {
    let lower = path.to_ascii_lowercase();
    let words = [
        "auth",
        "crypto",
        "security",
        "permission",
        "password",
        "secret",
        "token",
        "session",
    ];
    let stems = lower.split(['/', '.', '_', '-']);
    stems.into_iter().any(|stem| {
        words
            .iter()
            .any(|word| stem.strip_suffix('s').unwrap_or(stem) == *word)
    })
}

fn is_deployment(path: &str) -> bool {
    let name = file_name(path);
    name.starts_with("Dockerfile")
        || name.starts_with("docker-compose")
        || has_extension(path, &["tf", "service"])
        || path.split('/').any(|part| {
            matches!(
                part,
                "deploy" | "helm" | "k8s" | "kubernetes" | "terraform" | "ansible"
            )
        })
}

fn is_dependencies(path: &str) -> bool {
    matches!(
        file_name(path),
        "Cargo.toml"
            | "Cargo.lock"
            | "package.json"
            | "package-lock.json"
            | "pnpm-lock.yaml"
            | "yarn.lock"
            | "pyproject.toml"
            | "requirements.txt"
            | "poetry.lock"
            | "uv.lock"
            | "go.mod"
            | "go.sum"
    )
}

const LINES_MEDIUM: u64 = 400;
const LINES_HIGH: u64 = 2_000;
const FILES_MEDIUM: usize = 20;
const FILES_HIGH: usize = 60;

/// Applies every rule.
pub fn assess(input: &RiskInput<'_>) -> Assessment {
    let mut reasons = Vec::new();
    let mut touched = BTreeSet::new();
    for (class, level, why, matches) in CLASSES {
        let Some(file) = input.files.iter().find(|file| matches(&file.path)) else {
            continue;
        };
        touched.insert((*class).to_owned());
        if *level > Risk::Low {
            reasons.push((*level, format!("`{}` is touched: {why}", file.path)));
        }
    }
    reasons.extend(of_size(input.files));
    reasons.extend(of_failures(input.facts));
    reasons.extend(of_tests(input.facts));
    reasons.extend(of_findings(input.facts));
    if input.environment == Environment::Production {
        reasons.push((Risk::Medium, "the target is production".into()));
    }
    if let Some((level, because)) = input.raised {
        reasons.push((level, format!("the plan raises it: {because}")));
    }
    reasons.sort_by_key(|(level, _)| std::cmp::Reverse(*level));
    let level = reasons.first().map_or(Risk::Low, |(level, _)| *level);
    if reasons.is_empty() {
        reasons.push((Risk::Low, "no rule raises it".into()));
    }
    Assessment {
        level,
        reasons,
        touched,
        observed: observed(input.facts),
    }
}

fn size(lines: u64, files: usize) -> String {
    let lines = plural(lines, "line", "lines");
    format!("{lines} in {}", plural(files, "file", "files"))
}

fn of_size(files: &[FileFacts]) -> Vec<(Risk, String)> {
    let mut reasons = Vec::new();
    let lines: u64 = files
        .iter()
        .map(|file| file.added_lines + file.deleted_lines)
        .sum();
    let count = files.len();
    if lines > LINES_HIGH || count > FILES_HIGH {
        reasons.push((
            Risk::High,
            format!("it is very large: {}", size(lines, count)),
        ));
    } else if lines > LINES_MEDIUM || count > FILES_MEDIUM {
        reasons.push((Risk::Medium, format!("it is large: {}", size(lines, count))));
    }
    if let Some(file) = files
        .iter()
        .find(|file| file.binary && file.status != FileStatus::Deleted)
    {
        reasons.push((
            Risk::Medium,
            format!("`{}` is binary and cannot be read", file.path),
        ));
    }
    let executable = |mode: &Option<String>| mode.as_deref() == Some("100755");
    if let Some(file) = files
        .iter()
        .find(|file| executable(&file.new_mode) && !executable(&file.old_mode))
    {
        reasons.push((Risk::Medium, format!("`{}` becomes executable", file.path)));
    }
    let link = |mode: &Option<String>| mode.as_deref() == Some("120000");
    if let Some(file) = files.iter().find(|file| link(&file.new_mode)) {
        reasons.push((Risk::Medium, format!("`{}` is a symbolic link", file.path)));
    }
    reasons
}

/// One reason for a list of names.
fn say(
    reasons: &mut Vec<(Risk, String)>,
    names: &[String],
    level: Risk,
    (one, more): (&str, &str),
) {
    match names {
        [] => {}
        [name] => reasons.push((level, format!("{one}: {name}"))),
        [first, ..] => {
            let others = names.len() - 1;
            reasons.push((level, format!("{more}: {first} and {others} more")));
        }
    }
}

/// What failed, and which tests did.
fn of_failures(facts: &Facts) -> Vec<(Risk, String)> {
    let mut reasons = Vec::new();
    let broken = ("a test that passed fails", "tests that passed fail");
    say(&mut reasons, &facts.breaks_passing_test, Risk::High, broken);
    let new = ("a new test fails", "new tests fail");
    say(&mut reasons, &facts.fails_new_test, Risk::High, new);
    let named = !reasons.is_empty();
    for kind in &facts.failed_kinds {
        // What failed is a reason of its own; which tests did stands above.
        match kind.as_str() {
            "test_results" if named => {}
            "test_results" => reasons.push((Risk::High, "the tests failed".into())),
            other => reasons.push((Risk::Medium, format!("{other} failed"))),
        }
    }
    reasons
}

fn of_tests(facts: &Facts) -> Vec<(Risk, String)> {
    let mut reasons = Vec::new();
    let mut say = |names: &[String], level: Risk, one: &str, more: &str| {
        say(&mut reasons, names, level, (one, more));
    };
    say(
        &facts.removes_test,
        Risk::High,
        "a test is removed",
        "tests are removed",
    );
    say(
        &facts.skips_test,
        Risk::High,
        "a test is skipped",
        "tests are skipped",
    );
    say(
        &facts.checks_removed,
        Risk::High,
        "a check is removed",
        "checks are removed",
    );
    say(
        &facts.checks_changed,
        Risk::High,
        "how it is checked changes",
        "how it is checked changes",
    );
    say(
        &facts.flaky,
        Risk::Medium,
        "a test is flaky",
        "tests are flaky",
    );
    say(
        &facts.red_on_both,
        Risk::Medium,
        "a test is red before and after",
        "tests are red before and after",
    );
    say(
        &facts.asserts_less,
        Risk::High,
        "a test asserts less",
        "tests assert less",
    );
    say(
        &facts.silences_linter,
        Risk::Medium,
        "the linter is silenced",
        "the linter is silenced",
    );
    if facts.no_tests_found {
        reasons.push((Risk::High, "no test was found".into()));
    }
    if let Some(why) = &facts.tests_could_not_run {
        reasons.push((Risk::High, format!("the tests could not run: {why}")));
    }
    reasons
}

fn of_findings(facts: &Facts) -> Vec<(Risk, String)> {
    let mut reasons = Vec::new();
    if facts.secrets_found > 0 {
        let count = facts.secrets_found;
        reasons.push((
            Risk::Critical,
            match count {
                1 => String::from("an added line looks like a secret"),
                _ => format!("{count} added lines look like secrets"),
            },
        ));
    }
    if let Some(first) = facts.new_vulnerabilities.first() {
        reasons.push((
            Risk::High,
            format!("it brings a known vulnerability: {first}"),
        ));
    }
    if let Some(first) = facts.new_dependencies.first() {
        let more = facts.new_dependencies.len() - 1;
        reasons.push((
            Risk::Medium,
            match more {
                0 => format!("it brings a new dependency: {first}"),
                _ => format!("it brings new dependencies: {first} and {more} more"),
            },
        ));
    }
    if facts.new_dependencies.is_empty()
        && let Some(first) = facts.new_requirements.first()
    {
        reasons.push((Risk::Medium, format!("it asks for something new: {first}")));
    }
    if facts.dangerous_constructs > 0 {
        let count = facts.dangerous_constructs;
        reasons.push((
            Risk::Medium,
            match count {
                1 => String::from("an added line holds a dangerous construct"),
                _ => format!("{count} added lines hold dangerous constructs"),
            },
        ));
    }
    if facts.sandbox_denials > 0 {
        let count = facts.sandbox_denials;
        reasons.push((
            Risk::Medium,
            format!(
                "the sandbox refused {} to its checks",
                plural(count, "thing", "things")
            ),
        ));
    }
    reasons
}

fn observed(facts: &Facts) -> BTreeSet<Observation> {
    [
        (
            !facts.breaks_passing_test.is_empty(),
            Observation::BreaksPassingTest,
        ),
        (
            facts.dangerous_constructs > 0,
            Observation::DangerousConstruct,
        ),
        (
            !facts.fixes_failing_test.is_empty(),
            Observation::FixesFailingTest,
        ),
        (!facts.flaky.is_empty(), Observation::FlakyTest),
        (
            !(facts.new_dependencies.is_empty() && facts.new_requirements.is_empty()),
            Observation::NewDependency,
        ),
        (!facts.removes_test.is_empty(), Observation::RemovesTest),
        (facts.secrets_found > 0, Observation::SecretFound),
        (!facts.skips_test.is_empty(), Observation::SkipsTest),
        (
            !facts.red_on_both.is_empty(),
            Observation::TestsRedOnBothSides,
        ),
    ]
    .into_iter()
    .filter_map(|(holds, observation)| holds.then_some(observation))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str) -> FileFacts {
        FileFacts {
            path: path.into(),
            status: FileStatus::Modified,
            old_mode: Some("100644".into()),
            new_mode: Some("100644".into()),
            added_lines: 3,
            deleted_lines: 1,
            binary: false,
        }
    }

    fn level(files: &[FileFacts], facts: &Facts) -> Risk {
        let environment = Environment::Development;
        assess(&RiskInput {
            files,
            facts,
            environment,
            raised: None,
        })
        .level
    }

    #[test]
    fn paths_decide() {
        let table = [
            ("src/round.rs", Risk::Low),
            ("src/author.rs", Risk::Low),
            ("src/auth/login.rs", Risk::Medium),
            ("db/migrations/2.sql", Risk::Medium),
            ("Dockerfile", Risk::Medium),
            ("build.rs", Risk::Medium),
            (".github/workflows/ci.yml", Risk::High),
            ("matrix.yaml", Risk::High),
            ("CODEOWNERS", Risk::High),
        ];
        for (path, expected) in table {
            assert_eq!(level(&[file(path)], &Facts::default()), expected, "{path}");
        }
    }

    #[test]
    fn weakened_checks_are_never_low() {
        let names = vec!["a".to_owned()];
        for facts in [
            Facts {
                breaks_passing_test: names.clone(),
                ..Facts::default()
            },
            Facts {
                fails_new_test: names.clone(),
                ..Facts::default()
            },
            Facts {
                removes_test: names.clone(),
                ..Facts::default()
            },
            Facts {
                skips_test: names.clone(),
                ..Facts::default()
            },
            Facts {
                checks_removed: names.clone(),
                ..Facts::default()
            },
            Facts {
                checks_changed: names,
                ..Facts::default()
            },
            Facts {
                no_tests_found: true,
                ..Facts::default()
            },
        ] {
            assert_eq!(level(&[file("src/a.rs")], &facts), Risk::High, "{facts:?}");
        }
    }

    #[test]
    fn what_failed_is_a_reason_of_its_own() {
        let reasons = |facts: &Facts| {
            let input = RiskInput {
                files: &[file("src/a.rs")],
                facts,
                environment: Environment::Development,
                raised: None,
            };
            assess(&input).reasons
        };
        let mut facts = Facts {
            failed_kinds: vec!["build_log".to_owned(), "test_results".to_owned()],
            ..Facts::default()
        };
        let expected = [
            (Risk::High, "the tests failed".to_owned()),
            (Risk::Medium, "build_log failed".to_owned()),
        ];
        assert_eq!(reasons(&facts), expected);
        facts.breaks_passing_test = vec!["a".to_owned()];
        assert_eq!(reasons(&facts)[0].1, "a test that passed fails: a");
        assert_eq!(reasons(&facts).len(), 2);
        assert_eq!(reasons(&Facts::default())[0].1, "no rule raises it");
    }

    #[test]
    fn a_plan_raises_and_never_lowers() {
        let files = [file("matrix.yaml")];
        let facts = Facts::default();
        let raise = |to| {
            let raised = Some((to, "touches money"));
            let environment = Environment::Production;
            assess(&RiskInput {
                files: &files,
                facts: &facts,
                environment,
                raised,
            })
            .level
        };
        assert_eq!(raise(Risk::Critical), Risk::Critical);
        assert_eq!(raise(Risk::Medium), Risk::High);
    }
}
